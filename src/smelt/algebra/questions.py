"""Whole-tensor questions: how an answer grows out of blocks that any worker may do in any order.

The life of a question: ``prepare`` (may look at a few elements, may answer), then for each block ``open_block``,
``measure`` tile by tile, which leaves a partial; with all partials in block order ``conclude`` answers, or asks for
another pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Expr
from smelt.algebra.grid import LANES
from smelt.algebra.numbers import Value, sum_exactly
from smelt.algebra.selection import Bounds, Count, Selection

Array = NDArray[np.generic]
# Evaluates an operand on elements [start, stop): (stop − start,), or (models, stop − start).
Evaluate = Callable[[Expr, int, int], Array]


class Question(Protocol):
    """One question about one tensor."""

    node: Expr
    operands: tuple[Expr, ...]
    answer: Value | None

    def prepare(self, evaluate: Evaluate, whole: bool) -> None:
        """Get ready; ``whole`` says that the tensor has a single block."""

    def open_block(self, length: int) -> Any:
        """Return an empty partial for a block of ``length`` elements."""

    def measure(self, partial: Any, values: Sequence[Array]) -> None:
        """Add a tile of the operands to a partial; tiles come in order and start at multiples of 256."""

    def conclude(self, partials: Sequence[Any], evaluate: Evaluate) -> None:
        """Take all partials, in block order; ``answer`` is set unless another pass is needed."""


class Sum:
    """``total``, ``dot`` and ``gram``: 256 float64 lanes per block, folded in halves, blocks added exactly."""

    def __init__(self, node: Expr) -> None:
        self.node = node
        self.operands = node.args
        self.answer: Value | None = None
        self._models = node.models or 1
        self._sums = self._models * (self._models + 1) // 2 if node.op == "gram" else self._models

    def prepare(self, evaluate: Evaluate, whole: bool) -> None:
        """Nothing to prepare."""

    def open_block(self, length: int) -> NDArray[np.float64]:
        """Return the empty lanes, shape (sums, 256)."""
        return np.zeros((self._sums, LANES), np.float64)

    def measure(self, partial: NDArray[np.float64], values: Sequence[Array]) -> None:
        """Add a tile: element i of the block goes to lane i mod 256, in order."""
        with np.errstate(all="ignore"):
            for lanes, terms in zip(partial, self._terms(values), strict=True):
                whole = len(terms) // LANES * LANES
                for row in terms[:whole].reshape(-1, LANES):
                    lanes += row
                lanes[: len(terms) - whole] += terms[whole:]

    def conclude(self, partials: Sequence[NDArray[np.float64]], evaluate: Evaluate) -> None:
        """Fold the lanes of each block and add the blocks."""
        folded = [_fold_in_halves(lanes) for lanes in partials]
        sums = [sum_exactly(block[i] for block in folded) for i in range(self._sums)]
        if self.node.op == "gram":
            self.answer = _symmetric(sums, self._models)
        else:
            self.answer = np.float64(sums[0]) if self.node.models is None else np.array(sums, np.float64)

    def _terms(self, values: Sequence[Array]) -> list[NDArray[np.float64]]:
        wide = [np.asarray(v, np.float64).reshape(-1, v.shape[-1]) for v in values]
        if self.node.op == "gram":
            x = wide[0]
            return [x[i] * x[j] for i in range(self._models) for j in range(i + 1)]
        shaped = [np.broadcast_to(w, (self._models, w.shape[-1])) for w in wide]
        return list(shaped[0] * shaped[1] if self.node.op == "dot" else shaped[0])


class Select:
    """``kth_largest``: one search per model."""

    def __init__(self, node: Expr, count: Value, size: int, bounds: Bounds, precision: np.dtype[np.floating]) -> None:
        self.node = node
        self.operands = node.args[:1]
        self.answer: Value | None = None
        self._keys = np.dtype(f"u{precision.itemsize}")
        counts = np.broadcast_to(np.nan_to_num(np.asarray(count, np.float64)), (node.models or 1,))
        self._searches = [Selection(size, int(c), bounds, self._keys.itemsize * 8) for c in counts]

    def prepare(self, evaluate: Evaluate, whole: bool) -> None:
        """Sample the tensor, or answer at once."""
        look = lru_cache(maxsize=None)(lambda start, stop: self._models_of(evaluate(self.operands[0], start, stop)))
        for model, search in enumerate(self._searches):
            search.prepare(lambda start, stop, model=model: look(start, stop)[model], whole)  # type: ignore[misc]
        self._finish()

    def open_block(self, length: int) -> list[Count]:
        """Return an empty count per model."""
        return [Count() for _ in self._searches]

    def measure(self, partial: list[Count], values: Sequence[Array]) -> None:
        """Count a tile, model by model."""
        for search, count, x in zip(self._searches, partial, self._models_of(values[0]), strict=True):
            if search.answer is None:
                search.measure(count, x)

    def conclude(self, partials: Sequence[list[Count]], evaluate: Evaluate) -> None:
        """Let every open search draw its conclusion."""
        for model, search in enumerate(self._searches):
            if search.answer is None:
                search.conclude(
                    [p[model] for p in partials],
                    lambda start, stop, model=model: self._models_of(evaluate(self.operands[0], start, stop))[model],  # type: ignore[misc]
                )
        self._finish()

    def _models_of(self, x: Array) -> Array:
        return np.broadcast_to(x, (len(self._searches), x.shape[-1]))

    def _finish(self) -> None:
        answers = [s.answer for s in self._searches if s.answer is not None]
        if len(answers) == len(self._searches):
            thresholds = np.array([t for t, _ in answers], self._keys)
            self.answer = (thresholds, np.array([c for _, c in answers], np.int64))


def ask(node: Expr, known: Value, size: int, bounds: Bounds, precision: np.dtype[np.floating]) -> Question:
    """Return the question that a node asks; ``known`` is the value of its number argument, if it has one."""
    return Select(node, known, size, bounds, precision) if node.op == "select" else Sum(node)


def _fold_in_halves(lanes: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        while lanes.shape[1] > 1:
            half = lanes.shape[1] // 2
            lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def _symmetric(sums: Sequence[float], models: int) -> list[list[float]]:
    rows = [[0.0] * models for _ in range(models)]
    entries = iter(sums)
    for i in range(models):
        for j in range(i + 1):
            rows[i][j] = rows[j][i] = next(entries)
    return rows
