"""The source text of the kernels that measure differences: from stored bytes to sums, counts and histograms.

A magnitude's bin is given by the upper bits of its float32 pattern m: bin 0 is zero alone, and bin b holds the patterns
in ((b − 1)·2¹⁶, b·2¹⁶], so that differences of numbers with few bits, which lie on these edges, share a bin with their
equals only. Within a bin a float is a linear function of its pattern. So counts are exact, and so is the mean of each
bin, if it keeps the number of its entries and the sum of m.

That is one addition to memory per entry, the slowest part of all, and done thus. Of a = m + 2²⁰ − 1 the upper 16 bits
give the place, 15 above the bin; 2⁴⁰ + a is added to it, from which number and sum can be told apart as long as few
enough are added. An addition to a place that was just added to waits for that one, and fine-tunes differ by few values:
so neighbours are added to two histograms, and zeros, often most of all, to the first 16 places in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from smelt.algebra.storage_source import CODES, write_storage
from smelt.tensors.dtypes import DType

TILE = 1024  # elements; four rows of lanes
SAMPLE = 256  # of each tile, its first entries: from these the size of the last bit is estimated
ZEROS = 16  # places for zeros, before those of the bins from 1 on
PLACES = ZEROS + 0x7F80
RAISED = (ZEROS << 16) - 1  # by this patterns are raised, so that their upper bits are places
WAYS = 2  # histograms that are filled side by side
ENTRY = 1 << 40  # what an entry adds to its place, beside its pattern
MOST_PACKED = 2**23  # entries; with twice as many, a place of them could overflow

_STORED = "raw8, raw16, raw32, raw64, offsets, codes"

# Patterns of float64 differences are those of the nearest float32, but zero stays the only one in its bin.
_PATTERN = {
    "float32": "bits",
    "float64": "max(np.uint32(np.float32(value).view(np.uint32) & np.uint32(0x7FFFFFFF)), np.uint32(1))",
}

_SUBTRACT = """
def subtract(model, base, difference, patterns):
    largest = np.{word}(0)
    for j in range(len(difference)):
        value = np.{float}(model[j] - base[j])
        bits = np.{word}(np.{float}(value).view(np.{word}) & np.{word}({magnitudes}))
        largest = bits if bits > largest else largest
        difference[j] = value
        raised = np.uint32({pattern} + np.uint32(0xFFFFF))
        zero = np.uint32(np.uint32(np.uint32(j) & np.uint32(15)) << np.uint32(16))
        patterns[j] = raised if bits != np.{word}(0) else zero
    return largest


def leave_out(model, difference, patterns):
    found = 0
    largest = np.{word}(0)
    for j in range(len(difference)):
        value = difference[j]
        if value - value != 0:
            found += 1
            value = np.{float}(0)
            model[j] = difference[j] = value
            patterns[j] = 0
        bits = np.{word}(np.{float}(value).view(np.{word}) & np.{word}({magnitudes}))
        largest = bits if bits > largest else largest
    return largest, found


def leave_out_of_base(base):
    for j in range(len(base)):
        if base[j] - base[j] != 0:
            base[j] = 0


def add_squares(values, lanes):
    rest = len(values) // 1024 * 1024
    for low in range(0, rest, 1024):
        x0, x1 = values[low : low + 256], values[low + 256 : low + 512]
        x2, x3 = values[low + 512 : low + 768], values[low + 768 : low + 1024]
        for j in range(256):
            total = lanes[j]
            value = np.float64(x0[j])
            total += value * value
            value = np.float64(x1[j])
            total += value * value
            value = np.float64(x2[j])
            total += value * value
            value = np.float64(x3[j])
            total += value * value
            lanes[j] = total
    for low in range(rest, len(values), 256):
        for j in range(min(256, len(values) - low)):
            value = np.float64(values[low + j])
            lanes[j] += value * value


def add_products(ones, others, lanes):
    rest = len(ones) // 256 * 256
    for low in range(0, rest, 256):
        a, b = ones[low : low + 256], others[low : low + 256]
        for j in range(256):
            lanes[j] += np.float64(a[j]) * np.float64(b[j])
    for j in range(len(ones) - rest):
        lanes[j] += np.float64(ones[rest + j]) * np.float64(others[rest + j])


def add_powers(values, least, lanes):
    for j in range(len(values)):
        bits = np.{word}(np.{float}(values[j]).view(np.{word}) & np.{word}({exponents}))
        bits = bits if bits > least else least
        power = np.float64(np.{word}(bits).view(np.{float}))
        lanes[j] += power * power


def fold(lanes):
    for r in range(len(lanes)):
        half = 128
        while half:
            for j in range(half):
                lanes[r, j] += lanes[r, half + j]
            half //= 2


def fill_bins(pairs, last, is_odd, bins):
    entry = np.uint64(1 << 40)
    ones, others = bins[0], bins[1]
    for j in range(len(pairs)):
        one = pairs[j] & np.uint64(0xFFFFFFFF)
        other = pairs[j] >> np.uint64(32)
        ones[np.int64(one >> np.uint64(16))] += entry + one
        others[np.int64(other >> np.uint64(16))] += entry + other
    if is_odd:
        one = np.uint64(last)
        ones[np.int64(one >> np.uint64(16))] += entry + one


def count_signs(ones, others, found):
    opposite = np.uint32(0)
    both = np.uint32(0)
    for j in range(len(ones)):
        a = ones[j]
        b = others[j]
        opposite += np.uint32((a < 0) & (b > 0)) + np.uint32((a > 0) & (b < 0))
        both += np.uint32((a != 0) & (b != 0))
    found[0] += opposite
    found[1] += both


def count_common(ones, others, bound, other_bound):
    found = np.uint32(0)
    for j in range(len(ones)):
        found += np.uint32((ones[j] >= bound) & (others[j] >= other_bound))
    return found
"""

# What both loops begin with; the values that are not finite are counted by the first one only.
_OPEN = f"""
def open_tile({_STORED}, low, length, x, d, patterns, tops, found):
    for i in range(len(codes)):
        {{load}}
    base = x[0][:length]
    bad = 0
    for i in range(len(d)):
        largest = subtract(x[i + 1][:length], base, d[i][:length], patterns[i][:length])
        if largest >= np.{{word}}({{exponents}}):
            largest, count = leave_out(x[i + 1][:length], d[i][:length], patterns[i][:length])
            found[i] += count
            bad += count
        tops[i] = largest
    if bad:
        leave_out_of_base(base)
"""

# Rows of ``lanes``: the base's squares, the differences' squares, the squared powers of two below the models' values,
# the products of pairs.
_LOOPS = f"""
def measure({_STORED}, n, is_last, least, x, d, patterns, pairs, tops, found, signs, lanes, bins, largest):
    for low in range(0, n, 1024):
        length = min(1024, n - low)
        open_tile({_STORED}, low, length, x, d, patterns, tops, found)
        add_squares(x[0][:length], lanes[0])
        for i in range(len(d)):
            largest[i] = max(largest[i], tops[i])
            sample = min(256, length)
            add_powers(x[i + 1][:sample], least[i], lanes[1 + len(d) + i])
            if tops[i] == 0:
                bins[i, 0, 0] += np.uint64(length << 40)
                continue
            add_squares(d[i][:length], lanes[1 + i])
            fill_bins(pairs[i][: length // 2], patterns[i][length - 1], length % 2 == 1, bins[i])
        pair = 0
        for j in range(len(d)):
            for i in range(j):
                if tops[i] != 0 and tops[j] != 0:
                    add_products(d[i][:length], d[j][:length], lanes[1 + 2 * len(d) + pair])
                    count_signs(d[i][:length], d[j][:length], signs[pair])
                pair += 1
    if is_last:
        fold(lanes)


def overlap({_STORED}, n, bounds, x, d, patterns, pairs, tops, found, common):
    for low in range(0, n, 1024):
        length = min(1024, n - low)
        open_tile({_STORED}, low, length, x, d, patterns, tops, found)
        pair = 0
        for j in range(len(d)):
            for i in range(j):
                if tops[i] != 0 and tops[j] != 0:
                    common[pair] += count_common(patterns[i][:length], patterns[j][:length], bounds[i], bounds[j])
                pair += 1
"""

_LOAD = """
        if codes[i] == {code}:
            first = offsets[i] // {size_bytes} + low
            load_{name}(raw{bits}[first : first + length], x[i])
"""

_STORED_TYPES = "uint8[::1], uint16[::1], uint32[::1], uint64[::1], int64[::1], int64[::1], int64"
_TILE_TYPES = "{float}[:,::1], {float}[:,::1], uint32[:,::1], uint64[:,::1]"
_TYPES = {
    "measure": f"{_STORED_TYPES}, boolean, {{word}}[::1], {_TILE_TYPES}, {{word}}[::1], int64[::1], "
    "int64[:,::1], float64[:,::1], uint64[:,:,::1], {word}[::1]",
    "overlap": f"{_STORED_TYPES}, uint32[::1], {_TILE_TYPES}, {{word}}[::1], int64[::1], int64[::1]",
}


def write_statistics(dtypes: Sequence[DType], precision: str) -> str:
    """Return the text of the kernels ``measure`` and ``overlap``.

    Args:
        dtypes: how the tensors may be stored.
        precision: ``float32`` or ``float64``, in which differences are taken.
    """
    load = "".join(
        _LOAD.format(code=CODES[d.name], size_bytes=d.size_bytes, name=d.name, bits=8 * d.size_bytes) for d in dtypes
    )
    names = _names(precision)
    storages = "".join(write_storage(dtype) for dtype in dtypes)
    own = _SUBTRACT.format(pattern=_PATTERN[precision], **names) + _OPEN.format(load=load.strip(), **names) + _LOOPS
    return "import numpy as np\n" + storages + own


def signature(loop: str, precision: str) -> str:
    """Return the Numba signature of one of the kernels."""
    return f"void({_TYPES[loop]})".format(**_names(precision))


def _names(precision: str) -> dict[str, str]:
    bits = int(precision.removeprefix("float"))
    magnitudes = (1 << (bits - 1)) - 1
    exponents = magnitudes >> (23 if bits == 32 else 52) << (23 if bits == 32 else 52)
    return {
        "float": precision,
        "word": f"uint{bits}",
        "magnitudes": hex(magnitudes),
        "exponents": hex(exponents),
    }
