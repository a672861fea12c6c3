"""What a template gives on average, and how far its results scatter, derived from its trace.

The template is read once for every way in which its draws may turn out. Each reading is a linear combination of the
inputs; their means and covariances over the outcomes are those of the result, for any weights. Where models elect a
sign, this is said of the entries on which no two of them disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Expr, walk
from smelt.explanation.linear_reading import NOTHING, Binding, Signs, compared_draws, read
from smelt.explanation.outcomes import Outcomes, UnderivableError, list_outcomes

SAME = 1e-9  # relative; closer numbers are one
AT_ONCE = 512  # outcomes, so that the memory which a reading takes does not grow with their number


@dataclass(frozen=True)
class Moments:
    """Mean and scatter of the factors of a template's inputs, and what the factors are when nothing is dropped.

    Args:
        mean, undropped: one factor per input.
        covariance: of the factors, inputs × inputs.
        reference: the input that differences are taken from.
        assumes_agreement: whether they hold only where the differences do not disagree in sign.
        probability: with which an entry is kept, where that is one number for all draws.
        draws: how many there are for an entry.
    """

    mean: NDArray[np.float64]
    undropped: NDArray[np.float64]
    covariance: NDArray[np.float64]
    reference: int
    assumes_agreement: bool
    probability: float | None
    draws: int

    @property
    def is_certain(self) -> bool:
        """Whether no draw changes the result."""
        return not self.covariance.any()

    @property
    def shares_draws(self) -> bool:
        """Whether the errors of two differences go together."""
        rest = np.delete(np.delete(self.covariance, self.reference, 0), self.reference, 1)
        return bool((rest - np.diag(np.diag(rest))).any())

    def noise(self, number: int) -> float | None:
        """Return the relative squared error per parameter of an input's share in the result; ``None`` for no share.

        That is the variance of its factor over the square of its mean.
        """
        share = self.mean[number]
        return float(self.covariance[number, number] / share**2) if share else None

    def amplification(self, number: int) -> float | None:
        """Return the mean share of an input over the one that it has when nothing is dropped; ``None`` without one."""
        return float(self.mean[number] / self.undropped[number]) if self.undropped[number] else None

    @property
    def law(self) -> tuple[float, int] | None:
        """(q, N) where dropping enlarges the sum of all shares by A(q, N) = (1 − (1 − q)^N) / q, and that is not 1.

        So it is before a disjoint mean, whose divisor shrinks with what is dropped.
        """
        if self.probability is None or self.draws < 2 or not 0.0 < self.probability < 1.0:
            return None
        law = (1.0 - (1.0 - self.probability) ** self.draws) / self.probability
        whole, undropped = (float(np.delete(f, self.reference).sum()) for f in (self.mean, self.undropped))
        return (self.probability, self.draws) if abs(whole - law * undropped) <= SAME * abs(whole) else None


def derive(root: Expr, binding: Binding) -> Moments:
    """Return mean and scatter of what a template computes.

    Raises:
        UnderivableError: when they do not follow from the trace, saying why.
    """
    compared = compared_draws(root, binding)
    outcomes, signs = list_outcomes(compared), Signs()
    read(root, binding, outcomes.first, signs)  # decides which signs are assumed
    factors = _factors(root, binding, outcomes, signs)
    certain = Binding(binding.slots, binding.keys, binding.sizes, binding.inputs, binding.rank, certain=True)
    undropped = _factors(root, certain, Outcomes(np.ones(1), {}), signs)[0]
    mean = outcomes.probabilities @ factors
    away = factors - mean
    covariance = _cleaned((away * outcomes.probabilities[:, None]).T @ away)
    reference = signs.reference if signs.reference is not None else _find_reference(covariance)
    chances = sorted({p for given in compared.values() for p in given})
    probability = chances[0] if len(chances) == 1 else None
    agreement = _needs_agreement(root, binding, outcomes, signs, factors)
    return Moments(_cleaned(mean), undropped, covariance, reference, agreement, probability, len(compared))


def draws(root: Expr) -> bool:
    """Say whether randomness takes part in a template."""
    return any(n.op == "uniform" for n in walk(root))


def _factors(root: Expr, binding: Binding, outcomes: Outcomes, signs: Signs) -> NDArray[np.float64]:
    """Return the factor of each input for each outcome.

    Raises:
        UnderivableError: when something other than a linear combination of the inputs is computed.
    """
    runs = []
    for run in outcomes.split(AT_ONCE):
        found = read(root, binding, run, signs)[:, 0]
        if not np.isfinite(found).all():
            raise UnderivableError("it divides by what may be 0")
        if found[:, -1].any():
            raise UnderivableError("something other than weights is added")
        runs.append(np.broadcast_to(found[:, :-1], (len(run.probabilities), binding.inputs)))
    return np.concatenate(runs)


def _needs_agreement(
    root: Expr, binding: Binding, outcomes: Outcomes, signs: Signs, factors: NDArray[np.float64]
) -> bool:
    """Say whether the factors hold only where the differences have the signs that were assumed, or all the opposite.

    Raises:
        UnderivableError: when they do not hold with all the opposite signs.
    """

    def holds(run: Outcomes, *turned: int) -> bool:
        other = {i: -sign if i in turned else sign for i, sign in signs.of_inputs.items()}
        found = _factors(root, binding, run, Signs(signs.reference, other))
        return np.allclose(found, factors[: len(found)])

    if signs.of_inputs and not holds(outcomes, *signs.of_inputs):
        raise UnderivableError("it matters in which direction a difference points, entry by entry")
    try:
        # What one outcome shows need not be looked for in all of them.
        one_by_one = (holds(run, i) for run in (outcomes.first, outcomes) for i in signs.of_inputs)
        return len(signs.of_inputs) > 1 and not all(one_by_one)
    except UnderivableError:
        return True


def _find_reference(covariance: NDArray[np.float64]) -> int:
    """Return the input without which the errors of the others are independent, if there is one."""
    scattering = [int(i) for i in np.flatnonzero(np.diag(covariance))]
    for candidate in scattering:
        rest = np.delete(np.delete(covariance, candidate, 0), candidate, 1)
        if not (rest - np.diag(np.diag(rest))).any():
            return candidate
    return scattering[0] if scattering else 0


def _cleaned(values: NDArray[np.float64] | Sequence[float]) -> NDArray[np.float64]:
    """Return values with those set to 0 that are what rounding left of 0."""
    found = np.asarray(values, np.float64)
    return np.where(np.abs(found) > NOTHING * max(1.0, float(np.abs(found).max(initial=0.0))), found, 0.0)
