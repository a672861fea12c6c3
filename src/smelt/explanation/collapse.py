"""Collapsing a merge: to one coefficient per tensor that is read, through any number of documents."""

from __future__ import annotations

from smelt.algebra.formulas import Coefficients, coefficients
from smelt.algebra.settling import settle
from smelt.planning.plan import Output, Plan

Known = dict[object, "Coefficients | None"]


def collapse_outputs(plan: Plan) -> list[Coefficients | None]:
    """Return, for each output of a plan, the factor of each of its inputs; ``None`` where it is not linear in them.

    The factors are those for finite weights: where A cancels, an infinity in A would not. Slerp at its ends is one of
    the models, whatever the angle; at density 1 every draw keeps its entry.
    """
    known: Known = {}
    return [_collapse(plan, output, known) for output in plan.outputs]


def by_checkpoint(output: Output, factors: Coefficients) -> Coefficients | None:
    """Return the factors by checkpoint; ``None`` where two tensors of one checkpoint take part."""
    found: Coefficients = {}
    for index, factor in factors.items():
        number = output.inputs[index][0].checkpoint
        if number in found:
            return None
        found[number] = factor
    return found


def _collapse(plan: Plan, output: Output, known: Known) -> Coefficients | None:
    key = (output.template, output.slots)
    if key not in known:
        root = plan.templates[output.template].root
        known[key] = coefficients(settle(root, [output.slots]), output.slots)
    return known[key]
