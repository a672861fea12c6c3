"""Gradients, filters and levels: the numbers that reach each tensor, against values worked out by hand."""

import pytest

import smelt
import tiny
from smelt.errors import InputError

EMBEDDING, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
FIVE_LAYERS = [f"model.layers.{n}.mlp.down_proj.weight" for n in range(5)]


@pytest.fixture(autouse=True)
def models(here):
    for seed, name in enumerate("abc"):
        tiny.save_llama(here / name, seed, layers=5)


def slots(text):
    plan = smelt.plan(text)
    return {output.spec.name: output.slots for output in plan.outputs}, plan.notes


def soup(weight, more=""):
    return f"merge_method: linear\nmodels: [{{model: a}}]\nparameters: {{weight: {weight}, normalize: false}}\n{more}"


def test_a_gradient_over_five_layers():
    found, notes = slots(soup("[0, 1, 0.5]"))
    assert [found[name] for name in FIVE_LAYERS] == [(0.0,), (0.5,), (1.0,), (0.75,), (0.5,)]
    assert (found[EMBEDDING], found[NORM], found[HEAD]) == ((0.0,), (0.0,), (0.0,))
    assert notes == (
        "the gradient of 'weight' runs over the layers of each slice; tensors outside the layers (embeddings, "
        "final norm, head) take its first value, a slice of one layer its last",
    )


def test_numbers_need_no_note():
    found, notes = slots(soup("3e-1"))
    assert set(found.values()) == {(0.3,)}
    assert notes == ()


def test_gradients_start_anew_in_every_slice_and_one_layer_takes_the_last_value():
    text = """
merge_method: linear
parameters: {normalize: false}
slices:
- sources: [{model: a, layer_range: [1, 4]}]
  parameters: {weight: [2, 4]}
- sources: [{model: b, layer_range: [0, 1]}]
  parameters: {weight: [6, 7, 8]}
- sources: [{model: c, layer_range: [3, 5], parameters: {weight: [1, 5]}}]
  parameters: {weight: 9}
"""
    found, notes = slots(text)
    layers = [found[f"model.layers.{n}.mlp.down_proj.weight"] for n in range(6)]
    assert layers == [(2.0,), (3.0,), (4.0,), (8.0,), (1.0,), (5.0,)]
    assert "model.layers.6.mlp.down_proj.weight" not in found
    assert found[EMBEDDING] == (2.0,)  # from the first slice, at its start
    assert (found[NORM], found[HEAD]) == ((1.0,), (1.0,))  # from the last slice, at its start
    assert any("a slice of one layer its last" in note for note in notes)


def test_filters_take_the_first_that_matches_and_may_hold_gradients():
    rules = """
    - {filter: layers.3, value: 0.9}
    - {filter: q_proj, value: [0, 1]}
    - {filter: lm_head, value: 0.2}
    - {value: 0.4}
"""
    found, _ = slots(f"merge_method: linear\nmodels: [{{model: a}}]\nparameters:\n  normalize: false\n  weight:{rules}")
    queries = [found[f"model.layers.{n}.self_attn.q_proj.weight"] for n in range(5)]
    assert queries == [(0.0,), (0.25,), (0.5,), (0.9,), (1.0,)]
    assert [found[name] for name in FIVE_LAYERS] == [(0.4,), (0.4,), (0.4,), (0.9,), (0.4,)]
    assert (found[EMBEDDING], found[NORM], found[HEAD]) == ((0.4,), (0.4,), (0.2,))


def test_the_innermost_level_holds_and_a_filter_that_does_not_match_passes_on():
    text = """
merge_method: task_arithmetic
base_model: c
slices:
- sources:
  - {model: a, layer_range: [0, 1], parameters: {weight: [{filter: mlp, value: 1}]}}
  - {model: b, layer_range: [0, 1]}
  - {model: c, layer_range: [0, 1]}
  parameters: {weight: [{filter: q_proj, value: 2}], lambda: 0.5}
- sources:
  - {model: a, layer_range: [1, 2], parameters: {weight: 4}}
  - {model: b, layer_range: [1, 2]}
  - {model: c, layer_range: [1, 2]}
parameters: {weight: 3, lambda: 0.25}
"""
    found, _ = slots(text)
    assert found["model.layers.0.mlp.down_proj.weight"] == (1.0, 3.0, 0.5)
    assert found["model.layers.0.self_attn.q_proj.weight"] == (2.0, 2.0, 0.5)
    assert found["model.layers.0.input_layernorm.weight"] == (3.0, 3.0, 0.5)
    assert found["model.layers.1.mlp.down_proj.weight"] == (4.0, 3.0, 0.25)
    assert found[EMBEDDING] == (3.0, 3.0, 0.5)
    assert found[HEAD] == (4.0, 3.0, 0.25)


def test_a_setting_per_model_looks_at_the_name_in_its_own_model():
    text = """
merge_method: linear
parameters: {normalize: false}
slices:
- sources:
  - {model: a, layer_range: [0, 1], parameters: {weight: [{filter: layers.0., value: 1}, {value: 2}]}}
  - model: a
    layer_range: [4, 5]
    parameters: {weight: [{filter: layers.0., value: 3}, {filter: layers.4., value: 4}, {value: 5}]}
"""
    found, _ = slots(text)
    assert found["model.layers.0.mlp.down_proj.weight"] == (1.0, 4.0)
    assert found[NORM] == (2.0, 5.0)


def test_one_template_serves_a_gradient_and_neutral_values_leave_no_trace():
    head = "merge_method: task_arithmetic\nbase_model: c\nmodels: [{model: a}, {model: b}]\n"
    assert len(smelt.plan(head + "parameters: {weight: [0, 1], lambda: [1.5, 0.5]}").templates) == 1
    plain = smelt.plan(head + "parameters: {weight: 0.5}")
    spelled = smelt.plan(head + "parameters: {weight: 0.5, lambda: 1.0, normalize: false}")
    assert plain.digest == spelled.digest
    copies = smelt.plan("merge_method: passthrough\nmodels: [{model: a}]\nparameters: {scale: 1}")
    assert {output.precision for output in copies.outputs} == {"bytes"}
    partly = smelt.plan(
        "merge_method: passthrough\nmodels: [{model: a}]\nparameters: {scale: [{filter: o_proj, value: 0}, "
        "{filter: down_proj, value: 0}, {value: 1}]}"
    )
    assert [o.precision for o in partly.outputs].count("float32") == 5


def test_bounds_are_checked_in_the_text():
    for value, words in (
        ("1.5", "'density' must be"),
        ("-0.1", "'density' must be"),
        ("[0.2, 7]", "'density' must be"),
    ):
        text = f"merge_method: ties\nbase_model: a\nmodels: [{{model: b}}]\nparameters: {{weight: 1, density: {value}}}"
        with pytest.raises(InputError, match=words):
            smelt.plan(text)
