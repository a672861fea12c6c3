"""passthrough: the tensor as it is, or times a number."""

import numpy as np
import oracles
import pytest
from merging import DTYPES, SHAPES, draw_family, float32, merge, merge_tensors


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("settings", [{}, {"scale": 1.0}, {"scale": [1]}])
def test_without_a_scale_the_bytes_are_carried(dtype, settings):
    (model,) = draw_family(np.random.default_rng(1), 0, dtype)
    result = merge_tensors("passthrough", model, **settings)
    assert all(result[n].tobytes() == model[n].tobytes() and result[n].dtype == dtype for n in SHAPES)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("scale", [0.3, -2.5, 0.0])
def test_it_scales(dtype, scale):
    (model,) = draw_family(np.random.default_rng(2), 0, dtype)
    precision = "float64" if dtype == np.float64 else "float32"
    result = merge_tensors("passthrough", model, scale=scale, out_dtype=precision)
    for name in SHAPES:
        oracles.passthrough(model[name], scale).check(result[name], precision, 3)


def test_worked_by_hand():
    assert merge("passthrough", float32(1, -2, 0.5), scale=-0.5).tolist() == [-0.5, 1, -0.25]


def test_carried_bytes_keep_what_arithmetic_would_change():
    odd = np.array([0x7F800001, 0xFFC12345, 0x80000000, 1], np.uint32).view(np.float32)
    assert merge("passthrough", odd).tobytes() == odd.tobytes()


def test_another_dtype_is_one_rounding():
    x = float32(1 + 2.0**-9, 1 + 2.0**-8, 3.0)  # 2⁻⁷ apart in bfloat16; the second is a tie, to even
    assert merge("passthrough", x, out_dtype="bfloat16").astype(np.float32).tolist() == [1, 1, 3]
    assert merge("passthrough", float32(1 + 3 * 2.0**-8), out_dtype="bfloat16").astype(np.float32) == [1 + 2.0**-6]
