"""Which worker does what next: one queue ordered by tensor, with a window of few tensors open at a time.

A pass of a tensor is ready when the one before is complete; meanwhile workers take blocks of the next tensors in the
window, so that nobody waits at a barrier and a second pass finds its tensor in the page cache. A tensor of one block is
done by one worker from start to end; the small ones, where they are not computed together, are done by a single worker,
one after the other, while the others go on with the large ones: they are the work of Python, and two workers on them
wait for each other's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from smelt.running.sources import Reader
from smelt.running.tasks import Task

Job = Callable[[Reader], None]


@dataclass(eq=False)
class Open:
    """A task in the window."""

    task: Task
    prepared: bool = False
    busy: bool = False  # a worker prepares or concludes it
    waiting: list[int] = field(default_factory=list)  # the blocks that nobody has taken yet, the next one last
    left: int = 0


class Schedule:
    """The queue of a run.

    Args:
        tasks: in the order in which they are to be done.
        window: how many are open at a time.
        order: in which the blocks of a tensor are taken, given their number.
        small: names of tensors that are done by a single worker, from start to end.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        window: int,
        order: Callable[[int], Sequence[int]] = range,
        small: Container[str] = (),
    ) -> None:
        self._small = [task for task in tasks if task.name in small]
        self._waiting: Iterator[Task] = iter([task for task in tasks if task.name not in small])
        self._window = window
        self._order = order
        self._open: list[Open] = []
        self._condition = threading.Condition()
        self._error: BaseException | None = None
        self.stopped = False

    def work(self, reader: Reader) -> None:
        """Take part in the run until nothing is left; run by every worker."""
        try:
            while (job := self._take()) is not None:
                job(reader)
        except BaseException as error:
            with self._condition:
                self._error = self._error or error
                self.stopped = True
                self._condition.notify_all()

    def stop(self) -> None:
        """Let the workers leave after the block at hand."""
        with self._condition:
            self.stopped = True
            self._condition.notify_all()

    def raise_error(self) -> None:
        """Raise what stopped the run, if anything did."""
        if self._error is not None:
            raise self._error

    def _take(self) -> Job | None:
        with self._condition:
            if self._small:
                small, self._small = self._small, []
                return partial(self._do_small, small)
            while not self.stopped:
                for entry in self._open:
                    if entry.busy:
                        continue
                    if not entry.prepared:
                        entry.busy = True
                        return partial(self._open_pass, entry)
                    if entry.waiting:
                        return partial(self._do_block, entry, entry.waiting.pop())
                if len(self._open) < self._window and (task := next(self._waiting, None)) is not None:
                    self._open.append(Open(task))
                elif not self._open:
                    return None
                else:
                    self._condition.wait()
            return None

    def _do_small(self, tasks: Sequence[Task], reader: Reader) -> None:
        for task in tasks:
            self._do_alone(task, reader)

    def _do_alone(self, task: Task, reader: Reader) -> None:
        finished = False
        while not finished and not self.stopped:
            task.prepare(reader)
            for block in range(task.blocks):
                task.do_block(block, reader)
            finished = task.conclude(reader)

    def _open_pass(self, entry: Open, reader: Reader) -> None:
        task = entry.task
        if task.blocks <= 1:
            self._do_alone(task, reader)
            self._remove(entry)
            return
        task.prepare(reader)
        with self._condition:
            entry.prepared, entry.busy = True, False
            entry.waiting, entry.left = list(self._order(task.blocks))[::-1], task.blocks
            self._condition.notify_all()

    def _do_block(self, entry: Open, block: int, reader: Reader) -> None:
        entry.task.do_block(block, reader)
        with self._condition:
            entry.left -= 1
            if entry.left:
                return
            entry.busy = True
        finished = entry.task.conclude(reader)
        if finished:
            self._remove(entry)
        else:
            with self._condition:
                entry.prepared = entry.busy = False
                self._condition.notify_all()

    def _remove(self, entry: Open) -> None:
        with self._condition:
            self._open.remove(entry)
            self._condition.notify_all()
