"""A checkpoint in pickled files of torch, read without running what they say; the only module that calls torch.

A pickle is a program, so whoever opens one runs it. torch's ``weights_only`` reader carries out nothing but what builds
tensors, and refuses the rest. It needs the extra ``torch``; without it these files are refused. Their data come through
a memory map, which is what torch offers: unlike a safetensors file, one that is cut short while it is being read ends
the process.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smelt.errors import InputError
from smelt.tensors.arrays import Arrays
from smelt.tensors.folder import Fingerprint, beside_weights, list_files, read_whole
from smelt.tensors.pickle_records import check_records
from smelt.tensors.platform import Buffer
from smelt.tensors.quoting import quote
from smelt.tensors.safetensors import MAX_NAME_LENGTH
from smelt.tensors.shards import INDEX_NAME, SINGLE_NAME
from smelt.tensors.weights import PICKLED, WeightFiles, read_index

_SINGLE = "pytorch_model.bin"
_INDEX = "pytorch_model.bin.index.json"
_ZIP_START = b"PK\x03\x04"  # what torch has written since 1.6; only this can be mapped
_DIRECTORY_BYTES = 65_536  # the end of the file, with the checksums of what is in it


class PickledFiles:
    """Weights in pickled files, and the files beside them."""

    repository: str | None = None
    commit: str | None = None

    def __init__(self, folder: Path, shown: Path, weights: WeightFiles, files: tuple[str, ...], identity: Hashable):
        self.files = files
        self.identity = identity
        self._folder = folder
        self._shown = shown
        self._weights = weights.names
        tensors: dict[str, Any] = {}
        for name in weights.names:
            found = _load(folder / name, str(shown / name))
            _check_index(str(shown), weights.index, name, found)
            tensors.update(found)
        try:
            self._arrays = Arrays(tensors)
        except InputError as error:
            raise InputError(f"{shown}: {str(error).removeprefix('arrays in memory: ')}") from error
        self.specs = self._arrays.specs

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder and the weight files, links resolved."""
        files = (self._folder, *(self._folder / name for name in self._weights))
        return tuple(Path(os.path.realpath(path)) for path in files)

    def read_file(self, name: str) -> bytes:
        """Return the content of one of ``files``."""
        return read_whole(self._folder / name, f"{self._shown}: {name}")

    def read(self, name: str, start_byte: int, buffer: Buffer) -> None:
        """Fill ``buffer`` from the tensor's bytes from ``start_byte`` on."""
        self._arrays.read(name, start_byte, buffer)

    def follows(self, name: str, other: str) -> bool:
        """Say no: each is somewhere else."""
        return False

    def fetch(self, progress: bool) -> PickledFiles:
        """Return itself: everything is here."""
        return self

    def fingerprint(self) -> dict[str, Fingerprint]:
        """Look at every weight file anew."""
        return {name: _fingerprint(self._folder / name) for name in self._weights}

    def close(self) -> None:
        """Do nothing: the maps go with the object."""


def find_pickled(path: Path, shown: Path) -> WeightFiles | None:
    """Return the pickled files that a path means, in the order of their names.

    None where safetensors weights stand beside them, and none without torch: whoever opens the path then says why.

    Args:
        path: a folder or a file, absolute.
        shown: the same in the user's words, for messages.

    Raises:
        InputError: when a folder cannot be read, or an index is not sound or names files that are not there.
    """
    if find_spec("torch") is None:
        return None
    if path.is_file():
        return WeightFiles((path.name,), None) if path.name.lower().endswith(PICKLED) and _is_zip(path) else None
    names = list_files(path, shown)
    if INDEX_NAME in names or SINGLE_NAME in names:
        return None
    if _INDEX not in names:
        return WeightFiles((_SINGLE,), None) if _SINGLE in names and _is_zip(path / _SINGLE) else None
    index = read_index(str(shown), _INDEX, read_whole(path / _INDEX, f"{shown}: {_INDEX}"))
    wanted = tuple(sorted(dict.fromkeys(index.values())))
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(f"{shown}: {_INDEX} names a file that is not there: {quote(missing[0])}")
    return WeightFiles(wanted, index)


def open_pickled(path: Path, shown: Path, weights: WeightFiles) -> PickledFiles:
    """Open a folder with pickled weights, or a single pickled file.

    Args:
        path: where it is, absolute.
        shown: the same in the user's words, for messages.
        weights: the files that ``find_pickled`` found.

    Raises:
        InputError: when torch refuses a file, or it holds anything but tensors by name.
    """
    identity = ("path", os.path.realpath(path))
    if path.is_file():
        return PickledFiles(path.parent, shown.parent, weights, (), identity)
    return PickledFiles(path, shown, weights, beside_weights(list_files(path, shown)), identity)


def _load(path: Path, where: str) -> Mapping[str, Any]:
    import torch

    check_records(path, where)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a broken pickle makes torch raise nearly everything
        raise InputError(
            f"{where}: torch refuses to read it as weights alone: it is damaged, or would run or make what is no tensor"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # training frameworks keep their own notes beside the weights
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{where}: must hold tensors by name, not {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not _is_plain(torch, value):
            raise InputError(f"{where}: {quote(str(name))} is not the name of a plain tensor on the processor")
    return content


def _check_index(where: str, index: Mapping[str, str] | None, file_name: str, found: Mapping[str, Any]) -> None:
    """Check that a file holds just the tensors that the index gives to it; so none is in two files."""
    if index is None:
        return
    for name in found:
        if index.get(name) != file_name:
            says = f"gives it to {index[name]}" if name in index else "does not name it"
            raise InputError(f"{where}: tensor {quote(name)} is in {file_name}, but {_INDEX} {says}")
    for name, owner in index.items():
        if owner == file_name and name not in found:
            raise InputError(f"{where}: {_INDEX} names tensor {quote(name)}, which is not in {owner}")


def _is_plain(torch: Any, value: Any) -> bool:
    """Say whether a value is a tensor whose numbers all stand in its file: views can claim more than there is."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _is_zip(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_ZIP_START)) == _ZIP_START
    except OSError:
        return False


def _fingerprint(path: Path) -> Fingerprint:
    status = path.stat()
    with open(path, "rb") as file:
        file.seek(max(0, status.st_size - _DIRECTORY_BYTES))
        digest = hashlib.sha256(file.read(_DIRECTORY_BYTES)).hexdigest()
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ino, digest)
