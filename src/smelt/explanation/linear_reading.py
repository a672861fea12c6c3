"""Reading a template on coefficients: what it computes, as linear combinations of its inputs, one per outcome.

A value is an array of outcomes × models × (inputs, then what is added to them). What is not linear in the inputs is
refused, but for signs: those that a method compares may be assumed to agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import PER_ELEMENT, QUESTIONS, Expr, Sort, walk
from smelt.algebra.numbers import OPERATIONS, numbers_in, solve
from smelt.explanation.outcomes import Draw, Outcomes, UnderivableError

Value = NDArray[Any]

BELOW = {"less": 0, "less_equal": 0, "greater": 1, "greater_equal": 1}  # where the smaller side stands
COMPARISONS = (*BELOW, "equal")
NOTHING = 1e-12  # of a coefficient: what rounding leaves of 1 − 1


@dataclass(frozen=True)
class Binding:
    """What a template's parts stand for.

    Args:
        slots, keys: the settings and noise streams.
        sizes: of the tensor and of a row.
        inputs: how many there are.
        rank: where every entry ranks in its row, from 0 (the smallest) to 1.
        certain: whether every probability that a draw is compared with is taken for 1, so that nothing is dropped.
    """

    slots: Sequence[float]
    keys: Sequence[int]
    sizes: Mapping[str, int]
    inputs: int
    rank: float = 0.5
    certain: bool = False


@dataclass
class Signs:
    """Which sign the difference of each input from a reference has: assumed, so that what is compared agrees.

    Args:
        reference: the input that differences are taken from; ``None`` until a sign is asked for.
        of_inputs: input → 1 or −1, filled by the first reading.
    """

    reference: int | None = None
    of_inputs: dict[int, float] = field(default_factory=dict)

    def find(self, value: Value) -> Value:
        """Return the sign of each linear combination, −1, 0 or 1.

        Raises:
            UnderivableError: when the signs that are assumed do not decide it.
        """
        factors, added = value[..., :-1], value[..., -1]
        if np.any(added) or np.any(np.abs(factors.sum(axis=-1)) > NOTHING):
            raise UnderivableError("the sizes of the weights decide, entry by entry")
        used = np.abs(factors) > NOTHING
        if self.reference is None and used.any():
            rows = used.reshape(-1, used.shape[-1])
            shared = rows[rows.any(axis=1)].all(axis=0)
            self.reference = int(np.argmax(shared if shared.any() else rows.any(axis=0)))
        for place in np.argwhere(used):
            if place[-1] != self.reference:
                self.of_inputs.setdefault(int(place[-1]), float(np.sign(factors[tuple(place)])))
        known = np.array([self.of_inputs.get(i, 0.0) for i in range(factors.shape[-1])])
        positive, negative = (np.any(side * factors * known > NOTHING, axis=-1) for side in (1, -1))
        if np.any(positive & negative):
            raise UnderivableError("the signs and sizes of the differences decide, entry by entry")
        return np.asarray(positive.astype(np.float64) - negative)


def compared_draws(root: Expr, binding: Binding) -> dict[Draw, list[float]]:
    """Return every draw of a template with the probabilities that it is compared with.

    Raises:
        UnderivableError: when these hang on the weights.
    """
    found: dict[Draw, list[float]] = {}
    for node in walk(root, below=_parts):
        if _is_draw(node):
            uniform, probability = _sides(node)
            chances = read(probability, binding, Outcomes(np.ones(1), {}), Signs())
            if chances[..., :-1].any():
                raise UnderivableError("the weights decide with which probability an entry is kept")
            for draw, chance in zip(_draws(uniform, binding), _spread(chances, uniform)[0], strict=True):
                found.setdefault(draw, []).append(float(chance[-1]))
    return found


def read(root: Expr, binding: Binding, outcomes: Outcomes, signs: Signs) -> Value:
    """Return what a template computes: for each outcome, the factor of each input, and last what is added.

    Raises:
        UnderivableError: when that is not linear, given the signs.
    """
    reader = _Reader(binding, outcomes, signs, _numbers(root, binding))
    with np.errstate(all="ignore"):
        for node in walk(root, below=_parts):
            reader.values[node.key] = reader.read(node)
    return np.asarray(reader.values[root.key])


@dataclass
class _Reader:
    binding: Binding
    outcomes: Outcomes
    signs: Signs
    numbers: Mapping[str, Any]
    values: dict[str, Value] = field(default_factory=dict)

    def read(self, node: Expr) -> Value:
        args = [self.values[a.key] for a in _parts(node)]
        if any(a.op == "uniform" for a in node.args) and not _is_draw(node):
            raise UnderivableError("a draw is put to another use than being compared with a probability")
        if node.key in self.numbers:
            return self._constant(self.numbers[node.key], node)
        if node.op in ("input", "rank", "uniform"):
            return self._leaf(node)
        if node.op in COMPARISONS:
            return self._compare(node, args)
        if node.op in ("logical_and", "logical_or"):
            return np.asarray(OPERATIONS[node.op](*args))
        if node.op == "where":
            return np.where(args[0][..., None], args[1], args[2])
        if node.op in ("stack", "pick", "sum_models"):
            return _along_models(node, args)
        return self._compute(node, args)

    def _constant(self, number: Any, node: Expr) -> Value:
        values = np.asarray(number).reshape(1, -1)
        return values if node.sort is Sort.CONDITION else self._added(values)

    def _added(self, values: Value) -> Value:
        result = np.zeros((*values.shape, self.binding.inputs + 1))
        result[..., -1] = values
        return result

    def _leaf(self, node: Expr) -> Value:
        if node.op == "uniform":
            return self._added(np.zeros((1, 1)))  # its value is never looked at
        if node.op == "rank":
            return self._added(np.full((1, 1), self.binding.rank * (self.binding.sizes["row"] - 1)))
        result = np.zeros((1, 1, self.binding.inputs + 1))
        result[..., int(node.attributes[0] or 0)] = 1.0
        return result

    def _compare(self, node: Expr, args: Sequence[Value]) -> Value:
        if _is_draw(node):
            return self._compare_draw(node, args)
        a, b = args
        if not (a[..., :-1].any() or b[..., :-1].any()):
            return np.asarray(OPERATIONS[node.op](a[..., -1], b[..., -1]))
        return np.asarray(OPERATIONS[node.op](self.signs.find(a - b), 0.0))

    def _compare_draw(self, node: Expr, args: Sequence[Value]) -> Value:
        uniform, probability = _sides(node)
        given = _spread(args[node.args.index(probability)], uniform)
        chances = np.ones(given.shape[1]) if self.binding.certain else given[0, :, -1]
        draws = _draws(uniform, self.binding)
        below = [self.outcomes.below(draw, float(p)) for draw, p in zip(draws, chances, strict=True)]
        is_left = node.args[BELOW[node.op]].op == "uniform"
        return np.asarray(np.stack(below, axis=1) == is_left)

    def _compute(self, node: Expr, args: Sequence[Value]) -> Value:
        fixed = [not a[..., :-1].any() for a in args]
        if all(fixed) and node.op in OPERATIONS:
            return self._added(np.asarray(OPERATIONS[node.op](*(a[..., -1] for a in args))))
        if node.op in ("add", "subtract"):
            return np.asarray(OPERATIONS[node.op](*args))
        if (node.op == "multiply" and any(fixed)) or (node.op == "divide" and fixed[1]):
            one, other = args if fixed[1] else args[::-1]
            return np.asarray(OPERATIONS[node.op](one, other[..., -1:]))
        if node.op == "absolute":
            return np.asarray(args[0] * self.signs.find(args[0])[..., None])
        raise UnderivableError(f"'{node.op}' is not linear in the weights")


def _numbers(root: Expr, binding: Binding) -> dict[str, Any]:
    """Return the numbers that the settings and sizes decide."""
    asked = [n for n in walk(root) if n.op in QUESTIONS]
    if asked:
        raise UnderivableError(f"it hangs on the weights of the whole tensor ('{asked[0].op}')")
    compared = [_sides(node)[1] for node in walk(root, below=_parts) if _is_draw(node)] if binding.certain else []
    given = {p.key: np.ones(p.models) if p.models else np.float64(1.0) for p in compared}
    return {**solve(numbers_in([root]), binding.slots, binding.sizes, given), **given}


def _parts(node: Expr) -> tuple[Expr, ...]:
    return node.args if node.sort in PER_ELEMENT and node.op != "rank" else ()


def _is_draw(node: Expr) -> bool:
    """Say whether a node compares a uniform with a probability."""
    return node.op in BELOW and [a.op for a in node.args].count("uniform") == 1


def _sides(node: Expr) -> tuple[Expr, Expr]:
    """Return the uniform of a comparison, and what it is compared with."""
    left, right = node.args
    return (left, right) if left.op == "uniform" else (right, left)


def _draws(uniform: Expr, binding: Binding) -> list[Draw]:
    first, number = (int(a or 0) for a in uniform.attributes)
    return [(binding.keys[first + model], number) for model in range(uniform.models or 1)]


def _spread(value: Value, like: Expr) -> Value:
    return np.broadcast_to(value, (value.shape[0], like.models or 1, value.shape[2]))


def _along_models(node: Expr, args: Sequence[Value]) -> Value:
    if node.op == "stack":
        outcomes = max(len(a) for a in args)
        return np.concatenate([np.broadcast_to(a, (outcomes, *a.shape[1:])) for a in args], axis=1)
    whole = _spread(args[0], node.args[0])
    if node.op == "pick":
        place = int(node.attributes[0] or 0)
        return whole[:, place : place + 1]
    return np.asarray(whole.sum(axis=1, keepdims=True))
