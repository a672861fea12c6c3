"""What a model is, from its headers and the files beside its weights: ``smelt inspect``. No weight is read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from smelt.arch.config import tied
from smelt.arch.layers import Stack, check_stack, find_stacks
from smelt.arch.roles import Role, role
from smelt.arch.tokenizers import vocabulary
from smelt.checking.record import Record, parse_record
from smelt.errors import InputError
from smelt.inspection.stored import Stored, read_stored
from smelt.planning.files import TOKENIZER
from smelt.planning.stated_licences import read_stated
from smelt.running.provenance import PROVENANCE_NAME
from smelt.tensors.checkpoint import CONFIG_NAME, Checkpoint
from smelt.tensors.spec import TensorSpec
from smelt.tensors.weights import read_json

_VOCABULARY = "tokenizer.json"
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_T = TypeVar("_T")
_POSITIONS = re.compile(r"position|token_type|(^|\.)wpe\.")


@dataclass(frozen=True)
class Share:
    """All tensors of one role or dtype."""

    name: str
    tensors: int
    parameters: int
    size_bytes: int


@dataclass(frozen=True)
class Shape:
    """Tensors that differ in the numbers of their names alone, each of which is written ``*`` here."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # as recipes call it
    tensors: int


@dataclass(frozen=True)
class Ends:
    """Where tokens come in and go out. ``None`` stands for what is not there.

    Args:
        embedding: the name of the tensor that holds a row per token.
        rows: how many rows it has.
        head: the name of the stored tensor of as many rows that turns the last layer's output into tokens.
        is_tied: whether ``config.json`` says, or leaves to its default, that the head is the embedding.
        vocab_size: what ``config.json`` says.
        tokens: how many ``tokenizer.json`` knows.
        highest_id: the highest number that it gives to one.
    """

    embedding: str | None
    rows: int | None
    head: str | None
    is_tied: bool | None
    vocab_size: int | None
    tokens: int | None
    highest_id: int | None


@dataclass(frozen=True)
class Inspection:
    """What was found in a model.

    Args:
        name: what the user calls it.
        repository, commit: of a model of the hub.
        architecture, model_type: what ``config.json`` says.
        weight_sizes_bytes: the sizes of the weight files by name; empty where they are not on this machine.
        stacks: the numbered stacks of layers, the main one first.
        roles, dtypes: the tensors by role, in the order of ``Role``, and by dtype as recipes call it.
        shapes: in storage order.
        ends: embedding, head and vocabulary.
        tokenizer_files: their names.
        licences: what card and licence files name, for a reader.
        licence_notes: what is odd about that.
        provenance: what it says about itself, for the output of a merge.
        faults: what is wrong with it, a line each.
    """

    name: str
    repository: str | None
    commit: str | None
    architecture: str | None
    model_type: str | None
    weight_sizes_bytes: Mapping[str, int]
    stacks: tuple[Stack, ...]
    roles: tuple[Share, ...]
    dtypes: tuple[Share, ...]
    shapes: tuple[Shape, ...]
    ends: Ends
    tokenizer_files: tuple[str, ...]
    licences: str
    licence_notes: tuple[str, ...]
    provenance: Record | None
    faults: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; of the provenance what it was made of, and how."""
        provenance = self.provenance and {
            "plan_digest": self.provenance.plan_digest,
            "inputs": {
                name: {"repository": one.repository, "commit": one.commit}
                for name, one in self.provenance.inputs.items()
            },
            "versions": dict(self.provenance.versions),
            "recipe": self.provenance.recipe,
        }
        stacks = [
            {**asdict(stack), "config_key": ".".join(stack.config_key) if stack.config_key else None}
            for stack in self.stacks
        ]
        return {
            **{name: getattr(self, name) for name in ("name", "repository", "commit", "architecture", "model_type")},
            "weight_sizes_bytes": dict(self.weight_sizes_bytes),
            "stacks": stacks,
            **{name: [asdict(one) for one in getattr(self, name)] for name in ("roles", "dtypes", "shapes")},
            "ends": asdict(self.ends),
            "tokenizer_files": list(self.tokenizer_files),
            "licences": self.licences,
            "licence_notes": list(self.licence_notes),
            "provenance": provenance,
            "faults": list(self.faults),
        }


def inspect(model: Checkpoint | str | Path) -> Inspection:
    """Say what a model is: architecture, layers, roles, dtypes, shapes, vocabulary, licence, and what is wrong with it.

    Headers and the files beside the weights are read, and no weight. A local model that is not sound is described as
    far as it can be read.

    Args:
        model: a checkpoint, or what ``Checkpoint`` takes: a folder, a ``.safetensors`` file or a hub id.

    Raises:
        InputError: when there is no such model, the hub refuses, or there are no weights at all.
    """
    stored = read_stored(model if isinstance(model, Checkpoint) else Checkpoint(model))
    faults = list(stored.faults)
    config = _read_config(stored, faults)
    known = config or {}
    specs = stored.specs
    stacks = find_stacks(specs, config)
    for stack in () if stored.faults else stacks:  # else what is missing has been said already
        _note(faults, stored, partial(check_stack, stack, config, stored.name))
    roles = {name: role(name, spec.shape, config) for name, spec in specs.items()}
    stated = read_stated(stored, stored.name)
    return Inspection(
        name=stored.name,
        repository=stored.repository,
        commit=stored.commit,
        architecture=_text(known.get("architectures")),
        model_type=_text(known.get("model_type")),
        weight_sizes_bytes=stored.weight_sizes_bytes,
        stacks=stacks,
        roles=_share(specs, {name: found.value for name, found in roles.items()}, [one.value for one in Role]),
        dtypes=_share(specs, {name: spec.dtype.recipe_name for name, spec in specs.items()}),
        shapes=_summarize_shapes(specs.values()),
        ends=_find_ends(stored, roles, config, faults),
        tokenizer_files=tuple(name for name in stored.files if TOKENIZER.fullmatch(name)),
        licences=stated.names,
        licence_notes=stated.notes,
        provenance=_note(faults, stored, lambda: _read_provenance(stored)),
        faults=tuple(faults),
    )


def _note(faults: list[str], stored: Stored, look: Callable[[], _T]) -> _T | None:
    """Return what a look at a file gives; when the file is not sound, ``None``, and a fault more."""
    try:
        return look()
    except InputError as error:
        faults.append(str(error).removeprefix(f"{stored.name}: "))
        return None


def _read_config(stored: Stored, faults: list[str]) -> dict[str, Any] | None:
    if CONFIG_NAME not in stored.files:
        return None
    return _note(faults, stored, lambda: read_json(CONFIG_NAME, stored.read_file(CONFIG_NAME)))


def _read_provenance(stored: Stored) -> Record | None:
    if PROVENANCE_NAME not in stored.files:
        return None
    return parse_record(PROVENANCE_NAME, stored.read_file(PROVENANCE_NAME))


def _text(value: object) -> str | None:
    """Return a text, or the first of a list."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else None


def _share(specs: Mapping[str, TensorSpec], kinds: Mapping[str, str], order: Sequence[str] = ()) -> tuple[Share, ...]:
    """Return the tensors by kind, the kinds in the given order, or else as they first come."""
    groups: dict[str, list[TensorSpec]] = {kind: [] for kind in order}
    for name, spec in specs.items():
        groups.setdefault(kinds[name], []).append(spec)
    return tuple(
        Share(kind, len(group), sum(one.elements for one in group), sum(one.size_bytes for one in group))
        for kind, group in groups.items()
        if group
    )


def _summarize_shapes(specs: Iterable[TensorSpec]) -> tuple[Shape, ...]:
    counts = Counter((_NUMBER.sub("*", spec.name), spec.shape, spec.dtype.recipe_name) for spec in specs)
    return tuple(Shape(*kind, count) for kind, count in counts.items())


def _find_ends(stored: Stored, roles: Mapping[str, Role], config: Mapping[str, Any] | None, faults: list[str]) -> Ends:
    vocab_size = _vocab_size(config or {})
    tables = [spec for spec in stored.specs.values() if len(spec.shape) == 2]
    embeddings = [t for t in tables if roles[t.name] is Role.EMBEDDING and not _POSITIONS.search(t.name)]
    embedding = max(embeddings, key=lambda t: (t.shape[0] == vocab_size, t.shape[0]), default=None)
    rows = embedding.shape[0] if embedding else None
    head = next((t.name for t in tables if roles[t.name] is Role.HEAD and t.shape[0] == rows), None)
    tokens: dict[str, int] = {}
    if _VOCABULARY in stored.files:
        tokens = _note(faults, stored, lambda: vocabulary(stored.read_file(_VOCABULARY))) or {}
    highest_id = max(tokens.values(), default=None)
    if rows is not None and highest_id is not None and highest_id >= rows:
        faults.append(f"{_VOCABULARY}: numbers tokens up to {highest_id}, and the embedding has {rows} rows")
    if rows is not None and vocab_size is not None and rows < vocab_size:
        faults.append(f"{CONFIG_NAME}: says vocab_size {vocab_size}, and the embedding has {rows} rows")
    is_tied = None if config is None else tied(config)
    return Ends(embedding.name if embedding else None, rows, head, is_tied, vocab_size, len(tokens) or None, highest_id)


def _vocab_size(config: Mapping[str, Any]) -> int | None:
    """Return what the config says, at the top or in the section about text."""
    sections = [config, *(value for key, value in config.items() if isinstance(value, Mapping) and "text" in key)]
    sizes = [size for size in (section.get("vocab_size") for section in sections) if type(size) is int]
    return sizes[0] if sizes else None
