"""Whatever may stand where a model stands: a checkpoint, or the document of a recipe. Names → shapes → expressions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from smelt.algebra.templates import COPY, Template
from smelt.arch.layers import Stack, find_stacks
from smelt.planning.plan import Extent, Input
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.dtypes import DType


@dataclass(frozen=True, slots=True)
class Bound:
    """A tensor that can be computed: a template and what its inputs, slots and noise streams stand for.

    Args:
        shape: the tensor's shape.
        dtype: in which it would be stored if nothing else is asked for.
        wide: whether an input is float64, so that it is computed in float64.
        equal: inputs that must hold the same bytes as the first one (integers and booleans are only carried).
    """

    shape: tuple[int, ...]
    dtype: DType
    template: Template
    inputs: tuple[Input, ...]
    slots: tuple[float, ...] = ()
    keys: tuple[int, ...] = ()
    wide: bool = False
    equal: tuple[Input, ...] = ()


@dataclass(frozen=True, eq=False)
class View:
    """A model as planning sees it.

    Args:
        label: what messages call it.
        identity: equal for two views of the same place.
        tensors: its tensors by name, in storage order.
        config: its ``config.json``, if there is one.
        home: the checkpoint whose files belong to it, as a position in the plan.
        tokenizer: the checkpoint whose tokenizer belongs to it, likewise.
    """

    label: str
    identity: Hashable
    tensors: Mapping[str, Bound]
    config: Mapping[str, Any] | None
    home: int
    tokenizer: int
    stacks: tuple[Stack, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stacks", find_stacks(self.tensors, self.config))


def view_checkpoint(checkpoint: Checkpoint, number: int, label: str) -> View:
    """Return the view of a checkpoint that stands at ``number`` in the plan."""
    tensors = {
        name: Bound(
            spec.shape,
            spec.dtype,
            COPY,
            ((Extent(number, name, 0, prod(spec.shape)),),),
            wide=spec.dtype.name == "F64",
        )
        for name, spec in checkpoint.specs.items()
    }
    return View(label, checkpoint.identity, tensors, checkpoint.config, number, number)
