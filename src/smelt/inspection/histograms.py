"""Histograms of magnitudes: from a kernel's bins to quantiles, shares of energy and moments.

What is taken from a histogram treats the entries of a bin as equal to their mean, which is exact. A bin is at most 2⁻⁷
of its values wide, so a quantile is right to that, a sum of squares to 2⁻¹⁶, one of fourth powers to 10⁻⁴; all three
are exact where the entries of each bin are equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from smelt.inspection.differences import QUANTILES, TOP_SHARE
from smelt.inspection.statistics_source import ENTRY, ZEROS

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Magnitudes by bin, as ``statistics_source`` says what a bin is.

    Args:
        zeros: how many are zero.
        first: the bin of ``counts[0]``, at least 1.
        counts: how many are in each bin from ``first`` on.
        lows: the sums of how far their patterns are above the lowest of the bin.
    """

    zeros: int
    first: int
    counts: Integers
    lows: Integers

    @cached_property
    def total(self) -> int:
        """How many there are."""
        return self.zeros + int(self.counts.sum())

    @cached_property
    def _filled(self) -> tuple[Integers, NDArray[np.float64]]:
        """The counts of the bins that hold any, ascending, and the means of these."""
        filled = np.flatnonzero(self.counts)
        counts = self.counts[filled]
        edges = ((filled + (self.first - 1)) << 16).astype(np.uint32).view(np.float32)
        places = self.lows[filled] / counts + 1
        return counts, edges.astype(np.float64) + places * np.spacing(edges).astype(np.float64)

    @cached_property
    def mean(self) -> float:
        """The mean magnitude; 0 of none."""
        counts, values = self._filled
        return float((counts * values).sum()) / max(self.total, 1)

    @cached_property
    def kurtosis(self) -> float | None:
        """The mean fourth power over the squared mean square; ``None`` where all are zero."""
        counts, values = self._filled
        if not len(counts):
            return None
        squares = (values / values[-1]) ** 2  # of the largest, so that no power leaves the range
        return float(self.total * (counts * squares**2).sum() / (counts * squares).sum() ** 2)

    def quantiles(self) -> tuple[float, ...] | None:
        """Return the smallest magnitudes that at least these shares of all do not exceed; ``None`` of none."""
        if not self.total:
            return None
        counts, values = self._filled
        known = np.concatenate([[0.0], values])
        up_to = self.zeros + np.concatenate([[0], np.cumsum(counts)])
        ranks = [math.ceil(level * self.total) for level in QUANTILES]
        return tuple(float(known[np.searchsorted(up_to, rank)]) for rank in ranks)

    def top_energy(self) -> float | None:
        """Return the share of the sum of squares in the top 20 %; ``None`` where all are zero."""
        counts, values = self._filled
        if not len(counts):
            return None
        wanted = top_count(self.total)
        above = np.cumsum(counts[::-1])[::-1] - counts
        taken = np.clip(wanted - above, 0, counts)
        squares = (values / values[-1]) ** 2
        return float((taken * squares).sum() / (counts * squares).sum())

    def top_bin(self) -> int:
        """Return the highest bin with which, and those above, the top 20 % are reached; never that of zero."""
        reached = np.cumsum(self.counts[::-1]) >= top_count(self.total)
        steps = int(np.argmax(reached)) if reached.any() else max(len(self.counts) - 1, 0)
        return self.first + max(len(self.counts) - 1, 0) - steps

    def count_from(self, bin_number: int) -> int:
        """Return how many are in a bin or above it."""
        return int(self.counts[max(bin_number - self.first, 0) :].sum())

    def octaves(self) -> tuple[tuple[int, int], ...]:
        """Return how many magnitudes lie in (2^e, 2^(e+1)], as pairs (e, count), e ascending."""
        counts, values = self._filled
        fractions, exponents = np.frexp(values)
        octaves = exponents - 1 - (fractions == 0.5)
        return tuple((int(e), int(counts[octaves == e].sum())) for e in np.unique(octaves))


def top_count(total: int) -> int:
    """Return how many of so many entries are the top 20 %; at least one."""
    return max(int(TOP_SHARE * total), 1)


def unpack(packed: NDArray[np.uint64]) -> Histogram:
    """Return what a kernel has packed, shape (WAYS, PLACES), as one histogram."""
    used = np.flatnonzero(packed.any(axis=0))
    # Every entry has added as much to its place, but for how far its pattern is above the lowest one of the bin.
    units = np.uint64(ENTRY) + (used.astype(np.uint64) << np.uint64(16))
    found = np.array([part.sum(axis=0) for part in np.divmod(packed[:, used], units)], np.int64)
    is_bin = used >= ZEROS
    zeros, bins = int(found[0, ~is_bin].sum()), used[is_bin] - (ZEROS - 1)
    first, end = (int(bins[0]), int(bins[-1]) + 1) if len(bins) else (1, 1)
    counts, lows = dense = np.zeros((2, end - first), np.int64)
    dense[:, bins - first] = found[:, is_bin]
    return Histogram(zeros, first, counts, lows)


def join(histograms: Sequence[Histogram]) -> Histogram:
    """Return the histogram of what is in any of some."""
    return reduce(_add, histograms)


def _add(one: Histogram, other: Histogram) -> Histogram:
    filled = [h for h in (one, other) if len(h.counts)]
    first = min((h.first for h in filled), default=1)
    end = max((h.first + len(h.counts) for h in filled), default=1)
    counts, lows = np.zeros((2, end - first), np.int64)
    for h in filled:
        place = slice(h.first - first, h.first - first + len(h.counts))
        counts[place] += h.counts
        lows[place] += h.lows
    return Histogram(one.zeros + other.zeros, first, counts, lows)
