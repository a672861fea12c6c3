"""Means of any number of models that are found from their dot products.

All of them lie in the span of their inputs: the dot products of the models, one pass, decide the coefficients; a second
pass combines.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Annotated

from smelt.algebra.declare import Bounds, PerModel, Positive, every, method
from smelt.algebra.elementary import acos, cos, sin
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import gram, nonzero, scalar_function, sum_models
from smelt.methods.soups import without_cancelling

# Dot products in float64 cannot tell smaller angles from 0, or from 180°.
SMALL_ANGLE = 1e-6
# A tensor shorter than this share of the longest counts as zero: to bring it to their length overflows float32.
NO_LENGTH = 1e-30
# What rounding leaves of the difference of two equal squared lengths, as a share of them.
ROUNDING = 1e-15

Matrix = Sequence[Sequence[float]]
Steps = Annotated[int, Bounds(1.0)]


@method(
    "multislerp",
    title="Multi-SLERP",
    paper="goddard, Multi-SLERP, 2025 (model card)",
    holds=("fixed point", "model order", "scale", "rotation", "listed base"),
)
def multislerp(
    models: Expr,
    base: Expr | None = None,
    *,
    weight: PerModel[float],
    normalize_weights: bool = True,
    eps: Positive = 1e-8,
) -> Expr:
    """Take the weighted mean direction of the models at the weighted mean length; with a base, of their differences.

    W = (Σ wᵢ‖θᵢ‖) · m / ‖m‖, m = Σ wᵢ·θᵢ/‖θᵢ‖. The method is written as a step in the tangent space at m; with the
    same weights in both places that step is exactly zero, so this is all of it. Zero tensors have no direction but
    count in the length. Where the directions cancel (‖m‖ < eps) it is the weighted mean.

    When to use it: to blend three or more fine-tunes by direction; name the base, so that it is their edits that
    count. Without one, fine-tunes are so nearly parallel that the result is their mean. Two models at equal weights
    give slerp's direction.

    Args:
        weight: share of each model.
        normalize_weights: divide the weights by their sum.
        eps: length of m below which the directions count as cancelling; 1e-6 of the largest weight at least.

    Differences: where the directions of three and more models cancel mergekit stops with an error.
    """
    mass = (
        nonzero(without_cancelling(weight), "the weights sum to 0; set normalize_weights: false")
        if normalize_weights
        else 1.0
    )
    x = models if base is None else models - base
    merged = sum_models(mean_direction(gram(x), weight / mass, eps) * x)
    return merged if base is None else base + merged


@method(
    "karcher",
    title="Karcher mean",
    paper="arXiv:2603.04972",
    holds=("fixed point", "model order", "scale", "rotation"),
)
def karcher(models: Expr, *, max_iter: Steps = 10, tol: Positive = 1e-5) -> Expr:
    """Average the directions of the models on the sphere (the point of least squared angle), at their mean length.

    From the normalised mean u, u ← cos‖T‖·u + sin‖T‖·T/‖T‖ with T = Σ (θᵢ/sin θᵢ)(uᵢ − cos θᵢ·u)/N, θᵢ the angle to
    model i, until ‖T‖ < tol or after max_iter steps. Zero tensors have no direction but count in the mean length; where
    the directions cancel it is the plain mean. The steps are taken on the matrix of dot products.

    When to use it: for models that lie far apart, where a mean in a straight line shrinks. Fine-tunes of one base lie
    so close together that it is their mean; linear gives that at half the reading, and takes weights.

    Args:
        max_iter: the most steps.
        tol: length of a step, in radians, at which it stops.

    Differences: a base model that is not listed takes no part; mergekit averages it in.

    Reference: Wang, Ye and Yin, Functionality-Oriented LLM Merging on the Fisher–Rao Manifold, 2026.
    """
    return sum_models(karcher_coefficients(gram(models), max_iter, tol) * models)


@method(
    "geometric_median",
    title="Geometric median",
    paper="Weiszfeld, Sur le point pour lequel la somme des distances de n points donnés est minimum, 1937",
    holds=("fixed point", "model order", "scale", "translation", "rotation"),
)
def geometric_median(
    models: Expr, *, weight: PerModel[Positive] = every(1.0), max_iter: Steps = 100, tol: Positive = 1e-9
) -> Expr:
    """Take the point of least summed distance to the models, tensor by tensor: an average that outliers do not move.

    A model is the median itself where the others pull it by less than its weight, as one that has more than half of all
    weight. Else Weiszfeld's iteration from the weighted mean: every model counts by its weight over its distance. Both
    work on the matrix of dot products, so distances below 1e-7 of the models' lengths are not told from 0.

    When to use it: to average many checkpoints of one task of which some may be bad. It joins no skills: it
    goes to where most models lie close together. Of two models it is the heavier
    one, and of two equal weights their mean.

    Args:
        weight: share of each model.
        max_iter: the most steps.
        tol: relative change of the coefficients at which it stops.
    """
    return sum_models(median_coefficients(gram(models), weight, max_iter, tol) * models)


@scalar_function(returns="models")
def mean_direction(products: Matrix, weight: Sequence[float], eps: float) -> list[float]:
    """Return the coefficients of (Σ wᵢ‖xᵢ‖)·m/‖m‖, m = Σ wᵢ·xᵢ/‖xᵢ‖."""
    lengths = [sqrt(products[i][i]) for i in range(len(weight))]
    shares = [w / n if n > NO_LENGTH * max(lengths) else 0.0 for w, n in zip(weight, lengths, strict=True)]
    length = sqrt(max(quadratic(products, shares), 0.0))
    if not length >= max(eps, SMALL_ANGLE * max(abs(w) for w in weight)):
        return list(weight)
    scale = dot_of(weight, lengths) / length
    return [scale * share for share in shares]


@scalar_function(returns="models")
def karcher_coefficients(products: Matrix, max_iter: float, tol: float) -> list[float]:
    """Return the coefficients of the Karcher mean."""
    count = len(products)
    lengths = [sqrt(products[i][i]) for i in range(count)]
    there = [i for i in range(count) if lengths[i] > NO_LENGTH * max(lengths)]
    if not there:
        return [1.0 / count] * count
    cosines = [[products[i][j] / lengths[i] / lengths[j] for j in there] for i in there]
    direction = unit(cosines, [1.0] * len(there))
    if direction is None:
        return [1.0 / count] * count
    for _ in range(int(max_iter)):
        step = karcher_step(cosines, direction)
        size = sqrt(max(quadratic(cosines, step), 0.0))
        if size < tol:
            break
        forward = float(sin(size)) / size
        direction = [float(cos(size)) * u + forward * s for u, s in zip(direction, step, strict=True)]
        direction = unit(cosines, direction) or direction
    mean_length = dot_of(lengths, [1.0] * count) / count
    found = dict(zip(there, direction, strict=True))
    return [mean_length * found[i] / lengths[i] if i in found else 0.0 for i in range(count)]


def karcher_step(cosines: Matrix, direction: Sequence[float]) -> list[float]:
    """Return T as coefficients of the unit vectors."""
    inner = [min(max(dot_of(row, direction), -1.0), 1.0) for row in cosines]
    pulls = []
    for cosine in inner:
        angle = float(acos(cosine))
        sine_of = float(sin(angle))
        pulls.append((angle / sine_of if sine_of > SMALL_ANGLE else 1.0) / len(inner))
    along = dot_of(pulls, inner)
    return [pull - along * u for pull, u in zip(pulls, direction, strict=True)]


@scalar_function(returns="models")
def median_coefficients(products: Matrix, weight: Sequence[float], max_iter: float, tol: float) -> list[float]:
    """Return the coefficients of the geometric median, which sum to 1."""
    each = range(len(weight))
    for i in each:
        if is_median(products, weight, i):
            return [1.0 if j == i else 0.0 for j in each]
    shares = normalized(weight)
    # Seen from the model in the middle, dot products are small where distances are; one far away spoils only its own.
    middle = min(each, key=lambda i: dot_of(weight, distances_from(products, i)))
    seen = seen_from(products, middle)
    nearest = [sqrt(ROUNDING * (products[i][i] + products[middle][middle])) for i in each]
    for _ in range(int(max_iter)):
        inner = [dot_of(row, shares) for row in seen]
        centre = dot_of(shares, inner)
        squares = [seen[i][i] - 2.0 * inner[i] + centre for i in each]
        # A model at the centre would count without bound; it counts as if it were a rounding error away.
        distances = [max(sqrt(max(square, 0.0)), least) for square, least in zip(squares, nearest, strict=True)]
        if not all(distance > 0 for distance in distances):
            return shares
        moved = normalized([w / d for w, d in zip(weight, distances, strict=True)])
        # Of each share, for the smallest may be that of the model whose distance is largest.
        change = max(abs(m - s) / m for m, s in zip(moved, shares, strict=True))
        shares = moved
        if change < tol:
            break
    return shares


def is_median(products: Matrix, weight: Sequence[float], i: int) -> bool:
    """Say whether model ``i`` is the only median: the others pull it by less than its weight and its copies'."""
    distances = distances_from(products, i)
    own = dot_of(weight, [0.0 if d > 0 else 1.0 for d in distances])
    pulls = [w / d if d > 0 else 0.0 for w, d in zip(weight, distances, strict=True)]
    # Of pulls as strong as the weight, those of two equal models, there are more medians than this one.
    return sqrt(max(quadratic(seen_from(products, i), pulls), 0.0)) < own * (1.0 - SMALL_ANGLE)


def distances_from(products: Matrix, i: int) -> list[float]:
    """Return the distance of each model from model ``i``, 0 where it is within rounding."""
    squares = [products[j][j] - 2.0 * products[i][j] + products[i][i] for j in range(len(products))]
    least = [ROUNDING * (products[j][j] + products[i][i]) for j in range(len(products))]
    return [sqrt(square) if square > bound else 0.0 for square, bound in zip(squares, least, strict=True)]


def seen_from(products: Matrix, i: int) -> list[list[float]]:
    """Return the dot products of the differences from model ``i``."""
    return [[(p - products[i][k]) - (row[i] - products[i][i]) for k, p in enumerate(row)] for row in products]


def unit(products: Matrix, coefficients: Sequence[float]) -> list[float] | None:
    """Return the coefficients scaled to a vector of length 1, ``None`` for one of no length."""
    length = sqrt(max(quadratic(products, coefficients), 0.0))
    return [c / length for c in coefficients] if length > SMALL_ANGLE else None


def quadratic(products: Matrix, coefficients: Sequence[float]) -> float:
    """Return the squared length of a combination of vectors from their dot products."""
    return dot_of(coefficients, [dot_of(row, coefficients) for row in products])


def normalized(values: Sequence[float]) -> list[float]:
    """Return the values over their sum."""
    whole = dot_of(values, [1.0] * len(values))
    return [v / whole for v in values]


def dot_of(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Σ xᵢ·yᵢ, added in order."""
    total = 0.0
    for a, b in zip(x, y, strict=True):
        total += a * b
    return total
