"""The statistics of differences, straight from their definitions in float64, on whole arrays."""

import math

import numpy as np

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)


def differences(base, model, precision):
    """Return the differences as they are taken, 0 where they are not finite, and how many of these there are."""
    with np.errstate(all="ignore"):
        difference = (model.astype(precision) - base.astype(precision)).ravel()
    finite = np.isfinite(difference)
    return np.where(finite, difference, 0), int((~finite).sum())


def statistics(base, difference, nonfinite):
    """Return what a ``Measure`` holds, but for what needs to know the dtype."""
    wide, count = np.abs(difference.astype(np.float64)), difference.size - nonfinite
    kept = np.where(np.isfinite(base), base.astype(np.float64), 0)
    # What is not finite stands as a zero: it is taken away from their number.
    ordered = np.sort(wide)[nonfinite:]
    squares = np.sort(wide**2)[::-1]
    norm, base_norm = math.sqrt(math.fsum(squares)), math.sqrt(math.fsum(kept.ravel() ** 2))
    top = max(int(0.2 * count), 1)
    return {
        "zeros": int((ordered == 0).sum()),
        "nonfinite": nonfinite,
        "norm": norm,
        "rms": norm / math.sqrt(max(count, 1)),
        "largest": wide.max(initial=0),
        "mean_magnitude": math.fsum(wide) / max(count, 1),
        "relative": norm / base_norm if base_norm else None,
        "quantiles": np.quantile(ordered, LEVELS, method="inverted_cdf") if count else None,
        "kurtosis": count * math.fsum(squares**2) / math.fsum(squares) ** 2 if norm else None,
        "top_energy": math.fsum(squares[:top]) / math.fsum(squares) if norm else None,
    }


def support(difference):
    """Return which entries are in the top 20 %, by whole bins of 128 to an octave, each closed above."""
    sizes = np.abs(difference.astype(np.float32)).astype(np.float64)
    count = max(int(0.2 * sizes.size), 1)
    smallest = np.sort(sizes)[-count]
    if smallest == 0:
        return sizes > 0
    fraction, exponent = math.frexp(smallest)
    step = 2.0 ** (exponent - (9 if fraction == 0.5 else 8))
    return sizes > (math.ceil(smallest / step) - 1) * step


def pair(one, other):
    """Return what a ``Pair`` holds."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    length = math.sqrt(math.fsum(a * a)) * math.sqrt(math.fsum(b * b))
    both = (a != 0) & (b != 0)
    tops = support(one), support(other)
    smaller = min(map(np.count_nonzero, tops))
    return {
        "cosine": math.fsum(a * b) / length if length else None,
        "conflicts": float(((np.sign(a) != np.sign(b)) & both).sum() / both.sum()) if both.any() else None,
        "overlap": (tops[0] & tops[1]).sum() / smaller if smaller else None,
        "chance": tops[0].sum() * tops[1].sum() / a.size / smaller if smaller else None,
    }
