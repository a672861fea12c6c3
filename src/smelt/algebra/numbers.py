"""Numbers: float64 scalars, one per tensor or one per model, computed between the passes over a tensor.

Only IEEE operations in a fixed order, so the bits are the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import PER_ELEMENT, QUESTIONS, Expr, walk
from smelt.algebra.vocabulary import scalar_body
from smelt.errors import InputError

# A float64 scalar or vector, a bool scalar or vector, a Gram matrix as rows, or a selection (thresholds, cuts).
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
    seen: dict[str, Expr] = {}
    pending = [(r, False) for r in roots if r.sort in PER_ELEMENT][::-1]
    while pending:
        node, entered = pending.pop()
        if node.key in seen:
            continue
        if entered:
            seen[node.key] = node
            continue
        pending.append((node, True))
        pending.extend((a, False) for a in reversed(node.args) if a.sort in PER_ELEMENT)
    return list(seen.values())


def solve(nodes: Iterable[Expr], slots: Sequence[float], size: int, answers: Mapping[str, Value]) -> dict[str, Value]:
    """Compute number-like nodes.

    Args:
        nodes: what is wanted.
        slots: the settings of this binding.
        size: the number of elements of the tensor.
        answers: the answers to the questions of earlier passes, by content key.

    Returns:
        the values of ``nodes`` by content key.

    Raises:
        InputError: when a number that must not be 0 is.
    """
    wanted = list(nodes)
    known: dict[str, Value] = dict(answers)
    with np.errstate(all="ignore"):
        for node in _needed(wanted, known):
            known[node.key] = _compute(node, [known[a.key] for a in node.args], slots, size)
    return {node.key: known[node.key] for node in wanted}


def _needed(wanted: Sequence[Expr], known: Mapping[str, Value]) -> list[Expr]:
    order: dict[str, Expr] = {}
    pending = [(n, False) for n in reversed(wanted)]
    while pending:
        node, entered = pending.pop()
        if node.key in known or node.key in order:
            continue
        if entered:
            order[node.key] = node
        else:
            if node.op in QUESTIONS:
                raise LookupError(f"the question {node.op} has not been answered yet")
            pending.append((node, True))
            pending.extend((a, False) for a in reversed(node.args))
    return list(order.values())


def _compute(node: Expr, args: list[Value], slots: Sequence[float], size: int) -> Value:
    first = node.attributes[0] if node.attributes else None
    if node.op == "constant":
        return np.float64(first)
    if node.op == "slot":
        return np.float64(slots[int(first or 0)])
    if node.op == "slots":
        return np.array(slots[int(first or 0) : int(first or 0) + (node.models or 0)], np.float64)
    if node.op == "size":
        return np.float64(size)
    if node.op == "pick":
        return args[0][int(first or 0)]
    if node.op in ("sum_models", "max_models"):
        return _fold(node.op, _per_model(args[0], node.args[0].models))
    if node.op == "nonzero":
        if not np.all(args[0]):
            raise InputError(str(first))
        return args[0]
    if node.op == "call":
        return _call(node, args)
    return OPERATIONS[node.op](*args)


def _per_model(value: Value, models: int | None) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(value, np.float64), (models or 1,))


def _fold(op: str, values: NDArray[np.float64]) -> Value:
    result = values[0]
    for value in values[1:]:
        result = result + value if op == "sum_models" else np.where(value > result, value, result)
    return np.float64(result)


def _call(node: Expr, args: list[Value]) -> Value:
    name, position = node.attributes
    plain = [a.tolist() if isinstance(a, np.ndarray | np.generic) else a for a in args]
    result: Any = scalar_body(name)(*plain)
    if position is None:
        return np.array(list(result), np.float64)
    return np.float64(result[int(position)] if isinstance(result, tuple) else result)


def check_numbers(root: Expr, slots: Sequence[float]) -> None:
    """Evaluate what ``nonzero`` guards in ``root`` and settings alone decide.

    Raises:
        InputError: with the message of the guard that failed.
    """
    guards = [n for n in walk(root) if n.op == "nonzero" and n.depth == 0]
    if guards:
        solve(guards, slots, 0, {})
