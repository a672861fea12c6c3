"""From one tensor's arguments and settings to a bound template; methods are traced once per structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from smelt.algebra.declare import Method
from smelt.algebra.expressions import Expr
from smelt.algebra.grid import sizes_of
from smelt.algebra.numbers import guards_in, solve
from smelt.algebra.rewriting import renumber, rewrite
from smelt.algebra.templates import Template, trace
from smelt.planning.plan import Input
from smelt.planning.views import Bound
from smelt.tensors.dtypes import dtype_named

FLOAT32, FLOAT64 = dtype_named("F32"), dtype_named("F64")


class Binder:
    """Holds the templates of a plan, each traced once."""

    def __init__(self) -> None:
        self._templates: dict[object, Template] = {}
        self._guards: dict[int, list[Expr]] = {}
        self._checked: dict[object, None] = {}

    def bind(
        self,
        method: Method,
        arguments: Sequence[Bound],
        structure: Mapping[str, Any],
        slots: Sequence[float],
        keys: Sequence[int],
        based: bool = True,
        document: str = "",
    ) -> Bound:
        """Apply a method to tensors that are themselves bound.

        Args:
            method: the merge method.
            arguments: its tensors in order, all of one shape.
            structure: the settings that are not slots, by parameter name.
            slots: the method's own slots in the order of its declaration.
            keys: a noise stream for each model, for a method that draws.
            based: whether the first argument is the base, for a method whose base may be left out.
            document: the name of the document, which tells its questions about the whole model from those of others.

        Raises:
            InputError: when the settings are ones that the method refuses.
        """
        inputs, maps = _join_inputs(arguments)
        places = tuple((id(a.template), numbers) for a, numbers in zip(arguments, maps, strict=True))
        key = (method.name, document, based, tuple(structure.items()), places)
        if key not in self._templates:
            template = _trace(method, arguments, maps, structure, based)
            self._templates[key] = _label_model_questions(template, document)
        wide = any(a.wide for a in arguments)
        all_slots = (*(s for a in arguments for s in a.slots), *slots)
        all_keys = (*(k for a in arguments for k in a.keys), *keys)
        dtype = FLOAT64 if wide else FLOAT32
        bound = Bound(arguments[0].shape, dtype, self._templates[key], inputs, all_slots, all_keys, wide)
        self._check(bound)
        return bound

    def _check(self, bound: Bound) -> None:
        """Evaluate what the method guards, once for equal settings and shapes."""
        key = id(bound.template)
        if key not in self._guards:
            self._guards[key] = guards_in(bound.template.root)
        case = (key, bound.slots, bound.shape)
        if self._guards[key] and case not in self._checked:
            solve(self._guards[key], bound.slots, sizes_of(bound.shape), {})
            self._checked[case] = None


def _join_inputs(arguments: Sequence[Bound]) -> tuple[tuple[Input, ...], list[tuple[int, ...]]]:
    """Number the distinct inputs of all arguments; return them and each argument's own numbers among them."""
    numbers: dict[Input, int] = {}
    maps = [tuple(numbers.setdefault(i, len(numbers)) for i in a.inputs) for a in arguments]
    return tuple(numbers), maps


def _trace(
    method: Method,
    arguments: Sequence[Bound],
    maps: Sequence[tuple[int, ...]],
    structure: Mapping[str, Any],
    based: bool,
) -> Template:
    tensors, first_slot, first_key = [], 0, 0
    for argument, numbers in zip(arguments, maps, strict=True):
        tensors.append(renumber(argument.template.root, numbers, first_slot, first_key))
        first_slot += argument.template.slots
        first_key += argument.template.keys
    return trace(method, tensors, structure, first_slot, first_key, based)


def _label_model_questions(template: Template, document: str) -> Template:
    """Give each new question about the whole model a name that it has in every tensor: the document's, and a number."""
    numbers = count()

    def change(node: Expr) -> Expr:
        fresh = node.op == "select" and node.attributes == ("model",)
        return replace(node, attributes=("model", document, next(numbers))) if fresh else node

    root = rewrite(template.root, change)
    return template if root.key == template.root.key else replace(template, root=root)
