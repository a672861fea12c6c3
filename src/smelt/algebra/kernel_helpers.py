"""The source text of what kernels call: magnitudes as integers, exp and log, uniforms, and ranks row by row."""

from __future__ import annotations

from collections.abc import Sequence

from smelt.algebra.elementary import EXP, LARGEST_EXPONENT, LN2_PARTS, LOG


def _write_polynomial(x: str, coefficients: Sequence[float]) -> str:
    """Return the text that computes a polynomial by Horner's rule, highest power first."""
    text = repr(coefficients[0])
    for coefficient in coefficients[1:]:
        text = f"({text} * {x} + {coefficient!r})"
    return text


# The type of tiles, and integers as wide: FLOAT and WORD of the texts, and how many digits of 11 bits a word has.
TYPES = {
    "float32": """
FLOAT = np.float32
WORD = np.uint32
NAN_KEY = np.uint32(0x7F800001)
MAGNITUDE = np.uint32(0x7FFFFFFF)
DIGITS = 3
""",
    "float64": """
FLOAT = np.float64
WORD = np.uint64
NAN_KEY = np.uint64(0x7FF0000000000001)
MAGNITUDE = np.uint64(0x7FFFFFFFFFFFFFFF)
DIGITS = 6
""",
}

# Compiled with every kernel that may need them; what is not called costs nothing.
HELPERS = f"""
import math

ZERO = FLOAT(0.0)
ONE = FLOAT(1.0)
SCALE = FLOAT(2.0**-24)


def key_of(value):
    key = WORD(FLOAT(value).view(WORD) & MAGNITUDE)
    return key if key < NAN_KEY else NAN_KEY


def is_selected(key, threshold, index, cut):
    return (key > threshold) | ((key == threshold) & (index < cut))


def exponential(value):
    x = np.float64(value)
    inside = x if x >= -746.0 and x <= {LARGEST_EXPONENT!r} else 0.0
    k = np.rint(inside * 1.4426950408889634)
    high = inside - k * {LN2_PARTS[0]!r}
    low = k * {LN2_PARTS[1]!r}
    r = high - low
    mantissa = 1.0 + (high + (r * r * {_write_polynomial("r", EXP)} - low))
    first = np.floor(k * 0.5)
    scaled = math.ldexp(mantissa, np.int32(first)) * math.ldexp(1.0, np.int32(k - first))
    if x != x:
        return FLOAT(x)
    return FLOAT(np.inf if x > {LARGEST_EXPONENT!r} else (0.0 if x < -746.0 else scaled))


def logarithm(value):
    x = np.float64(value)
    mantissa, exponent = math.frexp(x if x > 0.0 and x < np.inf else 1.0)
    below = mantissa < 0.7071067811865476
    f = (mantissa + mantissa if below else mantissa) - 1.0
    k = exponent - 1.0 if below else np.float64(exponent)
    s = f / (2.0 + f)
    z = s * s
    correction = s * (f - 2.0 * z * {_write_polynomial("z", LOG)})
    found = k * {LN2_PARTS[0]!r} + (f - (correction - k * {LN2_PARTS[1]!r}))
    if x < 0.0:
        return FLOAT(np.nan)
    return FLOAT(-np.inf if x == 0.0 else (found if x < np.inf else x))


def philox(counters, draw, key, words):
    low = np.uint64(0xFFFFFFFF)
    first_key = np.uint64(key) & low
    second_key = np.uint64(key) >> np.uint64(32)
    w0, w1, w2, w3 = words[0], words[1], words[2], words[3]
    for q in range(len(counters)):
        c0 = counters[q] & low
        c1 = counters[q] >> np.uint64(32)
        c2 = np.uint64(draw)
        c3 = np.uint64(0)
        k0 = first_key
        k1 = second_key
        for _ in range(10):
            a = np.uint64(0xD2511F53) * c0
            b = np.uint64(0xCD9E8D57) * c2
            c0 = (b >> np.uint64(32)) ^ c1 ^ k0
            c1 = b & low
            c2 = (a >> np.uint64(32)) ^ c3 ^ k1
            c3 = a & low
            k0 = (k0 + np.uint64(0x9E3779B9)) & low
            k1 = (k1 + np.uint64(0xBB67AE85)) & low
        w0[q] = np.uint32(c0)
        w1[q] = np.uint32(c1)
        w2[q] = np.uint32(c2)
        w3[q] = np.uint32(c3)


def fill_uniform(key, draw, start, n, result):
    first = start >> 2
    quads = ((start + n + 3) >> 2) - first
    counters = np.empty(quads, np.uint64)
    words = np.empty((4, quads), np.uint32)
    for q in range(quads):
        counters[q] = np.uint64(first + q)
    philox(counters, draw, key, words)
    skip = start - 4 * first
    for lane in range(4):
        row = words[lane]
        for q in range(quads):
            j = 4 * q + lane - skip
            if 0 <= j < n:
                result[j] = FLOAT(row[q] >> np.uint32(8)) * SCALE


def fill_ranks(values, n, result):
    keys = np.empty(n, WORD)
    order = np.empty(n, np.int32)
    other = np.empty(n, np.int32)
    counts = np.zeros((DIGITS, 2048), np.int64)
    for j in range(n):
        key = key_of(values[j])
        keys[j] = key
        order[j] = j
        for digit in range(DIGITS):
            counts[digit, (key >> WORD(11 * digit)) & WORD(2047)] += 1
    for digit in range(DIGITS):
        total = 0
        for value in range(2048):
            count = counts[digit, value]
            counts[digit, value] = total
            total += count
        shift = WORD(11 * digit)
        for j in range(n):
            entry = order[j]
            value = (keys[entry] >> shift) & WORD(2047)
            other[counts[digit, value]] = entry
            counts[digit, value] += 1
        order, other = other, order
    for j in range(n):
        result[order[j]] = FLOAT(j)
"""
