"""The output folder: what may be written where, and how a complete output takes its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from smelt.errors import InputError, RunError
from smelt.planning.plan import Plan
from smelt.running.companions import RECIPE_NAME
from smelt.tensors.checkpoint import CONFIG_NAME
from smelt.tensors.platform import rename, sync_folder


@contextmanager
def output_folder(plan: Plan, folder: Path, force: bool) -> Iterator[Path]:
    """Yield a fresh ``OUT.partial`` to write into; it becomes ``OUT`` when the block ends well, else it is removed.

    Args:
        plan: what will be written.
        folder: ``OUT``; where it is a link, what it points to is replaced.
        force: whether an existing model may be replaced; it stays until the new one is complete.

    Raises:
        InputError: when ``OUT`` may not be written, see ``check_output``.
        RunError: when the folders cannot be created or renamed.
    """
    check_output(plan, folder, force)
    folder = Path(os.path.realpath(folder))
    partial = partial_folder(folder)
    try:
        if partial.exists():
            shutil.rmtree(partial)
        # Two runs that start at once: the second one fails here, and leaves the first one's folder alone.
        partial.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"{partial}: cannot be created: {error.strerror or error}") from error
    try:
        yield partial
        sync_folder(partial)
        _take_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def partial_folder(folder: Path) -> Path:
    """Return where an output is written until it is complete."""
    return folder.parent / (folder.name + ".partial")


def check_output(plan: Plan, folder: Path, force: bool) -> None:
    """Check that the output may be written.

    Raises:
        InputError: when it exists and may not be replaced, holds an input or the working directory, or does not fit on
            the disk.
    """
    try:
        target = Path(os.path.realpath(folder))
        _check_inputs(plan, folder, target)
        _check_existing(folder, target, force)
        parent = next(p for p in (target, *target.parents) if p.exists())
        free = shutil.disk_usage(parent).free
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise InputError(f"{str(folder)!r}: cannot be an output: {error}") from error
    if free < plan.cost.written_bytes:
        raise InputError(
            f"{folder}: {plan.cost.written_bytes / 1e9:.1f} GB will be written, and {free / 1e9:.1f} GB are free"
        )


def _check_inputs(plan: Plan, folder: Path, target: Path) -> None:
    for checkpoint, label in zip(plan.checkpoints, plan.labels, strict=True):
        home, *files = checkpoint.paths or (None,)
        # The partial output replaces whatever has its name, so that may hold no input either.
        replaced = any(f.is_relative_to(t) for f in files for t in (target, partial_folder(target)))
        if replaced or (home is not None and target.is_relative_to(home) and _is_model(home)):
            raise InputError(
                f"{folder}: the output may not be, hold or lie in the input '{label}'; name another folder"
            )


def _check_existing(folder: Path, target: Path, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the output")
    if Path.cwd().is_relative_to(target):
        raise InputError(f"{folder}: is or holds the working directory; name a folder inside it")
    for existing in (target, partial_folder(target)):
        if not existing.exists() or not any(existing.iterdir()):
            continue
        what = (
            "exists" if existing is target else f"{existing.name} exists: an interrupted run left it, or one is at work"
        )
        if not force:
            raise InputError(f"{folder}: {what}; choose another folder, or replace it with --force")
        if not _is_model(existing):
            raise InputError(f"{folder}: {what}, and is no model; smelt does not delete it, choose another folder")


def _is_model(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CONFIG_NAME, RECIPE_NAME)) or any(folder.glob("*.safetensors"))


def _take_place(partial: Path, folder: Path) -> None:
    """Rename the complete output to its name; an old one is moved aside first and deleted afterwards."""
    if not folder.exists():
        rename(partial, folder)
        return
    names = (folder.with_name(f"{folder.name}.old{n or ''}") for n in count())
    old = next(name for name in names if not os.path.lexists(name))
    rename(folder, old)
    try:
        rename(partial, folder)
    except RunError:
        rename(old, folder)
        raise
    shutil.rmtree(old)
