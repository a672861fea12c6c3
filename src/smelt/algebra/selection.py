"""The k-th largest magnitude of a tensor, exactly, in one pass over it (rarely more) after a small sample.

Magnitudes are compared as integers: the bits of |x| order like |x|, with NaN above infinity. The answer is
(threshold, cut): an element is kept iff its key is above the threshold, or equal to it with an index below the cut, so
exactly k are kept, of equal magnitudes the ones with the lowest index. In bfloat16 differences 1–5 % of a tensor ties
at the threshold.

A sample of contiguous runs gives a bracket (low, high) that almost surely holds the threshold. One pass counts what is
above, at high and at low, piece by piece, and gathers the keys strictly between; the piece that holds the last element
to be kept is looked at again. If the bracket missed, or held too much, counting passes over 16 bits at a time find the
threshold, and one more pass counts what is equal to it. The answer depends neither on the sample nor on the pieces.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[Any]  # unsigned integers of the width of the floats

SAMPLE_RUNS = (128, 1024)  # the fewest and the most runs of a sample
ELEMENTS_PER_RUN = 2**18  # of the tensor, in between
RUN = 1024
STANDARD_ERRORS = 5.0  # of the sample's share above the threshold, on either side of the bracket
DIGIT = 16  # bits per counting pass
GATHER_LIMIT = 2**26  # the most keys that the searches of a tensor may gather together
PIECE = 2**16  # elements of which a block's counts tell no parts, however little is read at a time


def magnitude_keys(x: NDArray[np.generic]) -> Keys:
    """Return |x| as unsigned integers that order like |x|; every NaN is the same one, just above infinity."""
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    bits = np.ascontiguousarray(x).view(unsigned)
    magnitudes: Keys = np.bitwise_and(bits, unsigned.type((1 << (8 * unsigned.itemsize - 1)) - 1), dtype=unsigned)
    # The bits of a NaN that arithmetic hands on differ between machines.
    nan = np.array(np.inf, x.dtype).view(unsigned)[()] + unsigned.type(1)
    np.minimum(magnitudes, nan, out=magnitudes)
    return magnitudes


def _spread(counts: Sequence[int]) -> float:
    """Return the standard deviation of whole numbers."""
    n, total = len(counts), sum(counts)  # exact: integers
    return sqrt(n * sum(c * c for c in counts) - total * total) / n  # exact: integers, up to the root


def sample_starts(size: int) -> list[int]:
    """Return where the runs of a sample of ``size`` elements begin."""
    fewest, most = SAMPLE_RUNS
    runs = min(max(fewest, size // ELEMENTS_PER_RUN), most, size // RUN)
    return [i * (size - RUN) // max(runs - 1, 1) for i in range(runs)]


@dataclass(frozen=True, slots=True)
class Part:
    """What elements [start, stop) say about a bracket: how many are at its ends, and the keys strictly between."""

    start: int
    stop: int
    at_high: int
    at_low: int
    inside: int
    between: list[Keys] | None  # None where the search has given up gathering

    def join(self, other: Part) -> Part:
        """Return this part and the one after it as one."""
        keys = None if self.between is None or other.between is None else self.between + other.between
        numbers = (self.at_high + other.at_high, self.at_low + other.at_low, self.inside + other.inside)
        return Part(self.start, other.stop, *numbers, keys)


@dataclass
class Count:
    """What one block says."""

    above: int = 0
    parts: list[Part] = field(default_factory=list)
    histogram: NDArray[np.int64] | None = None


class Selection:
    """The search for one k-th largest magnitude; the runner feeds it passes until ``answer`` is there.

    Args:
        size: number of elements of the tensor.
        count: how many are to be kept; rounded down, clipped to [0, size], and 0 for NaN.
        searches: how many searches run at once; they share the room for gathered keys.
        bits: the width of the keys, 32 or 64.
    """

    def __init__(self, size: int, count: float, bits: int, searches: int = 1) -> None:
        self.size = size
        self.count = 0 if isnan(count) else int(min(max(count, 0), size))
        self.answer: tuple[int, int] | None = None  # (threshold key, cut index)
        self._low = self._high = 0  # the bracket in use
        self._prefix: tuple[int, int] | None = None  # (bits already fixed, value) while counting digit by digit
        self._above_prefix = 0
        self._bits = bits
        self._gathered = 0
        self._histogram: NDArray[np.int64] | None = None  # of the digits counted in this pass
        self._lock = threading.Lock()
        self._limit = min(GATHER_LIMIT // searches, max(size // 4, RUN))
        self.wanted: tuple[int, int] | None = None  # the piece that holds the cut, once the threshold is known
        self._found = (0, 0)  # that threshold, and how many equal to it remain to be kept in that piece

    def answer_trivial(self) -> None:
        """Answer if nothing or everything is to be kept."""
        if self.count in (0, self.size):
            # Nothing lies above the largest key, and everything at or above 0.
            self.answer = ((1 << (self._bits - 1)) - 1, 0) if self.count == 0 else (0, self.size)

    def answer_whole(self, x: NDArray[np.generic]) -> None:
        """Answer from all elements of the tensor."""
        keys = magnitude_keys(x)
        threshold = int(np.partition(keys, self.size - self.count)[self.size - self.count])
        remaining = self.count - int(np.count_nonzero(keys > threshold))
        self.answer = (threshold, int(np.flatnonzero(keys == threshold)[remaining - 1]) + 1)

    def set_bracket(self, x: NDArray[np.generic]) -> None:
        """Choose the bracket from a sample: the runs that start at ``sample_starts``."""
        keys = magnitude_keys(x)
        sample = np.sort(keys)
        share = self.count / self.size
        guess = sample[min(int((1.0 - share) * len(sample)), len(sample) - 1)]
        # Rows differ in scale, so that elements of a run are alike: what counts is how much the runs differ.
        runs = keys.reshape(-1, RUN)
        spreads = (_spread(np.count_nonzero(mask, axis=1).tolist()) / RUN for mask in (runs > guess, runs >= guess))
        error = max(sqrt(share * (1.0 - share) / RUN), *spreads) / sqrt(len(runs))
        low = int((1.0 - share - STANDARD_ERRORS * error) * len(sample)) - 1
        high = int((1.0 - share + STANDARD_ERRORS * error) * len(sample)) + 1
        self._low = int(sample[low]) if low >= 0 else 0
        self._high = int(sample[high]) if high < len(sample) else (1 << (self._bits - 1)) - 1

    def measure(self, count: Count, x: NDArray[np.generic], start: int) -> None:
        """Add the tile from element ``start`` on, shape (length,), to what its block says."""
        keys = magnitude_keys(x)
        if self._prefix is not None:
            self._count_digits(count, keys)
            return
        low, high = keys.dtype.type(self._low), keys.dtype.type(self._high)
        above, at_high, at_low = (int(np.count_nonzero(mask)) for mask in (keys > high, keys == high, keys == low))
        self.take(count, (start, start + len(x)), above, at_high, at_low, keys[(keys > low) & (keys < high)])

    @property
    def bracket(self) -> tuple[int, int] | None:
        """The bracket in use, ``None`` while digits are counted."""
        return None if self._prefix is not None else (self._low, self._high)

    def take(self, count: Count, piece: tuple[int, int], above: int, at_high: int, at_low: int, inside: Keys) -> None:
        """Add what elements [start, stop) say: how many keys are above, at the ends of and inside the bracket."""
        count.above += above
        # Workers share this sum; a lost update moves the point of giving up, and never the answer.
        self._gathered += len(inside)
        between = [inside] if self._gathered <= self._limit else None
        part = Part(*piece, at_high, at_low if self._low != self._high else 0, len(inside), between)
        if count.parts and piece[1] - count.parts[-1].start <= PIECE:
            part = count.parts.pop().join(part)
        count.parts.append(part)

    def close(self, count: Count) -> None:
        """Take over a complete block's histogram: there is no room for one per block."""
        if count.histogram is not None:
            with self._lock:
                self._histogram = count.histogram if self._histogram is None else self._histogram + count.histogram
            count.histogram = None

    def conclude(self, counts: Sequence[Count]) -> None:
        """Draw the conclusion from a complete pass: the piece of the cut, or what the next pass must look at."""
        if self._prefix is not None:
            self._next_digit()
            return
        parts = [part for count in counts for part in count.parts]
        above = sum(count.above for count in counts)  # exact: integers
        at_high = sum(part.at_high for part in parts)  # exact: integers
        if above < self.count <= above + at_high:
            self._cut(self._high, self.count - above, parts, [part.at_high for part in parts])
            return
        rank = self.count - above - at_high
        inside = sum(part.inside for part in parts)  # exact: integers
        at_low = sum(part.at_low for part in parts)  # exact: integers
        if 0 < rank <= inside and all(part.between is not None for part in parts):
            self._among_gathered(parts, rank)
        elif 0 < rank - inside <= at_low:
            self._cut(self._low, rank - inside, parts, [part.at_low for part in parts])
        else:
            self._prefix, self._above_prefix = (0, 0), 0

    def _among_gathered(self, parts: Sequence[Part], rank: int) -> None:
        gathered = [np.concatenate(part.between) for part in parts if part.between is not None]
        keys = np.concatenate(gathered)
        threshold = int(np.partition(keys, len(keys) - rank)[len(keys) - rank])
        remaining = rank - int(np.count_nonzero(keys > threshold))
        self._cut(threshold, remaining, parts, [int(np.count_nonzero(part == threshold)) for part in gathered])

    def _cut(self, threshold: int, remaining: int, parts: Sequence[Part], equal: Sequence[int]) -> None:
        """Find the piece of the ``remaining``-th element equal to the threshold; ``finish`` looks at that one again."""
        place = 0
        while equal[place] < remaining:
            remaining -= equal[place]
            place += 1
        self.wanted = parts[place].start, parts[place].stop
        self._found = threshold, remaining

    def finish(self, x: NDArray[np.generic]) -> None:
        """Take the elements of the piece that is ``wanted``, and answer."""
        assert self.wanted is not None
        threshold, remaining = self._found
        equal = np.flatnonzero(magnitude_keys(x) == threshold)
        self.answer = (threshold, self.wanted[0] + int(equal[remaining - 1]) + 1)

    def _count_digits(self, count: Count, keys: Keys) -> None:
        assert self._prefix is not None
        done, value = self._prefix
        kind = keys.dtype.type
        if done:
            keys = keys[(keys >> kind(self._bits - done)) == kind(value)]
        digits = (keys >> kind(self._bits - done - DIGIT)) & kind((1 << DIGIT) - 1)
        found = np.bincount(digits.astype(np.int64), minlength=1 << DIGIT)
        count.histogram = found if count.histogram is None else count.histogram + found

    def _next_digit(self) -> None:
        assert self._prefix is not None
        done, value = self._prefix
        histogram, self._histogram = self._histogram, None
        assert histogram is not None
        reached = self._above_prefix + np.cumsum(histogram[::-1])  # exact: integers
        steps = int(np.searchsorted(reached, self.count))
        digit = (1 << DIGIT) - 1 - steps
        self._above_prefix = int(reached[steps - 1]) if steps else self._above_prefix
        done, value = done + DIGIT, value << DIGIT | digit
        if done < self._bits:
            self._prefix = (done, value)
        else:
            self._prefix, self._low, self._high, self._gathered = None, value, value, 0
