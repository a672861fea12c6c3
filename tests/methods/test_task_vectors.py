"""task_arithmetic and ties against float64; DARE has a file of its own."""

import numpy as np
import oracles
import pytest
from merging import BFLOAT16, DTYPES, SHAPES, draw_family, float32, merge, merge_tensors

# Multiples of 1/8, so that sums of weights are exact in float32 too and no divisor is a matter of rounding.
WEIGHTS = {1: [0.75], 2: [0.25, 0.625], 3: [1.5, -0.25, 0.5], 8: [0.125, 0.25, 0.375, -0.5, 0.5, 0.625, 0.75, 1]}
DENSITIES = {1: [0.3], 2: [0.3, 1.0], 3: [0.0, 0.3, 0.9], 8: [0.3, 0.3, 0.5, 0.1, 1.0, 0.0, 0.7, 0.05]}
BORDERS = [(2**18 - 1,), (2**18,), (2**18 + 1,), (2**18 - 1, 1), (2**18 + 1, 1), (5, 100_003), (2, 2**18 + 7)]


@pytest.fixture(scope="module")
def families():
    drawn = {}

    def family(dtype, count):
        if (dtype, count) not in drawn:
            drawn[dtype, count] = draw_family(np.random.default_rng([7, count]), count, dtype)
        return drawn[dtype, count][0], drawn[dtype, count][1:]

    return family


def check_all(method, oracle, base, models, dtype, settings, roundings):
    precision = "float64" if dtype == np.float64 else "float32"
    spelled = {"lambda_" if k == "lam" else k: v for k, v in settings.items()}
    result = merge_tensors(method, base, models, out_dtype=precision, **spelled)
    for name in SHAPES:
        oracle(base[name], [m[name] for m in models], **settings).check(result[name], precision, roundings)


@pytest.mark.parametrize("count", WEIGHTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("normalize", [True, False])
def test_task_arithmetic(families, count, dtype, normalize):
    base, models = families(dtype, count)
    settings = {"weight": WEIGHTS[count], "normalize": normalize, "lam": 0.7}
    check_all("task_arithmetic", oracles.task_arithmetic, base, models, dtype, settings, count + 6)


@pytest.mark.parametrize("count", WEIGHTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rescale", [False, "l1"])
def test_ties(families, count, dtype, normalize, rescale):
    base, models = families(dtype, count)
    settings = {"weight": WEIGHTS[count], "density": DENSITIES[count], "normalize": normalize}
    settings |= {"lam": 1.3, "rescale": rescale}
    check_all("ties", oracles.ties, base, models, dtype, settings, 2 * count + 8)


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_ties_with_one_density_for_all(families, density):
    base, models = families(DTYPES["bfloat16"], 3)
    result = merge_tensors("ties", base, models, weight=0.5, density=density, out_dtype="float32")
    for name in SHAPES:
        listed = [m[name] for m in models]
        oracles.ties(base[name], listed, [0.5] * 3, [density] * 3).check(result[name], "float32", 14)


@pytest.mark.parametrize("shape", BORDERS, ids=str)
def test_around_the_borders_of_blocks(shape):
    base, *models = draw_family(np.random.default_rng(3), 2, BFLOAT16, {"w": shape}, spread=0.05)
    listed = [m["w"] for m in models]
    settings = {"weight": [0.5, 0.75], "density": [0.3, 0.6]}
    result = merge_tensors("ties", base, models, out_dtype="float32", threads=2, **settings)
    oracles.ties(base["w"], listed, **settings).check(result["w"], "float32", 12)
    result = merge_tensors("task_arithmetic", base, models, out_dtype="float32", weight=[0.5, 0.75])
    oracles.task_arithmetic(base["w"], listed, [0.5, 0.75]).check(result["w"], "float32", 8)


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_result_is_rounded_once(families, method, dtype):
    base, models = families(DTYPES[dtype], 3)
    exact = merge_tensors(method, base, models, weight=0.3, out_dtype="float32")
    stored = merge_tensors(method, base, models, weight=0.3)
    assert all(np.array_equal(stored[n], exact[n].astype(DTYPES[dtype])) for n in SHAPES)


def test_one_float64_input_makes_all_of_it_float64():
    base, x, y = np.float64([1 + 2.0**-45, 1]), float32(2, 2), np.array([3, 5], BFLOAT16)
    settings = {"weight": [0.3, 0.7]}
    result = merge("task_arithmetic", base, [x, y], out_dtype="float64", **settings)
    oracles.task_arithmetic(base, [x, y], **settings).check(result, "float64", 8)


def test_task_arithmetic_by_hand():
    base, a, b = float32(1, 2, 3), float32(2, 2, 1), float32(1, 6, 3)
    # δ_a = [1, 0, −2], δ_b = [0, 4, 0]; W = θ₀ + 2·(0.5·δ_a − 0.25·δ_b)
    result = merge("task_arithmetic", base, [a, b], weight=[0.5, -0.25], lambda_=2)
    assert result.tolist() == [2, 0, 1]
    # Normalized: Σw = 0.25, so four times the edit.
    result = merge("task_arithmetic", base, [a, b], weight=[0.5, -0.25], lambda_=2, normalize=True)
    assert result.tolist() == [5, -6, -5]


def test_ties_by_hand():
    base = float32(1, 1, 1, 1, 1, 1)
    a = base + float32(4, -1, 2, 0, -3, 1)
    b = base + float32(-2, -4, 1, 6, 0, 3)
    # Density ½ keeps 3: of a the 4, 2 and −3; of b the −4, 6 and 3.
    # Votes:   a [4, 0, 2, 0, −3, 0]   b [0, −4, 0, 6, 0, 3]   no conflict, one voter each: the mean is the voter.
    result = merge("ties", base, [a, b], weight=[1, 1], density=0.5)
    assert result.tolist() == [5, -3, 3, 7, -2, 4]
    # Density 1: signs of the sums [2, −5, 3, 6, −3, 4]; agreeing: [a, a b, a b, b, a, a b].
    result = merge("ties", base, [a, b], weight=[1, 1], density=1.0)
    assert result.tolist() == [1 + 4, 1 - 2.5, 1 + 1.5, 1 + 6, 1 - 3, 1 + 2]
    result = merge("ties", base, [a, b], weight=[1, 1], density=1.0, normalize=False, lambda_=0.5)
    assert result.tolist() == [1 + 2, 1 - 2.5, 1 + 1.5, 1 + 3, 1 - 1.5, 1 + 2]
    # Weights vote: with 1 against 3 the first entry goes to b (4 − 6 < 0), disjoint mean −2; second −(1 + 12) / 4.
    result = merge("ties", base, [a, b], weight=[1, 3], density=1.0)
    assert result.tolist() == [1 - 2, 1 - 13 / 4, 1 + 5 / 4, 1 + 6, 1 - 3, 1 + 10 / 4]


def test_ties_rescaled_by_hand():
    base = float32(0, 0, 0, 0)
    a = float32(1, -2, 4, 1)  # Σ|δ| = 8; density ½ keeps −2 and 4, Σ = 6: factor 4/3
    result = merge("ties", base, [a], weight=1.0, density=0.5, rescale="l1")
    assert np.array_equal(result, float32(0, -8 / 3, 16 / 3, 0))
    result = merge("ties", base, [a], weight=1.0, density=0.5)
    assert result.tolist() == [0, -2, 4, 0]


def test_ties_where_the_votes_cancel_elects_plus():
    base, a, b = float32(10, 10), float32(13, 7), float32(7, 13)  # δ = ±3 and ∓3
    result = merge("ties", base, [a, b], weight=[1, 1])
    assert result.tolist() == [13, 13]


def test_ties_keeps_the_first_of_equal_magnitudes():
    base, a = float32(0, 0, 0, 0, 0), float32(2, -2, 2, -2, 1)
    result = merge("ties", base, [a], weight=1.0, density=0.4)
    assert result.tolist() == [2, -2, 0, 0, 0]


def test_ties_where_agreeing_weights_sum_to_zero_divides_by_one():
    # Votes 1·4 and −1·(−2) are 4 and 2: both agree with +, and their weights cancel.
    result = merge("ties", float32(0), [float32(4), float32(-2)], weight=[1, -1])
    assert result.tolist() == [6]


def test_a_negative_weight_and_normalize_cancel():
    base, a = float32(1, 2), float32(3, -2)
    assert merge("task_arithmetic", base, [a], weight=-1.0, normalize=True).tolist() == a.tolist()
    assert merge("task_arithmetic", base, [a], weight=-1.0).tolist() == [-1, 6]


def test_weights_that_cancel_are_divided_by_one():
    base, a, b = float32(1, 2), float32(3, -2), float32(2, 2)
    expected = (base + (a - base) - (b - base)).tolist()
    for normalize in (True, False):
        assert merge("task_arithmetic", base, [a, b], weight=[1, -1], normalize=normalize).tolist() == expected


@pytest.mark.parametrize(("density", "expected"), [(0.34, [0, 0, 0]), (0.67, [np.inf, 0, 0]), (1.0, [np.inf, 1, 0])])
def test_ties_keeps_a_nan_before_everything_else_and_lets_it_elect_nothing(density, expected):
    result = merge("ties", float32(0, 0, 0), [float32(np.inf, 1, np.nan)], weight=1.0, density=density)
    assert result.tolist() == expected
