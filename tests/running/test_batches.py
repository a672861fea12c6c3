"""Small tensors computed together: each must have the bytes that it has on its own."""

import json

import numpy as np
import pytest
from engine_families import STORAGES, draw, draw_special, few_variants, model_count, plan_variant, settle, storages_for
from interruptible import contents

import smelt
import tiny
from smelt.algebra.declare import catalogue
from smelt.errors import RunError
from smelt.running.batches import make_batches
from smelt.running.nonfinite import NonFiniteWarning
from smelt.running.runner import Pace, run_plan
from smelt.running.sinks import FileSink

ALONE = Pace(1, many=10**9, engine=False)
SHAPES = {f"{n} of {shape}": shape for shape in ((7, 5), (35,), (1,), (), (0,), (9, 300), (2701,)) for n in range(4)}


def together(engine):
    return Pace(2, many=1, engine=engine)


def groups(plan, small=None):
    """Return the names that are computed together."""
    every = frozenset(output.spec.name for output in plan.outputs)
    return [batch.members for batch in make_batches(plan.outputs, plan, small or every, 1) if batch.members]


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_method_gives_the_same_bytes(name):
    for variant in few_variants(name):
        models = draw(model_count(variant), SHAPES, storages_for(variant)[:3] + storages_for(variant)[-1:])
        plan = plan_variant(variant, models)
        assert settle(plan, together(False)) == settle(plan, ALONE), variant


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(catalogue()))
def test_kernels_give_the_same_bytes(name):
    variant = few_variants(name)[-1]
    plan = plan_variant(variant, draw(model_count(variant), SHAPES, ["bfloat16"]))
    assert settle(plan, together(True)) == settle(plan, ALONE), variant


@pytest.mark.parametrize("name", ["ties", "model_stock", "dare_ties"])
def test_every_dtype_and_values_that_are_not_finite(name):
    variant = few_variants(name)[0]
    shapes = {str(n): (13, 7) for n in range(3)}
    for models in (draw(model_count(variant), shapes, STORAGES), draw_special(model_count(variant), shapes)):
        plan = plan_variant(variant, models)
        assert settle(plan, together(True)) == settle(plan, ALONE)


def plan_ties(models, **settings):
    variant = next(v for v in few_variants("ties") if v.settings.get("scope", "tensor") == "tensor")
    return plan_variant(variant, models, **settings)


def test_tensors_of_one_size_that_are_merged_alike_go_together():
    shapes = {"a": (3, 4), "b": (12,), "c": (4, 3), "d": (3, 5), "e": (3, 4)}
    models = draw(4, shapes, ["bfloat16"])
    models[1]["e in bfloat16"] = models[1]["e in bfloat16"].astype("f4")
    found = [[name[0] for name in group] for group in groups(plan_ties(models))]
    assert found == [["a", "b", "c"]]


def test_a_batch_is_read_at_once():
    models = draw(4, {str(n): (10_000,) for n in range(35)}, ["bfloat16"])
    # 4 MiB of float32 hold 262,144 elements of each of 4 inputs.
    assert sorted(len(group) for group in groups(plan_ties(models))) == [9, 26]


def test_other_numbers_are_not_mixed_up(here):
    recipe = """
merge_method: linear
models: [{model: a, parameters: {weight: [0.0, 1.0]}}, {model: b, parameters: {weight: 0.5}}]
"""
    for number, name in enumerate("ab"):
        tiny.save_llama(here / name, number)
    plan = smelt.plan(recipe)
    slots = {output.spec.name: output.slots for output in plan.outputs}
    assert all(len({slots[name] for name in group}) == 1 for group in groups(plan))
    assert settle(plan, together(False)) == settle(plan, ALONE)


def test_a_run_that_was_stopped_carries_on(here, monkeypatch):
    for number, name in enumerate("ab"):
        tiny.save_llama(here / name, number, layers=4)
    plan = smelt.plan("merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: 0.3}\n")
    run_plan(plan, "expected", pace=ALONE)
    write, left = FileSink.write_together, iter(range(1))

    def write_or_stop(self, names, data):
        if next(left, None) is None:
            raise RunError("no")
        write(self, names, data)

    monkeypatch.setattr(FileSink, "write_together", write_or_stop)
    with pytest.raises(RunError, match="no"):
        run_plan(plan, "out", pace=Pace(1, many=1, engine=False))
    monkeypatch.setattr(FileSink, "write_together", write)
    claims = [json.loads(line)[0] for line in (here / "out.partial.journal").read_text().splitlines()[1:]]
    assert 1 < len(claims) < len(plan.outputs)
    run_plan(plan, "out", pace=Pace(1, many=1, engine=False))
    assert contents("out") == contents("expected")


def test_few_small_tensors_are_computed_one_by_one():
    plan = plan_ties(draw(4, SHAPES, ["bfloat16"]))
    every = frozenset(output.spec.name for output in plan.outputs)
    assert not any(batch.members for batch in make_batches(plan.outputs, plan, every, len(every) + 1))


@pytest.mark.parametrize("engine", [False, True], ids=["interpreter", "engine"])
def test_values_that_are_not_finite_are_counted_where_they_are(engine):
    models = [{str(n): np.full(5, 1.0, np.float32) for n in range(4)} for _ in range(4)]
    models[0]["2"][:2] = np.nan
    models[1]["2"][4] = np.inf
    plan = plan_ties(models)
    with pytest.warns(NonFiniteWarning, match=r"in 1 of 4 tensors; most in '2': \d \(its inputs hold 3\)"):
        run_plan(plan, non_finite="report", pace=together(engine))


@pytest.mark.parametrize("engine", [False, True], ids=["interpreter", "engine"])
def test_what_is_too_large_is_named(engine):
    models = [{str(n): np.full(5, 1.0, np.float32) for n in range(4)} for _ in range(4)]
    for model in models:
        model["2"][3] = 1e4
    plan = plan_ties(models, out_dtype="float8_e4m3fn")
    with pytest.raises(RunError, match=r"^'2': .* choose a wider 'out_dtype'$"):
        run_plan(plan, pace=together(engine))


def test_what_has_to_be_equal_is_compared_before_anything_is_written(here):
    for number, name in enumerate("ab"):
        arrays = tiny.llama(number) | {"positions": np.arange(4) + number}
        tiny.save(here / name, arrays, tiny.config())
    plan = smelt.plan("merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: 0.3}\n")
    with pytest.raises(RunError, match="'positions' holds int64 values that differ"):
        run_plan(plan, "out", pace=Pace(1, many=1, engine=False))
    assert not (here / "out.partial").exists()
