"""Model Stock against eq. 6 of the paper, and what it does where the paper says nothing."""

import math

import direction_oracles as oracles
import numpy as np
import pytest
from merging import DTYPES, LONG_SHAPES, WIDER_SHAPES, check_all, draw_family, float32, merge, precision_of


def correlated_family(rng, count, dtype, shapes, agreement=0.7):
    """A base and fine-tunes whose differences share a part, so that t lies inside (0, 1)."""
    base, shared, *noise = draw_family(rng, count + 1, np.float64, shapes, spread=1.0)
    models = [{n: x + agreement * (shared[n] - x) + (m[n] - x) for n, x in base.items()} for m in noise]
    return [{n: np.asarray(x).astype(dtype) for n, x in m.items()} for m in (base, *models)]


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("dtype", [DTYPES[n] for n in ("float32", "bfloat16", "float64")])
@pytest.mark.parametrize("filter_wise", [False, True])
def test_model_stock(count, dtype, filter_wise):
    base, *models = correlated_family(np.random.default_rng([1, count]), count, dtype, WIDER_SHAPES)
    precision = precision_of(dtype)
    settings = {"precision": precision, "roundings": 60 if precision == "float32" else 1e4, "filter_wise": filter_wise}
    check_all("model_stock", oracles.model_stock, base, models, **settings)


@pytest.mark.parametrize("filter_wise", [False, True])
def test_many_blocks(filter_wise):
    base, *models = correlated_family(np.random.default_rng(2), 3, np.float32, LONG_SHAPES)
    settings = {"precision": "float32", "roundings": 40, "filter_wise": filter_wise, "threads": 2}
    check_all("model_stock", oracles.model_stock, base, models, **settings)


def test_by_hand():
    # δ = [2, 0] and [1, √3]: cos θ = 2/(2·2) = ½, so t = 2·½/(1 + ½) = 2/3 of the mean [1.5, √3/2].
    result = merge("model_stock", float32(1, 1), [float32(3, 1), float32(2, 1 + 3**0.5)])
    np.testing.assert_allclose(result, [2, 1 + math.sqrt(3) / 3], rtol=2.0**-22)
    # Three at right angles but for one pair: cosines ½, 0, 0, their mean 1/6, t = 3/6/(1 + 2/6) = 3/8.
    models = [float32(2, 0, 0), float32(1, 3**0.5, 0), float32(0, 0, 2)]
    result = merge("model_stock", float32(0, 0, 0), models)
    np.testing.assert_allclose(result, 3 / 8 * np.mean(models, axis=0), rtol=2.0**-21)
    # Row by row: the first row agrees (t = 1, the mean), the second is at 90° (t = 0, the base).
    base = float32([0, 0], [5, 5])
    result = merge("model_stock", base, [float32([1, 2], [6, 5]), float32([2, 4], [5, 6])], filter_wise=True)
    np.testing.assert_allclose(result, [[1.5, 3], [5, 5]], rtol=2.0**-22)


@pytest.mark.parametrize("filter_wise", [False, True])
def test_models_that_agree_give_that_model_and_those_at_right_angles_the_base(filter_wise):
    rng = np.random.default_rng(3)
    base, model = (rng.integers(-99, 99, (6, 40)).astype(np.float32) for _ in range(2))
    for count in (2, 4):
        result = merge("model_stock", base, [model] * count, filter_wise=filter_wise)
        np.testing.assert_allclose(result, model, rtol=2.0**-21)
    left, right = np.zeros_like(base), np.zeros_like(base)
    left[:, :20], right[:, 20:] = 3, -5
    assert np.array_equal(merge("model_stock", base, [base + left, base + right], filter_wise=filter_wise), base)


@pytest.mark.parametrize("second", [[-1, 0.1], [-1, 0], [-0.5, 1]], ids=str)
def test_where_the_cosine_is_negative_the_base_comes_out(second):
    # mergekit extrapolates by up to 1/(1 + cos θ) there, and divides by 0 at opposite task vectors.
    base = float32(3, 4)
    assert merge("model_stock", base, [base + float32(1, 0), base + float32(*second)]).tolist() == [3, 4]


def test_three_at_120_degrees_stay_at_the_base():
    corners = [float32(math.cos(a), math.sin(a)) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    result = merge("model_stock", float32(7, 8), [float32(7, 8) + c for c in corners])
    np.testing.assert_allclose(result, [7, 8], atol=1e-6)  # 1 + (N − 1)·cos θ = 0: the formula's pole


@pytest.mark.parametrize("length", [1.0, 1e-3, 1e-6, 1e-12])
def test_the_length_of_task_vectors_does_not_matter(length):
    # mergekit divides by at least 1e-6, so that task vectors of norm 6e-5 fall back to the base.
    first, second = np.float64([2, 0]) * length, np.float64([1, 3**0.5]) * length
    result = merge("model_stock", np.zeros(2), [first, second])
    np.testing.assert_allclose(result, 2 / 3 * (first + second) / 2, rtol=1e-12)


@pytest.mark.parametrize("count", [2, 3])
def test_a_task_vector_of_length_zero_counts_as_at_right_angles(count):
    base, moved = float32(1, 1), float32(3, 1)
    expected = oracles.model_stock(base, [base, *[moved] * (count - 1)])
    expected.check(merge("model_stock", base, [base.copy(), *[moved] * (count - 1)]), "float32", 12)
    assert merge("model_stock", base, [base.copy(), base.copy()]).tolist() == [1, 1]


def test_many_models_that_share_a_direction_give_their_mean():
    # t = N·cos θ/(1 + (N − 1)·cos θ) goes to 1: with cos θ = ½, 1 − t = 1/(N + 1).
    count = 60
    deltas = np.eye(count, dtype=np.float64) + (np.sqrt(1 + count) - 1) / count  # every pair has the cosine ½ …
    cosine = (deltas[0] @ deltas[1]) / (deltas[0] @ deltas[0])
    share = count * cosine / (1 + (count - 1) * cosine)
    assert abs(1 - share - (1 - cosine) / (1 + (count - 1) * cosine)) < 1e-12
    result = merge("model_stock", np.zeros(count), list(deltas))
    np.testing.assert_allclose(result, share * deltas.mean(axis=0), rtol=1e-9)
    assert share > 0.98
