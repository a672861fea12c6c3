"""Comparing models: which tensors can be compared, and the one pass (or two) over them."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from smelt.algebra.kernel_cache import KernelUnavailable
from smelt.arch.layers import find_stacks, place
from smelt.arch.roles import role
from smelt.collecting import set_aside
from smelt.errors import InputError
from smelt.inspection.advice import advise
from smelt.inspection.blocks import Compared, Kernels, compile_kernels
from smelt.inspection.differences import Differences, Mismatch
from smelt.inspection.labels import shorten_labels
from smelt.inspection.measuring import MeasureTask
from smelt.inspection.sections import Home, Ledger
from smelt.planning.files import public_names
from smelt.planning.plan import ENGINE_PARAMETERS, Extent
from smelt.running.runner import SMALL_ELEMENTS, Pace, Progress, SlowerWarning, run_tasks
from smelt.running.sources import Reader
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.spec import TensorSpec

Model = Checkpoint | str | Path


def diff(
    base: Model,
    models: Sequence[Model],
    results: Sequence[Model] = (),
    *,
    rank: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Differences:
    """Measure what models differ in from a base, and what merges took from them.

    The numbers do not depend on threads. Memory depends on the number of tensors, and not on their size.

    Args:
        base: what all are compared to.
        models: fine-tunes of it, at least one.
        results: merges of these, to be explained by them.
        rank: whether the effective ranks of matrices are computed, which takes far longer than all else; of those with
            a shorter side of at most 2,048 and at most 2^24 elements.
        threads: number of workers, by default one per core.
        progress: called now and then with the bytes read so far and in all.
        pace: further ways to go about the work, in place of ``threads``.

    Raises:
        InputError: when a model cannot be found, or none has a tensor of the base's name and shape.
        RunError: when a file cannot be read.
    """
    pace = pace or Pace(threads)
    _check_request(models, pace)
    checkpoints = [_open(model, progress is not None) for model in (base, *models, *results)]
    labels = shorten_labels(public_names(checkpoints))
    tensors, mismatches = _pair_tensors(checkpoints, labels)
    parents = 1 + len(models)
    ledger = Ledger(labels[1:parents], labels[parents:], _find_homes(tensors, checkpoints[0]))
    with set_aside(), ExitStack() as opened:
        for checkpoint in checkpoints:
            opened.callback(checkpoint.close)
        _measure(tensors, checkpoints, ledger, rank, pace, progress)
    return advise(ledger.close(labels[0], mismatches))


def _open(model: Model, shows_progress: bool) -> Checkpoint:
    checkpoint = model if isinstance(model, Checkpoint) else Checkpoint(model)
    checkpoint.fetch(shows_progress)
    return checkpoint


def _check_request(models: Sequence[Model], pace: Pace) -> None:
    if pace.threads is not None and pace.threads < 1:
        raise InputError(f"'threads' must be at least 1, not {pace.threads}")
    if not models:
        raise InputError("nothing to compare the base with; name at least one model")


def _pair_tensors(
    checkpoints: Sequence[Checkpoint], labels: Sequence[str]
) -> tuple[list[Compared], tuple[Mismatch, ...]]:
    """Return the tensors that all have alike, in the base's order, and what else there is."""
    tensors, mismatches = [], []
    base, *others = [checkpoint.specs for checkpoint in checkpoints]
    for name, spec in base.items():
        found = [_find_fault(spec, specs.get(name)) for specs in others]
        if not spec.dtype.is_float:
            mismatches.append(Mismatch(name, labels[0], f"holds {spec.dtype.recipe_name}, not floats"))
        elif any(found):
            mismatches += [Mismatch(name, label, f) for label, f in zip(labels[1:], found, strict=True) if f]
        else:
            extents = tuple((Extent(i, name, 0, spec.elements),) for i in range(len(checkpoints)))
            dtypes = tuple(checkpoint.specs[name].dtype for checkpoint in checkpoints)
            tensors.append(Compared(spec, extents, dtypes))
    for label, specs in zip(labels[1:], others, strict=True):
        mismatches += [Mismatch(name, label, "not in the base") for name in specs if name not in base]
    if not tensors:
        first = f"; '{mismatches[0].name}' of {mismatches[0].model}: {mismatches[0].reason}" if mismatches else ""
        raise InputError(f"no tensor of '{labels[0]}' is in all other models with the same shape{first}")
    return tensors, tuple(mismatches)


def _find_fault(spec: TensorSpec, other: TensorSpec | None) -> str:
    if other is None:
        return "missing"
    if other.shape != spec.shape:
        return f"shape {list(other.shape)}, in the base {list(spec.shape)}"
    return "" if other.dtype.is_float else f"holds {other.dtype.recipe_name}, not floats"


def _find_homes(tensors: Sequence[Compared], base: Checkpoint) -> dict[str, Home]:
    config = base.config
    stacks = find_stacks(base.specs, config)
    specs = [tensor.spec for tensor in tensors]
    return {spec.name: Home(role(spec.name, spec.shape, config).value, place(spec.name, stacks)) for spec in specs}


def _measure(
    tensors: Sequence[Compared],
    checkpoints: Sequence[Checkpoint],
    ledger: Ledger,
    rank: bool,
    pace: Pace,
    progress: Progress | None,
) -> None:
    """Let workers measure the tensors."""
    kernels, ranks = _choose_kernels(tensors, pace), threading.Lock() if rank else None
    tasks = [MeasureTask(tensors[i], kernels, ledger.take, ranks) for i in pace.order(len(tensors))]
    readers = [Reader(checkpoints, pace.span, pace.tile) for _ in range(pace.threads or os.cpu_count() or 1)]
    small = frozenset(t.spec.name for t in tensors if t.spec.elements * len(t.inputs) <= SMALL_ELEMENTS)
    passes = 2 if len(checkpoints) > 2 else 1
    total = passes * sum(t.spec.elements * sum(d.size_bytes for d in t.dtypes) for t in tensors)

    def report() -> None:
        if progress is not None:
            progress(min(sum(reader.bytes_read for reader in readers), total), total)

    run_tasks(tasks, readers, pace, small, report)


def _choose_kernels(tensors: Sequence[Compared], pace: Pace) -> Kernels | None:
    """Return the kernels, ``None`` where NumPy is done before they would be ready, or there is no compiler."""
    is_large = sum(t.spec.elements * t.models for t in tensors) >= ENGINE_PARAMETERS
    if not (is_large if pace.engine is None else pace.engine):
        return None
    precisions = list(dict.fromkeys(t.precision for t in tensors))
    loops = ["measure", "overlap"] if tensors[0].pairs else ["measure"]
    try:
        return compile_kernels(list(dict.fromkeys(d for t in tensors for d in t.dtypes)), precisions, loops)
    except KernelUnavailable as error:
        warnings.warn(f"comparing in NumPy, which is slower, because {error}", SlowerWarning, stacklevel=2)
        return None
