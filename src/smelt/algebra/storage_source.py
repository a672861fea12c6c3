"""The source text of how kernels decode and encode stored numbers, dtype by dtype, and count those that are not finite.

For each dtype, one number at a time: ``decode`` takes a stored word to a float, exactly, and ``encode`` a float other
than NaN to a word, rounded once; both without branches, so that the loops around them become vector code. The bits are
those of ``tensors/dtypes.py``, but for what is too large for a float8 format: that becomes a code that is not finite,
and the caller says the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from smelt.tensors.dtypes import DTYPES, DType, encode

# What kernels are told about how a tensor is stored: the place of its dtype in the table.
CODES = {dtype.name: code for code, dtype in enumerate(DTYPES) if dtype.is_float}

# By the type of tiles: the float32 bits from which rounding to fewer bits gives what rounding the value would give. A
# float64 is rounded to odd, as in ``tensors/dtypes.py``.
SINGLE_BITS = {
    "float32": """
def single_bits(value):
    return np.float32(value).view(np.uint32)
""",
    "float64": """
def single_bits(value):
    single = np.float32(value)
    rounded = np.float64(single)
    bits = np.uint32(np.float32(single).view(np.uint32) - np.uint32(abs(rounded) > abs(value)))
    return np.uint32(bits | np.uint32(rounded != value))
""",
}

_WIDE = """
def decode_{name}(word):
    return np.{word}(word).view(np.{float})


def encode_{name}(value):
    return np.{float}(value).view(np.{word})
"""

_BFLOAT16 = """
def decode_{name}(word):
    return np.uint32(np.uint32(word) << np.uint32(16)).view(np.float32)


def encode_{name}(value):
    bits = single_bits(value)
    return (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
"""

# Numbers below the normal ones are whole multiples of one step: to decode them is to convert an integer, and to encode
# them is to add a number whose last bit is worth that step.
_SMALL = """
def decode_{name}(word):
    magnitude = np.uint32(word & np.{word}({magnitudes}))
    normal = np.uint32((magnitude << np.uint32({shift})) + np.uint32({rebias}))
    below = np.float32(np.float32(np.int32(magnitude)) * np.float32({step!r})).view(np.uint32)
    bits = normal if magnitude >= np.uint32({first_normal}) else below
    bits = bits if magnitude <= np.uint32({largest}) else np.uint32(0x7F800000)
    bits = bits if magnitude <= np.uint32({last_number}) else np.uint32(0x7FC00000)
    sign = np.uint32(np.uint32(word >> np.{word}({sign})) << np.uint32(31))
    return np.uint32(bits | sign).view(np.float32)


def encode_{name}(value):
    bits = single_bits(value)
    magnitude = np.uint32(bits & np.uint32(0x7FFFFFFF))
    odd = (magnitude >> np.uint32({shift})) & np.uint32(1)
    normal = np.uint32(magnitude - np.uint32({rebias}) + np.uint32({below_half}) + odd) >> np.uint32({shift})
    moved = np.float32(np.uint32(magnitude).view(np.float32) + np.float32({mover!r})).view(np.uint32)
    below = np.uint32(moved - np.uint32({mover_bits}))
    code = np.uint32(normal) if magnitude >= np.uint32({smallest_normal}) else below
    code = code if code <= np.uint32({largest}) else np.uint32({largest} + 1)
    return np.uint32(code | np.uint32((bits >> np.uint32(31)) << np.uint32({sign})))
"""

_FUNCTIONS: Mapping[str, str] = {
    "F64": _WIDE,
    "F32": _WIDE,
    "BF16": _BFLOAT16,
    "F16": _SMALL,
    "F8_E4M3": _SMALL,
    "F8_E5M2": _SMALL,
}

_LOOPS = """
def load_{name}(words, values):
    for j in range(len(words)):
        values[j] = decode_{name}(words[j])


def store_{name}(values, words):
    for j in range(len(words)):
        value = values[j]
        words[j] = np.{word}(encode_{name}(value)) if value == value else np.{word}({nan})


def count_{name}(words):
    largest = np.{word}(0)
    for j in range(len(words)):
        magnitude = np.{word}(words[j] & np.{word}({magnitudes}))
        largest = magnitude if magnitude > largest else largest
    found = 0
    if largest > np.{word}({largest}):
        for j in range(len(words)):
            found += np.{word}(words[j] & np.{word}({magnitudes})) > np.{word}({largest})
    return found
"""


def write_storage(dtype: DType) -> str:
    """Return the functions ``load``, ``store`` and ``count`` of a float dtype, each over a run of numbers."""
    return (_FUNCTIONS[dtype.name] + _LOOPS).format(**_measure(dtype))


def _measure(dtype: DType) -> dict[str, Any]:
    """Return what the texts say of a format: codes as they are stored, and float32 patterns."""
    info = ml_dtypes.finfo(dtype.array)  # type: ignore[no-untyped-call]
    bits, word = 8 * dtype.size_bytes, f"u{dtype.size_bytes}"
    shift = 23 - info.nmant  # of a code's mantissa against that of float32
    largest = int(np.array(info.max, dtype.array).view(word))
    nan = int(encode(np.array([np.nan]), dtype).view(word)[0])
    step = float(info.smallest_subnormal)
    mover = step * (1 << 23)
    return {
        "name": dtype.name,
        "word": f"uint{bits}",
        "float": f"float{bits}",
        "sign": bits - 1,
        "magnitudes": (1 << (bits - 1)) - 1,
        "largest": largest,
        "nan": nan,
        "last_number": largest if nan == largest + 1 else largest + 1,  # infinity, where there is one
        "shift": shift,
        "first_normal": 1 << info.nmant,
        "smallest_normal": (info.minexp + 127) << 23,
        "rebias": (info.minexp + 126) << 23,
        "step": step,
        "below_half": (1 << max(shift - 1, 0)) - 1,
        "mover": mover,
        "mover_bits": int(np.array(mover, np.float32).view(np.uint32)),
    }
