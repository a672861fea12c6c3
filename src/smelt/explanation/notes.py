"""Notes about a recipe: what may not be what was meant, each with its reason and the line that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import fsum

import numpy as np

from smelt.algebra.expressions import Expr, walk
from smelt.algebra.grid import sizes_of
from smelt.algebra.numbers import solve
from smelt.algebra.printing import print_number
from smelt.algebra.settling import LARGE
from smelt.errors import SmeltError
from smelt.explanation.collapse import collapse_outputs
from smelt.explanation.merges import Merge, Note, list_merges, print_briefly
from smelt.explanation.pitfalls import find_pitfalls
from smelt.explanation.simplify import find_assumption
from smelt.explanation.stages import find_stages
from smelt.planning.documents import CANCELLED_SIGNS
from smelt.planning.plan import Output, Plan
from smelt.recipes.nouns import Document, Recipe

__all__ = ["Note", "find_notes"]


def find_notes(recipe: Recipe, plan: Plan | None, simpler: Document | None = None) -> tuple[Note, ...]:
    """Return everything that a reader should know about a recipe, in the order of its lines.

    The notes of reading and of planning are among them.

    Args:
        recipe: as it was read.
        plan: its plan; without one, what only the models' headers decide is not said.
        simpler: what ``simplify`` found.
    """
    is_linear = plan is not None and None not in collapse_outputs(plan)
    notes = [note for merge in list_merges(recipe) for note in find_pitfalls(merge, is_linear)]
    notes += [*find_stages(recipe), *_find_seed(recipe)]
    if plan is not None:
        notes += [*_find_sums(recipe, plan), *_find_small_tensors(recipe, plan)]
        notes += [_note_simpler(recipe, plan, simpler)] if simpler is not None else []
    stated = [_parse(text, recipe) for text in (plan.notes if plan is not None else recipe.notes)]
    said = dict.fromkeys(note.text for note in notes)
    if all(m.mass is not None for m in list_merges(recipe) if m.normalizes_signs):
        said[CANCELLED_SIGNS] = None  # wherever it matters a note on the weights says so by now
    notes += [note for note in stated if note.text not in said]
    return tuple(sorted(dict.fromkeys(notes), key=lambda note: note.line or 0))


def _parse(text: str, recipe: Recipe) -> Note:
    """Return a note of reading or planning: the first names its line, the second at most a model."""
    stated = re.match(rf"{re.escape(recipe.origin)}:(\d+): ", text)
    if stated:
        return Note(int(stated[1]), text[stated.end() :])
    named = re.match(r"'([^']*)' is the base model itself", text)
    if named:
        lines = [s.line for merge in list_merges(recipe) for s in merge.sources if str(s.model) == named[1]]
        return Note((lines or [0])[0] or None, text)
    return Note(None, text.removeprefix(f"{recipe.origin}: "))


def _find_seed(recipe: Recipe) -> Iterator[Note]:
    drawing = [m for m in list_merges(recipe) if m.document.method.random and any(map(_is_drawn, m.values("density")))]
    if drawing:
        text = (
            f"the seed ({recipe.seed}) decides which entries are dropped: the same seed gives the same bytes, and how "
            "far the results of several seeds lie apart is how much chance there is in this merge"
        )
        yield Note(drawing[0].document.line or None, text)
    elif recipe.seed:
        yield Note(None, f"the seed ({recipe.seed}) has no effect: nothing is drawn at random")


def _is_drawn(density: float | None) -> bool:
    return density not in (0.0, 1.0)


def _note_simpler(recipe: Recipe, plan: Plan, document: Document) -> Note:
    assumed = find_assumption(recipe, plan, document)
    given = f" ({assumed})" if assumed else ""
    text = f"the same comes out of {_describe(document)}{given}; --simplify OUT.yml writes that recipe"
    return Note(recipe.result.line or None, text)


def _describe(document: Document) -> str:
    sources = document.modules[0].slices[0].sources
    if document.method.name == "passthrough":
        return f"'{sources[0].model}' alone"
    weighted = [(s.model, rule.value) for s in sources for p in s.parameters.values() for rule in p.rules]
    *some, last = [f"'{model}' at weight {print_number(weight)}" for model, weight in weighted]
    shown = f"{', '.join(some)} and {last}" if some else last
    onto = f" on '{document.base_model}'" if document.method.takes_base else ""
    return f"{document.method.name}{onto} with {shown}{'' if onto else ', not normalized'}"


def _find_sums(recipe: Recipe, plan: Plan) -> Iterator[Note]:
    """Note averages whose factors do not sum to 1. A single model that is scaled says so itself."""
    found: dict[float, int] = {}
    for output, factors in zip(plan.outputs, collapse_outputs(plan), strict=True):
        if factors is not None and len(factors) > 1 and output.spec.dtype.is_float:
            total = fsum(factors.values())
            if abs(total - 1.0) > 1e-9 * fsum(map(abs, factors.values())):
                found[float(f"{total:.6g}")] = found.get(float(f"{total:.6g}"), 0) + 1
    if not found:
        return
    low, high = print_number(min(found)), print_number(max(found))
    sums, number = low if low == high else f"{low} to {high}", sum(found.values())
    where = "" if number == len(plan.outputs) else f" (in {number} of {len(plan.outputs)} tensors)"
    text = (
        f"the factors of the models sum to {sums} and not to 1{where}, so what the models share, norms included, is "
        "scaled by that"
    )
    given = recipe.result.parameters.get("normalize")
    yield Note((given.line if given is not None else 0) or recipe.result.line or None, text)


def _find_small_tensors(recipe: Recipe, plan: Plan) -> Iterator[Note]:
    """Note tensors of which ⌊density · entries⌋ = 0 entries are kept, or more often than not none is drawn."""
    if any(c.repository is None and not c.paths for c in plan.checkpoints):
        return  # arrays in memory may stand in for models that cannot be reached, and have sizes of their own
    readings = {number: _readings(template.root) for number, template in enumerate(plan.templates)}
    outputs = [output for output in plan.outputs if output.spec.elements]
    empty = [o for o in outputs if _keeps_nothing(o, readings[o.template][0])]
    unlucky = [(o, _chance_of_nothing(o, readings[o.template][1])) for o in outputs]
    line = _line_of_density(list(list_merges(recipe)))
    if empty:
        smallest = min(empty, key=lambda output: output.spec.elements)
        text = (
            f"in {len(empty)} tensors, such as '{smallest.spec.name}' (of {smallest.spec.elements} entries), a model's "
            "difference is lost as a whole: its share of entries to keep comes to less than one entry"
        )
        yield Note(line, text)
    likely = [(output, chance) for output, chance in unlucky if chance > 0.5]
    if likely:
        output, chance = max(likely, key=lambda found: found[1])
        text = (
            f"in {len(likely)} tensors, such as '{output.spec.name}' (of {output.spec.elements} entries), it is more "
            "likely than not that a model's difference is lost as a whole: every entry is dropped with the probability "
            f"(1 − density)^entries = {print_briefly(chance)}"
        )
        yield Note(line, text)


def _readings(root: Expr) -> tuple[list[Expr], list[Expr]]:
    """Return how many entries are kept of each difference, and the probabilities that draws are compared with."""
    return _kept_counts(root), [n.args[1] for n in walk(root) if n.op == "less" and n.args[0].op == "uniform"]


def _chance_of_nothing(output: Output, probabilities: Sequence[Expr]) -> float:
    """Return how likely it is that every entry of the model with the lowest density is dropped, if that is not 0."""
    try:
        found = solve(probabilities, output.slots, sizes_of(output.spec.shape), {})
    except (LookupError, SmeltError):  # a probability that the weights decide
        return 0.0
    kept = [q for value in found.values() for q in np.ravel(value) if 0.0 < q < 1.0]
    return float((1.0 - min(kept)) ** output.spec.elements) if kept else 0.0


def _kept_counts(root: Expr) -> list[Expr]:
    """Return how many entries are kept of each difference, without the outliers that are counted among them first."""
    counts = [node.args[1] for node in walk(root) if node.op == "select" and not node.attributes]
    parts = dict.fromkeys(part.key for count in counts for part in walk(*count.args[0].args))
    return [count for count in counts if count.args[0].key not in parts]


def _keeps_nothing(output: Output, counts: Sequence[Expr]) -> bool:
    """Say whether some count is less than one entry, and would not be in a tensor that is large enough."""
    sizes = sizes_of(output.spec.shape)
    try:
        here, anywhere = (solve(counts, output.slots, s, {}) for s in (sizes, LARGE))
    except (LookupError, SmeltError):  # a count that the weights decide
        return False
    return any(bool(np.any((here[c.key] < 1.0) & (anywhere[c.key] >= 1.0))) for c in counts)


def _line_of_density(merges: Sequence[Merge]) -> int | None:
    for merge in merges:
        for source in merge.sources:
            if merge.value("density", source) not in (None, 1.0):
                return merge.line("density", source)
    return merges[-1].document.line or None
