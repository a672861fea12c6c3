"""Sinks: where the encoded bytes of outputs go, at positions that are known before the first of them is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smelt.planning.plan import Plan
from smelt.running.hashing import Follower
from smelt.running.journal import Claim, Journal, digest_of
from smelt.running.nonfinite import Counts
from smelt.running.sources import Reader
from smelt.tensors.platform import File, count_allowed_files, open_file, read_at, reserve, sync_file, write_at
from smelt.tensors.shards import Shard

Bytes = NDArray[np.uint8]

# Of the files that the process may have open, how many there may be for another one to stay open.
_KEPT_SHARE = 0.25


class Sink(Protocol):
    """Takes the bytes of outputs, from many threads, in any order."""

    def verifications(self) -> Sequence[Readback]:
        """Return the tasks that read back what an earlier run has written, to be done before anything is asked."""

    def kept(self, name: str, start_byte: int, stop_byte: int) -> Counts | None:
        """Return what was counted in bytes that an earlier run has written, ``None`` where not all of them are."""

    def write(self, name: str, start_byte: int, data: Bytes, counts: Counts = ()) -> None:
        """Put ``data`` at ``start_byte`` of the tensor ``name``; ``counts`` are what was counted while it was made."""

    def write_together(self, names: Sequence[str], data: Bytes) -> None:
        """Put ``data`` into tensors of one size, each whole, one after the other; nothing was counted in them."""

    def complete(self) -> Mapping[str, str]:
        """All bytes are there: make them last, and return the sha256 of each file by its name."""

    def close(self) -> None:
        """Let go of everything."""


class WeightFile:
    """A file that is written; where many are open already, it is opened for each use.

    Args:
        path: what stands there and has the file's size is written into.
        size_bytes: of the file.

    Raises:
        RunError: when there is no room for it.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        file = _open_reserved(path, size_bytes)
        # The system numbers open files from the lowest that is free, so the number tells how many are open.
        self._kept = file if file.number < _KEPT_SHARE * count_allowed_files() else None

    def borrow(self) -> File:
        """Return it open; whoever lets go of it last closes it."""
        return self._kept or open_file(self.path, "r+b")

    def close(self) -> None:
        """Close it where it was kept open."""
        if self._kept:
            self._kept.close()


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor are, and what of them an earlier run has left: verified claims by their start."""

    file: WeightFile
    follower: Follower
    offset: int
    size_bytes: int
    kept: dict[int, Claim] = field(default_factory=dict)


class Readback:
    """A task that reads back what the journal claims of a tensor; what has its digest is kept.

    Args:
        name: of the tensor.
        claims: about it.
        place: of it.
    """

    def __init__(self, name: str, claims: Sequence[Claim], place: Place) -> None:
        self.name = name
        self.blocks = len(claims)
        self._claims = claims
        self._place = place

    def prepare(self, reader: Reader) -> None:
        """Nothing to prepare."""

    def do_block(self, number: int, reader: Reader) -> None:
        """Verify one claim."""
        claim, place = self._claims[number], self._place
        data = reader.buffer("verified", claim.stop - claim.start)[: claim.stop - claim.start]
        read_at(place.file.borrow(), data, place.offset + claim.start)
        if digest_of(data, claim.counts) == claim.digest:
            place.kept[claim.start] = claim
            place.follower.add(place.offset + claim.start, place.offset + claim.stop)

    def conclude(self, reader: Reader) -> bool:
        """One pass is all there is."""
        return True


class FileSink:
    """The files of a plan in a folder: headers first, every file at its final size before a tensor is computed.

    Args:
        plan: what is written.
        folder: where; files of an earlier run that have their size are written into.
        journal: of the folder; is told of every block that is written.

    Raises:
        RunError: when the files cannot be created or there is no room for them.
    """

    def __init__(self, plan: Plan, folder: Path, journal: Journal) -> None:
        self._journal = journal
        self._files: dict[str, tuple[WeightFile, Follower]] = {}
        self._places: dict[str, Place] = {}
        try:
            for shard in plan.shards:
                self._create(shard, folder)
        except BaseException:
            self.close()
            raise

    def _create(self, shard: Shard, folder: Path) -> None:
        file = WeightFile(folder / shard.file_name, shard.size_bytes)
        try:
            write_at(file.borrow(), shard.header, 0)
            follower = Follower(folder / shard.file_name, shard.size_bytes)
        except BaseException:
            file.close()
            raise
        self._files[shard.file_name] = (file, follower)
        follower.add(0, len(shard.header))
        for name, stored in shard.tensors.items():
            self._places[name] = Place(file, follower, len(shard.header) + stored.start, stored.spec.size_bytes)

    def verifications(self) -> Sequence[Readback]:
        """Return a task per tensor of which the journal claims anything."""
        claims: dict[str, list[Claim]] = {}
        for claim in self._journal.claims.values():
            if claim.tensor in self._places and claim.stop <= self._places[claim.tensor].size_bytes:
                claims.setdefault(claim.tensor, []).append(claim)
        return [Readback(name, found, self._places[name]) for name, found in claims.items()]

    def kept(self, name: str, start_byte: int, stop_byte: int) -> Counts | None:
        """Follow the verified claims from ``start_byte`` on, and add up their counts."""
        kept, found = self._places[name].kept, []
        if not kept:
            return None
        while start_byte < stop_byte and start_byte in kept:
            found.append(kept[start_byte].counts)
            start_byte = kept[start_byte].stop
        if start_byte != stop_byte:
            return None
        return tuple(sum(numbers) for numbers in zip(*(counts for counts in found if counts), strict=True))

    def write(self, name: str, start_byte: int, data: Bytes, counts: Counts = ()) -> None:
        """Write at the tensor's place in its file."""
        place = self._places[name]
        start = place.offset + start_byte
        write_at(place.file.borrow(), data, start)
        self._journal.claim(name, start_byte, data, counts)
        place.follower.add(start, start + len(data))

    def write_together(self, names: Sequence[str], data: Bytes) -> None:
        """Write at the tensors' places: at once where they lie one behind the other."""
        size = len(data) // len(names)
        first = 0
        for last, name in enumerate(names, 1):
            place = self._places[name]
            following = self._places[names[last]] if last < len(names) else None
            if following is None or (following.file, following.offset) != (place.file, place.offset + size):
                run, start = data[first * size : last * size], place.offset + size - (last - first) * size
                write_at(place.file.borrow(), run, start)
                self._journal.claim_together(names[first:last], run)
                place.follower.add(start, start + len(run))
                first = last

    def complete(self) -> Mapping[str, str]:
        """Wait until the bytes are on the disk; what is not hashed yet is hashed meanwhile."""
        return {name: _complete(file, follower) for name, (file, follower) in self._files.items()}

    def close(self) -> None:
        """Close the files."""
        for file, follower in self._files.values():
            follower.stop()
            file.close()


def _complete(file: WeightFile, follower: Follower) -> str:
    follower.release()
    sync_file(file.borrow())
    return follower.finish()


def _open_reserved(path: Path, size_bytes: int) -> File:
    found = path.exists() and path.stat().st_size == size_bytes
    if not found:
        path.unlink(missing_ok=True)
    file = open_file(path, "r+b" if found else "x+b")
    try:  # also where it was found: whoever made it may have been stopped before it had its room
        reserve(file, size_bytes)
    except BaseException:
        file.close()
        raise
    return file


class MemorySink:
    """The outputs as arrays in memory."""

    def __init__(self, plan: Plan) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self._bytes: dict[str, Bytes] = {}
        for output in plan.outputs:
            spec = output.spec
            self._bytes[spec.name] = np.empty(spec.size_bytes, np.uint8)
            self.arrays[spec.name] = self._bytes[spec.name].view(spec.dtype.array).reshape(spec.shape)

    def verifications(self) -> Sequence[Readback]:
        """Nothing was written before."""
        return []

    def kept(self, name: str, start_byte: int, stop_byte: int) -> Counts | None:
        """Nothing was written before."""
        return None

    def write(self, name: str, start_byte: int, data: Bytes, counts: Counts = ()) -> None:
        """Copy into the tensor's array."""
        self._bytes[name][start_byte : start_byte + len(data)] = data

    def write_together(self, names: Sequence[str], data: Bytes) -> None:
        """Copy into the tensors' arrays."""
        for name, part in zip(names, data.reshape(len(names), -1), strict=True):
            self._bytes[name][:] = part

    def complete(self) -> Mapping[str, str]:
        """Nothing to do: there are no files."""
        return {}

    def close(self) -> None:
        """Nothing to do."""
