"""The source text of the loops around a tile function: decode, compute, then encode, sum, count or hand over.

``write``, which does every block of a result once, also counts the values that are not finite: in ``found``, for each
input and at its end for the result, as they are stored. Only a tile whose largest magnitude says so is counted.

Written once for every method; a kernel is the text of a tile function followed by one of these loops. What all have in
common: the stored bytes of every input's span, as 16-bit and as 32-bit words, input i from byte ``offsets[i]`` on (a
multiple of 8) in the storage ``codes[i]``; the span is elements [start, start + n) of the tensor; ``tile`` elements are
done at a time, a row of the tensor where the tile function asks for rows. The rest goes to the tile function as it is.
Names ending in ``bits`` are views of the same floats as integers: a kernel that made them itself could not be cached.
"""

from __future__ import annotations

# How inputs and outputs are stored; other dtypes are decoded and encoded outside, as float32.
FLOAT32, BFLOAT16 = 0, 1

COMMON = (
    "raw16, raw32, offsets, codes, n, start, columns, tile, p, numbers, rows, cols, keys, thresholds, cuts, "
    "x, xbits, s, bits, out, obits"
)

SHARED = f"""
def widen(halves, bits):
    for j in range(len(halves)):
        bits[j] = np.uint32(halves[j]) << np.uint32(16)


def copy(words, bits):
    for j in range(len(words)):
        bits[j] = words[j]


def compute(raw16, raw32, offsets, codes, low, length, start, columns, p, numbers, rows, cols, keys, thresholds,
            cuts, x, xbits, s, bits, out):
    for i in range(len(codes)):
        if codes[i] == {BFLOAT16}:
            first = offsets[i] // 2 + low
            widen(raw16[first : first + length], xbits[i])
        else:
            first = offsets[i] // 4 + low
            copy(raw32[first : first + length], xbits[i])
    place = start + low
    tile_of(x, length, place, place // columns, p, numbers, rows, cols, keys, thresholds, cuts, s, bits, out)
"""

LOOPS = {
    "write": f"""
def narrow(bits, halves):
    for j in range(len(halves)):
        b = bits[j]
        rounded = (b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        halves[j] = np.uint16(rounded if (b & MAGNITUDE) < NAN_KEY else np.uint32(0x7FC0))


def clean(bits, words):
    for j in range(len(words)):
        b = bits[j]
        words[j] = b if (b & MAGNITUDE) < NAN_KEY else np.uint32(0x7FC00000)


def count_in_halves(halves):
    largest = np.uint16(0)
    for j in range(len(halves)):
        magnitude = np.uint16(halves[j] & np.uint16(0x7FFF))
        largest = magnitude if magnitude > largest else largest
    found = 0
    if largest >= np.uint16(0x7F80):
        for j in range(len(halves)):
            found += np.uint16(halves[j] & np.uint16(0x7FFF)) >= np.uint16(0x7F80)
    return found


def count_in_words(words):
    largest = np.uint32(0)
    for j in range(len(words)):
        magnitude = np.uint32(words[j] & MAGNITUDE)
        largest = magnitude if magnitude > largest else largest
    found = 0
    if largest >= np.uint32(0x7F800000):
        for j in range(len(words)):
            found += np.uint32(words[j] & MAGNITUDE) >= np.uint32(0x7F800000)
    return found


def write({COMMON}, code, result16, result32, found):
    for low in range(0, n, tile):
        length = min(tile, n - low)
        compute(raw16, raw32, offsets, codes, low, length, start, columns, p, numbers, rows, cols, keys, thresholds,
                cuts, x, xbits, s, bits, out)
        for i in range(len(codes)):
            if codes[i] == {BFLOAT16}:
                first = offsets[i] // 2 + low
                found[i] += count_in_halves(raw16[first : first + length])
            else:
                first = offsets[i] // 4 + low
                found[i] += count_in_words(raw32[first : first + length])
        if code == {BFLOAT16}:
            halves = result16[low : low + length]
            narrow(obits[0], halves)
            found[len(codes)] += count_in_halves(halves)
        else:
            words = result32[low : low + length]
            clean(obits[0], words)
            found[len(codes)] += count_in_words(words)
""",
    "values": f"""
def values({COMMON}, result):
    for low in range(0, n, tile):
        length = min(tile, n - low)
        compute(raw16, raw32, offsets, codes, low, length, start, columns, p, numbers, rows, cols, keys, thresholds,
                cuts, x, xbits, s, bits, out)
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
        compute(raw16, raw32, offsets, codes, low, length, start, columns, p, numbers, rows, cols, keys, thresholds,
                cuts, x, xbits, s, bits, out)
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


def magnitudes(bits):
    for j in range(len(bits)):
        key = bits[j] & MAGNITUDE
        bits[j] = key if key < NAN_KEY else NAN_KEY


def counts({COMMON}, rows_of, lows, highs, found, gathered):
    for low in range(0, n, tile):
        length = min(tile, n - low)
        compute(raw16, raw32, offsets, codes, low, length, start, columns, p, numbers, rows, cols, keys, thresholds,
                cuts, x, xbits, s, bits, out)
        for r in range(len(obits)):
            magnitudes(obits[r][:length])
        for k in range(len(rows_of)):
            made = obits[rows_of[k]][:length]
            if tally(made, lows[k], highs[k], found[k]):
                found[k, 3] = keep(made, lows[k], highs[k], gathered[k], found[k, 3])
""",
}
