"""The methods that choose entries once more in float64: trimming, dropping by rank, SCE, RAM, MagMax, two models."""

import math

import numpy as np
from oracles import Expected, add_up, difference, elect, largest, rescaled, uniforms

NEAR = 2.0**-19  # a choice between numbers that differ by less, relatively, may turn with the rounding of float32


def equalized(deltas):
    lengths = [math.sqrt(math.fsum((d * d).ravel())) for d in deltas]
    mean = sum(lengths) / len(lengths)
    return [d * (mean / n) if n else d for d, n in zip(deltas, lengths, strict=True)]


def task_vectors(base, models, equalize=False):
    deltas = [difference(m, base) for m in models]
    return equalized(deltas) if equalize else deltas


def task_arithmetic(base, models, weight, normalize=False, lam=1.0, equalize=False):
    return add_up(base, task_vectors(base, models, equalize), weight, normalize, lam)


def ties(base, models, weight, density=None, normalize=True, lam=1.0, rescale=False, scope="tensor", equalize=False):
    density = density or [1.0] * len(models)
    deltas = task_vectors(base, models, equalize)
    kept = [_band(d, q, 0.0, scope) for d, q in zip(deltas, density, strict=True)]
    kept = [rescaled(d, k, rescale, q) for d, k, q in zip(deltas, kept, density, strict=True)]
    return elect(base, kept, weight, normalize, lam)


def breadcrumbs(base, models, weight, density, gamma, normalize=False, lam=1.0, rescale=False, **options):
    return add_up(base, _crumbs(base, models, density, gamma, rescale, **options), weight, normalize, lam)


def breadcrumbs_ties(base, models, weight, density, gamma, normalize=False, lam=1.0, rescale=False, **options):
    return elect(base, _crumbs(base, models, density, gamma, rescale, **options), weight, normalize, lam)


def _crumbs(base, models, density, gamma, rescale, scope="tensor", equalize=False):
    deltas = task_vectors(base, models, equalize)
    kept = [_band(d, q, g, scope) for d, q, g in zip(deltas, density, gamma, strict=True)]
    return [rescaled(d, k, rescale, q) for d, k, q in zip(deltas, kept, density, strict=True)]


def band_mask(x, density, gamma):
    """What ranks, by magnitude, below the ⌊γn⌋ largest (fewer where there is no room) and among the next ⌊qn⌋."""
    count = math.floor(density * x.size)
    top = min(math.floor(gamma * x.size), x.size - count)
    return largest(x, top + count) & ~largest(x, top)


def _band(delta, density, gamma, scope):
    if scope == "row" and delta.ndim > 1:
        rows = delta.reshape(-1, delta.shape[-1]) if delta.size else delta.reshape(0, 1)
        mask = np.array([band_mask(row, density, gamma) for row in rows], bool).reshape(delta.shape)
    else:
        mask = band_mask(delta, density, gamma)
    return np.where(mask, delta, 0)


def over_the_model(one, base, models, density, gamma=None, **settings):
    """What ``scope: model`` gives for each tensor: ``one`` of ties and so on is told which entries are kept.

    The tensors are ranked as one row, in the order of the base's names.
    """
    names = list(base)
    gamma = gamma or [0.0] * len(models)
    rows = [np.concatenate([difference(m[n], base[n]).ravel() for n in names]) for m in models]
    masks = [band_mask(row, q, g) for row, q, g in zip(rows, density, gamma, strict=True)]
    borders = np.cumsum([base[n].size for n in names])[:-1]
    parts = [np.split(mask, borders) for mask in masks]
    found = {}
    for place, name in enumerate(names):
        deltas = [difference(m[name], base[name]) for m in models]
        kept = [np.where(p[place].reshape(base[name].shape), d, 0) for p, d in zip(parts, deltas, strict=True)]
        rescale = settings.get("rescale", False)
        kept = [rescaled(d, k, rescale, 1.0) for d, k in zip(deltas, kept, strict=True)]
        found[name] = one(base[name], kept, settings["weight"], settings["normalize"], settings.get("lam", 1.0))
    return found


def keep_probability(delta, density, epsilon):
    """DELLA: (q − ε) + 2ε·r/(n − 1) with the rank r of |δ| in its row, of equals the first lowest."""
    columns = delta.shape[-1] if delta.ndim > 1 else delta.size
    if density in (0.0, 1.0) or columns <= 1:
        return np.full(delta.shape, density)
    rows = np.abs(delta.reshape(-1, columns))
    ranks = np.argsort(np.argsort(rows, axis=1, kind="stable"), axis=1, kind="stable")
    return ((density - epsilon) + 2 * epsilon * ranks / (columns - 1)).reshape(delta.shape)


def della(base, models, weight, density, epsilon, keys, normalize=True, lam=1.0, rescale=True, elected=True):
    kept, open_ = [], np.zeros(np.shape(base), bool)
    for model, q, e, key in zip(models, density, epsilon, keys, strict=True):
        delta = difference(model, base)
        probability = keep_probability(delta, q, e)
        draw = uniforms(key, delta.size).reshape(delta.shape)
        left = np.where(draw < probability, delta, 0)
        open_ |= abs(draw - probability) < 2.0**-22
        if rescale is True:
            left = left / np.where(probability == 0, 1.0, probability)
        kept.append(rescaled(delta, left, "l1" if rescale == "l1" else False, q))
    found = (elect if elected else add_up)(base, kept, weight, normalize, lam)
    return Expected(found.value, found.terms, found.undecided | open_)


def sce(base, models, select_topk=1.0):
    """FuseChat's select, calculate and erase, with the selection applied to the merge too."""
    deltas = np.stack([difference(m, base) for m in models])
    variance = deltas.var(axis=0)
    varying = np.ptp(deltas, axis=0) > 0
    open_ = np.zeros(variance.shape, bool)
    if select_topk < 1 and varying.any():
        count = math.floor(select_topk * np.count_nonzero(varying))
        mask = largest(np.where(varying, variance, 0), count)
        least, most = variance[mask].min(initial=np.inf), variance[~mask & varying].max(initial=0.0)
        if least - most <= 64 * NEAR * most:
            open_ = (abs(variance - most) <= 128 * NEAR * most) & varying
        deltas = np.where(mask, deltas, 0)
    squares = np.array([math.fsum((d * d).ravel()) for d in deltas])
    share = squares / squares.sum() if squares.sum() else np.full(len(deltas), 1 / len(deltas))
    expanded = share.reshape(-1, *[1] * variance.ndim)
    summed, strength = deltas.sum(axis=0), abs(deltas).sum(axis=0)
    agree = np.where(summed >= 0, deltas > 0, deltas < 0)
    mass = (expanded * agree).sum(axis=0)
    merged = (expanded * agree * deltas).sum(axis=0) / np.where(mass == 0, 1, mass)
    open_ |= (abs(summed) <= NEAR * strength) & (strength > 0)
    wide = np.asarray(base, np.float64)
    return Expected(wide + merged, abs(wide) + abs(merged), open_)


def ram(base, models, epsilon=1e-5, r=0.0, alpha=0.0):
    """Unique changes in full (times λᵢ for RAM+), shared ones averaged over those who made them."""
    deltas = np.stack([difference(m, base) for m in models])
    active = abs(deltas) > epsilon
    count = active.sum(axis=0)
    factors = []
    for own in active:
        unique, shared = np.count_nonzero(own & (count == 1)), np.count_nonzero(own & (count > 1))
        factors.append(1 + r * min(max(shared / unique if unique else 0.0, 0.0), alpha))
    factor = np.array(factors).reshape(-1, *[1] * count.ndim)
    parts = np.where(active, deltas, 0) * np.where(count == 1, factor, 1.0) / np.maximum(count, 1)
    wide = np.asarray(base, np.float64)
    open_ = (abs(abs(deltas) - epsilon) <= NEAR * epsilon).any(axis=0)
    return Expected(wide + parts.sum(axis=0), abs(wide) + abs(parts).sum(axis=0), open_)


def magmax(base, models, lam=1.0):
    deltas = np.stack([difference(m, base) for m in models])
    high, low = deltas.max(axis=0), deltas.min(axis=0)
    chosen = np.where(high >= -low, high, low)
    wide = np.asarray(base, np.float64)
    return Expected(wide + lam * chosen, abs(wide) + abs(lam * chosen), np.zeros(wide.shape, bool))


def nearswap(a, b, t):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    value = a + np.clip(b - a, -t, t)
    return Expected(value, abs(a) + abs(b) + t, np.zeros(a.shape, bool))


def importance(a, b):
    """|b − a| times KL(softmax(b) + 1e-8 ‖ softmax(a) + 1e-8) of its row."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    columns = a.shape[-1] if a.ndim > 1 else max(a.size, 1)
    rows_a, rows_b = (x.reshape(-1, columns) for x in (a, b))
    p, q = (_softmax(x) + 1e-8 for x in (rows_b, rows_a))
    divergence = (p * np.log(p / q)).sum(axis=1, keepdims=True)
    return (abs(rows_b - rows_a) * divergence).reshape(a.shape)


def arcee_fusion(a, b):
    """Entries of b whose importance is at least median + 1.5 × interquartile range, else of a."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    weight = importance(a, b)
    low, middle, high = np.quantile(weight, [0.25, 0.5, 0.75]) if a.size else (0.0, 0.0, 0.0)
    threshold = middle + 1.5 * (high - low)
    open_ = (abs(weight - threshold) <= 1e-3 * threshold) & (a != b) & (threshold > 0)
    return Expected(np.where(weight >= threshold, b, a), np.maximum(abs(a), abs(b)), open_)


def _softmax(rows):
    powers = np.exp(rows - rows.max(axis=1, keepdims=True, initial=-np.inf)) if rows.size else rows
    return powers / powers.sum(axis=1, keepdims=True)
