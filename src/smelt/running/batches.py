"""Small tensors computed together: many of one size, merged in the same way, become the rows of one.

A checkpoint may have tens of thousands of them (a mixture of experts), and each takes a task, its passes, and a call or
two of a kernel, whatever its size. Of every tensor the same bytes come out as on its own.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from smelt.algebra.templates import Template
from smelt.planning.plan import Output, Plan
from smelt.running.sources import SPAN_BYTES
from smelt.tensors.spec import TensorSpec


@dataclass(frozen=True)
class Batch:
    """What one task computes.

    Args:
        output: one tensor, or several as the rows of one.
        template: what computes it.
        members: the names of the rows, for several tensors.
    """

    output: Output
    template: Template
    members: tuple[str, ...] = ()


def make_batches(outputs: Sequence[Output], plan: Plan, small: Container[str], many: int) -> list[Batch]:
    """Return what is computed at a time, together all outputs.

    Args:
        outputs: some of the plan's.
        plan: it.
        small: the names of those that may be computed together.
        many: how many of them there must be.

    Returns:
        batches in the order of the outputs; one that holds several comes where it is full, or first of all.
    """
    shapes = {o.spec.name: _alike(o, plan) for o in outputs if o.spec.name in small}
    if sum(shape is not None for shape in shapes.values()) < many:
        return [Batch(output, plan.templates[output.template]) for output in outputs]
    batches: list[Batch] = []
    rows: dict[Hashable, list[Output]] = {}
    for output in outputs:
        shape = shapes.get(output.spec.name)
        if shape is None:
            batches.append(Batch(output, plan.templates[output.template]))
            continue
        group = rows.setdefault(shape, [])
        group.append(output)
        if (len(group) + 1) * output.spec.elements > _most_elements(output):
            batches.append(_join(rows.pop(shape), plan))
    # A file is hashed from its start on, and what is left over may lie anywhere.
    return [_join(group, plan) for group in rows.values()] + batches


def _most_elements(output: Output) -> int:
    """Return how many elements a batch may have: so many are read at a time, and all its passes find them there."""
    return SPAN_BYTES // (np.dtype(output.precision).itemsize * max(len(output.inputs), 1))


def _alike(output: Output, plan: Plan) -> Hashable:
    """Return what must be equal for tensors to be computed together; ``None`` for one that has to be alone."""
    if not output.spec.elements or plan.templates[output.template].by_rows is None:
        return None
    if output.precision == "bytes" or any(len(pieces) > 1 for pieces in output.inputs):
        return None
    stored = tuple((e.checkpoint, plan.checkpoints[e.checkpoint].specs[e.tensor].dtype.name) for (e,) in output.inputs)
    slots = tuple(slot.hex() for slot in output.slots)  # a weight of -0.0 equals one of 0.0 and gives another result
    return output.template, slots, output.spec.elements, output.spec.dtype.name, output.precision, stored


def _join(group: Sequence[Output], plan: Plan) -> Batch:
    first = group[0]
    template = plan.templates[first.template]
    if len(group) == 1:
        return Batch(first, template)
    assert template.by_rows is not None
    name = f"{first.spec.name} and {len(group) - 1} more"
    spec = TensorSpec(name, (len(group), first.spec.elements), first.spec.dtype)
    inputs = tuple(tuple(o.inputs[i][0] for o in group) for i in range(len(first.inputs)))
    keys = tuple(o.keys[stream] for stream in range(template.keys) for o in group)
    return Batch(
        replace(first, spec=spec, inputs=inputs, keys=keys), template.by_rows, tuple(o.spec.name for o in group)
    )
