"""The run: the workers, what they share, and what is checked before and after them."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from smelt.algebra.engine import find_fault
from smelt.collecting import set_aside
from smelt.errors import InputError, RunError
from smelt.planning.plan import Plan
from smelt.running.companions import CHECKSUMS_NAME, write_checksums, write_companions
from smelt.running.model_scope import answer_waiting
from smelt.running.nonfinite import Census, NonFiniteWarning
from smelt.running.output import Draft, output_folder
from smelt.running.provenance import write_provenance
from smelt.running.schedule import Schedule
from smelt.running.sinks import FileSink, MemorySink, Sink
from smelt.running.sources import Reader
from smelt.running.tasks import ComputedTask, Task, make_task


class SlowerWarning(UserWarning):
    """Compiled kernels cannot be used; the result is the same, later."""


# Below this a merge takes the interpreter less time than a new process needs to get kernels ready.
ENGINE_PARAMETERS = 20_000_000
# With no more elements in all its inputs, a tensor costs the interpreter more time than the processor.
SMALL_ELEMENTS = 2**14

Progress = Callable[[int, int], None]  # bytes read so far, and in all


@dataclass(frozen=True)
class Pace:
    """How a run goes about its work; none of it changes a byte of the result.

    Args:
        threads: workers; all cores by default.
        span, tile: elements per read and per tile.
        window: tensors that are open at a time.
        engine: whether compiled kernels compute what they can, or the interpreter everything; by default kernels where
            the merge is large enough for compiling them to pay.
        order: the order in which tensors, and the blocks of each, are taken, given their number.
    """

    threads: int | None = None
    span: int | None = None
    tile: int | None = None
    window: int = 4
    engine: bool | None = None
    order: Callable[[int], Sequence[int]] = range


def run_plan(
    plan: Plan,
    into: str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    force: bool = False,
    non_finite: str = "auto",
    hash_inputs: bool = False,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Mapping[str, NDArray[Any]] | None:
    """Carry out a plan.

    Args:
        plan: what to do.
        into: the folder to write; without it the result is returned as arrays in memory.
        threads: number of workers, by default one per core. The result does not depend on it.
        force: whether to start again, and replace an existing folder; it stays until the new one is complete. Without
            it, what an interrupted run of the same plan has left is carried on with.
        non_finite: what becomes of NaN and infinities in the result: ``report`` them in a ``NonFiniteWarning``, make
            them an ``error``, or (``auto``) that only in tensors whose inputs are all finite.
        hash_inputs: whether the contents of the inputs are read once more, for their sha256 in ``provenance.json``.
        progress: called now and then with the bytes read so far and in all.
        pace: further ways to go about the work, for tests.

    Returns:
        name → array without ``into`` (bfloat16 and float8 as ``ml_dtypes``), else ``None``.

    Raises:
        InputError: when the output exists, or is or holds an input; when another run writes it, or an interrupted run
            of another plan has left its draft there.
        RunError: when an input or the output cannot be read or written, or holds what must not be there.
    """
    census = Census(plan, non_finite)
    pace = pace or Pace(threads)
    if pace.threads is not None and pace.threads < 1:
        raise InputError(f"'threads' must be at least 1, not {pace.threads}")
    plan = _fetch(plan, progress)
    if into is None:
        memory = MemorySink(plan)
        with set_aside():
            _work(plan, memory, census, pace, progress)
        return memory.arrays
    with set_aside(), output_folder(plan, Path(into), force) as draft:
        if draft is None:
            return None
        try:
            _write_folder(plan, draft, census, pace, progress, hash_inputs)
        except OSError as error:
            raise RunError(f"{error.filename or into}: {error.strerror or error}") from error
        except InputError as error:  # it was in order when the run began
            raise RunError(str(error)) from error
    return None


def _write_folder(
    plan: Plan, draft: Draft, census: Census, pace: Pace, progress: Progress | None, hash_inputs: bool
) -> None:
    started = datetime.now(timezone.utc)
    folder = draft.folder
    checksums = write_companions(plan, folder)
    sink = FileSink(plan, folder, draft.journal)
    try:
        _work(plan, sink, census, pace, progress)
        checksums |= sink.complete()
    finally:
        sink.close()
    checksums[CHECKSUMS_NAME] = write_checksums(folder, checksums)
    counts = census.counts()
    write_provenance(plan, folder, checksums, started, hash_inputs=hash_inputs, non_finite=counts)
    # Once more: syncing and hashing take long, and the provenance must speak of what was merged.
    _check_unchanged(plan)


def _fetch(plan: Plan, progress: Progress | None) -> Plan:
    """Download what is missing; return the plan with the fingerprints of that too."""
    for checkpoint in plan.checkpoints:
        checkpoint.fetch(progress is not None)
    pairs = zip(plan.checkpoints, plan.fingerprints, strict=True)
    return replace(plan, fingerprints=tuple(planned or checkpoint.fingerprint() for checkpoint, planned in pairs))


def _check_unchanged(plan: Plan) -> None:
    """Check that the inputs are the files that were planned with: a mixture of old and new must not be written."""
    for checkpoint, label, planned in zip(plan.checkpoints, plan.labels, plan.fingerprints, strict=True):
        try:
            is_same = not planned or checkpoint.fingerprint() == planned
        except (InputError, OSError) as error:
            raise RunError(f"'{label}': its files cannot be read any more: {error}") from error
        if not is_same:
            raise RunError(f"'{label}': its files have changed since the merge was planned; plan and run again")


def _work(plan: Plan, sink: Sink, census: Census, pace: Pace, progress: Progress | None) -> None:
    _check_unchanged(plan)
    programs: dict[Any, Any] = {}
    engine = plan.cost.parameters >= ENGINE_PARAMETERS if pace.engine is None else pace.engine
    fault = find_fault() if engine else None
    if fault is not None:
        warnings.warn(f"merging with the slower interpreter, because {fault}", SlowerWarning, stacklevel=2)
    # What has to be equal is compared first, so that a difference shows before any work is done.
    outputs = sorted((plan.outputs[i] for i in pace.order(len(plan.outputs))), key=lambda o: not o.equal)
    tasks = [
        make_task(o, plan.templates[o.template], plan.labels, sink, census, programs, engine and fault is None)
        for o in outputs
    ]
    small = frozenset(o.spec.name for o in outputs if o.spec.elements * len(o.inputs) <= SMALL_ELEMENTS)
    readers = [Reader(plan.checkpoints, pace.span, pace.tile) for _ in range(pace.threads or os.cpu_count() or 1)]

    def report() -> None:
        if progress is not None:
            progress(min(sum(r.bytes_read for r in readers), plan.cost.read_bytes), plan.cost.read_bytes)

    try:
        _run_tasks(sink.verifications(), readers, pace, small, report)
        tasks = _leave_out_written(tasks, plan, sink, census)
        _run_tasks(tasks, readers, pace, small, report)
        place = {output.spec.name: number for number, output in enumerate(plan.outputs)}
        computed = sorted((t for t in tasks if isinstance(t, ComputedTask)), key=lambda task: place[task.name])
        while waiting := [task for task in computed if task.waiting]:
            resumed = answer_waiting(
                waiting, computed, readers[0], lambda passes: _run_tasks(passes, readers, pace, small, report)
            )
            _run_tasks(resumed, readers, pace, small, report)
    finally:
        for checkpoint in plan.checkpoints:
            checkpoint.close()
    _check_unchanged(plan)
    if progress is not None:
        progress(plan.cost.read_bytes, plan.cost.read_bytes)
    if (found := census.summary()) is not None:
        warnings.warn(found, NonFiniteWarning, stacklevel=2)


def _leave_out_written(tasks: Sequence[Task], plan: Plan, sink: Sink, census: Census) -> list[Task]:
    """Return the tasks that are left to do after what an earlier run has written.

    A question about the whole model looks at every tensor that asks it: while one is left, all of them are.
    """
    kept = {o.spec.name: sink.kept(o.spec.name, 0, o.spec.size_bytes) for o in plan.outputs}
    asking = [t.name for t in tasks if isinstance(t, ComputedTask) and t.model_questions]
    needed = set(asking) if any(kept[name] is None for name in asking) else set()
    left = []
    for task in tasks:
        counts = kept[task.name]
        if counts is None or task.name in needed:
            left.append(task)
        else:
            census.add(task.name, [counts])
    return left


def _run_tasks(
    tasks: Sequence[Task],
    readers: Sequence[Reader],
    pace: Pace,
    small: Container[str],
    report: Callable[[], None],
) -> None:
    """Let a worker per reader carry out the tasks until none can go on."""
    if not tasks:
        return
    schedule = Schedule(tasks, max(pace.window, len(readers)), pace.order, small)
    workers = [threading.Thread(target=schedule.work, args=(r,), daemon=True) for r in readers]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(0.1)
                report()
    finally:
        schedule.stop()
        for worker in workers:
            if worker.ident is not None:  # it was started
                worker.join()
    schedule.raise_error()
