"""What can be read of a model's headers: all of it where it is sound, else its parts, with what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smelt.errors import InputError, listing, make_printable
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.folder import beside_weights, list_files, read_whole
from smelt.tensors.quoting import quote
from smelt.tensors.safetensors import read_header
from smelt.tensors.shards import INDEX_NAME
from smelt.tensors.spec import TensorSpec
from smelt.tensors.weights import read_index

_WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class Stored:
    """A model as it is stored.

    Args:
        name: what the user calls it.
        repository, commit: of a model of the hub.
        specs: the tensors by name, in storage order; those of files that cannot be read are left out.
        weight_sizes_bytes: the sizes of the weight files by name; empty where they are not on this machine.
        files: the names of the files beside the weights.
        read_file: gives the content of one of ``files``.
        faults: what is wrong, a line each.
    """

    name: str
    repository: str | None
    commit: str | None
    specs: Mapping[str, TensorSpec]
    weight_sizes_bytes: Mapping[str, int]
    files: tuple[str, ...]
    read_file: Callable[[str], bytes]
    faults: tuple[str, ...] = ()


def read_stored(checkpoint: Checkpoint) -> Stored:
    """Read the headers of a model; of a local one that is not sound, those that are.

    Raises:
        InputError: when there is no such model, the hub refuses, or there are no weights at all.
    """
    try:
        specs = checkpoint.specs
    except InputError as error:
        path = Path(os.path.expanduser(checkpoint.name))
        if not path.exists():
            raise
        return _salvage(path.absolute(), checkpoint.name, error)
    sizes_bytes = {name: file.size_bytes for name, file in checkpoint.fingerprint().items()}
    place = (checkpoint.name, checkpoint.repository, checkpoint.commit)
    return Stored(*place, specs, sizes_bytes, checkpoint.files, checkpoint.read_file)


def _salvage(path: Path, name: str, error: InputError) -> Stored:
    """Return what can be read of a folder or file that is not sound."""
    folder = path if path.is_dir() else path.parent
    names = list_files(folder, Path(name)) if path.is_dir() else [path.name]
    weights = [n for n in names if n.lower().endswith(_WEIGHTS)]
    if not weights and INDEX_NAME not in names:
        raise error
    specs: dict[str, Mapping[str, TensorSpec]] = {}
    faults: list[str] = []
    for weight_file in weights:
        shown = make_printable(weight_file)
        try:
            header = read_header(folder / weight_file, shown)
            specs[weight_file] = {tensor: stored.spec for tensor, stored in header.tensors.items()}
        except InputError as fault:
            faults.append(str(fault))
    if INDEX_NAME in names:
        faults += _compare_index(folder, names, specs)
    return Stored(
        name,
        None,
        None,
        {tensor: spec for found in specs.values() for tensor, spec in found.items()},
        {weight_file: (folder / weight_file).stat().st_size for weight_file in weights},
        beside_weights(names) if path.is_dir() else (),
        lambda file: read_whole(folder / file, f"{name}: {file}"),
        tuple(faults) or (str(error).removeprefix(f"{name}: "),),
    )


def _compare_index(folder: Path, names: list[str], specs: Mapping[str, Mapping[str, TensorSpec]]) -> list[str]:
    """Say where the index and the files differ; a file that cannot be read has said so itself."""
    try:
        index = read_index(".", INDEX_NAME, read_whole(folder / INDEX_NAME, INDEX_NAME))
    except InputError as error:
        return [str(error).removeprefix(".: ")]
    faults = []
    for file in sorted(dict.fromkeys(index.values())):
        named = [tensor for tensor, owner in index.items() if owner == file]
        if file not in names:
            faults.append(f"{file}: is not there, and {INDEX_NAME} names it for {_listed(named)}")
        elif lacking := [tensor for tensor in named if tensor not in specs.get(file, named)]:
            faults.append(f"{file}: does not hold {_listed(lacking)}, which {INDEX_NAME} names")
    for file, found in specs.items():
        if strange := [tensor for tensor in found if index.get(tensor) != file]:
            faults.append(f"{make_printable(file)}: holds {_listed(strange)}, which {INDEX_NAME} does not give to it")
    return faults


def _listed(tensors: list[str]) -> str:
    kind = "tensor" if len(tensors) == 1 else f"{len(tensors)} tensors:"
    return f"{kind} {listing(map(quote, tensors), 3)}"
