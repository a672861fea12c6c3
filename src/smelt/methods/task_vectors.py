"""Arithmetic on task vectors, the differences δᵢ = θᵢ − θ₀ between fine-tuned models and their base.

The methods of this family differ in what they keep of each δᵢ (all: here; by magnitude: ``trimming``; at random:
``dropping``) and in whether the models elect a sign per entry before what is kept is added.
"""

from __future__ import annotations

from typing import Literal

from smelt.algebra.declare import PerModel, method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import absolute, norm, ratio, same_sign, sum_models, total, where

# What the kept entries are multiplied by: 1/probability, as the papers say; a factor that keeps the summed magnitude of
# the tensor ("l1"), as mergekit does since version 0.1; or nothing.
Rescale = Literal[True, False, "l1"]
Restore = Literal[False, "l1"]
Equalize = Literal[False, "l2"]
# What is smaller than this share of the whole counts as zero: to enlarge it to the whole overflows float32.
NOTHING = 1e-30


@method(
    "task_arithmetic",
    title="Task Arithmetic",
    paper="arXiv:2212.04089",
    holds=("fixed point", "model order", "scale", "translation", "rotation", "listed base"),
)
def task_arithmetic(
    base: Expr,
    models: Expr,
    *,
    weight: PerModel[float],
    normalize: bool = False,
    lambda_: float = 1.0,
    equalize: Equalize = False,
) -> Expr:
    """Add the weighted task vectors to the base: W = θ₀ + λ·Σ wᵢ·δᵢ. A negative weight unlearns.

    When to use it: first. In a study of four language models, twelve public fine-tunes each and sixteen benchmarks
    (arXiv:2511.21437) it was the only method of six that gained reliably. Weights of 0.3 to 1 are common; the
    sum of many task vectors at full strength leaves the region in which the model works.

    Args:
        weight: coefficient of each task vector; may be negative.
        normalize: divide by Σ wᵢ (by 1 where |Σ wᵢ| < 1e-8). With one model this cancels the weight, its sign included.
        lambda: scale of the whole edit.
        equalize: l2 first scales the task vectors of each tensor to their mean length, so that none dominates.

    Differences: none; the paper has one scale for all, lambda, and the weights are mergekit's.

    Reference: Ilharco et al., Editing Models with Task Arithmetic, ICLR 2023.
    """
    deltas = equalized(models - base, equalize)
    return base + combined(deltas, weight, False, normalize, lambda_)


def equalized(deltas: Expr, equalize: bool | str) -> Expr:
    """Return the task vectors, for ``l2`` all scaled to their mean Euclidean norm; zero ones stay zero."""
    if not equalize:
        return deltas
    lengths = norm(deltas)
    mean = sum_models(lengths) / float(len(deltas))
    there = lengths > NOTHING * mean
    return where(there, mean / where(there, lengths, 1.0), 1.0) * deltas


def combined(
    kept: Expr, weight: Expr, elect: bool, normalize: bool, lambda_: Expr | float, factor: Expr | float = 1.0
) -> Expr:
    """Return λ · Σ wᵢ·factorᵢ·keptᵢ, with ``elect`` only over the entries whose sign is that of their sum.

    Normalized, the sum is divided by the weights that took part: by Σ wᵢ, and with ``elect`` entry by entry by the
    weights of the models that agree.
    """
    if not elect:
        share = lambda_ * weight * factor
        if normalize:
            mass = sum_models(weight)
            share = share / where(absolute(mass) < 1e-8, 1.0, mass)
        return sum_models(share * kept)
    votes = weight * factor * kept
    agree = same_sign(votes, sum_models(votes))
    merged = sum_models(where(agree, votes, 0.0))
    return lambda_ * (ratio(merged, sum_models(where(agree, weight, 0.0))) if normalize else merged)


def restored(deltas: Expr, kept: Expr, rescale: bool | str) -> Expr | float:
    """Return the factor per model that gives what is kept the summed magnitude of the whole, for ``l1``; else 1."""
    if rescale != "l1":
        return 1.0
    whole, left = total(absolute(deltas)), total(absolute(kept))
    # Where nothing is kept there is nothing to restore.
    return where(left > NOTHING * whole, whole / where(left > 0, left, 1.0), 1.0)
