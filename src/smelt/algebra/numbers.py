"""Numbers: float64 scalars, computed between the passes over a tensor.

A value's shape is (models, if it is one per model) × (rows or columns, if it is one for each of these). Only IEEE
operations in a fixed order, so the bits are the same everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.elementary import acos, exp, log, sin
from smelt.algebra.expressions import PER_ELEMENT, QUESTIONS, Expr, Sort, walk
from smelt.algebra.scalars import scalar_body
from smelt.errors import InputError

# An array or scalar of float64 or bool, a Gram matrix, or a selection (thresholds, cuts).
Value = Any

OPERATIONS: Mapping[str, Callable[..., Value]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "absolute": np.abs,
    "square_root": np.sqrt,
    "floor": np.floor,
    "sign": lambda x: np.where(x > 0, 1.0, np.where(x < 0, -1.0, 0.0)),
    "minimum": lambda x, y: np.where(x < y, x, y),
    "maximum": lambda x, y: np.where(x > y, x, y),
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "where": np.where,
    "exponential": exp,
    "logarithm": log,
    "sine": sin,
    "arccos": acos,
}


def sum_exactly(values: Iterable[float]) -> float:
    """Return the correctly rounded sum, which no order of the values can change; IEEE rules for inf and NaN."""
    parts = list(values)
    if all(map(math.isfinite, parts)):
        try:
            return math.fsum(parts)
        except OverflowError:
            pass
    result = 0.0
    for part in parts:
        result += part
    return result


def numbers_in(roots: Iterable[Expr]) -> list[Expr]:
    """Return the number-like nodes that the per-element nodes ``roots`` use directly, in order, each once."""
    found: dict[str, Expr] = {}
    for node in walk_elements(roots):
        found.update((a.key, a) for a in node.args if a.sort not in PER_ELEMENT)
    found.update((r.key, r) for r in roots if r.sort not in PER_ELEMENT)
    return list(found.values())


def walk_elements(roots: Iterable[Expr]) -> list[Expr]:
    """Return the per-element nodes under ``roots``, arguments first, without looking below numbers."""

    def elements(nodes: Iterable[Expr]) -> list[Expr]:
        return [n for n in nodes if n.sort in PER_ELEMENT]

    return walk(*elements(roots), below=lambda node: elements(node.args))


def solve(
    nodes: Iterable[Expr], slots: Sequence[float], sizes: Mapping[str, int], answers: Mapping[str, Value]
) -> dict[str, Value]:
    """Compute number-like nodes.

    Args:
        nodes: what is wanted.
        slots: the settings of this binding.
        sizes: the number of elements of the ``tensor``, and of one ``row``, and of the whole ``model``.
        answers: the answers to the questions of earlier passes, by content key.

    Returns:
        the values of ``nodes`` by content key.

    Raises:
        InputError: when a number that must not be 0 is.
    """
    wanted = list(nodes)
    known: dict[str, Value] = dict(answers)
    called: dict[str, Any] = {}
    with np.errstate(all="ignore"):
        for node in _needed(wanted, known):
            args = [_spread(known[a.key], a, node) for a in node.args]
            known[node.key] = _call(node, args, called) if node.op == "call" else _compute(node, args, slots, sizes)
    return {node.key: known[node.key] for node in wanted}


def _needed(wanted: Sequence[Expr], known: Mapping[str, Value]) -> list[Expr]:
    """Return the nodes that have to be computed for what is wanted, arguments first."""

    def unknown(nodes: Iterable[Expr]) -> list[Expr]:
        return [n for n in nodes if n.key not in known]

    def below(node: Expr) -> list[Expr]:
        if node.op in QUESTIONS:
            raise LookupError(f"the question {node.op} has not been answered yet")
        return unknown(node.args)

    return walk(*unknown(wanted), below=below)


def _spread(value: Value, node: Expr, user: Expr) -> Value:
    """Give a number per model a further axis where it meets numbers per row or column."""
    if user.along is None or node.along is not None or node.sort is Sort.SELECTION or node.models is None:
        return value
    return np.asarray(value)[..., None]


def _compute(node: Expr, args: list[Value], slots: Sequence[float], sizes: Mapping[str, int]) -> Value:
    first = node.attributes[0] if node.attributes else None
    if node.op == "constant":
        return np.float64(first)
    if node.op == "slot":
        return np.float64(slots[int(first or 0)])
    if node.op == "slots":
        return np.array(slots[int(first or 0) : int(first or 0) + (node.models or 0)], np.float64)
    if node.op == "size":
        return np.float64(sizes[str(first or "tensor")])
    if node.op == "pick":
        return args[0][int(first or 0)] if np.ndim(args[0]) else args[0]  # one number may stand for that of each model
    if node.op in ("sum_models", "max_models"):
        return _fold(node.op, _per_model(args[0], node.args[0].models or 1))
    if node.op == "magnitude_at":
        return _magnitude(args[0][0], node)
    if node.op == "nonzero":
        if not np.all(args[0]):
            raise InputError(str(first))
        return args[0]
    return OPERATIONS[node.op](*args)


def _per_model(value: Value, models: int) -> NDArray[np.float64]:
    found = np.asarray(value, np.float64)
    return np.broadcast_to(found, (models, *found.shape[1:]))


def _fold(op: str, values: NDArray[np.float64]) -> Value:
    result = values[0]
    for value in values[1:]:
        result = result + value if op == "sum_models" else np.where(value > result, value, result)
    return np.asarray(result, np.float64)[()]


def _magnitude(keys: NDArray[Any], node: Expr) -> Value:
    """Return the float whose bits a selection's threshold is; 0 for the threshold that nothing reaches."""
    values = keys.view(f"f{keys.dtype.itemsize}").astype(np.float64)
    values = np.where(keys == np.iinfo(keys.dtype).max >> 1, 0.0, values)
    return values if node.models is not None else values[0]


def _call(node: Expr, args: list[Value], called: dict[str, Any]) -> Value:
    """Call a scalar function on plain floats, row by row where it is asked of rows."""
    name, position = node.attributes
    key = json.dumps([name, [a.key for a in node.args]])
    if key not in called:
        body = scalar_body(name)
        arrays = [np.asarray(a) for a in args]
        if node.along is None:
            called[key] = np.array(body(*(a.tolist() for a in arrays)), np.float64)
        else:
            count = max((a.shape[-1] for a in arrays if a.ndim), default=1)
            rows = [
                [a[..., min(i, a.shape[-1] - 1)].tolist() if a.ndim else a.tolist() for a in arrays]
                for i in range(count)
            ]
            called[key] = np.array([body(*row) for row in rows], np.float64).T
    result = called[key]
    return result if position is None else result[int(position)] if result.ndim > (node.along is not None) else result


def guards_in(root: Expr) -> list[Expr]:
    """Return the numbers of ``root`` that must not be 0 and that settings and shapes alone decide."""
    return [n for n in walk(root) if n.op == "nonzero" and n.depth == 0]
