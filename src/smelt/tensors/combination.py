"""Algebra on checkpoints: ``2 * math - base`` as a list of terms, which planning turns into a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from smelt.tensors.checkpoint import Checkpoint

Term = tuple[float, "Checkpoint"]
Operand = Union["Combination", "Checkpoint"]


@dataclass(frozen=True)
class Combination:
    """A linear combination of checkpoints, each listed once, in order of first use."""

    terms: tuple[Term, ...]

    def __add__(self, other: Operand) -> Combination:
        return Combination(_collected(self.terms + as_combination(other).terms))

    def __sub__(self, other: Operand) -> Combination:
        return self + -1.0 * as_combination(other)

    def __radd__(self, other: object) -> Combination:
        if other == 0:  # where sum() starts
            return self
        raise TypeError(f"a checkpoint cannot be added to {other!r}")

    def __mul__(self, factor: float) -> Combination:
        if not isinstance(factor, Real):
            raise TypeError(f"checkpoints can be multiplied by numbers, not by {type(factor).__name__}")
        return Combination(tuple((float(factor) * weight, checkpoint) for weight, checkpoint in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Combination:
        return Combination(tuple((weight / divisor, checkpoint) for weight, checkpoint in self.terms))

    def __neg__(self) -> Combination:
        return -1.0 * self


def as_combination(operand: Operand) -> Combination:
    """Return a checkpoint as the combination of itself alone."""
    if isinstance(operand, Combination):
        return operand
    if not hasattr(operand, "specs"):
        raise TypeError(f"checkpoints can be combined with one another, not with {operand!r}")
    return Combination(((1.0, operand),))


def _collected(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Add up the weights of equal checkpoints."""
    weights: dict[int, float] = {}
    checkpoints = {id(checkpoint): checkpoint for _, checkpoint in terms}
    for weight, checkpoint in terms:
        weights[id(checkpoint)] = weights.get(id(checkpoint), 0.0) + weight
    return tuple((weight, checkpoints[key]) for key, weight in weights.items())
