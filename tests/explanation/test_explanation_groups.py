"""Which tensors are said to be merged alike, for a small model with four layers."""

import pytest

import smelt
import tiny
from smelt.explanation.groups import describe_areas, group

LAYERS = 4


@pytest.fixture
def family(here):
    for seed, name in enumerate(("base", "math", "code")):
        tiny.save_llama(name, seed, layers=LAYERS)


def groups(text):
    plan = smelt.plan(smelt.read(text))
    where, found = group(plan)
    assert sum(g.count for g in found) == len(plan.outputs)
    return {describe_areas(g, where, plan.config): g for g in found}


def linear(math, code=1.0):
    return f"""
merge_method: linear
models:
  - {{model: math, parameters: {{weight: {math}}}}}
  - {{model: code, parameters: {{weight: {code}}}}}
"""


def test_one_group_for_all(family):
    (found,) = groups(linear(2.0)).items()
    assert found[0] == "all tensors"
    assert len(found[1].outputs) == 1
    assert found[1].count == 3 * LAYERS + 3


def test_a_gradient_is_one_group(family):
    found = groups(linear("[0, 1]"))
    assert list(found) == ["embedding, norm, head", "layers 0–3"]
    assert [o.slots[0] for o in found["layers 0–3"].outputs[:LAYERS]] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert found["layers 0–3"].layers == (0, 3)
    assert found["embedding, norm, head"].layers is None


def test_a_filter_makes_groups_by_role(family):
    found = groups(linear("[{filter: self_attn, value: 3}, {value: 1}]"))
    assert list(found) == ["embedding, norm, head; layers 0–3 · norm, mlp", "layers 0–3 · attention"]


def test_a_part_of_a_role_is_named(family):
    found = groups(linear("[{filter: lm_head, value: 3}, {value: 1}]"))
    assert list(found) == ["embedding, norm; layers 0–3", "head"]


def test_slices_with_other_settings_are_groups(family):
    text = "slices:\n"
    for first, weight in ((0, 1), (3, 2)):
        sources = [f"{{model: {m}, layer_range: [{first}, {first + 3}]}}" for m in ("math",)]
        text += f"  - {{sources: [{sources[0]}], parameters: {{scale: {weight}}}}}\n" if first < 3 else ""
    text += "  - {sources: [{model: code, layer_range: [1, 4]}]}\nmerge_method: passthrough\n"
    found = groups(text)
    assert list(found) == ["embedding; layers 0–2", "layers 3–5", "norm, head"]
    (case,) = found["layers 3–5"].cases
    assert case.origins[0][1] == -2  # layer 3 is layer 1 of the other model


def test_a_long_run_within_a_gradient_stands_alone(here):
    for seed, name in enumerate(("math", "code")):
        tiny.save_llama(name, seed, layers=9)
    found = groups(linear("[0, 0, 0, 1, 0]"))
    assert list(found) == ["embedding, norm, head; layers 0–4", "layers 5–8"]
    assert [o.slots[0] for o in found["layers 5–8"].outputs] == [0.5, 1.0, 0.5, 0.0]


def test_a_gradient_with_two_equal_layers_in_the_middle_is_one_group(family):
    found = groups(linear("[0, 1, 0]"))
    assert list(found) == ["embedding, norm, head", "layers 0–3"]
    assert [o.slots[0] for o in found["layers 0–3"].outputs] == pytest.approx([0, 2 / 3, 2 / 3, 0])


def test_a_model_without_layers(here):
    import numpy as np

    for name in ("math", "code"):
        tiny.save(name, {"one": np.ones(3, np.float32), "two": np.ones((2, 2), np.float32)})
    assert list(groups(linear("[{filter: one, value: 3}, {value: 1}]"))) == ["other (one)", "other (two)"]
