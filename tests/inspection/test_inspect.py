"""``smelt inspect``: what a model's headers say, counted by hand for a model of nine small tensors."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import smelt
import tiny
from smelt.errors import InputError

CARD = "---\nlicense: apache-2.0\n---\n"


@pytest.fixture
def model(here):
    """Two layers, 8 tokens of 4 numbers: 156 parameters of 2 bytes."""
    files = {"README.md": CARD, "tokenizer.json": tiny.tokenizer(*"abcdefg"), "tokenizer_config.json": "{}"}
    return tiny.save_llama(here / "model", 0, files=files)


def test_a_sound_model(model):
    found = smelt.inspect("model")
    assert (found.architecture, found.model_type, found.faults) == ("LlamaForCausalLM", "llama", ())
    assert [(s.prefix, s.count, s.config_key) for s in found.stacks] == [("model.layers", 2, ("num_hidden_layers",))]
    roles = {one.name: (one.tensors, one.parameters, one.size_bytes) for one in found.roles}
    assert roles == {
        "embedding": (1, 32, 64),
        "norm": (3, 12, 24),
        "attention": (2, 32, 64),
        "mlp": (2, 48, 96),
        "head": (1, 32, 64),
    }
    assert [(one.name, one.tensors) for one in found.dtypes] == [("bfloat16", 9)]
    assert [(one.name, one.shape, one.tensors) for one in found.shapes] == [
        ("model.embed_tokens.weight", (8, 4), 1),
        ("model.layers.*.input_layernorm.weight", (4,), 2),
        ("model.layers.*.self_attn.q_proj.weight", (4, 4), 2),
        ("model.layers.*.mlp.down_proj.weight", (4, 6), 2),
        ("model.norm.weight", (4,), 1),
        ("lm_head.weight", (8, 4), 1),
    ]
    ends = found.ends
    assert (ends.embedding, ends.rows, ends.head) == ("model.embed_tokens.weight", 8, "lm_head.weight")
    assert (ends.is_tied, ends.vocab_size, ends.tokens, ends.highest_id) == (False, 8, 7, 6)
    assert found.tokenizer_files == ("tokenizer.json", "tokenizer_config.json")
    assert found.licences == "apache-2.0 (README.md)"
    assert found.provenance is None
    assert found.weight_sizes_bytes == {"model.safetensors": (model / "model.safetensors").stat().st_size}


def test_in_words_and_as_json(model, smelt_command):
    answer = smelt_command("inspect", "model")
    assert (answer.code, answer.err) == (0, "")
    lines = [line.strip() for line in answer.out.splitlines()]
    size = (model / "model.safetensors").stat().st_size
    assert lines[:11] == [
        "model: LlamaForCausalLM (llama)",
        "",
        f"weights     9 tensors, 156 parameters, 312 bytes in 1 file of {size / 1000:.1f} kB",
        "dtypes      bfloat16",
        "layers      2 in model.layers (num_hidden_layers)",
        "vocabulary  8 rows in model.embed_tokens.weight, 7 tokens in tokenizer.json, vocab_size 8",
        "head        lm_head.weight, not tied to the embedding",
        "tokenizer   tokenizer.json, tokenizer_config.json",
        "licence     apache-2.0 (README.md)",
        "provenance  none",
        "faults      none",
    ]
    assert "2 × model.layers.*.mlp.down_proj.weight  4 × 6  bfloat16" in lines
    found = json.loads(smelt_command("inspect", "model", "--json").out)
    assert found == json.loads(json.dumps(smelt.inspect("model").to_json()))
    assert found["stacks"][0] == {
        "prefix": "model.layers",
        "count": 2,
        "config_key": "num_hidden_layers",
        "missing": "",
    }


def test_a_tied_head_and_several_dtypes(here):
    arrays = tiny.llama(0, head=False)
    arrays["model.norm.weight"] = arrays["model.norm.weight"].astype(np.float32)
    tiny.save(here / "tied", arrays, tiny.config(tie_word_embeddings=True))
    found = smelt.inspect(here / "tied")
    assert (found.ends.head, found.ends.is_tied) == (None, True)
    assert [(one.name, one.tensors, one.size_bytes) for one in found.dtypes] == [
        ("bfloat16", 7, 240),
        ("float32", 1, 16),
    ]


def test_a_single_file(model):
    found = smelt.inspect(model / "model.safetensors")
    assert (found.architecture, sum(one.tensors for one in found.roles), found.faults) == (None, 9, ())


def test_the_output_of_a_merge_tells_what_it_was_made_of(model, here, smelt_command):
    tiny.save_llama(here / "other", 1)
    plan = smelt.plan("{merge_method: linear, models: [{model: model}, {model: other}], parameters: {weight: 1}}\n")
    smelt.run(plan, "merged")
    found = smelt.inspect("merged")
    assert found.faults == ()
    assert found.provenance is not None
    assert found.to_json()["provenance"]["plan_digest"] == plan.digest
    assert f"from model, other; plan digest {plan.digest[:16]}" in smelt_command("inspect", "merged").out


def test_checkpoints_and_arrays_in_memory(model):
    assert smelt.inspect(smelt.Checkpoint(model)) == smelt.inspect(model)
    found = smelt.inspect(smelt.Checkpoint({"a.weight": np.zeros((2, 3), np.float32)}))
    assert (found.name, found.weight_sizes_bytes, len(found.shapes)) == ("arrays in memory", {}, 1)


def test_no_weight_is_read(model, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a weight was read")

    monkeypatch.setattr(smelt.Checkpoint, "read", refuse)
    monkeypatch.setattr(smelt.Checkpoint, "fetch", refuse)
    assert smelt.inspect("model").faults == ()


def test_what_is_no_model_is_one_line(here, smelt_command):
    (here / "empty").mkdir()
    answer = smelt_command("inspect", "empty")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("smelt: empty: no weights")
    with pytest.raises(InputError, match="no such file"):
        smelt.inspect("./nowhere/at/all")


def test_a_model_of_the_hub_from_its_cache(here):
    commit = "a" * 40
    repository = here / "cache" / "hub" / "models--org--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    tiny.save_llama(repository / "snapshots" / commit, 0, files={"README.md": CARD})
    environment = {**os.environ, "HF_HOME": str(here / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "smelt.cli", "inspect", "org/model", "--json"]
    found = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert (found["name"], found["repository"], found["commit"]) == ("org/model", "org/model", commit)
    assert (found["licences"], found["faults"]) == ("apache-2.0 (README.md)", [])
