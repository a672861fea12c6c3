"""Families of models to try a method on: a base and fine-tunes of it, ordinary ones and hostile ones."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from smelt.algebra.grid import BLOCK
from smelt.testing.variants import Arrays

Floats = NDArray[np.float64]
Shapes = Mapping[str, tuple[int, ...]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": BFLOAT16, "float16": np.dtype(np.float16)}

SMALL: Shapes = {
    "scalar": (),
    "single": (1,),
    "none": (0,),
    "no_rows": (0, 3),
    "vector": (33,),
    "column": (5, 1),
    "matrix": (24, 24),
    "convolution": (3, 2, 3, 3),
}
# Two blocks each: whole rows that do not fill a block, and one row that is longer than a block.
LARGE: Shapes = {"rows": (257, 1021), "long": (BLOCK + 77,)}
# The same for what asks of each row.
LARGE_ROWS: Shapes = {"rows": LARGE["rows"], "long": (2, BLOCK + 77)}
HOSTILE_SHAPES: Shapes = {"scalar": (), "column": (3, 1), "matrix": (4, 6), "no_columns": (3, 0)}


def draw_family(count: int, shapes: Shapes, dtype: DTypeLike, seed: int = 1) -> tuple[Arrays, list[Arrays]]:
    """Return a base and ``count`` fine-tunes of it, whose entries differ by amounts of very different size."""
    draws = np.random.default_rng(seed)
    base = {name: draw_rounded(draws, shape) for name, shape in shapes.items()}
    models = [{name: x + draw_difference(draws, x.shape) for name, x in base.items()} for _ in range(count)]
    cast: list[Arrays] = [{name: np.asarray(x).astype(dtype) for name, x in model.items()} for model in (base, *models)]
    return cast[0], cast[1:]


def draw_rounded(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return normal entries; few enough bits that sums with differences, scaled ones too, are exact in float64."""
    return np.asarray(np.round(draws.standard_normal(shape) * 2.0**20) / 2.0**20)


def draw_difference(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return entries of both signs between 2^-24 and 1, as many in each octave."""
    size = np.ldexp(draws.uniform(0.5, 1.0, shape), draws.integers(-23, 1, shape))
    return np.round(np.where(draws.random(shape) < 0.5, -size, size) * 2.0**36) / 2.0**36


def draw_all_dtypes(count: int) -> tuple[Arrays, list[Arrays]]:
    """Return a family of small tensors: matrices in each dtype, and in one for the base and another for the rest."""
    base, models = draw_family(count, SMALL, np.float32)
    for dtype, other in (("float16", "float16"), ("bfloat16", "bfloat16"), ("bfloat16", "float32")):
        name = f"matrix in {dtype}" + (f" and {other}" if other != dtype else "")
        for place, model in enumerate((base, *models)):
            model[name] = model["matrix"].astype(DTYPES[other if place else dtype])
    return base, models


def draw_hostile(count: int) -> Mapping[str, list[Arrays]]:
    """Return ``count`` models (a base is the first of them) for each kind of trouble, by its name.

    All entries are finite float32, and those of two further matrices bfloat16 and float16. Magnitudes stay within
    1e±18, or are subnormal: products of two entries are finite in float32 and of four in float64, so that every formula
    of that degree has a finite answer. In float16 they stay within 1e-7 and 1e3.
    """
    draws = np.random.default_rng(4)
    kinds: dict[str, list[Arrays]] = {}
    for name, shape in HOSTILE_SHAPES.items():
        for kind, arrays in _hostile_kinds(draws, count, shape).items():
            models = kinds.setdefault(kind, [{} for _ in range(count)])
            for model, array in zip(models, arrays, strict=True):
                model[name] = np.asarray(array).astype(np.float32)
    for model in (model for models in kinds.values() for model in models):
        model["matrix in bfloat16"] = model["matrix"].astype(BFLOAT16)
        size = np.clip(np.abs(model["matrix"]), 1e-7, 1e3)
        model["matrix in float16"] = (np.sign(model["matrix"]) * size).astype(np.float16)
    return kinds


def draw_enormous(count: int) -> list[Arrays]:
    """Return ``count`` models whose entries float32 holds, and whose squares it does not."""
    draws = np.random.default_rng(7)
    return [
        {"matrix": (draws.choice([-1e36, 1e36], (4, 6)) * draws.uniform(0.5, 1.0, (4, 6))).astype(np.float32)}
        for _ in range(count)
    ]


def _hostile_kinds(draws: np.random.Generator, count: int, shape: tuple[int, ...]) -> dict[str, list[Floats]]:
    def signed(exponents: float | Floats = 0.0) -> Floats:
        return np.asarray(10.0**exponents * draws.choice([-1.0, 1.0], shape) * draws.uniform(0.5, 1.0, shape))

    places = range(count)
    one, other = signed(), signed()
    return {
        "zeros": [np.zeros(shape) for _ in places],
        "constants": [np.full(shape, 0.5 * place) for place in places],
        "identical": [one for _ in places],
        "identical but the first": [other if place == 0 else one for place in places],
        "opposite": [one * (-1.0) ** place for place in places],
        "opposite but the first": [one * (place and (-1.0) ** place) for place in places],
        "huge": [signed(18.0) for _ in places],
        "subnormal": [signed(-40.0) for _ in places],
        "huge and tiny": [signed(draws.uniform(-18.0, 18.0, shape)) for _ in places],
        "zero, ordinary and subnormal": [
            signed(-40.0 if place == count - 1 else 0.0) * (place > 0) for place in places
        ],
        "ordinary in some entries and subnormal in others": [
            signed(draws.choice([0.0, -40.0], shape)) * (place > 0) for place in places
        ],
        "one far larger": [signed(18.0 if place == count - 1 else 0.0) for place in places],
        "one zero": [signed() * (place != count - 1) for place in places],
    }
