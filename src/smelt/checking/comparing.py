"""Comparing two outputs: the first difference of each file, for weights in words of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smelt.errors import InputError
from smelt.running.inputs import STEP_BYTES
from smelt.tensors.platform import File, open_file, read_at
from smelt.tensors.quoting import quote
from smelt.tensors.safetensors import Header, read_header


def compare_files(old: Path, new: Path) -> Iterator[str]:
    """Yield what differs between two files of one name, a line each; nothing when they hold the same bytes.

    Args:
        old: of the output that is checked; its name is used in messages.
        new: of the output that was made anew.

    Raises:
        RunError: when a file cannot be read.
        OSError: when a file cannot be opened.
    """
    name = old.name
    with open_file(old, "rb") as first, open_file(new, "rb") as second:
        sizes = first.size_bytes, second.size_bytes
        difference = _find_difference(first, 0, second, 0, min(sizes))
        if difference is None and sizes[0] == sizes[1]:
            return
        lines = list(_compare_weights(name, first, second)) if name.endswith(".safetensors") else []
        where = f"from byte {min(sizes) if difference is None else difference} on"
        yield from lines or [f"{name}: differs {where}"]


def _compare_weights(name: str, first: File, second: File) -> Iterator[str]:
    try:
        old, new = read_header(first.path, name), read_header(second.path, name)
    except InputError as error:
        yield str(error)
        return
    if list(old.tensors) != list(new.tensors):
        yield f"{name}: holds other tensors: {_first_other(old, new)}"
        return
    differing = [line for tensor in old.tensors if (line := _compare_tensor(tensor, first, old, second, new))]
    if differing:
        others = f" ({len(differing)} of {len(old.tensors)} tensors differ)"
        yield f"{name}: {differing[0]}{others}"
    for key in dict.fromkeys([*old.metadata, *new.metadata]):
        if old.metadata.get(key) != new.metadata.get(key):
            yield f"{name}: the metadata {quote(key)} differ"


def _first_other(old: Header, new: Header) -> str:
    pairs = zip([*old.tensors, None], [*new.tensors, None], strict=False)
    return next(f"{quote(str(a))} where {quote(str(b))} comes anew" for a, b in pairs if a != b)


def _compare_tensor(tensor: str, first: File, old: Header, second: File, new: Header) -> str | None:
    a, b = old.tensors[tensor], new.tensors[tensor]
    if a.spec != b.spec:
        was, now = (f"{spec.dtype.name} of shape {list(spec.shape)}" for spec in (a.spec, b.spec))
        return f"tensor {quote(tensor)} is {was}, and comes anew as {now}"
    difference = _find_difference(first, old.data_start + a.start, second, new.data_start + b.start, a.end - a.start)
    if difference is None:
        return None
    return f"tensor {quote(tensor)} differs from element {difference // a.spec.dtype.size_bytes} on"


def _find_difference(first: File, first_start: int, second: File, second_start: int, size_bytes: int) -> int | None:
    """Return the first of ``size_bytes`` places at which two files differ."""
    left, right = bytearray(STEP_BYTES), bytearray(STEP_BYTES)
    for start in range(0, size_bytes, STEP_BYTES):
        length = min(STEP_BYTES, size_bytes - start)
        a, b = memoryview(left)[:length], memoryview(right)[:length]
        read_at(first, a, first_start + start)
        read_at(second, b, second_start + start)
        if a != b:
            return start + next(place for place, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1])
    return None
