"""Leaving out of an expression what its settings decide: numbers, conditions, and what is surely kept or dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Expr, Sort, constant, elementwise
from smelt.algebra.numbers import solve
from smelt.algebra.printing import constant_value
from smelt.algebra.rewriting import rewrite
from smelt.errors import SmeltError

ENOUGH = 2**40  # entries, of which any share is one at least; a power of two, so that shares of it are not rounded
SIZES = ("tensor", "row", "model")
LARGE: Mapping[str, int] = dict.fromkeys(SIZES, ENOUGH)
ARITHMETIC = ("add", "subtract", "multiply", "divide", "minimum", "maximum")
TRUE, FALSE = constant(1.0), constant(0.0)

Settings = Sequence[Sequence[float]]


def settle(root: Expr, settings: Settings) -> Expr:
    """Return ``root`` without what is the same for several choices of its settings, whatever the weights, if finite.

    Numbers and conditions become constants, and a ``where`` the side that is taken. At density 1 every draw keeps its
    entry, and a selection of ⌊density · entries⌋ all of them; at density 0 neither keeps any.

    Args:
        root: an output's expression.
        settings: the values of its slots, once for each tensor that is spoken of.
    """

    def change(node: Expr) -> Expr:
        if node.op == "where":
            return _take_side(node)
        if node.op == "selected":
            return _decide_selection(node, settings)
        if node.op in ("logical_and", "logical_or"):
            return _halve(node)
        if node.op == "less" and node.args[0].op == "uniform":
            return _decide_draw(node, settings)
        if node.sort is Sort.CONDITION:
            return _decide(node, settings)
        return _settle_number(node, settings) if node.sort is Sort.NUMBER else node

    return rewrite(root, change)


def fold(node: Expr) -> Expr:
    """Return an operation on two known numbers as its result, and one that changes nothing as what it leaves alone."""
    a, b = node.args
    one, other = constant_value(a), constant_value(b)
    if one is not None and other is not None and np.isfinite(result := float(solve([node], [], {}, {})[node.key])):
        return constant(result)
    if (node.op == "multiply" and 0.0 in (one, other)) or (node.op == "divide" and one == 0.0):
        return constant(0.0)
    if (node.op == "multiply" and one == 1.0) or (node.op == "add" and one == 0.0):
        return b
    if (node.op in ("multiply", "divide") and other == 1.0) or (node.op in ("add", "subtract") and other == 0.0):
        return a
    return node


def _take_side(node: Expr) -> Expr:
    """Return the side of a ``where`` that is taken; a 0 that stands for a tensor as 0 times the other side."""
    condition, chosen, other = node.args
    known = 1.0 if chosen == other else constant_value(condition)
    if known is None:
        return node
    taken, left = (chosen, other) if known else (other, chosen)
    if taken.sort is node.sort and taken.models == node.models:
        return taken
    is_empty = constant_value(taken) == 0.0 and left.sort is Sort.TENSOR and left.models == node.models
    return elementwise("multiply", 0.0, left) if is_empty else node


def _decide_selection(node: Expr, settings: Settings) -> Expr:
    """Return whether an entry is selected, where that is all of them in a tensor of any size, or none."""
    count = node.args[1].args[1]
    large, small = (_answers(count, settings, dict.fromkeys(SIZES, entries)) for entries in (ENOUGH, 1))
    if _always(large, float(ENOUGH)) and _always(small, 1.0):
        return TRUE
    return FALSE if large and all((answer < 1.0).all() for answer in large) else node


def _decide_draw(node: Expr, settings: Settings) -> Expr:
    """Return whether a draw keeps its entry, where that is certain."""
    answers = _answers(node.args[1], settings)
    if _always(answers, 1.0):
        return TRUE
    return FALSE if answers and all((answer <= 0.0).all() for answer in answers) else node


def _halve(node: Expr) -> Expr:
    """Return what a conjunction or disjunction comes to where one of its sides is known."""
    known = [constant_value(arg) for arg in node.args]
    neutral, decisive = (TRUE, FALSE) if node.op == "logical_and" else (FALSE, TRUE)
    if constant_value(decisive) in known:
        return decisive
    return node.args[1 - known.index(constant_value(neutral))] if constant_value(neutral) in known else node


def _decide(node: Expr, settings: Settings) -> Expr:
    answers = _answers(node, settings)
    if _always(answers, 1.0):
        return TRUE
    return FALSE if answers and not any(answer.any() for answer in answers) else node


def _settle_number(node: Expr, settings: Settings) -> Expr:
    """Return a number that the settings decide as a constant, and sin(1·Ω)/sin Ω and sin(0·Ω)/sin Ω as 1 and 0."""
    if node.op == "constant":
        return node
    if node.models is None:
        found = {float(answer) for answer in _answers(node, settings)}
        if len(found) == 1 and np.isfinite(number := found.pop()):
            return constant(number)
    if node.op == "divide" and node.args[1].op == "sine" and node.args[0] == node.args[1]:
        return constant(1.0)
    settled = fold(node) if node.op in ARITHMETIC else node
    # A number meets those per row as well as per tensor; how many models there are must stay known.
    return settled if settled.models == node.models else node


def _answers(node: Expr, settings: Settings, sizes: Mapping[str, int] | None = None) -> list[NDArray[Any]]:
    """Return the value of a number for each of the settings; nothing where the weights or a size decide it."""
    try:
        return [np.asarray(solve([node], slots, sizes or {}, {})[node.key]) for slots in settings]
    except (LookupError, SmeltError):
        return []


def _always(answers: Sequence[NDArray[Any]], least: float) -> bool:
    return bool(answers) and all((answer >= least).all() for answer in answers)
