"""The methods on directions once more in float64, on the tensors themselves and not on their dot products."""

import math

import numpy as np
from oracles import Expected, difference


def nuslerp(models, weight, base=None, along="tensor"):
    """Shoemake 1985 with t = w₂/(w₁ + w₂), for the whole tensor, each row or each column."""
    total = weight[0] + weight[1]
    t = 0.5 if abs(total) < 1e-6 else weight[1] / total
    a, b, start = _from_base(models, base)
    if along == "tensor" or a.ndim < 2:  # a vector is a vector of its own
        value, terms = _turn(a.ravel(), b.ravel(), t)
        return _result(value.reshape(a.shape), terms.reshape(a.shape), start)
    rows = (lambda x: x.reshape(1, -1) if x.ndim < 2 else x.reshape(-1, x.shape[-1])) if a.size else np.atleast_2d
    first, second = (rows(x).T if along == "column" else rows(x) for x in (a, b))
    pairs = [_turn(x, y, t) for x, y in zip(first, second, strict=True)]
    value, terms = (np.array([p[i] for p in pairs]).reshape(first.shape) for i in (0, 1))
    if along == "column":
        value, terms = value.T, terms.T
    return _result(value.reshape(a.shape), terms.reshape(a.shape), start)


def multislerp(models, weight, base=None, normalize_weights=True):
    """Step from the mean direction along the tangent that the models span, as the method was published."""
    *xs, start = _from_base(models, base)
    w = np.array(weight, np.float64)
    w = w / w.sum() if normalize_weights else w
    lengths = np.array([_length(x) for x in xs])
    units = [x / n if n else x for x, n in zip(xs, lengths, strict=True)]
    mean = sum(v * u for v, u in zip(w, units, strict=True))
    size = sum(abs(v * x) for v, x in zip(w, xs, strict=True))
    if _length(mean) < 1e-8:
        return _result(sum(v * x for v, x in zip(w, xs, strict=True)), size, start)
    mean = mean / _length(mean)
    tangent = sum(v * (u - _dot(u, mean) * mean) for v, u in zip(w, units, strict=True))
    angle = _length(tangent)
    turned = math.cos(angle) * mean + (math.sin(angle) / angle if angle > 1e-12 else 1.0) * tangent
    value = turned * float(w @ lengths)
    return _result(value, size + abs(value), start)


def karcher(models, max_iter=10, tol=1e-5):
    """Log map, mean, exp map, on the sphere of unit vectors; times the mean length of all models."""
    *xs, _ = _from_base(models, None)
    lengths = [_length(x) for x in xs]
    units = [x / n for x, n in zip(xs, lengths, strict=True) if n]
    size = sum(abs(x) for x in xs)
    mean = sum(units) if units else xs[0]
    if _length(mean) < 1e-8:
        return _result(sum(xs) / len(xs), size, None)
    u = mean / _length(mean)
    for _ in range(max_iter):
        tangents = []
        for unit in units:
            cosine = min(max(_dot(unit, u), -1.0), 1.0)
            angle = math.acos(cosine)
            tangents.append((angle / math.sin(angle) if angle > 1e-8 else 1.0) * (unit - cosine * u))
        step = sum(tangents) / len(units)
        if _length(step) < tol:
            break
        u = math.cos(_length(step)) * u + math.sin(_length(step)) / _length(step) * step
        u = u / _length(u)
    value = u * sum(lengths) / len(lengths)
    return _result(value, size + abs(value), None)


def geometric_median(models, weight=None, steps=3000):
    """Minimise Σ wᵢ‖x − θᵢ‖ by Weiszfeld's map, smoothed a little so that no model is a trap."""
    *xs, _ = _from_base(models, None)
    weight = weight or [1.0] * len(xs)
    median = sum(w * x for w, x in zip(weight, xs, strict=True)) / sum(weight)
    tiny = 1e-12 * max(_length(x - y) for x in xs for y in xs) if len(xs) > 1 else 0.0
    for _ in range(steps):
        pulls = [w / math.hypot(_length(x - median), tiny, 1e-300) for w, x in zip(weight, xs, strict=True)]
        median = sum(p * x for p, x in zip(pulls, xs, strict=True)) / sum(pulls)
    return _result(median, sum(abs(x) for x in xs), None)


def summed_distance(point, models, weight):
    return sum(w * _length(np.asarray(m, np.float64) - point) for w, m in zip(weight, models, strict=True))


def model_stock(base, models, filter_wise=False):
    """Eq. 6 of the paper with the mean cosine of the pairs, t held to [0, 1]."""
    *deltas, start = _from_base(models, base)
    shape = deltas[0].shape
    columns = shape[-1] if filter_wise and len(shape) > 1 else max(deltas[0].size, 1)
    rows = [d.reshape(-1, columns) for d in deltas]
    shares = np.array([_stock_share([d[i] for d in rows]) for i in range(len(rows[0]))])
    mean = sum(rows) / len(rows)
    size = sum(abs(d) for d in rows) / len(rows)
    value = shares[:, None] * mean if len(shares) else mean
    return _result(value.reshape(shape), size.reshape(shape), start)


def _stock_share(deltas):
    lengths = [_length(d) for d in deltas]
    count = len(deltas)
    cosines = [
        _dot(deltas[i], deltas[j]) / (lengths[i] * lengths[j]) if lengths[i] * lengths[j] else 0.0
        for i in range(count)
        for j in range(i)
    ]
    cosine = sum(cosines) / len(cosines)
    return min(max(count * cosine / (1 + (count - 1) * cosine), 0.0), 1.0) if cosine > 0 else 0.0


def _turn(a, b, t):
    lengths = _length(a) * _length(b)
    cosine = _dot(a, b) / lengths if lengths else 1.0
    if 1 - abs(cosine) < 1e-14:
        s, r = 1 - t, t
    else:
        angle = math.acos(cosine)
        s, r = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return s * a + r * b, abs(s * a) + abs(r * b)


def _from_base(models, base):
    """The models, or their differences from the base, and where to add the result."""
    if base is None:
        return [*(np.asarray(m, np.float64) for m in models), None]
    return [*(difference(m, base) for m in models), np.asarray(base, np.float64)]


def _result(value, terms, start):
    value, terms = np.asarray(value), np.asarray(terms)
    if start is not None:
        value, terms = start + value, abs(start) + terms
    return Expected(value, terms, np.zeros(np.shape(value), bool))


def _dot(x, y):
    return math.fsum((x * y).ravel())


def _length(x):
    """The length, also where squares vanish or overflow."""
    largest = float(np.max(np.abs(x), initial=0.0))
    return largest * math.sqrt(math.fsum(((x / largest) ** 2).ravel())) if largest else 0.0
