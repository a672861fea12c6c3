"""DELLA: exact masks against an independent generator, values against float64, and its statistics."""

import math

import entry_oracles as oracles
import numpy as np
import pytest
from merging import (
    BFLOAT16,
    DTYPES,
    LONG_SHAPES,
    SHAPES,
    WIDER_SHAPES,
    check_all,
    draw_family,
    float32,
    merge,
    merge_tensors,
    precision_of,
)
from oracles import stream_key, uniforms

import smelt

WEIGHTS = {1: [0.75], 2: [0.25, 0.625], 3: [1.5, -0.25, 0.5], 5: [0.125, -0.5, 0.375, 0.5, 0.75]}
DENSITIES = {1: [0.3], 2: [0.3, 1.0], 3: [0.0, 0.3, 0.8], 5: [0.3, 0.2, 0.5, 1.0, 0.7]}
EPSILONS = {1: [0.2], 2: [0.25, 0.15], 3: [0.1, 0.29, 0.0], 5: [0.1, 0.1, 0.4, 0.3, 0.25]}
METHODS = ["della", "della_linear"]
BY_METHOD = pytest.mark.parametrize("method", METHODS)
SEED = 17


def check_della(method, base, models, **settings):
    count = len(models)

    def also(name):
        keys = [stream_key(SEED, "", place, name) for place in range(count)]
        return {"keys": keys, "elected": method == "della"}

    check_all(method, oracles.della, base, models, seed=SEED, also=also, **settings)


@BY_METHOD
@pytest.mark.parametrize("count", WEIGHTS)
@pytest.mark.parametrize("dtype", [DTYPES[n] for n in ("float32", "bfloat16", "float64")])
@pytest.mark.parametrize("rescale", [True, False, "l1"])
def test_it_is_what_the_paper_says(method, count, dtype, rescale):
    base, *models = draw_family(np.random.default_rng([1, count]), count, dtype, WIDER_SHAPES)
    settings = {"weight": WEIGHTS[count], "density": DENSITIES[count], "epsilon": EPSILONS[count]}
    settings |= {"rescale": rescale, "normalize": count % 2 == 1, "lam": 1.3}
    check_della(method, base, models, precision=precision_of(dtype), roundings=2 * count + 12, **settings)


def test_many_blocks():
    base, *models = draw_family(np.random.default_rng(2), 2, BFLOAT16, LONG_SHAPES, spread=0.05)
    settings = {"weight": [0.5, 0.75], "density": [0.3, 0.6], "epsilon": [0.2, 0.1], "normalize": True}
    check_della("della", base, models, precision="float32", roundings=16, threads=2, **settings)


@BY_METHOD
def test_worked_by_hand(method):
    # |δ| = 1, 2, 4, 8 have the ranks 0, 1, 2, 3, so with q = ½ and ε = 0.3 the probabilities 0.2, 0.4, 0.6, 0.8.
    draws = uniforms(stream_key(SEED, "", 0, "w"), 4)
    base, a = float32(1, 1, 1, 1), float32(9, -1, 5, 2)  # δ = 8, −2, 4, 1
    kept = draws < [0.8, 0.4, 0.6, 0.2]
    assert 0 < kept.sum() < 4
    expected = np.where(kept, np.array([8, -2, 4, 1]) / [0.8, 0.4, 0.6, 0.2], 0) + 1
    result = merge(method, base, [a], weight=1.0, density=0.5, epsilon=0.3, seed=SEED)
    np.testing.assert_allclose(result, expected, rtol=2.0**-21)


@BY_METHOD
@pytest.mark.parametrize("shape", [(40,), (8, 30), (6, 5, 4), (3, 2, 4, 5), (20, 1), (1,), ()], ids=str)
def test_ranks_are_those_of_rows_along_the_last_dimension(method, shape):
    # mergekit ranks larger tensors along dimension 1, and fails for rows of one entry.
    rng = np.random.default_rng(3)
    model = rng.permutation(np.arange(1.0, math.prod(shape) + 1)).reshape(shape).astype(np.float32)
    settings = {"weight": 1.0, "density": 0.5, "epsilon": 0.4, "rescale": False, "normalize": False}
    result = merge(method, np.zeros(shape, np.float32), [model], seed=SEED, **settings)
    probability = oracles.keep_probability(model.astype(np.float64), 0.5, 0.4)
    assert abs(probability.mean() - 0.5) < 1e-12
    draws = uniforms(stream_key(SEED, "", 0, "w"), model.size).reshape(shape)
    assert np.array_equal(result, np.where(draws < probability, model, 0))


@BY_METHOD
@pytest.mark.parametrize("rescale", [True, False, "l1"])
def test_epsilon_zero_is_dare(method, rescale):
    base, *models = draw_family(np.random.default_rng(5), 2, np.float32, WIDER_SHAPES)
    settings = {"weight": [0.5, 0.25], "density": [0.4, 0.7], "rescale": rescale, "normalize": True, "seed": SEED}
    dare = {"della": "dare_ties", "della_linear": "dare_linear"}[method]
    one = merge_tensors(method, base, models, epsilon=0.0, **settings)
    two = merge_tensors(dare, base, models, **settings)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=2.0**-20, atol=2.0**-21)
        assert np.array_equal(one[name] == base[name], two[name] == base[name])


@BY_METHOD
@pytest.mark.parametrize("rescale", [True, False, "l1"])
def test_density_one_keeps_everything_and_density_zero_gives_the_base(method, rescale):
    base, *models = draw_family(np.random.default_rng(6), 2, np.float32)
    settings = {"weight": [0.5, 0.25], "rescale": rescale, "normalize": False}
    plain = "ties" if method == "della" else "task_arithmetic"
    dense = merge_tensors(plain, base, models, weight=[0.5, 0.25], normalize=False)
    whole = merge_tensors(method, base, models, density=1.0, **settings)
    empty = merge_tensors(method, base, models, density=0.0, **settings)
    for name in SHAPES:
        np.testing.assert_allclose(whole[name], dense[name], rtol=0, atol=2.0**-21)
        assert np.array_equal(empty[name], base[name])


@BY_METHOD
@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.15), (0.9, 0.15), (0.5, 0.5), (0.15, 0.15), (0.05, None)])
def test_probabilities_outside_of_zero_to_one_are_refused(method, density, epsilon):
    base, a = (smelt.Checkpoint({"w": float32(1, 2)}) for _ in range(2))
    given = {} if epsilon is None else {"epsilon": epsilon}
    with pytest.raises(smelt.InputError, match="epsilon") as caught:
        smelt.plan(getattr(smelt.methods, method)(base, [a], weight=1.0, density=density, **given))
    assert "density" in str(caught.value)


@BY_METHOD
def test_draws_do_not_depend_on_which_other_models_are_listed(method):
    base, *models = draw_family(np.random.default_rng(7), 3, np.float32, {"w": (30, 40)})
    settings = {"density": 0.5, "epsilon": 0.2, "normalize": False, "seed": SEED}
    alone = merge_tensors(method, base, models[:1], weight=1.0, **settings)["w"]
    more = merge_tensors(method, base, models, weight=[1.0, 0.0, 0.0], **settings)["w"]
    assert np.array_equal(alone, more)
    checkpoints = [smelt.Checkpoint(m) for m in (base, models[0])]  # the base among the models takes no place
    recipe = getattr(smelt.methods, method)(
        checkpoints[0], checkpoints, weight=1.0, **{k: v for k, v in settings.items() if k != "seed"}
    )
    assert np.array_equal(alone, smelt.run(smelt.plan(recipe, seed=SEED))["w"])


def test_mean_variance_and_keep_probability_over_seeds():
    # One row of 40 entries; entry i has rank i.
    seeds, density, epsilon = 500, 0.4, 0.3
    deltas = np.linspace(0.25, 4, 40).astype(np.float32)
    base = np.zeros(40, np.float32)
    settings = {"weight": 1.0, "density": density, "epsilon": epsilon}
    sample = np.stack([merge("della_linear", base, [deltas], seed=s, **settings) for s in range(seeds)])
    probability = density - epsilon + 2 * epsilon * np.arange(40) / 39
    kept = (sample != 0).mean(axis=0)
    spread = np.sqrt(probability * (1 - probability) / seeds)
    assert np.abs((kept - probability) / spread).max() < 5  # binomial, rank by rank
    assert abs(kept.mean() - density) < 5 * math.sqrt((spread**2).sum()) / 40
    wide = deltas.astype(np.float64)
    error = wide * np.sqrt((1 - probability) / probability / seeds)
    scores = (sample.mean(axis=0) - wide) / error
    assert np.abs(scores).max() < 5
    assert abs(scores.mean()) < 5 / math.sqrt(40)
    # The variance of δ·m/p is δ²(1 − p)/p; the fourth moment of m says how far a sample's may lie from it.
    share = ((sample - wide) ** 2 / (error**2 * seeds)).mean()
    fourth = (1 - 3 * probability * (1 - probability)) / (probability * (1 - probability))
    assert abs(share - 1) < 5 * math.sqrt(np.sum(fourth - 1) / seeds) / 40


def test_the_mean_of_della_linear_over_several_models_is_task_arithmetic():
    seeds = 400
    base, *models = (m["w"] for m in draw_family(np.random.default_rng(8), 2, np.float32, {"w": (4, 12)}))
    weight, density, epsilon = [0.5, -0.75], [0.3, 0.6], [0.2, 0.3]
    settings = {"weight": weight, "density": density, "epsilon": epsilon}
    sample = np.stack([merge("della_linear", base, models, seed=s, **settings) for s in range(seeds)])
    deltas = [m.astype(np.float64) - base for m in models]
    chances = [oracles.keep_probability(d, q, e) for d, q, e in zip(deltas, density, epsilon, strict=True)]
    variance = sum((w * d) ** 2 * (1 - p) / p for w, d, p in zip(weight, deltas, chances, strict=True))
    expected = base + sum(w * d for w, d in zip(weight, deltas, strict=True))
    assert (np.abs(sample.mean(axis=0) - expected) < 5 * np.sqrt(variance / seeds) + 1e-6).all()


def test_l1_keeps_the_summed_magnitude():
    _, a = draw_family(np.random.default_rng(9), 1, np.float32, {"w": (300, 300), "v": (77,)})
    zero = {n: np.zeros_like(x) for n, x in a.items()}
    for density, epsilon in ((0.1, 0.05), (0.4, 0.3), (0.9, 0.05)):
        settings = {"density": density, "epsilon": epsilon, "rescale": "l1"}
        for name, array in merge_tensors("della_linear", zero, [a], weight=1.0, **settings).items():
            before, after = (np.abs(x.astype(np.float64)).sum() for x in (a[name], array))
            assert abs(after / before - 1) < 1e-6


def test_a_stage_with_della_under_ties_is_two_runs():
    # The second document ranks, by a sample and by rows, what the first one draws.
    base, *models = draw_family(np.random.default_rng(10), 2, np.float32, {"w": (300, 1000), "v": (7, 5), "u": (9,)})
    base_, a, b = (smelt.Checkpoint(m) for m in (base, *models))
    for scope in ("tensor", "row"):
        settings = {"weight": 0.7, "density": 0.4, "epsilon": 0.2}
        stage = smelt.methods.della(base_, [a, b], name="stage", seed=SEED, **settings)
        last = {"weight": [0.6, 0.5], "density": 0.3, "scope": scope}
        together = smelt.run(smelt.plan(smelt.methods.ties(base_, [stage, a], **last)), threads=2)
        middle = smelt.Checkpoint(dict(smelt.run(smelt.plan(stage))))
        apart = smelt.run(smelt.plan(smelt.methods.ties(base_, [middle, a], **last)))
        assert all(together[n].tobytes() == apart[n].tobytes() for n in base)
