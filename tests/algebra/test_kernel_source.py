"""Kernels as text: one for any number of models, any settings and any tensor; and what they compute, by NumPy."""

import numpy as np
import pytest
from evaluating import X, Y, models

from smelt.algebra import engine
from smelt.algebra.declare import catalogue
from smelt.algebra.kernel_source import UnsupportedError, write_kernel
from smelt.algebra.vocabulary import absolute, arccos, rank, sine, sum_models, where
from smelt.planning.planner import plan_recipe
from smelt.recipes.build import build_recipe
from smelt.running.runner import Pace, run_plan
from smelt.tensors.checkpoint import Checkpoint


def plan_of(name, count, shapes, **settings):
    """Return the plan of a method over zeros; its first model is the base."""
    base, *others = [
        Checkpoint({f"t{i}": np.zeros(s, np.float32) for i, s in enumerate(shapes)}) for _ in range(count + 1)
    ]
    method = catalogue()[name]
    required = {setting.name: 0.5 for setting in method.settings if setting.required}
    return plan_recipe(build_recipe(method, [base, others], required | settings))


def sources(plan):
    """Return the texts of the final kernels of a plan's templates."""
    return {write_kernel([template.root], "float32").source for template in plan.templates}


@pytest.mark.parametrize("name", ["task_arithmetic", "ties", "dare_ties", "della", "breadcrumbs", "sce", "model_stock"])
def test_one_text_for_any_number_of_models(name):
    few, many = (sources(plan_of(name, count, [(3, 4)])) for count in (2, 5))
    assert few == many
    assert len(few) == 1


def test_one_text_for_other_tensors_and_settings():
    first = plan_of("ties", 3, [(3, 4)], density=0.3, weight=0.5)
    second = plan_of("ties", 3, [(9,), (2, 2000), ()], density=[0.5, 0.6, 0.7], weight=[1.0, 2.0, -1.0])
    assert sources(first) == sources(second)


def test_twenty_thousand_tensors_are_one_template():
    plan = plan_of("ties", 2, [(4,)] * 20_000, density=0.5)
    assert (len(plan.outputs), len(plan.templates)) == (20_000, 1)


def test_a_run_writes_one_kernel_for_each_pass_however_many_tensors(monkeypatch):
    written = []
    monkeypatch.setattr(engine, "write_kernel", lambda roots, kind: written.append(roots) or write_kernel(roots, kind))
    engine.find_fault()
    for name in ("ties", "dare_ties"):
        plan = plan_of(name, 2, [(4,)] * 300, density=0.5)
        written.clear()
        run_plan(plan, pace=Pace(2, engine=True))
        assert 1 <= len(written) <= plan.templates[0].passes


@pytest.mark.parametrize("operation", [sine, arccos])
def test_what_kernels_do_not_compute_is_refused(operation):
    with pytest.raises(UnsupportedError):
        write_kernel([operation(X)], "float32")


def test_the_layout_tells_how_much_room_is_needed():
    kernel = write_kernel([sum_models(models(3)), models(3) * 2.0, X - Y], "float32")
    assert kernel.layout.outputs == 1 + 3 + 1
    assert kernel.layout.scratch == 1  # the sum; what is computed entry by entry needs none
    assert not kernel.whole_rows
    assert write_kernel([rank(X)], "float32").whole_rows


def test_the_text_needs_nothing_but_numpy():
    source = write_kernel([where(X < Y, sum_models(models(2)), absolute(X) / 3.0)], "float32").source
    namespace = {}
    exec(source, namespace)
    # By hand, in plain Python: 1 + 2 where the first is less, else |x| / 3.
    x = np.array([[1, -6], [2, -7.5]], np.float32)
    scratch, out = np.zeros((2, 2, 2), np.float32)
    kernel = write_kernel([where(X < Y, sum_models(models(2)), absolute(X) / 3.0)], "float32")
    numbers = np.array([3.0] * len(kernel.numbers), np.float32)
    p = np.array(kernel.layout.values, np.int64)
    namespace["tile_of"](x, 2, 0, 0, p, numbers, None, None, None, None, None, scratch, out)
    assert out[0].tolist() == [3.0, 2.0]
