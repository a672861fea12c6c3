"""Task vectors of which entries are dropped at random."""

from __future__ import annotations

from typing import Annotated

from smelt.algebra.declare import Bounds, Fraction, PerModel, every, method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import Noise, maximum, nonzero, rank, size, where
from smelt.methods.task_vectors import Equalize, Rescale, combined, equalized, restored

STEP = 2.0**-24  # between the values of a uniform

HalfWidth = Annotated[float, Bounds(0.0, 0.5)]


@method(
    "dare_linear", title="DARE", paper="arXiv:2311.03099", holds=("fixed point", "scale", "translation", "listed base")
)
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
    equalize: Equalize = False,
) -> Expr:
    """Drop entries of each task vector at random, rescale what is left, add up: W = θ₀ + λ·Σ wᵢ·mᵢ∘δᵢ/qᵢ.

    When to use it: where task vectors are small (supervised fine-tuning changes weights by about 0.002), so that most
    entries can go. The expectation is that of task arithmetic, and each entry gains noise of variance
    (wᵢδᵢ)²·(1 − q)/q; large differences, as after continued pre-training, do not survive low densities, and a merge
    that is merged again in this way gains the noise twice.

    Args:
        weight: coefficient of each task vector.
        density: probability q with which an entry is kept (the paper's 1 − p).
        rescale: true divides by the density, as in the paper; l1 matches the summed magnitude before and after
            dropping, as mergekit does since version 0.1; false leaves the kept entries as they are.
        normalize: divide by Σ wᵢ.
        lambda: scale of the whole edit.
        equalize: l2 first scales the task vectors of each tensor to their mean length.

    Differences: the masks of mergekit move with the order of the models, the device and the list of tensors; here they
    depend on seed, place of the model, name of the tensor and entry.

    Reference: Yu et al., Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch,
    ICML 2024.
    """
    return base + dropped(models - base, rng, density, 0.0, weight, False, rescale, normalize, lambda_, equalize)


@method(
    "dare_ties",
    title="DARE with sign election",
    paper="arXiv:2311.03099",
    holds=("fixed point", "scale", "translation", "listed base"),
)
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
    equalize: Equalize = False,
) -> Expr:
    """Drop entries of each task vector at random, rescale, elect one sign per entry, add what agrees with it.

    When to use it: like dare_linear, for small differences, where the models pull in different directions. With
    large differences, and in small models, keep the density near 1.

    Args:
        weight: vote and share of each task vector.
        density: probability q with which an entry is kept (the paper's 1 − p).
        rescale: true divides by the density, as in the paper; l1 matches the summed magnitude before and after
            dropping, as mergekit does since version 0.1; false leaves the kept entries as they are.
        normalize: divide each entry by the summed weights of the models that agree. With few survivors per entry this
            enlarges the edit by up to 1/q.
        lambda: scale of the whole edit.
        equalize: l2 first scales the task vectors of each tensor to their mean length.

    Differences: the paper runs the whole of TIES, trimming included, after dropping; here, as in mergekit, only the
    election follows. A NaN agrees with no sign.

    Reference: Yu et al., Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch,
    ICML 2024.
    """
    return base + dropped(models - base, rng, density, 0.0, weight, True, rescale, normalize, lambda_, equalize)


@method("della", title="DELLA", paper="arXiv:2406.11617", holds=("fixed point", "scale", "translation", "listed base"))
def della(
    base: Expr,
    models: Expr,
    rng: Noise,
    *,
    weight: PerModel[float],
    density: PerModel[Fraction] = every(1.0),
    epsilon: PerModel[HalfWidth] = every(0.15),
    rescale: Rescale = True,
    normalize: bool = True,
    lambda_: float = 1.0,
    equalize: Equalize = False,
) -> Expr:
    """Drop small entries more often than large ones, rescale, elect one sign per entry, average what agrees.

    Within each row, the entry of rank r (0 the smallest) of n is kept with probability
    (q − ε) + 2ε·r/(n − 1); a row of one entry with probability q. At density 1 everything is kept, at 0 nothing.

    When to use it: like dare_ties; at the same density it keeps more of a task vector where differences are
    heavy-tailed, and little more where they are flat. Election and dropping pay against plain task arithmetic with
    heavy tails, and cost with flat differences (short runs of Adam).

    Args:
        weight: vote and share of each task vector.
        density: mean probability q with which an entry is kept.
        epsilon: half the range of probabilities; q − ε and q + ε must lie strictly between 0 and 1.
        rescale: true divides each kept entry by its own probability, as in the paper; l1 matches the summed
            magnitude before and after dropping, as mergekit does since version 0.1; false does nothing.
        normalize: divide each entry by the summed weights of the models that agree, else add up.
        lambda: scale of the whole edit.
        equalize: l2 first scales the task vectors of each tensor to their mean length.

    Differences: rows run along the last dimension, vectors are one row; mergekit ranks along dimension 1 of larger
    tensors, and fails for rows of one entry. The paper's window is 2ε.

    Reference: Deep, Bhardwaj and Poria, DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based
    Sampling, 2024.
    """
    return base + dropped(models - base, rng, density, epsilon, weight, True, rescale, normalize, lambda_, equalize)


@method(
    "della_linear",
    title="DELLA without election",
    paper="arXiv:2406.11617",
    holds=("fixed point", "scale", "translation", "listed base"),
)
def della_linear(
    base: Expr,
    models: Expr,
    rng: Noise,
    *,
    weight: PerModel[float],
    density: PerModel[Fraction] = every(1.0),
    epsilon: PerModel[HalfWidth] = every(0.15),
    rescale: Rescale = True,
    normalize: bool = False,
    lambda_: float = 1.0,
    equalize: Equalize = False,
) -> Expr:
    """Drop small entries more often than large ones, rescale, add up.

    Within each row, the entry of rank r (0 the smallest) of n is kept with probability
    (q − ε) + 2ε·r/(n − 1); a row of one entry with probability q. At density 1 everything is kept, at 0 nothing.

    When to use it: like dare_linear, whose expectation it shares, with less noise where differences are heavy-tailed.
    With flat differences it gains nothing over dare_linear, and takes longer.

    Args:
        weight: coefficient of each task vector.
        density: mean probability q with which an entry is kept.
        epsilon: half the range of probabilities; q − ε and q + ε must lie strictly between 0 and 1.
        rescale: true divides each kept entry by its own probability, as in the paper; l1 matches the summed
            magnitude before and after dropping, as mergekit does since version 0.1; false does nothing.
        normalize: divide by Σ wᵢ.
        lambda: scale of the whole edit.
        equalize: l2 first scales the task vectors of each tensor to their mean length.

    Differences: rows run along the last dimension, vectors are one row; mergekit ranks along dimension 1 of larger
    tensors, and fails for rows of one entry. The paper elects signs and has no form without; its window is 2ε.

    Reference: Deep, Bhardwaj and Poria, DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based
    Sampling, 2024.
    """
    return base + dropped(models - base, rng, density, epsilon, weight, False, rescale, normalize, lambda_, equalize)


def dropped(
    deltas: Expr,
    rng: Noise,
    density: Expr,
    epsilon: Expr | float,
    weight: Expr,
    elect: bool,
    rescale: bool | str,
    normalize: bool,
    lambda_: float,
    equalize: bool | str,
) -> Expr:
    """Return the edit of DARE (``epsilon`` 0) and DELLA."""
    deltas = equalized(deltas, equalize)
    probability = at_random(density) if epsilon == 0.0 else by_rank(deltas, density, epsilon)
    kept = where(rng.uniform(deltas) < probability, deltas, 0.0)
    factor = restored(deltas, kept, rescale)
    if rescale is True:
        inverse = where(probability > 0, 1.0 / probability, 0.0)
        if epsilon == 0.0:
            factor = inverse
        else:
            kept = inverse * kept
    return combined(kept, weight, elect, normalize, lambda_, factor)


def at_random(density: Expr) -> Expr:
    """Return the density as a probability: uniforms are multiples of 2⁻²⁴, so nothing between 0 and that can be had."""
    possible = (density <= 0) | (density >= STEP)
    return density * nonzero(where(possible, 1.0, 0.0), "density must be 0 or at least 2**-24 (about 6e-8)")


def by_rank(deltas: Expr, density: Expr, epsilon: Expr | float) -> Expr:
    """Return the probability with which each entry is kept: it rises with the rank of its magnitude in its row."""
    inside = (density - epsilon >= STEP) & (density + epsilon < 1)
    extreme = (density <= 0) | (density >= 1)
    allowed = nonzero(where(inside | extreme, 1.0, 0.0), "density ± epsilon must lie strictly between 0 and 1")
    width = where(extreme, 0.0, epsilon) * allowed
    entries = size("row")
    slope = where(entries > 1, 2.0 * width / maximum(entries - 1.0, 1.0), 0.0)
    lowest = where(entries > 1, density - width, density)
    return lowest + slope * rank(deltas)
