"""The source text of the loops around a tile function: decode, compute, then encode, sum, count or hand over.

``write``, which does every block of a result once, also counts the values that are not finite: in ``found``, for each
input and at its end for the result, as they are stored. Only a tile whose largest magnitude says so is counted.

Written once for every method; a kernel is the text of a tile function followed by how the dtypes of a merge are stored
and one of these loops. What all have in common: the stored bytes of every input's span, as words of 8 to 64 bits, input
i from byte ``offsets[i]`` on (a multiple of 8) in the storage ``codes[i]``; the span is elements [start, start + n) of
the tensor; ``tile`` elements are done at a time, a row of the tensor where the tile function asks for rows. The rest
goes to the tile function as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from smelt.algebra.storage_source import CODES, SINGLE_BITS, write_storage
from smelt.tensors.dtypes import DType

_STORED = "raw8, raw16, raw32, raw64, offsets, codes"
_REST = "start, columns, p, numbers, rows, cols, keys, thresholds, cuts, x, s, out"
COMMON = f"{_STORED}, n, tile, {_REST}"
COMPUTE = f"compute({_STORED}, low, length, {_REST})"

# What is in double braces depends on the dtypes.
SHARED = f"""
def {COMPUTE}:
    for i in range(len(codes)):
        {{load}}
    place = start + low
    tile_of(x, length, place, place // columns, p, numbers, rows, cols, keys, thresholds, cuts, s, out)
"""

LOOPS = {
    "write": f"""
def write({COMMON}, code, result8, result16, result32, result64, found):
    for low in range(0, n, tile):
        length = min(tile, n - low)
        {COMPUTE}
        for i in range(len(codes)):
            {{count}}
        {{store}}
""",
    "values": f"""
def values({COMMON}, result):
    for low in range(0, n, tile):
        length = min(tile, n - low)
        {COMPUTE}
        for r in range(result.shape[0]):
            target = result[r]
            made = out[r]
            for j in range(length):
                target[low + j] = made[j]
""",
    "sums": f"""
def sums({COMMON}, left, right, lanes):
    for low in range(0, n, tile):
        length = min(tile, n - low)
        {COMPUTE}
        for k in range(len(left)):
            a = left[k]
            b = right[k]
            sum_of = lanes[k]
            for first in range(0, length, 256):
                width = min(256, length - first)
                ones = out[a][first : first + width]
                others = out[max(b, 0)][first : first + width]
                if b < 0:
                    for j in range(width):
                        sum_of[j] += np.float64(ones[j])
                else:
                    for j in range(width):
                        sum_of[j] += np.float64(ones[j]) * np.float64(others[j])
""",
    "counts": f"""
def tally(keys, bottom, top, numbers):
    above = np.uint32(0)
    at_top = np.uint32(0)
    at_bottom = np.uint32(0)
    not_below = np.uint32(0)
    for j in range(len(keys)):
        key = keys[j]
        above = np.uint32(above + np.uint32(key > top))
        at_top = np.uint32(at_top + np.uint32(key == top))
        at_bottom = np.uint32(at_bottom + np.uint32(key == bottom))
        not_below = np.uint32(not_below + np.uint32(key > bottom))
    numbers[0] += above
    numbers[1] += at_top
    numbers[2] += at_bottom
    return not_below > above + at_top


def keep(keys, bottom, top, kept, place):
    first = np.uint32(bottom + np.uint32(1))
    width = np.uint32(top - first)
    rest = len(keys) // 16 * 16
    for low in range(0, rest, 16):
        some = False
        for j in range(16):
            some |= np.uint32(keys[low + j] - first) < width
        if some:
            for j in range(16):
                key = keys[low + j]
                kept[place] = key
                place += np.int64(np.uint32(key - first) < width)
    for j in range(rest, len(keys)):
        key = keys[j]
        kept[place] = key
        place += np.int64(np.uint32(key - first) < width)
    return place


def magnitudes(values, keys):
    for j in range(len(keys)):
        keys[j] = key_of(values[j])


def counts({COMMON}, rows_of, lows, highs, found, gathered, made_of):
    for low in range(0, n, tile):
        length = min(tile, n - low)
        {COMPUTE}
        for r in range(len(out)):
            magnitudes(out[r], made_of[r][:length])
        for k in range(len(rows_of)):
            made = made_of[rows_of[k]][:length]
            if tally(made, lows[k], highs[k], found[k]):
                found[k, 3] = keep(made, lows[k], highs[k], gathered[k], found[k, 3])
""",
}

# What is done where the storage is this one.
_STEPS = {
    "load": """
        if codes[i] == {code}:
            first = offsets[i] // {size_bytes} + low
            load_{name}(raw{bits}[first : first + length], x[i])
""",
    "count": """
            if codes[i] == {code}:
                first = offsets[i] // {size_bytes} + low
                found[i] += count_{name}(raw{bits}[first : first + length])
""",
    "store": """
        if code == {code}:
            words{bits} = result{bits}[low : low + length]
            store_{name}(out[0], words{bits})
            found[len(codes)] += count_{name}(words{bits})
""",
}


def write_driver(loop: str, dtypes: Sequence[DType], precision: str) -> str:
    """Return the text of one of the loops.

    Args:
        loop: ``write``, ``values``, ``sums`` or ``counts``.
        dtypes: how inputs and the result may be stored.
        precision: ``float32`` or ``float64``, the type of tiles.
    """
    steps = {step: "".join(_write_step(text, dtype) for dtype in dtypes).strip() for step, text in _STEPS.items()}
    storages = "".join(write_storage(dtype) for dtype in dtypes)
    return SINGLE_BITS[precision] + storages + (SHARED + LOOPS[loop]).format(**steps)


def _write_step(text: str, dtype: DType) -> str:
    bits = 8 * dtype.size_bytes
    return text.format(name=dtype.name, code=CODES[dtype.name], size_bytes=dtype.size_bytes, bits=bits)
