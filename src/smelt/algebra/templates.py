"""The first reading of a method: tracing it, once per structure, into a template.

A template is the expression of an output over numbered inputs, slots (settings that are numbers) and noise streams. One
template serves every tensor that is merged in the same way; what differs is a binding's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from smelt.algebra.declare import Method, Setting
from smelt.algebra.expressions import PER_ELEMENT, QUESTIONS, Expr, Sort, input_tensor, slot, slots, stack, walk
from smelt.algebra.rewriting import rewrite
from smelt.algebra.vocabulary import Noise
from smelt.errors import SmeltError


@dataclass(frozen=True)
class Template:
    """An output's expression, and how many inputs, slots and noise streams a binding must bring."""

    root: Expr
    inputs: int
    slots: int
    keys: int

    @property
    def is_copy(self) -> bool:
        """Whether the output is an input, unchanged."""
        return self.root.op == "input"

    @property
    def passes(self) -> int:
        """How often the inputs are read."""
        return self.root.depth + 1

    @cached_property
    def ranks(self) -> bool:
        """Whether an entry's rank within its row takes part."""
        return any(n.op == "rank" for n in walk(self.root))

    @cached_property
    def needs_rows(self) -> bool:
        """Whether tiles must hold whole rows."""
        return self.ranks or any(n.along for n in walk(self.root))

    def stages(self) -> list[list[Expr]]:
        """Return the questions that each pass before the last has to answer."""
        questions = [n for n in walk(self.root) if n.op in QUESTIONS]
        return [[q for q in questions if q.depth == depth] for depth in range(1, self.root.depth + 1)]

    @cached_property
    def asks_model(self) -> bool:
        """Whether something is asked of the whole model."""
        return any(n.op == "select" and n.attributes for n in walk(self.root))

    @cached_property
    def by_rows(self) -> Template | None:
        """The template of several tensors of one size at once, each as one row; ``None`` where rows play a part.

        What is asked of a tensor is asked of each row, and gives the same bits.
        """
        sizes = any(n.op == "size" and n.attributes for n in walk(self.root))
        if self.needs_rows or self.asks_model or sizes:
            return None
        return replace(self, root=rewrite(self.root, _ask_rows))

    def to_json(self) -> dict[str, Any]:
        """Return the template as plain data: the nodes in order, arguments by position."""
        nodes = walk(self.root)
        place = {n.key: i for i, n in enumerate(nodes)}
        return {
            "inputs": self.inputs,
            "slots": self.slots,
            "keys": self.keys,
            "passes": self.passes,
            "nodes": [[n.op, [place[a.key] for a in n.args], list(n.attributes), n.models] for n in nodes],
        }


COPY = Template(input_tensor(0), 1, 0, 0)


def _ask_rows(node: Expr) -> Expr:
    if node.op == "size":
        return replace(node, attributes=("row",))
    hangs_on_rows = node.sort not in PER_ELEMENT and any(a.along for a in node.args)
    return replace(node, along="row") if node.op in (*QUESTIONS, "uniform") or hangs_on_rows else node


def trace(
    method: Method,
    tensors: Sequence[Expr],
    structure: Mapping[str, Any],
    first_slot: int,
    first_key: int,
    based: bool = True,
) -> Template:
    """Call a method on symbols.

    Args:
        method: what to trace.
        tensors: its tensor arguments in order (base first, where it has one), as expressions over the inputs.
        structure: the settings that are not slots, and ``None`` for slots that are not set, by parameter name.
        first_slot, first_key: where the method's own slots and noise streams begin in the binding.
        based: whether the first tensor is the base, for a method whose base may be left out.

    Raises:
        SmeltError: when the method does not return a tensor, or returns a difference of models.
    """
    arguments, models = _arguments(method, tensors, based)
    if method.random:
        arguments.append(Noise(first_key))
    settings, used = _settings(method, structure, first_slot, models)
    root = method.function(*arguments, **settings)
    if not isinstance(root, Expr) or root.sort is not Sort.TENSOR or root.models is not None:
        raise SmeltError(f"the method {method.name} must return one tensor without a model axis")
    if root.degree == 0:
        raise SmeltError(f"the method {method.name} returns a difference of models; add it to the base")
    inputs = 1 + max((int(n.attributes[0] or 0) for t in tensors for n in walk(t) if n.op == "input"), default=-1)
    return Template(root, inputs, first_slot + used, first_key + (models if method.random else 0))


def _arguments(method: Method, tensors: Sequence[Expr], based: bool) -> tuple[list[Any], int]:
    if method.tensors == ("models",):
        return [stack(tensors)], len(tensors)
    if method.tensors == ("base", "models"):
        return [tensors[0], stack(tensors[1:])], len(tensors) - 1
    if method.tensors == ("models", "base"):
        models = tensors[1:] if based else tensors
        return [stack(models), tensors[0] if based else None], len(models)
    return list(tensors), len(tensors)


def is_vector(method: Method, setting: Setting) -> bool:
    """Say whether a setting reaches the method as a vector along the model axis."""
    return setting.per_model and "models" in method.tensors


def slot_count(method: Method, setting: Setting, models: int) -> int:
    """Return how many slots the setting takes: one per model along a model axis, else one."""
    return models if is_vector(method, setting) else 1


def _settings(method: Method, structure: Mapping[str, Any], first_slot: int, models: int) -> tuple[dict[str, Any], int]:
    settings: dict[str, Any] = {}
    position = first_slot
    for setting in method.settings:
        if setting.parameter in structure:
            settings[setting.parameter] = structure[setting.parameter]
            continue
        count = slot_count(method, setting, models)
        settings[setting.parameter] = slots(position, count) if is_vector(method, setting) else slot(position)
        position += count
    return settings, position - first_slot
