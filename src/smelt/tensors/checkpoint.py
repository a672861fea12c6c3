"""A model to read from: a folder, a file, a repository of the hub, or arrays in memory. Part of the public API."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from smelt.errors import InputError, listing, nearest
from smelt.tensors import hub
from smelt.tensors.arrays import Arrays
from smelt.tensors.combination import Combination, Operand, as_combination
from smelt.tensors.folder import Fingerprint, open_path
from smelt.tensors.locating import locate, nearest_sibling
from smelt.tensors.pickled import find_pickled, open_pickled
from smelt.tensors.platform import Buffer
from smelt.tensors.spec import TensorSpec
from smelt.tensors.weights import read_json

CONFIG_NAME = "config.json"


class Place(Protocol):
    """Where the bytes of a checkpoint are: ``LocalFiles``, ``RemoteFiles``, ``PickledFiles`` or ``Arrays``."""

    identity: Hashable
    repository: str | None
    commit: str | None
    files: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder and files on this machine that are read, links resolved."""

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """The tensors by name, in storage order."""

    def read_file(self, name: str) -> bytes:
        """Return the content of one of ``files``."""

    def read(self, name: str, start_byte: int, buffer: Buffer) -> None:
        """Fill ``buffer`` from the tensor's bytes from ``start_byte`` on; called from many threads."""

    def follows(self, name: str, other: str) -> bool:
        """Say whether a read of the tensor ``other`` that goes on reads the tensor ``name``."""

    def fetch(self, progress: bool) -> Place:
        """Return a place on this machine with the same content."""

    def fingerprint(self) -> Mapping[str, Fingerprint]:
        """Look at every weight file anew."""

    def close(self) -> None:
        """Close what is open."""


class Checkpoint:
    """A model's weights and the files beside them.

    Nothing is read before it is asked for, and then the headers alone; the weights of a hub model that is not in the
    cache are downloaded by ``fetch``. All methods may be called from many threads.
    """

    def __init__(self, source: str | os.PathLike[str] | Mapping[str, Any], revision: str | None = None) -> None:
        """Find a model.

        Args:
            source: a folder with ``model.safetensors`` or shards with their index; a single ``.safetensors`` file;
                a hub id ``org/name`` or ``org/name@revision``; or a mapping of names to arrays (NumPy, torch, or
                anything with DLPack), which must not change while the checkpoint is in use. What exists on disk
                wins over a hub id of the same name; a ``pathlib.Path`` is always local.
            revision: a branch, tag or commit of a hub id.

        Raises:
            InputError: when there is no such file or folder and this cannot be a hub id, or an adapter is asked for.
        """
        self._source = source
        self._lock = threading.Lock()
        self._opened: Place | None = None
        if isinstance(source, Mapping):
            self.name = "arrays in memory"
            if revision is not None:
                raise InputError(f"arrays in memory cannot have a revision ('{revision}')")
            return
        text = os.fspath(source)
        self.name = f"{text}@{revision}" if revision else text
        self._location = locate(text, revision)
        if self._location.adapter is not None:
            raise InputError(
                f"'{text}': adapters are not supported yet: merge the adapter '{self._location.adapter}' into its "
                "model first (peft: model.merge_and_unload()) and name the result"
            )
        if self._location.path is None and not isinstance(source, str):
            raise InputError(f"'{text}': no such file or folder{nearest_sibling(text)}")
        self._path = Path(self._location.path or "").absolute()  # holds when the working directory changes later

    def __add__(self, other: Operand) -> Combination:
        return as_combination(self) + other

    def __radd__(self, other: object) -> Combination:
        return as_combination(self).__radd__(other)

    def __sub__(self, other: Operand) -> Combination:
        return as_combination(self) - other

    def __mul__(self, factor: float) -> Combination:
        return as_combination(self) * factor

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Combination:
        return as_combination(self) / divisor

    def __neg__(self) -> Combination:
        return -as_combination(self)

    def __repr__(self) -> str:
        return f"Checkpoint({self.name!r})"

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """The tensors by name, in storage order: file after file, inside a file in the order of the data.

        Raises:
            InputError: when the files are not sound or the hub refuses.
        """
        return self._place.specs

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """What ``config.json`` says, or ``None`` where there is none.

        Raises:
            InputError: when it is not a JSON object.
        """
        if CONFIG_NAME not in self.files:
            return None
        return read_json(f"{self.name}: {CONFIG_NAME}", self.read_file(CONFIG_NAME))

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files beside the weights (configuration, tokenizer, code), in alphabetical order."""
        return self._place.files

    def read_file(self, name: str) -> bytes:
        """Return the content of one of ``files``.

        Raises:
            InputError: when there is no such file, it cannot be read, leads out of the model's folder, or is larger
                than 200 MB.
        """
        if name not in self.files:
            raise InputError(f"{self.name}: no file '{name}'{nearest(name, self.files)} Files: {listing(self.files)}")
        return self._place.read_file(name)

    @property
    def identity(self) -> Hashable:
        """A value that is equal for two checkpoints of the same place: real path, hub commit, or mapping."""
        return self._place.identity

    @property
    def repository(self) -> str | None:
        """The hub id without its revision, for a model of the hub."""
        return self._place.repository

    @property
    def commit(self) -> str | None:
        """The hub commit that is read, for a model of the hub."""
        return self._place.commit

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder and files on this machine that are read, links resolved; none for arrays and unfetched models."""
        return self._place.paths

    def fetch(self, progress: bool = False) -> None:
        """Make sure that the weights are on this machine: downloads those of a hub model that is not in the cache.

        Args:
            progress: whether huggingface_hub shows its progress bars.

        Raises:
            InputError: when the hub refuses or cannot be reached.
        """
        place = self._place
        with self._lock:
            self._opened = place.fetch(progress)

    def read(self, name: str, start_byte: int, buffer: Buffer) -> None:
        """Fill a buffer with a part of a tensor's bytes, as they are stored.

        Args:
            name: a name of ``specs``.
            start_byte: where the part starts in the tensor.
            buffer: writable and contiguous, of at most the bytes that follow ``start_byte`` in the tensor.

        Raises:
            RunError: when the file has become shorter or cannot be read, or the weights are still on the hub.
        """
        self._place.read(name, start_byte, buffer)

    def follows(self, name: str, other: str) -> bool:
        """Say whether the tensor ``name`` is stored right behind ``other``, so that a read of that one may go on."""
        return self._place.follows(name, other)

    def fingerprint(self) -> Mapping[str, Fingerprint]:
        """Look at the weight files again: by file name, size, time, inode and header digest.

        Empty for arrays in memory and for weights that are still on the hub.
        """
        return self._place.fingerprint()

    def close(self) -> None:
        """Let go of the files; what is asked for later opens them again."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _place(self) -> Place:
        # Every read of every tensor comes by here, so no lock is taken once it is open.
        opened = self._opened
        if opened is None:
            with self._lock:
                opened = self._opened = self._opened or self._open()
        return opened

    def _open(self) -> Place:
        if isinstance(self._source, Mapping):
            return Arrays(self._source)
        if self._location.path is not None:
            return self._open_local(self._location.path)
        assert self._location.repository is not None
        return hub.open_repository(self._location.repository, self._location.revision)

    def _open_local(self, shown: Path) -> Place:
        if not self._path.is_dir() and not self._path.is_file():
            raise InputError(f"{shown}: neither a folder nor a file")  # such as a pipe, which would be waited for
        pickled = find_pickled(self._path, shown)
        return open_pickled(self._path, shown, pickled) if pickled else open_path(self._path, shown)
