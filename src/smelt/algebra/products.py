"""What the sums are made of: the terms of ``total``, ``dot`` and ``gram`` in float64, and how lanes become a sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smelt.algebra.expressions import Expr
from smelt.algebra.numbers import Value


def sums_of(node: Expr) -> int:
    """Return how many sums a question asks for: one per model, or one per pair of models for ``gram``."""
    models = node.models or 1
    return models * (models + 1) // 2 if node.op == "gram" else models


def products(node: Expr, values: Sequence[NDArray[np.generic]]) -> list[NDArray[np.float64]]:
    """Return the terms of each sum, shape (length,): products are formed in float64."""
    models = node.models or 1
    wide = [np.asarray(v, np.float64).reshape(-1, v.shape[-1]) for v in values]
    if node.op == "gram":
        x = wide[0]
        return [x[i] * x[j] for i in range(models) for j in range(i + 1)]
    shaped = [np.broadcast_to(w, (models, w.shape[-1])) for w in wide]
    return list(shaped[0] * shaped[1] if node.op == "dot" else shaped[0])


def fold_in_halves(lanes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum over the last axis, whose length is a power of two, by adding its upper half to its lower."""
    with np.errstate(all="ignore"):
        while lanes.shape[-1] > 1:
            half = lanes.shape[-1] // 2
            lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]


def symmetric(node: Expr, sums: NDArray[np.float64]) -> Value:
    """Return sums, shape (sums, …), as the value of their question: a number, one per model, or a Gram matrix."""
    if node.op != "gram":
        return sums if node.models is not None else sums[0]
    models = node.models or 1
    matrix = np.empty((models, models, *sums.shape[1:]), np.float64)
    entries = iter(sums)
    for i in range(models):
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = next(entries)
    return matrix
