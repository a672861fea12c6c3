"""The run: checks, workers, and the folder that appears only when it is complete."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from smelt.algebra.interpreter import TileProgram
from smelt.errors import InputError, RunError
from smelt.planning.plan import Plan
from smelt.running.companions import write_companions
from smelt.running.schedule import Schedule
from smelt.running.sinks import FileSink, MemorySink, Sink
from smelt.running.sources import Reader
from smelt.running.tasks import make_task
from smelt.tensors.platform import rename, sync_folder

Progress = Callable[[int, int], None]  # bytes read so far, and in all


@dataclass(frozen=True)
class Pace:
    """How a run goes about its work; none of it changes a byte of the result.

    Args:
        threads: workers; all cores by default.
        span, tile: elements per read and per tile.
        window: tensors that are open at a time.
        order: the order in which tensors are taken, given their number.
    """

    threads: int | None = None
    span: int | None = None
    tile: int | None = None
    window: int = 4
    order: Callable[[int], list[int]] | None = None


def run_plan(
    plan: Plan,
    into: str | os.PathLike[str] | None = None,
    *,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Mapping[str, NDArray[Any]] | None:
    """Carry out a plan.

    Args:
        plan: what to do.
        into: the folder to write; without it the result is returned as arrays in memory.
        threads: number of workers, by default one per core. The result does not depend on it.
        force: whether an existing folder is replaced; it stays until the new one is complete.
        progress: called now and then with the bytes read so far and in all.
        pace: further ways to go about the work, for tests.

    Returns:
        name → array without ``into`` (bfloat16 and float8 as ``ml_dtypes``), else ``None``.

    Raises:
        InputError: when the output exists, or is or holds an input.
        RunError: when an input or the output cannot be read or written.
    """
    pace = pace or Pace(threads)
    if pace.threads is not None and pace.threads < 1:
        raise InputError(f"'threads' must be at least 1, not {pace.threads}")
    if into is None:
        memory = MemorySink(plan)
        _fetch(plan, progress)
        _work(plan, memory, pace, progress)
        return memory.arrays
    _run_into(plan, Path(into), force, pace, progress)
    return None


def _run_into(plan: Plan, folder: Path, force: bool, pace: Pace, progress: Progress | None) -> None:
    check_output(plan, folder, force)
    _fetch(plan, progress)
    partial = folder.with_name(folder.name + ".partial")
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        write_companions(plan, partial)
        sink = FileSink(plan, partial)
        try:
            _work(plan, sink, pace, progress)
            sink.complete()
        finally:
            sink.close()
        sync_folder(partial)
        _take_place(partial, folder)
    except OSError as error:
        raise RunError(f"{error.filename or folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_output(plan: Plan, folder: Path, force: bool) -> None:
    """Check that the output may be written.

    Raises:
        InputError: when it exists and may not be replaced, holds an input, or does not fit on the disk.
    """
    target = os.path.realpath(folder)
    for checkpoint, label in zip(plan.checkpoints, plan.labels, strict=True):
        identity = checkpoint.identity
        place = identity[1] if isinstance(identity, tuple) and identity[0] == "path" else None
        if place and os.path.commonpath([target, str(place)]) in (target, str(place)):
            raise InputError(
                f"{folder}: the output may not be, hold or lie in the input '{label}'; name another folder"
            )
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the output")
    if folder.exists() and not force and any(folder.iterdir()):
        raise InputError(f"{folder}: exists; choose another folder, or replace it with --force")
    parent = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(parent).free
    if free < plan.cost.written_bytes:
        raise InputError(
            f"{folder}: {plan.cost.written_bytes / 1e9:.1f} GB will be written, and {free / 1e9:.1f} GB are free"
        )


def _take_place(partial: Path, folder: Path) -> None:
    """Rename the complete output to its name; an old one is moved aside first and deleted afterwards."""
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        if old.exists():
            shutil.rmtree(old)
        rename(folder, old)
    rename(partial, folder)
    if old.exists():
        shutil.rmtree(old)


def _fetch(plan: Plan, progress: Progress | None) -> None:
    for checkpoint in plan.checkpoints:
        checkpoint.fetch(progress is not None)


def _work(plan: Plan, sink: Sink, pace: Pace, progress: Progress | None) -> None:
    programs: dict[Any, TileProgram] = {}
    order = pace.order(len(plan.outputs)) if pace.order else range(len(plan.outputs))
    # What has to be equal is compared first, so that a difference shows before any work is done.
    outputs = sorted((plan.outputs[i] for i in order), key=lambda o: not o.equal)
    tasks = [make_task(o, plan.templates[o.template], plan.labels, sink, programs) for o in outputs]
    threads = pace.threads or os.cpu_count() or 1
    schedule = Schedule(tasks, max(pace.window, threads))
    readers = [Reader(plan.checkpoints, pace.span, pace.tile) for _ in range(threads)]
    workers = [threading.Thread(target=schedule.work, args=(r,), daemon=True) for r in readers]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(0.1)
                if progress is not None:
                    progress(sum(r.bytes_read for r in readers), plan.cost.read_bytes)
    finally:
        schedule.stop()
        for worker in workers:
            worker.join()
        for checkpoint in plan.checkpoints:
            checkpoint.close()
    schedule.raise_error()
