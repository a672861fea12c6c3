"""Sinks: where the encoded bytes of outputs go, at positions that are known before the first of them is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smelt.planning.plan import Plan
from smelt.running.hashing import Follower
from smelt.tensors.platform import File, open_file, reserve, sync_file, write_at
from smelt.tensors.shards import Shard

Bytes = NDArray[np.uint8]


class Sink(Protocol):
    """Takes the bytes of outputs, from many threads, in any order."""

    def write(self, name: str, start_byte: int, data: Bytes) -> None:
        """Put ``data`` at ``start_byte`` of the tensor ``name``."""

    def complete(self) -> Mapping[str, str]:
        """All bytes are there: make them last, and return the sha256 of each file by its name."""

    def close(self) -> None:
        """Let go of everything."""


class FileSink:
    """The files of a plan in a folder: headers first, every file at its final size before a tensor is computed.

    Raises:
        RunError: when the files cannot be created or there is no room for them.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._files: dict[str, tuple[File, Follower]] = {}
        self._places: dict[str, tuple[File, Follower, int]] = {}
        try:
            for shard in plan.shards:
                self._create(shard, folder)
        except BaseException:
            self.close()
            raise

    def _create(self, shard: Shard, folder: Path) -> None:
        file = open_file(folder / shard.file_name, "xb")
        try:
            reserve(file, shard.size_bytes)
            write_at(file, shard.header, 0)
            follower = Follower(folder / shard.file_name, shard.size_bytes)
        except BaseException:
            file.close()
            raise
        self._files[shard.file_name] = (file, follower)
        follower.add(0, len(shard.header))
        for name, stored in shard.tensors.items():
            self._places[name] = (file, follower, len(shard.header) + stored.start)

    def write(self, name: str, start_byte: int, data: Bytes) -> None:
        """Write at the tensor's place in its file."""
        file, follower, offset = self._places[name]
        start = offset + start_byte
        write_at(file, data, start)
        follower.add(start, start + len(data))

    def complete(self) -> Mapping[str, str]:
        """Wait until the bytes are on the disk; what is not hashed yet is hashed meanwhile."""
        for _, follower in self._files.values():
            follower.release()
        for file, _ in self._files.values():
            sync_file(file)
        return {name: follower.finish() for name, (_, follower) in self._files.items()}

    def close(self) -> None:
        """Close the files."""
        for file, follower in self._files.values():
            follower.stop()
            file.close()


class MemorySink:
    """The outputs as arrays in memory."""

    def __init__(self, plan: Plan) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self._bytes: dict[str, Bytes] = {}
        for output in plan.outputs:
            spec = output.spec
            self._bytes[spec.name] = np.empty(spec.size_bytes, np.uint8)
            self.arrays[spec.name] = self._bytes[spec.name].view(spec.dtype.array).reshape(spec.shape)

    def write(self, name: str, start_byte: int, data: Bytes) -> None:
        """Copy into the tensor's array."""
        self._bytes[name][start_byte : start_byte + len(data)] = data

    def complete(self) -> Mapping[str, str]:
        """Nothing to do: there are no files."""
        return {}

    def close(self) -> None:
        """Nothing to do."""
