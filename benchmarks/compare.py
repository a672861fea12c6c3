"""How far two checkpoints lie apart, tensor by tensor, read with a few lines that share nothing with either tool."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

DTYPES = {"BF16": np.dtype(ml_dtypes.bfloat16), "F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
STEP = 1 << 20  # elements


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int


@dataclass(frozen=True)
class Difference:
    """How two tensors of one name, or two checkpoints, differ, in float32.

    Args:
        absolute: largest |x − y|.
        relative: largest |x − y| / max(|x|, |y|).
        distance: ‖x − y‖ / ‖y‖; of checkpoints the largest of all tensors.
        unequal: share of the elements that are not equal.
        worst: the tensor of the largest ``distance``.
        remark: what cannot be compared: names, shapes and dtypes that differ.
    """

    absolute: float = 0.0
    relative: float = 0.0
    distance: float = 0.0
    unequal: float = 0.0
    worst: str = ""
    remark: str = ""


def compare(ours: Path, theirs: Path) -> Difference:
    """Compare two checkpoints."""
    left, right = list_tensors(ours), list_tensors(theirs)
    shared = [name for name in left if name in right and left[name].shape == right[name].shape]
    remarks = []
    if missing := len(left) + len(right) - 2 * len(shared):
        first = next(n for n in (*left, *right) if n not in shared)
        shapes = " and ".join(str(side[first].shape) if first in side else "none" for side in (left, right))
        remarks.append(f"{missing} tensors differ in name or shape, such as {first}: {shapes}")
    dtypes = [f"{left[n].dtype}/{right[n].dtype}" for n in shared if left[n].dtype != right[n].dtype]
    remarks += [f"{len(dtypes)} tensors are {dtypes[0]}"] if dtypes else []
    parts = [(compare_tensors(name, left[name], right[name]), int(np.prod(left[name].shape))) for name in shared]
    count = sum(size for _, size in parts)
    return Difference(
        max(part.absolute for part, _ in parts),
        max(part.relative for part, _ in parts),
        max(part.distance for part, _ in parts),
        sum(part.unequal * size for part, size in parts) / count,
        max(parts, key=lambda part: part[0].distance)[0].worst,
        "; ".join(remarks),
    )


def compare_tensors(name: str, left: Stored, right: Stored) -> Difference:
    """Compare two tensors of one shape, a piece at a time; a NaN on one side only counts as infinitely far."""
    absolute = relative = apart = length = 0.0
    unequal = count = 0
    for x, y in zip(read_pieces(left), read_pieces(right), strict=True):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        gap = np.where(same, 0.0, np.abs(x.astype(np.float64) - y))
        gap[np.isnan(gap)] = np.inf
        larger = np.maximum(np.abs(x), np.abs(y))
        absolute = max(absolute, float(gap.max(initial=0.0)))
        relative = max(relative, float((gap / np.where(larger > 0, larger, 1.0)).max(initial=0.0)))
        apart += float(np.square(gap).sum())
        length += float(np.square(y.astype(np.float64)).sum())
        unequal += int((~same).sum())
        count += len(x)
    return Difference(absolute, relative, (apart / (length or 1.0)) ** 0.5, unequal / (count or 1), name)


def read_pieces(stored: Stored) -> Iterator[NDArray[np.float32]]:
    """Yield a tensor in pieces, in float32."""
    dtype = DTYPES[stored.dtype]
    with stored.path.open("rb") as file:
        file.seek(stored.start)
        for done in range(0, stored.size_bytes, STEP * dtype.itemsize):
            content = file.read(min(STEP * dtype.itemsize, stored.size_bytes - done))
            yield np.frombuffer(content, dtype).astype(np.float32)


def list_tensors(folder: Path) -> Mapping[str, Stored]:
    """Return where the tensors of a checkpoint lie, by name."""
    tensors: dict[str, Stored] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            table = json.loads(file.read(length))
        table.pop("__metadata__", None)
        for name, entry in table.items():
            low, high = entry["data_offsets"]
            tensors[name] = Stored(path, entry["dtype"], tuple(entry["shape"]), 8 + length + low, high - low)
    return dict(sorted(tensors.items()))


if __name__ == "__main__":
    print(json.dumps(asdict(compare(Path(sys.argv[1]), Path(sys.argv[2])))))
