"""The run: the workers, what they share, and what is checked before and after them."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from smelt.algebra.engine import find_fault
from smelt.collecting import set_aside
from smelt.errors import InputError, RunError
from smelt.planning.plan import Output, Plan
from smelt.running.batches import make_batches
from smelt.running.companions import CHECKSUMS_NAME, write_checksums, write_companions
from smelt.running.model_scope import answer_waiting
from smelt.running.nonfinite import Census, NonFiniteWarning
from smelt.running.output import Draft, output_folder
from smelt.running.provenance import has_hashed_inputs, write_provenance
from smelt.running.schedule import Schedule
from smelt.running.sinks import FileSink, MemorySink, Sink
from smelt.running.sources import Reader
from smelt.running.tasks import ComputedTask, Task, make_task


class SlowerWarning(UserWarning):
    """Compiled kernels cannot be used; the result is the same, later."""


class UnhashedWarning(UserWarning):
    """The provenance lacks the digests of inputs that were asked for."""


# With no more elements in all its inputs, a tensor costs the interpreter more time than the processor.
SMALL_ELEMENTS = 2**14

_UNHASHED = (
    "was complete but for its name, and made without --hash-inputs, so the sha256 of its inputs are not in its "
    "provenance; --force merges again, with them"
)

Progress = Callable[[int, int], None]  # bytes read so far, and in all


@dataclass(frozen=True)
class Pace:
    """How a run goes about its work; none of it changes a byte of the result.

    Args:
        threads: workers; all cores by default.
        span, tile: elements per read and per tile.
        window: tensors that are open at a time.
        many: from how many small tensors on those of one size are computed together; fewer are done before a further
            kernel is compiled.
        engine: whether compiled kernels compute what they can, or the interpreter everything; by default kernels where
            the merge is large enough for compiling them to pay.
        order: the order in which tensors, and the blocks of each, are taken, given their number.
    """

    threads: int | None = None
    span: int | None = None
    tile: int | None = None
    window: int = 4
    many: int = 1000
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
    """Carry out a plan, as ``smelt.run`` does, whose arguments, result and errors these are.

    Args:
        pace: further ways to go about the work, in place of ``threads``.
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
        try:
            if draft is not None:
                _write_folder(plan, draft, census, pace, progress, hash_inputs)
            elif hash_inputs and not has_hashed_inputs(Path(into)):
                warnings.warn(f"{into}: {_UNHASHED}", UnhashedWarning, stacklevel=2)
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
    known = tuple(planned or checkpoint.fingerprint() for checkpoint, planned in pairs)
    # A copy has to find out anew what the plan has found out, such as its licence.
    return plan if known == plan.fingerprints else replace(plan, fingerprints=known)


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
    """Put every output into the sink, but for what an earlier run has put there."""
    _check_unchanged(plan)
    engine = _choose_engine(plan, pace)
    readers = [Reader(plan.checkpoints, pace.span, pace.tile) for _ in range(pace.threads or os.cpu_count() or 1)]
    small = frozenset(o.spec.name for o in plan.outputs if o.spec.elements * len(o.inputs) <= SMALL_ELEMENTS)

    def report() -> None:
        if progress is not None:
            progress(min(sum(r.bytes_read for r in readers), plan.cost.read_bytes), plan.cost.read_bytes)

    run = partial(run_tasks, readers=readers, pace=pace, small=small, report=report)
    try:
        run(sink.verifications())
        tasks = _make_tasks(_leave_out_written(plan, sink, census), plan, sink, census, pace, small, engine)
        run(tasks)
        place = {output.spec.name: number for number, output in enumerate(plan.outputs)}
        asking = [task for task in tasks if isinstance(task, ComputedTask) and task.model_questions]
        asking.sort(key=lambda task: place[task.name])
        while waiting := [task for task in asking if task.waiting]:
            run(answer_waiting(waiting, asking, readers[0], run))
    finally:
        for checkpoint in plan.checkpoints:
            checkpoint.close()
    _check_unchanged(plan)
    if progress is not None:
        progress(plan.cost.read_bytes, plan.cost.read_bytes)
    if (found := census.summary()) is not None:
        warnings.warn(found, NonFiniteWarning, stacklevel=2)


def _choose_engine(plan: Plan, pace: Pace) -> bool:
    """Say whether compiled kernels take part."""
    wanted = plan.cost.is_compiled if pace.engine is None else pace.engine
    fault = find_fault() if wanted else None
    if fault is not None:
        warnings.warn(f"merging with the slower interpreter, because {fault}", SlowerWarning, stacklevel=2)
    return wanted and fault is None


def _leave_out_written(plan: Plan, sink: Sink, census: Census) -> list[Output]:
    """Return what is left to do after what an earlier run has written.

    A question about the whole model looks at every tensor that asks it: while one is left, all of them are.
    """
    kept = {o.spec.name: sink.kept(o.spec.name, 0, o.spec.size_bytes) for o in plan.outputs}
    asking = [o.spec.name for o in plan.outputs if plan.templates[o.template].asks_model]
    needed = set(asking) if any(kept[name] is None for name in asking) else set()
    left = []
    for output in plan.outputs:
        counts = kept[output.spec.name]
        if counts is None or output.spec.name in needed:
            left.append(output)
        else:
            census.add(output.spec.name, [counts])
    return left


def _make_tasks(
    outputs: Sequence[Output], plan: Plan, sink: Sink, census: Census, pace: Pace, small: Container[str], engine: bool
) -> list[Task]:
    """Return the tasks that make outputs, in the order in which they are taken."""
    programs: dict[Any, Any] = {}
    # What has to be equal is compared first, so that a difference shows before any work is done.
    batches = make_batches([outputs[i] for i in pace.order(len(outputs))], plan, small, pace.many)
    batches.sort(key=lambda batch: not batch.output.equal)
    return [make_task(batch, plan.labels, sink, census, programs, engine) for batch in batches]


def run_tasks(
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
