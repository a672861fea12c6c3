"""Simplifying a recipe: one merge of the fewest models that gives the same, where the algebra is linear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from smelt.algebra.declare import find
from smelt.algebra.formulas import Coefficients
from smelt.errors import InputError
from smelt.explanation.collapse import by_checkpoint, collapse_outputs
from smelt.planning.plan import Input, Output, Plan
from smelt.planning.planner import open_model, plan_recipe
from smelt.recipes.nouns import Document, Module, Parameter, Parameters, Recipe, Reference, Rule, Slice, Source
from smelt.recipes.reading import read_text
from smelt.recipes.writing import write_recipe
from smelt.tensors.checkpoint import Checkpoint

ROUNDING = 1e-14  # as a share of the largest factor: what float64 arithmetic leaves of factors that are 0, or equal
LARGEST_CANCELLING = 3.0  # times the factor of a base: what its terms may add up to before they cancel

Factors = tuple[tuple[Reference, float], ...]


def simplify(recipe: Recipe, plan: Plan) -> Document | None:
    """Return one document that mentions fewer models, and gives the same tensors, dtypes and files beside them.

    Whatever the documents, weights and bases, a merge that is linear is a sum of models, each with a factor. That sum
    is written as one document: ``linear``, or ``task_arithmetic`` on one of the models. It is planned and held against
    the plan; what it writes differs from what the recipe writes by roundings of float32, no more.

    Args:
        recipe: what to simplify.
        plan: the plan of ``recipe``.

    Returns:
        ``None`` when the merge is not linear, its factors differ between tensors, models have no names that a recipe
        could hold, or nothing shorter gives the same.
    """
    written = _referenced(recipe, plan)
    factors = _shared_factors(plan)
    if factors is None or not all(number in written for number in factors):
        return None
    named = tuple((written[number], factor) for number, factor in factors.items())
    leaders = [reference for number, reference in written.items() if number not in factors]
    candidates = _candidates(recipe.result, named, leaders)
    for document in sorted(candidates, key=lambda candidate: _length(candidate, recipe.result)):
        shorter = _length(document, recipe.result)[:2] < _recipe_length(recipe)
        if shorter and _is_same(plan, document, {reference: plan.checkpoints[n] for n, reference in written.items()}):
            return document
    return None


def write_document(simpler: Document, recipe: Recipe, plan: Plan) -> str:
    """Return what ``simplify`` found as the text of a recipe."""
    assumed = find_assumption(recipe, plan, simpler)
    return (f"# The same {assumed}.\n" if assumed else "") + _write(simpler)


def find_assumption(recipe: Recipe, plan: Plan, simpler: Document) -> str | None:
    """Return what a simpler document takes for granted about models that were not opened; ``None`` for nothing."""
    stand_ins = any(c.repository is None and not c.paths for c in plan.checkpoints)
    if not stand_ins or _leader(recipe, simpler) == _leader(recipe, recipe.result):
        return None
    return "if both have the same configuration, tokenizer and dtypes, which was not checked"


def _leader(recipe: Recipe, document: Document) -> Reference:
    """Return the model that gives configuration, tokenizer and dtypes."""
    leader = document.base_model or document.modules[0].slices[0].sources[0].model
    below = recipe.find(leader)
    return leader if below is None else _leader(recipe, below)


def _write(document: Document) -> str:
    # The seed is left out where it decides nothing.
    return write_recipe(Recipe((document,))).removesuffix("seed: 0\n")


def _referenced(recipe: Recipe, plan: Plan) -> dict[int, Reference]:
    """Return how the recipe refers to each checkpoint of its plan, for those that a text can name."""
    references = [r for document in recipe.documents for r in document.references() if recipe.find(r) is None]
    names = {f"{r.text}@{r.revision}" if r.revision else r.text: r for r in reversed(references) if r.lora is None}
    return {
        number: replace(names[checkpoint.name], checkpoint=None)
        for number, checkpoint in enumerate(plan.checkpoints)
        if checkpoint.name in names and checkpoint.name != Checkpoint({}).name
    }


def _shared_factors(plan: Plan) -> Coefficients | None:
    """Return the factor of each checkpoint, where it is the same for all tensors; those of 0 are left out."""
    shared: Coefficients | None = None
    for output, found in zip(plan.outputs, collapse_outputs(plan), strict=True):
        if not output.spec.dtype.is_float:
            continue
        factors = by_checkpoint(output, found) if found is not None else None
        if factors is None:
            return None
        if shared is None:
            shared = _rounded(factors)
        elif not _are_equal(factors, shared):
            return None
    return shared or None


def _rounded(factors: Coefficients) -> Coefficients:
    """Return the factors without those that are 0 but for rounding, and without the digits that are only rounding."""
    least = ROUNDING * max(map(abs, factors.values()), default=0.0)
    return {key: float(f"{factor:.15g}") for key, factor in factors.items() if abs(factor) > least}


def _are_equal(one: Mapping[Any, float], other: Mapping[Any, float]) -> bool:
    slack = ROUNDING * max(map(abs, (*one.values(), *other.values())), default=0.0)
    return all(abs(one.get(key, 0.0) - other.get(key, 0.0)) <= slack for key in (*one, *other))


def _candidates(result: Document, factors: Factors, leaders: Sequence[Reference]) -> Iterator[Document]:
    """Yield the ways to write a sum of models; ``leaders`` are models that may give configuration and tokenizer."""
    if [factor for _, factor in factors] == [1.0]:
        yield _document(result, "passthrough", factors)
    # The files beside the weights are those of the base or else of the first model.
    for first, _ in factors:
        by_place = sorted(factors, key=lambda item: item[0] != first)
        yield _document(result, "linear", tuple(by_place), normalize=False)
    for base in leaders:
        yield _document(result, "linear", factors, base, normalize=False)
    if abs(sum(factor for _, factor in factors) - 1.0) <= ROUNDING * max(abs(factor) for _, factor in factors):
        for base, own in factors:
            others = tuple(item for item in factors if item[0] != base)
            # Of a base that cancels from the sum but for a small rest, the rounding of all of it would be left.
            cancelling = 1.0 + sum(abs(factor) for _, factor in others) > LARGEST_CANCELLING * abs(own)
            on_task_vectors = result.method.tensors == ("base", "models") and base == result.base_model
            if others and (on_task_vectors or not cancelling):
                yield _document(result, "task_arithmetic", others, base)


def _document(
    result: Document, method: str, factors: Factors, base: Reference | None = None, **settings: bool
) -> Document:
    """Return a merge of whole models by ``method``, with everything else as in ``result``."""

    def given(values: Mapping[str, float | bool]) -> Parameters:
        return {name: Parameter(name, (Rule(None, value),)) for name, value in values.items()}

    sources = tuple(
        Source(reference, None, given({} if method == "passthrough" else {"weight": factor}))
        for reference, factor in factors
    )
    modules = (Module(None, (Slice(sources, None, {}),), {}),)
    parameters = given(settings)
    return replace(result, name=None, method=find(method), base_model=base, modules=modules, parameters=parameters)


def _length(document: Document, result: Document) -> tuple[int, ...]:
    """Return what makes a candidate long to read, what counts most first; ``result`` is the style of its author."""
    sources = document.modules[0].slices[0].sources
    weights = [rule.value for s in sources for p in s.parameters.values() for rule in p.rules]
    negative = sum(isinstance(weight, float) and weight < 0 for weight in weights)
    mentioned = len(sources) + (document.base_model is not None)
    on_task_vectors = document.method.takes_base
    only_takes_away = on_task_vectors and negative == len(sources)  # what that comes to, factors say more plainly
    other_style = on_task_vectors != result.method.takes_base
    return 1, mentioned, negative, only_takes_away, other_style, document.base_model != result.base_model


def _recipe_length(recipe: Recipe) -> tuple[int, int]:
    """Return the number of documents, and of the models that they mention."""
    slices = [(d, s) for d in recipe.documents for module in d.modules for s in module.slices]
    bases = sum(d.base_model is not None for d in recipe.documents) + sum(s.base_model is not None for _, s in slices)
    return len(recipe.documents), bases + sum(len(s.sources) for _, s in slices)


def _is_same(plan: Plan, document: Document, opened: Mapping[Reference, Checkpoint]) -> bool:
    """Say whether planning ``document`` as it is written gives the outputs and companions of ``plan``."""

    def open_known(reference: Reference) -> Checkpoint:
        return opened.get(reference) or open_model(reference)

    try:
        other = plan_recipe(read_text(_write(document), "recipe"), opened_by=open_known)
    except InputError:  # the models do not fit one another in this arrangement
        return False
    if plan.config != other.config or _copied(plan) != _copied(other) or len(plan.outputs) != len(other.outputs):
        return False
    ours = {o.spec.name: (o, f) for o, f in zip(plan.outputs, collapse_outputs(plan), strict=True)}
    theirs = zip(other.outputs, collapse_outputs(other), strict=True)
    return all(o.spec.name in ours and _is_equal(plan, *ours[o.spec.name], other, o, f) for o, f in theirs)


def _copied(plan: Plan) -> list[tuple[Any, str]]:
    return sorted(((plan.checkpoints[number].identity, name) for number, name in plan.copies), key=str)


def _is_equal(
    plan: Plan,
    output: Output,
    factors: Coefficients | None,
    other_plan: Plan,
    other: Output,
    others: Coefficients | None,
) -> bool:
    if output.spec != other.spec or factors is None or others is None:
        return False
    if not output.spec.dtype.is_float:  # integers are carried; all inputs of the first plan hold the same
        there = [_place(plan, i) for i in (output.inputs[0], *output.equal)]
        return _place(other_plan, other.inputs[0]) in there
    if output.precision == "float64" and other.precision == "float32":
        return False
    one = {_place(plan, output.inputs[index]): factor for index, factor in factors.items()}
    return _are_equal(one, {_place(other_plan, other.inputs[index]): factor for index, factor in others.items()})


def _place(plan: Plan, pieces: Input) -> tuple[Any, ...]:
    """Return which stored elements an input reads, in words that two plans share."""
    return tuple((plan.checkpoints[e.checkpoint].identity, e.tensor, e.start, e.count) for e in pieces)
