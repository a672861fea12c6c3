"""The header of a safetensors file: read and checked, or built.

A file is an 8-byte little-endian length, a JSON header of that length, and the data without gaps. The header maps
each tensor's name to dtype, shape and its two offsets into the data; ``__metadata__`` maps text to text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeGuard

from smelt.errors import InputError
from smelt.tensors.dtypes import dtype_named
from smelt.tensors.json_text import load_json
from smelt.tensors.platform import open_file, read_at
from smelt.tensors.quoting import quote
from smelt.tensors.spec import TensorSpec

PREFIX_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # what the safetensors library accepts
MAX_DIMENSIONS = 64  # what NumPy accepts
MAX_LENGTH = 2**63 - 1
MAX_NAME_LENGTH = 256  # characters; what follows works on names with patterns, and shows them
_LONGEST_DTYPE = 16
_GIT_LFS_START = b"version "


@dataclass(frozen=True)
class StoredTensor:
    """A tensor and where its bytes are: ``start`` to ``end``, counted from the start of the file's data."""

    spec: TensorSpec
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a header says: the tensors by name in the order of their data, the metadata, and where the data start."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]
    data_start: int
    sha256: str  # of the JSON text as it stands in the file


def read_header(path: Path, where: str) -> Header:
    """Read and check the header of a local file.

    Args:
        path: the file.
        where: its name for messages.

    Raises:
        InputError: when the file cannot be opened or is not a sound safetensors file.
    """
    content, size_bytes = _read_content(path, where)
    return parse_header(content, where, size_bytes)


def hash_header(path: Path, where: str) -> str:
    """Return the sha256 of a local file's header as it stands there, sound or not.

    Raises:
        InputError: when the file cannot be opened or has no header.
    """
    return hashlib.sha256(_read_content(path, where)[0]).hexdigest()


def _read_content(path: Path, where: str) -> tuple[bytes, int]:
    """Return the JSON text of a file's header, and the file's size."""
    try:
        file = open_file(path, "rb")
    except OSError as error:
        raise InputError(f"{where}: cannot be opened: {error.strerror}") from error
    with file:
        prefix = bytearray(min(PREFIX_BYTES, file.size_bytes))
        read_at(file, prefix, 0)
        content = bytearray(measure_header(bytes(prefix), where, file.size_bytes))
        read_at(file, content, PREFIX_BYTES)
        return bytes(content), file.size_bytes


def measure_header(prefix: bytes, where: str, file_size_bytes: int) -> int:
    """Return the length of the JSON header in bytes.

    Args:
        prefix: the first 8 bytes of the file.
        where: the file's name for messages.
        file_size_bytes: the size of the whole file.

    Raises:
        InputError: when the file is too short, or this cannot be a header's length.
    """
    if len(prefix) < PREFIX_BYTES:
        raise InputError(f"{where}: {file_size_bytes} bytes long; a safetensors file has at least 8")
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if prefix[:PREFIX_BYTES] == _GIT_LFS_START:
        raise InputError(f"{where}: a git-lfs pointer and not the weights; run 'git lfs pull' in its folder")
    if length > MAX_HEADER_BYTES:
        raise InputError(f"{where}: not a safetensors file (its header would have {length} bytes; at most 100 MB)")
    if PREFIX_BYTES + length > file_size_bytes:
        missing = PREFIX_BYTES + length - file_size_bytes
        raise InputError(f"{where}: truncated: {missing} bytes of the header of {length} bytes are missing")
    return length


def parse_header(content: bytes, where: str, file_size_bytes: int) -> Header:
    """Check a header and return what it says.

    Args:
        content: the JSON text, without the 8 bytes before it.
        where: the file's name for messages.
        file_size_bytes: the size of the whole file.

    Raises:
        InputError: naming file and tensor, when the header is not sound or does not fit the file's size.
    """
    table = _decode(content, where)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(f"{where}: __metadata__ must map text to text")
    stored = sorted(_check_entries(table, where), key=attrgetter("start", "end"))
    data_start = PREFIX_BYTES + len(content)
    _check_extents(stored, where, file_size_bytes - data_start)
    return Header({t.spec.name: t for t in stored}, metadata, data_start, hashlib.sha256(content).hexdigest())


def build_header(specs: Sequence[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    """Return the first bytes of a file that holds the tensors in the given order without gaps.

    The header is padded with spaces so that the data start at a multiple of 8 bytes.

    Args:
        specs: the tensors, names all different.
        metadata: what stands under ``__metadata__``; nothing is written when it is empty.
    """
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for stored in place_tensors(specs):
        spec = stored.spec
        table[spec.name] = {"dtype": spec.dtype.name, "shape": spec.shape, "data_offsets": (stored.start, stored.end)}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(PREFIX_BYTES, "little") + text


def place_tensors(specs: Iterable[TensorSpec]) -> list[StoredTensor]:
    """Return the tensors one behind the other, from offset 0 of the data on."""
    stored, position = [], 0
    for spec in specs:
        stored.append(StoredTensor(spec, position, position + spec.size_bytes))
        position += spec.size_bytes
    return stored


def _decode(content: bytes, where: str) -> dict[str, Any]:
    try:
        table = load_json(content.decode(), strict=True)
    except ValueError as error:
        raise InputError(f"{where}: the header is not valid: {error}") from error
    if not isinstance(table, dict):
        raise InputError(f"{where}: the header must be a JSON object, not {type(table).__name__}")
    if not content.startswith(b"{"):
        raise InputError(f"{where}: the header is not valid: it must begin with '{{'")
    return table


def _check_entries(table: Mapping[str, Any], where: str) -> list[StoredTensor]:
    stored = []
    for name, entry in table.items():
        try:
            stored.append(_check_entry(name, entry))
        except InputError as error:
            raise InputError(f"{where}: tensor {quote(name)}: {error}") from error
    return stored


def _check_entry(name: str, entry: Any) -> StoredTensor:
    if len(name) > MAX_NAME_LENGTH:
        raise InputError(f"its name has {len(name)} characters; at most {MAX_NAME_LENGTH} are read")
    if not isinstance(entry, dict) or not _is_word(entry.get("dtype")):
        raise InputError("the header must give its dtype, shape and data_offsets")
    dtype, shape, offsets = dtype_named(entry["dtype"]), entry.get("shape"), entry.get("data_offsets")
    if not _are_lengths(shape) or len(shape) > MAX_DIMENSIONS:
        raise InputError(f"its shape must be a list of at most {MAX_DIMENSIONS} whole numbers from 0 up")
    if not _are_lengths(offsets) or len(offsets) != 2:
        raise InputError("its data_offsets must be two whole numbers from 0 up")
    size_bytes = math.prod(shape) * dtype.size_bytes
    if size_bytes > MAX_LENGTH:
        raise InputError(f"{dtype.name} of its shape takes more bytes than any file has ({MAX_LENGTH})")
    if offsets[1] - offsets[0] != size_bytes:
        raise InputError(
            f"data_offsets {offsets} span {offsets[1] - offsets[0]} bytes; "
            f"{dtype.name} of shape {_show_shape(shape)} takes {size_bytes}"
        )
    return StoredTensor(TensorSpec(name, tuple(shape), dtype), offsets[0], offsets[1])


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_DTYPE and value.isidentifier()


def _show_shape(shape: list[int]) -> str:
    return str(shape) if len(shape) <= 8 else f"{str(shape[:8])[:-1]}, … ({len(shape)} dimensions)]"


def _are_lengths(values: Any) -> TypeGuard[list[int]]:
    if not isinstance(values, list):
        return False
    for value in values:  # noqa: SIM110 - all() with a generator takes thrice as long, for every tensor of a model
        if type(value) is not int or not 0 <= value <= MAX_LENGTH:
            return False
    return True


def _check_extents(stored: Sequence[StoredTensor], where: str, data_bytes: int) -> None:
    position = 0
    for tensor in stored:
        if tensor.start != position:
            problem = "overlaps the tensor before it" if tensor.start < position else "leaves a hole before it"
            name = quote(tensor.spec.name)
            raise InputError(f"{where}: tensor {name} {problem}: it starts at {tensor.start}, not at {position}")
        position = tensor.end
    if position > data_bytes:
        raise InputError(
            f"{where}: truncated: {position - data_bytes} of {position} bytes of data are missing; "
            "copy or download the file again"
        )
    if position < data_bytes:
        raise InputError(f"{where}: {data_bytes - position} bytes follow the last tensor; copy the file again")
