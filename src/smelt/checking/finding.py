"""Finding the models that an output was merged from, and checking that they are the same ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from smelt.checking.record import Record, RecordedInput
from smelt.errors import InputError, listing, nearest
from smelt.recipes.nouns import Reference
from smelt.running.inputs import describe_files
from smelt.running.provenance import hash_specs
from smelt.tensors.checkpoint import Checkpoint


class FoundCheckpoint(Checkpoint):
    """A model at the place where it is now, under the name and the hub commit that the merge knew it by."""

    def __init__(self, place: str, name: str, recorded: RecordedInput) -> None:
        super().__init__(place)
        self.name = name
        self._recorded = recorded

    @property
    def identity(self) -> Hashable:
        """A value of its own: two models of the recipe stay two, wherever they are."""
        return ("recorded", self.name)

    @property
    def repository(self) -> str | None:
        """The hub id without its revision, for a model that was of the hub."""
        return self._recorded.repository

    @property
    def commit(self) -> str | None:
        """The hub commit that was merged, for a model that was of the hub."""
        return self._recorded.commit


def read_moves(texts: Sequence[str], record: Record) -> dict[str, str]:
    """Return where models are now, from texts ``OLD=NEW``.

    Args:
        texts: OLD is a model's name in the recipe, with or without its hub commit; NEW anything that names a model.
        record: of the output.

    Raises:
        InputError: for a text of another form, and when the output has no such model.
    """
    names = {name: name for name in record.inputs}
    names |= {recorded.repository: name for name, recorded in record.inputs.items() if recorded.repository}
    moves = {}
    for text in texts:
        fits = [name for name in names if text.startswith(f"{name}=") and len(text) > len(name) + 1]
        if not fits:
            old = text.partition("=")[0]
            raise InputError(
                f"--map {text}: must be OLD=NEW, with OLD one of the models of the output: "
                f"{listing(record.inputs)}{nearest(old, names)}"
            )
        old = max(fits, key=len)
        moves[names[old]] = text[len(old) + 1 :]
    return moves


def find_model(reference: Reference, folder: Path, record: Record, moves: Mapping[str, str]) -> Checkpoint:
    """Open a model of an output's recipe and check that it is the one that was merged.

    Args:
        reference: in the recipe that the provenance holds.
        folder: the output; models are looked for beside it, then in the working directory, those of the hub by
            their commit in the hub's cache, then on the hub.
        record: of the output.
        moves: models that are elsewhere now.

    Raises:
        InputError: when it is nowhere, or another one.
        RunError: when it cannot be read.
    """
    name = reference.text
    recorded = record.inputs.get(name)
    if recorded is None:
        raise InputError(f"'{name}': the provenance does not name it as an input; its recipe has been changed")
    checkpoint = FoundCheckpoint(moves.get(name) or _find_place(name, folder, recorded), name, recorded)
    checkpoint.fetch()
    _check_same(checkpoint, recorded)
    return checkpoint


def _find_place(name: str, folder: Path, recorded: RecordedInput) -> str:
    if recorded.repository is not None:
        return f"{recorded.repository}@{recorded.commit}"
    for place in (folder.absolute().parent / name, Path(name).absolute()):
        if place.exists():
            return str(place)
    raise InputError(
        f"'{name}': not found beside {folder.name} or in the working directory; say where it is: --map '{name}=FOLDER'"
    )


def _check_same(checkpoint: Checkpoint, recorded: RecordedInput) -> None:
    fault = _find_fault(checkpoint, recorded)
    if fault is not None:
        raise InputError(
            f"'{checkpoint.name}': is not the model that was merged: {fault}; "
            f"say where that one is: --map '{checkpoint.name}=FOLDER'"
        )


def _find_fault(checkpoint: Checkpoint, recorded: RecordedInput) -> str | None:
    """Say what tells a model from the one that was merged, ``None`` when nothing does."""
    fingerprints = checkpoint.fingerprint()
    found = {file.name: file for file in describe_files(checkpoint, fingerprints)}
    if recorded.files and list(found) != list(recorded.files):  # none are recorded of arrays in memory
        return f"its weights are {listing(found) or 'in memory'}; they were {listing(recorded.files)}"
    if recorded.specs_sha256 not in (None, hash_specs(checkpoint)):
        return "its tensors have other names, dtypes or shapes"
    for name, was in recorded.files.items():
        now = found[name]
        if (now.size_bytes, now.header_sha256) != (was.size_bytes, was.header_sha256):
            return (
                f"{name} has {now.size_bytes} bytes and a header {now.header_sha256[:16]}…; "
                f"it had {was.size_bytes} bytes and a header {was.header_sha256[:16]}…"
            )
    if all(was.sha256 in (None, found[name].sha256) for name, was in recorded.files.items()):
        return None
    # What the hub's cache names as it was then is not read.
    for file in describe_files(checkpoint, fingerprints, hash_contents=True):
        expected = recorded.files[file.name].sha256
        if expected not in (None, file.sha256):
            return f"{file.name} has the sha256 {file.sha256}; it was {expected}"
    return None
