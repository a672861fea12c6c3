"""Sinks: where the encoded bytes of outputs go, at positions that are known before the first of them is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smelt.planning.plan import Plan
from smelt.tensors.platform import File, open_file, reserve, sync_file, write_at
from smelt.tensors.shards import Shard

Bytes = NDArray[np.uint8]


class Sink(Protocol):
    """Takes the bytes of outputs, from many threads, in any order."""

    def write(self, name: str, start_byte: int, data: Bytes) -> None:
        """Put ``data`` at ``start_byte`` of the tensor ``name``."""

    def complete(self) -> None:
        """All bytes are there: make them last."""

    def close(self) -> None:
        """Let go of everything."""


class FileSink:
    """The files of a plan in a folder: headers first, every file at its final size before a tensor is computed.

    Raises:
        RunError: when the files cannot be created or there is no room for them.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._files: list[File] = []
        self._places: dict[str, tuple[File, int]] = {}
        try:
            for shard in plan.shards:
                self._create(shard, folder)
        except BaseException:
            self.close()
            raise

    def _create(self, shard: Shard, folder: Path) -> None:
        file = open_file(folder / shard.file_name, "xb")
        self._files.append(file)
        reserve(file, shard.size_bytes)
        write_at(file, shard.header, 0)
        for name, stored in shard.tensors.items():
            self._places[name] = (file, len(shard.header) + stored.start)

    def write(self, name: str, start_byte: int, data: Bytes) -> None:
        """Write at the tensor's place in its file."""
        file, offset = self._places[name]
        write_at(file, data, offset + start_byte)

    def complete(self) -> None:
        """Wait until the bytes are on the disk."""
        for file in self._files:
            sync_file(file)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
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

    def complete(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
