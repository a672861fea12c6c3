"""The ways in which the draws of a template may turn out, each with its probability.

Nothing is known of a uniform but between which of the probabilities that it is compared with it falls. So a draw that
is compared with one probability turns out in two ways, and what a template computes is a list of cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from smelt.errors import SmeltError

Draw = tuple[int, int]  # the key of its noise stream, and its number among the draws of that stream

MOST = 4096  # outcomes that are looked at one by one


class UnderivableError(SmeltError):
    """What is asked for is not derived from the trace; the message says why."""


@dataclass(frozen=True)
class Outcomes:
    """All ways in which some independent draws may turn out.

    Args:
        probabilities: of each outcome.
        ends: by draw, for each outcome the upper end of the interval of [0, 1) in which the draw lies.
    """

    probabilities: NDArray[np.float64]
    ends: Mapping[Draw, NDArray[np.float64]]

    def below(self, draw: Draw, probability: float) -> NDArray[np.bool_]:
        """Return for each outcome whether the draw is less than ``probability``."""
        if draw not in self.ends:
            return np.full(len(self.probabilities), probability >= 1.0)
        return self.ends[draw] <= probability

    def split(self, size: int) -> Iterator[Outcomes]:
        """Yield the outcomes in runs of at most ``size``."""
        for start in range(0, len(self.probabilities), size):
            run = slice(start, start + size)
            yield Outcomes(self.probabilities[run], {draw: ends[run] for draw, ends in self.ends.items()})

    @property
    def first(self) -> Outcomes:
        """The one outcome in which every draw is as small as can be, so that nothing is dropped."""
        return Outcomes(np.ones(1), {draw: ends[:1] for draw, ends in self.ends.items()})


def list_outcomes(compared: Mapping[Draw, Sequence[float]]) -> Outcomes:
    """Return the outcomes of draws, given the probabilities that each is compared with.

    Raises:
        UnderivableError: when they are more than ``MOST``.
    """
    ends = {draw: np.array([*sorted({p for p in given if 0.0 < p < 1.0}), 1.0]) for draw, given in compared.items()}
    ends = {draw: found for draw, found in ends.items() if len(found) > 1}
    if prod(map(len, ends.values())) > MOST:
        raise UnderivableError(f"{len(ends)} draws take part in every entry; averages are worked out for up to 12")
    grids = np.meshgrid(*(np.arange(len(found)) for found in ends.values()), indexing="ij")
    places = {draw: grid.reshape(-1) for draw, grid in zip(ends, grids, strict=True)}
    chances = [np.diff(ends[draw], prepend=0.0)[place] for draw, place in places.items()]
    probabilities = np.prod([np.ones(len(chances[0]) if chances else 1), *chances], axis=0)
    return Outcomes(probabilities, {draw: ends[draw][place] for draw, place in places.items()})
