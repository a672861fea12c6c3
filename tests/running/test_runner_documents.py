"""Recipes of several documents: the same bits as merging in several runs with float32 in between."""

import pytest

import smelt
import tiny

FIRST = {
    "task_arithmetic": "base_model: base\nmodels: [{model: x}, {model: y}]\nparameters: {weight: 0.3}",
    "ties": "base_model: base\nmodels: [{model: x}, {model: y}]\nparameters: {weight: 0.7, density: 0.4}",
    "dare_ties": "base_model: base\nmodels: [{model: x}, {model: y}]\nparameters: {weight: 0.7, density: 0.4}",
    "dare_linear": "base_model: base\nmodels: [{model: y}]\nparameters: {weight: 0.7, density: 0.4, rescale: l1}",
    "slerp": "base_model: x\nmodels: [{model: x}, {model: y}]\nparameters: {t: [0.1, 0.8]}",
    "linear": "models: [{model: x}, {model: y}]\nparameters: {weight: 0.3}",
}
SECOND = {
    "task_arithmetic": "base_model: base\nmodels: [{model: M}, {model: z}]\nparameters: {weight: 0.6}",
    "ties": "base_model: base\nmodels: [{model: M}, {model: z}]\nparameters: {weight: 0.6, density: 0.5}",
    "dare_ties": "base_model: base\nmodels: [{model: z}, {model: M}]\nparameters: {weight: 0.6, density: 0.5}",
    "slerp": "base_model: M\nmodels: [{model: z}, {model: M}]\nparameters: {t: 0.35}",
    "passthrough": (
        "slices: [{sources: [{model: M, layer_range: [1, 2]}]}, {sources: [{model: z, layer_range: [0, 2]}]}]"
    ),
}


@pytest.fixture(autouse=True)
def models(here):
    for seed, name in enumerate(("base", "x", "y", "z")):
        tiny.save_llama(here / name, seed)


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", FIRST)
def test_two_documents_are_two_runs(here, first, second):
    one = f"name: middle\nmerge_method: {first}\n{FIRST[first]}\nseed: 5\n"
    two = f"merge_method: {second}\n{SECOND[second]}\nout_dtype: bfloat16\nseed: 5\n"
    together = smelt.merge(one.replace("seed: 5\n", "") + "---\n" + two.replace("M", "middle"))
    smelt.merge(one + "out_dtype: float32\n", here / "folder")
    assert tiny.read("folder")["model.norm.weight"].dtype == "f4"
    apart = smelt.merge(two.replace("M", "folder"))
    assert list(together) == list(apart)
    for name, array in apart.items():
        assert together[name].tobytes() == array.tobytes(), name


def test_a_base_that_is_a_document_and_a_chain_of_three(here):
    text = """
name: soup
merge_method: linear
models: [{model: x}, {model: y}]
parameters: {weight: 0.5}
---
merge_method: task_arithmetic
base_model: soup
models: [{model: edited}]
parameters: {weight: 1.5}
dtype: bfloat16
---
name: edited
merge_method: ties
base_model: soup
models: [{model: z}]
parameters: {weight: 1, density: 0.5}
"""
    soup, _, edited = (part.strip() + "\nout_dtype: float32\n" for part in text.split("---"))
    smelt.merge(soup, here / "soup-folder")
    smelt.merge(edited.replace("base_model: soup", "base_model: soup-folder"), here / "edited-folder")
    last = "merge_method: task_arithmetic\nbase_model: soup-folder\nmodels: [{model: edited-folder}]\n"
    apart = smelt.merge(last + "parameters: {weight: 1.5}\ndtype: bfloat16\n")
    together = smelt.merge(text)
    assert tiny.digest(together) == tiny.digest(apart)


def test_a_name_moves_the_draws_and_running_a_document_alone_does_not():
    text = "merge_method: dare_linear\nbase_model: base\nmodels: [{model: x}]\nparameters: {weight: 1, density: 0.5}\n"
    named = smelt.merge(f"name: one\n{text}")
    other = smelt.merge(f"name: two\n{text}")
    carried = smelt.merge(
        f"name: one\n{text}---\nmerge_method: passthrough\nmodels: [{{model: one}}]\ndtype: bfloat16\n"
    )
    assert tiny.digest(named) != tiny.digest(other) != tiny.digest(smelt.merge(text))
    assert tiny.digest(named) == tiny.digest(carried)


def test_documents_that_are_alike_share_their_passes():
    text = """
name: left
merge_method: ties
base_model: base
models: [{model: x}]
parameters: {weight: 1, density: 0.5}
---
name: right
merge_method: ties
base_model: base
models: [{model: y}]
parameters: {weight: 1, density: 0.5}
---
merge_method: linear
models: [{model: left}, {model: right}]
parameters: {weight: 0.5}
dtype: bfloat16
"""
    plan = smelt.plan(text)
    assert plan.cost.passes == 2
    assert len(plan.outputs[0].inputs) == 3  # the base is read once for both
    assert plan.cost.read_bytes == 2 * plan.cost.input_bytes == 2 * 3 * plan.cost.written_bytes
