"""The files beside the weights: configuration, tokenizer, model card, the resolved recipe; no path of this machine."""

import json

import pytest
from huggingface_hub import ModelCard

import smelt
import tiny

FILES = {
    "tokenizer.json": tiny.tokenizer(*"abcdefgh"),
    "tokenizer_config.json": b'{"chat_template": "\\u2764"}\r\n',
    "chat_template.jinja": "{{ messages }}",
    "generation_config.json": {"eos_token_id": 2},
    "special_tokens_map.json": {},
    "merges.txt": "a b\n",
    "modeling_tiny.py": "x = 1\n",
    "LICENSE": "free",
    "README.md": "# The base",
    "training_args.bin": b"\0",
    "trainer_state.json": {},
    "adapter_config.json": {},
    "mergekit_config.yml": "x: 1",
    "smelt_recipe.yml": "x: 1",
    "notes.txt": "private",
    ".hidden.json": {},
}
CARRIED = list(FILES)[:8]
DARE = """
merge_method: dare_ties
base_model: {0}base
models:
  - model: {0}math
    parameters: {{weight: [0.2, 0.8], density: [{{filter: mlp, value: 0.4}}, {{value: 0.6}}]}}
  - model: {0}code
    parameters: {{weight: 0.5}}
dtype: float32
out_dtype: float16
seed: 11
"""


@pytest.fixture(autouse=True)
def models(here):
    origin = {"_name_or_path": str(here / "base"), "text_config": {"_name_or_path": "/home/me", "dtype": "float32"}}
    for seed, name in enumerate(("base", "math", "code")):
        files = FILES if name == "base" else {"generation_config.json": {"of": name}}
        tiny.save(here / name, tiny.llama(seed), tiny.config(**origin), files)


def test_what_stands_in_the_folder(here):
    smelt.merge(DARE.format(""), "out", max_shard_size="200")
    weights = [f"model-{n:05d}-of-00002.safetensors" for n in (1, 2)]
    own = ["README.md", "checksums.sha256", "config.json", "model.safetensors.index.json"]
    own += ["provenance.json", "smelt_recipe.yml"]
    assert sorted(path.name for path in (here / "out").iterdir()) == sorted([*CARRIED, *own, *weights])
    for name in CARRIED:
        assert (here / "out" / name).read_bytes() == (here / "base" / name).read_bytes()
    index = json.loads((here / "out/model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 312}
    assert sorted(index["weight_map"]) == sorted(tiny.llama(0))
    assert sorted(set(index["weight_map"].values())) == weights


def test_the_configuration(here):
    smelt.merge(DARE.format(""), "out")
    config = json.loads((here / "out/config.json").read_text())
    expected = tiny.config(text_config={"dtype": "float16"})
    assert config == {**expected, "dtype": "float16"}
    text = "merge_method: passthrough\nslices:\n" + "- sources: [{model: base, layer_range: [0, 2]}]\n" * 3
    smelt.merge(text, "stack")
    config = json.loads((here / "stack/config.json").read_text())
    assert (config["num_hidden_layers"], config["dtype"]) == (6, "bfloat16")


def test_the_model_card_loads(here):
    smelt.merge(DARE.format(""), "out")
    card = ModelCard.load(here / "out" / "README.md")
    assert card.data.to_dict() == {"license": "unknown", "library_name": "transformers", "tags": ["merge", "smelt"]}
    assert "Merged with smelt by DARE with sign election ([arXiv:2311.03099](https://arxiv.org/abs/2311.03099))" in (
        card.text
    )
    for name in ("base", "math", "code"):
        assert f"- `{name}`" in card.text
    assert (here / "out" / "smelt_recipe.yml").read_text().strip() in card.text


SLICES = """
merge_method: slerp
base_model: base
slices:
- sources: [{model: base, layer_range: [0, 1]}, {model: math, layer_range: [1, 2]}]
  parameters: {t: [{filter: mlp, value: 0.25}, {value: 0.75}]}
- sources: [{model: base, layer_range: [0, 2]}, {model: code, layer_range: [0, 2]}]
parameters: {t: [0, 1]}
tokenizer_source: base
"""
TWO = """
name: first
merge_method: ties
base_model: base
models: [{model: math}, {model: code}]
parameters: {weight: 1, density: 0.3, rescale: l1}
---
merge_method: dare_linear
base_model: base
models: [{model: first}, {model: code}]
parameters: {weight: 0.3, density: 0.6}
dtype: bfloat16
seed: 9
"""


@pytest.mark.parametrize("text", [DARE.format(""), SLICES, TWO])
def test_the_resolved_recipe_plans_to_the_same(here, text):
    plan = smelt.plan(text, seed=4)
    smelt.run(plan, "out")
    again = smelt.plan("out/smelt_recipe.yml")
    assert again.digest == plan.digest
    assert again.recipe.seed == 4
    smelt.run(again, "again")
    for name in ("smelt_recipe.yml", "README.md", "config.json", "model.safetensors"):
        assert (here / "again" / name).read_bytes() == (here / "out" / name).read_bytes()


def test_no_absolute_path_is_written(here):
    text = "name: first\n" + DARE.format(f"{here}/") + "---\n"
    text += f"merge_method: linear\nmodels: [{{model: first}}, {{model: '{here}/code'}}]\nparameters: {{weight: 0.5}}\n"
    (here / "recipe.yml").write_text(text)
    smelt.merge(here / "recipe.yml", here / "out")
    written = {path.name: path.read_bytes() for path in (here / "out").iterdir()}
    for name, content in written.items():
        for private in (str(here), str(here.parent), "/home", "_name_or_path"):
            assert private.encode() not in content, (name, private)
    recipe = written["smelt_recipe.yml"].decode()
    assert "model: math" in recipe
    assert "base_model: base" in recipe


def test_two_models_of_one_name_stay_apart(here):
    for seed, place in enumerate(("x", "y")):
        tiny.save_llama(here / place / "model", seed)
    text = f"merge_method: linear\nmodels: [{{model: '{here}/x/model'}}, {{model: '{here}/y/model'}}]\n"
    smelt.merge(text + "parameters: {weight: 1}\n", "out")
    assert "- {model: x/model}\n- {model: y/model}\n" in (here / "out/smelt_recipe.yml").read_text()
    assert "- `x/model`, licence: none\n- `y/model`, licence: none\n" in (here / "out/README.md").read_text()


def test_a_model_without_a_configuration(here):
    tiny.save(here / "plain", {"weight": tiny.np.ones(3, "f4")})
    smelt.merge("merge_method: passthrough\nmodels: [{model: plain}]\n", "out")
    assert sorted(path.name for path in (here / "out").iterdir()) == [
        "README.md",
        "checksums.sha256",
        "model.safetensors",
        "provenance.json",
        "smelt_recipe.yml",
    ]
