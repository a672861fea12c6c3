"""What is said of a recipe whose models cannot be reached."""

import pytest
import yaml

import smelt
import tiny
from smelt.errors import InputError
from smelt.explanation.stand_ins import MOST_LAYERS


@pytest.fixture(autouse=True)
def no_hub(here, monkeypatch):
    from smelt.tensors import hub

    def refuse(repository, revision):
        raise InputError(f"{repository}: cannot be loaded from the hub: no network here")

    monkeypatch.setattr(hub, "open_repository", refuse)


def explain(text):
    return smelt.explain(smelt.read(text))


def formulas(text):
    return {passage.tensors: passage.closed.formula for passage in explain(text).passages}


def linear(**weights):
    listed = "".join(f"\n  - {{model: org/{name}, parameters: {{weight: {w}}}}}" for name, w in weights.items())
    return f"merge_method: linear\nmodels:{listed}\n"


def test_one_group_for_all_tensors():
    found = explain(linear(a=1.0, b=3.0))
    assert [(p.tensors, p.count, p.closed.formula) for p in found.passages] == [
        ("all tensors", None, "0.25·a + 0.75·b")
    ]
    assert found.unreached == dict.fromkeys(("org/a", "org/b"), "") | {
        f"org/{name}": f"org/{name}: cannot be loaded from the hub: no network here" for name in "ab"
    }
    assert found.unchecked


def test_one_missing_model_is_enough(here):
    tiny.save_llama(here / "a", 1)
    found = explain(
        "merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: 1}}\n"
        "  - {model: org/b, parameters: {weight: 1}}\n"
    )
    assert list(found.unreached) == ["org/b"]
    assert [p.tensors for p in found.passages] == ["all tensors"]


def test_gradients_are_ranges_over_all_layers():
    assert formulas(linear(a="[0, 0.5, 0.3, 1]", b="[1, 0.5, 0.7, 0]")) == {
        "all layers": "(0 … 0.5 … 0.3 … 1)·a + (1 … 0.5 … 0.7 … 0)·b",
        "outside the layers": "b",
    }


def test_filters_make_groups():
    assert formulas(linear(a="[{filter: self_attn, value: 3}, {value: 1}]", b=1)) == {
        "tensors named 'self_attn'": "0.75·a + 0.25·b",
        "all others": "0.5·a + 0.5·b",
    }


def test_filters_stand_where_their_tensors_can():
    settings = "[{filter: self_attn, value: [0, 1]}, {filter: embed_tokens, value: 1}, {value: 0}]"
    assert formulas(linear(a=settings, b=1)) == {
        "all layers · tensors named 'self_attn'": "(0 … 0.5)·a + (1 … 0.5)·b",
        "all layers · all others; outside the layers · embeddings, all others": "b",
        "outside the layers · tensors named 'embed_tokens'": "0.5·a + 0.5·b",
    }


def test_slices_are_groups():
    text = """
slices:
  - sources: [{model: org/a, layer_range: [0, 16]}]
  - sources: [{model: org/b, layer_range: [8, 24]}]
merge_method: passthrough
"""
    assert formulas(text) == {
        "outside the layers · embeddings; layers 0–15": "a",
        "layers 16–31": "b[layers 8–23]",
        "outside the layers · all others": "b",
    }


def test_documents_and_draws():
    text = """
name: first
merge_method: dare_ties
base_model: org/base
models: [{model: org/math, parameters: {weight: 1, density: 0.3}}]
---
merge_method: task_arithmetic
base_model: org/base
models: [{model: first, parameters: {weight: 0.5}}]
"""
    (passage,) = explain(text).passages
    assert passage.closed.expectation.formula == "base + 0.5·(math − base)"
    assert passage.closed.expectation.noise[0].values == pytest.approx([7 / 3])


def test_tokenizers_are_left_alone():
    assert formulas(linear(a=1.0, b=1.0) + "tokenizer_source: union\nchat_template: auto\n") == {
        "all tensors": "0.5·a + 0.5·b"
    }


def test_a_huge_layer_range_is_refused():
    text = f"""
slices:
  - sources: [{{model: org/a, layer_range: [0, {10 * MOST_LAYERS}]}}]
merge_method: passthrough
"""
    with pytest.raises(InputError, match=r"recipe:3: layer_range .* cannot be reached") as error:
        explain(text)
    assert "\n" not in str(error.value)


def test_settings_that_a_method_refuses_are_refused():
    with pytest.raises(InputError, match="the weights sum to 0"):
        explain(linear(a=1.0, b=-1.0))


def test_too_many_cases_are_refused():
    filters = ", ".join(f"{{filter: f{number}, value: 1}}" for number in range(100))
    text = f"""
slices:
  - sources: [{{model: org/a, layer_range: [0, 400], parameters: {{scale: [{filters}]}}}}]
merge_method: passthrough
"""
    with pytest.raises(InputError, match="it tells 40400 cases apart"):
        explain(text)


def test_another_leader_in_a_simpler_recipe_is_an_assumption():
    """Configuration and tokenizer are those of the base, else of the first model; neither was looked at."""
    words = "if both have the same configuration, tokenizer and dtypes, which was not checked"
    sources = "".join(
        f"\n  - {{model: org/{name}, parameters: {{weight: {w}}}}}" for name, w in (("math", 1), ("base", -1))
    )
    other = explain(f"merge_method: task_arithmetic\nbase_model: org/math\nmodels:{sources}\n")
    assert other.simpler.startswith(f"# The same {words}.\n")
    assert yaml.safe_load(other.simpler)["base_model"] == "org/base"
    assert [f"({words}); --simplify" in n.text for n in other.notes if "comes out of" in n.text] == [True]
    same = explain(linear(a=0.5, b=0.0, c=0.5))
    assert same.simpler.startswith("merge_method: linear\n")
    assert [words in n.text for n in same.notes if "comes out of" in n.text] == [False]
