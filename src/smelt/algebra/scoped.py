"""Questions that are asked of each row or column of a tensor. A block holds whole rows, or is a piece of one row.

Their tiles hold whole rows too (a piece of a row longer than a block comes in tiles of its own), so a row's answer is
drawn from the row at once, in the order of its elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Expr
from smelt.algebra.grid import BLOCK, LANES, rows_and_columns
from smelt.algebra.numbers import Value, sum_exactly
from smelt.algebra.products import fold_in_halves, products, sums_of, symmetric
from smelt.algebra.selection import magnitude_keys

Array = NDArray[np.generic]

TERMS = 2**18  # that are held at a time


@dataclass
class Strip:
    """What one block says: one value for each of its rows, or for each of its columns."""

    first: int  # the first row, or column, that it is about
    values: NDArray[np.float64]  # (sums, rows or columns)
    lanes: NDArray[np.float64] | None = None  # (sums, 256), while a piece of a row is summed up


class RowSum:
    """``total``, ``dot`` and ``gram`` per row: up to 256 float64 lanes each, folded in halves; pieces in order."""

    def __init__(self, node: Expr, shape: tuple[int, ...]) -> None:
        self.node = node
        self.operands = node.args
        self.answer: Value | None = None
        self._rows, self._columns = rows_and_columns(shape)
        self._sums = sums_of(node)

    def prepare(self, look: Any, whole: bool) -> None:
        """Nothing to prepare."""

    def open_block(self, start: int, stop: int) -> Strip:
        """Return an empty strip for the rows that the block touches."""
        first, last = start // self._columns, (stop - 1) // self._columns
        piece = stop - start < self._columns
        lanes = np.zeros((self._sums, LANES), np.float64) if piece else None
        return Strip(first, np.zeros((self._sums, last - first + 1), np.float64), lanes)

    def measure(self, strip: Strip, values: Sequence[Array], start: int) -> None:
        """Add a tile of whole rows, or the next tile of a piece."""
        if strip.lanes is not None:
            with np.errstate(all="ignore"):
                _add_to_lanes(strip.lanes, np.stack(products(self.node, values)))
            strip.values[:, 0] = fold_in_halves(strip.lanes)
            return
        # A few rows at a time: there are as many terms as sums, and of many models that is very many.
        step = max(TERMS // (self._sums * self._columns), 1) * self._columns
        for low in range(0, values[0].shape[-1], step):
            self._add_rows(strip, [v[..., low : low + step] for v in values], start + low)

    def _add_rows(self, strip: Strip, values: Sequence[Array], start: int) -> None:
        with np.errstate(all="ignore"):
            rows = np.stack(products(self.node, values)).reshape(self._sums, -1, self._columns)
            lanes = np.zeros((*rows.shape[:2], min(LANES, 1 << max(self._columns - 1, 0).bit_length())), np.float64)
            _add_to_lanes(lanes, rows)
        first = start // self._columns - strip.first
        strip.values[:, first : first + rows.shape[1]] = fold_in_halves(lanes)

    def close_block(self, partial: Strip) -> Strip:
        """Keep it."""
        return partial

    def conclude(self, partials: Sequence[Strip], look: Any) -> None:
        """Put the rows together."""
        self.answer = symmetric(self.node, _add_strips(partials, self._sums, self._rows))


class ColumnSum:
    """``total``, ``dot`` and ``gram`` per column: rows added in order within a block, blocks in order.

    A vector (and a scalar) is one column, as it is one row.
    """

    def __init__(self, node: Expr, shape: tuple[int, ...]) -> None:
        self.node = node
        self.operands = node.args
        self.answer: Value | None = None
        _, self._columns = rows_and_columns(shape)
        self._is_vector = len(shape) < 2
        self._sums = sums_of(node)

    def prepare(self, look: Any, whole: bool) -> None:
        """Nothing to prepare."""

    def open_block(self, start: int, stop: int) -> Strip:
        """Return an empty strip for the columns that the block touches."""
        width = min(stop - start, self._columns)
        return Strip(start % self._columns, np.zeros((self._sums, width), np.float64))

    def measure(self, strip: Strip, values: Sequence[Array], start: int) -> None:
        """Add a tile of whole rows, or the next tile of a piece."""
        with np.errstate(all="ignore"):
            for sums, terms in zip(strip.values, products(self.node, values), strict=True):
                if len(sums) < self._columns or len(terms) < self._columns:
                    first = start % self._columns - strip.first
                    sums[first : first + len(terms)] += terms
                else:
                    for row in terms.reshape(-1, self._columns):
                        sums += row

    def close_block(self, partial: Strip) -> Strip:
        """Keep it."""
        return partial

    def conclude(self, partials: Sequence[Strip], look: Any) -> None:
        """Add the blocks in order."""
        sums = _add_strips(partials, self._sums, self._columns)
        if self._is_vector:
            sums[:] = np.array([sum_exactly(terms) for terms in sums.tolist()], np.float64)[:, None]
        self.answer = symmetric(self.node, sums)


class RowLargest:
    """``largest`` per row."""

    def __init__(self, node: Expr, shape: tuple[int, ...]) -> None:
        self.node = node
        self.operands = node.args
        self.answer: Value | None = None
        self._rows, self._columns = rows_and_columns(shape)
        self._models = node.models or 1

    def prepare(self, look: Any, whole: bool) -> None:
        """Nothing to prepare."""

    def open_block(self, start: int, stop: int) -> Strip:
        """Return an empty strip for the rows that the block touches."""
        first, last = start // self._columns, (stop - 1) // self._columns
        return Strip(first, np.full((self._models, last - first + 1), -np.inf))

    def measure(self, strip: Strip, values: Sequence[Array], start: int) -> None:
        """Take in a tile of whole rows, or the next tile of a piece."""
        x = np.asarray(values[0], np.float64).reshape(self._models, -1, min(self._columns, values[0].shape[-1]))
        first = start // self._columns - strip.first
        place = strip.values[:, first : first + x.shape[1]]
        np.maximum(place, np.maximum.reduce(x, axis=-1), out=place)

    def close_block(self, partial: Strip) -> Strip:
        """Keep it."""
        return partial

    def conclude(self, partials: Sequence[Strip], look: Any) -> None:
        """Put the rows together."""
        found = np.full((self._models, self._rows), -np.inf)
        for strip in partials:
            place = found[:, strip.first : strip.first + strip.values.shape[1]]
            np.maximum(place, strip.values, out=place)
        self.answer = found if self.node.models is not None else found[0]


class RowSelect:
    """``kth_largest`` per row: thresholds and cuts (columns), each of shape (models, rows)."""

    def __init__(self, node: Expr, count: Value, shape: tuple[int, ...], precision: np.dtype[np.floating]) -> None:
        self.node = node
        self.operands = node.args[:1]
        self.answer: Value | None = None
        self._rows, self._columns = rows_and_columns(shape)
        models = node.models or 1
        counts = np.clip(np.nan_to_num(np.asarray(count, np.float64)), 0, self._columns).astype(np.int64)
        along = node.args[1].along is not None
        counts = counts if along or counts.ndim == 0 else counts[:, None]
        self._counts = np.broadcast_to(counts, (models, self._rows))
        self._thresholds = np.zeros((models, self._rows), np.dtype(f"u{precision.itemsize}"))
        self._cuts = np.zeros((models, self._rows), np.int64)

    def prepare(self, look: Any, whole: bool) -> None:
        """Answer at once for rows longer than a block, one whole row at a time."""
        if self._columns > BLOCK:
            for row in range(self._rows):
                start = row * self._columns
                self._select(look.block(self.operands[0], start, start + self._columns), row)
            self.answer = (self._thresholds, self._cuts)

    def open_block(self, start: int, stop: int) -> None:
        """Rows are answered as they come."""

    def measure(self, partial: None, values: Sequence[Array], start: int) -> None:
        """Answer the rows of a tile; rows belong to one block each, so no two workers meet."""
        self._select(values[0], start // self._columns)

    def close_block(self, partial: None) -> None:
        """Nothing to keep."""

    def conclude(self, partials: Sequence[None], look: Any) -> None:
        """All rows are answered."""
        self.answer = (self._thresholds, self._cuts)

    def _select(self, x: Array, first_row: int) -> None:
        keys = magnitude_keys(np.asarray(x)).reshape(self.operands[0].models or 1, -1, self._columns)
        rows = slice(first_row, first_row + keys.shape[1])
        counts = self._counts[:, rows]
        keys = np.broadcast_to(keys, (*counts.shape, self._columns))
        self._thresholds[:, rows], self._cuts[:, rows] = _kth(keys, counts)


def _kth(keys: NDArray[Any], counts: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return thresholds and cuts of the ``counts`` largest keys of each row, as ``Selection.answer``.

    Args:
        keys: (models, rows, columns).
        counts: (models, rows), in [0, columns].
    """
    columns = keys.shape[-1]
    ascending = np.sort(keys, axis=-1)
    thresholds = np.take_along_axis(ascending, np.minimum(columns - counts, columns - 1)[..., None], -1)
    above = np.count_nonzero(ascending > thresholds, axis=-1)
    equal = keys == thresholds
    found = np.count_nonzero(equal, axis=-1).ravel()
    before = np.cumsum(found) - found  # exact: integers
    last = before + np.maximum(counts - above, 1).ravel() - 1
    cuts = np.flatnonzero(equal)[last].reshape(counts.shape) % columns + 1
    none, whole = counts == 0, counts == columns
    zero, highest = keys.dtype.type(0), keys.dtype.type(np.iinfo(keys.dtype).max >> 1)
    return (
        np.where(none, highest, np.where(whole, zero, thresholds[..., 0])),
        np.where(none, 0, np.where(whole, columns, cuts)),
    )


def _add_strips(strips: Sequence[Strip], sums: int, length: int) -> NDArray[np.float64]:
    """Return the sums of all rows, or columns: what the blocks say of each, added in order."""
    whole = np.zeros((sums, length), np.float64)
    with np.errstate(all="ignore"):
        for strip in strips:
            whole[:, strip.first : strip.first + strip.values.shape[1]] += strip.values
    return whole


def _add_to_lanes(lanes: NDArray[np.float64], terms: NDArray[np.float64]) -> None:
    """Add element i along the last axis to lane i mod 256, in order."""
    width = lanes.shape[-1]
    for start in range(0, terms.shape[-1], LANES):
        part = terms[..., start : start + LANES]
        lanes[..., : min(part.shape[-1], width)] += part
