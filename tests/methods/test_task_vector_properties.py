"""What must hold for every method on task vectors, whatever the numbers are."""

import numpy as np
import oracles
import pytest
from merging import SHAPES, draw_family, float32, merge, merge_tensors

import smelt

TRIMMING = ["ties", "breadcrumbs", "breadcrumbs_ties"]
DRAWING = ["dare_linear", "dare_ties", "della", "della_linear"]
METHODS = ["task_arithmetic", *TRIMMING, *DRAWING]
SPARSE = {*TRIMMING, *DRAWING}


def settings_of(method, count, **more):
    weights = {"weight": [0.5, 0.25, 0.75, 1.0][:count]}
    return weights | ({"density": 0.4} if method in SPARSE else {}) | more


@pytest.fixture(scope="module")
def family():
    return draw_family(np.random.default_rng(21), 3, np.float32)


def same(one, two):
    return all(one[name].tobytes() == two[name].tobytes() for name in SHAPES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("count", [1, 4])
def test_models_that_are_all_the_base_give_its_bytes(family, method, normalize, count):
    base = family[0]
    copies = [{**base} for _ in range(count)]
    assert same(merge_tensors(method, base, copies, **settings_of(method, count, normalize=normalize)), base)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_listing_the_base_changes_no_byte(family, method, normalize, place):
    base, a, b, _ = (smelt.Checkpoint(m) for m in family)
    settings = settings_of(method, 2, normalize=normalize)
    plain = smelt.run(smelt.plan(getattr(smelt.methods, method)(base, [a, b], **settings), seed=3))
    settings["weight"].insert(place, 9.0)
    listed = [a, b]
    listed.insert(place, base)
    assert same(smelt.run(smelt.plan(getattr(smelt.methods, method)(base, listed, **settings), seed=3)), plain)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalize", [True, False])
def test_lambda_zero_gives_the_base(family, method, normalize):
    base, *models = family
    result = merge_tensors(method, base, models, **settings_of(method, 3, normalize=normalize, lambda_=0))
    assert all(np.array_equal(result[name], base[name]) for name in SHAPES)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalize", [True, False])
def test_scaling_all_models_scales_the_result(family, method, normalize):
    one, *models = ({n: x * np.float32(4) for n, x in m.items()} for m in family)
    settings = settings_of(method, 3, normalize=normalize)
    scaled = merge_tensors(method, one, models, **settings)
    plain = merge_tensors(method, family[0], family[1:], **settings)
    assert all(np.array_equal(scaled[name], plain[name] * np.float32(4)) for name in SHAPES)


@pytest.mark.parametrize("method", METHODS)
def test_it_moves_along_with_a_translation_of_all_models(method):
    rng = np.random.default_rng(4)
    base, *models, shift = (rng.integers(-50, 50, (20, 30)).astype(np.float32) for _ in range(5))
    settings = settings_of(method, 3, normalize=False) | ({"density": 0.5} if method in SPARSE else {})
    settings |= {"rescale": False} if "della" in method else {}  # it divides by what is no power of two
    plain = merge(method, base, models, **settings)
    moved = merge(method, base + shift, [m + shift for m in models], **settings)
    assert np.array_equal(moved, plain + shift)  # everything is a multiple of 1/8: exact


@pytest.mark.parametrize("method", ["task_arithmetic", *TRIMMING])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_order_of_the_models_matters_to_rounding_only(family, method, normalize):
    base, a, b, c = family
    settings = {"normalize": normalize} | ({"density": 0.4} if method in SPARSE else {})
    one = merge_tensors(method, base, [a, b, c], weight=[0.5, 0.25, -0.125], **settings)
    two = merge_tensors(method, base, [c, a, b], weight=[-0.125, 0.5, 0.25], **settings)
    for name in SHAPES:
        np.testing.assert_allclose(one[name], two[name], rtol=0, atol=2.0**-18)
    one = merge_tensors(method, base, [a, b], weight=[0.5, 0.25], **settings)
    assert same(one, merge_tensors(method, base, [b, a], weight=[0.25, 0.5], **settings))


@pytest.mark.parametrize("method", METHODS)
def test_one_model_at_weight_one_is_that_model(method):
    rng = np.random.default_rng(5)
    base, a = (rng.integers(-50, 50, (20, 30)).astype(np.float32) for _ in range(2))
    for normalize in (True, False):
        assert np.array_equal(merge(method, base, [a], weight=1.0, normalize=normalize), a)


def test_subtracting_the_base_from_a_fine_tune_extrapolates():
    rng = np.random.default_rng(6)
    tuned, base = (rng.standard_normal((20, 30)).astype(np.float32) for _ in range(2))
    result = merge("task_arithmetic", tuned, [base], weight=-1.0)
    wide = 2 * tuned.astype(np.float64) - base
    assert (np.abs(result - wide) <= 8 * 2.0**-24 * (np.abs(tuned) + np.abs(tuned - base))).all()
    assert merge("task_arithmetic", float32(5, 3), [float32(4, 1)], weight=-1.0).tolist() == [6, 5]


@pytest.mark.parametrize("density", [0.1, 0.3])
def test_ties_with_a_negative_weight_undoes_the_largest_changes(density):
    rng = np.random.default_rng(7)
    tuned, base = (rng.integers(-500, 500, 1000).astype(np.float32) for _ in range(2))
    result = merge("ties", tuned, [base], weight=-1.0, density=density)
    kept = oracles.largest(base - tuned, int(density * 1000))
    assert np.array_equal(result, np.where(kept, base, tuned))


def test_ties_without_conflict_is_task_arithmetic(family):
    base, *models = family
    aligned = [{n: base[n] + np.abs(m[n] - base[n]) for n in SHAPES} for m in models]
    dense = merge_tensors("task_arithmetic", base, aligned, weight=[0.5, 0.25, 0.75])
    settings = {"weight": [0.5, 0.25, 0.75], "density": 1.0}
    assert same(merge_tensors("ties", base, aligned, normalize=False, **settings), dense)
    mean = merge_tensors("ties", base, aligned, **settings)
    for name in SHAPES:
        if all((m[name] != base[name]).all() for m in aligned):
            listed = [m[name] for m in aligned]
            oracles.task_arithmetic(base[name], listed, settings["weight"], True).check(mean[name], "float32", 12)


def test_a_disjoint_mean_lies_between_the_entries_that_agree(family):
    base, *models = (m["matrix"] for m in family)
    edit = merge("ties", np.zeros_like(base), [m - base for m in models], weight=[0.5, 0.25, 0.75], density=0.6)
    deltas = np.stack([np.where(oracles.largest(m - base, int(0.6 * base.size)), m - base, 0) for m in models])
    agreeing = np.where(np.sign(deltas) == np.sign(edit), deltas, np.nan)
    inside = edit != 0
    magnitudes = np.abs(agreeing[:, inside])
    assert (np.abs(edit[inside]) <= np.nanmax(magnitudes, axis=0) * (1 + 2.0**-22)).all()
    assert (np.abs(edit[inside]) >= np.nanmin(magnitudes, axis=0) * (1 - 2.0**-22)).all()


def test_ties_again_is_idempotent():
    rng = np.random.default_rng(8)
    base, a = (rng.integers(-50, 50, 1000).astype(np.float32) for _ in range(2))
    once = merge("ties", base, [a], weight=1.0, density=0.3)
    assert np.array_equal(merge("ties", base, [once], weight=1.0, density=0.3), once)


@pytest.mark.parametrize("method", METHODS)
def test_the_api_in_memory(method):
    rng = np.random.default_rng(9)
    base, a, b = (smelt.Checkpoint({"w": rng.standard_normal((4, 6)).astype(np.float32)}) for _ in range(3))
    settings = {"density": 0.3} if method in SPARSE else {}
    result = smelt.run(smelt.plan(getattr(smelt.methods, method)(base, [a, b], weight=0.5, **settings)))
    assert list(result) == ["w"]
    assert result["w"].shape == (4, 6)
    assert result["w"].dtype == np.float32
