"""Running the merge of an output again and comparing: the proof that the output is what its provenance says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from smelt.checking.comparing import compare_files
from smelt.checking.finding import find_model, read_moves
from smelt.checking.record import Record, make_lines, read_record
from smelt.errors import InputError, RunError
from smelt.planning.planner import plan_recipe
from smelt.recipes.reading import read_text
from smelt.running.blas import UNKNOWN
from smelt.running.companions import RECIPE_NAME
from smelt.running.provenance import PROVENANCE_NAME
from smelt.running.runner import Progress, run_plan
from smelt.tensors.platform import open_locked, remove_locked

EVERYWHERE = "identical on every machine"
SAME_BLAS = "identical for the same BLAS build and processor core type"

# Stands in the folder that holds the new output for a while: says whose that is, and is its lock.
_MARK_NAME = ".smelt-reproduce"


@dataclass(frozen=True)
class Reproduction:
    """What came of running a merge again.

    Args:
        differences: between the output and what came anew, one line each, none when they are identical.
        promise: which of smelt's promises was put to the test.
        circumstances: what is not as it was when the output was made: versions, and the BLAS where that matters.
        files, tensors: how many were compared.
    """

    differences: tuple[str, ...]
    promise: str
    circumstances: tuple[str, ...]
    files: int
    tensors: int

    def lines(self, output: str) -> list[str]:
        """Return the result in words, a line for each thing."""
        what = f"{self.files} files and {self.tensors} tensors"
        plural = "s" if len(self.differences) > 1 else ""
        verdict = f"{len(self.differences)} difference{plural}" if self.differences else "identical"
        shown = [*self.differences, *self.circumstances, f"{what}, {verdict}; promised: {self.promise}"]
        return [f"{output}: {line}" for line in shown]

    def to_json(self) -> dict[str, Any]:
        """Return the whole as plain data."""
        return {
            "identical": not self.differences,
            "differences": list(self.differences),
            "promise": self.promise,
            "circumstances": list(self.circumstances),
            "files": self.files,
            "tensors": self.tensors,
        }


def reproduce(
    folder: str | os.PathLike[str],
    into: str | os.PathLike[str] | None = None,
    *,
    moved: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Run the merge of an output again, from the recipe in its provenance, and compare every file.

    Args:
        folder: the output of a merge.
        into: where the new output is written and stays; by default in ``OUT.again`` beside ``folder``, which is deleted
            after comparing, or by the next call where this one was killed.
        moved: ``OLD=NEW`` for each model that is no longer found under its name in the recipe.
        threads: number of workers, by default one per core.
        progress: called now and then with the bytes read so far and in all.

    Raises:
        InputError: when there is no provenance, a model is not found or another one, or ``into`` may not be written.
        RunError: when a file cannot be read or written.
    """
    place = Path(folder)
    record = read_record(place)
    found = partial(find_model, folder=place, record=record, moves=read_moves(moved, record))
    recipe = read_text(record.recipe, RECIPE_NAME)
    plan = plan_recipe(recipe, max_shard_size=record.max_shard_bytes, opened_by=found)
    with _new_folder(place, into) as again:
        run_plan(plan, again, threads=threads, non_finite="report", progress=progress)
        try:
            made = read_record(again)
            differences = make_lines(_compare(place, record, again, made))
        except OSError as error:
            raise RunError(f"{error.filename or place}: {error.strerror or error}") from error
    promise = EVERYWHERE if made.accuracy == "everywhere" else SAME_BLAS
    circumstances = make_lines(_compare_circumstances(record, made))
    return Reproduction(differences, promise, circumstances, len(record.files), len(plan.outputs))


@contextmanager
def _new_folder(folder: Path, into: str | os.PathLike[str] | None) -> Iterator[Path]:
    if into is not None:
        if Path(into).resolve() == folder.resolve():
            raise InputError(f"{into}: is the output itself; name another folder")
        if Path(into).is_dir() and any(Path(into).iterdir()):
            raise InputError(f"{into}: exists; choose another folder")
        yield Path(into)
        return
    # Beside the output: there is room for another one there, or at least the user knows the disk.
    place = folder.resolve()
    again = place.with_name(f"{place.name}.again")
    try:
        with _claimed(again):
            yield again / place.name
    except OSError as error:
        raise RunError(f"{again}: cannot be written ({error.strerror or error}); name a folder: --into") from error


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold a folder that is empty but for the mark and that nobody else uses; it is deleted afterwards."""
    folder.mkdir(exist_ok=True)
    mark = folder / _MARK_NAME
    if not mark.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: exists, and was not written by 'smelt reproduce'; name a folder: --into")
    lock = open_locked(mark)
    if lock is None:
        raise InputError(f"{folder}: 'smelt reproduce' is running already; wait for its end, or name a folder: --into")
    try:
        _empty(folder)
        yield
    finally:
        with suppress(OSError):
            _empty(folder)
            # The mark goes last, so that what a killed process leaves can be told for what it is.
            remove_locked(lock)
            folder.rmdir()
        lock.close()


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != _MARK_NAME:
            left.unlink()


def _compare(old: Path, record: Record, new: Path, made: Record) -> Iterator[str]:
    names = dict.fromkeys([*made.files, *record.files])
    for name in sorted(names, key=lambda name: not name.endswith(".safetensors")):
        if not (old / name).is_file():
            yield f"{name}: missing"
        elif name not in made.files:
            yield f"{name}: does not come anew"
        elif name not in record.files:
            yield f"{name}: comes anew, and {PROVENANCE_NAME} does not name it"
        else:
            yield from compare_files(old / name, new / name)


def _compare_circumstances(record: Record, made: Record) -> Iterator[str]:
    if made.plan_digest != record.plan_digest:
        yield f"the plan digest is {made.plan_digest[:16]}; it was {record.plan_digest[:16]}"
    for name in dict.fromkeys([*made.versions, *record.versions]):
        now, was = made.versions.get(name, "absent"), record.versions.get(name, "absent")
        if now != was:
            yield f"{name} is {now}; it was {was}"
    if made.blas is None:
        return
    blas = record.blas or {}
    if made.blas != blas:
        yield f"the BLAS is {_name_blas(made.blas)}; it was {_name_blas(blas)}, so the promise says nothing here"
    elif UNKNOWN in blas.values():
        yield f"the BLAS is {_name_blas(blas)}, as it was; whether what is unknown is the same too cannot be told"


def _name_blas(blas: Mapping[str, str]) -> str:
    return " ".join(blas.get(key, UNKNOWN) for key in ("name", "version", "core"))
