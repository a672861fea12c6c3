"""Tensors share numbers only where their settings are the same to the bit."""

import numpy as np
import pytest

import smelt
import tiny
from smelt.running.runner import Pace, run_plan

SIGNED_ZEROS = """
merge_method: linear
models:
  - model: x
    parameters: {weight: [{filter: "first", value: -0.0}, {value: 0.0}]}
  - model: y
    parameters: {weight: [{filter: "first", value: -0.0}, {value: 0.0}]}
parameters: {normalize: false}
dtype: float32
"""


@pytest.mark.parametrize("engine", [False, True])
def test_a_weight_of_minus_zero_is_none_of_zero(here, engine):
    for folder in ("x", "y"):
        tiny.save(here / folder, {name: np.ones((2, 3), "f4") for name in ("first.weight", "second.weight")})
    plan = smelt.plan(SIGNED_ZEROS)
    for order in (range, lambda count: range(count)[::-1]):
        merged = run_plan(plan, pace=Pace(1, order=order, engine=engine))
        # By hand: −0·1 + −0·1 = −0, and 0·1 + 0·1 = 0.
        assert np.signbit(merged["first.weight"]).all()
        assert not np.signbit(merged["second.weight"]).any()
