"""Collapsing a merge: to one coefficient per tensor that is read, through any number of documents."""

from __future__ import annotations

from collections.abc import Sequence

from smelt.algebra.expressions import Expr, Sort, constant
from smelt.algebra.formulas import Coefficients, coefficients
from smelt.algebra.numbers import solve
from smelt.algebra.printing import constant_value
from smelt.algebra.rewriting import rewrite
from smelt.errors import SmeltError
from smelt.planning.plan import Output, Plan

Known = dict[object, "Coefficients | None"]


def collapse_outputs(plan: Plan) -> list[Coefficients | None]:
    """Return, for each output of a plan, the factor of each of its inputs; ``None`` where it is not linear in them.

    The factors are those for finite weights: where A cancels, an infinity in A would not.
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
        known[key] = coefficients(_settled(root, output.slots), output.slots)
    return known[key]


def _settled(root: Expr, slots: Sequence[float]) -> Expr:
    """Return ``root`` without the questions and draws whose answers do not count at these settings.

    Slerp at its ends is one of the models, whatever the angle; at density 1 every draw keeps its entry.
    """

    def change(node: Expr) -> Expr:
        if node.op == "where" and node.args[1] == node.args[2]:
            return node.args[1]
        if node.op == "where" and constant_value(node.args[0]) is not None:
            return node.args[1 if constant_value(node.args[0]) else 2]
        if node.op == "less" and node.args[0].op == "uniform" and _is_certain(node.args[1], slots):
            return constant(1.0)
        return _folded(node, slots) if node.sort in (Sort.NUMBER, Sort.CONDITION) else node

    return rewrite(root, change)


def _folded(node: Expr, slots: Sequence[float]) -> Expr:
    """Return a number that the settings decide as a constant, and sin(1·Ω)/sin Ω and sin(0·Ω)/sin Ω as 1 and 0."""
    if (
        node.models is None
        and all(a.op in ("constant", "slots") for a in node.args)
        and node.op not in ("size", "call")
    ):
        return constant(float(solve([node], slots, {}, {})[node.key]))
    if node.op == "multiply" and 1.0 in map(constant_value, node.args):
        return node.args[0 if constant_value(node.args[1]) == 1.0 else 1]
    if node.op == "multiply" and 0.0 in map(constant_value, node.args):
        return constant(0.0)
    if node.op == "divide" and node.args[1].op == "sine":
        above, below = node.args
        return constant(1.0) if above == below else above if constant_value(above) == 0.0 else node
    return node


def _is_certain(probability: Expr, slots: Sequence[float]) -> bool:
    try:
        value = solve([probability], slots, {}, {})[probability.key]
    except (LookupError, SmeltError):
        return False
    return bool((value >= 1.0).all())
