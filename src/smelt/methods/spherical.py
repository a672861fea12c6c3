"""Interpolation and averaging along great circles.

All of them lie in the span of their inputs: the dot products of the models, one pass, decide the coefficients; a second
pass combines.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from smelt.algebra.declare import PerModel, Positive, every, method
from smelt.algebra.elementary import acos, cos, sin
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import (
    Scope,
    absolute,
    arccos,
    dot,
    gram,
    nonzero,
    scalar_function,
    sine,
    square_root,
    sum_models,
    where,
)

# Closer to parallel than this, slerp is a straight line to within float32.
PARALLEL = 0.9995
# Dot products in float64 cannot tell smaller angles from 0, or from 180°.
SMALL_ANGLE = 1e-6
ALMOST_ONE = 1.0 - SMALL_ANGLE * SMALL_ANGLE / 2
# A tensor shorter than this share of the longest counts as zero: to bring it to their length overflows float32.
NO_LENGTH = 1e-30

Matrix = Sequence[Sequence[float]]


@method(
    "slerp",
    title="SLERP",
    paper="Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985",
    holds=("fixed point", "scale", "rotation"),
)
def slerp(a: Expr, b: Expr, *, t: float) -> Expr:
    """Go from one model (t = 0, the base) to another (t = 1) along the great circle, tensor by tensor.

    W = [sin((1 − t)Ω)·a + sin(tΩ)·b] / sin Ω, with Ω the angle between the flattened tensors. The coefficients are
    applied to the tensors as they are, so the length of the result is not interpolated. Where |cos Ω| > 0.9995, also
    for opposite tensors, and where one of the tensors is zero, W = (1 − t)·a + t·b.

    When to use it: to blend two models. Fine-tunes of one base are so nearly parallel that the straight line is what
    is usually computed; nuslerp with a base turns the differences instead, which have real angles.

    Args:
        t: 0 gives the base model, 1 the other; outside [0, 1] it extrapolates.

    Differences: of a zero tensor and another mergekit interpolates unit vectors; here the tensors.
    """
    return great_circle(a, b, t, "tensor", PARALLEL)


@method(
    "nuslerp",
    title="NuSLERP",
    paper="Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985",
    models=(2, 2),
    holds=("fixed point", "model order", "scale", "listed base"),
)
def nuslerp(
    models: Expr,
    base: Expr | None = None,
    *,
    weight: PerModel[float],
    nuslerp_flatten: bool = True,
    nuslerp_row_wise: bool = False,
) -> Expr:
    """Interpolate two models along the great circle by their weights; with a base, their differences from it.

    t = w₂ / (w₁ + w₂), and ½ where |w₁ + w₂| < 1e-6. Only vectors that are parallel or opposite to within 1e-6, and
    zero ones, are interpolated along the straight line. With a base model W = base + slerp(δ₁, δ₂; t), where the
    angles are large.

    When to use it: to blend two fine-tunes of one base; name the base, so that it is their edits that are turned.
    Edits of different tasks make large angles, and come out longer than in the mean. Without a base it is slerp under
    other names of its settings.

    Args:
        weight: share of each of the two models.
        nuslerp_flatten: whole tensors as vectors; otherwise each row or each column is a vector of its own.
        nuslerp_row_wise: with nuslerp_flatten: false, rows (along the last dimension) instead of columns.

    Differences: rows and columns are those of mergekit's documentation; its code takes them the other way round. A base
    listed among the models is an error there; here it does not count as one of the two.
    """
    mass = sum_models(weight)
    share = where(absolute(mass) < 1e-6, 0.5, weight[1] / where(absolute(mass) < 1e-6, 1.0, mass))
    scope: Scope = "tensor" if nuslerp_flatten else "row" if nuslerp_row_wise else "column"
    if base is None:
        return great_circle(models[0], models[1], share, scope, ALMOST_ONE)
    deltas = models - base
    return base + great_circle(deltas[0], deltas[1], share, scope, ALMOST_ONE)


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
        nonzero(sum_models(weight), "the weights sum to 0; set normalize_weights: false") if normalize_weights else 1.0
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
def karcher(models: Expr, *, max_iter: int = 10, tol: Positive = 1e-5) -> Expr:
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
    models: Expr, *, weight: PerModel[Positive] = every(1.0), max_iter: int = 100, tol: Positive = 1e-9
) -> Expr:
    """Take the point of least summed distance to the models, tensor by tensor: an average that outliers do not move.

    Weiszfeld's iteration from the weighted mean: every model counts by its weight over its distance. The steps are
    taken on the matrix of dot products.

    When to use it: to average many checkpoints of one task of which some may be bad. It joins no skills: it
    goes to where most models lie close together. Of two models it is the heavier one.

    Args:
        weight: share of each model.
        max_iter: the most steps.
        tol: relative change of the coefficients at which it stops.
    """
    return sum_models(median_coefficients(gram(models), weight, max_iter, tol) * models)


def great_circle(a: Expr, b: Expr, t: Expr | float, scope: Scope, limit: float) -> Expr:
    """Return a point on the great circle from ``a`` to ``b``; on the straight line where |cos Ω| exceeds ``limit``."""
    length = square_root(dot(a, a, scope)) * square_root(dot(b, b, scope))
    cosine = where(length > 0, dot(a, b, scope) / where(length > 0, length, 1.0), 1.0)
    bent = absolute(cosine) <= limit
    angle = arccos(where(bent, cosine, 0.0))
    whole = sine(angle)
    from_a = where(bent, sine((1.0 - t) * angle) / whole, 1.0 - t)
    from_b = where(bent, sine(t * angle) / whole, t)
    return from_a * a + from_b * b


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
    shares = normalized(weight)
    largest = max(products[i][i] for i in range(len(weight)))
    for _ in range(int(max_iter)):
        inner = [dot_of(row, shares) for row in products]
        centre = dot_of(shares, inner)
        squares = [products[i][i] - 2.0 * inner[i] + centre for i in range(len(weight))]
        # A model at the centre would count without bound; it counts as if it were a rounding error away.
        distances = [sqrt(max(square, 1e-15 * largest)) for square in squares]
        if not all(distance > 0 for distance in distances):
            return shares
        moved = normalized([w / d for w, d in zip(weight, distances, strict=True)])
        change = max(abs(m - s) for m, s in zip(moved, shares, strict=True))
        shares = moved
        if change < tol:
            break
    return shares


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
