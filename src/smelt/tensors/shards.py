"""How tensors are laid out in the files of an output, known before a byte of data is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from smelt.errors import InputError
from smelt.tensors.safetensors import StoredTensor, build_header, place_tensors
from smelt.tensors.spec import TensorSpec

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"

# transformers refuses a file that does not say which framework wrote it.
METADATA: Mapping[str, str] = {"format": "pt"}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(I)?)?B?", re.ASCII | re.IGNORECASE)
_PREFIXES = ("", "K", "M", "G", "T")


@dataclass(frozen=True)
class Shard:
    """A file to be written: ``header`` first, then each tensor at ``len(header) + tensor.start``."""

    file_name: str
    tensors: Mapping[str, StoredTensor]  # by name, in the order of their data
    header: bytes
    size_bytes: int


def lay_out(
    specs: Iterable[TensorSpec], max_shard_size_bytes: int, metadata: Mapping[str, str] | None = None
) -> list[Shard]:
    """Distribute tensors over files, in the given order.

    A file takes tensors until the next one would bring its data over the limit; a tensor beyond the limit stands
    alone. Inside a file wider elements come first, so that every tensor is aligned to its element size.

    Args:
        specs: the tensors, names all different; none gives one file without tensors.
        max_shard_size_bytes: the most bytes of data per file, above 0.
        metadata: what every header says under ``__metadata__`` beside the format.
    """
    said = {**METADATA, **(metadata or {})}
    groups: list[list[TensorSpec]] = [[]]
    used_bytes = 0
    for spec in specs:
        if groups[-1] and used_bytes + spec.size_bytes > max_shard_size_bytes:
            groups.append([])
            used_bytes = 0
        groups[-1].append(spec)
        used_bytes += spec.size_bytes
    if len(groups) == 1:
        return [_lay_out_one(SINGLE_NAME, groups[0], said)]
    return [
        _lay_out_one(f"model-{number:05d}-of-{len(groups):05d}.safetensors", group, said)
        for number, group in enumerate(groups, start=1)
    ]


def _lay_out_one(file_name: str, specs: Sequence[TensorSpec], metadata: Mapping[str, str]) -> Shard:
    ordered = sorted(specs, key=lambda spec: -spec.dtype.size_bytes)
    header = build_header(ordered, metadata)
    tensors = {stored.spec.name: stored for stored in place_tensors(ordered)}
    return Shard(file_name, tensors, header, len(header) + sum(spec.size_bytes for spec in ordered))


def index_json(shards: Sequence[Shard]) -> str:
    """Return the text of ``model.safetensors.index.json``: the bytes of all tensors, and each tensor's file."""
    files = {name: shard.file_name for shard in shards for name in shard.tensors}
    total = sum(stored.spec.size_bytes for shard in shards for stored in shard.tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}
    return json.dumps(index, indent=2, ensure_ascii=False) + "\n"


def parse_size(text: str) -> int:
    """Return the bytes that ``5GB``, ``500 MB``, ``2GiB``, ``1.5GB`` or ``1000000`` stand for.

    Raises:
        InputError: when it is no size, or less than one byte.
    """
    match = _SIZE.fullmatch(text.strip())
    if match:
        number, prefix, binary = match.groups()
        size_bytes = int(Fraction(number) * (1024 if binary else 1000) ** _PREFIXES.index((prefix or "").upper()))
        if size_bytes > 0:
            return size_bytes
    raise InputError(f"'{text}' is not a size; write for example 5GB, 500MB, 2GiB or a number of bytes")
