"""One output on its way: stage after stage its questions are answered, then its blocks are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Expr, Sort
from smelt.algebra.grid import BLOCK, block_bounds, block_count, sizes_of
from smelt.algebra.interpreter import Tile, TileProgram, meet
from smelt.algebra.numbers import Value, solve
from smelt.algebra.questions import Question, ask
from smelt.algebra.templates import Template
from smelt.errors import RunError
from smelt.planning.plan import Input, Output
from smelt.running.sinks import Sink
from smelt.running.sources import Reader
from smelt.tensors.dtypes import encode


class Task(Protocol):
    """An output whose current pass can be shared among workers, block by block.

    A worker that takes a fresh pass calls ``prepare``; then ``blocks`` blocks may be done in any order by any worker;
    whoever does the last one calls ``conclude``, which says whether the task is finished.
    """

    name: str
    blocks: int

    def prepare(self, reader: Reader) -> None:
        """Open the next pass."""

    def do_block(self, number: int, reader: Reader) -> None:
        """Do one block of the pass that is open."""

    def conclude(self, reader: Reader) -> bool:
        """Close the pass; return whether it was the last one."""


class CopyTask:
    """An output whose bytes are those of an input; inputs that must be equal are compared on the way."""

    def __init__(self, output: Output, labels: Sequence[str], sink: Sink) -> None:
        self.name = output.spec.name
        self.blocks = block_count(output.spec.shape)
        self._output = output
        self._labels = labels
        self._sink = sink

    def prepare(self, reader: Reader) -> None:
        """Nothing to prepare."""

    def do_block(self, number: int, reader: Reader) -> None:
        """Copy one block."""
        start, stop = block_bounds(self._output.spec.shape, number)
        position = start * self._output.spec.dtype.size_bytes
        others = [reader.raw(pieces, start, stop, i + 1) for i, pieces in enumerate(self._output.equal)]
        for parts in zip(reader.raw(self._output.inputs[0], start, stop), *others, strict=True):
            for pieces, part in zip(self._output.equal, parts[1:], strict=True):
                if not np.array_equal(part, parts[0]):
                    raise self._unequal(pieces)
            self._sink.write(self.name, position, parts[0])
            position += len(parts[0])

    def conclude(self, reader: Reader) -> bool:
        """One pass is all there is."""
        return True

    def _unequal(self, pieces: Input) -> RunError:
        first, second = self._output.inputs[0][0].checkpoint, pieces[0].checkpoint
        return RunError(
            f"'{self.name}' holds {self._output.spec.dtype.recipe_name} values that differ between "
            f"'{self._labels[first]}' and '{self._labels[second]}'; integers are only carried, never merged"
        )


class ComputedTask:
    """An output that is computed.

    Args:
        output, template: what to compute.
        sink: takes the result.
        programs: compiled expressions by content, shared by the tasks of a run.
    """

    def __init__(self, output: Output, template: Template, sink: Sink, programs: dict[Any, TileProgram]) -> None:
        self.name = output.spec.name
        self.blocks = block_count(output.spec.shape)
        self._output = output
        self._root = template.root
        self._stages = template.stages()
        self._sink = sink
        self._programs = programs
        self._precision: np.dtype[np.floating] = np.dtype(output.precision)
        self._answers: dict[str, Value] = {}
        self._questions: list[Question] = []
        self._partials: list[list[Any]] = []
        self._program: TileProgram | None = None
        self._numbers: Mapping[str, Value] = {}
        self._sizes = sizes_of(output.spec.shape)
        self._whole_rows = template.needs_rows
        self._ranks_long_rows = template.ranks and self._sizes["row"] > BLOCK

    def prepare(self, reader: Reader) -> None:
        """Open the next pass; stages whose questions can be answered from a glance are passed over."""
        while not self._questions and self._stages:
            self._questions = [self._ask(node) for node in self._stages.pop(0)]
            for question in self._questions:
                question.prepare(partial(self._evaluate, reader), self.blocks <= 1)
            self._collect_answers()
        operands = [e for q in self._questions for e in q.operands]
        self._program, self._numbers = self._ready(operands or [self._root])
        self._partials = [[None] * self.blocks for _ in self._questions]

    def do_block(self, number: int, reader: Reader) -> None:
        """Measure or write one block."""
        start, stop = block_bounds(self._output.spec.shape, number)
        if self._questions:
            self._measure(number, start, stop, reader)
        else:
            self._write(start, stop, reader)

    def conclude(self, reader: Reader) -> bool:
        """Answer what the pass was for."""
        if not self._questions:
            return True
        for question, parts in zip(self._questions, self._partials, strict=True):
            question.conclude(parts, partial(self._evaluate, reader))
        self._collect_answers()
        return False

    def _ask(self, node: Expr) -> Question:
        numbers = [a for a in node.args if a.sort is Sort.NUMBER]
        known = solve(numbers, self._output.slots, self._sizes, self._answers)
        value = known[numbers[0].key] if numbers else None
        return ask(node, value, self._output.spec.shape, self._precision)

    def _collect_answers(self) -> None:
        self._answers.update((q.node.key, q.answer) for q in self._questions if q.answer is not None)
        self._questions = [q for q in self._questions if q.answer is None]

    def _ready(self, roots: Sequence[Expr]) -> tuple[TileProgram, Mapping[str, Value]]:
        key = (tuple(r.key for r in roots), self._precision)
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = TileProgram(roots, self._precision)
        values = solve(program.numbers, self._output.slots, self._sizes, self._answers)
        return program, meet(program.numbers, values, self._precision)

    def _evaluate(self, reader: Reader, node: Expr, start: int, stop: int) -> NDArray[np.generic]:
        """Return a few elements of an expression: a sample, or one block."""
        parts = [values[0] for _, values in self._tiles(start, stop, reader, *self._ready([node]))]
        return np.concatenate(parts, axis=-1)

    def _tiles(
        self, start: int, stop: int, reader: Reader, program: TileProgram, numbers: Mapping[str, Value]
    ) -> Iterator[tuple[int, list[NDArray[np.generic]]]]:
        """Yield the values of a program on elements [start, stop), tile by tile, with the first element of each."""
        output, columns = self._output, self._sizes["row"]
        if self._ranks_long_rows:
            # Ranks need the whole row at once, however long it is; every block of it takes what is its own.
            row = start // columns * columns
            floats = [reader.whole(pieces, row, row + columns, self._precision) for pieces in output.inputs]
            values = program(Tile(row, columns, columns, floats, numbers, output.keys))
            yield start, [v[..., start - row : stop - row] for v in values]
            return
        for tile in reader.tiles(
            output.inputs, start, stop, self._precision, numbers, output.keys, columns, self._whole_rows
        ):
            yield tile.start, program(tile)

    def _measure(self, number: int, start: int, stop: int, reader: Reader) -> None:
        assert self._program is not None
        partials = [q.open_block(start, stop) for q in self._questions]
        for first, found in self._tiles(start, stop, reader, self._program, self._numbers):
            values = iter(found)
            for question, part in zip(self._questions, partials, strict=True):
                question.measure(part, [next(values) for _ in question.operands], first)
        for question, parts, part in zip(self._questions, self._partials, partials, strict=True):
            parts[number] = question.close_block(part)

    def _write(self, start: int, stop: int, reader: Reader) -> None:
        assert self._program is not None
        output, width = self._output, self._output.spec.dtype.size_bytes
        block = np.empty((stop - start) * width, np.uint8)
        for first, (values,) in self._tiles(start, stop, reader, self._program, self._numbers):
            place = (first - start) * width
            try:
                block[place : place + len(values) * width] = encode(values, output.spec.dtype)
            except OverflowError as error:
                raise RunError(f"'{self.name}': {error}; choose a wider 'out_dtype'") from error
        self._sink.write(self.name, start * width, block)


def make_task(
    output: Output, template: Template, labels: Sequence[str], sink: Sink, programs: dict[Any, TileProgram]
) -> Task:
    """Return the task that carries out an output."""
    if output.precision == "bytes":
        return CopyTask(output, labels, sink)
    return ComputedTask(output, template, sink, programs)
