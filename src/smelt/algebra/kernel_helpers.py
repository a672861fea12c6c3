"""The source text of what kernels call: magnitudes as integers, uniforms, and ranks by a radix sort per row."""

from __future__ import annotations

# Compiled with every kernel that may need them; what is not called costs nothing.
HELPERS = """
ZERO = np.float32(0.0)
ONE = np.float32(1.0)
SCALE = np.float32(2.0**-24)
NAN_KEY = np.uint32(0x7F800001)
MAGNITUDE = np.uint32(0x7FFFFFFF)


def key_of(bits):
    key = bits & MAGNITUDE
    return key if key < NAN_KEY else NAN_KEY


def is_selected(key, threshold, index, cut):
    return (key > threshold) | ((key == threshold) & (index < cut))


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
                result[j] = np.float32(row[q] >> np.uint32(8)) * SCALE


def fill_ranks(bits, n, result):
    keys = np.empty(n, np.uint32)
    order = np.empty(n, np.int32)
    other = np.empty(n, np.int32)
    counts = np.zeros((3, 2048), np.int64)
    for j in range(n):
        key = key_of(bits[j])
        keys[j] = key
        order[j] = j
        counts[0, key & np.uint32(2047)] += 1
        counts[1, (key >> np.uint32(11)) & np.uint32(2047)] += 1
        counts[2, key >> np.uint32(22)] += 1
    for digit in range(3):
        total = 0
        for value in range(2048):
            count = counts[digit, value]
            counts[digit, value] = total
            total += count
        shift = np.uint32(11 * digit)
        for j in range(n):
            entry = order[j]
            value = (keys[entry] >> shift) & np.uint32(2047)
            other[counts[digit, value]] = entry
            counts[digit, value] += 1
        order, other = other, order
    for j in range(n):
        result[order[j]] = np.float32(j)
"""
