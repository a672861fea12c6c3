"""Decoding is held against ml_dtypes for every code; encoding against a search among the exact values, and torch."""

import re
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import torch

from smelt.errors import InputError
from smelt.tensors.dtypes import DTYPES, decode, dtype_named, dtype_of_array, dtype_of_recipe, encode

NARROW = ["F16", "BF16", "F8_E4M3", "F8_E5M2"]
FLOATS = ["F64", "F32", *NARROW]
NANS = {
    "F64": "000000000000f87f",
    "F32": "0000c07f",
    "F16": "007e",
    "BF16": "c07f",
    "F8_E4M3": "7f",
    "F8_E5M2": "7e",
}
LARGEST = {"F16": 65504.0, "BF16": 255 * 2.0**120, "F8_E4M3": 448.0, "F8_E5M2": 57344.0}
TORCH = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def all_values(name):
    """Every code of a narrow format with its value according to NumPy and ml_dtypes."""
    size = dtype_named(name).size_bytes
    codes = np.arange(1 << (8 * size), dtype=f"<u{size}")
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return codes, codes.view(dtype_named(name).array).astype(np.float64)


def finite_magnitudes(name):
    """The finite numbers from 0 up, by code, and the one that would come next."""
    _, values = all_values(name)
    finite = values[: len(values) // 2]
    finite = finite[np.isfinite(finite)]
    return np.append(finite, finite[-1] + (finite[-1] - finite[-2]))


def nearest_codes(values, name):
    """Round by looking the exact float64 values up between the midpoints of neighbours; ties to the even code."""
    magnitudes = finite_magnitudes(name)
    middles = (magnitudes[1:] + magnitudes[:-1]) / 2
    size = np.abs(values.astype(np.float64))
    codes = np.searchsorted(middles, size)
    tie = (codes < len(middles)) & (middles[np.minimum(codes, len(middles) - 1)] == size)
    codes += tie & (codes % 2 == 1)
    return codes + (np.signbit(values).astype(np.int64) << (8 * dtype_named(name).size_bytes - 1))


def hard_values(name, dtype):
    """Every number of the format, every midpoint, and the neighbours of both in the source format."""
    magnitudes = finite_magnitudes(name)
    points = np.concatenate([magnitudes, (magnitudes[1:] + magnitudes[:-1]) / 2])
    points = points[points <= np.finfo(dtype).max].astype(dtype)
    up, down = np.nextafter(points, dtype(np.inf)), np.nextafter(points, dtype(-1))
    both = np.concatenate([points, up, down])
    return np.concatenate([both, -both])


def random_values(dtype, count, seed=7):
    """Random bit patterns, and patterns spread evenly over the exponents of the narrow formats; no NaN."""
    source = np.random.default_rng(seed)
    spread = source.standard_normal(count) * 2.0 ** source.integers(-150, 130, count)
    near = source.standard_normal(count) * 2.0 ** source.integers(-28, 18, count)
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    patterns = source.integers(0, np.iinfo(unsigned).max, count, unsigned).view(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.concatenate([spread.astype(dtype), near.astype(dtype), patterns])
    return values[np.isfinite(values)]


def encoded(values, name, saturate=False):
    dtype = dtype_named(name)
    return encode(values, dtype, saturate).view(f"<u{dtype.size_bytes}")


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("target", [np.float32, np.float64])
def test_every_code_decodes_to_its_value(name, target):
    codes, values = all_values(name)
    out = np.empty((2, len(codes) // 2), target)
    decode(memoryview(codes.tobytes()), dtype_named(name), out)
    np.testing.assert_array_equal(out.reshape(-1), values)
    assert np.array_equal(np.signbit(out.reshape(-1))[values == 0], np.signbit(values[values == 0]))


@pytest.mark.parametrize("name", NARROW)
def test_every_finite_code_survives_the_way_there_and_back(name):
    codes, values = all_values(name)
    kept = np.isfinite(values)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(encoded(values[kept].astype(dtype), name), codes[kept])


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_encoding_rounds_once_to_nearest_even(name, dtype):
    values = np.concatenate([hard_values(name, dtype), random_values(dtype, 20_000)])
    if "F8" in name:
        largest = finite_magnitudes(name)
        tie = (largest[-1] + largest[-2]) / 2  # goes to the even code: down for e4m3fn, up and away for e5m2
        fits = np.abs(values) <= tie if name == "F8_E4M3" else np.abs(values) < tie
        values = values[fits]
    np.testing.assert_array_equal(encoded(values, name), nearest_codes(values, name))


@pytest.mark.parametrize("name", NARROW)
def test_encoding_agrees_with_torch(name):
    values = np.concatenate([hard_values(name, np.float32), random_values(np.float32, 20_000)])
    if "F8" in name:
        values = values[np.abs(values) <= LARGEST[name]]
    expected = torch.from_numpy(values).to(TORCH[name]).view(torch.uint8).numpy()
    np.testing.assert_array_equal(encode(values, dtype_named(name)), expected)


@pytest.mark.full
@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_encoding_of_a_sixteenth_of_all_float32_agrees_with_torch(name):
    for start in range(0, 1 << 32, 1 << 26):
        values = np.arange(start + start // (1 << 26) % 16, start + (1 << 26), 16).astype(np.uint32).view(np.float32)
        values = values[~np.isnan(values)]
        expected = torch.from_numpy(values).to(TORCH[name]).view(torch.uint8).numpy()
        assert np.array_equal(encode(values, dtype_named(name)), expected)


def test_float64_is_not_rounded_twice():
    # 1 + 2^-8 is the middle of two bfloat16; the 2^-40 above it is lost in float32.
    above, below = 1 + 2.0**-8 + 2.0**-40, 1 + 3 * 2.0**-8 - 2.0**-40
    assert encoded(np.array([above, below, 1 + 2.0**-8, 1 + 3 * 2.0**-8]), "BF16").tolist() == [
        0x3F81,
        0x3F81,
        0x3F80,
        0x3F82,
    ]
    # Half of the smallest bfloat16, float16 and e5m2, and a little more.
    for name, smallest in (("BF16", 2.0**-133), ("F16", 2.0**-24), ("F8_E5M2", 2.0**-16), ("F8_E4M3", 2.0**-9)):
        values = np.array([smallest / 2, smallest / 2 * (1 + 2.0**-50), 5e-324, -1e-300])
        sign = 1 << (8 * dtype_named(name).size_bytes - 1)
        assert encoded(values, name).tolist() == [0, 1, 0, sign]


def test_float64_to_float32_is_the_nearest_fraction():
    values = np.concatenate([random_values(np.float64, 300), [2.0**-150, 3 * 2.0**-150, 2.0**-149 * 1.5, 1e-310]])
    values = values[np.abs(values) < 3.4e38]
    results = encode(values, dtype_named("F32")).view("<f4")
    for value, result in zip(values, results, strict=True):
        exact = Fraction(float(value))
        error = abs(Fraction(float(result)) - exact)
        for other in (np.nextafter(result, np.float32(np.inf)), np.nextafter(result, np.float32(-np.inf))):
            distance = abs(Fraction(float(other)) - exact)
            assert error < distance or (error == distance and result.view(np.uint32) % 2 == 0)


@pytest.mark.parametrize("name", ["F64", "F32"])
def test_wide_formats_keep_every_bit(name):
    values = random_values(np.float32, 1000)
    raw = values.astype(dtype_named(name).array).tobytes()
    assert encode(values, dtype_named(name)).tobytes() == raw
    out = np.empty(values.size, np.float64)
    decode(memoryview(raw), dtype_named(name), out)
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize("name", FLOATS)
def test_every_nan_is_written_as_the_canonical_one(name):
    nans32 = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF], np.uint32).view(np.float32)
    nans64 = np.array([0x7FF8 << 48, 0xFFF8 << 48, (0x7FF << 52) + 1, (1 << 64) - 1], np.uint64).view(np.float64)
    for nans in (nans32, nans64):
        assert encode(nans, dtype_named(name)).tobytes().hex() == NANS[name] * len(nans)
        assert encode(nans, dtype_named(name), saturate=True).tobytes().hex() == NANS[name] * len(nans)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_too_large_becomes_infinite_in_wider_formats(dtype):
    infinity = np.array([np.inf, -np.inf], dtype)
    assert encoded(infinity, "BF16").tolist() == [0x7F80, 0xFF80]
    assert encoded(infinity, "F16").tolist() == [0x7C00, 0xFC00]
    assert encoded(infinity, "F32").tolist() == [0x7F800000, 0xFF800000]
    assert encoded(np.array([65519.99, 65520, -1e9, 3e38], dtype), "F16").tolist() == [0x7BFF, 0x7C00, 0xFC00, 0x7C00]
    assert encoded(np.array([np.finfo(np.float32).max, 3.39e38], dtype), "BF16").tolist() == [0x7F80, 0x7F7F]
    if dtype == np.float64:
        assert encoded(np.array([1e300, -1e300, 3.4028235677973366e38]), "F32").tolist() == [
            0x7F800000,
            0xFF800000,
            0x7F800000,
        ]


@pytest.mark.parametrize(("name", "fits", "too_large"), [("F8_E4M3", 464.0, 464.1), ("F8_E5M2", 61439.0, 61440.0)])
def test_overflow_to_float8_is_an_error_unless_saturated(name, fits, too_large):
    largest = finite_magnitudes(name)[-2]
    code = int(nearest_codes(np.array([largest]), name)[0])
    for dtype in (np.float32, np.float64):
        assert encoded(np.array([fits, -fits], dtype), name).tolist() == [code, code | 0x80]
        for value in (too_large, 1e30, np.inf):
            values = np.array([1, np.nan, -value, too_large], dtype)
            with pytest.raises(
                OverflowError, match=f"^{re.escape(f'{-values[2]:g}')} is too large for float8.*{largest:g}"
            ):
                encode(values, dtype_named(name))
            clamped = encoded(values, name, saturate=True).tolist()
            assert clamped[2:] == [code | 0x80, code]
            assert clamped[1] == int(NANS[name], 16)


def test_shapes_and_strides_do_not_matter():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert encode(values.T, dtype_named("BF16")).tobytes() == values.T.astype(ml_dtypes.bfloat16).tobytes()
    assert encode(np.float32([]), dtype_named("F8_E4M3")).size == 0
    before = values.copy()
    encode(values, dtype_named("F32"))
    np.testing.assert_array_equal(values, before)
    out = np.empty((), np.float32)
    decode(np.array([0x80, 0x3F], np.uint8), dtype_named("BF16"), out)
    assert out == 1


def test_sizes_and_kinds_that_do_not_fit_are_refused():
    out = np.empty(2, np.float32)
    for raw, name in ((2, "BF16"), (4, "F8_E5M2"), (16, "F64"), (8, "I32")):
        with pytest.raises(ValueError):
            decode(np.zeros(raw, np.uint8), dtype_named(name), out)
    with pytest.raises(ValueError):
        encode(np.zeros(2, np.int32), dtype_named("F32"))
    with pytest.raises(ValueError):
        encode(np.zeros(2), dtype_named("I64"))


def test_names_of_safetensors():
    expected = "F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I16 I8 U64 U32 U16 U8 BOOL"
    assert " ".join(dtype.name for dtype in DTYPES) == expected
    for dtype in DTYPES:
        assert dtype_named(dtype.name) is dtype
        assert dtype_of_array(dtype.array) is dtype
        assert dtype.array.itemsize == dtype.size_bytes
        assert str(dtype.array) == dtype.recipe_name
    for unknown in ("F8_E8M0", "F4", "C64", "f32"):
        with pytest.raises(InputError, match=f"unknown dtype '{unknown}'.*BF16"):
            dtype_named(unknown)


def test_names_of_recipes():
    for name in FLOATS:
        dtype = dtype_named(name)
        assert dtype_of_recipe(dtype.recipe_name) is dtype
        assert dtype_of_recipe("torch." + dtype.recipe_name) is dtype
    with pytest.raises(InputError, match=r"'torch.int64' would round.*allowed: float64"):
        dtype_of_recipe("torch.int64")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("fp16", "float16"),
        ("half", "float16"),
        ("torch.half", "float16"),
        ("bf16", "bfloat16"),
        ("BF16", "bfloat16"),
        ("fp32", "float32"),
        ("float", "float32"),
        ("double", "float64"),
        ("bfloat", "bfloat16"),
        ("float8_e4m3", "float8_e4m3fn"),
        ("fp8_e5m2", "float8_e5m2"),
    ],
)
def test_near_misses_of_recipes_get_a_hint(name, meant):
    with pytest.raises(InputError, match=f"did you mean '{meant}'. Allowed: float64, "):
        dtype_of_recipe(name)


def test_arrays_that_cannot_be_stored():
    for dtype in (np.dtype(np.complex64), np.dtype(">f4")):
        with pytest.raises(InputError, match="cannot be stored"):
            dtype_of_array(dtype)
