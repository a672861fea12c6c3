"""Blocks through compiled kernels: one call from stored bytes to stored bytes, or to sums and counts.

It stands beside the interpreter's way of a block and gives the same bits. What it does not take on, ``ready`` answers
with ``None``, and the interpreter does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.engine import TILE, CompiledProgram, Packed
from smelt.algebra.expressions import Expr
from smelt.algebra.grid import BLOCK, LANES
from smelt.algebra.kernel_source import UnsupportedError
from smelt.algebra.questions import Search, Sum
from smelt.algebra.storage_source import CODES
from smelt.planning.plan import Output
from smelt.running.sources import Reader, Span
from smelt.tensors.dtypes import encode

Array = NDArray[np.generic]
Bytes = NDArray[np.uint8]

# As what kernels take stored bytes: one view for each width of a dtype.
WORDS = tuple(np.dtype(f"u{size_bytes}") for size_bytes in (1, 2, 4, 8))


@dataclass(frozen=True)
class Compiled:
    """A program with its numbers, ready to work on blocks of one output."""

    program: CompiledProgram
    packed: Packed
    output: Output
    columns: int
    whole_rows: bool  # whether runs of elements have to be whole rows
    keys: NDArray[np.uint64]  # the noise streams, (streams, 1 or rows)

    def spans(self, reader: Reader, start: int, stop: int) -> Iterator[Span]:
        """Yield elements [start, stop) of the inputs, as stored."""
        rows = self.columns if self.whole_rows else 1
        return reader.spans(self.output.inputs, start, stop, rows, self.program.precision)

    def values(self, reader: Reader, start: int, stop: int) -> Iterator[tuple[int, Array]]:
        """Yield the values of all roots, one below the other: (first element, (rows, length))."""
        for span in self.spans(reader, start, stop):
            yield span.start, self._values_of(span, reader)

    def runs(self, reader: Reader, starts: Sequence[int], length: int) -> Array:
        """Return the values of all roots on runs of elements, one run after the other, as if they were one."""
        return self._values_of(reader.gather(self.output.inputs, starts, length, self.program.precision), reader)

    def _values_of(self, span: Span, reader: Reader) -> Array:
        result = np.empty((self.program.rows_out, span.length), self.program.precision)
        self.program.loop("values", reader.dtypes)(*self._arguments(span, reader), result)
        return result

    def write(self, reader: Reader, start: int, stop: int, found: NDArray[np.int64]) -> Bytes:
        """Return the encoded bytes of a block, in a buffer of the reader's.

        Args:
            start, stop: the elements of the block.
            found: is added to: the values that are not finite in each input, and at its end in the block.

        Raises:
            OverflowError: when a magnitude is too large for a float8 format.
        """
        dtype, before = self.output.spec.dtype, found[-1]
        loop = self.program.loop("write", (*reader.dtypes, dtype))
        block = reader.buffer("block", BLOCK * dtype.size_bytes)
        for span in self.spans(reader, start, stop):
            place = (span.start - start) * dtype.size_bytes
            part = block[place : place + span.length * dtype.size_bytes]
            words = [part.view(w) if w.itemsize == dtype.size_bytes else np.empty(0, w) for w in WORDS]
            loop(*self._arguments(span, reader), CODES[dtype.name], *words, found)
        if dtype.size_bytes == 1 and found[-1] > before:  # NaN, or too large
            encode(np.concatenate([values[0] for _, values in self.values(reader, start, stop)]), dtype)
        return block[: (stop - start) * dtype.size_bytes]

    def sums(self, reader: Reader, start: int, stop: int, questions: Sequence[Sum]) -> list[NDArray[np.float64]]:
        """Return the lanes of a block for questions whose operands are this program's roots."""
        loop = self.program.loop("sums", reader.dtypes)
        pairs = [pair for question in questions for pair in question.pairs(self.program.row_of)]
        left, right = np.array(pairs, np.int64).T.copy()
        lanes = np.zeros((len(pairs), LANES), np.float64)
        for span in self.spans(reader, start, stop):
            loop(*self._arguments(span, reader), left, right, lanes)
        ends = np.cumsum([question.count for question in questions])  # exact: integers
        return np.split(lanes, ends[:-1])

    def counts(self, reader: Reader, start: int, stop: int, searches: Sequence[tuple[int, Search]]) -> None:
        """Count a block for searches, each among the values of one row of the result."""
        loop = self.program.loop("counts", reader.dtypes)
        rows = np.array([row for row, _ in searches], np.int64)
        lows, highs = np.array([s.bracket for _, s in searches], np.uint32).T.copy()
        made = self._tiles(reader, "keys", self.program.rows_out, lows.dtype)
        for span in self.spans(reader, start, stop):
            found = np.zeros((len(rows), 4), np.int64)
            room = len(rows) * (span.length + 1)
            gathered = reader.buffer("gathered", 4 * room)[: 4 * room].view(np.uint32).reshape(len(rows), -1)
            loop(*self._arguments(span, reader), rows, lows, highs, found, gathered, made)
            for (_, search), numbers, keys in zip(searches, found.tolist(), gathered, strict=True):
                above, at_high, at_low, inside = numbers
                search.take((span.start, span.start + span.length), above, at_high, at_low, keys[:inside].copy())

    def _arguments(self, span: Span, reader: Reader) -> tuple[Any, ...]:
        packed, program = self.packed, self.program
        rows = (max(len(self.output.inputs), 1), program.rows_scratch, program.rows_out)
        return (
            *(*(span.raw.view(word) for word in WORDS), span.offsets, span.codes),
            *(span.length, self._tile, span.start, self.columns),
            *(packed.p, packed.numbers, packed.rows, packed.columns, self.keys, packed.thresholds, packed.cuts),
            *(self._tiles(reader, name, count, program.precision) for name, count in zip("xso", rows, strict=True)),
        )

    @property
    def _tile(self) -> int:
        return self.columns if self.program.whole_rows else TILE

    def _tiles(self, reader: Reader, name: str, rows: int, dtype: np.dtype[Any]) -> Array:
        """Return a buffer of the reader's, shape (rows, tile)."""
        size = rows * self._tile * dtype.itemsize
        return reader.buffer(name, size)[:size].view(dtype).reshape(rows, -1)


def ready(roots: Sequence[Expr], output: Output, columns: int, programs: dict[Any, Any]) -> CompiledProgram | None:
    """Return the compiled program of ``roots``, ``None`` where the interpreter has to do it."""
    key = ("compiled", output.precision, tuple(r.key for r in roots))
    if key not in programs:
        try:
            made: CompiledProgram | None = CompiledProgram(roots, np.dtype(output.precision))
        except UnsupportedError:
            made = None
        programs.setdefault(key, made)  # another worker may have been first
    program: CompiledProgram | None = programs[key]
    return None if program is None or (program.whole_rows and columns > BLOCK) else program
