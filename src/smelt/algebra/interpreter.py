"""The second reading of a method: NumPy over tiles. Plain, slow enough, obviously right.

The compiled engine is to take the place of ``TileProgram`` and of nothing else: same tiles in, same tiles out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smelt.algebra import noise
from smelt.algebra.expressions import PER_ELEMENT, Expr, Sort
from smelt.algebra.numbers import OPERATIONS, Value, numbers_in, walk_elements
from smelt.algebra.selection import magnitude_keys

Array = NDArray[np.generic]
Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Tile:
    """What a program works on: a run of elements of one tensor.

    Args:
        start: index of the first element in the tensor.
        length: number of elements.
        columns: the length of the tensor's rows; a tile holds whole rows where an expression asks for it.
        inputs: the float tiles of the binding's input tensors, each of shape (length,).
        numbers: the values of the numbers in use, prepared by ``meet``, by content key.
        keys: the noise streams of the binding: one for the tensor, or one for each of its rows.
    """

    start: int
    length: int
    columns: int
    inputs: Sequence[Floats]
    numbers: Mapping[str, Value]
    keys: NDArray[np.uint64]

    def places(self, along: str | None) -> NDArray[np.int64]:
        """Return for each element the number of its row, or of its column."""
        index = np.arange(self.start, self.start + self.length)
        return index // self.columns if along == "row" else index % self.columns


def meet(nodes: Sequence[Expr], values: Mapping[str, Value], precision: np.dtype[np.floating]) -> dict[str, Value]:
    """Round numbers to the precision of tiles and shape them: scalars, (models, 1), and (…, rows or columns)."""
    ready: dict[str, Value] = {}
    with np.errstate(all="ignore"):
        for node in nodes:
            value = values[node.key]
            if node.sort is not Sort.SELECTION:
                value = np.asarray(value, precision if node.sort is Sort.NUMBER else np.bool_)
                value = value[:, None] if node.models is not None and node.along is None else value[()]
            ready[node.key] = value
    return ready


class TileProgram:
    """The steps that compute per-element nodes from a tile, in an order fixed by the expressions."""

    def __init__(self, roots: Sequence[Expr], precision: np.dtype[np.floating]) -> None:
        self.roots = tuple(roots)
        self.numbers = tuple(numbers_in(roots))
        self.precision = precision
        self._along = [n for n in self.numbers if n.along and n.sort is not Sort.SELECTION]
        self._steps = walk_elements(roots)
        last_use = {a.key: i for i, node in enumerate(self._steps) for a in node.args}
        keep = {r.key for r in roots}
        self._free: list[list[str]] = [[] for _ in self._steps]
        for key, step in last_use.items():
            if key not in keep:
                self._free[step].append(key)

    def __call__(self, tile: Tile) -> list[Array]:
        """Return the values of the roots: (length,), or (models, length) with a model axis."""
        registers: dict[str, Value] = dict(tile.numbers)
        for node in self._along:
            registers[node.key] = tile.numbers[node.key][..., tile.places(node.along)]
        with np.errstate(all="ignore"):
            for node, free in zip(self._steps, self._free, strict=True):
                registers[node.key] = self._step(node, [registers[a.key] for a in node.args], tile)
                for key in free:
                    if key not in tile.numbers:
                        del registers[key]
        return [self._shaped(root, registers[root.key], tile) for root in self.roots]

    def _step(self, node: Expr, args: list[Value], tile: Tile) -> Value:
        special = SPECIAL.get(node.op)
        if special is not None:
            return special(node, args, tile, self.precision)
        result = OPERATIONS[node.op](*args)
        # `where` and `sign` on plain numbers would widen a float32 tile.
        return result.astype(self.precision, copy=False) if node.sort is Sort.TENSOR else result

    def _shaped(self, root: Expr, value: Value, tile: Tile) -> Array:
        if root.sort not in PER_ELEMENT:
            raise TypeError(f"a program computes tensors, not a {root.sort.value}")
        return _spread(value, (tile.length,) if root.models is None else (root.models, tile.length))


def _spread(value: Value, shape: tuple[int, ...]) -> Array:
    """Return a tile of the given shape; most have it already, and NumPy takes its time to see that."""
    return value if np.shape(value) == shape else np.broadcast_to(value, shape)


def _input(node: Expr, args: list[Value], tile: Tile, precision: np.dtype[np.floating]) -> Value:
    return tile.inputs[int(node.attributes[0] or 0)]


def _stack(node: Expr, args: list[Value], tile: Tile, precision: np.dtype[np.floating]) -> Value:
    return np.stack([_spread(a, (tile.length,)) for a in args])


def _pick(node: Expr, args: list[Value], tile: Tile, precision: np.dtype[np.floating]) -> Value:
    return _spread(args[0], (node.args[0].models or 1, tile.length))[int(node.attributes[0] or 0)]


def _sum_models(node: Expr, args: list[Value], tile: Tile, precision: np.dtype[np.floating]) -> Value:
    models = _spread(args[0], (node.args[0].models or 1, tile.length))
    result = models[0].copy()
    for model in models[1:]:
        result += model
    return result


def _max_models(node: Expr, args: list[Value], tile: Tile, precision: np.dtype[np.floating]) -> Value:
    models = _spread(args[0], (node.args[0].models or 1, tile.length))
    result = models[0]
    for model in models[1:]:
        result = np.where(model > result, model, result)
    return result


def _uniform(node: Expr, args: list[Value], tile: Tile, precision: np.dtype[np.floating]) -> Value:
    first, draw = int(node.attributes[0] or 0), int(node.attributes[1] or 0)
    fields = np.empty((node.models or 1, tile.length), np.float32)
    for field, streams in zip(fields, tile.keys[first:], strict=False):
        if node.along is None:
            noise.uniforms(int(streams[0]), draw, tile.start, field)
            continue
        for row, part in enumerate(field.reshape(-1, tile.columns), tile.start // tile.columns):
            noise.uniforms(int(streams[row]), draw, 0, part)
    return (fields if node.models is not None else fields[0]).astype(precision, copy=False)


def _selected(node: Expr, args: list[Value], tile: Tile, precision: np.dtype[np.floating]) -> Value:
    keys = magnitude_keys(args[0])
    thresholds, cuts = args[1]
    if node.args[1].along == "row":
        rows, index = tile.places("row"), tile.places("column")
        thresholds, cuts = thresholds[..., rows], cuts[..., rows]
    else:
        index = np.arange(tile.start, tile.start + tile.length)
        thresholds, cuts = thresholds[:, None], cuts[:, None]
    if node.models is None:
        thresholds, cuts = thresholds[0], cuts[0]
    return (keys > thresholds) | ((keys == thresholds) & (index < cuts))


def _rank(node: Expr, args: list[Value], tile: Tile, precision: np.dtype[np.floating]) -> Value:
    keys = magnitude_keys(_spread(args[0], (node.models or 1, tile.length)))
    order = np.argsort(keys.reshape(node.models or 1, -1, tile.columns), axis=-1, kind="stable")
    ranks = np.empty(order.shape, precision)
    np.put_along_axis(ranks, order, np.arange(tile.columns, dtype=precision), axis=-1)
    ranks = ranks.reshape(-1, tile.length)
    return ranks if node.models is not None else ranks[0]


SPECIAL: Mapping[str, Callable[[Expr, list[Value], Tile, np.dtype[np.floating]], Value]] = {
    "input": _input,
    "stack": _stack,
    "pick": _pick,
    "sum_models": _sum_models,
    "max_models": _max_models,
    "uniform": _uniform,
    "selected": _selected,
    "rank": _rank,
}
