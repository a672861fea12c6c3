"""Elementary functions in float64 with the same bits on every machine.

They consist of IEEE + − × ÷ √, comparison, selection, and the exact rint, floor, frexp and ldexp. A body is one
straight line of these, so it reads the same for a number, for an array of any shape (the answer has that shape), and
for a compiler of scalar code. Every select keeps the values of its untaken side finite, so nothing warns.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Real: TypeAlias = Any  # a float64, or an array of them

# A constant in parts, the first ones short enough for their product with a whole number k to be exact.
LN2_PARTS = (0.6931471805592082, 7.371002565167799e-13)  # 40 bits: |k| < 2^13
PI_2_PARTS = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)  # 33: |k| ≤ 2^20
# A constant as the nearest float64 and what is missing from it.
PI = 3.141592653589793
PI_2 = 1.5707963267948966
PI_2_REST = 6.123233995736766e-17

LARGEST_EXPONENT = 709.782712893384  # exp of the next float64 overflows
LARGEST_ANGLE = 2.0**20

# Taylor coefficients, highest power first; the first term left out is below 2^-57 of the result.
EXP = (
    1 / 6227020800,
    1 / 479001600,
    1 / 39916800,
    1 / 3628800,
    1 / 362880,
    1 / 40320,
    1 / 5040,
    1 / 720,
    1 / 120,
    1 / 24,
    1 / 6,
    1 / 2,
)
LOG = (1 / 23, 1 / 21, 1 / 19, 1 / 17, 1 / 15, 1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3)
SIN = (1 / 355687428096000, -1 / 1307674368000, 1 / 6227020800, -1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120, -1 / 6)
COS = (1 / 20922789888000, -1 / 87178291200, 1 / 479001600, -1 / 3628800, 1 / 40320, -1 / 720, 1 / 24)

# Chebyshev fits by mpmath.chebyfit with 60 digits, 13 coefficients, of
# (asin(√z)/√z − 1)/z on [0, 1/4] and (1 − tanh(√z)/√z)/z on [0, 9/16]; error × z is below 7e-18.
ASIN = (
    0.028757851367421566,
    -0.014851887071247204,
    0.01740087944269402,
    0.005457506718640358,
    0.01032281435018578,
    0.011479177415184906,
    0.013971212973552933,
    0.017352392720869973,
    0.02237217294214989,
    0.030381944138531247,
    0.04464285714635543,
    0.07499999999998433,
    0.16666666666666669,
)
TANH = (
    1.6408599646831444e-06,
    -1.0048053928129499e-05,
    3.449472469998217e-05,
    -9.42476297649358e-05,
    0.00023809406936979282,
    -0.0005897469986953327,
    0.0014557818253310693,
    -0.0035921213885060418,
    0.008863234987439102,
    -0.021869488509711037,
    0.05396825396758208,
    -0.13333333333332661,
    0.3333333333333333,
)


def exp(x: Real) -> Real:
    """Return e to the power of ``x``, to within 1 ulp; infinity above 709.78, subnormals and 0 below −708.4."""
    x = np.float64(x)
    inside = np.where((x >= -746.0) & (x <= LARGEST_EXPONENT), x, 0.0)
    k = np.rint(inside * 1.4426950408889634)
    high, low = inside - k * LN2_PARTS[0], k * LN2_PARTS[1]
    r = high - low
    mantissa = 1.0 + (high + (r * r * _polynomial(r, EXP) - low))
    # In two exact steps and one rounded product, because ldexp does not round subnormals on every platform.
    first = np.floor(k * 0.5)
    scale = np.ldexp(np.float64(1.0), np.int32(k - first))
    value = np.ldexp(mantissa, np.int32(first)) * scale
    value = np.where(x > LARGEST_EXPONENT, np.inf, np.where(x < -746.0, 0.0, value))
    return +np.where(x != x, x, value)  # the plus makes a scalar of a 0-dimensional array


def log(x: Real) -> Real:
    """Return the natural logarithm of ``x``, to within 2 ulp; −infinity for 0 and −0, NaN below."""
    x = np.float64(x)
    mantissa, exponent = np.frexp(np.where((x > 0.0) & (x < np.inf), x, 1.0))
    below = mantissa < 0.7071067811865476
    f = np.where(below, mantissa + mantissa, mantissa) - 1.0
    k = np.where(below, exponent - 1.0, exponent)
    # With s = f/(2 + f) and z = s², log(1 + f) = 2 artanh(s) = 2s + 2sz·P(z) = f − s(f − 2z·P(z)), whose f is exact.
    s = f / (2.0 + f)
    z = s * s
    correction = s * (f - 2.0 * z * _polynomial(z, LOG))
    value = k * LN2_PARTS[0] + (f - (correction - k * LN2_PARTS[1]))
    value = np.where(x == 0.0, -np.inf, np.where(x < np.inf, value, x))
    return +np.where(x < 0.0, np.nan, value)


def sin(x: Real) -> Real:
    """Return the sine of ``x`` in radians, to within 1 ulp for |x| ≤ 2^20; NaN beyond."""
    x = np.float64(x)
    value: Real = np.where(x == 0.0, x, _sine_ahead(x, 0.0))
    return +value


def cos(x: Real) -> Real:
    """Return the cosine of ``x`` in radians, to within 1 ulp for |x| ≤ 2^20; NaN beyond."""
    return +_sine_ahead(np.float64(x), 1.0)


def acos(x: Real) -> Real:
    """Return the angle in [0, π] whose cosine is ``x``, to within 2 ulp; NaN outside [−1, 1]."""
    x = np.float64(x)
    inside = np.where(abs(x) <= 1.0, x, 0.0)
    size = abs(inside)
    # Near ±1 by the half angle: acos(x) = 2 asin √((1 − x)/2), where 1 − x is exact.
    outer = size > 0.5
    z = np.where(outer, (1.0 - size) * 0.5, size * size)
    s = np.where(outer, np.sqrt(z), inside)
    rest = s * (z * _polynomial(z, ASIN))  # asin(s) = s + rest
    middle = PI_2 - (s - (PI_2_REST - rest))
    near_one = 2.0 * (s + rest)
    near_minus_one = PI - 2.0 * (s + (rest - PI_2_REST))
    value = np.where(outer, np.where(inside > 0.0, near_one, near_minus_one), middle)
    return +np.where(abs(x) <= 1.0, value, np.nan)


def tanh(x: Real) -> Real:
    """Return the hyperbolic tangent of ``x``, to within 2 ulp."""
    x = np.float64(x)
    size = np.where(abs(x) < 22.0, abs(x), 22.0)  # from 19.1 on it rounds to 1
    z = size * size
    near = size - size * (z * _polynomial(z, TANH))
    far = 1.0 - 2.0 / (exp(size + size) + 1.0)
    value = np.copysign(np.where(size < 0.75, near, far), x)
    return +np.where(x != x, x, value)


def _polynomial(x: Real, coefficients: tuple[float, ...]) -> Real:
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def _sine_ahead(x: Real, quarters: float) -> Real:
    """Return the sine of ``x`` plus so many quarter turns."""
    x = np.where(abs(x) <= LARGEST_ANGLE, x, np.nan)
    k = np.rint(x * 0.6366197723675814)
    # x − k·π/2, where the terms may cancel to 2^-60 of their size: what each step rounds off is kept in ``low``.
    high, low = _subtract(x - k * PI_2_PARTS[0], k * PI_2_PARTS[1])
    high, lower = _subtract(high, k * PI_2_PARTS[2])
    low = (low + lower) - k * PI_2_PARTS[3]
    z = high * high
    half = 0.5 * z
    sine = high + (high * z * _polynomial(z, SIN) + low * (1.0 - half))
    coarse = 1.0 - half
    cosine = coarse + (((1.0 - coarse) - half) + (z * z * _polynomial(z, COS) - high * low))
    turns = (k + quarters) * 0.25
    quadrant = (turns - np.floor(turns)) * 4.0
    value = np.where((quadrant == 1.0) | (quadrant == 3.0), cosine, sine)
    return np.where(quadrant >= 2.0, -value, value)


def _subtract(a: Real, b: Real) -> tuple[Real, Real]:
    """Return a − b rounded and what the rounding lost, exactly (Knuth's TwoSum)."""
    difference = a - b
    share = difference - a
    return difference, (a - (difference - share)) - (b + share)
