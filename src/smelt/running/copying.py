"""An output whose bytes are those of an input, on its way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smelt.algebra.grid import block_bounds, block_count
from smelt.errors import RunError
from smelt.planning.plan import Input, Output
from smelt.running.nonfinite import Census, Counts, count_nonfinite
from smelt.running.sinks import Sink
from smelt.running.sources import Reader


class CopyTask:
    """An output whose bytes are those of an input; inputs that must be equal are compared on the way.

    Args:
        output: what to copy.
        labels: what the checkpoints are called in messages.
        sink: takes the bytes.
        census: takes the counts of values that are not finite.
    """

    def __init__(self, output: Output, labels: Sequence[str], sink: Sink, census: Census) -> None:
        self.name = output.spec.name
        self.blocks = block_count(output.spec.shape)
        self._output = output
        self._labels = labels
        self._sink = sink
        self._census = census
        self._found: dict[int, Counts] = {}  # by block, those that have any

    def prepare(self, reader: Reader) -> None:
        """Nothing to prepare."""

    def do_block(self, number: int, reader: Reader) -> None:
        """Copy one block."""
        start, stop = block_bounds(self._output.spec.shape, number)
        width = self._output.spec.dtype.size_bytes
        counts = self._sink.kept(self.name, start * width, stop * width)
        counts = self._copy(start, stop, reader) if counts is None else counts
        if counts:
            self._found[number] = counts

    def conclude(self, reader: Reader) -> bool:
        """One pass is all there is."""
        self._census.add(self.name, self._found.values())
        return True

    def _copy(self, start: int, stop: int, reader: Reader) -> Counts:
        output, total = self._output, 0
        position = start * output.spec.dtype.size_bytes
        others = [reader.raw(pieces, start, stop, i + 1) for i, pieces in enumerate(output.equal)]
        for parts in zip(reader.raw(output.inputs[0], start, stop), *others, strict=True):
            for pieces, part in zip(output.equal, parts[1:], strict=True):
                if not np.array_equal(part, parts[0]):
                    raise self._unequal(pieces)
            count = count_nonfinite(parts[0], output.spec.dtype)
            self._sink.write(self.name, position, parts[0], (count, count) if count else ())
            position += len(parts[0])
            total += count
        return (total, total) if total else ()

    def _unequal(self, pieces: Input) -> RunError:
        first, second = self._output.inputs[0][0].checkpoint, pieces[0].checkpoint
        return RunError(
            f"'{self.name}' holds {self._output.spec.dtype.recipe_name} values that differ between "
            f"'{self._labels[first]}' and '{self._labels[second]}'; integers are only carried, never merged"
        )
