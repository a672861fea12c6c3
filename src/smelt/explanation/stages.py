"""Notes about merges that build on merges: what a later stage takes away from an earlier one, or drops again."""

from __future__ import annotations

from collections.abc import Iterator

from smelt.algebra.printing import print_number
from smelt.explanation.kinds import adds, drops_evenly, elects
from smelt.explanation.merges import Merge, Note, list_merges, print_briefly, root_of
from smelt.recipes.nouns import Document, Recipe, Source


def find_stages(recipe: Recipe) -> Iterator[Note]:
    """Yield the notes about the merges of a recipe whose base or models are merges themselves."""
    for merge in list_merges(recipe):
        if not merge.drops_base or merge.base is None:
            continue
        yield from _find_merge_as_base(recipe, merge)
        for place, source in enumerate(merge.sources):
            stage = recipe.find(source.model)
            if stage is not None and stage.base_model is not None:
                if root_of(recipe, stage.base_model) != root_of(recipe, merge.base):
                    yield from _find_other_base(merge, place, stage)
                else:
                    yield from _find_dropping_twice(recipe, merge, source, stage)


def _find_merge_as_base(recipe: Recipe, merge: Merge) -> Iterator[Note]:
    """Note that differences from a merge undo it: θ₁ + b·(C − θ₁) holds 1 − b of it."""
    assert merge.base is not None
    stage = recipe.find(merge.base)
    if stage is None or stage.base_model is None or any(recipe.find(source.model) for source in merge.sources):
        return
    base = str(merge.base)
    factors = merge.coefficients()
    line = merge.document.base_model.line if merge.document.base_model is not None else 0
    if factors is not None and abs(sum(factors)) > 1e-9:
        share = print_briefly(1.0 - sum(factors))
        text = (
            f"the base is the merge '{base}', and differences from it take back what it changed: the share of that "
            f"which remains is {share}, 1 − Σ factor{_find_remedy(recipe, merge)}"
        )
        yield Note(line or merge.document.line or None, text)
    elif elects(merge.document.method):
        text = f"the base is the merge '{base}': where a difference from it wins, it takes back what '{base}' changed"
        yield Note(line or merge.document.line or None, text)


def _find_remedy(recipe: Recipe, merge: Merge) -> str:
    """Return how to keep a merge that is the base whole, where each weight counts as it is written."""
    assert merge.base is not None
    method = merge.document.method
    as_written = adds(method) and "density" not in method.setting and not merge.value("normalize")
    below = root_of(recipe, merge.base)
    if not as_written or merge.mass is None or below in [source.model for source in merge.sources]:
        return ""
    weight = print_number(float(f"{-merge.mass:.12g}"))
    return f"; to keep it whole, add '{below}' to the models, with the weight {weight}"


def _find_other_base(merge: Merge, place: int, stage: Document) -> Iterator[Note]:
    """Note that the difference of a merge is taken from another model than the one it was merged onto."""
    factors, source = merge.coefficients(), merge.sources[place]
    if factors is None or not factors[place]:
        return
    factor = print_briefly(factors[place])
    text = (
        f"'{source.model}' was merged onto '{stage.base_model}', but here its difference is taken from '{merge.base}': "
        f"with {factor} of what it changed come −{factor} of what '{merge.base}' has over '{stage.base_model}'"
    ).replace("−−", "")
    yield Note(merge.line("weight", source), text)


def _find_dropping_twice(recipe: Recipe, merge: Merge, source: Source, stage: Document) -> Iterator[Note]:
    second = merge.value("density", source)
    earlier = [inner for inner in list_merges(recipe) if inner.document is stage]
    first = list(dict.fromkeys(q for inner in earlier for q in inner.values("density")))
    twice = drops_evenly(stage.method) and drops_evenly(merge.document.method)
    restored = all(m.value("rescale") is True for m in (merge, *earlier))
    if not (twice and restored and len(first) == 1) or not all(q is not None and 0 < q < 1 for q in (second, *first)):
        return
    kept = first[0] * second
    text = (
        f"'{source.model}' has been dropped from already: an entry of a model's difference is kept both times with "
        f"probability q = {print_briefly(first[0])} · {print_briefly(second)} = {print_briefly(kept)}, so the noise "
        f"grows to a relative squared error of (1 − q)/q = {print_briefly((1 - kept) / kept)} per parameter; give "
        f"'{source.model}' density 1 here"
    )
    yield Note(merge.line("density", source), text)
