"""Interpolation of two models along a great circle.

The dot products of the two, one pass, decide the coefficients; a second pass combines.
"""

from __future__ import annotations

from smelt.algebra.declare import PerModel, method
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import Scope, absolute, arccos, dot, sine, square_root, sum_models, where

# Closer to parallel than this, slerp is a straight line to within float32.
PARALLEL = 0.9995
# Dot products in float64 cannot tell smaller angles than 1e-6 from 0, or from 180°.
ALMOST_ONE = 1.0 - 1e-12 / 2
# Where more than this many times the way is asked for, a sine cannot be computed any more.
FARTHEST = 2.0**18


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
    zero ones, are interpolated along the straight line; so is everything where |t| > 2¹⁸. With a base model
    W = base + slerp(δ₁, δ₂; t), where the angles are large.

    When to use it: to blend two fine-tunes of one base; name the base, so that it is their edits that are turned.
    Edits of different tasks make large angles, and come out longer than in the mean. Without a base it is slerp under
    other names of its settings.

    Args:
        weight: share of each of the two models.
        nuslerp_flatten: whole tensors as vectors; otherwise each row or each column is a vector of its own. A
            tensor of one dimension is one vector in any case; of a convolution, rows run along the last dimension.
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


def great_circle(a: Expr, b: Expr, t: Expr | float, scope: Scope, limit: float) -> Expr:
    """Return a point on the great circle from ``a`` to ``b``.

    On the straight line where |cos Ω| exceeds ``limit``, or |t| 2¹⁸.
    """
    length = square_root(dot(a, a, scope)) * square_root(dot(b, b, scope))
    cosine = where(length > 0, dot(a, b, scope) / where(length > 0, length, 1.0), 1.0)
    bent = (absolute(cosine) <= limit) & (absolute(t) <= FARTHEST)
    angle = arccos(where(bent, cosine, 0.0))
    whole = sine(angle)
    from_a = where(bent, sine((1.0 - t) * angle) / whole, 1.0 - t)
    from_b = where(bent, sine(t * angle) / whole, t)
    return from_a * a + from_b * b
