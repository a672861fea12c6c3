"""Averages of models that were fine-tuned from one base on the same task."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from smelt.algebra.declare import method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import gram, scalar_function, sum_models


@method(
    "model_stock",
    title="Model Stock",
    paper="arXiv:2403.19522",
    models=(2, None),
    holds=("fixed point", "model order", "scale", "translation", "listed base"),
)
def model_stock(base: Expr, models: Expr, *, filter_wise: bool = False) -> Expr:
    """Go from the base towards the mean of the models as far as they agree: W = θ₀ + t·mean δᵢ.

    t = N·cos θ / (1 + (N − 1)·cos θ), with cos θ the mean cosine between the task vectors of a tensor (eq. 6 of the
    paper), and t in [0, 1]. Models that agree (cos θ = 1) give their mean, models at right angles the base.

    When to use it: for two or more fine-tunes on the same task that differ in seed or settings. Task vectors of
    different tasks are often nearly at right angles: little more than the base comes out. On public fine-tunes of
    language models, which differ in task, it brought no reliable gain (arXiv:2511.21437).

    Args:
        filter_wise: one t per row (along the last dimension) and not one per tensor.

    Differences: the paper assumes one angle for all pairs; here, as in mergekit, it is their mean cosine. mergekit
    extrapolates where the mean cosine is negative, and returns the base where task vectors are short (norms whose
    product is below 1e-6); here t is clamped, and only a task vector of length 0 counts as at right angles.

    Reference: Jang, Yun and Han, Model Stock: All we need is just a few fine-tuned models, ECCV 2024.
    """
    deltas = models - base
    (share,) = stock_share(gram(deltas, "row" if filter_wise else "tensor"))
    return base + share / float(len(deltas)) * sum_models(deltas)


@scalar_function(returns=1)
def stock_share(products: Sequence[Sequence[float]]) -> tuple[float]:
    """Return t from the dot products of the task vectors."""
    count = len(products)
    cosines = 0.0
    for i in range(count):
        for j in range(i):
            length = sqrt(products[i][i]) * sqrt(products[j][j])
            cosines += products[i][j] / length if length > 0 else 0.0
    mean = cosines / (count * (count - 1) / 2)
    if not mean > 0:
        return (0.0,)
    return (min(count * mean / (1.0 + (count - 1) * mean), 1.0),)
