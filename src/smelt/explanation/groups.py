"""The tensors of a plan as a reader would sort them: which layers and parts are merged in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from smelt.arch.layers import Stack, find_stacks, place
from smelt.arch.roles import Role, role
from smelt.errors import listing
from smelt.planning.plan import Input, Output, Plan

EVERYTHING = "all tensors"
SHORT_RUN = 2  # layers; where settings change as often, they are on a gradient

# What an input is read from: the checkpoints, and by how many layers its tensor lies above the output's.
Origin = tuple[tuple[int, ...], int]


@dataclass(frozen=True)
class Case:
    """How an output comes about. Outputs of equal cases are computed alike."""

    template: int
    origins: tuple[Origin, ...]
    streams: tuple[int, ...]  # which noise streams are the same one
    copied: bool
    slots: tuple[float, ...]

    @property
    def kind(self) -> tuple[object, ...]:
        """The case without the values of its settings."""
        return self.template, self.origins, self.streams, self.copied, len(self.slots)


@dataclass(frozen=True)
class Area:
    """Tensors of some consecutive layers (``None`` for those outside all layers), by their names within a layer."""

    prefix: str | None
    first: int
    last: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Tensors that are merged in the same way.

    Args:
        areas: where they stand.
        outputs: one for each layer of a gradient, in the order of the layers; else one that stands for all.
        cases: theirs.
        count: how many tensors there are.
    """

    areas: tuple[Area, ...]
    outputs: tuple[Output, ...]
    cases: tuple[Case, ...]
    count: int

    @property
    def layers(self) -> tuple[int, int] | None:
        """The first and last layer, where all tensors stand in the same run of layers."""
        runs = {(a.prefix, a.first, a.last): True for a in self.areas}
        ((prefix, first, last), *others) = runs
        return None if others or prefix is None else (first, last)


@dataclass(frozen=True)
class Places:
    """The names of a plan's outputs sorted into stacks of layers: for a prefix (or ``None``) the names within."""

    names: Mapping[str | None, Mapping[str, tuple[int, ...]]]  # name → its layers

    def layers(self, prefix: str) -> tuple[int, int]:
        """Return the first and last layer of a stack."""
        numbers = [number for layers in self.names[prefix].values() for number in layers]
        return min(numbers), max(numbers)


def group(plan: Plan) -> tuple[Places, list[Group]]:
    """Return where a plan's tensors stand, and which of them are merged in the same way, in order of first use."""
    stacks = find_stacks([o.spec.name for o in plan.outputs], plan.config)
    of_inputs = [find_stacks(c.specs, c.config) for c in plan.checkpoints]
    tracks: dict[tuple[str | None, str], dict[int, tuple[Output, Case]]] = {}
    for output in plan.outputs:
        found = place(output.spec.name, stacks)
        layer = found.layer if found else None
        case = _case(output, layer, of_inputs)
        key = (found.stack.prefix, _within(output.spec.name, found.stack.prefix)) if found else (None, output.spec.name)
        tracks.setdefault(key, {})[layer or 0] = output, case
    names: dict[str | None, dict[str, tuple[int, ...]]] = {}
    for (prefix, name), layers in tracks.items():
        names.setdefault(prefix, {})[name] = tuple(sorted(layers))
    return Places(names), _join(tracks)


def _join(tracks: Mapping[tuple[str | None, str], Mapping[int, tuple[Output, Case]]]) -> list[Group]:
    """Join the runs of all tracks that have the same cases."""
    runs: dict[object, list[tuple[Output, Case]]] = {}
    areas: dict[object, dict[tuple[str | None, int, int], list[str]]] = {}
    for (prefix, name), layers in tracks.items():
        for first, last, cases in _split(layers):
            key: object = (prefix, first, last, cases) if len(cases) > 1 else cases
            runs.setdefault(key, [layers[n] for n in range(first, last + 1)][: len(cases)])
            areas.setdefault(key, {}).setdefault((prefix, first, last), []).append(name)
    groups = []
    for key, found in runs.items():
        where = tuple(Area(*place_, tuple(names)) for place_, names in areas[key].items())
        count = sum((a.last - a.first + 1) * len(a.names) for a in where)
        outputs, cases = zip(*found, strict=True)
        groups.append(Group(where, outputs, cases, count))
    return groups


def _split(layers: Mapping[int, tuple[Output, Case]]) -> Iterable[tuple[int, int, tuple[Case, ...]]]:
    """Cut the layers of one track into runs of one case, and gradients of cases that differ in their settings only."""
    runs: list[tuple[int, int, tuple[Case, ...]]] = []
    numbered = sorted(layers)
    for (_, case), run in groupby(enumerate(numbered), key=lambda at: (at[1] - at[0], layers[at[1]][1])):
        members = [number for _, number in run]
        first, last, cases = members[0], members[-1], (case,)
        if runs and len(members) <= SHORT_RUN:
            before, until, earlier = runs[-1]
            varies = len(earlier) > 1 or until - before < SHORT_RUN
            if varies and until == first - 1 and earlier[-1].kind == case.kind:
                spelled = earlier if len(earlier) > 1 else earlier * (until - before + 1)
                runs[-1] = before, last, (*spelled, *cases * len(members))
                continue
        runs.append((first, last, cases))
    return runs


def _case(output: Output, layer: int | None, of_inputs: Sequence[Sequence[Stack]]) -> Case:
    origins = tuple(_origin(pieces, layer, of_inputs) for pieces in output.inputs)
    streams = tuple(output.keys.index(key) for key in output.keys)
    return Case(output.template, origins, streams, output.precision == "bytes", output.slots)


def _origin(pieces: Input, layer: int | None, of_inputs: Sequence[Sequence[Stack]]) -> Origin:
    found = place(pieces[0].tensor, of_inputs[pieces[0].checkpoint]) if layer is not None else None
    above = found.layer - layer if found is not None and layer is not None else 0
    return tuple(dict.fromkeys(piece.checkpoint for piece in pieces)), above


def _within(name: str, prefix: str) -> str:
    return name[len(prefix) + 1 :].partition(".")[2]


def describe_areas(group: Group, where: Places, config: Mapping[str, object] | None) -> str:
    """Return in words which tensors a group holds."""
    everything = sum(len(layers) for names in where.names.values() for layers in names.values())
    if group.count == everything:
        return EVERYTHING
    return "; ".join(_describe(area, where, config) for area in group.areas)


def _describe(area: Area, where: Places, config: Mapping[str, object] | None) -> str:
    if area.prefix is None:
        return listing(_describe_parts(area.names, where.names[None], config))
    stack = f"{area.prefix}: " if len([p for p in where.names if p is not None]) > 1 else ""
    layers = f"layers {area.first}–{area.last}" if area.first < area.last else f"layer {area.first}"
    there = [n for n, at in where.names[area.prefix].items() if any(area.first <= i <= area.last for i in at)]
    if len(area.names) == len(there):
        return stack + layers
    return f"{stack}{layers} · " + listing(_describe_parts(area.names, where.names[area.prefix], config), 6)


def _describe_parts(names: Sequence[str], among: Iterable[str], config: Mapping[str, object] | None) -> list[str]:
    """Return the roles of tensors; where a role has others as well, also which of them are meant."""

    def sort(all_names: Iterable[str]) -> dict[Role, list[str]]:
        by_role: dict[Role, list[str]] = {}
        for name in all_names:
            by_role.setdefault(role(name, (), config), []).append(name)
        return by_role

    everything = sort(among)
    words = []
    for kind, members in sort(names).items():
        shown = [name.removesuffix(".weight").rpartition(".")[2] for name in members]
        whole = len(members) == len(everything[kind])
        words.append(kind.value if whole and kind is not Role.OTHER else f"{kind.value} ({listing(shown, 6)})")
    return words
