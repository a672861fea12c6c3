"""Models that are awkward for compiled kernels, and the comparison of their merge with the interpreter's."""

from dataclasses import replace

import numpy as np

from smelt.algebra.declare import catalogue
from smelt.algebra.grid import BLOCK
from smelt.errors import SmeltError
from smelt.planning.planner import plan_recipe
from smelt.recipes.build import build_recipe
from smelt.running.runner import Pace, run_plan
from smelt.tensors.checkpoint import Checkpoint
from smelt.testing.variants import variants_of
from tiny import BF16, E4M3, E5M2

# The dtypes of the first model (the base where there is one) and of the others.
STORAGES = {
    "float32": ("f4", "f4"),
    "bfloat16": (BF16, BF16),
    "float16": ("f2", "f2"),
    "float64": ("f8", "f8"),
    "float8_e4m3fn": (E4M3, E4M3),
    "float8_e5m2": (E5M2, E5M2),
    "bfloat16 beside float32": (BF16, "f4"),
    "float32 beside bfloat16": ("f4", BF16),
    "float16 beside float8": ("f2", E4M3),
    "float32 beside float64": ("f4", "f8"),
}
OUT_DTYPES = ("bfloat16", "float32", "float16", "float64", "float8_e4m3fn", "float8_e5m2")
# In the quick tests every method is tried on the plain ones and on one of the others; in the full ones on all.
PLAIN = ("float32", "bfloat16", "bfloat16 beside float32", "float32 beside bfloat16")
SMALL = {
    "scalar": (),
    "one": (1,),
    "seven": (7,),
    "none": (0,),
    "no rows": (0, 5),
    "no columns": (5, 0),
    "tile less one": (1023,),
    "tile": (1024,),
    "tile and one": (1025,),
    "rows of one": (300, 1),
    "one row": (1, 300),
    "rows": (33, 129),
    "rows longer than a tile": (3, 1500),
    "convolution": (5, 3, 3, 3),
}
LARGE = {
    "block less one": (BLOCK - 1,),
    "block": (BLOCK,),
    "block and one": (BLOCK + 1,),
    "blocks": (2 * BLOCK + 77,),
    "blocks of rows": (301, 901),
    "row longer than a block": (2, BLOCK + 3),
}
SPECIAL = [np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, -1e-45, 2.0**-126, -1.1e-38, 3.4e38, -3.4e38, 1.0, -1.0]


def draw(count, shapes, storages, seed=1):
    """Return ``count`` models: entries near those of the first, every fourth of them equal to it."""
    random = np.random.default_rng(seed)
    models = [{} for _ in range(count)]
    for storage in storages:
        for label, shape in shapes.items():
            start = random.normal(size=shape)
            for place, model in enumerate(models):
                change = 0.1 * random.normal(size=shape) * (random.random(shape) < 0.75)
                dtype = STORAGES[storage][place > 0]
                model[f"{label} in {storage}"] = np.asarray(start + change * (place > 0)).astype(dtype)
    return models


def draw_ties(count, shapes):
    """Return models whose differences have few magnitudes, so that thresholds are met by many entries."""
    random = np.random.default_rng(2)
    models = [{} for _ in range(count)]
    for label, shape in shapes.items():
        start = random.integers(-8, 9, shape) / 8
        for place, model in enumerate(models):
            model[label] = np.asarray(start + (place > 0) * random.integers(-2, 3, shape) / 4).astype(BF16)
    return models


def draw_outliers(count, size):
    """Return models whose large differences stand together, where a sample of runs overlooks them."""
    random = np.random.default_rng(3)
    start = random.normal(size=size)
    models = [start]
    for place in range(1, count):
        change = 1e-3 * random.normal(size=size)
        change[size // 3 : size // 3 + size // 5] = 10.0 + place + random.random(size // 5)
        models.append(start + change)
    return [{"outliers": m.astype("f4")} for m in models]


def draw_special(count, shapes, storages=("float32",)):
    """Return models with NaN, infinities, zeros of both signs and subnormal numbers among ordinary entries."""
    random = np.random.default_rng(4)
    models = [{} for _ in range(count)]
    for storage in storages:
        for label, shape in shapes.items():
            for place, model in enumerate(models):
                ordinary = random.normal(size=shape)
                special = random.choice(SPECIAL, size=shape)
                with np.errstate(all="ignore"):
                    mixed = np.where(random.random(shape) < 0.2, special, ordinary)
                    model[f"{label} in {storage}"] = mixed.astype("f4").astype(STORAGES[storage][place > 0])
    return models


def storages_for(variant):
    """Return the storages that a variant can be tried on in one merge: a selection in all tensors has one precision."""
    together = variant.settings.get("scope") == "model"
    return [s for s in STORAGES if not (together and "float64" in s)]


def few_storages(variant):
    """Return the plain storages and one of the others, by turns of the methods."""
    others = [s for s in storages_for(variant) if s not in PLAIN]
    return [*PLAIN, others[list(catalogue()).index(variant.method.name) % len(others)]]


def add_spares(variant, models):
    """Add tensors without elements: merges of a method that hold the same dtypes share kernels."""
    storages = few_storages(variant)
    return [
        {f"none in {s}": np.empty(0, STORAGES[s][place > 0]) for s in storages} | model
        for place, model in enumerate(models)
    ]


def plan_variant(variant, models, **recipe):
    """Return the plan of a variant over arrays; the first is the base where there is one."""
    opened = [Checkpoint(dict(model)) for model in models]
    base, listed = (opened[0], opened[1:]) if variant.has_base else (None, opened)
    several = [listed] if "models" in variant.method.tensors else listed
    arguments = several if base is None else [base, *several] if variant.method.needs_base else [*several, base]
    return plan_recipe(build_recipe(variant.method, arguments, {**variant.settings, **recipe}), seed=5)


def settle(plan, pace):
    """Return the bytes of a merge by tensor, or the words in which it fails."""
    try:
        return {name: array.tobytes() for name, array in run_plan(plan, non_finite="report", pace=pace).items()}
    except SmeltError as error:
        return str(error)


def check_same(plan, *paces):
    """Hold the compiled engine to the interpreter's bytes."""
    expected = settle(plan, Pace(1, engine=False))
    for pace in paces or (Pace(1),):
        found = settle(plan, replace(pace, engine=True))
        if isinstance(expected, str):
            assert found == expected
            continue
        wrong = [name for name in expected if found[name] != expected[name]]
        assert not wrong, (wrong, pace)


def few_variants(name):
    """Return the variants of a method that together show every value of its structural settings, with and without base.

    Not all combinations: those are for the full suite.
    """
    chosen, seen = [], set()
    for variant in variants_of(name):
        shown = {(variant.has_base, n, v) for n, v in variant.settings.items() if isinstance(v, bool | int | str)}
        shown |= {(variant.has_base, "models", variant.count)}
        if not shown <= seen:
            chosen.append(variant)
            seen |= shown
    return chosen


def model_count(variant):
    """Return how many models a variant takes, with its base."""
    return variant.count + variant.has_base
