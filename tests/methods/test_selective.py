"""SCE, RAM, RAM+ and MagMax against float64, by hand, and where mergekit goes wrong."""

import entry_oracles as oracles
import numpy as np
import pytest
from merging import (
    BFLOAT16,
    DTYPES,
    LONG_SHAPES,
    WIDER_SHAPES,
    check_all,
    draw_family,
    float32,
    merge,
    merge_tensors,
    precision_of,
)

BY_DTYPE = pytest.mark.parametrize("dtype", [DTYPES[n] for n in ("float32", "bfloat16", "float64")])
BY_COUNT = pytest.mark.parametrize("count", [1, 2, 3, 5])


@BY_DTYPE
@BY_COUNT
@pytest.mark.parametrize("select_topk", [1.0, 0.3])
def test_sce(dtype, count, select_topk):
    base, *models = draw_family(np.random.default_rng([1, count]), count, dtype, WIDER_SHAPES)
    precision = precision_of(dtype)
    settings = {"precision": precision, "roundings": 40 if precision == "float32" else 400}
    check_all("sce", oracles.sce, base, models, **settings, select_topk=select_topk)


@pytest.mark.parametrize("select_topk", [1.0, 0.1])
def test_sce_of_many_blocks(select_topk):
    base, *models = draw_family(np.random.default_rng(2), 3, np.float32, LONG_SHAPES)
    settings = {"precision": "float32", "roundings": 40, "threads": 2}
    check_all("sce", oracles.sce, base, models, **settings, select_topk=select_topk)


def test_sce_by_hand():
    base = float32(1, 1, 1, 1)
    a, b = base + float32(4, 2, -1, 0), base + float32(2, -4, -1, 3)
    # Σδ² = 21 and 30; signs of the sums: +, −, −, +. Agreeing: both, b, both, b.
    expected = [1 + (21 * 4 + 30 * 2) / 51, 1 - 4, 1 - 1, 1 + 3]
    np.testing.assert_allclose(merge("sce", base, [a, b]), expected, rtol=2.0**-21)
    # Variances 1, 9, 0, 2.25: three vary, and of these ⌊0.67·3⌋ = 2 are kept: the 2nd and the 4th.
    # Then Σδ² = 4 and 25, and both kept entries have one model with the elected sign.
    np.testing.assert_allclose(merge("sce", base, [a, b], select_topk=0.67), [1, -3, 1, 4], rtol=2.0**-22)


@pytest.mark.parametrize("select_topk", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_sce_where_nothing_varies_gives_the_model_in_its_shape(select_topk, count):
    # mergekit writes a tensor with an extra dimension there.
    base, model = (m["matrix"] for m in draw_family(np.random.default_rng(3), 1, np.float32))
    result = merge("sce", base, [model] * count, select_topk=select_topk)
    assert result.shape == base.shape
    np.testing.assert_allclose(result, model, rtol=0, atol=2.0**-20)
    assert np.array_equal(merge("sce", base, [base.copy()] * count, select_topk=select_topk), base)


def test_sce_selecting_nothing_of_what_varies_gives_the_base():
    base, a, b = float32(1, 2), float32(3, 4), float32(5, 4)
    assert merge("sce", base, [a, b], select_topk=0.0).tolist() == [1, 2]
    assert merge("sce", base, [a, b], select_topk=0.3).tolist() == [1, 2]  # one entry varies: ⌊0.3⌋ = 0


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6])
def test_sce_weighs_small_differences_too(size):
    # mergekit's weights are equal where Σ mean δ² < 1e-6: ½ and ½ instead of 1/26 and 25/26.
    rng = np.random.default_rng(4)
    first = np.abs(rng.standard_normal(3000))
    first, second = (x * size / np.sqrt((x**2).mean()) for x in (first, rng.permutation(first)))
    result = merge("sce", np.zeros(3000), [1 * first, 5 * second])
    np.testing.assert_allclose(result, first / 26 + 5 * second * 25 / 26, rtol=1e-9)


def test_sce_weight_grows_with_the_square_of_the_difference():
    # Equal lengths and no conflict: the mean; one of them doubled: four times the weight.
    base = np.zeros((4, 5))
    a = np.abs(np.random.default_rng(5).standard_normal((4, 5)))
    b = a[::-1].copy()
    np.testing.assert_allclose(merge("sce", base, [a, b]), (a + b) / 2, rtol=1e-12)
    np.testing.assert_allclose(merge("sce", base, [2 * a, b]), (4 * 2 * a + b) / 5, rtol=1e-12)


@pytest.mark.parametrize("scale", [2.0**100, 2.0**-100])
def test_sce_selects_at_any_scale(scale):
    base, *models = (m["matrix"] for m in draw_family(np.random.default_rng(11), 3, np.float32))
    deltas = [m - base for m in models]
    plain = merge("sce", 0 * base, deltas, select_topk=0.3)
    scaled = merge("sce", 0 * base, [np.float32(scale) * d for d in deltas], select_topk=0.3)
    assert np.array_equal(scaled, np.float32(scale) * plain)
    assert 0.05 < np.mean(plain != 0) < 0.35


def test_sce_of_numbers_whose_squares_overflow_is_no_nan():
    base, a, b = np.zeros(3), np.array([1e200, 1, 2]), np.array([2e200, 3, 2])
    assert merge("sce", base, [a, b]).tolist() == [1.5e200, 2, 2]  # weights ½ and ½
    assert merge("sce", base, [a, b], select_topk=1 / 2).tolist() == [1.5e200, 0, 0]  # of the two that vary, one
    # An infinite entry spoils itself alone.
    assert merge("sce", float32(0, 0), [float32(np.inf, 1), float32(1, 3)]).tolist() == [np.inf, 2]


def test_an_infinite_entry_leaves_the_others_of_ram_alone():
    base, models = float32(0, 0, 0), [float32(1, np.inf, 2), float32(3, 4, 0)]
    assert merge("ram", base, models).tolist() == [2, np.inf, 2]
    # Two shared and one unique: 1 + 0.5·min(2, 1).
    assert merge("ramplus_tl", base, models, r=0.5, alpha=1.0).tolist() == [2, np.inf, 3]


@BY_DTYPE
@BY_COUNT
@pytest.mark.parametrize(("method", "more"), [("ram", {}), ("ramplus_tl", {"r": 0.3, "alpha": 0.7})])
def test_ram(dtype, count, method, more):
    base, *models = draw_family(np.random.default_rng([6, count]), count, dtype, WIDER_SHAPES)
    precision = precision_of(dtype)
    settings = {"precision": precision, "roundings": 20, "epsilon": 0.3}
    check_all(method, oracles.ram, base, models, **settings, **more)


@pytest.mark.parametrize("method", ["ram", "ramplus_tl"])
def test_ram_of_many_blocks(method):
    base, *models = draw_family(np.random.default_rng(7), 3, BFLOAT16, LONG_SHAPES)
    more = {"r": 0.5, "alpha": 1.0} if method == "ramplus_tl" else {}
    check_all(method, oracles.ram, base, models, precision="float32", roundings=20, threads=2, epsilon=0.5, **more)


def test_ram_by_hand():
    base = float32(1, 1, 1, 1, 1, 1)
    a, b = base + float32(2, 4, 0, 0.25, 3, 0), base + float32(0, -2, 5, 0, 1, 0.125)
    # Above ½: of a the 1st, 2nd and 5th, of b the 2nd, 3rd and 5th. Shared: the 2nd and 5th.
    assert merge("ram", base, [a, b], epsilon=0.5).tolist() == [3, 2, 6, 1, 3, 1]
    # Each has 1 unique and 2 shared: shared/unique = 2, of which alpha lets ½ count: unique ones times 1 + 0.5·0.5.
    settings = {"epsilon": 0.5, "r": 0.5, "alpha": 0.5}
    assert merge("ramplus_tl", base, [a, b], **settings).tolist() == [3.5, 2, 7.25, 1, 3, 1]
    # With room for all of it: 1 + 0.25·1 for alpha 1.
    assert merge("ramplus_tl", base, [a, b], epsilon=0.5, r=0.25, alpha=1.0).tolist() == [3.5, 2, 7.25, 1, 3, 1]


def test_ramplus_without_shared_or_without_unique_entries():
    base = float32(0, 0)
    apart = [float32(3, 0), float32(0, 4)]
    assert merge("ramplus_tl", base, apart, r=5.0, alpha=1.0).tolist() == [3, 4]
    together = [float32(3, 1), float32(1, 4)]
    assert merge("ramplus_tl", base, together, r=5.0, alpha=1.0).tolist() == [2, 2.5]


def test_ramplus_keeps_the_dtype_of_the_base():
    base, *models = draw_family(np.random.default_rng(8), 2, BFLOAT16)
    assert all(x.dtype == BFLOAT16 for x in merge_tensors("ramplus_tl", base, models).values())


@BY_DTYPE
@BY_COUNT
def test_magmax(dtype, count):
    base, *models = draw_family(np.random.default_rng([9, count]), count, dtype, WIDER_SHAPES | LONG_SHAPES)
    check_all("magmax", oracles.magmax, base, models, precision=precision_of(dtype), roundings=4, lam=0.5)


def test_magmax_by_hand():
    base = float32(1, 1, 1, 1)
    models = [base + float32(2, -1, 3, 0), base + float32(-4, 0.5, -3, 0), base + float32(1, 0.75, 1, 0)]
    assert merge("magmax", base, models).tolist() == [-3, 0, 4, 1]  # of +3 and −3 the positive one
    assert merge("magmax", base, models, lambda_=0.5).tolist() == [-1, 0.5, 2.5, 1]
