"""Merges in a process of its own: ``python elsewhere.py compiled NAME…`` prints what ``digests`` returns.

The golden merges, and the same recipes on models whose tensors fill several tiles.
"""

import json
import sys
import warnings

import numpy as np

import golden
import smelt
import tiny
from smelt.running.runner import Pace, SlowerWarning, run_plan


def digests(names, engine):
    """Return the digests of merges in the working directory: golden ones by their name, larger ones beside them."""
    found = {}
    for name in names:
        for dtype in golden.OUT_DTYPES:
            recipe = smelt.read(golden.MERGES[name] + f"out_dtype: {dtype}\n")
            golden.make_models(recipe)
            found[f"{name} as {dtype}"] = tiny.digest(run_plan(smelt.plan(recipe), pace=Pace(1, engine=engine)))
        make_larger_models(recipe)
        found[f"{name}, larger"] = tiny.digest(run_plan(smelt.plan(recipe), pace=Pace(1, engine=engine)))
    return found


def make_larger_models(recipe):
    """Write models with a matrix and a vector of odd sizes in place of those that a recipe names."""
    for seed, folder in enumerate(sorted({str(r) for document in recipe.documents for r in document.references()})):
        random = np.random.default_rng(seed)
        arrays = {"w": random.normal(size=(33, 517)).astype(tiny.BF16), "v": random.normal(size=2051).astype("f4")}
        tiny.save(folder, arrays, tiny.config())


if __name__ == "__main__":
    warnings.simplefilter("error", SlowerWarning)
    print(json.dumps(digests(sys.argv[2:], sys.argv[1] == "compiled")))
