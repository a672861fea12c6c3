"""The output folder: what may be written where, who writes it, and how a complete output takes its place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from smelt.errors import InputError, RunError
from smelt.planning.plan import Plan
from smelt.running.companions import RECIPE_NAME
from smelt.running.journal import Head, Journal, can_resume, describe_run, find_difference, read_plan_digest
from smelt.tensors.checkpoint import CONFIG_NAME
from smelt.tensors.platform import open_locked, remove_locked, rename, sync_folder


@dataclass(frozen=True)
class Draft:
    """An output on its way: the folder ``OUT.partial``, and its journal."""

    folder: Path
    journal: Journal


@contextmanager
def output_folder(plan: Plan, folder: Path, force: bool) -> Iterator[Draft | None]:
    """Yield ``OUT.partial`` to write into; it becomes ``OUT`` when the block ends well.

    What an interrupted run of the same plan has left there is carried on with. When the block ends otherwise the folder
    stays, for such a run, unless nothing was written that it could use. ``None`` is yielded when an interrupted run had
    only a last renaming left to do: that is done now, and ``OUT`` complete.

    Args:
        plan: what will be written.
        folder: ``OUT``; where it is a link, what it points to is replaced.
        force: whether to start again, and replace an existing model; it stays until the new one is complete.

    Raises:
        InputError: when ``OUT`` may not be written, see ``check_output``; when another run writes it; when an
            interrupted run of another plan is there.
        RunError: when the folders cannot be created or renamed.
    """
    check_output(plan, folder, force)
    target = Path(os.path.realpath(folder))
    with _locked_journal(folder, target) as journal:
        head = describe_run(plan)
        interrupted = journal.head
        if _finish_interrupted(target, journal) and interrupted and find_difference(interrupted, head) is None:
            yield None
            return
        head["replaces"] = _identify(target) if force else None
        _check_existing(folder, target, force, journal, head)
        draft = Draft(partial_folder(target), journal)
        carries_on = not force and _can_carry_on(journal, head)
        _prepare(draft, head, [shard.file_name for shard in plan.shards] if carries_on else None)
        try:
            yield draft
        except BaseException:
            if not (journal.has_claims and can_resume(head)):
                shutil.rmtree(draft.folder, ignore_errors=True)
                if not draft.folder.exists():
                    journal.clear()
            raise
        sync_folder(draft.folder)
        _take_place(draft, target)


def partial_folder(folder: Path) -> Path:
    """Return where an output is written until it is complete."""
    return folder.parent / (folder.name + ".partial")


def journal_file(folder: Path) -> Path:
    """Return where the journal of an output stands.

    Beside the folder, not in it: so it outlives the renaming, and whatever the moment, a start finds what was going on.
    """
    return folder.parent / (folder.name + ".partial.journal")


def has_begun(plan: Plan, folder: str | os.PathLike[str]) -> bool:
    """Say whether a run of the plan is under way in a folder or has left its draft there, to be carried on with."""
    return read_plan_digest(journal_file(Path(os.path.realpath(folder)))) == plan.digest


def check_output(plan: Plan, folder: Path, force: bool) -> None:
    """Check that the output may be written, as far as that can be told without looking at what is there already.

    Raises:
        InputError: when it is a file or a mount point, holds an input or the working directory, or does not fit on the
            disk.
    """
    try:
        target = Path(os.path.realpath(folder))
        _check_inputs(plan, folder, target)
        if target.exists() and not target.is_dir():
            raise InputError(f"{folder}: is a file; name a folder for the output")
        if os.path.ismount(target):
            raise InputError(f"{folder}: is a mount point, whose place no folder can take; name a folder inside it")
        if Path.cwd().is_relative_to(target):
            raise InputError(f"{folder}: is or holds the working directory; name a folder inside it")
        parent = next(p for p in (target, *target.parents) if p.exists())
        free = shutil.disk_usage(parent).free + _measure_folder(partial_folder(target))
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


def _measure_folder(folder: Path) -> int:
    """Return the bytes on the disk of the files in a folder, which may not exist."""
    if not folder.is_dir():
        return 0
    sizes = (entry.stat(follow_symlinks=False) for entry in os.scandir(folder))
    return sum(512 * s.st_blocks if hasattr(s, "st_blocks") else s.st_size for s in sizes)


@contextmanager
def _locked_journal(shown: Path, target: Path) -> Iterator[Journal]:
    """Yield the journal of an output, locked against other runs; one that is empty in the end is removed."""
    path = journal_file(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open_locked(path)
    except OSError as error:
        if path.is_symlink():
            raise InputError(f"{shown}: {path.name} is a link, which smelt does not follow; delete it") from error
        raise RunError(f"{path}: cannot be opened: {error.strerror or error}") from error
    if file is None:
        raise InputError(f"{shown}: another run is writing it; wait for its end, or choose another folder")
    try:
        yield Journal(file)
    finally:
        if file.size_bytes:
            file.close()
        else:
            remove_locked(file)


def _check_existing(shown: Path, target: Path, force: bool, journal: Journal, head: Head) -> None:
    """Check that what is at the places of the output and of its draft may be replaced, or carried on with."""
    partial = partial_folder(target)
    if partial.is_symlink():
        raise InputError(f"{shown}: {partial.name} is a link, which smelt does not follow; delete it")
    if partial.exists() and not partial.is_dir():
        raise InputError(f"{shown}: {partial.name} is no folder; delete it")
    resumed = None if force else journal.head
    difference = find_difference(resumed, head) if resumed else None
    if difference and not _holds_files(partial):
        resumed = difference = None
    if _holds_files(target):
        # Who has started with --force carries on without it, where the same output is there.
        if not force and not (resumed and resumed["replaces"] == _identify(target)):
            raise InputError(f"{shown}: exists; choose another folder, or replace it with --force")
        if not _is_model(target):
            raise InputError(f"{shown}: exists, and is no model; smelt does not delete it, choose another folder")
    if _holds_files(partial) and not journal.head:
        what = f"{shown}: {partial.name} exists, and no journal of an interrupted run"
        if not force:
            raise InputError(f"{what}; choose another folder, or replace it with --force")
        if not _is_model(partial):
            raise InputError(f"{what}, and is no model; smelt does not delete it, choose another folder")
    if difference:
        raise InputError(
            f"{shown}: an interrupted run of another merge is in {partial.name}: {difference}; "
            "carry on with that one, choose another folder, or start again with --force"
        )


def _holds_files(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _is_model(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CONFIG_NAME, RECIPE_NAME)) or any(folder.glob("*.safetensors"))


def _can_carry_on(journal: Journal, head: Head) -> bool:
    return journal.head is not None and can_resume(head) and find_difference(journal.head, head) is None


def _prepare(draft: Draft, head: Head, weights: list[str] | None) -> None:
    """Empty the draft; where it is carried on with, its ``weights`` stay."""
    folder = draft.folder
    try:
        if weights is None:
            draft.journal.begin(head)
        folder.mkdir(exist_ok=True)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry)
            elif entry.name not in (weights or ()) or not entry.is_file(follow_symlinks=False):
                os.unlink(entry)
        sync_folder(folder.parent)
    except OSError as error:
        raise RunError(f"{folder}: cannot be prepared: {error.strerror or error}") from error


def _take_place(draft: Draft, folder: Path) -> None:
    """Rename the complete output to its name; an old one is moved aside first and deleted afterwards."""
    replaces = draft.journal.head["replaces"] if draft.journal.head else None
    if _holds_files(folder) and (replaces is None or replaces[0] != folder.stat().st_ino):
        raise RunError(f"{folder}: came while the merge ran; move it away, and run the same command again")
    old, replaced = None, _identify(folder)
    if replaced:
        names = (folder.with_name(f"{folder.name}.old{n or ''}") for n in count())
        old = next(name for name in names if not os.path.lexists(name))
    draft.journal.begin_finish(
        _identify(draft.folder) or [], old.name if old else None, replaced[0] if replaced else None
    )
    try:
        if old:
            rename(folder, old)
        rename(draft.folder, folder)
    except RunError:
        if old and not folder.exists():
            rename(old, folder)
        raise
    if old:
        _delete(old)
    draft.journal.clear()


def _finish_interrupted(folder: Path, journal: Journal) -> bool:
    """Do what is left of ``_take_place`` where a run was stopped in it; say whether the output has its place now.

    Somebody may have been here since: an old output is deleted only when the new one has its place, and what is not the
    folder that the journal names never takes it.
    """
    finish = journal.finish
    if finish is None:
        return False
    draft, old = partial_folder(folder), _find_old(folder, finish)
    if old and not folder.exists():
        rename(draft if _identify(draft) == finish["draft"] else old, folder)
    if draft.exists():
        return False
    is_complete: bool = _identify(folder) == finish["draft"]
    if is_complete and old and old.exists():
        _delete(old)
    journal.clear()
    return is_complete


def _find_old(folder: Path, finish: Mapping[str, Any]) -> Path | None:
    """Return where a finish has put the old output, ``None`` where that is not there."""
    name = finish["old"]
    if name is None or not name.startswith(f"{folder.name}.old") or Path(name).name != name:
        return None
    found = _identify(folder.with_name(name))
    return folder.with_name(name) if found and found[0] == finish["inode"] else None


def _identify(folder: Path) -> list[int] | None:
    """Return inode and time of a folder or link; the inode of one that was deleted is soon another's."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return None
    return [found.st_ino, found.st_mtime_ns]


def _delete(old: Path) -> None:
    try:
        shutil.rmtree(old)
    except OSError as error:
        raise RunError(f"{old}: the new output is complete, this one cannot be deleted: {error.strerror}") from error
