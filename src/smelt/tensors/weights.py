"""Which files of a folder hold the weights, and whether they agree with their index: on disk and on the hub alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smelt.errors import InputError, listing
from smelt.tensors.json_text import check_depth, load_json
from smelt.tensors.quoting import quote
from smelt.tensors.safetensors import Header
from smelt.tensors.shards import INDEX_NAME, SINGLE_NAME
from smelt.tensors.spec import TensorSpec

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_OTHER_FORMATS = (
    ".gguf",
    ".ggml",
    ".onnx",
    ".onnx_data",
    ".h5",
    ".msgpack",
    ".npz",
    ".tflite",
    ".mlmodel",
    ".pdparams",
)
WEIGHT_SUFFIXES = (".safetensors", *PICKLED, *_OTHER_FORMATS, ".safetensors.index.json", ".bin.index.json")


@dataclass(frozen=True)
class WeightFiles:
    """The safetensors files of a model in the order of their names, and its index if there is one."""

    names: tuple[str, ...]
    index: Mapping[str, str] | None  # tensor → file


@dataclass(frozen=True)
class Extent:
    """Where a tensor's bytes are: the file, and the offset of the first byte from the start of that file."""

    spec: TensorSpec
    file_name: str
    offset: int


def is_weights(file_name: str) -> bool:
    """Say whether a file holds weights, or says where they are, in any format."""
    return file_name.lower().endswith(WEIGHT_SUFFIXES)


def find_weights(where: str, file_names: Sequence[str], read_file: Callable[[str], bytes]) -> WeightFiles:
    """Choose the files that hold the weights.

    Args:
        where: the folder or repository, for messages.
        file_names: the files at its top level.
        read_file: gives the content of one of them; called for the index alone.

    Raises:
        InputError: when there are no safetensors weights, or an index and a single file contradict each other.
    """
    if INDEX_NAME in file_names:
        index = read_index(where, INDEX_NAME, read_file(INDEX_NAME))
        names = tuple(sorted(dict.fromkeys(index.values())))
        if SINGLE_NAME in file_names and SINGLE_NAME not in names:
            raise InputError(
                f"{where}: holds both {SINGLE_NAME} and {INDEX_NAME}, which names other files; "
                "delete the one that an earlier save left behind"
            )
        missing = [name for name in names if name not in file_names]
        if missing:
            raise InputError(f"{where}: {INDEX_NAME} names files that are not there: {_list_files(missing)}")
        return WeightFiles(names, index)
    if SINGLE_NAME in file_names:
        return WeightFiles((SINGLE_NAME,), None)
    raise InputError(f"{where}: {_explain_absence(file_names)}")


def join_headers(where: str, weights: WeightFiles, headers: Mapping[str, Header]) -> dict[str, Extent]:
    """Return the tensors of all files by name, file after file, in the order of their data.

    Raises:
        InputError: when a file holds a tensor that the index gives to another file or to none, or the reverse.
    """
    extents: dict[str, Extent] = {}
    for file_name, header in headers.items():
        for name, stored in header.tensors.items():
            owner = file_name if weights.index is None else weights.index.get(name)
            if owner != file_name:
                says = f"gives it to {owner}" if owner else "does not name it"
                raise InputError(f"{where}: tensor {quote(name)} is in {file_name}, but {INDEX_NAME} {says}")
            extents[name] = Extent(stored.spec, file_name, header.data_start + stored.start)
    for name, owner in (weights.index or {}).items():
        if name not in extents:
            raise InputError(f"{where}: {INDEX_NAME} names tensor {quote(name)}, which is not in {owner}")
    return extents


def read_index(where: str, index_name: str, content: bytes) -> dict[str, str]:
    """Return tensor → file of an index.

    Args:
        where: the folder or repository, for messages.
        index_name: the index's own file name, likewise.
        content: the index.

    Raises:
        InputError: when it is not sound, or names a file outside the folder.
    """
    index = read_json(f"{where}: {index_name}", content).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
        raise InputError(f"{where}: {index_name}: weight_map must map tensor names to file names")
    for name in dict.fromkeys(index.values()):
        if name in ("", ".", "..") or not name.isprintable() or any(mark in name for mark in "/\\:"):
            raise InputError(f"{where}: {index_name}: {quote(name)} is not the name of a file in the same folder")
    return index


def read_json(where: str, content: bytes) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        InputError: when it holds none, with line and column.
    """
    try:
        found = load_json(content.decode("utf-8-sig"))
        check_depth(found)
    except ValueError as error:
        raise InputError(f"{where}: is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: must hold a JSON object, not {type(found).__name__}")
    return found


def _list_files(names: Sequence[str]) -> str:
    return listing((quote(name)[1:-1] for name in names), 4)


def _explain_absence(file_names: Sequence[str]) -> str:
    """Say what stands where the weights should be, and what to do."""
    if "adapter_config.json" in file_names:
        return "an adapter and not a model; adapters are not supported yet: merge it into its model first"
    safetensors = [name for name in file_names if name.endswith(".safetensors")]
    if len(safetensors) == 1:
        return f"no {SINGLE_NAME}; to read {safetensors[0]}, name that file itself"
    if safetensors:
        return f"{len(safetensors)} safetensors files ({listing(safetensors, 3)}) but no {INDEX_NAME} that joins them"
    for name in file_names:
        if name.lower().endswith((*PICKLED, *_OTHER_FORMATS)):
            return f"only {name} and no safetensors weights; {explain_conversion(name)}"
    return f"no weights; a model's folder holds {SINGLE_NAME}, or shards and {INDEX_NAME}"


def explain_conversion(file_name: str) -> str:
    """Say how weights in another format become safetensors."""
    if file_name.lower().endswith(PICKLED):
        return (
            "convert with transformers: AutoModelForCausalLM.from_pretrained(model).save_pretrained(new_folder); "
            "pickles can run any code when they are opened; what is on this machine is read without running it "
            "after: pip install 'smelt[torch]'"
        )
    return "use the original checkpoint in the safetensors format"
