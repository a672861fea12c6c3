"""slerp against Shoemake's formula in float64."""

import math

import numpy as np
import oracles
import pytest
from merging import DTYPES, SHAPES, draw_family, float32, merge, merge_tensors


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 0.9, 1.0, 1.5, -0.5])
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_it_is_spherical_interpolation(dtype, t, spread):
    a, b = draw_family(np.random.default_rng(1), 1, dtype, spread=spread)
    precision = "float64" if dtype == np.float64 else "float32"
    result = merge_tensors("slerp", a, b, t=t, out_dtype=precision)
    for name in SHAPES:
        # In float64 the angle's own error (a few units of its cosine, over sin² Ω) outweighs that of the sum.
        oracles.slerp(a[name], b[name], t).check(result[name], precision, 6 if precision == "float32" else 60)


def test_worked_by_hand():
    # a ⊥ b, so Ω = 90°; at t = 1/3 the coefficients are sin 60° = √3/2 and sin 30° = 1/2.
    result = merge("slerp", float32(2, 0, 0, 0), float32(0, 0, 4, 0), t=1 / 3)
    np.testing.assert_allclose(result, [math.sqrt(3), 0, 2, 0], rtol=2.0**-23)
    # b is twice a: parallel, so it is linear: 0.75·a + 0.25·2a = 1.25·a
    assert merge("slerp", float32(4, 8, -4), float32(8, 16, -8), t=0.25).tolist() == [5, 10, -5]
    # Opposite tensors: linear too.
    assert merge("slerp", float32(4, 8, -4), float32(-4, -8, 4), t=0.25).tolist() == [2, 4, -2]
    # A zero tensor has no direction: linear.
    assert merge("slerp", float32(0, 0, 0), float32(4, 8, -4), t=0.25).tolist() == [1, 2, -1]


@pytest.mark.parametrize("spread", [0.0001, 0.3, 3.0])
def test_the_ends_are_the_models(spread):
    a, b = draw_family(np.random.default_rng(2), 1, np.float32, spread=spread)
    for t, end in ((0.0, a), (1.0, b)):
        result = merge_tensors("slerp", a, b, t=t)
        assert all(np.array_equal(result[name], end[name]) for name in SHAPES)


@pytest.mark.parametrize("t", [0.125, 0.25, 0.5])
def test_from_the_other_end_it_is_the_same(t):
    a, b = draw_family(np.random.default_rng(3), 1, np.float32, spread=1.0)
    one, two = merge_tensors("slerp", a, b, t=t), merge_tensors("slerp", b, a, t=1 - t)
    assert all(np.array_equal(one[name], two[name]) for name in SHAPES)


def test_it_scales_with_the_models():
    a, b = draw_family(np.random.default_rng(4), 1, np.float32, spread=1.0)
    one = merge_tensors("slerp", a, b, t=0.3)
    eight = merge_tensors("slerp", {n: 8 * x for n, x in a.items()}, {n: 8 * x for n, x in b.items()}, t=0.3)
    assert all(np.array_equal(eight[name], 8 * one[name]) for name in SHAPES)


def test_half_way_between_orthogonal_unit_vectors_the_norm_stays_one():
    rng = np.random.default_rng(5)
    a, b = np.linalg.qr(rng.standard_normal((4096, 2)))[0].T
    result = merge("slerp", a.astype(np.float32), b.astype(np.float32), t=0.5)
    assert abs(np.linalg.norm(result.astype(np.float64)) - 1) < 1e-6
    assert abs(np.linalg.norm((a + b) / 2) - math.sqrt(0.5)) < 1e-12


def test_near_the_border_of_linear_interpolation():
    # cos Ω = 0.9994 and 0.9996: just inside and just outside; at t = ½ the factor is 1/(2 cos(Ω/2)) or ½.
    for cosine, factor in ((0.9994, 0.5 / math.cos(math.acos(0.9994) / 2)), (0.9996, 0.5)):
        a, b = np.array([1.0, 0.0]), np.array([cosine, math.sqrt(1 - cosine**2)])
        np.testing.assert_allclose(merge("slerp", a, b, t=0.5), factor * (a + b), rtol=1e-12)


def test_copies_are_a_fixed_point_and_the_base_is_an_ordinary_input():
    a = draw_family(np.random.default_rng(6), 0, np.float32)[0]
    for t in (0.25, 0.5):
        result = merge_tensors("slerp", a, {**a}, t=t)
        assert all(np.array_equal(result[name], a[name]) for name in SHAPES)


@pytest.mark.parametrize("shape", [(2**18 + 1,), (2**18 - 1, 1), (3, 100_003)])
def test_the_angle_is_that_of_the_whole_tensor(shape):
    a, b = draw_family(np.random.default_rng(7), 1, np.float32, {"w": shape}, spread=1.0)
    b["w"].reshape(-1)[: b["w"].size // 2] *= -1  # the halves lie at very different angles
    oracles.slerp(a["w"], b["w"], 0.4).check(merge_tensors("slerp", a, b, t=0.4, threads=2)["w"], "float32", 6)


def test_very_long_and_very_short_vectors_keep_their_direction():
    # In float32 the squares would overflow or vanish; the sums are float64.
    for scale in (2.0**100, 2.0**-100):
        a, b = float32(3, 0) * np.float32(scale), float32(0, 5) * np.float32(scale)
        expected = math.sqrt(0.5) * np.array([3, 5]) * scale
        np.testing.assert_allclose(merge("slerp", a, b, t=0.5), expected, rtol=2.0**-22)
