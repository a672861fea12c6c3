"""The numbers behind a report's heat maps: relative sizes by layer and module, and coefficients by layer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smelt.inspection.blocks import pairs_of
from smelt.inspection.differences import Differences, Section, TensorDifference

_MOST_COLUMNS = 20  # modules beside one another; beyond that, roles
_MOST_ROWS = 60  # tensors outside the layers
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@dataclass(frozen=True)
class Grid:
    """Relative sizes by row and column; NaN where there is no such tensor, or its base is zero.

    Args:
        rows, columns: their labels.
        values: of shape (rows, columns).
        is_numbered: whether the rows are layers.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    is_numbered: bool = True


def find_stacks(found: Differences) -> tuple[str, ...]:
    """Return the prefixes of the layers' names, such as ``model.layers``, in order."""
    return tuple(dict.fromkeys(_split(t.layer)[0] for t in found.tensors if t.layer is not None))


def grid_layers(found: Differences, stack: str, model: int) -> Grid:
    """Return the relative sizes of one model's differences, layer by module.

    Numbers within a module's name, such as those of experts, are joined; where that still leaves too many modules,
    the columns are roles.

    Args:
        found: what was measured.
        stack: one of ``find_stacks``.
        model: its place in ``found.compared``.
    """
    tensors = [t for t in found.tensors if t.layer is not None and _split(t.layer)[0] == stack]
    modules = [_NUMBER.sub("*", t.module).removesuffix(".weight") for t in tensors]
    if len(dict.fromkeys(modules)) > _MOST_COLUMNS:
        modules = [t.role for t in tensors]
    layers = [_split(t.layer or "")[1] for t in tensors]
    rows = tuple(sorted(dict.fromkeys(layers), key=int))
    columns = tuple(dict.fromkeys(modules))
    groups: dict[tuple[str, str], list[Section]] = {}
    for layer, module, t in zip(layers, modules, tensors, strict=True):
        groups.setdefault((layer, module), []).append(t.section)
    values = [[relate(groups.get((row, column), ()), model) for column in columns] for row in rows]
    return Grid(rows, columns, np.array(values, np.float64))


def grid_outside(found: Differences, labels: Sequence[str]) -> Grid | None:
    """Return the relative sizes of the tensors outside the layers, tensor by model; ``None`` where there are none.

    Args:
        found: what was measured.
        labels: of those of the models that are columns, from the first on.
    """
    tensors: list[TensorDifference] = [t for t in found.tensors if t.layer is None][:_MOST_ROWS]
    values = [[relate([t.section], model) for model in range(len(labels))] for t in tensors]
    names = tuple(t.name.removesuffix(".weight") for t in tensors)
    return Grid(names, tuple(labels), np.array(values, np.float64), False) if tensors else None


def relate(sections: Iterable[Section], model: int) -> float:
    """Return the norm of a model's difference in several sections over that of the base; NaN where that is zero."""
    pairs = [(section.measures[model].norm, section.base_norm) for section in sections]
    base = math.hypot(*(norm for _, norm in pairs))
    return math.hypot(*(norm for norm, _ in pairs)) / base if base else math.nan


def fill_cosines(found: Differences, count: int) -> NDArray[np.float64]:
    """Return the cosines between the first ``count`` models over all tensors, as a full matrix; NaN for none."""
    values = np.eye(count)
    for (i, j), pair in zip(pairs_of(len(found.compared)), found.whole.pairs, strict=True):
        if j < count:
            values[i, j] = values[j, i] = math.nan if pair.cosine is None else pair.cosine
    return values


def follow_shares(
    found: Differences, stack: str, result: int, labels: Sequence[str]
) -> tuple[Sequence[str], dict[str, list[float]], list[float]]:
    """Return the layers of a stack, the coefficients of each parent in them, and what stays unexplained.

    Args:
        found: what was measured.
        stack: one of ``find_stacks``.
        result: its place in ``found.results``.
        labels: of the models that are drawn, and of the base at last.
    """
    layers = {_split(section.label)[1]: section for section in found.layers if _split(section.label)[0] == stack}
    rows = sorted(layers, key=int)
    shares = [layers[row].shares[result] for row in rows]
    lines = {
        label: [one.coefficients[at] if one.coefficients else math.nan for one in shares]
        for at, label in enumerate(labels[:-1])
    }
    lines[labels[-1]] = [one.base for one in shares]
    return rows, lines, [math.nan if one.unexplained is None else one.unexplained for one in shares]


def _split(layer: str) -> tuple[str, str]:
    prefix, _, number = layer.rpartition(".")
    return prefix, number
