"""A checkpoint in local files: a folder, or one safetensors file by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smelt.errors import InputError, RunError
from smelt.tensors.links import check_readable
from smelt.tensors.platform import Buffer, File, advise_sequential, count_allowed_files, open_file, read_at
from smelt.tensors.safetensors import hash_header, read_header
from smelt.tensors.spec import TensorSpec
from smelt.tensors.weights import Extent, WeightFiles, explain_conversion, find_weights, is_weights, join_headers

# Enough for the few tensors that a run works on at once.
_OPEN_FILES = 16
# Of the files that a process may have open, the share that inputs may keep: the rest is for outputs, and for files that
# are opened for one read.
_KEPT_SHARE = 0.75


@dataclass(frozen=True)
class Fingerprint:
    """What tells whether a file is still the one that was planned with."""

    size_bytes: int
    modified_ns: int
    inode: int
    header_sha256: str


class LocalFiles:
    """Weights in local files, and the files beside them. Its headers are read at once, its data by ``read``."""

    def __init__(
        self,
        shown: Path,
        folder: Path,
        weights: WeightFiles,
        files: tuple[str, ...],
        identity: Hashable,
        repository: str | None = None,
        commit: str | None = None,
    ) -> None:
        self.files = files
        self.identity = identity
        self.repository = repository
        self.commit = commit
        self._shown = shown  # the folder in the user's words; an id for a model of the hub
        self._folder = folder
        self._headers = {name: read_header(folder / name, str(shown / name)) for name in weights.names}
        self._extents: Mapping[str, Extent] = join_headers(str(shown), weights, self._headers)
        self.specs: Mapping[str, TensorSpec] = {name: extent.spec for name, extent in self._extents.items()}
        self._open: dict[str, File] = {}
        self._lock = threading.Lock()

    def read_file(self, name: str) -> bytes:
        """Return the content of one of ``files``."""
        return read_whole(self._folder / name, f"{self._shown}: {name}")

    def read(self, name: str, start_byte: int, buffer: Buffer) -> None:
        """Fill ``buffer`` from the tensor's bytes from ``start_byte`` on."""
        extent = self._extents[name]
        read_at(self._borrow(extent.file_name), buffer, extent.offset + start_byte)

    def follows(self, name: str, other: str) -> bool:
        """Say whether the tensor ``name`` begins where ``other`` ends."""
        here, there = self._extents[name], self._extents[other]
        return here.file_name == there.file_name and here.offset == there.offset + there.spec.size_bytes

    def fetch(self, progress: bool) -> LocalFiles:
        """Return itself: everything is here."""
        return self

    def fingerprint(self) -> dict[str, Fingerprint]:
        """Look at every weight file anew."""
        return {name: _fingerprint(self._folder / name, str(self._shown / name)) for name in self._headers}

    def close(self) -> None:
        """Let go of the files: each is closed when no thread reads it; a later ``read`` opens it again."""
        with self._lock:
            self._open.clear()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder and the weight files, links resolved."""
        files = (self._folder, *(self._folder / name for name in self._headers))
        return tuple(Path(os.path.realpath(path)) for path in files)

    def _borrow(self, file_name: str) -> File:
        return self._open.get(file_name) or self._borrow_anew(file_name)

    def _borrow_anew(self, file_name: str) -> File:
        with self._lock:
            if file_name not in self._open:
                file = _open_weights(self._folder / file_name)
                # The system numbers open files from the lowest that is free, so the number tells how many are open in
                # the whole process: with very many models there is no room to keep one, and what is kept makes way.
                kept = _OPEN_FILES if file.number < _KEPT_SHARE * count_allowed_files() else 0
                while self._open and len(self._open) >= kept:
                    # Only forgotten: another thread may be reading, and the last one to let go of it closes it.
                    del self._open[next(iter(self._open))]
                if not kept:
                    return file
                self._open[file_name] = file
            return self._open[file_name]


def open_path(path: Path, shown: Path) -> LocalFiles:
    """Open a folder, or a single ``.safetensors`` file.

    Args:
        path: where it is, absolute.
        shown: the same in the user's words, for messages.

    Raises:
        InputError: when it holds no sound safetensors weights.
    """
    if path.is_dir():
        return open_folder(path, shown)
    if path.suffix.lower() != ".safetensors":
        raise InputError(f"{shown}: not a folder and not a .safetensors file; {explain_conversion(path.name)}")
    return LocalFiles(shown.parent, path.parent, WeightFiles((path.name,), None), (), ("path", os.path.realpath(path)))


def open_folder(folder: Path, shown: Path, repository: str | None = None, commit: str | None = None) -> LocalFiles:
    """Open a folder that holds a model.

    Args:
        folder: where it is, absolute.
        shown: the same in the user's words, for messages.
        repository: the hub repository that it is a snapshot of, if it is one.
        commit: the commit of that snapshot.

    Raises:
        InputError: when it holds no sound safetensors weights.
    """
    names = list_files(folder, shown)
    weights = find_weights(str(shown), names, lambda name: read_whole(folder / name, f"{shown}: {name}"))
    identity = ("hub", repository, commit) if repository else ("path", os.path.realpath(folder))
    return LocalFiles(shown, folder, weights, beside_weights(names), identity, repository, commit)


def list_files(folder: Path, shown: Path) -> list[str]:
    """Return the names of a folder's files in alphabetical order; pipes, devices and folders are left out.

    Args:
        folder: where it is, absolute.
        shown: the same in the user's words, for messages.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise InputError(f"{shown}: cannot be read: {error.strerror}") from error


def beside_weights(names: list[str]) -> tuple[str, ...]:
    """Return the files that are no weights, hidden ones left out."""
    return tuple(name for name in names if not is_weights(name) and not name.startswith("."))


def read_whole(path: Path, where: str | None = None) -> bytes:
    """Return a file's content.

    Args:
        path: the file.
        where: its name for messages; without it, its path.

    Raises:
        InputError: when it cannot be read, leads out of its folder, or is larger than 200 MB.
    """
    where = where or str(path)
    check_readable(path, where)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror}") from error


def _open_weights(path: Path) -> File:
    try:
        file = open_file(path, "rb")
    except OSError as error:
        raise RunError(f"{path}: cannot be opened any more: {error.strerror}") from error
    advise_sequential(file)
    return file


def _fingerprint(path: Path, where: str) -> Fingerprint:
    digest = hash_header(path, where)
    status = path.stat()
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ino, digest)
