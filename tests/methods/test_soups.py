"""linear against the weighted average in float64."""

import numpy as np
import oracles
import pytest
from merging import DTYPES, SHAPES, draw_family, float32, merge, merge_tensors

import smelt

WEIGHTS = {1: [0.7], 2: [0.3, 0.6], 3: [1.5, -0.25, 0.5], 8: [0.1, 0.2, 0.3, -0.4, 0.5, 0.6, 0.7, 0.8]}


@pytest.mark.parametrize("count", WEIGHTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("normalize", [True, False])
def test_it_is_the_weighted_average(count, dtype, normalize):
    models = draw_family(np.random.default_rng(count), count, dtype)[1:]
    precision = "float64" if dtype == np.float64 else "float32"
    settings = {"weight": WEIGHTS[count], "normalize": normalize}
    result = merge_tensors("linear", models, out_dtype=precision, **settings)
    for name in SHAPES:
        expected = oracles.linear([m[name] for m in models], **settings)
        expected.check(result[name], precision, count + 4)


def test_worked_by_hand():
    # (1·[1, 2, −4] + 3·[5, −2, 0]) / 4 = [16, −4, −4] / 4
    result = merge("linear", [float32(1, 2, -4), float32(5, -2, 0)], weight=[1, 3])
    assert result.tolist() == [4, -1, -1]
    # Without the division: [1, 2, −4] + 3·[5, −2, 0]
    result = merge("linear", [float32(1, 2, -4), float32(5, -2, 0)], weight=[1, 3], normalize=False)
    assert result.tolist() == [16, -4, -4]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_equal_weights_of_copies_give_the_bytes_back(count):
    model = draw_family(np.random.default_rng(5), 0, np.float32)[0]
    result = merge_tensors("linear", [model, *({**model} for _ in range(count - 1))], weight=0.3)
    assert all(np.array_equal(result[name], model[name]) for name in model)


@pytest.mark.parametrize("count", [3, 5, 8])
def test_copies_are_a_fixed_point_to_rounding(count):
    model = draw_family(np.random.default_rng(6), 0, np.float32)[0]
    result = merge_tensors("linear", [{**model} for _ in range(count)], weight=1.0)
    for name in model:
        oracles.linear([model[name]], [1.0]).check(result[name], "float32", count + 4)


def test_permuting_two_models_changes_no_bit_and_more_only_the_rounding():
    a, b, c = (m["matrix"] for m in draw_family(np.random.default_rng(7), 3, np.float32)[1:])
    assert np.array_equal(merge("linear", [a, b], weight=[0.3, 0.9]), merge("linear", [b, a], weight=[0.9, 0.3]))
    one = merge("linear", [a, b, c], weight=[0.3, 0.9, -0.4])
    two = merge("linear", [c, a, b], weight=[-0.4, 0.3, 0.9])
    oracles.linear([a, b, c], [0.3, 0.9, -0.4]).check(one, "float32", 7)
    np.testing.assert_allclose(one, two, rtol=0, atol=16 * 2.0**-24 * 3)


def test_only_proportions_of_the_weights_matter():
    models = draw_family(np.random.default_rng(8), 3, np.float32)[1:]
    one = merge_tensors("linear", models, weight=[1, 2, 5])
    two = merge_tensors("linear", models, weight=[0.25, 0.5, 1.25])
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_the_same_model_twice_counts_twice():
    a, b = smelt.Checkpoint({"w": float32(1, 2)}), smelt.Checkpoint({"w": float32(4, 8)})
    result = smelt.run(smelt.plan(smelt.methods.linear([a, b, a], weight=[1, 1, 1])))
    assert result["w"].tolist() == [2, 4]


def test_mixed_dtypes_meet_in_the_widest_that_computes():
    x = np.array([1 + 2.0**-40, 3.0])
    result = merge("linear", [x, float32(1, 1)], weight=1.0, out_dtype="float64")
    assert result.tolist() == [1 + 2.0**-41, 2.0]


def test_weights_that_cancel_are_refused_before_anything_runs():
    a, b = smelt.Checkpoint({"w": float32(1)}), smelt.Checkpoint({"w": float32(2)})
    with pytest.raises(smelt.InputError, match="sum to 0"):
        smelt.plan(smelt.methods.linear([a, b], weight=[1, -1]))
    result = smelt.run(smelt.plan(smelt.methods.linear([a, b], weight=[1, -1], normalize=False)))
    assert result["w"].tolist() == [-1]


def test_algebra_on_checkpoints_is_linear_without_normalization():
    a, b = smelt.Checkpoint({"w": float32(1, 2, 3)}), smelt.Checkpoint({"w": float32(5, 5, 5)})
    assert smelt.run(smelt.plan(2 * a - b))["w"].tolist() == [-3, -1, 1]


def test_infinities_and_nans_go_the_way_of_arithmetic():
    a, b = float32(np.inf, np.inf, np.nan, 1), float32(1, -np.inf, 1, 1)
    result = merge("linear", [a, b], weight=[1, 1])
    assert np.array_equal(result, float32(np.inf, np.nan, np.nan, 1), equal_nan=True)
