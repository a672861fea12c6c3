"""Arithmetic on task vectors, the differences δᵢ = θᵢ − θ₀ between fine-tuned models and their base.

The four methods differ in what they keep of each δᵢ (all, the largest, a random share) and in whether the models elect
a sign per entry before their differences are added.
"""

from __future__ import annotations

from typing import Literal

from smelt.algebra.declare import Fraction, PerModel, every, method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import Noise, absolute, keep_largest, ratio, same_sign, sum_models, total, where

Rescale = Literal[True, False, "l1"]


@method("task_arithmetic", title="Task Arithmetic", paper="arXiv:2212.04089")
def task_arithmetic(
    base: Expr, models: Expr, *, weight: PerModel[float], normalize: bool = False, lambda_: float = 1.0
) -> Expr:
    """Add the weighted task vectors to the base: W = θ₀ + λ·Σ wᵢ·δᵢ. A negative weight unlearns.

    Args:
        weight: coefficient of each task vector; may be negative.
        normalize: divide by Σ wᵢ (by 1 where |Σ wᵢ| < 1e-8). With one model this cancels the weight, its sign included.
        lambda: scale of the whole edit.
    """
    return base + add_all(models - base, weight, normalize, lambda_)


@method("ties", title="TIES-Merging", paper="arXiv:2306.01708")
def ties(
    base: Expr,
    models: Expr,
    *,
    weight: PerModel[float],
    density: PerModel[Fraction] = every(1.0),
    normalize: bool = True,
    lambda_: float = 1.0,
    rescale: Literal[False, "l1"] = False,
) -> Expr:
    """Keep each task vector's largest entries, elect one sign per entry, average the entries that agree with it.

    Args:
        weight: vote and share of each task vector.
        density: share of entries kept per tensor: exactly ⌊density · elements⌋, the ones of largest magnitude, of equal
            ones those with the lowest index.
        normalize: divide each entry by the summed weights of the models that agree (a disjoint mean), else add up.
        lambda: scale of the whole edit.
        rescale: ``l1`` scales each trimmed task vector back to the summed magnitude it had before trimming.

    Differences from the paper: it trims over the whole model (here, as in mergekit, per tensor), elects on unweighted
    differences and divides by a count. Where the votes cancel exactly, + is elected (paper: the sign of the majority in
    the whole model).
    """
    deltas = models - base
    kept = keep_largest(deltas, density)
    return base + add_agreeing(
        kept, weight * restoring_factor(deltas, kept, rescale, density), normalize, lambda_, weight
    )


@method("dare_linear", title="DARE", paper="arXiv:2311.03099")
def dare_linear(
    base: Expr,
    models: Expr,
    rng: Noise,
    *,
    weight: PerModel[float],
    density: PerModel[Fraction] = every(1.0),
    rescale: Rescale = True,
    normalize: bool = False,
    lambda_: float = 1.0,
) -> Expr:
    """Drop entries of each task vector at random, rescale what is left, add up: W = θ₀ + λ·Σ wᵢ·mᵢ∘δᵢ/qᵢ.

    The expectation is that of task arithmetic; each entry gains noise of variance (wᵢδᵢ)²·(1 − q)/q.

    Args:
        weight: coefficient of each task vector.
        density: probability q with which an entry is kept (the paper's 1 − p).
        rescale: ``true`` divides by the density, as in the paper; ``l1`` matches the summed magnitude before and after
            dropping, as mergekit does since version 0.1; ``false`` leaves the kept entries as they are.
        normalize: divide by Σ wᵢ.
        lambda: scale of the whole edit.
    """
    deltas = models - base
    kept = where(rng.uniform(deltas) < density, deltas, 0.0)
    return base + add_all(kept, weight, normalize, lambda_, restoring_factor(deltas, kept, rescale, density))


@method("dare_ties", title="DARE with sign election", paper="arXiv:2311.03099")
def dare_ties(
    base: Expr,
    models: Expr,
    rng: Noise,
    *,
    weight: PerModel[float],
    density: PerModel[Fraction] = every(1.0),
    rescale: Rescale = True,
    normalize: bool = False,
    lambda_: float = 1.0,
) -> Expr:
    """Drop entries of each task vector at random, rescale, then elect one sign per entry and add what agrees with it.

    Args:
        weight: vote and share of each task vector.
        density: probability q with which an entry is kept (the paper's 1 − p).
        rescale: ``true`` divides by the density, as in the paper; ``l1`` matches the summed magnitude before and after
            dropping, as mergekit does since version 0.1; ``false`` leaves the kept entries as they are.
        normalize: divide each entry by the summed weights of the models that agree. With few survivors per entry this
            enlarges the edit by up to 1/q.
        lambda: scale of the whole edit.

    Differences from the paper: it runs the whole of TIES, trimming included, after dropping; here, as in mergekit, only
    the election follows.
    """
    deltas = models - base
    kept = where(rng.uniform(deltas) < density, deltas, 0.0)
    return base + add_agreeing(
        kept, weight * restoring_factor(deltas, kept, rescale, density), normalize, lambda_, weight
    )


def add_all(deltas: Expr, weight: Expr, normalize: bool, lambda_: float, factor: Expr | float = 1.0) -> Expr:
    """Return λ · Σ wᵢ·factorᵢ·δᵢ, over Σ wᵢ if normalized."""
    if normalize:
        mass = sum_models(weight)
        weight = weight / where(absolute(mass) < 1e-8, 1.0, mass)
    return sum_models(lambda_ * weight * factor * deltas)


def add_agreeing(deltas: Expr, scale: Expr, normalize: bool, lambda_: float, weight: Expr) -> Expr:
    """Return λ · Σ of the entries scaleᵢ·δᵢ that have the sign of their sum, over the wᵢ of those if normalized."""
    votes = scale * deltas
    agree = same_sign(votes, sum_models(votes))
    merged = sum_models(where(agree, votes, 0.0))
    return lambda_ * (ratio(merged, sum_models(where(agree, weight, 0.0))) if normalize else merged)


def restoring_factor(deltas: Expr, kept: Expr, rescale: bool | str, density: Expr) -> Expr | float:
    """Return the number by which the kept entries of each model are multiplied."""
    if rescale == "l1":
        return ratio(total(absolute(deltas)), total(absolute(kept)))
    return where(density > 0, 1.0 / density, 0.0) if rescale else 1.0
