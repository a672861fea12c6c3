"""nearswap and Arcee fusion: what they take from the other model."""

import entry_oracles as oracles
import numpy as np
import pytest
from merging import BFLOAT16, DTYPES, LONG_SHAPES, WIDER_SHAPES, check_all, draw_family, float32, merge, merge_tensors
from merging import precision_of as precision_of_inputs

BY_DTYPE = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


@BY_DTYPE
@pytest.mark.parametrize("t", [0.0, 1e-4, 0.25, 100.0])
def test_nearswap(dtype, t):
    a, b = draw_family(np.random.default_rng(1), 1, dtype, WIDER_SHAPES)
    check_all("nearswap", oracles.nearswap, a, b, precision=precision_of_inputs(dtype), roundings=3, t=t)


def test_nearswap_by_hand():
    # Steps of ½ at most: 1 → 1.5 on the way to 4, 2 → 1.5 on the way to −9, and what is nearer is reached.
    assert merge("nearswap", float32(1, 2, 3, 5), float32(4, -9, 3.25, 5), t=0.5).tolist() == [1.5, 1.5, 3.25, 5]


def test_nearswap_moves_by_t_at_most_and_for_a_large_t_gives_the_other_model():
    a, b = draw_family(np.random.default_rng(2), 1, np.float32, LONG_SHAPES)
    moved = merge_tensors("nearswap", a, b, t=0.125)
    whole = merge_tensors("nearswap", a, b, t=1e6)
    none = merge_tensors("nearswap", a, b, t=0.0)
    for name, array in a.items():
        assert np.abs(moved[name] - array).max() <= 0.125 + 2.0**-20
        np.testing.assert_allclose(whole[name], b[name], rtol=0, atol=2.0**-20)
        assert np.array_equal(none[name], array)


def test_nearswap_of_models_nearer_than_any_floor():
    # mergekit takes |b − a| for 1e-6 at least, so that with a smaller t nearly equal entries stay apart.
    a, b = np.float64([0, 0]), np.float64([1e-9, 1e-7])
    assert merge("nearswap", a, b, t=1e-8).tolist() == [1e-9, 1e-8]


@BY_DTYPE
def test_arcee_fusion(dtype):
    a, b = draw_family(np.random.default_rng(3), 1, dtype, WIDER_SHAPES, spread=0.5)
    check_all("arcee_fusion", oracles.arcee_fusion, a, b, precision=precision_of_inputs(dtype), roundings=1)


def test_arcee_fusion_of_many_blocks():
    rng = np.random.default_rng(4)
    a, b = draw_family(rng, 1, np.float32, LONG_SHAPES, spread=0.5)
    check_all("arcee_fusion", oracles.arcee_fusion, a, b, precision="float32", roundings=1, threads=2)


def test_arcee_fusion_by_hand():
    # A vector is one row, so importance is |b − a| times one number: [0, 0, 0, 0, 1, 2, 3, 40] times it. Quartiles of
    # 8 numbers lie at 1.75, 3.5 and 5.25: 0, ½ and 2.25, so the threshold is ½ + 1.5·2.25 = 3.875: only 40 is taken.
    a = np.zeros(8, np.float32)
    b = float32(0, 0, 0, 0, 1, 2, 3, 40)
    assert merge("arcee_fusion", a, b).tolist() == [0, 0, 0, 0, 0, 0, 0, 40]
    # [1, 2, 4, 8]: quartiles 1.75, 3, 5, threshold 3 + 1.5·3.25 = 7.875.
    assert merge("arcee_fusion", float32(0, 0, 0, 0), float32(1, 2, 4, 8)).tolist() == [0, 0, 0, 8]


def test_a_row_that_only_moves_by_a_constant_is_of_no_importance():
    # Its softmax is the same. The other rows put the threshold above 0.
    rng = np.random.default_rng(5)
    a = rng.integers(-4, 4, (8, 64)).astype(np.float32)
    b = a + np.float32(1)
    b[4:] = a[4:] + rng.integers(-3, 4, (4, 64)).astype(np.float32)
    taken = merge("arcee_fusion", a, b) != a
    assert taken[4:].any()
    assert not taken[:4].any()


def test_where_most_entries_are_equal_all_that_differ_is_taken():
    # Median and quartiles of the importance are 0, and so is the threshold.
    a = np.random.default_rng(7).standard_normal((20, 30)).astype(np.float32)
    b = a.copy()
    b[::5] += 1
    b[0, 3] = 9
    assert np.array_equal(merge("arcee_fusion", a, b), b)


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16], ids=str)
def test_arcee_fusion_takes_entries_of_the_one_or_the_other_and_keeps_the_dtype(dtype):
    large = (1200, 1000) if dtype == BFLOAT16 else (120, 1000)
    a, b = draw_family(np.random.default_rng(6), 1, dtype, WIDER_SHAPES | {"large": large}, spread=0.1)
    result = merge_tensors("arcee_fusion", a, b)
    again = merge_tensors("arcee_fusion", a, b, threads=2)
    for name in a:
        assert result[name].dtype == dtype  # mergekit writes float32
        assert np.array_equal(result[name], again[name])  # above a million entries mergekit draws a sample
        taken, left = result[name] == b[name], result[name] == a[name]
        assert (taken | left).all()
    assert 0.001 < np.mean(result["large"] != a["large"]) < 0.5
    same = merge_tensors("arcee_fusion", a, {**a})
    assert all(np.array_equal(same[name], a[name]) for name in a)


@pytest.mark.parametrize(("size", "spread"), [(0.02, 2e-6), (0.02, 2e-5), (0.02, 2e-3), (1.0, 1.0), (5.0, 10.0)])
def test_arcee_fusion_of_close_models_chooses_as_in_float64(size, spread):
    rng = np.random.default_rng(8)
    a = (size * rng.standard_normal((300, 512))).astype(np.float32)
    b = (a + spread * rng.standard_normal(a.shape)).astype(np.float32)
    importance = oracles.importance(a, b)
    low, middle, high = np.quantile(importance, [0.25, 0.5, 0.75])
    expected = importance >= middle + 1.5 * (high - low)
    taken = merge("arcee_fusion", a, b) == b
    assert 0.01 < expected.mean() < 0.2
    assert np.mean((taken != expected)[a != b]) < 1e-4
