"""Whole-tensor questions: how an answer grows out of blocks that any worker may do in any order.

The life of a question: ``prepare`` (may look at a few elements, may answer), then for each block ``open_block``,
``measure`` tile by tile, which leaves a partial; with all partials in block order ``conclude`` answers, or asks for
another pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Expr
from smelt.algebra.grid import LANES
from smelt.algebra.numbers import Value, sum_exactly
from smelt.algebra.products import fold_in_halves, products, sums_of, symmetric
from smelt.algebra.scoped import ColumnSum, RowLargest, RowSelect, RowSum
from smelt.algebra.selection import RUN, Count, Selection, sample_starts

Array = NDArray[np.generic]


class Look(Protocol):
    """A look at a few elements of an operand: (elements,), or (models, elements)."""

    def block(self, operand: Expr, start: int, stop: int) -> Array:
        """Return elements [start, stop)."""

    def runs(self, operand: Expr, starts: Sequence[int], length: int) -> Array:
        """Return ``length`` elements from each of ``starts`` on, one run after the other."""


class Question(Protocol):
    """One question about one tensor."""

    node: Expr
    operands: tuple[Expr, ...]
    answer: Value | None

    def prepare(self, look: Look, whole: bool) -> None:
        """Get ready; ``whole`` says that the tensor has a single block."""

    def open_block(self, start: int, stop: int) -> Any:
        """Return an empty partial for the block of elements [start, stop)."""

    def measure(self, partial: Any, values: Sequence[Array], start: int) -> None:
        """Add the tile of the operands that starts at element ``start``.

        Tiles come in order and start at multiples of 256 within a block; for a question asked of rows or columns they
        hold whole rows, unless the block is a piece of a row.
        """

    def close_block(self, partial: Any) -> Any:
        """Return what has to be kept of a block that is complete."""

    def conclude(self, partials: Sequence[Any], look: Look) -> None:
        """Take what was kept of all blocks, in their order; ``answer`` is set unless another pass is needed."""


class Sum:
    """``total``, ``dot`` and ``gram``: 256 float64 lanes per block, folded in halves, blocks added exactly."""

    def __init__(self, node: Expr) -> None:
        self.node = node
        self.operands = node.args
        self.answer: Value | None = None
        self.count = sums_of(node)

    def prepare(self, look: Look, whole: bool) -> None:
        """Nothing to prepare."""

    def open_block(self, start: int, stop: int) -> tuple[int, NDArray[np.float64]]:
        """Return where the block starts, and the empty lanes, shape (sums, 256)."""
        return start, np.zeros((self.count, LANES), np.float64)

    def measure(self, partial: tuple[int, NDArray[np.float64]], values: Sequence[Array], start: int) -> None:
        """Add a tile: element i of the block goes to lane i mod 256, in order; rows may start at any lane."""
        block_start, sums = partial
        lane = (start - block_start) % LANES
        with np.errstate(all="ignore"):
            for lanes, terms in zip(sums, products(self.node, values), strict=True):
                head = min(-lane % LANES, len(terms))
                lanes[lane : lane + head] += terms[:head]
                whole = head + (len(terms) - head) // LANES * LANES
                for row in terms[head:whole].reshape(-1, LANES):
                    lanes += row
                lanes[: len(terms) - whole] += terms[whole:]

    def pairs(self, row_of: Mapping[str, int]) -> list[tuple[int, int]]:
        """Return which rows of values are multiplied for each sum, given the first row of each operand; −1 is none."""
        models = self.node.models or 1
        rows = [row_of[a.key] for a in self.operands]
        if self.node.op == "gram":
            return [(rows[0] + i, rows[0] + j) for i in range(models) for j in range(i + 1)]
        steps = [0 if a.models is None else 1 for a in self.operands]
        right = [rows[1] + steps[1] * m if self.node.op == "dot" else -1 for m in range(models)]
        return [(rows[0] + steps[0] * m, right[m]) for m in range(models)]

    def close_block(self, partial: tuple[int, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Fold the lanes; one float per sum remains."""
        return np.array(fold_in_halves(partial[1]))

    def conclude(self, partials: Sequence[NDArray[np.float64]], look: Look) -> None:
        """Add the blocks."""
        sums = [sum_exactly(block[i] for block in partials) for i in range(self.count)]
        self.answer = symmetric(self.node, np.array(sums, np.float64))


class Largest:
    """``largest`` of a whole tensor."""

    def __init__(self, node: Expr) -> None:
        self.node = node
        self.operands = node.args
        self.answer: Value | None = None

    def prepare(self, look: Look, whole: bool) -> None:
        """Nothing to prepare."""

    def open_block(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the largest of nothing."""
        return np.full(self.node.models or 1, -np.inf)

    def measure(self, partial: NDArray[np.float64], values: Sequence[Array], start: int) -> None:
        """Take in a tile."""
        x = np.asarray(values[0], np.float64).reshape(len(partial), -1)
        np.maximum(partial, np.maximum.reduce(x, axis=-1), out=partial)

    def close_block(self, partial: NDArray[np.float64]) -> NDArray[np.float64]:
        """Keep it."""
        return partial

    def conclude(self, partials: Sequence[NDArray[np.float64]], look: Look) -> None:
        """Take the largest of all blocks."""
        found = np.full(self.node.models or 1, -np.inf)
        for block in partials:
            np.maximum(found, block, out=found)
        self.answer = found if self.node.models is not None else found[0]


@dataclass(frozen=True)
class Search:
    """One search and its count of one block."""

    selection: Selection
    count: Count

    @property
    def bracket(self) -> tuple[int, int]:
        """The keys between which the threshold is sought."""
        return self.selection.bracket or (0, 0)

    def take(self, piece: tuple[int, int], above: int, at_high: int, at_low: int, inside: Array) -> None:
        """Add what was counted among elements [start, stop)."""
        self.selection.take(self.count, piece, above, at_high, at_low, inside)


class Select:
    """``kth_largest``: one search per model."""

    def __init__(self, node: Expr, count: Value, size: int, precision: np.dtype[np.floating]) -> None:
        self.node = node
        self.operands = node.args[:1]
        self.answer: Value | None = None
        self._keys = np.dtype(f"u{precision.itemsize}")
        self._size = size
        counts = np.broadcast_to(np.asarray(count, np.float64), (node.models or 1,)).tolist()
        self._searches = [Selection(size, c, self._keys.itemsize * 8, len(counts)) for c in counts]

    def prepare(self, look: Look, whole: bool) -> None:
        """Sample the tensor, or answer at once."""
        for search in self._searches:
            search.answer_trivial()
        waiting = [(m, s) for m, s in enumerate(self._searches) if s.answer is None]
        if waiting and whole:
            found = self._models_of(look.block(self.operands[0], 0, self._size))
        elif waiting:
            found = self._models_of(look.runs(self.operands[0], sample_starts(self._size), RUN))
        for model, search in waiting:
            (search.answer_whole if whole else search.set_bracket)(found[model])
        self._finish()

    def open_block(self, start: int, stop: int) -> list[Count]:
        """Return an empty count per model."""
        return [Count() for _ in self._searches]

    def measure(self, partial: list[Count], values: Sequence[Array], start: int) -> None:
        """Count a tile, model by model."""
        for search, count, x in zip(self._searches, partial, self._models_of(values[0]), strict=True):
            if search.answer is None:
                search.measure(count, x, start)

    def searches(self, partial: list[Count], first_row: int) -> list[tuple[int, Search]]:
        """Return what a compiled loop has to count: per open search the row of its values, and where counts go."""
        is_shared = self.operands[0].models is None
        return [
            (first_row + (0 if is_shared else model), Search(search, count))
            for model, (search, count) in enumerate(zip(self._searches, partial, strict=True))
            if search.answer is None
        ]

    @property
    def counts_digits(self) -> bool:
        """Whether a search is past its bracket, and counts digits instead."""
        return self._keys.itemsize != 4 or any(s.bracket is None for s in self._searches)

    def close_block(self, partial: list[Count]) -> list[Count]:
        """Keep the counts, and the keys strictly inside the bracket."""
        for search, count in zip(self._searches, partial, strict=True):
            search.close(count)
        return partial

    def conclude(self, partials: Sequence[list[Count]], look: Look) -> None:
        """Let every open search draw its conclusion."""
        for model, search in enumerate(self._searches):
            if search.answer is None:
                search.conclude([p[model] for p in partials])
        open_searches = [
            (s.wanted, m) for m, s in enumerate(self._searches) if s.answer is None and s.wanted is not None
        ]
        for (start, stop), group in groupby(sorted(open_searches), key=lambda entry: entry[0]):
            piece = self._models_of(look.block(self.operands[0], start, stop))
            for _, model in group:
                self._searches[model].finish(piece[model])
        self._finish()

    def _models_of(self, x: Array) -> Array:
        return np.broadcast_to(x, (len(self._searches), x.shape[-1]))

    def _finish(self) -> None:
        answers = [s.answer for s in self._searches if s.answer is not None]
        if len(answers) == len(self._searches):
            thresholds = np.array([t for t, _ in answers], self._keys)
            self.answer = (thresholds, np.array([c for _, c in answers], np.int64))


def ask(node: Expr, known: Value, shape: tuple[int, ...], precision: np.dtype[np.floating]) -> Question:
    """Return the question that a node asks; ``known`` is the value of its number argument, if it has one."""
    if node.op == "select":
        if node.along == "row":
            return RowSelect(node, known, shape, precision)
        return Select(node, known, prod(shape), precision)
    if node.op == "largest":
        return RowLargest(node, shape) if node.along == "row" else Largest(node)
    if node.along is not None:
        return RowSum(node, shape) if node.along == "row" else ColumnSum(node, shape)
    return Sum(node)
