"""Methods that become other methods at particular settings or for particular models."""

import numpy as np
import pytest
from merging import SHAPES, WIDER_SHAPES, draw_family, float32, merge, merge_tensors

WEIGHT = [0.5, 0.25, 0.75]


@pytest.fixture(scope="module")
def family():
    base, *models = draw_family(np.random.default_rng(31), 3, np.float32, WIDER_SHAPES, spread=0.8)
    return base, models


def near(one, two, atol=2.0**-20):
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=2.0**-19, atol=atol, err_msg=name)


def aligned(base, models):
    """The models with all their differences turned positive."""
    return [{n: base[n] + np.abs(m[n] - base[n]) for n in base} for m in models]


def whole(rng, count, shape=(20, 30)):
    """Whole numbers, whose sums are exact."""
    return [rng.integers(-50, 50, shape).astype(np.float32) for _ in range(count)]


def disjoint(base, models):
    """The models, each changed only where its turn is."""
    turns = {n: np.arange(x.size).reshape(x.shape) % len(models) for n, x in base.items()}
    return [{n: np.where(turns[n] == place, m[n], base[n]) for n in base} for place, m in enumerate(models)]


@pytest.mark.parametrize("method", ["breadcrumbs", "della_linear"])
def test_at_density_one_it_is_task_arithmetic(family, method):
    base, models = family
    near(
        merge_tensors(method, base, models, weight=WEIGHT, density=1.0, lambda_=0.7),
        merge_tensors("task_arithmetic", base, models, weight=WEIGHT, lambda_=0.7),
    )


@pytest.mark.parametrize("method", ["ties", "breadcrumbs_ties", "dare_ties", "della"])
def test_at_density_one_without_conflict_it_is_task_arithmetic(family, method):
    base, models = family
    models = aligned(base, models)
    near(
        merge_tensors(method, base, models, weight=WEIGHT, density=1.0, normalize=False),
        merge_tensors("task_arithmetic", base, models, weight=WEIGHT),
    )


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("scope", ["row", "tensor", "model"])
def test_breadcrumbs_without_outliers_is_trimming_by_magnitude(family, normalize, scope):
    base, models = family
    settings = {"weight": WEIGHT, "density": [0.3, 0.5, 0.8], "normalize": normalize, "scope": scope}
    elected = merge_tensors("breadcrumbs_ties", base, models, gamma=0.0, **settings)
    near(elected, merge_tensors("ties", base, models, **settings))
    # Without election: each model trimmed by ties alone, and these added up.
    settings["weight"] = 1.0
    for place, density in enumerate(settings.pop("density")):
        trimmed = merge_tensors("ties", base, [models[place]], density=density, **settings)
        near(merge_tensors("breadcrumbs", base, [models[place]], density=density, gamma=0.0, **settings), trimmed)


def test_multislerp_points_where_the_mean_of_directions_does(family):
    base, models = family
    for tensors, start in (([models], None), ([models, base], base)):
        result = merge_tensors("multislerp", *tensors, weight=WEIGHT)
        for name in ("matrix", "norm", "convolution"):
            wide = [np.asarray(m[name], np.float64) - (0 if start is None else start[name]) for m in models]
            found = result[name].astype(np.float64) - (0 if start is None else start[name])
            lengths = [np.linalg.norm(x) for x in wide]
            direction = sum(w * x / n for w, x, n in zip(WEIGHT, wide, lengths, strict=True))
            cosine = np.vdot(found, direction) / np.linalg.norm(found) / np.linalg.norm(direction)
            assert abs(cosine - 1) < 1e-10
            expected = sum(w * n for w, n in zip(WEIGHT, lengths, strict=True)) / sum(WEIGHT)
            assert abs(np.linalg.norm(found) / expected - 1) < 1e-5


@pytest.mark.parametrize("method", ["multislerp", "karcher", "nuslerp"])
def test_half_way_between_two_models_it_has_the_direction_of_slerp(family, method):
    _, (a, b, _) = family
    if method == "nuslerp":  # of equal lengths, as slerp's coefficients do not know them
        b = {n: x * (np.linalg.norm(a[n]) / max(np.linalg.norm(x), 1e-30)) for n, x in b.items()}
    weight = {} if method == "karcher" else {"weight": 1.0}
    result = merge_tensors(method, [a, b], **weight, out_dtype="float64")
    for name in ("matrix", "norm", "convolution", "cube"):
        first, second = (np.asarray(m[name], np.float64) for m in (a, b))
        lengths = np.linalg.norm(first), np.linalg.norm(second)
        half = merge("slerp", first / lengths[0], second / lengths[1], t=0.5)
        np.testing.assert_allclose(result[name], half * sum(lengths) / 2, rtol=0, atol=3e-6)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.9])
def test_nuslerp_of_whole_tensors_is_slerp_unless_they_are_nearly_parallel(family, t):
    _, (a, b, _) = family
    result = merge_tensors("nuslerp", [a, b], weight=[1 - t, t])
    expected = merge_tensors("slerp", a, b, t=t)
    for name in ("matrix", "norm", "convolution", "cube", "vector"):
        cosine = np.vdot(a[name], b[name]) / np.linalg.norm(a[name]) / np.linalg.norm(b[name])
        assert abs(cosine) < 0.9995
        np.testing.assert_allclose(result[name], expected[name], rtol=0, atol=2.0**-20)


@pytest.mark.parametrize(
    "settings", [{}, {"nuslerp_flatten": False}, {"nuslerp_flatten": False, "nuslerp_row_wise": True}]
)
@pytest.mark.parametrize("based", [True, False])
def test_nuslerp_ends_at_its_models(family, settings, based):
    base, models = family
    tensors = [models[:2], base] if based else [models[:2]]
    for weight, end in (([1.0, 0.0], models[0]), ([0.0, 2.0], models[1])):
        near(merge_tensors("nuslerp", *tensors, weight=weight, **settings), end)


@pytest.mark.parametrize("method", ["nuslerp", "multislerp"])
def test_with_a_base_it_is_the_method_on_the_differences(method):
    base, a, b = whole(np.random.default_rng(32), 3)
    based = merge(method, [base + a, base + b], base, weight=[0.25, 0.5])
    np.testing.assert_allclose(based, base + merge(method, [a, b], weight=[0.25, 0.5]), rtol=0, atol=2.0**-17)


def test_model_stock_of_one_model_twice_is_that_model_and_of_disjoint_models_the_base(family):
    base, models = family
    near(merge_tensors("model_stock", base, [models[0]] * 3), models[0])
    result = merge_tensors("model_stock", base, disjoint(base, models))
    assert all(np.array_equal(result[name], base[name]) for name in base)


def test_ram_of_disjoint_models_is_task_arithmetic_and_of_dense_ones_the_mean():
    rng = np.random.default_rng(33)
    base, *models = ({"w": x} for x in whole(rng, 4))
    apart = disjoint(base, models)
    near(merge_tensors("ram", base, apart), merge_tensors("task_arithmetic", base, apart, weight=1.0))
    dense = [{"w": base["w"] + rng.integers(1, 9, (20, 30)).astype(np.float32)} for _ in range(3)]
    mean = merge_tensors("linear", dense, weight=1.0)
    near(merge_tensors("ram", base, dense), mean)
    near(merge_tensors("ramplus_tl", base, dense, r=3.0, alpha=1.0), mean)


@pytest.mark.parametrize("settings", [{"r": 0.0, "alpha": 0.7}, {"r": 2.0, "alpha": 0.0}], ids=str)
def test_ramplus_that_enlarges_by_nothing_is_ram(family, settings):
    base, models = family
    near(
        merge_tensors("ramplus_tl", base, models, epsilon=0.5, **settings),
        merge_tensors("ram", base, models, epsilon=0.5),
    )


def test_ram_and_magmax_of_one_model_are_task_arithmetic(family):
    base, models = family
    single = models[:1]
    near(merge_tensors("ram", base, single, epsilon=1e-30), single[0])
    for strength in (1.0, 0.5):
        expected = merge_tensors("task_arithmetic", base, single, weight=1.0, lambda_=strength)
        near(merge_tensors("magmax", base, single, lambda_=strength), expected)


def test_sce_of_everything_with_equal_lengths_and_no_conflict_is_the_mean():
    rng = np.random.default_rng(34)
    base = whole(rng, 1)[0]
    step = rng.integers(1, 9, (20, 30)).astype(np.float32)
    models = [base + step, base + step[::-1], base + step[:, ::-1]]
    np.testing.assert_allclose(merge("sce", base, models), np.mean(models, axis=0), rtol=0, atol=2.0**-17)


def test_nearswap_with_a_large_step_is_the_other_model_and_with_none_the_base():
    a, b = whole(np.random.default_rng(35), 2)
    assert np.array_equal(merge("nearswap", a, b, t=1e4), b)
    assert np.array_equal(merge("nearswap", a, b, t=0), a)


def test_the_geometric_median_of_a_majority_is_that_model():
    a, b, c = whole(np.random.default_rng(36), 3)
    result = merge("geometric_median", [a, b, a, c, a], max_iter=2000)
    np.testing.assert_allclose(result, a, atol=1e-3)
    near({"w": merge("geometric_median", [a, b])}, {"w": merge("linear", [a, b], weight=1.0)})


def test_taking_the_base_from_a_fine_tune_is_twice_the_one_minus_the_other():
    base, tuned = whole(np.random.default_rng(37), 2)
    assert np.array_equal(merge("task_arithmetic", tuned, [base], weight=-1.0), 2 * tuned - base)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("karcher", {}),
        ("geometric_median", {"weight": 1.0}),
        ("multislerp", {"weight": 1.0}),
    ],
)
def test_means_do_not_depend_on_the_order_of_the_models(family, method, settings):
    _, (a, b, c) = family
    near(merge_tensors(method, [a, b, c], **settings), merge_tensors(method, [c, a, b], **settings), atol=1e-5)


def test_a_lone_negative_weight_under_normalize_adds_the_model():
    # −δ/−1: what normalize means for one model, and what the documentation of weight says.
    base, a = float32(1, 2), float32(3, -2)
    for method in ("task_arithmetic", "ties", "breadcrumbs", "dare_linear", "della"):
        assert merge(method, base, [a], weight=-1.0, normalize=True).tolist() == a.tolist()
        assert merge(method, base, [a], weight=-1.0, normalize=False).tolist() == [-1, 6]


@pytest.mark.parametrize("method", ["sce", "ram", "ramplus_tl", "magmax", "model_stock"])
def test_models_that_are_all_the_base_give_its_bytes(family, method):
    base, _ = family
    result = merge_tensors(method, base, [{**base} for _ in range(3)])
    assert all(result[name].tobytes() == base[name].tobytes() for name in SHAPES)
