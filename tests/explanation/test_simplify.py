"""Simplifying: the recipes that come out, worked out by hand, and those that must not be simplified."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import smelt
import tiny

PUBLISHED = Path(__file__).parents[1] / "recipes" / "published"
BASE, TUNED = "meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"


@pytest.fixture
def models(here):
    """Write the models A, B and C, of float32."""
    for seed, name in enumerate("ABC"):
        tiny.save_llama(here / name, seed, dtype="f4")
    return here


def simpler(recipe):
    recipe = smelt.read(recipe)
    text = smelt.explain(recipe).simpler
    return text if text is None else yaml.safe_load(text)


def entry(model, weight=None):
    return {"model": model} if weight is None else {"model": model, "parameters": {"weight": weight}}


def test_minus_base_is_task_arithmetic_on_the_base(here):
    for seed, name in enumerate((BASE, TUNED)):
        tiny.save_llama(here / name, seed)
    tree = simpler(PUBLISHED / "minus-base.yml")
    wanted = {"merge_method": "task_arithmetic", "base_model": BASE, "models": [entry(TUNED, 2.0)], "dtype": "float32"}
    assert tree == wanted
    merged = smelt.merge(smelt.read(yaml.safe_dump(tree)))
    a, b = tiny.read(TUNED), tiny.read(BASE)
    for name, array in merged.items():
        np.testing.assert_array_equal(array, 2 * a[name].astype("f8") - b[name].astype("f8"))


@pytest.mark.parametrize(
    "difference",
    [{"files": {"generation_config.json": {"top_k": 1}}}, {"files": {"tokenizer.json": tiny.tokenizer("a")}}, {}],
    ids=["generation settings", "tokenizer", "configuration"],
)
def test_files_beside_the_weights_are_those_of_the_same_model(here, difference):
    """The base of the short form gives configuration and tokenizer; where the models differ in them it will not do."""
    tiny.save_llama(here / BASE, 0)
    tiny.save_llama(here / TUNED, 1, **difference)
    if not difference:
        config = json.loads((here / TUNED / "config.json").read_text())
        (here / TUNED / "config.json").write_text(json.dumps(config | {"eos_token_id": 7}))
    assert simpler(PUBLISHED / "minus-base.yml") == {
        "merge_method": "linear",
        "models": [entry(TUNED, 2.0), entry(BASE, -1.0)],
        "parameters": {"normalize": False},
        "dtype": "float32",
    }


def test_documents_collapse(models):
    text = """
name: amplified
merge_method: task_arithmetic
base_model: A
models: [{model: B, parameters: {weight: -1}}]
---
merge_method: task_arithmetic
base_model: A
models: [{model: amplified, parameters: {weight: 0.5}}, {model: C, parameters: {weight: 0.25}}]
out_dtype: float16
tokenizer_source: base
"""
    # A + 0.5·(2A − B − A) + 0.25·(C − A) = A − 0.5·(B − A) + 0.25·(C − A)
    assert simpler(text) == {
        "merge_method": "task_arithmetic",
        "base_model": "A",
        "models": [entry("B", -0.5), entry("C", 0.25)],
        "out_dtype": "float16",
        "tokenizer": {"source": "base"},
    }


@pytest.mark.parametrize(("t", "model"), [(0, "A"), (1, "B")])
def test_slerp_at_its_ends_is_one_of_the_models(models, t, model):
    text = f"merge_method: slerp\nbase_model: A\nmodels: [{{model: A}}, {{model: B}}]\nparameters: {{t: {t}}}\n"
    assert simpler(text) == {"merge_method": "passthrough", "models": [entry(model)]}
    merged, wanted = smelt.merge(smelt.read(text)), tiny.read(model)
    assert all(array.tobytes() == wanted[name].tobytes() for name, array in merged.items())


def test_nuslerp_with_a_weight_of_0_is_the_other_model(models):
    text = "merge_method: nuslerp\nmodels: [{model: A, parameters: {weight: 0}}, {model: B, parameters: {weight: 2}}]\n"
    assert simpler(text) == {"merge_method": "passthrough", "models": [entry("B")]}


def test_dare_at_density_1_is_a_sum(models):
    text = """
merge_method: dare_linear
base_model: A
models: [{model: A}, {model: B, parameters: {weight: 0.5}}, {model: C, parameters: {weight: 0.3}}]
parameters: {density: 1, lambda: 2}
"""
    tree = simpler(text)
    wanted = {"merge_method": "task_arithmetic", "base_model": "A", "models": [entry("B", 1.0), entry("C", 0.6)]}
    assert tree == wanted
    one, other = smelt.merge(smelt.read(text)), smelt.merge(smelt.read(yaml.safe_dump(tree)))
    assert all(np.allclose(array, other[name], rtol=1e-6) for name, array in one.items())
    assert simpler(text.replace("density: 1", "density: 0.5")) is None


def test_a_model_that_cancels_is_left_out(models):
    text = """
merge_method: linear
models:
  - {model: A, parameters: {weight: 0.3}}
  - {model: AB, parameters: {weight: -1}}
  - {model: C, parameters: {weight: 2}}
parameters: {normalize: false}
---
name: AB
merge_method: linear
models: [{model: A, parameters: {weight: 0.3}}, {model: B, parameters: {weight: 0.7}}]
"""
    tree = simpler(text)
    assert tree["models"] == [entry("B", -0.7), entry("C", 2.0)]
    assert tree["parameters"] == {"normalize": False}


def test_a_base_that_nearly_cancels_stays_a_sum(models):
    """As a base, A would leave the rounding of the whole of it in 0.02·A."""
    text = "name: mean\nmerge_method: linear\nparameters: {normalize: false}\n"
    text += "models: [{model: A, parameters: {weight: 0.02}}, {model: B, parameters: {weight: 0.98}}]\n---\n"
    text += "merge_method: passthrough\nmodels: [{model: mean}]\n"
    assert simpler(text)["merge_method"] == "linear"
    swapped = simpler(text.replace("passthrough", "task_arithmetic") + "base_model: mean\n")
    assert swapped["merge_method"] != "task_arithmetic" or swapped["base_model"] == "B"


def test_layers_that_come_out_the_same_are_one_model(models):
    sources = [{**entry("A", 1), "layer_range": [0, 1]}, {**entry("B", 3), "layer_range": [0, 1]}]
    later = [source | {"layer_range": [1, 2]} for source in sources]
    tree = {"merge_method": "linear", "slices": [{"sources": sources}, {"sources": later}]}
    assert simpler(yaml.safe_dump(tree))["models"] == [entry("A", 0.25), entry("B", 0.75)]


LINEAR = "merge_method: linear\nmodels: [{model: A, parameters: {weight: 1}}, {model: B, parameters: {weight: %s}}]\n"


@pytest.mark.parametrize(
    "text",
    [
        LINEAR % "3",  # nothing is shorter
        LINEAR % "[0, 1]" + "base_model: A\n",  # the layers differ
        LINEAR % "[{filter: mlp, value: 1}, {value: 0}]",
        "merge_method: passthrough\nmodels: [{model: A}]\n",
        "merge_method: slerp\nbase_model: A\nmodels: [{model: A}, {model: B}]\nparameters: {t: 0.5}\n",
        "merge_method: ties\nbase_model: A\nmodels: [{model: A}, {model: B}]\nparameters: {weight: 1, density: 0.5}\n",
        "merge_method: passthrough\nslices:\n  - sources: [{model: A, layer_range: [0, 2]}]\n"
        "  - sources: [{model: B, layer_range: [1, 2]}]\n",
    ],
)
def test_what_has_no_simpler_form(models, text):
    assert simpler(text) is None


def test_models_in_memory_have_no_name_that_a_recipe_could_hold():
    a, b = (smelt.Checkpoint({"w": np.ones(4, "f4")}) for _ in range(2))
    recipe = smelt.methods.task_arithmetic(a, [a, b], weight=1.0)
    assert smelt.explain(recipe).simpler is None


def test_integers_are_carried_from_any_of_the_models(here):
    for number, name in enumerate("AB"):
        tiny.save(here / name, {"w": np.full(4, number, "f4"), "steps": np.arange(3)})
    text = "merge_method: slerp\nbase_model: A\nmodels: [{model: A}, {model: B}]\nparameters: {t: 1}\n"
    assert simpler(text) == {"merge_method": "passthrough", "models": [entry("B")]}


def test_what_is_computed_in_float64_stays_so(here):
    tiny.save(here / "A", {"w": np.ones(4, "f8")})
    tiny.save(here / "B", {"w": np.full(4, 3, "f4")})
    text = (
        "merge_method: linear\nmodels: [{model: A, parameters: {weight: %s}}, {model: B, parameters: {weight: 0.3}}]\n"
    )
    text += "parameters: {normalize: false}\ndtype: float32\n"
    assert simpler(text % 0) is None  # 0.3·B in float32 would be rounded twice
    assert smelt.merge(smelt.read(text % 0))["w"].tolist() == [float(np.float32(0.3 * 3))] * 4


def test_what_is_written_is_read_again(models):
    recipe = smelt.read(
        "name: m\nmerge_method: linear\nmodels: [{model: A, parameters: {weight: 0.5}}]\n"
        "parameters: {normalize: false}\n---\nmerge_method: passthrough\nmodels: [{model: m}]\nseed: 5\n"
    )
    text = smelt.explain(recipe).simpler
    assert "seed" not in text
    assert smelt.read(text).result.parameters["normalize"].rules[0].value is False
