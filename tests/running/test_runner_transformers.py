"""What comes out opens with transformers and safetensors: whole merges, shards, layer stacks, tied embeddings."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import smelt
import tiny
from smelt.errors import InputError

SMALL = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA_LAYERS = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SMALL)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SMALL, tie_word_embeddings=True)),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig(**SMALL, sliding_window=4, layer_types=GEMMA_LAYERS)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two random models of each family: llama-a, llama-b and so on; the head of qwen3 and gemma3 is the embedding."""
    folder = tmp_path_factory.mktemp("transformers")
    for family, (kind, config) in FAMILIES.items():
        for number, letter in enumerate("ab"):
            torch.manual_seed(number)
            kind(config).to(torch.bfloat16).save_pretrained(folder / f"{family}-{letter}")
    return folder


@pytest.fixture(autouse=True)
def beside_models(models, monkeypatch):
    monkeypatch.chdir(models)


def load(folder):
    """Open a model, check that nothing is missing or left over, and run it once."""
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert {key: list(found) for key, found in report.items() if found} == {}
    with torch.no_grad():
        logits = model(torch.tensor([[1, 5, 9, 30, 7, 7]])).logits
    assert logits.shape == (1, 6, 32)
    assert torch.isfinite(logits.float()).all()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            assert file.metadata()["format"] == "pt"
            for name in file.keys():  # noqa: SIM118
                file.get_tensor(name)
    return model


@pytest.mark.parametrize("size", ["5GB", "2kB"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_merge_of_whole_models(family, size, tmp_path):
    text = f"""
merge_method: task_arithmetic
base_model: {family}-a
models: [{{model: {family}-b, parameters: {{weight: 0.25}}}}]
dtype: float32
out_dtype: bfloat16
"""
    smelt.merge(text, tmp_path / "merged", max_shard_size=size)
    assert (len(list((tmp_path / "merged").glob("*.safetensors"))) > 5) == (size == "2kB")
    model = load(tmp_path / "merged")
    a, b = (AutoModelForCausalLM.from_pretrained(f"{family}-{letter}").state_dict() for letter in "ab")
    for name, tensor in model.state_dict().items():
        expected = (a[name].double() + 0.25 * (b[name].double() - a[name].double())).bfloat16()
        torch.testing.assert_close(tensor, expected, rtol=2**-8, atol=1e-9)
    assert model.config.dtype == torch.bfloat16


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stack_of_layers(family, tmp_path):
    text = f"""
merge_method: passthrough
slices:
- sources: [{{model: {family}-a, layer_range: [0, 3]}}]
- sources: [{{model: {family}-b, layer_range: [1, 4]}}]
"""
    smelt.merge(text, tmp_path / "stack")
    model = load(tmp_path / "stack")
    assert model.config.num_hidden_layers == len(model.model.layers) == 6
    if family != "llama":
        one = AutoModelForCausalLM.from_pretrained(f"{family}-a").config.layer_types
        assert model.config.layer_types == one[0:3] + one[1:4]
    a, b = (AutoModelForCausalLM.from_pretrained(f"{family}-{letter}").state_dict() for letter in "ab")
    for name, tensor in model.state_dict().items():
        source, there = a, name
        if name.startswith("model.layers."):
            _, _, number, rest = name.split(".", 3)
            source, layer = (a, int(number)) if int(number) < 3 else (b, int(number) - 2)
            there = f"model.layers.{layer}.{rest}"
        elif name == "model.norm.weight" or (name == "lm_head.weight" and family == "llama"):
            source = b  # what stands after the layers comes from the last slice
        assert torch.equal(tensor, source[there]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_slices_of_two_models_and_one_model_twice(family, tmp_path):
    text = f"""
merge_method: slerp
base_model: {family}-a
slices:
- sources: [{{model: {family}-a, layer_range: [0, 2]}}, {{model: {family}-b, layer_range: [0, 2]}}]
- sources: [{{model: {family}-a, layer_range: [2, 4]}}, {{model: {family}-b, layer_range: [2, 4]}}]
parameters: {{t: 0.5}}
"""
    whole = text.split("slices:")[0] + f"models: [{{model: {family}-a}}, {{model: {family}-b}}]\nparameters: {{t: 0.5}}"
    smelt.merge(text, tmp_path / "slices")
    load(tmp_path / "slices")
    assert tiny.digest(tiny.read(tmp_path / "slices")) == tiny.digest(smelt.merge(whole))
    twice = f"""
merge_method: linear
slices:
- sources: [{{model: {family}-a, layer_range: [0, 2]}}, {{model: {family}-a, layer_range: [2, 4]}}]
parameters: {{weight: 0.5}}
"""
    smelt.merge(twice, tmp_path / "twice")
    model = load(tmp_path / "twice")
    assert len(model.model.layers) == 2
    a = tiny.read(f"{family}-a")
    name = "model.layers.{}.mlp.up_proj.weight"
    expected = (0.5 * a[name.format(1)].astype("f8") + 0.5 * a[name.format(3)].astype("f8")).astype(tiny.BF16)
    assert tiny.read(tmp_path / "twice")[name.format(1)].tobytes() == expected.tobytes()


def test_a_head_of_its_own_meets_one_that_is_tied(tmp_path):
    tied = {**json.loads(FAMILIES["llama"][1].to_json_string()), "tie_word_embeddings": True}
    torch.manual_seed(5)
    LlamaForCausalLM(LlamaConfig(**tied)).to(torch.bfloat16).save_pretrained(tmp_path / "tied")
    text = """
merge_method: linear
models: [{model: MODEL, parameters: {weight: 0.5}}, {model: llama-a, parameters: {weight: 0.5}}]
""".replace("MODEL", str(tmp_path / "tied"))
    plan = smelt.plan(text)
    assert any("tie 'lm_head.weight' to the embedding" in note for note in plan.notes)
    smelt.run(plan, tmp_path / "merged")
    model = load(tmp_path / "merged")
    ours, theirs = tiny.read(tmp_path / "tied"), tiny.read("llama-a")
    embedding, head = ours["model.embed_tokens.weight"].astype("f8"), theirs["lm_head.weight"].astype("f8")
    expected = torch.from_numpy(0.5 * embedding + 0.5 * head).bfloat16()
    assert torch.equal(model.state_dict()["lm_head.weight"], expected)
    assert model.config.tie_word_embeddings is False


def test_modules_of_an_encoder_and_decoder(tmp_path):
    config = T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=3, num_decoder_layers=2, num_heads=2)
    for number, letter in enumerate("ab"):
        torch.manual_seed(number)
        T5ForConditionalGeneration(config).save_pretrained(tmp_path / f"t5-{letter}")
    a, b = tmp_path / "t5-a", tmp_path / "t5-b"
    text = f"""
merge_method: passthrough
modules:
  encoder:
    slices:
    - sources: [{{model: {a}, layer_range: [0, 2]}}]
    - sources: [{{model: {b}, layer_range: [1, 3]}}]
  decoder:
    models: [{{model: {b}}}]
"""
    smelt.merge(text, tmp_path / "merged")
    model, report = T5ForConditionalGeneration.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert {key: list(found) for key, found in report.items() if found} == {}
    assert (len(model.encoder.block), len(model.decoder.block)) == (4, 2)
    one, two, merged = tiny.read(a), tiny.read(b), tiny.read(tmp_path / "merged")
    key = "encoder.block.{}.layer.1.DenseReluDense.wi.weight"
    assert merged[key.format(1)].tobytes() == one[key.format(1)].tobytes()
    assert merged[key.format(2)].tobytes() == two[key.format(1)].tobytes()
    key = "decoder.block.1.layer.2.DenseReluDense.wi.weight"
    assert merged[key].tobytes() == two[key].tobytes()
    with pytest.raises(InputError, match=r"'modules' leaves out decoder of '.*'; every part of a model must be listed"):
        smelt.plan(text.split("  decoder:")[0])
    with pytest.raises(InputError, match=r"has no module 'decodr'; did you mean 'decoder'\? Modules: "):
        smelt.plan(text.replace("  decoder:", "  decodr:"))
