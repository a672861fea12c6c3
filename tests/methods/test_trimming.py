"""Breadcrumbs, and the scopes of trimming: rows, tensors and the whole model. ties itself: ``test_task_vectors``."""

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
from oracles import add_up, elect

WEIGHTS = {1: [0.75], 2: [0.25, 0.625], 3: [1.5, -0.25, 0.5], 5: [0.125, -0.5, 0.375, 0.5, 0.75]}
DENSITIES = {1: [0.3], 2: [0.3, 1.0], 3: [0.0, 0.3, 0.9], 5: [0.3, 0.15, 0.5, 0.995, 0.05]}
GAMMAS = {1: [0.1], 2: [0.01, 0.4], 3: [0.5, 0.2, 0.2], 5: [0.0, 0.1, 1.0, 0.01, 0.3]}
ORACLES = {"ties": oracles.ties, "breadcrumbs": oracles.breadcrumbs, "breadcrumbs_ties": oracles.breadcrumbs_ties}
BY_DTYPE = pytest.mark.parametrize("dtype", [DTYPES[n] for n in ("float32", "bfloat16", "float64")])


@BY_DTYPE
@pytest.mark.parametrize("count", WEIGHTS)
@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("scope", ["row", "tensor"])
def test_scopes_against_float64(dtype, count, method, scope):
    base, *models = draw_family(np.random.default_rng([1, count]), count, dtype, WIDER_SHAPES)
    settings = {"weight": WEIGHTS[count], "density": DENSITIES[count], "scope": scope}
    settings |= {} if method == "ties" else {"gamma": GAMMAS[count]}
    settings |= {"normalize": count % 2 == 0, "lam": 0.7, "rescale": "l1" if count > 1 else False}
    precision = precision_of(dtype)
    check_all(method, ORACLES[method], base, models, precision=precision, roundings=2 * count + 10, **settings)


@pytest.mark.parametrize(("method", "scope"), [("ties", "row"), ("breadcrumbs", "tensor"), ("breadcrumbs_ties", "row")])
def test_scopes_of_many_blocks(method, scope):
    base, *models = draw_family(np.random.default_rng(2), 2, BFLOAT16, LONG_SHAPES, spread=0.05)
    settings = {"weight": [0.5, 0.75], "density": [0.3, 0.6], "scope": scope}
    settings |= {} if method == "ties" else {"gamma": [0.1, 0.02]}
    settings["normalize"] = True
    check_all(method, ORACLES[method], base, models, precision="float32", roundings=14, threads=2, **settings)


MODELS = [(method, dtype, WIDER_SHAPES) for method in ORACLES for dtype in (np.float32, BFLOAT16)]
MODELS += [("ties", BFLOAT16, LONG_SHAPES | {"tail": (5, 7)}), ("breadcrumbs_ties", np.float32, LONG_SHAPES)]


@pytest.mark.parametrize(("method", "dtype", "shapes"), MODELS, ids=range(len(MODELS)))
def test_scope_model_against_float64(method, dtype, shapes):
    base, *models = draw_family(np.random.default_rng(3), 2, dtype, shapes, spread=0.05)
    for model in models:  # tensors of unlike size of change, so that each keeps a share of its own
        for place, name in enumerate(shapes):
            model[name] = (base[name] + (model[name] - base[name]) * (1 + place % 3)).astype(dtype)
    settings = {"weight": [0.5, 0.75], "density": [0.3, 0.6], "normalize": True, "lam": 1.0, "rescale": "l1"}
    gamma = {} if method == "ties" else {"gamma": [0.1, 0.02]}
    one = add_up if method == "breadcrumbs" else elect
    expected = oracles.over_the_model(one, base, models, **settings, **gamma)
    spelled = {"lambda_" if k == "lam" else k: v for k, v in (settings | gamma).items()}
    result = merge_tensors(method, base, models, scope="model", out_dtype="float32", threads=2, **spelled)
    for name in shapes:
        expected[name].check(result[name], "float32", 14)


def test_breadcrumbs_by_hand():
    # δ = [1, −8, 2, 5, −3, 4, 7, −6, 0, 9]. ⌊0.2·10⌋ = 2 outliers go (9 and −8), and the ⌊0.4·10⌋ = 4 next stay.
    base, a = np.zeros(10, np.float32), float32(1, -8, 2, 5, -3, 4, 7, -6, 0, 9)
    result = merge("breadcrumbs", base, [a], weight=2.0, density=0.4, gamma=0.2)
    assert result.tolist() == [0, 0, 0, 10, 0, 8, 14, -12, 0, 0]
    # Density 0.9 leaves room for one outlier only, though gamma asks for two.
    result = merge("breadcrumbs", base, [a], weight=1.0, density=0.9, gamma=0.2)
    assert result.tolist() == [1, -8, 2, 5, -3, 4, 7, -6, 0, 0]
    # Of two models that disagree about the 4th entry (5 against −7), the sign of the sum is taken.
    b = np.where(np.arange(10) == 3, -7, a).astype(np.float32)  # its outliers are 9 and −8 too
    result = merge("breadcrumbs_ties", base, [a, b], weight=1.0, density=0.4, gamma=0.2)
    assert result[3] == -7
    assert merge("breadcrumbs", base, [a, b], weight=1.0, density=0.4, gamma=0.2)[3] == -2
    # Row by row: of [1, −8] and [3, 2] with gamma ½ and density ½, the smaller ones.
    rows = float32([1, -8], [3, 2])
    settings = {"weight": 1.0, "density": 0.5, "gamma": 0.5}
    assert merge("breadcrumbs", 0 * rows, [rows], scope="row", **settings).tolist() == [[1, 0], [0, 2]]
    # Over the tensor: −8 and 3 go, 2 and 1 stay.
    assert merge("breadcrumbs", 0 * rows, [rows], scope="tensor", **settings).tolist() == [[1, 0], [0, 2]]
    rows = float32([4, -8], [3, 2])
    assert merge("breadcrumbs", 0 * rows, [rows], scope="row", **settings).tolist() == [[4, 0], [0, 2]]
    assert merge("breadcrumbs", 0 * rows, [rows], scope="tensor", **settings).tolist() == [[0, 0], [3, 2]]


@pytest.mark.parametrize("method", ["breadcrumbs", "breadcrumbs_ties"])
@pytest.mark.parametrize("scope", ["row", "tensor", "model"])
def test_where_no_outlier_is_a_whole_entry_only_small_ones_go(method, scope):
    # mergekit drops everything where ⌊gamma·n⌋ = 0: gamma 0, and tensors of under 1/gamma entries.
    base, a = (m["w"] for m in draw_family(np.random.default_rng(4), 1, np.float32, {"w": (99,)}))
    trimmed = merge("ties", base, [a], weight=1.0, density=0.5, normalize=False)
    assert np.count_nonzero(trimmed != base) == 49
    for gamma in (0.0, 0.01):
        assert np.array_equal(merge(method, base, [a], weight=1.0, density=0.5, gamma=gamma, scope=scope), trimmed)


@pytest.mark.parametrize("method", ["breadcrumbs", "breadcrumbs_ties"])
def test_outliers_of_equal_magnitude_go_lowest_index_first(method):
    # In bfloat16 many entries tie. gamma takes the first two 4s, density the third and the first 2.
    base, a = np.zeros(8, BFLOAT16), np.array([2, -4, 2, 4, -2, 4, 1, 1], BFLOAT16)
    result = merge(method, base, [a], weight=1.0, density=0.25, gamma=0.25)
    assert result.tolist() == [2, 0, 0, 0, 0, 4, 0, 0]


@pytest.mark.parametrize("method", ["breadcrumbs", "breadcrumbs_ties"])
@pytest.mark.parametrize("scope", ["row", "tensor", "model"])
def test_kept_magnitudes_are_a_band(method, scope):
    base, a = draw_family(np.random.default_rng(5), 1, np.float32, {"w": (40, 60), "v": (300,)})
    zero = {n: 0 * x for n, x in base.items()}
    result = merge_tensors(method, zero, [a], weight=1.0, density=0.4, gamma=0.1, scope=scope)
    groups = {"row": [*result["w"], result["v"]], "tensor": list(result.values())}
    groups["model"] = [np.concatenate([x.ravel() for x in result.values()])]
    inputs = {"row": [*a["w"], a["v"]], "tensor": list(a.values())}
    inputs["model"] = [np.concatenate([x.ravel() for x in a.values()])]
    for found, given in zip(groups[scope], inputs[scope], strict=True):
        kept = found != 0
        assert np.count_nonzero(kept) == int(0.4 * given.size)
        assert np.count_nonzero(np.abs(given[~kept]) > np.abs(given[kept]).max()) == int(0.1 * given.size)


def test_scope_model_by_hand():
    # Six entries in the order of the names; density ½ keeps 9, 8 and −7, wherever they are.
    zero = {"a": float32(0, 0, 0), "b": float32([0, 0], [0, 0])[:1], "c": float32(0)}
    model = {"a": float32(9, 1, 8), "b": float32([-7, 2]), "c": float32(3)}
    result = merge_tensors("ties", zero, [model], weight=1.0, density=0.5, scope="model")
    assert {n: x.tolist() for n, x in result.items()} == {"a": [9, 0, 8], "b": [[-7, 0]], "c": [0]}
    # ⌊0.2·6⌋ = 1 outlier, then 3: 8, −7, 3.
    result = merge_tensors("breadcrumbs", zero, [model], weight=1.0, density=0.5, gamma=0.2, scope="model")
    assert {n: x.tolist() for n, x in result.items()} == {"a": [0, 0, 8], "b": [[-7, 0]], "c": [3]}


@pytest.mark.parametrize("method", ORACLES)
def test_one_row_one_tensor_and_one_model_are_the_same(method):
    base, *models = draw_family(np.random.default_rng(6), 2, np.float32, {"w": (1000,)})
    settings = {"weight": [0.5, 0.75], "density": [0.3, 0.6]}
    tensor = merge_tensors(method, base, models, scope="tensor", **settings)["w"]
    for scope in ("row", "model"):
        assert np.array_equal(merge_tensors(method, base, models, scope=scope, **settings)["w"], tensor)


EQUALIZED = {"task_arithmetic": oracles.task_arithmetic, **ORACLES}


@BY_DTYPE
@pytest.mark.parametrize("method", EQUALIZED)
def test_equalized_lengths_against_float64(dtype, method):
    base, *models = draw_family(np.random.default_rng(7), 3, dtype, WIDER_SHAPES)
    models[1] = {n: (base[n] + 5 * (x - base[n])).astype(dtype) for n, x in models[1].items()}
    models[2] = models[2] | {"norm": base["norm"].copy()}  # of length 0: it counts in the mean, and stays
    settings = {"weight": [0.5, 0.75, 0.25], "equalize": "l2", "normalize": True}
    settings |= {} if method == "task_arithmetic" else {"density": [0.3, 0.6, 0.5]}
    settings |= {"gamma": [0.1, 0.02, 0.2]} if "breadcrumbs" in method else {}
    check_all(method, EQUALIZED[method], base, models, precision=precision_of(dtype), roundings=24, **settings)


def test_equalized_lengths_by_hand():
    # Lengths 5 and 1, their mean 3: δ = [3, 4]·3/5 and [0, 1]·3.
    result = merge("task_arithmetic", float32(0, 0), [float32(3, 4), float32(0, 1)], weight=1.0, equalize="l2")
    np.testing.assert_allclose(result, [1.8, 2.4 + 3], rtol=2.0**-22)
    # Not equalized, the first would win the election on the second entry.
    base, models = float32(0, 0), [float32(3, 4), float32(0, -1)]
    assert merge("ties", base, models, weight=1.0)[1] == 4
    np.testing.assert_allclose(merge("ties", base, models, weight=1.0, equalize="l2")[1], -3, rtol=2.0**-22)


@pytest.mark.parametrize("method", [*EQUALIZED, "dare_ties", "della"])
def test_equalizing_equal_lengths_changes_nothing(method):
    base = draw_family(np.random.default_rng(8), 0, np.float32)[0]
    rng = np.random.default_rng(9)
    step = {n: rng.integers(-8, 8, x.shape).astype(np.float32) for n, x in base.items()}
    base = {n: np.round(x) for n, x in base.items()}
    models = [{n: base[n] + s for n, s in step.items()}, {n: base[n] - s for n, s in step.items()}]
    settings = {"weight": [0.5, 0.25]} | ({} if method == "task_arithmetic" else {"density": 0.5})
    plain = merge_tensors(method, base, models, **settings)
    equal = merge_tensors(method, base, models, equalize="l2", **settings)
    assert all(np.array_equal(plain[n], equal[n]) for n in SHAPES)


@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "dare_linear", "della_linear"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_l1_of_huge_entries_in_half_precision_stays_finite(method, dtype):
    # mergekit's sums are of the tensor's dtype: above 65504 in all they are infinite, and the tensor NaN.
    base = {"w": np.zeros((64, 64), DTYPES[dtype])}
    model = {"w": (3e4 * np.random.default_rng(10).uniform(0.5, 1, (64, 64))).astype(DTYPES[dtype])}
    settings = {"weight": 0.25, "density": 0.5, "rescale": "l1", "normalize": False}
    result = merge_tensors(method, base, [model], **settings)["w"]
    assert result.dtype == DTYPES[dtype]
    assert np.isfinite(result.astype(np.float32)).all()
    summed = np.abs(result.astype(np.float64)).sum()
    assert abs(summed / (0.25 * np.abs(model["w"].astype(np.float64)).sum()) - 1) < 0.01
