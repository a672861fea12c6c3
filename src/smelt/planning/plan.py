"""The plan: every output tensor with the template that computes it and the inputs it reads. Data, and no decisions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from smelt.algebra.formulas import describe
from smelt.algebra.grid import NUMERICS_VERSION
from smelt.algebra.templates import Template
from smelt.planning.licences import Licensing
from smelt.planning.stated_licences import find_licensing
from smelt.recipes.nouns import Recipe
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.dtypes import DType
from smelt.tensors.shards import Shard
from smelt.tensors.spec import TensorSpec


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of elements of a stored tensor: ``count`` elements from ``start`` on, of a checkpoint of the plan."""

    checkpoint: int
    tensor: str
    start: int
    count: int


# Below this a merge takes the interpreter less time than a new process needs to get kernels ready.
ENGINE_PARAMETERS = 20_000_000
# What a process takes on its own, as measured: with the compiler, and without it.
COMPILED_BYTES, INTERPRETED_BYTES = 165_000_000, 60_000_000

# What an input of a template is read from: usually one whole tensor, otherwise pieces one after the other.
Input = tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor to be written.

    Args:
        spec: its name, shape and stored dtype.
        template: position of its template in the plan.
        inputs, slots, keys: the binding: what the template's inputs, slots and noise streams stand for.
        precision: what it is computed in; ``bytes`` when the stored bytes of its one input are copied.
        equal: further inputs that must hold the same bytes as the copied one (integers and booleans).
    """

    spec: TensorSpec
    template: int
    inputs: tuple[Input, ...]
    slots: tuple[float, ...]
    keys: tuple[int, ...]
    precision: Literal["float32", "float64", "bytes"]
    equal: tuple[Input, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What carrying out the plan takes."""

    read_bytes: int  # all passes together; those after the first usually come from the page cache
    input_bytes: int  # each input byte once
    written_bytes: int
    passes: int  # the most that any tensor needs
    thread_bytes: int  # working memory of one thread
    parameters: int  # elements written
    computed: int  # those of them that are not just copied

    @property
    def is_compiled(self) -> bool:
        """Whether compiled kernels take part, where nothing else is asked for."""
        return self.computed >= ENGINE_PARAMETERS

    def peak_bytes(self, threads: int) -> int:
        """Return the resident memory to expect: the process itself, and the buffers of each thread."""
        return (COMPILED_BYTES if self.is_compiled else INTERPRETED_BYTES) + threads * self.thread_bytes


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs to know, decided."""

    recipe: Recipe
    resolved: str  # the recipe with nothing left unsaid: defaults, seed, hub commits; and no path of this machine
    digest: str  # the sha256 of what decides the output's bytes, see ``hash_work``
    max_shard_bytes: int
    checkpoints: tuple[Checkpoint, ...]
    labels: tuple[str, ...]  # what the checkpoints are called in written files; never an absolute path
    fingerprints: tuple[Mapping[str, Any], ...]  # what tells whether a checkpoint's files are still the planned ones
    templates: tuple[Template, ...]
    outputs: tuple[Output, ...]
    shards: tuple[Shard, ...]
    config: Mapping[str, Any] | None
    copies: tuple[tuple[int, str], ...]  # files to copy byte for byte: (checkpoint, file name)
    notes: tuple[str, ...]
    cost: Cost

    @cached_property
    def licensing(self) -> Licensing:
        """Under which licence the output may be shared, as far as the inputs say."""
        return find_licensing(self.checkpoints, self.labels)

    def formula(self, output: Output) -> str:
        """Return how an output comes about, in algebra over the checkpoints' names."""
        names = self.short_names
        inputs = [names[pieces[0].checkpoint] for pieces in output.inputs]
        return describe(self.templates[output.template].root, inputs, output.slots)

    @property
    def short_names(self) -> list[str]:
        """Return what formulas call the checkpoints: the last part of their labels where that tells them apart."""
        tails = [label.replace("\\", "/").rstrip("/").split("/")[-1] for label in self.labels]
        return [t if tails.count(t) == 1 else label for t, label in zip(tails, self.labels, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Return the whole plan as plain data."""
        return {
            "digest": self.digest,
            "numerics_version": NUMERICS_VERSION,
            "seed": self.recipe.seed,
            "checkpoints": [
                {"name": label, "repository": c.repository, "commit": c.commit}
                for label, c in zip(self.labels, self.checkpoints, strict=True)
            ],
            "templates": [t.to_json() for t in self.templates],
            "outputs": [_output_json(o) for o in self.outputs],
            "files": [{"name": s.file_name, "bytes": s.size_bytes, "tensors": len(s.tensors)} for s in self.shards],
            "copies": [{"checkpoint": c, "file": name} for c, name in self.copies],
            "cost": {
                "read_bytes": self.cost.read_bytes,
                "input_bytes": self.cost.input_bytes,
                "written_bytes": self.cost.written_bytes,
                "passes": self.cost.passes,
                "parameters": self.cost.parameters,
                "thread_bytes": self.cost.thread_bytes,
            },
            "licensing": self.licensing.to_json(),
            "notes": list(self.notes),
        }


def hash_work(templates: Sequence[Template], outputs: Sequence[Output]) -> str:
    """Return the sha256 of what decides the bytes: templates, bindings and seed, but no path, file or time."""
    content = {
        "numerics_version": NUMERICS_VERSION,
        "templates": [t.to_json() for t in templates],
        "outputs": [_output_json(o) for o in outputs],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _output_json(output: Output) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": output.spec.name,
        "shape": list(output.spec.shape),
        "dtype": output.spec.dtype.name,
        "precision": output.precision,
        "template": output.template,
        "inputs": [_input_json(i) for i in output.inputs],
        "slots": list(output.slots),
        "keys": [f"{key:016x}" for key in output.keys],
    }
    if output.equal:
        result["equal"] = [_input_json(i) for i in output.equal]
    return result


def _input_json(pieces: Input) -> list[list[Any]]:
    return [[e.checkpoint, e.tensor, e.start, e.count] for e in pieces]


def stored_dtype(checkpoints: Sequence[Checkpoint], piece: Extent) -> DType:
    """Return the dtype in which a piece of an input is stored."""
    return checkpoints[piece.checkpoint].specs[piece.tensor].dtype
