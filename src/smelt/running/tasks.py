"""One output on its way: stage after stage its questions are answered, then its blocks are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Attribute, Expr, Sort
from smelt.algebra.grid import block_bounds, block_count
from smelt.algebra.numbers import Value
from smelt.algebra.questions import Question, Select, Sum, ask
from smelt.errors import RunError
from smelt.running.batches import Batch
from smelt.running.compiled import Compiled
from smelt.running.copying import CopyTask
from smelt.running.nonfinite import Census, Counts
from smelt.running.sinks import Sink
from smelt.running.sources import Reader
from smelt.running.values import Values


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


@dataclass(frozen=True)
class Looks:
    """What a question may look at beside its passes; several may look at the same."""

    values: Values
    reader: Reader
    seen: dict[tuple[str, int], NDArray[np.generic]] = field(default_factory=dict)  # samples by operand and length

    def block(self, operand: Expr, start: int, stop: int) -> NDArray[np.generic]:
        """Return elements [start, stop) of an operand."""
        return self.values.of(operand, start, stop, self.reader)

    def runs(self, operand: Expr, starts: Sequence[int], length: int) -> NDArray[np.generic]:
        """Return runs of elements, at once where a kernel can take them for one."""
        key = operand.key, len(starts) * length
        if key not in self.seen:
            self.seen[key] = self.values.runs(operand, starts, length, self.reader)
        return self.seen[key]


class ComputedTask:
    """An output that is computed; or several small ones, as the rows of one.

    Args:
        batch: what to compute.
        sink: takes the result.
        census: takes the counts of values that are not finite.
        programs: prepared expressions by content, shared by the tasks of a run.
        engine: whether compiled kernels do what they can.
    """

    def __init__(
        self,
        batch: Batch,
        sink: Sink,
        census: Census,
        programs: dict[Any, Any],
        engine: bool,
    ) -> None:
        output, template = batch.output, batch.template
        self.name = output.spec.name
        self.blocks = block_count(output.spec.shape)
        self._output = output
        self._members = batch.members
        self._root = template.root
        self._stages = template.stages()
        self._sink = sink
        self._census = census
        self._found: dict[int, Counts] = {}  # by block, those that have any
        self._values = Values(output, template, programs, engine)
        self._final: Compiled | None = None  # the kernel of the result, once nothing is asked any more
        self._sums: Compiled | None = None  # that of all sums of the pass
        self._counts: Compiled | None = None  # that of all its selections
        self._questions: list[Question] = []
        self._partials: list[list[Any]] = []
        self._template = template
        self.elements = output.spec.elements
        self.key_bytes = self._values.precision.itemsize
        self.model_questions = tuple(n.attributes for stage in self._stages for n in stage if n.attributes)
        self.waiting: list[Expr] = []  # questions about the whole model, which this task alone cannot answer

    def prepare(self, reader: Reader) -> None:
        """Open the next pass; stages whose questions can be answered from a glance are passed over."""
        while not self._questions and not self.waiting and self._stages:
            stage = self._stages.pop(0)
            self.waiting = [node for node in stage if node.attributes]
            self._questions = [self._ask(node) for node in stage if not node.attributes]
            looks = Looks(self._values, reader)
            for question in self._questions:
                question.prepare(looks, self.blocks <= 1)
            self._collect_answers()
        if self.waiting and not self._questions:
            return
        self._choose_kernels()
        self._partials = [[None] * self.blocks for _ in self._questions]

    def do_block(self, number: int, reader: Reader) -> None:
        """Measure or write one block."""
        start, stop = self.bounds(number)
        if self._questions:
            self._measure(number, start, stop, reader)
        elif self._members:
            self._write_members(start, stop, reader)
        elif not self.waiting:
            width = self._output.spec.dtype.size_bytes
            counts = self._sink.kept(self.name, start * width, stop * width)
            counts = self._write(start, stop, reader) if counts is None else counts
            if counts:
                self._found[number] = counts

    def conclude(self, reader: Reader) -> bool:
        """Answer what the pass was for; a task that waits is done for now."""
        if not self._questions:
            if not self.waiting:
                self._census.add(self.name, self._found.values())
            return True
        for question, parts in zip(self._questions, self._partials, strict=True):
            question.conclude(parts, Looks(self._values, reader))
        self._collect_answers()
        return bool(self.waiting) and not self._questions

    def bounds(self, block: int) -> tuple[int, int]:
        """Return the first element of a block and the one after its last."""
        return block_bounds(self._output.spec.shape, block)

    def wanted(self, attributes: tuple[Attribute, ...], elements: int) -> NDArray[np.float64]:
        """Return how many elements of the whole model's ``elements`` are to be selected, model by model."""
        node = self._waiting_for(attributes)
        known = self._values.solve([node.args[1]], model=elements)
        return np.broadcast_to(np.asarray(known[node.args[1].key], np.float64), (node.models or 1,))

    def values_of_block(
        self, attributes: tuple[Attribute, ...], block: int, reader: Reader
    ) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Yield what is selected from, tile by tile, each of shape (models, length)."""
        operand = self._waiting_for(attributes).args[0]
        for first, (values,) in self._values.on([operand], *self.bounds(block), reader):
            yield first, values.reshape(-1, values.shape[-1])

    def evaluate_waiting(
        self, attributes: tuple[Attribute, ...], start: int, stop: int, reader: Reader
    ) -> NDArray[np.generic]:
        """Return elements [start, stop) of what is selected from, shape (models, stop − start)."""
        values = self._values.of(self._waiting_for(attributes).args[0], start, stop, reader)
        return values.reshape(-1, values.shape[-1])

    def resume(self, attributes: tuple[Attribute, ...], answer: Value) -> None:
        """Take the answer to a question about the whole model."""
        node = self._waiting_for(attributes)
        self._values.learn({node.key: answer})
        self.waiting = [n for n in self.waiting if n is not node]

    def _waiting_for(self, attributes: tuple[Attribute, ...]) -> Expr:
        return next(n for n in self.waiting if n.attributes == attributes)

    def _ask(self, node: Expr) -> Question:
        numbers = [a for a in node.args if a.sort is Sort.NUMBER]
        value = self._values.solve(numbers)[numbers[0].key] if numbers else None
        return ask(node, value, self._output.spec.shape, self._values.precision)

    def _collect_answers(self) -> None:
        self._values.learn({q.node.key: q.answer for q in self._questions if q.answer is not None})
        self._questions = [q for q in self._questions if q.answer is None]

    def _choose_kernels(self) -> None:
        """Get the kernels of this pass ready, once for all of its blocks."""
        sums = [q for q in self._questions if isinstance(q, Sum)]
        operands = {e.key: e for q in sums for e in q.operands}
        # Tiles of whole rows start at any lane, which the compiled loop does not know.
        has_lanes = sums and not self._template.needs_rows
        self._sums = self._values.compile(list(operands.values())) if has_lanes else None
        counted = {q.operands[0].key: q.operands[0] for q in self._countable()}
        self._counts = self._values.compile(list(counted.values())) if counted else None
        self._final = None if self._questions or self.waiting else self._values.compile([self._root])

    def _countable(self) -> list[Select]:
        """Return the selections of the pass that a compiled loop can count for."""
        return [q for q in self._questions if isinstance(q, Select) and not q.counts_digits]

    def _measure(self, number: int, start: int, stop: int, reader: Reader) -> None:
        partials: dict[int, Any] = {}
        if self._sums is not None:
            sums = [q for q in self._questions if isinstance(q, Sum)]
            lanes = self._sums.sums(reader, start, stop, sums)
            partials.update((id(q), (start, part)) for q, part in zip(sums, lanes, strict=True))
        if self._counts is not None:
            searches = []
            for select in self._countable():
                partials[id(select)] = select.open_block(start, stop)
                row = self._counts.program.row_of[select.operands[0].key]
                searches += select.searches(partials[id(select)], row)
            self._counts.counts(reader, start, stop, searches)
        self._interpret([q for q in self._questions if id(q) not in partials], start, stop, reader, partials)
        for question, parts in zip(self._questions, self._partials, strict=True):
            parts[number] = question.close_block(partials[id(question)])

    def _interpret(
        self, questions: Sequence[Question], start: int, stop: int, reader: Reader, partials: dict[int, Any]
    ) -> None:
        """Measure what no compiled loop does, on values from either reading."""
        if not questions:
            return
        partials.update((id(q), q.open_block(start, stop)) for q in questions)
        operands = [e for q in questions for e in q.operands]
        for first, found in self._values.on(operands, start, stop, reader):
            values = iter(found)
            for question in questions:
                question.measure(partials[id(question)], [next(values) for _ in question.operands], first)

    def _write(self, start: int, stop: int, reader: Reader) -> Counts:
        block, counts = self._compute(start, stop, reader, self.name)
        self._sink.write(self.name, start * self._output.spec.dtype.size_bytes, block, counts)
        return counts

    def _write_members(self, start: int, stop: int, reader: Reader) -> None:
        """Write the rows of a block, each a tensor of its own."""
        columns = self._output.spec.shape[-1]
        names = self._members[start // columns : stop // columns]
        try:
            block, counts = self._compute(start, stop, reader, self.name)
            in_order = not counts
        except RunError:
            in_order = False
        if in_order:
            self._sink.write_together(names, block)
            return
        # Whose it is shows where each is computed on its own.
        for first, name in zip(range(start, stop, columns), names, strict=True):
            block, counts = self._compute(first, first + columns, reader, name)
            self._sink.write(name, 0, block, counts)
            self._census.add(name, [counts])

    def _compute(self, start: int, stop: int, reader: Reader, name: str) -> tuple[NDArray[np.uint8], Counts]:
        """Return the encoded bytes of elements [start, stop), and the counts of values that are not finite."""
        found = np.zeros(len(self._output.inputs) + 1, np.int64)
        try:
            if self._final is not None:
                block = self._final.write(reader, start, stop, found)
            else:
                block = self._values.write(self._root, start, stop, reader, found)
        except OverflowError as error:
            raise RunError(f"'{name}': {error}; choose a wider 'out_dtype'") from error
        return block, tuple(found.tolist()) if found.any() else ()


def make_task(
    batch: Batch,
    labels: Sequence[str],
    sink: Sink,
    census: Census,
    programs: dict[Any, Any],
    engine: bool = True,
) -> Task:
    """Return the task that carries out a batch."""
    if batch.output.precision == "bytes":
        return CopyTask(batch.output, labels, sink, census)
    return ComputedTask(batch, sink, census, programs, engine)
