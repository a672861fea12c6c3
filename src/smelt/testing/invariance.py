"""Checks that every method must pass: the bytes do not depend on how the work is done, and what comes out is finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from smelt.algebra.declare import Method
from smelt.errors import InputError
from smelt.running.runner import Pace
from smelt.testing.families import LARGE, LARGE_ROWS, draw_all_dtypes, draw_enormous, draw_family, draw_hostile
from smelt.testing.variants import Arrays, Variant, variants_at_ends, variants_of


def shuffle(count: int) -> Sequence[int]:
    """Return the numbers below ``count`` in an order without order, always the same."""
    return [int(number) for number in np.random.default_rng(6).permutation(count)]


ENGINE = "compiled kernels"

# Ways to do the same work; the first says what the bytes are. The compiled engine is one of them, and so held to the
# interpreter's bytes; what has no kernel the interpreter computes in that way too.
WAYS: Mapping[str, Pace] = {
    "in order": Pace(1, engine=False),
    "2 threads, small tiles and reads, shuffled": Pace(2, span=768, tile=512, engine=False, order=shuffle),
    "4 threads, tiles that divide nothing, shuffled": Pace(
        4, span=2**16 + 256, tile=256 * 77, window=1, engine=False, order=shuffle
    ),
    ENGINE: Pace(2, span=768, engine=True),
}


def check_bytes(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check that no way of working changes a byte, and that shape and dtype are the first tensor's.

    Tensors of all ranks and dtypes, empty ones, rows of one entry, and tensors of several blocks are tried.

    Args:
        method: the method or its name.
        settings: values that all variants share.

    Raises:
        AssertionError: with the variant, the way of working and the tensor.
    """
    tried: list[tuple[str, Any]] = []
    for place, variant in enumerate(variants_of(method, settings)):
        # Kernels are compiled on a machine's first run: at the defaults only.
        ways = [way for way in WAYS if way != ENGINE or place == 0]
        _check_ways(variant, *draw_all_dtypes(variant.count), ways)
        # Tensors of several blocks take long: all at the defaults and away from them, one for each further choice.
        choices = [(n, v) for n, v in variant.settings.items() if isinstance(v, bool | int | str)]
        large = LARGE if place < 2 else LARGE_ROWS
        if place < 2 or any(choice not in tried for choice in choices):
            _check_ways(variant, *draw_family(variant.count, large, np.float32), list(WAYS)[:3:2])
        tried += choices


def _check_ways(variant: Variant, base: Arrays, models: Sequence[Arrays], ways: Sequence[str]) -> None:
    first, owner = (base, "base") if variant.has_base else (models[0], "first model")
    in_order: dict[str, bytes] = {}
    for way in ways:
        merged = variant.merge(base if variant.has_base else None, models, WAYS[way])
        for name, expected in first.items():
            found = merged[name]
            if (found.shape, found.dtype) != (expected.shape, expected.dtype):
                words = f"is {found.dtype}{list(found.shape)}, not {expected.dtype}{list(expected.shape)}"
                raise AssertionError(f"{variant}: '{name}' {words} as that of the {owner}")
            if in_order.setdefault(name, found.tobytes()) != found.tobytes():
                raise AssertionError(f"{variant}: '{name}' has other bytes worked with {way} than {ways[0]}")


def check_hostile_input(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check that finite input gives finite output: zeros, constants, equal and opposite models, huge and tiny numbers.

    Settings are tried at the ends of their ranges too, where the method does not refuse them together with the rest.
    Entries whose squares float32 cannot hold are tried of methods that declare "scale": those have a finite answer.

    Args:
        method: the method or its name.
        settings: values that all variants share.

    Raises:
        AssertionError: with the variant, the kind of input and the tensor.
    """
    for variant in variants_of(method, settings):
        count = variant.count + variant.has_base
        for kind, models in draw_hostile(count).items():
            _check_finite(variant, kind, models)
        if "scale" in variant.method.holds:
            _check_finite(variant, "enormous", draw_enormous(count))
    for variant in variants_at_ends(method, settings):
        for kind, models in draw_hostile(variant.count + variant.has_base).items():
            try:
                _check_finite(variant, kind, models)
            except AssertionError as error:
                if not isinstance(error.__cause__, InputError):
                    raise


def _check_finite(variant: Variant, kind: str, models: Sequence[Arrays]) -> None:
    base, listed = (models[0], models[1:]) if variant.has_base else (None, models)
    for name, array in variant.merge(base, listed).items():
        wrong = ~np.isfinite(array)
        if wrong.any():
            value = float(array[wrong].flat[0])
            raise AssertionError(f"{variant}: for models that are {kind}, '{name}' holds {value}")
