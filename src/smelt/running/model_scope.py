"""Selections over all tensors of a model together, for which every tensor has to be looked at before one is written.

The tensors are one long row of elements, in the order of the plan; the search itself is that of a single tensor. Tasks
wait where they meet such a question; when all that can go on have gone on, the searches run, and the tasks resume.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Attribute
from smelt.algebra.grid import BLOCK
from smelt.algebra.selection import RUN, Count, Selection, sample_starts
from smelt.errors import RunError
from smelt.running.sources import Reader
from smelt.running.tasks import ComputedTask

# Runs tasks of a pass to their end, with all workers.
RunTasks = Callable[[Sequence["Measurement"]], None]


def answer_waiting(
    tasks: Sequence[ComputedTask], everyone: Sequence[ComputedTask], reader: Reader, run: RunTasks
) -> list[ComputedTask]:
    """Answer what tasks wait for, once every task that asks the same waits too, and return those that can go on.

    Args:
        tasks: those that wait, in the order of the plan.
        everyone: all computed tasks of the run.
        reader: for the looks that the calling thread takes.
        run: carries out the passes.

    Raises:
        RunError: when the questions wait for one another.
    """
    groups: dict[tuple[Attribute, ...], list[ComputedTask]] = {}
    for task in tasks:
        for question in task.waiting:
            groups.setdefault(question.attributes, []).append(task)
    askers = Counter(attributes for task in everyone for attributes in task.model_questions)
    complete = {attributes: members for attributes, members in groups.items() if len(members) == askers[attributes]}
    if not complete:
        raise RunError("the documents' questions about the whole model wait for one another; split the recipe in two")
    searches = [ModelSearch(attributes, members) for attributes, members in complete.items()]
    for search in searches:
        search.prepare(reader)
    while passes := [m for search in searches if not search.is_answered for m in search.measurements()]:
        run(passes)
        for search in searches:
            search.conclude(reader)
    for search in searches:
        search.hand_out()
    return [task for task in tasks if not task.waiting]


class ModelSearch:
    """One ``kth_largest`` with scope ``model``: a search per model over the elements of all member tensors."""

    def __init__(self, attributes: tuple[Attribute, ...], members: Sequence[ComputedTask]) -> None:
        self._attributes = attributes
        self._members = members
        self._starts = [0, *accumulate(m.elements for m in members)]
        self._first_blocks = [0, *accumulate(m.blocks for m in members)]
        counts = members[0].wanted(attributes, self._starts[-1])
        bits = 8 * members[0].key_bytes
        self._searches = [Selection(self._starts[-1], float(c), bits, len(counts)) for c in counts]
        self._counts: list[list[Count] | None] = []

    @property
    def is_answered(self) -> bool:
        """Whether every model's search has its answer."""
        return all(s.answer is not None for s in self._searches)

    def prepare(self, reader: Reader) -> None:
        """Sample the tensors, or answer at once where they are small."""
        size = self._starts[-1]
        for search in self._searches:
            search.answer_trivial()
        waiting = [(m, s) for m, s in enumerate(self._searches) if s.answer is None]
        if waiting and size <= BLOCK:
            found = self._evaluate(0, size, reader)
        elif waiting:
            parts = [self._evaluate(start, start + RUN, reader) for start in sample_starts(size)]
            found = np.concatenate(parts, axis=-1)
        for model, search in waiting:
            (search.answer_whole if size <= BLOCK else search.set_bracket)(found[model])

    def measurements(self) -> list[Measurement]:
        """Open a pass, and return its tasks."""
        self._counts = [None] * self._first_blocks[-1]
        return [Measurement(self, member, place) for place, member in enumerate(self._members) if member.blocks]

    def measure(self, place: int, block: int, reader: Reader) -> None:
        """Look at one block of one member."""
        counts = [Count() for _ in self._searches]
        for first, values in self._members[place].values_of_block(self._attributes, block, reader):
            for search, count, x in zip(self._searches, counts, values, strict=True):
                if search.answer is None:
                    search.measure(count, x, self._starts[place] + first)
        for search, count in zip(self._searches, counts, strict=True):
            search.close(count)
        self._counts[self._first_blocks[place] + block] = counts

    def conclude(self, reader: Reader) -> None:
        """Draw the conclusions from a complete pass."""
        for model, search in enumerate(self._searches):
            if search.answer is None:
                search.conclude([c[model] for c in self._counts if c is not None])
                if search.wanted is not None:
                    search.finish(self._evaluate(*search.wanted, reader)[model])

    def hand_out(self) -> None:
        """Give every member its part of the answer: the thresholds, and the cuts counted from its first element."""
        answers = [s.answer for s in self._searches if s.answer is not None]
        thresholds = np.array([t for t, _ in answers], np.dtype(f"u{self._members[0].key_bytes}"))
        cuts = np.array([c for _, c in answers], np.int64)
        for member, start in zip(self._members, self._starts, strict=False):
            member.resume(self._attributes, (thresholds, np.clip(cuts - start, 0, member.elements)))

    def _evaluate(self, start: int, stop: int, reader: Reader) -> NDArray[np.generic]:
        """Return elements [start, stop) of all tensors in a row, shape (models, stop − start)."""
        parts = []
        place = bisect_right(self._starts, start) - 1
        while start < stop:
            end = min(stop, self._starts[place + 1])
            if start < end:
                first = self._starts[place]
                parts.append(
                    self._members[place].evaluate_waiting(self._attributes, start - first, end - first, reader)
                )
            start, place = end, place + 1
        return np.concatenate(parts, axis=-1)


class Measurement:
    """One tensor's share of a pass over the model."""

    def __init__(self, search: ModelSearch, member: ComputedTask, place: int) -> None:
        self.name = member.name
        self.blocks = member.blocks
        self._search = search
        self._place = place

    def prepare(self, reader: Reader) -> None:
        """Nothing to prepare."""

    def do_block(self, number: int, reader: Reader) -> None:
        """Look at one block."""
        self._search.measure(self._place, number, reader)

    def conclude(self, reader: Reader) -> bool:
        """One pass at a time."""
        return True
