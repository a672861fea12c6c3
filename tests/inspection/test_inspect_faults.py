"""Models that are not sound: each fault is a line, the rest is described as far as it can be read, nothing crashes."""

import json

import pytest

import smelt
import tiny

FIRST, SECOND, THIRD = (f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))


@pytest.fixture
def shards(here):
    """Nine tensors in three files."""
    return tiny.save(here / "model", tiny.llama(0), tiny.config(), {"README.md": "---\nlicense: mit\n---\n"}, shards=3)


def test_a_truncated_and_a_missing_file(shards, smelt_command):
    content = (shards / SECOND).read_bytes()
    (shards / SECOND).write_bytes(content[:-4])
    (shards / THIRD).unlink()
    answer = smelt_command("inspect", "model")
    assert (answer.code, answer.err) == (1, "")
    faults = smelt.inspect("model").faults
    assert faults == (
        f"{SECOND}: truncated: 4 of 88 bytes of data are missing; copy or download the file again",
        f"{THIRD}: is not there, and model.safetensors.index.json names it for 3 tensors: "
        "'model.layers.1.mlp.down_proj.weight', 'model.norm.weight', 'lm_head.weight'",
    )
    assert all(fault in answer.out for fault in faults)
    found = smelt.inspect("model")
    assert (found.architecture, found.licences) == ("LlamaForCausalLM", "mit (README.md)")
    assert sum(one.tensors for one in found.roles) == 3
    assert json.loads(smelt_command("inspect", "model", "--json").out)["faults"] == list(faults)


def test_a_vocabulary_that_does_not_fit(here):
    tiny.save(here / "model", tiny.llama(0), {**tiny.config(), "vocab_size": 9})
    assert smelt.inspect("model").faults == ("config.json: says vocab_size 9, and the embedding has 8 rows",)
    tiny.save(here / "wide", tiny.llama(0), {**tiny.config(), "vocab_size": 7})  # rows may be there for more
    assert smelt.inspect("wide").faults == ()


def test_an_index_that_says_something_else(shards):
    index = json.loads((shards / "model.safetensors.index.json").read_text())
    names = index["weight_map"]
    names["model.norm.weight"] = FIRST
    names["invented.weight"] = SECOND
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    assert smelt.inspect("model").faults == (
        f"{FIRST}: does not hold tensor 'model.norm.weight', which model.safetensors.index.json names",
        f"{SECOND}: does not hold tensor 'invented.weight', which model.safetensors.index.json names",
        f"{THIRD}: holds tensor 'model.norm.weight', which model.safetensors.index.json does not give to it",
    )


def test_an_index_that_is_none(shards):
    (shards / "model.safetensors.index.json").write_text("[")
    (fault,) = smelt.inspect("model").faults
    assert fault.startswith("model.safetensors.index.json: is not valid JSON")
    (shards / "model.safetensors.index.json").unlink()
    (fault,) = smelt.inspect("model").faults
    assert fault.startswith("3 safetensors files (")


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("config.json", "{", "config.json: is not valid JSON"),
        ("tokenizer.json", "{}", "tokenizer.json: has no vocabulary"),
        ("tokenizer.json", tiny.tokenizer(*"abcdefghi"), "tokenizer.json: numbers tokens up to 8, and the embedding"),
        ("provenance.json", "{}", "provenance.json: _type must be text"),
        ("config.json", json.dumps(tiny.config(3)), "tensor names give 2 blocks under 'model.layers', but config"),
    ],
)
def test_a_file_beside_the_weights(here, file, content, fault):
    tiny.save_llama(here / "model", 0, files={file: content})
    (found,) = smelt.inspect("model").faults
    assert found.startswith(fault)


def test_a_missing_layer(here):
    arrays = {name: array for name, array in tiny.llama(0, 3).items() if ".layers.1." not in name}
    tiny.save(here / "model", arrays, tiny.config(3))
    (fault,) = smelt.inspect("model").faults
    assert fault.startswith("blocks 1 of 'model.layers' have no tensors")


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"version https://git-lfs", b"\x02\0\0\0\0\0\0\0{}\0"])
def test_a_file_without_a_sound_header(here, content):
    tiny.save(here / "model", {}, tiny.config())
    (here / "model" / "model.safetensors").write_bytes(content)
    for place in ("model", "model/model.safetensors"):
        (fault,) = smelt.inspect(place).faults
        assert fault.startswith("model.safetensors: ")


def test_names_cannot_write_on_the_terminal(here, smelt_command):
    arrays = {"evil\x1b[2J\n.weight": tiny.llama(0)["model.norm.weight"]}
    tiny.save(here / "model", arrays, tiny.config(architectures=["\x1b[31mRed"]))
    answer = smelt_command("inspect", "model")
    assert "\x1b" not in answer.out
    assert "\\x1b[2J\\n" in answer.out
