"""Interpolation along great circles."""

from __future__ import annotations

from math import sqrt

from smelt.algebra.declare import method
from smelt.algebra.elementary import acos, sin
from smelt.algebra.expressions import Expr
from smelt.algebra.vocabulary import dot, scalar_function

# Closer to parallel than this the great circle is a straight line to within float32, and sin Ω too small to divide by.
PARALLEL = 0.9995


@scalar_function(returns=2)
def slerp_coefficients(t: float, aa: float, ab: float, bb: float) -> tuple[float, float]:
    """Return the coefficients of a and b from t and their dot products."""
    length = sqrt(aa) * sqrt(bb)
    cosine = ab / length if length > 0 else 1.0
    if not abs(cosine) <= PARALLEL:
        return 1.0 - t, t
    angle = float(acos(cosine))
    whole = float(sin(angle))
    return float(sin((1.0 - t) * angle)) / whole, float(sin(t * angle)) / whole


@method("slerp", title="SLERP", paper="Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985")
def slerp(a: Expr, b: Expr, *, t: float) -> Expr:
    """Go from one model (t = 0, the base) to another (t = 1) along the great circle, tensor by tensor.

    W = [sin((1 − t)Ω)·a + sin(tΩ)·b] / sin Ω, with Ω the angle between the flattened tensors. The coefficients are
    applied to the tensors as they are, so the length of the result is not interpolated. Where |cos Ω| > 0.9995, also
    for opposite tensors, and where one of the tensors is zero, W = (1 − t)·a + t·b. Fine-tunes of one base are so
    nearly parallel that this is usually what happens.

    Args:
        t: 0 gives the base model, 1 the other; outside [0, 1] it extrapolates.
    """
    from_a, from_b = slerp_coefficients(t, dot(a, a), dot(a, b), dot(b, b))
    return from_a * a + from_b * b
