"""Methods for a base and one other model that take entries of the one or the other."""

from __future__ import annotations

from typing import Annotated

from smelt.algebra.declare import Bounds, method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import (
    absolute,
    exponential,
    floor,
    kth_largest,
    largest,
    logarithm,
    magnitude_at,
    maximum,
    sign,
    size,
    total,
    where,
)

# Half the logarithm of the ratio of two shares, below which its powers are used.
NEARLY_EQUAL = 1 / 16

Step = Annotated[float, Bounds(0.0)]


@method(
    "nearswap",
    title="NearSwap",
    paper="alchemonaut, NearSwap, 2024 (model card)",
    holds=("fixed point", "translation"),
)
def nearswap(a: Expr, b: Expr, *, t: Step) -> Expr:
    """Move every entry of the base towards the other model by t at most: W = a + clip(b − a, −t, t).

    When to use it: to take from another model only what is nearly equal anyway. Its author used t = 1e-4 with weights
    of 16 bits; above 2.5e-3 the result degraded. It does not join skills: entries that differ by more than t, which
    are those that make the skill, move by t and no further.

    Args:
        t: the largest step of an entry; 0 gives the base.

    Differences: none in meaning; mergekit floors |b − a| at 1e-6.
    """
    step = b - a
    return where(absolute(step) <= t, b, a + sign(step) * t)


@method(
    "arcee_fusion", title="Arcee Fusion", paper="Arcee AI, Arcee Fusion, 2025 (mergekit 0.1)", holds=("fixed point",)
)
def arcee_fusion(a: Expr, b: Expr) -> Expr:
    """Take from the other model the entries whose change matters most, and the base for all others.

    The importance of an entry is |b − a| times the Kullback–Leibler divergence of its row, softmax(b) from softmax(a)
    (each + 1e-8); entries from median + 1.5 × interquartile range on are taken. A vector is one row.

    When to use it: to carry the strongest edits of one fine-tune over, with no setting to tune. What lies below
    the threshold stays the base's; where differences are flat that is nearly everything.

    Differences: the quantiles are those of all entries, and the dtype is the output's; mergekit takes a random sample
    of tensors above a million entries, and writes float32.
    """
    divergence = maximum(total(divergence_terms(a, b), "row"), 0.0)
    importance = absolute(b - a) * divergence
    low, middle, high = (quantile(importance, q) for q in (0.25, 0.5, 0.75))
    return where(importance >= middle + 1.5 * (high - low), b, a)


def divergence_terms(a: Expr, b: Expr) -> Expr:
    """Return terms of the divergence of softmax(b) from softmax(a) along each row, none of them below 0.

    q·log(q/p) − q + p, of which the last two add up to nothing in a row. Fine-tunes differ so little that the two
    softmaxes are equal in all but the last digits of float32; so their difference is made of that of the tensors.
    """
    raised_a, raised_b = (exponential(x - largest(x, "row")) for x in (a, b))
    sum_a, sum_b = total(raised_a, "row"), total(raised_b, "row")
    before, after = raised_a / sum_a, raised_b / sum_b
    # log(after/before) = 2·half, and (after − before)/(after + before) = tanh(half).
    half = 0.5 * ((b - a) - (largest(b, "row") - largest(a, "row") + logarithm(sum_b / sum_a)))
    tangent = half / (1.0 + half * half / 3.0)
    change = where(absolute(half) < NEARLY_EQUAL, (before + after) * tangent, after - before)
    p, q = before + 1e-8, after + 1e-8
    # With s = change/(p + q), log(q/p) is 2·artanh(s), and what is left of the series is below 1e-6 of it.
    s = change / (p + q)
    series = s * s * (1.0 + s / 3.0 + s * s * ((5.0 + 3.0 * s + 3.0 * s * s) / 15.0))
    return where(absolute(s) < NEARLY_EQUAL, (p + q) * series, q * logarithm(q / p) - change)


def quantile(x: Expr, share: float) -> Expr:
    """Return a quantile of x ≥ 0, interpolated linearly between the two entries next to it."""
    place = share * (size() - 1.0)
    below = floor(place)
    at_low = where(below > 0, magnitude_at(kth_largest(x, size() - below)), -largest(-x))
    at_high = magnitude_at(kth_largest(x, maximum(size() - below - 1.0, 1.0)))
    return at_low + (place - below) * (at_high - at_low)
