"""The float64 oracle of the accuracy tests is what the papers say: it agrees with the oracles written from them."""

import math

import entry_oracles
import numpy as np
import oracles
import pytest
from measuring import SHAPE, half_step
from shadows import Trace

import smelt

WEIGHT, DENSITY, GAMMA, EPSILON = [0.7, 0.4, -0.3], [0.6, 0.45, 0.8], [0.1, 0.05, 0.2], [0.1, 0.2, 0.15]
TRIMMED = {"weight": WEIGHT, "density": DENSITY}
# Method, settings, and the same by the oracle of a base, models, and the keys of the noise streams.
CASES = {
    "task_arithmetic": ({"weight": WEIGHT}, lambda b, m, k: oracles.task_arithmetic(b, m, WEIGHT)),
    "ties": (TRIMMED, lambda b, m, k: oracles.ties(b, m, WEIGHT, DENSITY)),
    "breadcrumbs": (
        TRIMMED | {"gamma": GAMMA},
        lambda b, m, k: entry_oracles.breadcrumbs(b, m, WEIGHT, DENSITY, GAMMA),
    ),
    "breadcrumbs_ties": (
        TRIMMED | {"gamma": GAMMA, "normalize": True},
        lambda b, m, k: entry_oracles.breadcrumbs_ties(b, m, WEIGHT, DENSITY, GAMMA, True),
    ),
    "dare_linear": (TRIMMED, lambda b, m, k: oracles.dare_linear(b, m, WEIGHT, DENSITY, k)),
    "dare_ties": (TRIMMED, lambda b, m, k: oracles.dare_ties(b, m, WEIGHT, DENSITY, k)),
    "della": (TRIMMED | {"epsilon": EPSILON}, lambda b, m, k: entry_oracles.della(b, m, WEIGHT, DENSITY, EPSILON, k)),
    "della_linear": (
        TRIMMED | {"epsilon": EPSILON},
        lambda b, m, k: entry_oracles.della(b, m, WEIGHT, DENSITY, EPSILON, k, normalize=False, elected=False),
    ),
    "sce": ({"select_topk": 0.4}, lambda b, m, k: entry_oracles.sce(b, m, 0.4)),
    "ram": ({"epsilon": 0.3}, lambda b, m, k: entry_oracles.ram(b, m, 0.3)),
    "ramplus_tl": (
        {"epsilon": 0.3, "r": 0.5, "alpha": 0.7},
        lambda b, m, k: entry_oracles.ram(b, m, 0.3, 0.5, 0.7),
    ),
    "magmax": ({"lambda_": 0.7}, lambda b, m, k: entry_oracles.magmax(b, m, 0.7)),
    "linear": ({"weight": WEIGHT}, lambda b, m, k: oracles.linear(m, WEIGHT)),
    "slerp": ({"t": 0.3}, lambda b, m, k: oracles.slerp(b, m[0], 0.3)),
    "nearswap": ({"t": 0.3}, lambda b, m, k: entry_oracles.nearswap(b, m[0], 0.3)),
    "passthrough": ({"scale": 0.7}, lambda b, m, k: oracles.passthrough(b, 0.7)),
}


def draw_arrays():
    """A base and three models on a grid, so that float32 takes their differences exactly."""
    draws = np.random.default_rng(5)
    return [(draws.integers(-4096, 4097, SHAPE) / 1024).astype("f4") for _ in range(4)]


@pytest.mark.parametrize("name", CASES)
def test_the_shadow_of_a_method_is_its_oracle(name):
    settings, oracle = CASES[name]
    base, *models = draw_arrays()
    opened = [smelt.Checkpoint({"w": array}) for array in (base, *models)]
    arguments = {"linear": [opened[1:]], "passthrough": opened[:1], "slerp": opened[:2], "nearswap": opened[:2]}
    plan = smelt.plan(getattr(smelt.methods, name)(*arguments.get(name, [opened[0], opened[1:]]), **settings), seed=3)
    (output,) = plan.outputs
    expected = oracle(base, models, output.keys)
    error = abs(Trace(plan, output).root.value - expected.value.reshape(-1)).reshape(SHAPE)
    assert np.count_nonzero(expected.undecided) <= 2
    assert (error <= 1e-12 * expected.terms)[~expected.undecided].all()


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1.0, "float32", 2.0**-24),
        (-1.99, "bfloat16", 2.0**-8),
        (2.0, "bfloat16", 2.0**-7),
        (1e-40, "bfloat16", 2.0**-134),
        (1e-40, "float32", 2.0**-150),
        (3e-5, "float16", 2.0**-25),
        (448.0, "float8_e4m3fn", 16.0),
        (0.001, "float8_e5m2", 2.0**-13),
    ],
)
def test_half_a_step(value, dtype, expected):
    assert math.isclose(half_step(np.float64(abs(value)), dtype), expected, rel_tol=0.0)


def test_a_bound_by_hand():
    """0.1·a + 0.2·b: two settings rounded, two products, a sum, so five roundings, of which three on either way."""
    models = [smelt.Checkpoint({"w": np.array([x], np.float32)}) for x in (3.0, -1.5)]
    plan = smelt.plan(smelt.methods.linear(models, weight=[0.1, 0.2], normalize=False))
    root = Trace(plan, plan.outputs[0]).root
    assert root.count == 3
    assert math.isclose(root.value[0], 0.0, abs_tol=1e-16)
    assert math.isclose(root.terms[0], 0.6, rel_tol=1e-15)
