"""Whether an output still is what its provenance says: files, headers, index, shapes, NaN and infinities."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smelt.checking.record import Record, make_lines, read_record
from smelt.errors import InputError, listing
from smelt.running.inputs import STEP_BYTES, open_whole, read_parts
from smelt.running.nonfinite import count_nonfinite
from smelt.running.provenance import PROVENANCE_NAME
from smelt.tensors.folder import read_whole
from smelt.tensors.quoting import quote
from smelt.tensors.safetensors import Header, StoredTensor, read_header
from smelt.tensors.shards import INDEX_NAME
from smelt.tensors.weights import read_index

WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class Verification:
    """What was found in an output.

    Args:
        differences: from its provenance, one line each, none if all is well.
        non_finite: how many values are NaN or infinite, by tensor that has any.
        files, tensors: how many were looked at.
    """

    differences: tuple[str, ...]
    non_finite: Mapping[str, int]
    files: int
    tensors: int

    def lines(self, output: str) -> list[str]:
        """Return the result in words, a line for each thing."""
        shown = [f"{output}: {difference}" for difference in self.differences]
        counts = (f"{output}: {quote(name)} holds {n:,} NaN or infinities" for name, n in self.non_finite.items())
        what = f"{self.files} files and {self.tensors} tensors"
        plural = "s" if len(self.differences) > 1 else ""
        verdict = f"{len(self.differences)} difference{plural}" if shown else f"as {PROVENANCE_NAME} says"
        return [*shown, *counts, f"{output}: {what}, {verdict}"]

    def to_json(self) -> dict[str, Any]:
        """Return the whole as plain data."""
        return {
            "verified": not self.differences,
            "differences": list(self.differences),
            "non_finite": dict(self.non_finite),
            "files": self.files,
            "tensors": self.tensors,
        }


@dataclass(frozen=True)
class _Scan:
    """A file read to its end: digest, header of sound weights, what is wrong with others, NaN and infinities."""

    sha256: str
    header: Header | None
    fault: str | None
    non_finite: Mapping[str, int]


def verify(folder: str | os.PathLike[str]) -> Verification:
    """Compare an output with its provenance.

    Every file is read to its end, with a few MB of memory per core. Files whose names start with a dot are passed over.

    Args:
        folder: the output of a merge.

    Raises:
        InputError: when it has no provenance.
        RunError: when a file cannot be read.
    """
    place = Path(folder)
    record = read_record(place)
    names = sorted(e.name for e in os.scandir(place) if not e.name.startswith(".") and e.name != PROVENANCE_NAME)
    known = [name for name in names if name in record.files and (place / name).is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scans = dict(zip(known, pool.map(lambda name: _scan(place / name), known), strict=True))
    non_finite = {tensor: count for scan in scans.values() for tensor, count in scan.non_finite.items()}
    headers = {name: scan.header for name, scan in scans.items() if scan.header is not None}
    differences = [
        *(f"{name}: missing" for name in record.files if name not in scans),
        *(f"{name}: extra: {PROVENANCE_NAME} does not name it" for name in names if name not in record.files),
        *(line for name, scan in scans.items() for line in _compare_file(name, scan, record.files[name])),
        *(_compare_index(place, headers) if INDEX_NAME in scans else ()),
        *_compare_tensors(headers, record),
        *_compare_counts(non_finite, record),
    ]
    return Verification(make_lines(differences), non_finite, len(scans), sum(len(h.tensors) for h in headers.values()))


def _compare_file(name: str, scan: _Scan, expected: str) -> Iterator[str]:
    if scan.sha256 != expected:
        yield f"{name}: changed: its sha256 is {scan.sha256}, in {PROVENANCE_NAME} it is {expected}"
    if scan.fault is not None:
        yield scan.fault


def _compare_index(folder: Path, headers: Mapping[str, Header]) -> Iterator[str]:
    try:
        index = read_index(folder.name, INDEX_NAME, read_whole(folder / INDEX_NAME))
    except InputError as error:
        yield str(error)
        return
    homes = {name: file for file, header in headers.items() for name in header.tensors}
    for name, home in homes.items():
        if index.get(name) != home:
            yield f"{INDEX_NAME}: tensor {quote(name)} is in {home}; the index says {quote(str(index.get(name)))}"
    for name, file in index.items():
        if name not in homes:
            yield f"{INDEX_NAME}: tensor {quote(name)} is not in {file}"


def _compare_tensors(headers: Mapping[str, Header], record: Record) -> Iterator[str]:
    found = {name: stored.spec for header in headers.values() for name, stored in header.tensors.items()}
    for name, (dtype, shape) in record.tensors.items():
        spec = found.get(name)
        if spec is None:
            yield f"tensor {quote(name)}: missing"
        elif (spec.dtype.name, list(spec.shape)) != (dtype, shape):
            was = f"{dtype} of shape {shape}"
            yield f"tensor {quote(name)}: is {spec.dtype.name} of shape {list(spec.shape)}; it was written as {was}"
    extra = [quote(name) for name in found if name not in record.tensors]
    if extra:
        yield f"tensors that {PROVENANCE_NAME} does not name: {listing(extra)}"


def _compare_counts(found: Mapping[str, int], record: Record) -> Iterator[str]:
    if record.non_finite is None:
        return
    for name in dict.fromkeys([*record.non_finite, *found]):
        is_now, was = found.get(name, 0), record.non_finite.get(name, 0)
        if is_now != was:
            yield f"tensor {quote(name)}: {is_now} values are NaN or infinite; {was} were when it was written"


def _scan(path: Path) -> _Scan:
    header, fault = None, None
    if path.name.endswith(WEIGHTS):
        try:
            header = read_header(path, path.name)
        except InputError as error:
            fault = str(error)
    digest, buffer = hashlib.sha256(), memoryview(bytearray(STEP_BYTES))
    counts: dict[str, int] = {}
    with open_whole(path) as file:
        for stored, start, stop in _list_runs(header, file.size_bytes):
            for part in read_parts(file, start, stop, buffer):
                digest.update(part)
                if stored is not None:
                    count = count_nonfinite(np.frombuffer(part, np.uint8), stored.spec.dtype)
                    counts[stored.spec.name] = counts.get(stored.spec.name, 0) + count
    return _Scan(digest.hexdigest(), header, fault, {name: count for name, count in counts.items() if count})


def _list_runs(header: Header | None, size_bytes: int) -> Iterator[tuple[StoredTensor | None, int, int]]:
    """Yield the parts of a file from its first byte to its last; a sound one is its header and then tensors."""
    if header is None:
        yield None, 0, size_bytes
        return
    yield None, 0, header.data_start
    for stored in header.tensors.values():
        yield stored, header.data_start + stored.start, header.data_start + stored.end
