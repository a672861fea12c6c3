"""Weighted averages of models."""

from __future__ import annotations

from smelt.algebra.declare import PerModel, method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import absolute, nonzero, sum_models, where


@method(
    "linear",
    title="Linear (model soup)",
    paper="arXiv:2203.05482",
    holds=("fixed point", "model order", "scale", "translation", "rotation"),
)
def linear(models: Expr, *, weight: PerModel[float], normalize: bool = True) -> Expr:
    """Average the models, each with its weight: W = Σ wᵢ·θᵢ / Σ wᵢ.

    The uniform soup of Wortsman et al. (2022) is equal weights. A listed base model is an ordinary input.

    When to use it: to average runs of one task with other seeds, data orders or settings: one bad run hurts the mean,
    so measure each of them first. Of models for different tasks it dilutes what each one learned; task_arithmetic has a
    weight for that. Models that do not come from one base, or strayed far from it, cannot be averaged at all.

    Args:
        weight: share of each model; may be negative.
        normalize: divide by the sum of the weights, so that only their proportions matter.

    Differences: with ``normalize`` and weights that sum to 0 mergekit writes infinities; here it is an error. The
    division is done on the weights, in float64, and not on the sum.

    Reference: Wortsman et al., Model soups: averaging weights of multiple fine-tuned models improves accuracy without
    increasing inference time, ICML 2022.
    """
    if normalize:
        mass = nonzero(
            without_cancelling(weight), "the weights sum to 0 and cannot be normalized; set normalize: false"
        )
        return sum_models(weight / mass * models)
    return sum_models(weight * models)


def without_cancelling(weight: Expr) -> Expr:
    """Return the sum of the weights, exactly 0 where it is what rounding leaves of weights that cancel."""
    mass = sum_models(weight)
    return where(absolute(mass) > 1e-8 * sum_models(absolute(weight)), mass, 0.0)
