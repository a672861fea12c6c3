"""The journal of a run: which blocks are written, with a digest of each, so that a run that was stopped can carry on.

A line of JSON per record: first a head that says what is being made, then a claim per block, at last that everything is
on the disk. A claim is believed once the bytes have been read back and have its digest. So nothing waits for the disk
here, and a line that did not get there costs a block, no more.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import xxhash

from smelt.planning.plan import Plan
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.hub import blob_sha256
from smelt.tensors.platform import Buffer, File, append, read_at, reserve, sync_file

VERSION = 1

Head = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes [start, stop) of a tensor are written.

    Args:
        tensor: its name.
        start, stop: counted from its first byte.
        digest: see ``digest_of``.
        counts: what was counted while they were made; none where there was nothing to count.
    """

    tensor: str
    start: int
    stop: int
    digest: str
    counts: tuple[int, ...]


class Journal:
    """What is known of a run, and its file, which nobody else writes. Claims may be made by many threads.

    Args:
        file: open to be read and appended to; what follows the last sound record in it is cut off.

    Raises:
        RunError: when it cannot be read.
    """

    def __init__(self, file: File) -> None:
        self.head: Head | None = None
        self.claims: dict[tuple[str, int], Claim] = {}  # as they were read; the last one of a place counts
        self.finish: Mapping[str, Any] | None = None
        self._file = file
        self._lock = threading.Lock()
        self._claimed = False
        content = bytearray(file.size_bytes)
        read_at(file, content, 0)
        end = 0
        for line in bytes(content).splitlines(keepends=True):
            if not self._understand(line):
                break
            end += len(line)
        reserve(file, end)

    @property
    def has_claims(self) -> bool:
        """Whether any block is said to be written, by this run or an earlier one."""
        return self._claimed or bool(self.claims)

    def begin(self, head: Head) -> None:
        """Forget everything, and say what is being made."""
        self.clear()
        self._append(head)
        sync_file(self._file)
        self.head = head

    def claim(self, tensor: str, start: int, data: Buffer, counts: tuple[int, ...] = ()) -> None:
        """Say that ``data`` is written at ``start`` of a tensor.

        Raises:
            RunError: when that cannot be written down.
        """
        self._append([tensor, start, start + memoryview(data).nbytes, digest_of(data, counts), *counts])
        self._claimed = True

    def claim_together(self, tensors: Sequence[str], data: Buffer) -> None:
        """Say that tensors of one size are written whole, one after the other in ``data``.

        Raises:
            RunError: when that cannot be written down.
        """
        parts = memoryview(data).cast("B")
        size = len(parts) // len(tensors)
        pieces = (parts[start : start + size] for start in range(0, len(parts), size))
        self._append(*([name, 0, size, digest_of(piece)] for name, piece in zip(tensors, pieces, strict=True)))
        self._claimed = True

    def begin_finish(self, draft: list[int], old: str | None, inode: int | None) -> None:
        """Say that everything is on the disk and the output takes its place.

        Args:
            draft: inode and time of the folder that takes it, by which it is known again.
            old: what an output that it replaces is renamed to.
            inode: of that one, likewise; its time changes while it is being deleted.
        """
        self._append({"draft": draft, "old": old, "inode": inode})
        sync_file(self._file)

    def clear(self) -> None:
        """Forget everything."""
        reserve(self._file, 0)
        self.head = self.finish = None
        self.claims = {}
        self._claimed = False

    def _append(self, *records: object) -> None:
        lines = "".join(f"{json.dumps(record)}\n" for record in records).encode()
        with self._lock:
            append(self._file, lines)

    def _understand(self, line: bytes) -> bool:
        """Take a record; say whether it is one."""
        record = _parse(line)
        if self.head is None:
            self.head = record if isinstance(record, dict) and _is_head(record) else None
            return self.head is not None
        if isinstance(record, dict):
            self.finish = record if _is_finish(record) else None
            return self.finish is not None
        claim = _as_claim(record)
        if claim is None:
            return False
        self.claims[claim.tensor, claim.start] = claim
        self.finish = None
        return True


def _is_head(record: Mapping[str, Any]) -> bool:
    is_whole = _has(record, {"plan": str, "layout": str, "inputs": list, "replaces": list | None})
    is_whole = is_whole and all(isinstance(i, dict) and isinstance(i.get("files"), dict) for i in record["inputs"])
    return is_whole and record.get("smelt_journal") == VERSION


def _is_finish(record: Mapping[str, Any]) -> bool:
    is_whole = _has(record, {"draft": list, "old": str | None, "inode": int | None})
    return is_whole and [type(n) for n in record["draft"]] == [int, int]


def _has(record: Mapping[str, Any], kinds: Mapping[str, Any]) -> bool:
    return all(name in record and isinstance(record[name], kind) for name, kind in kinds.items())


def _parse(line: bytes) -> object:
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None


def _as_claim(record: object) -> Claim | None:
    if not isinstance(record, list) or len(record) < 4:
        return None
    tensor, start, stop, digest, *counts = record
    if not isinstance(tensor, str) or not isinstance(digest, str):
        return None
    if not all(isinstance(n, int) for n in (start, stop, *counts)) or not 0 <= start < stop:
        return None
    return Claim(tensor, start, stop, digest, tuple(counts))


def digest_of(data: Buffer, counts: tuple[int, ...] = ()) -> str:
    """Return the xxh3-128 of the bytes of a claim, followed by its counts where it has any, in hexadecimal."""
    digest = xxhash.xxh3_128(data)
    digest.update(json.dumps(counts).encode() if counts else b"")
    return digest.hexdigest()


def read_plan_digest(path: Path) -> str | None:
    """Return the digest of the plan of a journal that a run may be writing; ``None`` where no run is begun."""
    try:
        with open(path, "rb") as file:
            head = _parse(file.readline())
    except OSError:
        return None
    return head["plan"] if isinstance(head, dict) and _is_head(head) else None


def describe_run(plan: Plan) -> dict[str, Any]:
    """Return the head of a journal: all that decides the bytes of an output and where each stands.

    Args:
        plan: what is run; its inputs are looked at anew.

    Returns:
        the head, in which ``replaces`` is to be set to inode and time of an output that is to be replaced, if there is
        one.

    Raises:
        SmeltError: when an input cannot be read.
    """
    layout = hashlib.sha256()
    for shard in plan.shards:
        layout.update(json.dumps([shard.file_name, shard.size_bytes]).encode() + shard.header)
    inputs = [
        {"name": label, "files": _describe_files(checkpoint)}
        for label, checkpoint in zip(plan.labels, plan.checkpoints, strict=True)
    ]
    return {
        "smelt_journal": VERSION,
        "plan": plan.digest,
        "layout": layout.hexdigest(),
        "inputs": inputs,
        "replaces": None,
    }


def _describe_files(checkpoint: Checkpoint) -> dict[str, list[Any]]:
    files = {}
    for (name, found), path in zip(checkpoint.fingerprint().items(), checkpoint.paths[1:], strict=True):
        sha256 = blob_sha256(path) if checkpoint.repository else None
        # A file of the hub that was downloaded again is another file with the same content.
        same = [checkpoint.commit, found.size_bytes, found.header_sha256, sha256]
        files[name] = same if sha256 else list(astuple(found))
    return files


def can_resume(head: Head) -> bool:
    """Say whether a later run can tell that it has the same inputs: arrays in memory have no fingerprint."""
    return all(given["files"] for given in head["inputs"])


def find_difference(there: Head, here: Head) -> str | None:
    """Return in words what differs between the run of a journal and this one, ``None`` when they make the same."""
    if there["plan"] != here["plan"]:
        return f"its plan is another one (digest {there['plan'][:16]}, here {here['plan'][:16]})"
    if there["layout"] != here["layout"]:
        return "its files are laid out otherwise (names, sizes or headers)"
    for old, new in zip(there["inputs"], here["inputs"], strict=False):
        names = [name for name in {**old["files"], **new["files"]} if old["files"].get(name) != new["files"].get(name)]
        if names:
            return f"its input '{new['name']}' is not the same any more ({names[0]})"
    return None if len(there["inputs"]) == len(here["inputs"]) else "it has other inputs"
