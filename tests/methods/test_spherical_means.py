"""nuslerp, multislerp, the Karcher mean and the geometric median against float64, and by hand."""

import math

import direction_oracles as oracles
import numpy as np
import pytest
from merging import (
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

from smelt.errors import InputError

ALONG = {
    "tensor": {},
    "row": {"nuslerp_flatten": False, "nuslerp_row_wise": True},
    "column": {"nuslerp_flatten": False},
}
BY_DTYPE = pytest.mark.parametrize("dtype", [DTYPES[n] for n in ("float32", "bfloat16", "float64")])
WEIGHTS = {1: [0.75], 2: [0.25, 0.625], 3: [1.5, -0.25, 0.5], 5: [0.125, 0.25, 0.375, 0.5, 0.75]}


def nuslerp(models, base=None, weight=(), nuslerp_flatten=True, nuslerp_row_wise=False):
    along = "tensor" if nuslerp_flatten else "row" if nuslerp_row_wise else "column"
    return oracles.nuslerp(models, weight, base, along)


def multislerp(models, base=None, weight=(), normalize_weights=True):
    return oracles.multislerp(models, weight, base, normalize_weights)


@BY_DTYPE
@pytest.mark.parametrize("along", ALONG)
@pytest.mark.parametrize("based", [True, False])
@pytest.mark.parametrize("weight", [[0.75, 0.25], [1.5, -0.25]], ids=str)
def test_nuslerp(dtype, along, based, weight):
    base, *models = draw_family(np.random.default_rng([1, based]), 2, dtype, WIDER_SHAPES, spread=1.0)
    tensors = [models, base] if based else [models]
    precision = precision_of(dtype)
    roundings = 12 if precision == "float32" else 1e6  # in float64 the angle's own error, over sin Ω, outweighs the sum
    check_all("nuslerp", nuslerp, *tensors, precision=precision, roundings=roundings, weight=weight, **ALONG[along])


@pytest.mark.parametrize("along", ALONG)
def test_nuslerp_of_many_blocks(along):
    base, *models = draw_family(np.random.default_rng(2), 2, np.float32, LONG_SHAPES | {"high": (300_000, 2)})
    result = merge_tensors("nuslerp", models, base, weight=[0.3, 0.5], threads=2, **ALONG[along])
    for name, array in base.items():  # of rows and columns, a few: the oracle is plain Python
        part = {"tensor": np.s_[...], "row": np.s_[::97], "column": np.s_[:, ::997]}[along]
        part = part if array.ndim > 1 else np.s_[:]
        expected = oracles.nuslerp([m[name][part] for m in models], [0.3, 0.5], array[part], along)
        expected.check(result[name][part], "float32", 12)


def test_nuslerp_by_hand():
    a, b = float32([2, 0], [0, 3]), float32([0, 2], [0, 3])
    # Rows: the first pair at 90° with t = ½, so (a + b)/√2; the second is equal.
    settings = {"weight": [1, 1], "nuslerp_flatten": False}
    rows = merge("nuslerp", [a, b], nuslerp_row_wise=True, **settings)
    np.testing.assert_allclose(rows, [[math.sqrt(2), math.sqrt(2)], [0, 3]], rtol=2.0**-23)
    # Columns: [2, 0] and [0, 0] (a zero, so the straight line), [0, 3] and [2, 3] at cos Ω = 9/(3·√13).
    columns = merge("nuslerp", [a, b], **settings)
    factor = 1 / (2 * math.cos(math.acos(3 / math.sqrt(13)) / 2))
    np.testing.assert_allclose(columns, [[1, 2 * factor], [0, 6 * factor]], rtol=2.0**-22)
    # Whole: ⟨a, b⟩ = 9 and both of length √13.
    whole = merge("nuslerp", [a, b], weight=[1, 1])
    np.testing.assert_allclose(whole, (a + b) / (2 * math.cos(math.acos(9 / 13) / 2)), rtol=2.0**-22)
    # With a base its edits are turned: δ = [3, 0] and [0, 3], t = 1/3: sin 60°·δ₁ + sin 30°·δ₂.
    based = merge("nuslerp", [float32(4, 1), float32(1, 4)], float32(1, 1), weight=[2, 1])
    np.testing.assert_allclose(based, [1 + 3 * math.sqrt(3) / 2, 2.5], rtol=2.0**-23)


def test_nuslerp_of_weights_that_cancel_is_half_way():
    a, b = float32(2, 0), float32(0, 2)
    half = merge("nuslerp", [a, b], weight=[1, 1])
    assert merge("nuslerp", [a, b], weight=[0.5, -0.5]).tolist() == half.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("along", ALONG)
def test_nuslerp_of_opposite_and_parallel_tensors_is_the_straight_line(dtype, along):
    a = np.random.default_rng(3).standard_normal((40, 30)).astype(dtype)
    for factor in (-1.0, 2.0, -0.5, 1.0):
        result = merge("nuslerp", [a, np.asarray(factor * a, dtype)], weight=[0.75, 0.25], **ALONG[along])
        np.testing.assert_allclose(result, (0.75 + 0.25 * factor) * a, rtol=2.0**-20)


@pytest.mark.parametrize("weight", [[1, -0.999998], [1, -0.99999]], ids=str)
def test_nuslerp_far_beyond_either_model_is_finite(weight):
    # t is −499999 and −99999: the first is too many half turns for a sine.
    a, b = float32(1, 2), float32(-1, -2.01)
    result = merge("nuslerp", [a, b], weight=weight)
    assert np.isfinite(result).all()
    t = weight[1] / (weight[0] + weight[1])
    if abs(t) > 2**18:
        np.testing.assert_allclose(result, (1 - t) * np.float64(a) + t * np.float64(b), rtol=1e-6)


def test_of_a_vector_the_columns_are_the_whole_of_it():
    for shape in ((6,), (2**18 + 5,)):
        a, b = (np.random.default_rng(n).standard_normal(shape).astype(np.float32) for n in (1, 2))
        whole = merge("nuslerp", [a, b], weight=[1, 2])
        columns = merge("nuslerp", [a, b], weight=[1, 2], nuslerp_flatten=False)
        np.testing.assert_allclose(columns, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weight", [[0.1, 0.2, -0.3], [1, -1, 0], [0, 0, 0]], ids=str)
@pytest.mark.parametrize("method", ["multislerp", "linear"])
def test_weights_that_cancel_to_rounding_are_refused(method, weight):
    with pytest.raises(InputError, match="the weights sum to 0"):
        merge(method, [float32(1, 2)] * 3, weight=weight)


@pytest.mark.parametrize("method", ["karcher", "geometric_median"])
def test_no_steps_at_all_are_refused(method):
    with pytest.raises(InputError, match="'max_iter' must be a whole number of at least 1, not 0"):
        merge(method, [float32(1, 2)] * 3, max_iter=0)


@BY_DTYPE
@pytest.mark.parametrize("count", WEIGHTS)
@pytest.mark.parametrize("based", [True, False])
def test_multislerp(dtype, count, based):
    base, *models = draw_family(np.random.default_rng([4, count]), count, dtype, WIDER_SHAPES, spread=1.0)
    tensors = [models, base] if based else [models]
    if count == 3:
        for model in (*models, base):  # of single numbers the directions ±1 can cancel to nothing
            del model["scalar"], model["one"]
    precision = precision_of(dtype)
    settings = {"precision": precision, "roundings": 40 if precision == "float32" else 1e6}
    for normalize_weights in (True, False):
        given = {"weight": WEIGHTS[count], "normalize_weights": normalize_weights}
        check_all("multislerp", multislerp, *tensors, **settings, **given)


def test_multislerp_by_hand():
    # Directions [1, 0] and [0, 1], mean [½, ½] and so (1, 1)/√2; mean length (2 + 4)/2 = 3.
    result = merge("multislerp", [float32(2, 0), float32(0, 4)], weight=[1, 1])
    np.testing.assert_allclose(result, [3 / math.sqrt(2)] * 2, rtol=2.0**-22)
    # Weights 3 : 1 pull the direction to (3, 1)/√10, and the length is (3·2 + 4)/4.
    result = merge("multislerp", [float32(2, 0), float32(0, 4)], weight=[3, 1])
    np.testing.assert_allclose(result, 2.5 / math.sqrt(10) * np.array([3, 1]), rtol=2.0**-22)
    # Not normalized, the length is 3·2 + 1·4.
    result = merge("multislerp", [float32(2, 0), float32(0, 4)], weight=[3, 1], normalize_weights=False)
    np.testing.assert_allclose(result, 10 / math.sqrt(10) * np.array([3, 1]), rtol=2.0**-22)
    # A zero tensor counts in the length only: (2 + 0)/2 along [1, 0].
    assert merge("multislerp", [float32(2, 0), float32(0, 0)], weight=[1, 1]).tolist() == [1, 0]


@pytest.mark.parametrize("count", [2, 3])
def test_multislerp_of_directions_that_cancel_is_the_mean(count):
    models = [float32(3, 0), float32(-1, 0)] if count == 2 else [float32(3, 0), float32(0, 0), float32(-1.5, 0)]
    expected = [1, 0] if count == 2 else [0.5, 0]
    assert merge("multislerp", models, weight=1.0).tolist() == expected


@BY_DTYPE
@pytest.mark.parametrize("count", WEIGHTS)
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_karcher(dtype, count, spread):
    _, *models = draw_family(np.random.default_rng([5, count]), count, dtype, WIDER_SHAPES, spread=spread)
    precision = precision_of(dtype)
    roundings = 40 if precision == "float32" else 1e6
    check_all("karcher", oracles.karcher, models, precision=precision, roundings=roundings)
    check_all("karcher", oracles.karcher, models, precision=precision, roundings=roundings, max_iter=1, tol=1e-12)


def test_karcher_by_hand():
    # Two at 90°: half way, (1, 1)/√2, at the mean length 3.
    np.testing.assert_allclose(merge("karcher", [float32(2, 0), float32(0, 4)]), [3 / math.sqrt(2)] * 2, rtol=2.0**-22)
    # At 0°, 0° and 90° the signed angles add up to 0 at 30°, and not at the 26.6° of the mean vector.
    result = merge("karcher", [float32(1, 0), float32(1, 0), float32(0, 1)], max_iter=50, tol=1e-12)
    np.testing.assert_allclose(result, [math.sqrt(3) / 2, 0.5], rtol=1e-6)
    # Zero tensors count in the length only; opposite ones leave the plain mean.
    np.testing.assert_allclose(merge("karcher", [float32(3, 0), float32(0, 0), float32(0, 3)]), [math.sqrt(2)] * 2)
    assert merge("karcher", [float32(3, 0), float32(-1, 0)]).tolist() == [1, 0]
    assert merge("karcher", [float32(0, 0), float32(0, 0)]).tolist() == [0, 0]


@BY_DTYPE
@pytest.mark.parametrize("count", WEIGHTS)
def test_geometric_median(dtype, count):
    shapes = {n: s for n, s in WIDER_SHAPES.items() if n not in ("scalar", "one")}  # on a line it is not unique
    _, *models = draw_family(np.random.default_rng([6, count]), count, dtype, shapes, spread=1.0)
    if count == 2:
        models[1] = {n: models[0][n] for n in shapes}
    weight = [abs(w) for w in WEIGHTS[count]]
    precision = precision_of(dtype)
    result = merge_tensors("geometric_median", models, weight=weight, max_iter=3000, tol=1e-14, out_dtype=precision)
    for name, array in result.items():
        listed = [m[name] for m in models]
        expected = oracles.geometric_median(listed, weight, 500)
        # The sum of distances is flat around its least value, so that the point is known to half of the digits.
        np.testing.assert_allclose(array, expected.value, rtol=0, atol=1e-5)
        least = oracles.summed_distance(expected.value, listed, weight)
        assert oracles.summed_distance(array, listed, weight) <= least * (1 + 1e-6) + 1e-5


def test_geometric_median_by_hand():
    # The corners of a regular triangle: its centre. A fourth model far away moves it much less than the mean.
    corners = [float32(0, 0), float32(2, 0), float32(1, 3**0.5)]
    np.testing.assert_allclose(merge("geometric_median", corners), [1, 1 / math.sqrt(3)], rtol=1e-6)
    # A weight of half of all is a majority: [5, 0] pulls with 4, the others with 3 at most.
    result = merge("geometric_median", [float32(5, 0), *corners], weight=[4, 1, 1, 1])
    assert result.tolist() == [5, 0]
    assert merge("geometric_median", [float32(7, 8)]).tolist() == [7, 8]
    np.testing.assert_allclose(merge("geometric_median", [float32(7, 8)] * 3), [7, 8], rtol=2.0**-22)


def test_the_geometric_median_of_points_on_a_line_is_their_median():
    models = [float32(1, 2) * x for x in (0, 1, 2, 50, 1e6)]
    np.testing.assert_allclose(merge("geometric_median", models, max_iter=2000), [2, 4], rtol=1e-4)


def test_the_geometric_median_ignores_an_outlier():
    rng = np.random.default_rng(7)
    good = [rng.standard_normal(2).astype(np.float32) for _ in range(2)]
    outlier = float32(1e4, -1e4)
    result = merge("geometric_median", [*good, outlier], max_iter=3000, tol=1e-14)
    best, step = np.mean(good, axis=0), 1.0
    while step > 1e-7:  # a plain search over the plane
        around = [best + step * np.array([math.cos(i), math.sin(i)]) for i in np.linspace(0, 2 * math.pi, 33)]
        better = min(around, key=lambda p: oracles.summed_distance(p, [*good, outlier], [1, 1, 1]))
        if oracles.summed_distance(better, [*good, outlier], [1] * 3) < oracles.summed_distance(
            best, [*good, outlier], [1] * 3
        ):
            best = better
        else:
            step /= 2
    np.testing.assert_allclose(result, best, atol=2e-3)
    assert np.linalg.norm(result) < 3


def test_the_geometric_median_of_two_models_is_the_heavier_one():
    a, b = float32(1, -2, 3), float32(4, 0, 1)
    assert merge("geometric_median", [a, b], weight=[1, 1.01]).tolist() == b.tolist()
    assert merge("geometric_median", [a, b], weight=[3, 1]).tolist() == a.tolist()
    np.testing.assert_allclose(merge("geometric_median", [a, b]), (a + b) / 2)
    # Together the two copies outweigh the third.
    assert merge("geometric_median", [a, b, a], weight=[1, 1.5, 1]).tolist() == a.tolist()


@pytest.mark.parametrize("far", [1e4, 1e8, 1e12])
@pytest.mark.parametrize("place", [0, 2])
def test_no_distance_of_an_outlier_moves_the_geometric_median(far, place):
    # Seen along the diagonal from far away the Fermat point of [1, 0], [0, 1] and it: both others at 120°, so at
    # (½ − h, ½ − h) with h·√2 = (√2/2)/tan 60°.
    models = [float32(1, 0), float32(0, 1)]
    models.insert(place, float32(-far, -far))
    expected = 0.5 - 0.5 / math.sqrt(3)
    np.testing.assert_allclose(merge("geometric_median", models, max_iter=300), [expected] * 2, rtol=1e-4)
    # And where a model is the median it is that to the bit: at [2, 0] the pulls of the others add up to 0.81.
    corners = [float32(0, 0), float32(2, 0), float32(1, 3**0.5)]
    corners.insert(place, float32(far, -far))
    assert merge("geometric_median", corners).tolist() == [2, 0]


@pytest.mark.parametrize("method", ["multislerp", "karcher"])
def test_means_of_many_blocks(method):
    _, *models = draw_family(np.random.default_rng(8), 3, np.float32, LONG_SHAPES, spread=0.5)
    settings = {"weight": [0.5, 0.3, 0.4]} if method == "multislerp" else {}
    oracle = multislerp if method == "multislerp" else oracles.karcher
    check_all(method, oracle, models, precision="float32", roundings=30, threads=2, **settings)


def test_the_geometric_median_of_many_blocks():
    _, *models = draw_family(np.random.default_rng(8), 3, np.float32, LONG_SHAPES, spread=0.5)
    weight = [0.5, 0.3, 0.4]
    for name, array in merge_tensors("geometric_median", models, weight=weight, threads=2).items():
        away = [array - np.asarray(m[name], np.float64) for m in models]
        pull = sum(w * x / np.linalg.norm(x) for w, x in zip(weight, away, strict=True))
        assert np.linalg.norm(pull) < 1e-5  # the gradient of the sum of distances, between terms of length 0.3 to 0.5


@pytest.mark.parametrize("method", ["nuslerp", "multislerp", "karcher", "geometric_median"])
@pytest.mark.parametrize("scale", [2.0**100, 2.0**-100])
def test_very_long_and_very_short_vectors_keep_their_direction(method, scale):
    weight = {} if method == "karcher" else {"weight": [1, 1]}
    plain = merge(method, [float32(3, 0, 1), float32(0, 5, 1)], **weight)
    scaled = merge(method, [float32(3, 0, 1) * np.float32(scale), float32(0, 5, 1) * np.float32(scale)], **weight)
    np.testing.assert_allclose(scaled, plain * scale, rtol=2.0**-20)


def test_copies_are_a_fixed_point():
    model = draw_family(np.random.default_rng(9), 0, np.float32)[0]
    copies = [{**model} for _ in range(2)]
    for method, settings in (("nuslerp", {"weight": 1.0}), ("multislerp", {"weight": 1.0}), ("karcher", {})):
        result = merge_tensors(method, copies, **settings)
        for name in SHAPES:
            np.testing.assert_allclose(result[name], model[name], rtol=2.0**-21)
