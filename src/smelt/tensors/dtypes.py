"""The table of dtypes, and the exact way from stored bytes to numbers and back.

Formats narrower than float32 are handled as integers, so that their bits do not depend on a processor or a library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from smelt.errors import InputError, listing, nearest


@dataclass(frozen=True)
class DType:
    """How the elements of a tensor are stored."""

    name: str  # in safetensors headers
    recipe_name: str  # in recipes, in config.json and to the user
    size_bytes: int  # of one element
    array: np.dtype[Any]  # in which a mapping of arrays is handed to users
    is_float: bool


@dataclass(frozen=True)
class _Layout:
    """A float of at most 16 bits whose exponents lie inside the normal range of float32."""

    mantissa_bits: int
    bias: int
    largest: int  # the code of the largest finite number
    nan: int  # the code of the canonical quiet NaN
    has_infinity: bool  # then its code is ``largest + 1``


DTYPES = (
    DType("F64", "float64", 8, np.dtype("<f8"), True),
    DType("F32", "float32", 4, np.dtype("<f4"), True),
    DType("F16", "float16", 2, np.dtype("<f2"), True),
    DType("BF16", "bfloat16", 2, np.dtype(ml_dtypes.bfloat16), True),
    DType("F8_E4M3", "float8_e4m3fn", 1, np.dtype(ml_dtypes.float8_e4m3fn), True),
    DType("F8_E5M2", "float8_e5m2", 1, np.dtype(ml_dtypes.float8_e5m2), True),
    DType("I64", "int64", 8, np.dtype("<i8"), False),
    DType("I32", "int32", 4, np.dtype("<i4"), False),
    DType("I16", "int16", 2, np.dtype("<i2"), False),
    DType("I8", "int8", 1, np.dtype("i1"), False),
    DType("U64", "uint64", 8, np.dtype("<u8"), False),
    DType("U32", "uint32", 4, np.dtype("<u4"), False),
    DType("U16", "uint16", 2, np.dtype("<u2"), False),
    DType("U8", "uint8", 1, np.dtype("u1"), False),
    DType("BOOL", "bool", 1, np.dtype("?"), False),
)

_SMALL = {
    "F16": _Layout(10, 15, 0x7BFF, 0x7E00, True),
    "F8_E4M3": _Layout(3, 7, 0x7E, 0x7F, False),
    "F8_E5M2": _Layout(2, 15, 0x7B, 0x7E, True),
}
_NAN_BITS = {"F64": 0x7FF8 << 48, "F32": 0x7FC0 << 16, "BF16": 0x7FC0, **{k: v.nan for k, v in _SMALL.items()}}
_NICKNAMES = {"half": "f16", "float": "f32", "single": "f32", "double": "f64"}


_BY_NAME = {dtype.name: dtype for dtype in DTYPES}


def dtype_named(name: str) -> DType:
    """Return the dtype that safetensors headers call ``name``.

    Raises:
        InputError: when smelt does not read it.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    raise InputError(f"unknown dtype '{name}'; smelt reads {listing((d.name for d in DTYPES), 20)}")


def dtype_of_recipe(name: str) -> DType:
    """Return the dtype that recipes call ``name``, with or without ``torch.`` in front; always a float.

    Raises:
        InputError: for anything else, with the nearest name.
    """
    plain = name.removeprefix("torch.")
    floats = {dtype.recipe_name: dtype for dtype in DTYPES if dtype.is_float}
    if plain in floats:
        return floats[plain]
    allowed = f"Allowed: {listing(floats)}"
    if any(plain == dtype.recipe_name for dtype in DTYPES):
        raise InputError(f"dtype '{name}' would round weights to whole numbers; {allowed[0].lower()}{allowed[1:]}")
    folded = plain.casefold().replace("fp", "f")
    stored = _NICKNAMES.get(folded, folded)
    hints = [dtype.recipe_name for dtype in floats.values() if dtype.name.casefold() == stored]
    hint = f"; did you mean '{hints[0]}'?" if hints else nearest(plain, floats)
    raise InputError(f"there is no dtype '{name}'{hint} {allowed}")


def dtype_of_array(array: np.dtype[Any]) -> DType:
    """Return the dtype under which an array with this NumPy dtype is stored.

    Raises:
        InputError: when safetensors has no name for it, as for big-endian and complex arrays.
    """
    for dtype in DTYPES:
        if dtype.array == array:
            return dtype
    allowed = listing((dtype.recipe_name for dtype in DTYPES), 20)
    raise InputError(f"arrays of dtype '{array}' cannot be stored; allowed: {allowed}")


def decode(raw: NDArray[np.uint8] | memoryview, dtype: DType, out: NDArray[Any]) -> None:
    """Write the numbers stored in ``raw`` to ``out``, exactly.

    Args:
        raw: contiguous bytes, ``out.size * dtype.size_bytes`` of them, little-endian.
        dtype: a float dtype.
        out: a contiguous float32 or float64 array of any shape; float64 when ``dtype`` is.

    Raises:
        ValueError: when the sizes do not fit, or ``out`` cannot hold every number of ``dtype``.
    """
    stored = np.frombuffer(raw, np.uint8)
    holds = out.dtype == np.float64 or (out.dtype == np.float32 and dtype.name != "F64")
    if stored.size != out.size * dtype.size_bytes or not dtype.is_float or not holds:
        raise ValueError(f"{stored.size} bytes of {dtype.name} do not decode to {out.size} numbers of {out.dtype}")
    if dtype.name == "BF16":
        exact = out if out.dtype == np.float32 else np.empty(out.shape, np.float32)
        halves = stored.view("<u2").reshape(out.shape)
        np.left_shift(halves, 16, out=exact.view(np.uint32), dtype=np.uint32)
    elif dtype.name in _SMALL:
        exact = _small_values(dtype.name)[stored.view(f"<u{dtype.size_bytes}")]
    else:
        exact = stored.view(dtype.array)
    if exact is not out:
        with np.errstate(invalid="ignore"):  # widening a signalling NaN
            out[...] = exact.reshape(out.shape)


def encode(values: NDArray[Any], dtype: DType, saturate: bool = False) -> NDArray[np.uint8]:
    """Return the bytes that store ``values``, each rounded once, to nearest with ties to even.

    Every NaN becomes the one canonical quiet NaN. What is too large becomes infinity in float32, bfloat16 and float16.

    Args:
        values: a float32 or float64 array of any shape.
        dtype: a float dtype.
        saturate: whether magnitudes too large for a float8 format, infinity too, become its largest number.

    Raises:
        OverflowError: when a magnitude, infinity too, is too large for a float8 format and ``saturate`` is off.
        ValueError: when ``values`` or ``dtype`` are of another kind.
    """
    if values.dtype not in (np.float32, np.float64) or not dtype.is_float:
        raise ValueError(f"numbers of {values.dtype} do not encode to {dtype.name}")
    flat = values.reshape(-1)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if dtype.name == "BF16":
            codes = _round_to_bfloat16(_float32_bits(flat))
        elif dtype.name in _SMALL:
            codes = _round_to_small(flat, dtype, saturate)
        else:
            codes = flat.astype(dtype.array).view(f"<u{dtype.size_bytes}")
    codes[np.isnan(flat)] = _NAN_BITS[dtype.name]
    return codes.view(np.uint8)


def _float32_bits(values: NDArray[Any]) -> NDArray[np.uint32]:
    """Return float32 patterns from which rounding to fewer bits gives what rounding ``values`` would give.

    A float64 is rounded to odd: towards zero, with the last bit set if anything was lost. So the second rounding can
    neither meet a tie that was none, nor miss one (Boldo and Melquiond 2008).
    """
    if values.dtype == np.float32:
        return values.view(np.uint32)
    nearest_float = values.astype(np.float32)
    rounded = nearest_float.astype(np.float64)
    bits = nearest_float.view(np.uint32)
    bits -= np.abs(rounded) > np.abs(values)
    bits |= rounded != values
    return bits


def _round_to_bfloat16(bits: NDArray[np.uint32]) -> NDArray[Any]:
    sums = bits >> 16
    sums &= 1
    sums += 0x7FFF
    sums += bits
    sums >>= 16
    return sums.astype("<u2")


def _round_to_small(values: NDArray[Any], dtype: DType, saturate: bool) -> NDArray[Any]:
    layout = _SMALL[dtype.name]
    bits = _float32_bits(values)
    codes = _round_magnitudes(bits & np.uint32(0x7FFFFFFF), layout)
    above = codes > layout.largest
    if dtype.size_bytes > 1:
        codes[above] = layout.largest + 1
    elif above.any():
        seen = np.abs(values[above & ~np.isnan(values)])
        if seen.size and not saturate:
            largest = _small_values(dtype.name)[layout.largest]
            raise OverflowError(f"{seen.max():g} is too large for {dtype.recipe_name}, which ends at {largest:g}")
        codes[above] = layout.largest
    codes |= (bits >> 31) << (8 * dtype.size_bytes - 1)
    return codes.astype(f"<u{dtype.size_bytes}")


def _round_magnitudes(magnitudes: NDArray[np.uint32], layout: _Layout) -> NDArray[np.uint32]:
    """Return the codes of non-negative float32 patterns, as if the exponent had no upper end."""
    exponents = (magnitudes >> 23).view(np.int32)
    exponents -= 128 - layout.bias  # 0 is now the exponent of the smallest normal number
    # Below it every step costs one more bit; past all of them the number rounds to zero.
    shifts = np.clip(-exponents, 0, layout.mantissa_bits + 2)
    shifts += 23 - layout.mantissa_bits
    shift = shifts.view(np.uint32)
    significands: NDArray[np.uint32] = (magnitudes & np.uint32(0x7FFFFF)) | np.uint32(0x800000)
    kept = significands >> shift
    significands += (kept & 1) + (np.uint32(1) << (shift - 1)) - 1
    significands >>= shift
    # The hidden bit that is still in there counts one into the exponent, and so does a carry.
    significands += np.maximum(exponents, 0).view(np.uint32) << layout.mantissa_bits
    return significands


@cache
def _small_values(name: str) -> NDArray[np.float32]:
    """Return the number behind every code of a format of at most 16 bits."""
    layout, size_bits = _SMALL[name], 8 * dtype_named(name).size_bytes
    magnitudes = np.arange(1 << (size_bits - 1))
    fields = magnitudes >> layout.mantissa_bits
    significands = (magnitudes & ((1 << layout.mantissa_bits) - 1)) + ((fields > 0) << layout.mantissa_bits)
    values = np.ldexp(significands.astype(np.float32), np.maximum(fields, 1) - layout.bias - layout.mantissa_bits)
    values[layout.largest + 1 :] = np.nan
    if layout.has_infinity:
        values[layout.largest + 1] = np.inf
    return np.concatenate([values, -values])
