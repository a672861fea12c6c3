"""Sources: from stored bytes to float tiles, through positional reads into buffers that are used again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.grid import LANES
from smelt.algebra.interpreter import Floats, Tile
from smelt.algebra.numbers import Value
from smelt.algebra.storage_source import CODES
from smelt.planning.cost import span_elements, tile_elements
from smelt.planning.plan import Extent, Input
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.dtypes import DTYPES, DType, decode, dtype_of_array

Bytes = NDArray[np.uint8]

# What a span of all inputs may take, at the width of the kernel's tiles. With 1 MiB, which the second cache would hold,
# merges of 1.1 billion parameters take 1.1 to 2 times as long: workers meet at the interpreter's lock more often.
SPAN_BYTES = 2**22
# Of many inputs shorter reads would cost more time than bytes, and their number would grow with its square: 64 models
# take 1.5 times as long with a quarter of this.
SHORTEST_SPAN = 2**16  # elements


@dataclass(frozen=True)
class Piece:
    """Elements [start, stop) of a span, as stored: ``raw`` holds their bytes."""

    start: int
    stop: int
    dtype: DType
    raw: Bytes


@dataclass(frozen=True)
class Span:
    """A run of elements of all inputs, as kernels take it: input i from byte ``offsets[i]``, stored as ``codes[i]``."""

    start: int
    length: int
    raw: Bytes
    offsets: NDArray[np.int64]
    codes: NDArray[np.int64]


class Reader:
    """One thread's way to the inputs: its buffers, and how large a bite it takes.

    Args:
        checkpoints: of the plan.
        span, tile: elements per read and per tile, for tests; by default what ``planning.cost`` says.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], span: int | None = None, tile: int | None = None) -> None:
        self._checkpoints = checkpoints
        self._specs = [checkpoint.specs for checkpoint in checkpoints]
        self._span = span
        self._tile = tile
        self._buffers: dict[Hashable, Bytes] = {}
        self._last: tuple[tuple[Any, ...], Span] | None = None  # what the span buffer holds
        self.bytes_read = 0

    def tiles(
        self,
        inputs: Sequence[Input],
        start: int,
        stop: int,
        precision: np.dtype[np.floating],
        numbers: Mapping[str, Value],
        keys: NDArray[np.uint64],
        columns: int,
        whole_rows: bool,
    ) -> Iterator[Tile]:
        """Yield elements [start, stop) of a binding's inputs, tile by tile; of whole rows if asked for and possible.

        Raises:
            RunError: when an input cannot be read.
        """
        span = self._span or self._span_elements(inputs, stop - start)
        tile = self._tile or tile_elements(len(inputs))
        if whole_rows and start % columns == 0 and stop % columns == 0:
            span, tile = (max(size // columns, 1) * columns for size in (span, tile))
        for low in range(start, stop, span):
            high = min(low + span, stop)
            pieces = [self._read(number, pieces, low, high) for number, pieces in enumerate(inputs)]
            for first in range(low, high, tile):
                last = min(first + tile, high)
                floats = [_decode(p, first, last, precision) for p in pieces]
                yield Tile(first, last - first, columns, floats, numbers, keys)

    @cached_property
    def dtypes(self) -> tuple[DType, ...]:
        """The dtypes of all tensors that hold floats."""
        stored = {spec.dtype.name for specs in self._specs for spec in specs.values()}
        return tuple(dtype for dtype in DTYPES if dtype.is_float and dtype.name in stored)

    def spans(
        self, inputs: Sequence[Input], start: int, stop: int, rows: int, precision: np.dtype[np.floating]
    ) -> Iterator[Span]:
        """Yield elements [start, stop) of a binding's inputs as stored, in runs of whole ``rows`` elements.

        An input that is joined from several tensors is decoded here, to ``precision``, the type of the kernel's tiles;
        no dtype is wider. A span is valid until the next one.
        """
        wanted = SPAN_BYTES // (precision.itemsize * max(len(inputs), 1)) // LANES * LANES
        span = self._span or max(wanted, SHORTEST_SPAN)
        span = max(span // rows, 1) * rows
        for low in range(start, stop, span):
            high = min(low + span, stop)
            # Of a small tensor the first pass has read what the second one needs.
            key = inputs, low, high, precision
            if self._last is None or self._last[0] != key:
                self._last = None
                self._last = key, self._read_runs(inputs, [low], high - low, precision)
            yield self._last[1]

    def gather(
        self, inputs: Sequence[Input], starts: Sequence[int], length: int, precision: np.dtype[np.floating]
    ) -> Span:
        """Return runs of ``length`` elements as one span."""
        self._last = None
        return self._read_runs(inputs, starts, length, precision)

    def _read_runs(
        self, inputs: Sequence[Input], starts: Sequence[int], length: int, precision: np.dtype[np.floating]
    ) -> Span:
        total = length * len(starts)
        width = -(-total * precision.itemsize // 8) * 8
        size = width * max(len(inputs), 1)
        raw = self.buffer(-1, size)[:size]
        codes = []
        for number, extents in enumerate(inputs):
            stored = self._stored_as(extents)
            dtype = stored or dtype_of_array(precision)
            run_bytes, place = length * dtype.size_bytes, number * width
            for start in starts:
                run, place = raw[place : place + run_bytes], place + run_bytes
                if stored:
                    self._read_stored(extents, start, start + length, run)
                else:
                    stop = start + length
                    run.view(precision)[:] = _decode(self._read(-2, extents, start, stop), start, stop, precision)
            codes.append(CODES[dtype.name])
        offsets = np.arange(len(inputs), dtype=np.int64) * width
        return Span(starts[0], total, raw, offsets, np.array(codes, np.int64))

    def _stored_as(self, extents: Input) -> DType | None:
        """Return the dtype of an input, ``None`` where it is joined from tensors of several."""
        first = self._dtype(extents[0])
        return first if all(self._dtype(extent).name == first.name for extent in extents[1:]) else None

    def _read_stored(self, extents: Input, start: int, stop: int, raw: Bytes) -> None:
        """Fill ``raw`` with elements [start, stop) of tensors of one dtype, at once where they are stored so."""
        width = self._dtype(extents[0]).size_bytes
        if len(extents) == 1:
            self._read_bytes(extents[0], (extents[0].start + start) * width, raw)
            return
        reads: list[tuple[Extent, int, int]] = []  # where each begins, its first byte there, and its first one in raw
        position = filled = 0
        last: Extent | None = None
        for extent in extents:
            low, high = max(start - position, 0), min(stop - position, extent.count)
            position += extent.count
            if low < high:
                if last is None or low or not self._follows(extent, last):
                    reads.append((extent, (extent.start + low) * width, filled))
                filled += (high - low) * width
                last = extent
        ends = [begin for *_, begin in reads[1:]] + [filled]
        for (extent, start_byte, begin), end in zip(reads, ends, strict=True):
            self._read_bytes(extent, start_byte, raw[begin:end])

    def _follows(self, extent: Extent, other: Extent) -> bool:
        """Say whether an extent is stored right behind another one."""
        if extent.start or extent.checkpoint != other.checkpoint:
            return False
        is_read_to_its_end = other.start + other.count == self._specs[other.checkpoint][other.tensor].elements
        return is_read_to_its_end and self._checkpoints[other.checkpoint].follows(extent.tensor, other.tensor)

    def raw(self, pieces: Input, start: int, stop: int, number: int = 0) -> Iterator[Bytes]:
        """Yield the stored bytes of elements [start, stop); each is valid until the next read of that ``number``."""
        width = self._dtype(pieces[0]).size_bytes
        span = self._span or span_elements(1, width)
        for low in range(start, stop, span):
            for piece in self._read(number, pieces, low, min(low + span, stop)):
                yield piece.raw

    def _dtype(self, extent: Extent) -> DType:
        return self._specs[extent.checkpoint][extent.tensor].dtype

    def _span_elements(self, inputs: Sequence[Input], elements: int) -> int:
        if elements <= LANES:  # a span is never shorter
            return LANES
        return span_elements(len(inputs), max((self._dtype(e).size_bytes for i in inputs for e in i), default=1))

    def _read(self, number: int, extents: Input, start: int, stop: int) -> list[Piece]:
        if len(extents) == 1:
            dtype = self._dtype(extents[0])
            raw = self.buffer(number, (stop - start) * dtype.size_bytes)[: (stop - start) * dtype.size_bytes]
            self._read_bytes(extents[0], (extents[0].start + start) * dtype.size_bytes, raw)
            return [Piece(start, stop, dtype, raw)]
        return self._join(number, extents, start, stop)

    def _join(self, number: int, extents: Input, start: int, stop: int) -> list[Piece]:
        pieces, position, used = [], 0, 0
        dtypes = [self._dtype(e) for e in extents]
        buffer = self.buffer(number, (stop - start) * max(d.size_bytes for d in dtypes))
        for extent, dtype in zip(extents, dtypes, strict=True):
            low, high = max(start, position), min(stop, position + extent.count)
            if low < high:
                size = (high - low) * dtype.size_bytes
                raw = buffer[used : used + size]
                self._read_bytes(extent, (extent.start + low - position) * dtype.size_bytes, raw)
                pieces.append(Piece(low, high, dtype, raw))
                used += size
            position += extent.count
        return pieces

    def _read_bytes(self, extent: Extent, start_byte: int, raw: Bytes) -> None:
        self._checkpoints[extent.checkpoint].read(extent.tensor, start_byte, raw)
        self.bytes_read += len(raw)

    def buffer(self, name: Hashable, size: int) -> Bytes:
        """Return this thread's buffer of that name, at least ``size`` bytes; what is in it holds until the next use."""
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size:
            buffer = self._buffers[name] = np.empty(size, np.uint8)
        return buffer


def _decode(pieces: Sequence[Piece], start: int, stop: int, precision: np.dtype[np.floating]) -> Floats:
    tile = np.empty(stop - start, precision)
    for piece in pieces:
        low, high = max(start, piece.start), min(stop, piece.stop)
        if low < high:
            width = piece.dtype.size_bytes
            raw = piece.raw[(low - piece.start) * width : (high - piece.start) * width]
            decode(raw, piece.dtype, tile[low - start : high - start])
    return tile
