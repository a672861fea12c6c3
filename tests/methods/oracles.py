"""The seven methods once more, written from their papers in float64, with what rounding may change about the result.

An oracle returns the value, the sum of the magnitudes of the terms that make it up (rounding errors are a small
multiple of its last bit) and where a decision lies so near that rounding may turn it.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

ROUNDOFF = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}


@dataclass(frozen=True)
class Expected:
    value: np.ndarray  # float64
    terms: np.ndarray  # Σ|terms|
    undecided: np.ndarray  # bool

    def check(self, result, precision, roundings):
        """Check that ``result`` is within ``roundings`` units of the terms; say so with the worst entry."""
        unit = ROUNDOFF[np.dtype(precision)]
        bound = roundings * unit * self.terms + 1e-44
        error = np.where(self.undecided, 0.0, np.abs(np.asarray(result, np.float64) - self.value))
        assert np.shape(result) == np.shape(self.value)
        assert np.sum(self.undecided) <= 0.01 * self.undecided.size, "too many undecided entries"
        assert (error <= bound).all(), f"worst: {np.max(error / bound)} of the bound"


def linear(models, weight, normalize=True):
    divisor = sum(weight) if normalize else 1.0
    parts = [w / divisor * np.asarray(m, np.float64) for w, m in zip(weight, models, strict=True)]
    return _decided(sum(parts), sum(abs(p) for p in parts))


def passthrough(model, scale=1.0):
    value = np.asarray(model, np.float64) * scale
    return _decided(value, abs(value))


def slerp(a, b, t):
    """Shoemake 1985, on flattened tensors, lerp where |cos| > 0.9995 and for zero tensors."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    length_a, length_b = (math.sqrt(math.fsum((x * x).ravel())) for x in (a, b))
    cosine = math.fsum((a * b).ravel()) / (length_a * length_b) if length_a * length_b else 1.0
    if abs(cosine) > 0.9995:
        s, r = 1 - t, t
    else:
        angle = math.acos(cosine)
        s, r = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return _decided(s * a + r * b, abs(s * a) + abs(r * b))


def task_arithmetic(base, models, weight, normalize=False, lam=1.0):
    deltas = [difference(m, base) for m in models]
    return add_up(base, deltas, weight, normalize, lam)


def ties(base, models, weight, density=None, normalize=True, lam=1.0, rescale=False):
    density = density or [1.0] * len(models)
    deltas = [difference(m, base) for m in models]
    kept = [np.where(largest(d, math.floor(q * d.size)), d, 0) for d, q in zip(deltas, density, strict=True)]
    kept = [rescaled(d, k, rescale, q) for d, k, q in zip(deltas, kept, density, strict=True)]
    return elect(base, kept, weight, normalize, lam)


def dare_linear(base, models, weight, density, keys, normalize=False, lam=1.0, rescale=True):
    return add_up(base, _dropped(base, models, density, keys, rescale), weight, normalize, lam)


def dare_ties(base, models, weight, density, keys, normalize=False, lam=1.0, rescale=True):
    return elect(base, _dropped(base, models, density, keys, rescale), weight, normalize, lam)


def largest(x, count):
    """The ``count`` entries of largest magnitude, NaN above all, of equal ones those with the lowest index."""
    magnitude = np.abs(np.asarray(x).ravel())
    rank = np.where(np.isnan(magnitude), 1, 0)
    order = np.lexsort((-np.where(rank, 0, magnitude), -rank))  # stable: the last key is the first criterion
    mask = np.zeros(magnitude.size, bool)
    mask[order[:count]] = True
    return mask.reshape(np.shape(x))


def kept_mask(shape, density, key, precision=np.float32):
    """Where DARE keeps an entry: its uniform lies below the density."""
    numbers = uniforms(key, math.prod(shape))
    return (numbers < float(np.dtype(precision).type(density))).reshape(shape)


def stream_key(seed, document, place, tensor):
    fields = [str(seed).encode(), document.encode(), str(place).encode(), tensor.encode()]
    text = b"".join(len(f).to_bytes(8, "little") + f for f in fields)
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def uniforms(key, count):
    """Philox4x32-10: element i is the upper 24 bits of word i mod 4 at the counter ⌊i/4⌋."""
    low32 = np.uint64(0xFFFFFFFF)
    number = np.arange(-(-count // 4), dtype=np.uint64)
    words = [number & low32, number >> np.uint64(32), np.zeros_like(number), np.zeros_like(number)]
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * words[0], np.uint64(0xCD9E8D57) * words[2]
        first = (p1 >> np.uint64(32)) ^ words[1] ^ np.uint64(k0)
        third = (p0 >> np.uint64(32)) ^ words[3] ^ np.uint64(k1)
        words = [first, p1 & low32, third, p0 & low32]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return (np.stack(words, axis=1).ravel()[:count] >> np.uint64(8)).astype(np.float64) / 2**24


def _decided(value, terms):
    return Expected(np.asarray(value), np.asarray(terms), np.zeros(np.shape(value), bool))


def difference(model, base):
    """θᵢ − θ₀, rounded as the engine has to, since selections compare these numbers."""
    wide = np.float64 if np.float64 in (np.asarray(model).dtype, np.asarray(base).dtype) else np.float32
    return np.asarray(np.asarray(model).astype(wide) - np.asarray(base).astype(wide), np.float64)


def _dropped(base, models, density, keys, rescale):
    deltas = [difference(m, base) for m in models]
    kept = [np.where(kept_mask(d.shape, q, key), d, 0) for d, q, key in zip(deltas, density, keys, strict=True)]
    return [rescaled(d, k, rescale, q) for d, k, q in zip(deltas, kept, density, strict=True)]


def rescaled(delta, kept, rescale, density):
    if rescale is True and density > 0:
        return kept / density
    if rescale == "l1":
        before, after = math.fsum(abs(delta).ravel()), math.fsum(abs(kept).ravel())
        return kept * (before / after) if after else kept
    return kept


def add_up(base, deltas, weight, normalize, lam):
    divisor = sum(weight) if normalize and abs(sum(weight)) >= 1e-8 else 1.0
    base = np.asarray(base, np.float64)
    parts = [lam * w / divisor * d for w, d in zip(weight, deltas, strict=True)]
    return _decided(base + sum(parts), abs(base) + sum(abs(p) for p in parts))


def elect(base, deltas, weight, normalize, lam):
    base = np.asarray(base, np.float64)
    votes = [w * d for w, d in zip(weight, deltas, strict=True)]
    elected, strength = sum(votes), sum(abs(v) for v in votes)
    positive = elected >= 0
    agree = [np.where(positive, v > 0, v < 0) for v in votes]
    merged = sum(np.where(a, v, 0) for a, v in zip(agree, votes, strict=True))
    size = sum(np.where(a, abs(v), 0) for a, v in zip(agree, votes, strict=True))
    if normalize:
        mass = sum(np.where(a, w, 0.0) for a, w in zip(agree, weight, strict=True))
        divisor = np.where(mass == 0, 1.0, mass)
        merged, size = merged / divisor, size / abs(divisor)
    undecided = (abs(elected) <= 2.0**-19 * strength) & (strength > 0)
    return Expected(base + lam * merged, abs(base) + abs(lam) * size, undecided)
