"""What is known of the files that a checkpoint is read from: sizes, digests of headers, digests of contents."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from smelt.errors import RunError
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.folder import Fingerprint
from smelt.tensors.hub import blob_sha256
from smelt.tensors.platform import File, advise_sequential, find_user_caches, open_file, read_at

STEP_BYTES = 2**22

Source = Literal["as named by the hub", "read"]


@dataclass(frozen=True)
class InputFile:
    """A weight file of an input.

    Args:
        name: without its folder.
        size_bytes: of the whole file.
        header_sha256: of the JSON text of its header.
        sha256: of its content, if known.
        sha256_source: whom we have that from.
    """

    name: str
    size_bytes: int
    header_sha256: str
    sha256: str | None = None
    sha256_source: Source | None = None


def describe_files(
    checkpoint: Checkpoint, fingerprints: Mapping[str, Fingerprint], hash_contents: bool = False
) -> Iterator[InputFile]:
    """Yield what is known of each weight file of a checkpoint; nothing for arrays in memory.

    Args:
        checkpoint: on this machine; of one that is still on the hub nothing is known.
        fingerprints: of its files, from the moment that is to be described.
        hash_contents: whether contents are read to the end, one after the other, where that was not done before.

    Raises:
        RunError: when a content cannot be read, or is not that of the fingerprint any more.
    """
    for (name, found), path in zip(fingerprints.items(), checkpoint.paths[1:], strict=True):
        named = blob_sha256(path) if checkpoint.repository else None
        known: tuple[str | None, Source | None] = (named, "as named by the hub") if named else (None, None)
        if hash_contents:
            known = _look_up(path, found), "read"
        yield InputFile(name, found.size_bytes, found.header_sha256, *known)


def open_whole(path: Path) -> File:
    """Open a file that is going to be read from its first byte to its last.

    Raises:
        RunError: when it cannot be opened.
    """
    try:
        file = open_file(path, "rb")
    except OSError as error:
        raise RunError(f"{path}: cannot be opened: {error.strerror or error}") from error
    advise_sequential(file)
    return file


def read_parts(file: File, start: int, stop: int, buffer: memoryview) -> Iterator[memoryview]:
    """Yield bytes [start, stop) of a file in order, as much at a time as ``buffer`` takes; it is used again.

    Raises:
        RunError: when they cannot be read.
    """
    for first in range(start, stop, len(buffer)):
        part = buffer[: min(len(buffer), stop - first)]
        read_at(file, part, first)
        yield part


def hash_content(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal.

    Raises:
        RunError: when it cannot be read.
    """
    digest, buffer = hashlib.sha256(), memoryview(bytearray(STEP_BYTES))
    with open_whole(path) as file:
        for part in read_parts(file, 0, file.size_bytes, buffer):
            digest.update(part)
    return digest.hexdigest()


def _look_up(path: Path, fingerprint: Fingerprint) -> str:
    """Return the sha256 of a content, from the user's cache where that knows this very file."""
    kept = None
    with contextlib.suppress(Exception):  # without such a folder there is no cache
        key = repr((str(path), *astuple(fingerprint)))
        kept = find_user_caches() / "smelt" / "contents" / hashlib.sha256(key.encode()).hexdigest()
        found = kept.read_text(encoding="ascii")
        if len(bytes.fromhex(found)) == hashlib.sha256().digest_size:
            return found
    found, status = hash_content(path), path.stat()
    now = status.st_size, status.st_mtime_ns, status.st_ino
    if now != (fingerprint.size_bytes, fingerprint.modified_ns, fingerprint.inode):
        raise RunError(f"{path}: has changed while it was read; plan and run again")
    if kept is not None:
        with contextlib.suppress(OSError):
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            half = kept.with_name(f"{kept.name}.{os.getpid()}")
            half.write_text(found, encoding="ascii")
            half.replace(kept)
    return found
