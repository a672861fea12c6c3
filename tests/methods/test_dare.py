"""DARE: exact masks against an independent generator, values against float64, and its statistics."""

import math

import numpy as np
import oracles
import pytest
from merging import BFLOAT16, DTYPES, SHAPES, draw_family, float32, merge, merge_tensors

import smelt

WEIGHTS = {1: [0.75], 2: [0.25, 0.625], 3: [1.5, -0.25, 0.5], 8: [0.125, 0.25, 0.375, -0.5, 0.5, 0.625, 0.75, 1]}
DENSITIES = {1: [0.3], 2: [0.3, 1.0], 3: [0.0, 0.3, 0.9], 8: [0.3, 0.3, 0.5, 0.1, 1.0, 0.0, 0.7, 0.05]}
ORACLES = {"dare_linear": oracles.dare_linear, "dare_ties": oracles.dare_ties}
SEED = 17


def keys(count, name="w", seed=SEED):
    return [oracles.stream_key(seed, "", place, name) for place in range(count)]


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("count", WEIGHTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("rescale", [True, False, "l1"])
def test_it_is_what_the_paper_says(method, count, dtype, rescale):
    base, *models = draw_family(np.random.default_rng([11, count]), count, dtype)
    precision = "float64" if dtype == np.float64 else "float32"
    settings = {"weight": WEIGHTS[count], "density": DENSITIES[count], "rescale": rescale, "normalize": count % 2 == 1}
    result = merge_tensors(method, base, models, seed=SEED, out_dtype=precision, lambda_=1.3, **settings)
    for name in SHAPES:
        listed = [m[name] for m in models]
        expected = ORACLES[method](base[name], listed, keys=keys(count, name), lam=1.3, **settings)
        expected.check(result[name], precision, 2 * count + 10)


@pytest.mark.parametrize("shape", [(2**18 + 1,), (2**18 + 1, 1), (5, 100_003), (2, 2**18 + 7)], ids=str)
def test_around_the_borders_of_blocks(shape):
    base, *models = draw_family(np.random.default_rng(3), 2, BFLOAT16, {"w": shape}, spread=0.05)
    settings = {"weight": [0.5, 0.75], "density": [0.3, 0.6]}
    result = merge_tensors("dare_ties", base, models, seed=SEED, out_dtype="float32", threads=2, **settings)
    expected = oracles.dare_ties(base["w"], [m["w"] for m in models], keys=keys(2), **settings)
    expected.check(result["w"], "float32", 14)


@pytest.mark.parametrize("method", ORACLES)
def test_worked_by_hand(method):
    # The uniforms of seed 17, first model, tensor "w"; density ½ keeps those below ½ and doubles them.
    uniforms = oracles.uniforms(keys(1)[0], 4)
    base, a = float32(1, 1, 1, 1), float32(2, 3, 5, 9)
    expected = [1 + 2 * delta if u < 0.5 else 1.0 for u, delta in zip(uniforms, (1, 2, 4, 8), strict=True)]
    assert 0 < sum(u < 0.5 for u in uniforms) < 4
    assert merge(method, base, [a], weight=1.0, density=0.5, seed=SEED).tolist() == expected


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("density", [0.1, 0.3, 0.75])
def test_the_masks_are_exact(method, density):
    # With a base of 0 and powers of two, each entry of the sum says which of three models it was kept from.
    shape = (64, 100)
    models = [np.full(shape, 2.0**place, np.float32) for place in range(3)]
    settings = {"weight": 1.0, "density": density, "rescale": False}
    result = merge(method, np.zeros(shape, np.float32), models, seed=SEED, **settings)
    for place, key in enumerate(keys(3)):
        kept = (result.astype(int) >> place) & 1 == 1
        np.testing.assert_array_equal(kept, oracles.kept_mask(shape, density, key))
        standard_error = math.sqrt(density * (1 - density) / kept.size)
        assert abs(kept.mean() - density) < 5 * standard_error


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("rescale", [True, False, "l1"])
def test_density_one_changes_nothing_and_density_zero_gives_the_base(method, rescale):
    base, *models = draw_family(np.random.default_rng(5), 2, np.float32)
    settings = {"weight": [0.5, 0.25], "rescale": rescale}
    whole = merge_tensors(method, base, models, density=1.0, **settings)
    plain = {"dare_linear": ("task_arithmetic", {}), "dare_ties": ("ties", {"normalize": False})}[method]
    dense = merge_tensors(plain[0], base, models, weight=[0.5, 0.25], **plain[1])
    if rescale != "l1":
        assert all(np.array_equal(whole[n], dense[n]) for n in SHAPES)
    for name in SHAPES:
        np.testing.assert_allclose(whole[name], dense[name], rtol=0, atol=2.0**-21)
    for normalize in (True, False):
        empty = merge_tensors(method, base, models, density=0.0, normalize=normalize, **settings)
        assert all(np.array_equal(empty[n], base[n]) for n in SHAPES)


@pytest.mark.parametrize("method", ORACLES)
def test_draws_depend_on_seed_tensor_and_place_and_on_nothing_else(method):
    base, *models = draw_family(np.random.default_rng(6), 3, np.float32, {"w": (500,), "v": (500,)})
    far = {n: x + 100 for n, x in base.items()}
    settings = {"density": 0.5, "rescale": False}
    alone = merge_tensors(method, base, [far], weight=1.0, seed=SEED, **settings)
    more = merge_tensors(method, base, [far, *models], weight=[1.0, 0, 0, 0], seed=SEED, **settings)
    listed = merge_tensors(method, base, [{**base}, far], weight=1.0, seed=SEED, **settings)
    other = merge_tensors(method, base, [far], weight=1.0, seed=SEED + 1, **settings)
    assert all(np.array_equal(alone[n], more[n]) for n in alone)

    def kept(result, name="w"):
        return result[name] - base[name] > 50

    assert 0.3 < np.mean(kept(alone) == kept(alone, "v")) < 0.7
    assert 0.3 < np.mean(kept(alone) == kept(other)) < 0.7
    assert 0.3 < np.mean(kept(alone) == kept(listed)) < 0.7  # a copy of the base is another model: the places move


def over_seeds(method, base, models, seeds, **settings):
    return np.stack([merge(method, base, models, seed=seed, **settings) for seed in range(seeds)]).astype(np.float64)


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("density", [0.2, 0.7])
def test_mean_and_variance_over_seeds(method, density):
    seeds = 400
    deltas = np.linspace(0.25, 4, 48)
    base, model = np.zeros(48, np.float32), deltas.astype(np.float32)
    sample = over_seeds(method, base, [model], seeds, weight=1.0, density=density)
    spread = deltas * math.sqrt((1 - density) / density)
    # Over all 48 entries at once, in units of each entry's standard error: a mean of 0 and a mean square of 1.
    scores = (sample.mean(axis=0) - deltas) / (spread / math.sqrt(seeds))
    assert np.abs(scores).max() < 5
    assert abs(scores.mean()) < 5 / math.sqrt(48)
    # The variance of a scaled Bernoulli variable; how far a sample's may lie from it follows from the fourth moment.
    share = (((sample - deltas) / spread) ** 2).mean()
    fourth = (1 - 3 * density * (1 - density)) / (density * (1 - density))
    assert abs(share - 1) < 5 * math.sqrt((fourth - 1) / (48 * seeds))


def test_l1_keeps_the_summed_magnitude():
    base, a = draw_family(np.random.default_rng(8), 1, np.float32, {"w": (300, 300)})
    zero = {"w": np.zeros_like(base["w"])}
    for density in (0.01, 0.3, 0.9):
        result = merge_tensors("dare_linear", zero, [a], weight=1.0, density=density, rescale="l1")["w"]
        before, after = (np.abs(x.astype(np.float64)).sum() for x in (a["w"], result))
        assert abs(after / before - 1) < 1e-6


def test_l1_with_nothing_kept_gives_the_base():
    seed = next(s for s in range(100) if oracles.uniforms(keys(1, seed=s)[0], 2).min() > 0.3)
    for method in ORACLES:
        result = merge(method, float32(1, 2), [float32(3, 5)], weight=1.0, density=0.3, rescale="l1", seed=seed)
        assert result.tolist() == [1, 2]


@pytest.mark.parametrize("density", [0.3, 0.7])
def test_a_disjoint_mean_over_survivors_amplifies(density):
    # N equal deltas: at least one survives with 1 − (1−q)ᴺ, and each survivor counts 1/q: A = (1 − (1−q)ᴺ)/q.
    count, size = 3, 200_000
    models = [np.ones(size, np.float32)] * count
    result = merge("dare_ties", np.zeros(size, np.float32), models, weight=1.0, density=density, normalize=True)
    some = 1 - (1 - density) ** count
    standard_error = math.sqrt(some * (1 - some) / size) / density
    assert abs(result.astype(np.float64).mean() - some / density) < 5 * standard_error


def test_the_mean_of_dare_linear_is_task_arithmetic():
    base, *models = (m["w"] for m in draw_family(np.random.default_rng(9), 3, np.float32, {"w": (40,)}))
    settings = {"weight": [0.5, -0.25, 1.0]}
    sample = over_seeds("dare_linear", base, models, 400, density=[0.3, 0.5, 0.8], **settings)
    expected = oracles.task_arithmetic(base, models, **settings)
    variance = sum(
        (w * (m - base)) ** 2 * (1 - q) / q for w, m, q in zip((0.5, -0.25, 1.0), models, (0.3, 0.5, 0.8), strict=True)
    )
    assert (np.abs(sample.mean(axis=0) - expected.value) < 5 * np.sqrt(variance / 400) + 1e-6).all()


def test_a_named_stage_draws_under_its_name():
    base, a, c = (m["w"] for m in draw_family(np.random.default_rng(10), 2, np.float32, {"w": (30, 7)}))
    models = [smelt.Checkpoint({"w": x}) for x in (base, a, c)]
    stage = smelt.methods.dare_linear(models[0], [models[1]], weight=0.5, density=0.3, name="half", seed=SEED)
    both = smelt.methods.task_arithmetic(models[0], [stage, models[2]], weight=[0.75, 0.5])
    result = smelt.run(smelt.plan(both))["w"]
    # B + 0.75·(B + 0.5·m∘τ₁/0.3 − B) + 0.5·τ₂: one dare_linear of both, with densities 0.3 and 1.
    key = oracles.stream_key(SEED, "half", 0, "w")
    settings = {"weight": [0.375, 0.5], "density": [0.3, 1.0], "keys": [key, key]}
    oracles.dare_linear(base, [a, c], **settings).check(result, "float32", 14)
    alone = smelt.run(smelt.plan(stage))["w"]
    assert np.array_equal(alone != base, oracles.kept_mask(base.shape, 0.3, key) & (a != base))
