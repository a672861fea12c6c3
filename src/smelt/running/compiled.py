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
from smelt.planning.plan import Output
from smelt.running.nonfinite import count_nonfinite
from smelt.running.sources import CODES, Reader, Span
from smelt.tensors.dtypes import encode

Array = NDArray[np.generic]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Compiled:
    """A program with its numbers, ready to work on blocks of one output."""

    program: CompiledProgram
    packed: Packed
    output: Output
    columns: int
    whole_rows: bool  # whether runs of elements have to be whole rows
    keys: NDArray[np.uint64]  # the noise streams

    def spans(self, reader: Reader, start: int, stop: int) -> Iterator[Span]:
        """Yield elements [start, stop) of the inputs, as stored."""
        rows = self.columns if self.whole_rows else 1
        return reader.spans(self.output.inputs, start, stop, rows)

    def values(self, reader: Reader, start: int, stop: int) -> Iterator[tuple[int, Array]]:
        """Yield the values of all roots, one below the other: (first element, (rows, length))."""
        loop = self.program.loop("values")
        for span in self.spans(reader, start, stop):
            result = np.empty((self.program.rows_out, span.length), np.float32)
            loop(*self._arguments(span, reader), result)
            yield span.start, result

    def runs(self, reader: Reader, starts: Sequence[int], length: int) -> Array:
        """Return the values of all roots on runs of elements, one run after the other, as if they were one."""
        span = reader.gather(self.output.inputs, starts, length)
        result = np.empty((self.program.rows_out, span.length), np.float32)
        self.program.loop("values")(*self._arguments(span, reader), result)
        return result

    def write(self, reader: Reader, start: int, stop: int, found: NDArray[np.int64]) -> Bytes:
        """Return the encoded bytes of a block, in a buffer of the reader's.

        Args:
            start, stop: the elements of the block.
            found: is added to: the values that are not finite in each input, and at its end in the block.

        Raises:
            OverflowError: when a magnitude is too large for a float8 format.
        """
        dtype = self.output.spec.dtype
        block = reader.buffer("block", BLOCK * dtype.size_bytes)
        for span in self.spans(reader, start, stop):
            place = (span.start - start) * dtype.size_bytes
            part = block[place : place + span.length * dtype.size_bytes]
            if dtype.name in CODES:
                self._write_span(span, reader, part, dtype.name, found)
                continue
            floats, before = reader.buffer("floats", BLOCK * 4)[: span.length * 4], found[-1]
            self._write_span(span, reader, floats, "F32", found)
            part[:] = encode(floats.view(np.float32), dtype)
            found[-1] = before + count_nonfinite(part, dtype)  # what is finite in float32 may not be in the output
        return block[: (stop - start) * dtype.size_bytes]

    def _write_span(self, span: Span, reader: Reader, part: Bytes, dtype: str, found: NDArray[np.int64]) -> None:
        halves, words = (np.empty(0, kind) for kind in (np.uint16, np.uint32))
        if dtype == "BF16":
            halves = part.view(np.uint16)
        else:
            words = part.view(np.uint32)
        self.program.loop("write")(*self._arguments(span, reader), CODES[dtype], halves, words, found)

    def sums(self, reader: Reader, start: int, stop: int, questions: Sequence[Sum]) -> list[NDArray[np.float64]]:
        """Return the lanes of a block for questions whose operands are this program's roots."""
        loop = self.program.loop("sums")
        pairs = [pair for question in questions for pair in question.pairs(self.program.row_of)]
        left, right = np.array(pairs, np.int64).T.copy()
        lanes = np.zeros((len(pairs), LANES), np.float64)
        for span in self.spans(reader, start, stop):
            loop(*self._arguments(span, reader), left, right, lanes)
        ends = np.cumsum([question.count for question in questions])  # exact: integers
        return np.split(lanes, ends[:-1])

    def counts(self, reader: Reader, start: int, stop: int, searches: Sequence[tuple[int, Search]]) -> None:
        """Count a block for searches, each among the values of one row of the result."""
        loop = self.program.loop("counts")
        rows = np.array([row for row, _ in searches], np.int64)
        lows, highs = np.array([s.bracket for _, s in searches], np.uint32).T.copy()
        for span in self.spans(reader, start, stop):
            found = np.zeros((len(rows), 4), np.int64)
            room = len(rows) * (span.length + 1)
            gathered = reader.buffer("gathered", 4 * room)[: 4 * room].view(np.uint32).reshape(len(rows), -1)
            loop(*self._arguments(span, reader), rows, lows, highs, found, gathered)
            for (_, search), numbers, keys in zip(searches, found.tolist(), gathered, strict=True):
                above, at_high, at_low, inside = numbers
                search.take((span.start, span.start + span.length), above, at_high, at_low, keys[:inside].copy())

    def _arguments(self, span: Span, reader: Reader) -> tuple[Any, ...]:
        tile = self.columns if self.program.whole_rows else TILE
        packed, program = self.packed, self.program
        x = _tiles(reader, "x", max(len(self.output.inputs), 1), tile)
        scratch = _tiles(reader, "scratch", program.rows_scratch, tile)
        out = _tiles(reader, "out", program.rows_out, tile)
        return (
            *(span.raw.view(np.uint16), span.raw.view(np.uint32), span.offsets, span.codes),
            *(span.length, span.start, self.columns, tile),
            *(packed.p, packed.numbers, packed.rows, packed.columns, self.keys, packed.thresholds, packed.cuts),
            *(*x, *scratch, *out),
        )


def _tiles(reader: Reader, name: str, rows: int, tile: int) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Return a buffer of the reader's as floats and as integers, both (rows, tile)."""
    words = reader.buffer(name, 4 * rows * tile)[: 4 * rows * tile].view(np.uint32).reshape(rows, tile)
    return words.view(np.float32), words


def ready(roots: Sequence[Expr], output: Output, columns: int, programs: dict[Any, Any]) -> CompiledProgram | None:
    """Return the compiled program of ``roots``, ``None`` where the interpreter has to do it."""
    if output.precision != "float32":
        return None
    key = ("compiled", tuple(r.key for r in roots))
    if key not in programs:
        try:
            made: CompiledProgram | None = CompiledProgram(roots)
        except UnsupportedError:
            made = None
        programs.setdefault(key, made)  # another worker may have been first
    program: CompiledProgram | None = programs[key]
    return None if program is None or (program.whole_rows and columns > BLOCK) else program
