"""What a plan says that its run takes."""

import numpy as np

import smelt
import tiny
from smelt.planning.plan import ENGINE_PARAMETERS


def cost_of(method, models):
    return smelt.plan(f"merge_method: {method}\nmodels: [{', '.join(models)}]\n").cost


def test_compiling_pays_for_many_parameters_that_are_computed(here):
    size = ENGINE_PARAMETERS // 2
    for name in ("a", "b"):
        tiny.save(here / name, {"x": np.zeros(size, "f2"), "y": np.zeros(size, "f2")}, tiny.config())
    computed = cost_of("linear", ["{model: a, parameters: {weight: 1}}", "{model: b, parameters: {weight: 1}}"])
    copied = cost_of("passthrough", ["{model: a}"])
    assert (computed.parameters, computed.computed, computed.is_compiled) == (2 * size, 2 * size, True)
    assert (copied.parameters, copied.computed, copied.is_compiled) == (2 * size, 0, False)
    assert computed.peak_bytes(1) - copied.peak_bytes(1) > 100e6
