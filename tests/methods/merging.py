"""Small merges of arrays in memory, and the arrays for them."""

import ml_dtypes
import numpy as np

import smelt

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "float64": np.dtype(np.float64)}
DTYPES["bfloat16"] = BFLOAT16
SHAPES = {"scalar": (), "one": (1,), "none": (0,), "no_rows": (0, 4), "vector": (5,), "matrix": (33, 65)}
SHAPES |= {"cube": (2, 3, 4), "norm": (1025,)}
WIDER_SHAPES = SHAPES | {"convolution": (3, 2, 4, 5), "rows_of_one": (7, 1)}
# Three blocks each: a long vector, rows longer than a block, and many rows.
LONG_SHAPES = {"long": (2 * 2**18 + 77,), "wide": (2, 300_000), "rows": (600, 1000)}


def merge_tensors(method, *models, seed=None, threads=1, **settings):
    """Merge mappings of arrays: ``merge_tensors("ties", base, [a, b], weight=0.5)``."""
    checkpoints = [[smelt.Checkpoint(n) for n in m] if isinstance(m, list) else smelt.Checkpoint(m) for m in models]
    recipe = getattr(smelt.methods, method)(*checkpoints, **settings)
    return smelt.run(smelt.plan(recipe, seed=seed), threads=threads)


def merge(method, *models, name="w", **settings):
    """Merge single arrays: the same with the one tensor ``name`` in every model."""
    named = [[{name: np.asarray(n)} for n in m] if isinstance(m, list) else {name: np.asarray(m)} for m in models]
    return merge_tensors(method, *named, **settings)[name]


def draw_family(rng, count, dtype, shapes=SHAPES, spread=0.3):
    """Return a base and ``count`` fine-tunes of it."""
    base = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    tuned = [{n: x + spread * rng.standard_normal(x.shape) for n, x in base.items()} for _ in range(count)]
    return [{n: np.asarray(x).astype(dtype) for n, x in model.items()} for model in (base, *tuned)]


def float32(*values):
    return np.array(values, np.float32)


def check_all(method, oracle, *models, precision, roundings, seed=None, threads=1, also=None, **settings):
    """Merge mappings of arrays and compare every tensor with ``oracle(*arrays, **settings)``.

    Args:
        also: gives further arguments of the oracle for a tensor, by its name.
    """
    spelled = {"lambda_" if k == "lam" else k: v for k, v in settings.items()}
    result = merge_tensors(method, *models, seed=seed, threads=threads, out_dtype=precision, **spelled)
    for name, array in result.items():
        arrays = [[n[name] for n in m] if isinstance(m, list) else m[name] for m in models]
        expected = oracle(*arrays, **settings, **(also(name) if also else {}))
        try:
            expected.check(array, precision, roundings)
        except AssertionError as error:
            raise AssertionError(f"{method}, tensor {name}: {error}") from error


def precision_of(dtype):
    """Return the dtype that a merge of such inputs computes in."""
    return "float64" if dtype == np.float64 else "float32"
