"""What a formula is printed from computes what the merge computes: every method, with what its settings leave out."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from smelt.algebra.declare import catalogue
from smelt.algebra.settling import settle
from smelt.errors import InputError
from smelt.planning.planner import plan_recipe
from smelt.recipes.build import build_recipe
from smelt.running.runner import Pace, run_plan
from smelt.tensors.checkpoint import Checkpoint
from smelt.testing.variants import variants_of

EXTREMES = {"density": (0.0, 1.0), "lambda": (0.0,), "t": (0.0, 1.0), "weight": (0.0, -0.5), "normalize": (True, False)}


def settings_of(variant):
    """Yield the variant's settings, and those with one of them at an extreme."""
    yield variant.settings
    for name, values in EXTREMES.items():
        if name in variant.method.setting:
            yield from ({**variant.settings, name: value} for value in values)


def plan_with(variant, settings):
    count = variant.count + variant.has_base
    models = [Checkpoint(tiny.llama(seed, layers=1, dtype=np.dtype("f4"))) for seed in range(count)]
    base, listed = (models[0], models[1:]) if variant.has_base else (None, models)
    several = [listed] if "models" in variant.method.tensors else listed
    arguments = several if base is None else [base, *several] if variant.method.needs_base else [*several, base]
    return plan_recipe(build_recipe(variant.method, arguments, settings), seed=3)


def settled(plan):
    """Return the plan with what its settings decide left out of its expressions, as for formulas."""
    slots = [[o.slots for o in plan.outputs if o.template == number] for number in range(len(plan.templates))]
    roots = [settle(template.root, found) for template, found in zip(plan.templates, slots, strict=True)]
    return replace(plan, templates=tuple(replace(t, root=r) for t, r in zip(plan.templates, roots, strict=True)))


CASES = [
    pytest.param(variant, id=f"{name}-{place}", marks=[pytest.mark.full] if place else [])
    for name in catalogue()
    for place, variant in enumerate(variants_of(name))
]


@pytest.mark.parametrize("variant", CASES)
def test_what_is_left_computes_the_same(variant):
    for settings in settings_of(variant):
        try:
            plan = plan_with(variant, settings)
        except InputError:  # no such value of that setting
            assert settings != variant.settings
            continue
        expected, found = (run_plan(p, non_finite="report", pace=Pace(1, engine=False)) for p in (plan, settled(plan)))
        for tensor, array in expected.items():
            np.testing.assert_allclose(found[tensor], array, rtol=1e-5, atol=1e-6, err_msg=f"{settings} {tensor}")
