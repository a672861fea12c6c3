"""The two ways in which a block is measured: by compiled kernels, and in NumPy. Both give the same bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from smelt.algebra.grid import LANES, NUMERICS_VERSION, rows_and_columns
from smelt.algebra.interpreter import Floats
from smelt.algebra.kernel_cache import load_kernel
from smelt.algebra.products import fold_in_halves
from smelt.inspection.statistics_source import ENTRY, PLACES, RAISED, SAMPLE, TILE, signature, write_statistics
from smelt.planning.plan import Input
from smelt.running.compiled import WORDS
from smelt.running.sources import Reader, Span
from smelt.tensors.dtypes import DTYPES, DType
from smelt.tensors.spec import TensorSpec

Kernels = Mapping[tuple[str, np.dtype[Any]], Callable[..., None]]  # by the name of a loop and the precision


@dataclass(frozen=True)
class Compared:
    """One tensor of all models.

    Args:
        spec: the base's.
        inputs: where the base, the models and the results have it.
        dtypes: how each stores it.
    """

    spec: TensorSpec
    inputs: tuple[Input, ...]
    dtypes: tuple[DType, ...]

    @property
    def models(self) -> int:
        """How many are compared to the base."""
        return len(self.inputs) - 1

    @property
    def pairs(self) -> int:
        """How many pairs these are."""
        return self.models * (self.models - 1) // 2

    @cached_property
    def precision(self) -> np.dtype[np.floating]:
        """In which differences are taken."""
        return np.dtype(np.float64 if any(d.name == "F64" for d in self.dtypes) else np.float32)

    @cached_property
    def smallest_powers(self) -> Floats:
        """The smallest normal number of each model's dtype: below it the last bit is worth no less."""
        infos = [ml_dtypes.finfo(dtype.array) for dtype in self.dtypes[1:]]  # type: ignore[no-untyped-call]
        return np.array([info.smallest_normal for info in infos], self.precision)


@dataclass(frozen=True)
class Block:
    """What is measured of a block, with room for it: M models beside the base, P pairs.

    Args:
        lanes: (1 + 2·M + P, 256), in the end folded into the first of each row: the sums of the base's squares, the
            differences' squares, the squared powers of two just below the magnitudes of a sample of each model, the
            products of pairs.
        nonfinite: (M,), how many entries are left out.
        signs: (P, 2), the entries of opposite sign, and those in which both differ.
        bins: (M, WAYS, PLACES), the packed histograms of this block and others.
        largest: (M,), in the precision of the differences.
    """

    lanes: NDArray[np.float64]
    nonfinite: NDArray[np.int64]
    signs: NDArray[np.int64]
    bins: NDArray[np.uint64]
    largest: Floats


def open_block(tensor: Compared, bins: NDArray[np.uint64]) -> Block:
    """Return room for what is measured of a block; its bins are added to those given."""
    models, pairs = tensor.models, tensor.pairs
    lanes = np.zeros((1 + 2 * models + pairs, LANES))
    signs, largest = np.zeros((pairs, 2), np.int64), np.zeros(models, tensor.precision)
    return Block(lanes, np.zeros(models, np.int64), signs, bins, largest)


def compile_kernels(dtypes: Sequence[DType], precisions: Sequence[np.dtype[Any]], loops: Sequence[str]) -> Kernels:
    """Return kernels for tensors of these dtypes; to be called before threads start.

    Args:
        dtypes: how tensors may be stored.
        precisions: float32 and float64, as they are needed.
        loops: ``measure`` and ``overlap``, likewise.

    Raises:
        KernelUnavailable: when there is no working compiler.
    """
    kernels = {}
    for precision in precisions:
        known = [d for d in DTYPES if d in dtypes and (precision == np.float64 or d.name != "F64")]
        text = write_statistics(known, precision.name)
        for loop in loops:
            types = signature(loop, precision.name)
            kernels[loop, precision] = load_kernel(text, loop, types, version=NUMERICS_VERSION)
    return kernels


def measure_block(
    tensor: Compared, reader: Reader, start: int, stop: int, bins: NDArray[np.uint64], kernels: Kernels | None
) -> Block:
    """Measure elements [start, stop) of a tensor, by kernels or without.

    Args:
        bins: (models, WAYS, PLACES), is added to; it must hold no more than ``MOST_PACKED`` entries with these.
    """
    block, precision, least = open_block(tensor, bins), tensor.precision, tensor.smallest_powers
    if kernels is None:
        for first, base, models in _tiles(tensor, reader, start, stop):
            _measure_tile(first - start, base, models, least, block)
        block.lanes[:, 0] = fold_in_halves(block.lanes)
        return block
    loop, words = kernels["measure", precision], _word(precision)
    scratch, tops = _scratch(tensor, reader), np.zeros(tensor.models, words)
    found = block.nonfinite, block.signs, block.lanes, block.bins, block.largest.view(words)
    for span in reader.spans(tensor.inputs, start, stop, TILE, precision):
        is_last = span.start + span.length == stop
        loop(*_stored(span), is_last, least.view(words), *scratch, tops, *found)
    return block


def count_common(
    tensor: Compared, reader: Reader, start: int, stop: int, bounds: NDArray[np.uint32], kernels: Kernels | None
) -> NDArray[np.int64]:
    """Return for each pair how many of elements [start, stop) are in both supports.

    Args:
        bounds: (models,), the smallest float32 pattern that is in a model's support; never 0.
    """
    common = np.zeros(tensor.pairs, np.int64)
    if kernels is None:
        for _, base, models in _tiles(tensor, reader, start, stop):
            patterns = [_patterns(_subtract(base, model)[0]) for model in models]
            common += [
                np.count_nonzero((patterns[i] >= bounds[i]) & (patterns[j] >= bounds[j]))
                for i, j in pairs_of(tensor.models)
            ]
        return common
    loop = kernels["overlap", tensor.precision]
    tops, found = np.zeros(tensor.models, _word(tensor.precision)), np.zeros(tensor.models, np.int64)
    for span in reader.spans(tensor.inputs, start, stop, TILE, tensor.precision):
        loop(*_stored(span), bounds + np.uint32(RAISED), *_scratch(tensor, reader), tops, found, common)
    return common


def count_sampled(length: int) -> int:
    """Return how many entries of a block are in its sample."""
    return length // TILE * SAMPLE + min(length % TILE, SAMPLE)


def pairs_of(models: int) -> list[tuple[int, int]]:
    """Return the pairs of so many models in the order of all results: (0, 1), (0, 2), (1, 2), …"""
    return [(i, j) for j in range(models) for i in range(j)]


def read_difference(tensor: Compared, reader: Reader, model: int) -> NDArray[np.float64]:
    """Return one model's whole difference as a matrix of rows × last dimension; what is not finite is 0."""
    places = (0, 1 + model)
    inputs, dtypes = tuple(tensor.inputs[i] for i in places), tuple(tensor.dtypes[i] for i in places)
    alone = Compared(tensor.spec, inputs, dtypes)
    parts = [_subtract(base, models[0])[0] for _, base, models in _tiles(alone, reader, 0, tensor.spec.elements)]
    return np.concatenate(parts).astype(np.float64).reshape(rows_and_columns(tensor.spec.shape))


def _stored(span: Span) -> tuple[Any, ...]:
    return (*(span.raw.view(word) for word in WORDS), span.offsets, span.codes, span.length)


def _scratch(tensor: Compared, reader: Reader) -> tuple[Any, ...]:
    """Return tiles of the reader's: values, differences, patterns, and these by pairs of neighbours."""
    kinds = ("values", tensor.models + 1, tensor.precision), ("differences", tensor.models, tensor.precision)
    made = []
    for name, rows, dtype in (*kinds, ("patterns", tensor.models, np.dtype(np.uint32))):
        size = rows * TILE * dtype.itemsize
        made.append(reader.buffer(name, size)[:size].view(dtype).reshape(rows, TILE))
    return (*made, made[-1].view(np.uint64))


def _tiles(tensor: Compared, reader: Reader, start: int, stop: int) -> Iterator[tuple[int, Floats, Sequence[Floats]]]:
    for tile in reader.tiles(tensor.inputs, start, stop, tensor.precision, {}, np.zeros((0, 1), np.uint64), 1, False):
        yield tile.start, tile.inputs[0], tile.inputs[1:]


def _word(precision: np.dtype[np.floating]) -> np.dtype[np.unsignedinteger[Any]]:
    return np.dtype(f"u{precision.itemsize}")


def bits_after_first(dtype: DType) -> int:
    """Return how many bits of a normal number follow the first one."""
    return int(ml_dtypes.finfo(dtype.array).nmant)  # type: ignore[no-untyped-call]


def _measure_tile(place: int, base: Floats, models: Sequence[Floats], least: Floats, block: Block) -> None:
    count = len(models)
    is_sampled = (place + np.arange(len(base))) % TILE < SAMPLE
    differences = []
    for i, model in enumerate(models):
        difference, is_left_out = _subtract(base, model)
        differences.append(difference)
        block.nonfinite[i] += np.count_nonzero(is_left_out)
        kept = np.where(is_left_out, model.dtype.type(0), model)
        block.largest[i] = max(block.largest[i], np.abs(difference).max())
        _add_products(difference, difference, block.lanes[1 + i])
        powers = np.where(is_sampled, _powers_below(kept, least[i]), 0)
        _add_products(powers, powers, block.lanes[1 + count + i])
        block.bins[i, 0] += _pack(_patterns(difference))
    kept = np.where(np.isfinite(base), base, base.dtype.type(0))
    _add_products(kept, kept, block.lanes[0])
    for pair, (i, j) in enumerate(pairs_of(count)):
        _add_products(differences[i], differences[j], block.lanes[1 + 2 * count + pair])
        signs = np.sign(differences[i]) * np.sign(differences[j])
        block.signs[pair] += [np.count_nonzero(signs < 0), np.count_nonzero(signs)]


def _subtract(base: Floats, model: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the difference, with 0 for what is not finite, and where that was."""
    with np.errstate(all="ignore"):
        difference = model - base
    is_left_out = ~np.isfinite(difference)
    difference[is_left_out] = 0
    return difference, is_left_out


def _patterns(difference: Floats) -> NDArray[np.uint32]:
    with np.errstate(all="ignore"):
        single = np.abs(difference).astype(np.float32).view(np.uint32)
    patterns: NDArray[np.uint32] = np.maximum(single, (difference != 0).astype(np.uint32))
    return patterns


def _pack(patterns: NDArray[np.uint32]) -> NDArray[np.uint64]:
    raised = patterns.astype(np.int64) + RAISED
    places = raised >> 16
    counts = np.bincount(places, minlength=PLACES)
    sums = np.bincount(places, raised, PLACES)  # below 2⁵³
    packed: NDArray[np.uint64] = counts.astype(np.uint64) * np.uint64(ENTRY) + sums.astype(np.uint64)
    return packed


def _powers_below(values: Floats, least: np.floating[Any]) -> Floats:
    """Return the powers of two just below the magnitudes, none below ``least``."""
    _, exponents = np.frexp(values)
    return np.where(values == 0, least, np.maximum(np.ldexp(values.dtype.type(1), exponents - 1), least))


def _add_products(ones: Floats, others: Floats, lanes: NDArray[np.float64]) -> None:
    with np.errstate(all="ignore"):
        products = ones.astype(np.float64) * others.astype(np.float64)
        for low in range(0, len(products), LANES):
            part = products[low : low + LANES]
            lanes[: len(part)] += part
