"""A recipe that is written down reads as the same recipe."""

import pytest

from smelt.recipes.reading import read_text
from smelt.recipes.writing import write_recipe

WHOLE = """\
name: stage
merge_method: ties
base_model: {model: a, revision: r}
modules:
  text:
    slices:
      - sources:
          - {model: a, layer_range: [0, 2]}
          - model: {model: b, revision: s, lora: {path: l, revision: t}}
            layer_range: [0, 2]
            parameters: {density: [0.1, 1e-8]}
        base_model: c
        parameters: {lambda: [{filter: mlp, value: 2}]}
    parameters: {weight: [{filter: q, value: [0, 1]}, {value: 2}]}
  vision:
    models: [{model: b+l}]
parameters: {weight: 1, rescale: l1}
---
merge_method: linear
models: [{model: stage}, {model: "1e-8"}]
parameters: {weight: 0.1, normalize: false}
dtype: float16
out_dtype: bfloat16
tokenizer:
  source: {model: a, lora: l}
  pad_to_multiple_of: 8
  tokens:
    "yes": {source: {kind: zero}, force: true}
    b: {source: {kind: model_token, model: stage, token: "7"}}
    c: {source: {kind: model_token, model: a, token_id: 7}}
    d: {source: union}
chat_template: "{% for message in messages %}\\n{{ message }} é {% endfor %}"
seed: 12
"""


def test_reading_what_was_written():
    recipe = read_text(WHOLE, "recipe.yml")
    text = write_recipe(recipe)
    again = read_text(text, "again.yml")
    assert again == recipe
    assert write_recipe(again) == text
    assert again.notes == ()


def test_defaults_and_the_seed_are_spelled_out():
    text = "merge_method: ties\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1}}]\n"
    assert write_recipe(read_text(text, "recipe.yml")) == (
        "merge_method: ties\nbase_model: a\nmodels:\n- model: b\n  parameters: {weight: 1.0}\n"
        "parameters: {density: 1.0, normalize: true, lambda: 1.0, rescale: false, scope: tensor, equalize: false}\n"
        "seed: 0\n"
    )


def test_rename_gives_models_and_adapters_other_texts_but_not_documents():
    text = write_recipe(read_text(WHOLE, "recipe.yml"), lambda reference: f"{reference.text}@pin")
    assert "base_model: a@pin\n" in text
    assert "model: {model: b@pin, lora: l@pin}" in text
    assert "{model: stage}" in text
    assert "source: {model: a@pin, lora: l@pin}" in text
    assert "revision" not in text


@pytest.mark.parametrize(
    "name", ["a: b", "- x", "no", "1", "C:\\x", "#c", "é", " a ", "'", "a\tb", "null", "2024-01-01"]
)
def test_names_that_yaml_would_misread(name):
    plain = "merge_method: passthrough\nmodels: [{model: m}]\n"
    recipe = read_text(plain, "recipe.yml")
    text = write_recipe(recipe, lambda _: name)
    (source,) = read_text(text, "again.yml").result.modules[0].slices[0].sources
    assert source.model.text == name
