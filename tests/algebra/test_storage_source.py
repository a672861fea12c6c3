"""Stored numbers through compiled loops: the bits of ``tensors/dtypes``, for every code and near every tie."""

import numpy as np
import pytest
from test_engine import X, arguments

from smelt.algebra.engine import CompiledProgram
from smelt.algebra.storage_source import CODES
from smelt.tensors.dtypes import decode, dtype_named, dtype_of_array, encode

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
STORED = tuple(dtype_named(name) for name in CODES)
SMALL = tuple(dtype for dtype in STORED if dtype.size_bytes < 4)
SPECIAL = [0.0, np.inf, np.nan, 2.0**-149, 2.0**-126, 2.0**-150, 2.0**-1074, 3.4028235e38, 3.4028236e38, 1e300, 65520.0]


def copy(raw, size, dtype, precision, out):
    """Return numbers decoded to tiles of ``precision`` and encoded again, and the counts of what is not finite."""
    program = CompiledProgram([X], precision)
    counts = np.zeros(2, np.int64)
    stored = np.zeros(size * out.size_bytes, np.uint8)
    kinds = [np.dtype(f"u{size_bytes}") for size_bytes in (1, 2, 4, 8)]
    words = [stored.view(kind) if kind.itemsize == out.size_bytes else np.empty(0, kind) for kind in kinds]
    given = arguments(program, program.pack({}), raw, dtype, size)
    program.loop("write", STORED)(*given, CODES[out.name], *words, counts)
    return stored, counts.tolist()


def all_codes(dtype):
    """Return every code of a format of at most 16 bits."""
    return np.arange(2 ** (8 * dtype.size_bytes), dtype=f"u{dtype.size_bytes}")


@pytest.mark.parametrize("precision", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("dtype", SMALL, ids=lambda dtype: dtype.name)
def test_every_code_is_decoded_to_its_number(dtype, precision):
    codes = all_codes(dtype)
    expected, found = np.empty((2, len(codes)), precision)
    decode(codes.view(np.uint8), dtype, expected)
    program = CompiledProgram([X], precision)
    given = arguments(program, program.pack({}), codes.view(np.uint8), dtype, len(codes))
    program.loop("values", STORED)(*given, found.reshape(1, -1))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    if precision == FLOAT32 and dtype.name != "BF16":  # which keeps a NaN's further bits
        np.testing.assert_array_equal(found.view("u4"), expected.view("u4"))


def near_ties(dtype, precision):
    """Return every number of a format and every midpoint of two, and their neighbours; what is special; and others."""
    numbers = np.empty(len(all_codes(dtype)), np.float64)
    decode(all_codes(dtype).view(np.uint8), dtype, numbers)
    numbers = np.unique(numbers[np.isfinite(numbers)])
    ends = [numbers[-1] + (numbers[-1] - numbers[-2]) * share for share in (0.25, 0.5, 0.75, 1.0, 4.0)]
    places = np.concatenate([numbers, numbers[:-1] + np.diff(numbers) / 2, ends, SPECIAL])
    with np.errstate(all="ignore"):
        places = places.astype(precision)
        random = np.random.default_rng(7)
        any_bits = random.integers(0, 2**63, 10**6, np.uint64).astype(f"u{precision.itemsize}").view(precision)
        scale = random.integers(-30, 20, 10**5).astype(np.float64)
        ordinary = (random.normal(size=10**5) * 2.0**scale).astype(precision)
        near = [np.nextafter(places, precision.type(side)) for side in (-np.inf, np.inf)]
    values = np.concatenate([places, *near, ordinary, any_bits])
    return np.concatenate([values, -values])


@pytest.mark.parametrize("precision", [FLOAT32, FLOAT64], ids=str)
@pytest.mark.parametrize("out", STORED, ids=lambda dtype: dtype.name)
def test_numbers_are_rounded_as_by_the_reference(out, precision):
    values = near_ties(out if out in SMALL else dtype_named("F16"), precision)
    if out.size_bytes == 1:  # what is too large is for the caller
        limit = {"F8_E4M3": 464.0, "F8_E5M2": 61440.0}[out.name]
        step = np.nextafter(precision.type(limit), precision.type(0))
        assert (np.abs(values) > limit).any()
        bound = limit if out.name == "F8_E4M3" else step  # of the ties one goes to 448, which is even, one beyond 57344
        values = values[~(np.abs(values) > bound)]
    found, (_, count) = copy(values.view(np.uint8), len(values), dtype_of_array(precision), precision, out)
    expected = encode(values, out)
    word = f"u{out.size_bytes}"
    wrong = np.flatnonzero(found.view(word) != expected.view(word))
    assert not len(wrong), (len(wrong), values[wrong[:5]], found.view(word)[wrong[:5]], expected.view(word)[wrong[:5]])
    numbers = np.empty(len(values), np.float64)
    decode(expected, out, numbers)
    assert count == np.count_nonzero(~np.isfinite(numbers))


@pytest.mark.parametrize(("name", "values"), [("F8_E4M3", [464.5, -1e6, np.inf]), ("F8_E5M2", [61440, -1e6, -np.inf])])
def test_what_is_too_large_for_float8_is_counted(name, values):
    for precision in (FLOAT32, FLOAT64):
        given = np.array([*values, 1.0], precision)
        _, counts = copy(given.view(np.uint8), 4, dtype_of_array(precision), precision, dtype_named(name))
        assert counts == [1, 3]
