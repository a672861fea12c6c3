"""Uniform random numbers that are a function of a place, not of a moment.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011, section 3.3) turns a
counter of four 32-bit words and a key of two into four random words. The counter is where an element lies in its tensor
and the key says which tensor of which model it is, so neither threads nor blocks nor the order of work move a draw.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# 32-bit numbers kept in 64 bits, where their products are exact.
Words: TypeAlias = NDArray[np.uint64]

ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round: the golden ratio, and √3 − 1
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)

COUNTERS_AT_ONCE = 8192  # the six buffers, 384 KiB together, stay in the cache of a core


def stream_key(seed: int, document: str, place: int, tensor: str) -> int:
    """Return the 64-bit key of one model's random numbers for one tensor.

    It is the first 8 bytes, little-endian, of the sha256 of the four fields in this order. Each field is UTF-8 text
    (numbers in decimal) with its length in bytes in front, as 8 bytes, little-endian.

    Args:
        seed: the recipe's.
        document: the ``name`` of the recipe document that draws; empty for the one that is the result.
        place: the model's position, from 0, among the document's components without the base.
        tensor: the tensor's name in that document's output.
    """
    digest = hashlib.sha256()
    for field in (str(seed), document, str(place), tensor):
        text = field.encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return int.from_bytes(digest.digest()[:8], "little")


def uniforms(key: int, draw: int, start: int, out: NDArray[np.float32]) -> None:
    """Fill ``out`` with the uniforms of the elements ``start``, ``start + 1``, … of a tensor.

    Element i takes word i mod 4 of Philox at the counter ⌊i/4⌋ (words 0 and 1 its low and high half, word 2 the draw,
    word 3 zero), under the low and high half of ``key``. The upper 24 bits of the word times 2⁻²⁴ are its number, so
    every number is a float32 exactly and lies in [0, 1).

    Args:
        key: of 64 bits, from :func:`stream_key`.
        draw: which of the tensor's uniforms, from 0 to 2³² − 1, when a method asks for more than one.
        start: the flat index of the first element, at least 0.
        out: one-dimensional float32, of any length.
    """
    first, skipped = divmod(start, 4)
    done = 0
    while done < out.size:
        count = min(COUNTERS_AT_ONCE, -(-(skipped + out.size - done) // 4))
        words = _words_at(key, draw, first, count)
        piece = out[done : done + 4 * count - skipped]
        np.multiply(words[skipped : skipped + piece.size], np.float32(2.0**-24), out=piece)
        first, done, skipped = first + count, done + piece.size, 0


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Return the four random words of Philox4x32-10 for each counter.

    Args:
        counter: four arrays of one shape with values below 2³², which serve as buffers and lose their values.
        key: two numbers below 2³².
    """
    c0, c1, c2, c3 = counter
    p0, p1 = np.empty_like(c0), np.empty_like(c0)
    for step in range(ROUNDS):
        k0, k1 = (np.uint64((k + step * s) % 2**32) for k, s in zip(key, KEY_STEPS, strict=True))
        np.multiply(c0, MULTIPLIERS[0], out=p0)
        np.multiply(c2, MULTIPLIERS[1], out=p1)
        np.right_shift(p1, HALF, out=c0)
        c0 ^= c1
        c0 ^= k0
        np.right_shift(p0, HALF, out=c2)
        c2 ^= c3
        c2 ^= k1
        np.bitwise_and(p1, LOW, out=c1)
        np.bitwise_and(p0, LOW, out=c3)
    return c0, c1, c2, c3


def _words_at(key: int, draw: int, first: int, count: int) -> NDArray[np.uint32]:
    """Return the upper 24 bits of the words of ``count`` counters from ``first`` on, in the order of the elements."""
    position = np.arange(count, dtype=np.uint64) + np.uint64(first)
    counter = (position & LOW, position >> HALF, np.full(count, draw, np.uint64), np.zeros(count, np.uint64))
    words = np.empty((count, 4), np.uint32)
    for place, word in enumerate(philox(counter, (key & 0xFFFFFFFF, key >> 32))):
        words[:, place] = word >> np.uint64(8)
    return words.reshape(-1)
