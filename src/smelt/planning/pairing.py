"""Which tensors of which models make which tensor of the output: whole models, layer slices, modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smelt.arch.config import tied
from smelt.arch.layers import Stack, check_stack, is_before_blocks, module_of, place, renumber
from smelt.arch.roles import Role, role
from smelt.errors import InputError, listing
from smelt.planning.views import View
from smelt.recipes.nouns import Module, Slice
from smelt.recipes.values import position_of


@dataclass(frozen=True, slots=True)
class Pairing:
    """One output tensor before it is computed: its name, and what each view of the part calls its own."""

    name: str
    names: tuple[str, ...]
    part: Part
    position: float  # from 0 to 1 over the layers of the slice


@dataclass(frozen=True, eq=False)
class Part:
    """A slice of a recipe with the models that take part in it.

    Args:
        module, slice: where in the recipe it stands.
        views: the models of its sources in order, then the base model if no source is it and the method needs it.
        base: which of the views is the base, if any.
        ranges: the layers of each view; ``None`` for whole models.
    """

    module: Module
    slice: Slice
    views: tuple[View, ...]
    base: int | None
    ranges: tuple[tuple[int, int], ...] | None

    @property
    def lead(self) -> int:
        """Which view's tensors are looked through, and whose dtypes and files the result takes over."""
        return self.base or 0

    @property
    def leader(self) -> View:
        """The view whose tensors are looked through."""
        return self.views[self.lead]

    @property
    def length(self) -> int:
        """The number of layers of the slice."""
        start, stop = self.ranges[self.lead] if self.ranges else (0, 0)
        return stop - start


@dataclass(frozen=True)
class Region:
    """Where the layers of one stack come from, for the configuration: configs with first and one past last layer."""

    stack: Stack
    sources: tuple[tuple[Mapping[str, Any], int, int], ...]


def pair_whole(part: Part, module: str | None) -> Iterator[Pairing]:
    """Pair the tensors of whole models by name; of one module only, if it is named.

    Raises:
        InputError: when the models do not have the same blocks, or not the same tensors.
    """
    lead = part.leader
    _check_same_counts(part)
    for name in _wanted(part, lambda view: _of_module(view, module)):
        found = place(name, lead.stacks)
        inside = found is not None and not found.is_extra
        position = position_of(found.layer, found.stack.count) if found is not None and inside else position_of(None, 0)
        yield Pairing(name, tuple(source_name(view, name, lead) for view in part.views), part, position)


def pair_slices(parts: Sequence[Part], module: str | None) -> tuple[list[Pairing], Region | None]:
    """Pair the layers of a stack of slices, renumbering them; what stands outside comes from the first or last slice.

    Args:
        parts: the slices of one module, in order.
        module: the module as ``module_of`` calls it, ``None`` where the recipe names no modules.

    Raises:
        InputError: when blocks cannot be found, a range lies outside a model, or layers do not hold the same tensors.
    """
    inside: list[Pairing] = []
    layer = 0
    for part in parts:
        inside.extend(_pair_layers(part, module, layer))
        layer += part.length
    _check_fit(parts)
    before = list(_pair_outside(parts[0], module, True))
    after = list(_pair_outside(parts[-1], module, False))
    after += _own_head(parts, module, [p.name for p in after])
    stack = _stack_of(parts[0].leader, module)
    configs = [(p.leader.config, *p.ranges[p.lead]) for p in parts if p.ranges]
    sources = tuple((config, start, stop) for config, start, stop in configs if config is not None)
    return before + inside + after, Region(stack, sources) if len(sources) == len(parts) else None


def source_name(view: View, name: str, lead: View) -> str:
    """Return what ``view`` calls the tensor ``name``: an output head that is tied to the embedding is read from there.

    Raises:
        InputError: when ``view`` has no such tensor.
    """
    if name in view.tensors:
        return name
    partner = tied_partner(view, name)
    if partner is None:
        raise InputError(
            f"'{view.label}' has no tensor '{name}', which '{lead.label}' has; "
            "models that are merged must have the same tensors"
        )
    return partner


def tied_partner(view: View, head: str) -> str | None:
    """Return the token embedding that stands for the output head ``head`` in a model that ties them."""
    if view.config is None or not tied(view.config):
        return None
    if role(head, (), view.config) is not Role.HEAD or not head.endswith(".weight"):
        return None
    tokens = [n for n in view.tensors if role(n, view.tensors[n].shape, view.config) is Role.EMBEDDING]
    tokens = [n for n in tokens if "position" not in n and n.endswith(".weight")]
    return tokens[0] if len(tokens) == 1 else None


def module_names(view: View) -> tuple[str, ...]:
    """Return the modules of a model, as recipes name them."""
    return tuple(dict.fromkeys(module_of(name, view.stacks) for name in view.tensors))


def _check_same_counts(part: Part) -> None:
    lead = part.leader
    for view in part.views:
        counts = {stack.prefix: stack.count for stack in view.stacks}
        for stack in lead.stacks:
            if counts.get(stack.prefix, stack.count) != stack.count:
                raise InputError(
                    f"'{lead.label}' has {stack.count} blocks under '{stack.prefix}', '{view.label}' has "
                    f"{counts[stack.prefix]}; whole models need as many, 'slices' with layer_range choose among them"
                )


def _stack_of(view: View, module: str | None) -> Stack:
    if not view.stacks:
        raise InputError(
            f"'{view.label}': no numbered blocks are found among its {len(view.tensors)} tensors "
            f"({listing(view.tensors, 3)}); slices need them"
        )
    if module is None and len(view.stacks) > 1:
        raise InputError(
            f"'{view.label}' has {len(view.stacks)} stacks of blocks ({listing(s.prefix for s in view.stacks)}); "
            f"write 'modules:' with {listing(module_names(view))}"
        )
    for stack in view.stacks:
        if module is None or module_of(f"{stack.prefix}.0.weight", view.stacks) == module:
            check_stack(stack, view.config, view.label)
            return stack
    raise InputError(f"'{view.label}' has no layers in the module '{module}'")


def _pair_layers(part: Part, module: str | None, first_layer: int) -> Iterator[Pairing]:
    stacks = [_stack_of(view, module) for view in part.views]
    assert part.ranges is not None
    for view, stack, (start, stop) in zip(part.views, stacks, part.ranges, strict=True):
        where = f"layer_range [{start}, {stop}]"
        if stop > stack.count:
            raise InputError(
                f"{where} lies outside '{view.label}', which has blocks 0 to {stack.count - 1}", part.slice.line
            )
        if stop - start != part.length:
            raise InputError(
                f"{where} of '{view.label}' has {stop - start} layers and that of '{part.leader.label}' {part.length}; "
                "the sources of a slice must have equally many",
                part.slice.line,
            )
    layers = [_layers(view, stack) for view, stack in zip(part.views, stacks, strict=True)]
    for offset in range(part.length):
        blocks = [inside[start + offset] for inside, (start, _) in zip(layers, part.ranges, strict=True)]
        _check_same_block(part, blocks)
        for within, name in blocks[part.lead].items():
            output = renumber(name, stacks[part.lead], first_layer + offset)
            yield Pairing(output, tuple(b[within] for b in blocks), part, position_of(offset, part.length))


def _layers(view: View, stack: Stack) -> dict[int, dict[str, str]]:
    """Return the tensors of each block: block number → name within the block → whole name."""
    layers: dict[int, dict[str, str]] = {}
    for name in view.tensors:
        found = place(name, (stack,))
        if found is not None and found.is_extra:
            raise InputError(
                f"'{view.label}' has blocks beyond its {stack.count} layers ('{name}'), for predicting several tokens; "
                "they belong to no slice, so its layers cannot be stacked"
            )
        if found is not None:
            layers.setdefault(found.layer, {})[renumber(name, stack, 0)[len(stack.prefix) :]] = name
    return layers


def _check_same_block(part: Part, blocks: Sequence[Mapping[str, str]]) -> None:
    lead = blocks[part.lead]
    for view, block in zip(part.views, blocks, strict=True):
        odd = [(lead.get(n) or block.get(n) or n) for n in (*lead, *block) if (n in lead) != (n in block)]
        if odd:
            raise InputError(
                f"a layer of '{view.label}' and one of '{part.leader.label}' do not hold the "
                f"same tensors; in one of them only: {listing(odd, 3)}",
                part.slice.line,
            )


def _pair_outside(part: Part, module: str | None, before: bool) -> Iterator[Pairing]:
    def list_names(view: View) -> list[str]:
        names = _of_module(view, module)
        return [n for n in names if place(n, view.stacks) is None and is_before_blocks(n) == before]

    for name in _wanted(part, list_names):
        names = tuple(source_name(view, name, part.leader) for view in part.views)
        yield Pairing(name, names, part, position_of(None, 0))


def _own_head(parts: Sequence[Part], module: str | None, there: Sequence[str]) -> Iterator[Pairing]:
    """Yield the head that the first model has of its own where the last one ties it to the embedding."""
    first, last = parts[0].leader, parts[-1].leader
    for name in _of_module(first, module):
        if name not in there and place(name, first.stacks) is None and tied_partner(last, name) is not None:
            names = tuple(source_name(view, name, last) for view in parts[-1].views)
            yield Pairing(name, names, parts[-1], position_of(None, 0))


def _check_fit(parts: Sequence[Part]) -> None:
    """Check that the layers of different models fit together: what stands outside them must have the same shapes.

    Raises:
        InputError: naming the first tensor that differs.
    """
    first = parts[0].leader
    last = parts[-1].leader
    for view in dict.fromkeys(part.leader for part in parts):
        rows = 0 if view is last else 1  # of what stands between, only the width of the layers matters
        for name, tensor in first.tensors.items():
            other = view.tensors.get(name)
            if other is None or place(name, first.stacks) is not None:
                continue
            if other.shape[rows:] != tensor.shape[rows:]:
                raise InputError(
                    f"'{name}' is {list(tensor.shape)} in '{first.label}' and {list(other.shape)} in '{view.label}'; "
                    "models whose layers are stacked must have the same width and vocabulary",
                    parts[0].slice.line,
                )


def _of_module(view: View, module: str | None) -> list[str]:
    return [n for n in view.tensors if module is None or module_of(n, view.stacks) == module]


def _wanted(part: Part, list_names: Callable[[View], list[str]]) -> list[str]:
    """Return the leader's names, and the head of a model that has one of its own where the leader ties it.

    Raises:
        InputError: naming the first tensors that only another model has; nothing may be dropped silently.
    """
    lead = part.leader
    wanted = dict.fromkeys(list_names(lead))
    for view in part.views:
        extra = [n for n in list_names(view) if n not in wanted]
        heads = [n for n in extra if tied_partner(lead, n)]
        if len(heads) < len(extra):
            only = [n for n in extra if n not in heads]
            raise InputError(
                f"'{view.label}' has {len(only)} tensors that '{lead.label}' lacks: {listing(only, 3)}; "
                "models that are merged must have the same tensors"
            )
        # A head that its model ties as well is a stored copy of the embedding.
        wanted.update(dict.fromkeys(heads if view.config is None or not tied(view.config) else ()))
    return list(wanted)
