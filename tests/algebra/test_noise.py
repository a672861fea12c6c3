"""Philox against the published known answers, the mapping to elements against plain Python integers."""

import hashlib
import itertools

import numpy as np
import pytest

from smelt.algebra.noise import COUNTERS_AT_ONCE, philox, stream_key, uniforms

# The lines "philox4x32 10" of kat_vectors in Random123: counter, key, expected words.
KNOWN_ANSWERS = [
    "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
]
KEY = 0x0123456789ABCDEF


def philox_in_integers(counter, key):
    """The paper's definition, one counter at a time."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def uniform_in_integers(key, draw, i):
    counter = ((i // 4) % 2**32, (i // 4) >> 32, draw, 0)
    return (philox_in_integers(counter, (key % 2**32, key >> 32))[i % 4] >> 8) / 2**24


def drawn(key, draw, start, count):
    out = np.empty(count, np.float32)
    uniforms(key, draw, start, out)
    return out


@pytest.mark.parametrize("line", KNOWN_ANSWERS)
def test_known_answers(line):
    words = [int(word, 16) for word in line.split()]
    counter = tuple(np.full(3, word, np.uint64) for word in words[:4])
    result = philox(counter, (words[4], words[5]))
    assert [word.tolist() for word in result] == [[word] * 3 for word in words[6:]]
    assert philox_in_integers(words[:4], words[4:6]) == tuple(words[6:])


def test_key_and_counter_zero_give_the_known_words_in_order():
    expected = [0x6627E8, 0xE169C5, 0xBC57AC, 0x9B00DB]
    assert (drawn(0, 0, 0, 4) * 2.0**24).tolist() == expected


@pytest.mark.parametrize("start", [0, 1, 6, 4 * COUNTERS_AT_ONCE - 3, 2**34 - 5, 2**34, 2**40 + 3, 2**63])
@pytest.mark.parametrize(("key", "draw"), [(KEY, 0), (2**64 - 1, 2**32 - 1)])
def test_elements_take_their_words(start, key, draw):
    assert drawn(key, draw, start, 11).tolist() == [uniform_in_integers(key, draw, start + i) for i in range(11)]


def test_splits_do_not_move_a_draw():
    total = 8 * COUNTERS_AT_ONCE + 7
    whole = drawn(KEY, 3, 0, total)
    assert whole[-1] == np.float32(uniform_in_integers(KEY, 3, total - 1))
    cuts = [0, 1, 2, 5, 9, 4 * COUNTERS_AT_ONCE - 1, 4 * COUNTERS_AT_ONCE + 2, 7 * COUNTERS_AT_ONCE, total, total]
    pieces = [drawn(KEY, 3, start, stop - start) for start, stop in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_it_writes_through_a_strided_view_and_nothing_else():
    out = np.full(21, -1, np.float32)
    uniforms(KEY, 0, 5, out[1::2])
    np.testing.assert_array_equal(out[1::2], drawn(KEY, 0, 5, 10))
    assert (out[::2] == -1).all()


def test_numbers_are_uniform():
    count, bins = 1 << 20, 256
    numbers = drawn(KEY, 0, 0, count).astype(np.float64)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.max() > 0.99999
    # Five standard errors each: of the mean, of the variance, of χ² with 255 degrees of freedom, of a correlation.
    assert abs(numbers.mean() - 0.5) < 5 / np.sqrt(12 * count)
    assert abs(numbers.var() - 1 / 12) < 5 / np.sqrt(180 * count)
    counts = np.bincount((numbers * bins).astype(int), minlength=bins)
    chi_squared = ((counts - count / bins) ** 2).sum() / (count / bins)
    assert abs(chi_squared - (bins - 1)) < 5 * np.sqrt(2 * (bins - 1))
    for lag in (1, 2, 3, 4, 256):
        assert abs(np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]) < 5 / np.sqrt(count)


def test_neighbouring_keys_and_draws_are_independent():
    count = 1 << 16
    streams = [drawn(KEY, 0, 0, count), drawn(KEY ^ 1, 0, 0, count), drawn(KEY ^ 1 << 32, 0, 0, count)]
    streams += [drawn(KEY, 1, 0, count), drawn(KEY, 0, count, count)]
    correlations = np.corrcoef(np.stack(streams).astype(np.float64)) - np.eye(len(streams))
    assert np.abs(correlations).max() < 5 / np.sqrt(count)


def test_a_stream_key_is_the_hash_of_its_length_prefixed_fields():
    text = (
        b"\x02\0\0\0\0\0\0\0" + b"42" + b"\x05\0\0\0\0\0\0\0" + b"caf\xc3\xa9" + b"\x01\0\0\0\0\0\0\0" + b"1" + b"\x06"
        b"\0\0\0\0\0\0\0" + b"norm.w"
    )
    expected = int.from_bytes(hashlib.sha256(text).digest()[:8], "little")
    assert stream_key(42, "café", 1, "norm.w") == expected


def test_stream_keys_tell_fields_apart():
    places = [(0, "", 0, "a"), (0, "", 0, "b"), (0, "", 1, "a"), (1, "", 0, "a"), (0, "a", 0, ""), (0, "", 10, "a")]
    places += [(0, "0", 0, "a"), (10, "", 0, "a"), (-1, "", 0, "a")]
    keys = [stream_key(*place) for place in places]
    assert len({*keys}) == len(keys)
    assert all(0 <= key < 2**64 for key in keys)
