"""Measuring one tensor of all models: a task that the schedule of a run can share among workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.grid import rows_and_columns
from smelt.algebra.numbers import sum_exactly
from smelt.inspection.blocks import (
    Compared,
    Kernels,
    bits_after_first,
    count_common,
    count_sampled,
    measure_block,
    pairs_of,
    read_difference,
)
from smelt.inspection.histograms import Histogram, join, unpack
from smelt.inspection.statistics_source import MOST_PACKED, PLACES, WAYS
from smelt.running.sources import Reader

# What an effective rank may take: the eigenvalues of a matrix of the shorter side, and the whole matrix in float64.
LARGEST_SIDE = 2048
LARGEST_MATRIX = 2**24  # elements

BLOCK = 2**20  # elements of a tensor that a worker takes at a time; part of the numbers, as partial sums hang on it


@dataclass(frozen=True)
class Sums:
    """What was counted and added up of a tensor, or of several.

    Args:
        elements: entries of each model.
        base: the sum of the base's squares.
        squares: of each model's differences.
        last_bits: the sums of the squares of what the last bits of each model's values are worth, from a sample.
        largest: the largest magnitude of each.
        nonfinite: what each has that is left out.
        supports: how large the top 20 % of each is, by whole bins.
        products: the sum of products of each pair.
        opposite, both: the entries of opposite sign of each pair, and those in which both differ.
        common: the entries that are in the top 20 % of both.
        chance: how many these would be on average at random places.
    """

    elements: int
    base: float
    squares: tuple[float, ...]
    last_bits: tuple[float, ...]
    largest: tuple[float, ...]
    nonfinite: tuple[int, ...]
    supports: tuple[int, ...]
    products: tuple[float, ...]
    opposite: tuple[int, ...]
    both: tuple[int, ...]
    common: tuple[int, ...]
    chance: tuple[float, ...]


@dataclass
class Packed:
    """Packed histograms that are being filled, and with how many entries of each model."""

    bins: NDArray[np.uint64]
    entries: int = 0


Take = Callable[[Compared, Sums, Sequence[Histogram], Sequence[float | None]], None]


class MeasureTask:
    """One tensor of all models on its way: one pass, and a second one where there are pairs.

    Args:
        tensor: which.
        kernels: the way to compiled kernels; without it NumPy does it.
        take: is called with the result, from the worker that is done with it.
        rank_lock: held while an effective rank is computed; without it none is.
    """

    def __init__(
        self, tensor: Compared, kernels: Kernels | None, take: Take, rank_lock: threading.Lock | None = None
    ) -> None:
        self.name = tensor.spec.name
        self.blocks = -(-tensor.spec.elements // BLOCK)
        self._tensor = tensor
        self._kernels = kernels
        self._take = take
        self._rank_lock = rank_lock
        self._lock = threading.Lock()
        self._sums: Sums | None = None
        self._histograms: list[Histogram] = []

    def prepare(self, reader: Reader) -> None:
        """Open the next pass."""
        models, pairs = self._tensor.models, self._tensor.pairs
        if self._sums is not None:
            self._bounds = np.array([_bound(h) for h in self._histograms], np.uint32)
            self._common = np.zeros(pairs, np.int64)
            return
        self._rows = np.zeros((self.blocks, 1 + 2 * models + pairs))
        self._packed: dict[int, Packed] = {}  # by worker
        self._nonfinite = np.zeros(models, np.int64)
        self._signs = np.zeros((pairs, 2), np.int64)
        self._largest = np.zeros(models)

    def do_block(self, number: int, reader: Reader) -> None:
        """Measure one block."""
        start, stop = self._bounds_of(number)
        if self._sums is not None:
            common = count_common(self._tensor, reader, start, stop, self._bounds, self._kernels)
            with self._lock:
                self._common += common
            return
        packed = self._make_room(id(reader), stop - start)
        block = measure_block(self._tensor, reader, start, stop, packed.bins, self._kernels)
        self._rows[number] = block.lanes[:, 0]
        with self._lock:
            # Whole numbers, or the largest of some: no order can change them.
            self._nonfinite += block.nonfinite
            self._signs += block.signs
            np.maximum(self._largest, block.largest, out=self._largest)

    def _bounds_of(self, block: int) -> tuple[int, int]:
        return block * BLOCK, min((block + 1) * BLOCK, self._tensor.spec.elements)

    def _make_room(self, worker: int, entries: int) -> Packed:
        """Return a worker's own bins, with room for a block."""
        packed = self._packed.get(worker)
        if packed is None or packed.entries + entries > MOST_PACKED:
            if packed is not None:
                self._unpack(packed)
            packed = self._packed[worker] = self._open_bins()
        packed.entries += entries
        return packed

    def _open_bins(self) -> Packed:
        return Packed(np.zeros((self._tensor.models, WAYS, PLACES), np.uint64))

    def _unpack(self, packed: Packed) -> None:
        found = [unpack(bins) for bins in packed.bins]
        with self._lock:
            known = self._histograms
            self._histograms = [join(pair) for pair in zip(known, found, strict=True)] if known else found

    def conclude(self, reader: Reader) -> bool:
        """Close the pass; what was measured is handed over after the last one."""
        if self._sums is None:
            for packed in self._packed.values() or [self._open_bins()]:
                self._unpack(packed)
            found = zip(self._histograms, self._nonfinite.tolist(), strict=True)
            # What is not finite stood in the histogram as zero.
            self._histograms = [replace(h, zeros=h.zeros - nonfinite) for h, nonfinite in found]
            self._sums = self._add_up()
            del self._packed, self._rows
            if self._tensor.pairs:
                return False
        else:
            self._sums = replace(self._sums, common=tuple(self._common.tolist()))
        self._take(self._tensor, self._sums, self._histograms, self._find_ranks(reader))
        del self._sums, self._histograms  # the task may be kept as long as the run lasts
        return True

    def _add_up(self) -> Sums:
        models, pairs = self._tensor.models, pairs_of(self._tensor.models)
        totals = [sum_exactly(column) for column in self._rows.T.tolist()]
        elements = self._tensor.spec.elements
        sampled = sum(count_sampled(stop - start) for start, stop in map(self._bounds_of, range(self.blocks)))
        supports = [h.count_from(h.top_bin()) for h in self._histograms]
        units = [2.0 ** -bits_after_first(dtype) for dtype in self._tensor.dtypes[1:]]
        powers = totals[1 + models : 1 + 2 * models]
        return Sums(
            elements,
            totals[0],
            tuple(totals[1 : 1 + models]),
            tuple(power * unit * unit * elements / max(sampled, 1) for power, unit in zip(powers, units, strict=True)),
            tuple(self._largest.tolist()),
            tuple(self._nonfinite.tolist()),
            tuple(supports),
            tuple(totals[1 + 2 * models :]),
            tuple(self._signs[:, 0].tolist()),
            tuple(self._signs[:, 1].tolist()),
            (0,) * len(pairs),
            tuple(supports[i] * supports[j] / max(elements, 1) for i, j in pairs),
        )

    def _find_ranks(self, reader: Reader) -> list[float | None]:
        models = range(self._tensor.models)
        if self._rank_lock is None or not may_have_rank(self._tensor.spec.shape):
            return [None for _ in models]
        with self._rank_lock:
            return [effective_rank(read_difference(self._tensor, reader, model)) for model in models]


def _bound(histogram: Histogram) -> int:
    """Return the smallest pattern in the top 20 %."""
    return ((histogram.top_bin() - 1) << 16) + 1


def may_have_rank(shape: tuple[int, ...]) -> bool:
    """Say whether an effective rank is computed of a tensor of this shape: of matrices that are not too large."""
    rows, columns = rows_and_columns(shape)
    return 1 < min(rows, columns) <= LARGEST_SIDE and rows * columns <= LARGEST_MATRIX


def effective_rank(matrix: NDArray[np.float64]) -> float | None:
    """Return e to the entropy of the singular values as shares of their sum; ``None`` where all are zero.

    The singular values are the roots of the eigenvalues of the smaller Gram matrix; what is within its rounding is 0.
    """
    largest = np.abs(matrix).max()
    if largest == 0:
        return None
    scaled = matrix / largest
    gram = scaled @ scaled.T if len(scaled) <= scaled.shape[1] else scaled.T @ scaled
    eigenvalues = np.linalg.eigvalsh(gram)
    noise = eigenvalues[-1] * len(gram) * np.finfo(np.float64).eps
    values = np.sqrt(eigenvalues[eigenvalues > noise])
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
