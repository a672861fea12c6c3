"""What DARE and DELLA refuse or say, and what they give where nothing is kept."""

import numpy as np
import pytest

import smelt
from smelt.errors import InputError


def family(*values):
    return [smelt.Checkpoint({"w": np.array(v, np.float32)}) for v in values]


@pytest.mark.parametrize("density", [1e-39, 1e-8, 5.9e-8])
def test_a_density_below_the_step_of_the_uniforms_is_refused(density):
    base, model = family([0, 0], [1, 1])
    with pytest.raises(InputError, match="density must be 0 or at least 2"):
        smelt.plan(smelt.methods.dare_linear(base, [model], weight=1.0, density=density))


def test_the_smallest_density_is_finite():
    base, model = family([0, 0], [1, 1])
    merged = smelt.run(smelt.plan(smelt.methods.dare_linear(base, [model], weight=1.0, density=2.0**-24)))
    assert np.isfinite(merged["w"]).all()


def test_restoring_nothing_gives_the_base_however_large_the_rest():
    base, model = family(np.zeros(2500), np.full(2500, 1e37))
    for method in (smelt.methods.dare_linear, smelt.methods.ties, smelt.methods.breadcrumbs):
        merged = smelt.run(smelt.plan(method(base, [model], weight=1.0, density=0.0, rescale="l1")))
        assert not merged["w"].any()


@pytest.mark.parametrize("name", ["ties", "task_arithmetic", "della", "breadcrumbs_ties"])
def test_a_negative_weight_under_normalize_is_noted(name):
    # By hand: weight −1 over the sum of weights −1 leaves +1 times the difference.
    base, model = family([0.0, 0.0], [1.0, -2.0])
    plan = smelt.plan(getattr(smelt.methods, name)(base, [model], weight=-1.0, normalize=True))
    assert smelt.run(plan)["w"].tolist() == [1.0, -2.0]
    assert sum("the sign of a negative weight cancels" in note for note in plan.notes) == 1
    plain = smelt.plan(getattr(smelt.methods, name)(base, [model], weight=-1.0, normalize=False))
    assert smelt.run(plain)["w"].tolist() == [-1.0, 2.0]
    assert plain.notes == ()
