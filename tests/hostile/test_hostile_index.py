"""What stands around the weights: indices, configurations, tokenizers, code, pickles."""

import json
import os

import pytest
from refusals import RECIPE, refuse, write_models, write_weights

import smelt
import tiny
from smelt.tensors import json_text, links
from smelt.tensors.hub import RemoteFiles

INDEX = "model.safetensors.index.json"


def write_shards(folder):
    """Write the second model in two shards, and return its index."""
    tiny.save(folder, tiny.llama(1), tiny.config(), shards=2)
    return json.loads((folder / INDEX).read_text())


@pytest.fixture
def index(here):
    tiny.save_llama(here / "a", 0)
    return write_shards(here / "b")


def refuse_index(here, content):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (here / "b" / INDEX).write_bytes(text)
    message = refuse()
    assert INDEX in message
    return message


@pytest.mark.parametrize(
    "name",
    [
        *("../a/model.safetensors", "/etc/passwd", "C:\\x.safetensors", "C:x.safetensors", "..\\x", "sub/x", "", "."),
        *("..", "x\x00", "x\x1b[31m", "\u202ex", "./model-00001-of-00002.safetensors", "//host/x", "x:stream", "\n"),
    ],
)
def test_an_index_names_files_of_its_folder_only(here, index, name):
    index["weight_map"]["lm_head.weight"] = name
    assert "is not the name of a file in the same folder" in refuse_index(here, index)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is not valid JSON"),
        (b"\xff", "is not valid JSON: 'utf-8' codec"),
        (b"[]", "must hold a JSON object, not list"),
        (b"{", "is not valid JSON"),
        (b'{"weight_map": ' + b"[" * 100_000, "is not valid JSON: it is nested too deeply"),
        (b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}", "is not valid JSON: it is nested deeper than 60 levels"),
        (b'{"weight_map": {"\\ud800": "x"}}', "is not valid JSON: 'utf-8' codec"),
        ({}, "weight_map must map tensor names to file names"),
        ({"weight_map": []}, "weight_map must map tensor names to file names"),
        ({"weight_map": {"a": ["x"]}}, "weight_map must map tensor names to file names"),
        ({"weight_map": {"a": None}}, "weight_map must map tensor names to file names"),
        ({"weight_map": {"a": "absent\u00e9"}}, "names files that are not there: absenté"),
        ({"weight_map": {"a": "x" * 1_000_000}}, "names files that are not there: xxx"),
    ],
)
def test_an_index_that_is_none(here, index, content, fault):
    assert fault in refuse_index(here, content)


def test_a_tensor_in_the_wrong_shard_and_one_that_is_nowhere(here, index):
    first, second = sorted(dict.fromkeys(index["weight_map"].values()))
    moved = {**index["weight_map"], "lm_head.weight": first}
    assert f"tensor 'lm_head.weight' is in {second}, but {INDEX} gives it to {first}" in refuse_index(
        here, {"weight_map": moved}
    )
    more = {**index["weight_map"], "x\x07" * 1000: first}
    assert f"{INDEX} names tensor 'x\\x07" in refuse_index(here, {"weight_map": more})
    (here / "b" / second).unlink()
    assert f"names files that are not there: {second}" in refuse_index(here, index)


def test_an_index_of_millions_of_values_or_bytes(here, index, monkeypatch):
    monkeypatch.setattr(json_text, "MOST_VALUES", 1000)
    assert "it has more than 1,000 values" in refuse_index(here, b"[" * 2000)
    monkeypatch.setattr(links, "MOST_BYTES", 10_000)
    assert "20000 bytes; a file beside the weights may have" in refuse_index(here, b" " * 20_000)


# configurations, tokenizers, code


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[]", "must hold a JSON object, not list"),
        (b"null", "must hold a JSON object, not NoneType"),
        (b"", "is not valid JSON"),
        (b"\xfe\xff", "is not valid JSON: 'utf-8' codec"),
        (b'{"a": ' * 61 + b"1" + b"}" * 61, "is not valid JSON: it is nested deeper than 60 levels"),
        (b'{"a": ' * 50_000, "is not valid JSON: it is nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is not valid JSON: Exceeds the limit"),
        (b'{"a": "\\ud83d"}', "is not valid JSON: 'utf-8' codec"),
        (b"[" + b"0," * 3_000_001, "is not valid JSON: it has more than 3,000,000 values"),
    ],
)
def test_a_config_that_is_none(here, content, fault):
    write_models(here)
    (here / "b" / "config.json").write_bytes(content)
    message = refuse()
    assert "b: config.json: " in message
    assert fault in message


SLICES = """\
merge_method: slerp
base_model: a
parameters: {t: 0.5}
slices:
  - sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [1, 2]}]
  - sources: [{model: a, layer_range: [1, 2]}, {model: b, layer_range: [0, 1]}]
"""


@pytest.mark.parametrize(
    "runs",
    [
        *([[["global"], 10**9]], [[["global"], 2**70]], [1, 2], [["ab", 2]], [[5, 1]], [[["x"], 1, 2]]),
        *([[["a"], "2"]], [{"a": 1, "b": 2}], [[["a"], True]], [[["a"], -1]], [[["a"], 1], [["b"], 2**40]], [[[], 9]]),
    ],
)
def test_runs_of_kinds_of_layers_that_do_not_fit_the_layers_are_no_list_of_them(here, runs):
    write_models(here)
    for name in "ab":
        (here / name / "config.json").write_text(json.dumps(tiny.config(attention_types=runs)))
    assert smelt.plan(SLICES).config["attention_types"] == runs


def test_a_counter_that_is_no_number_in_another_model(here):
    write_models(here)
    for key in ("first_k_dense_replace", "num_kv_shared_layers"):
        (here / "a" / "config.json").write_text(json.dumps(tiny.config(**{key: 2})))
        (here / "b" / "config.json").write_text(json.dumps(tiny.config(**{key: "x"})))
        assert smelt.plan(SLICES).config[key] == 2


def test_a_config_or_a_tokenizer_of_gigabytes_is_not_read(here):
    write_models(here)
    for name in ("config.json", "tokenizer.json"):
        with open(here / "b" / name, "wb") as file:
            file.truncate(50 * 2**30)  # takes no room on the disk
        with pytest.raises(smelt.InputError, match=f"^b: {name}: 53687091200 bytes; .* may have 200 MB"):
            smelt.Checkpoint("b").read_file(name)
    assert "config.json: 53687091200 bytes" in refuse()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b'{"model": 3}', b"{" * 10_000, b'{"model": {}}'])
def test_a_tokenizer_that_is_none_is_an_error_where_it_is_needed(here, content):
    write_models(here)
    (here / "b" / "tokenizer.json").write_bytes(content)
    (here / "a" / "tokenizer.json").write_bytes(tiny.tokenizer("x", "y"))
    assert "tokenizer.json" in refuse(RECIPE + "tokenizer_source: union\n")


@pytest.mark.parametrize("charsmap", ["AAAA", "/////w=="])
def test_a_tokenizer_that_makes_its_library_abort_is_not_given_to_it(here, charsmap):
    write_models(here)
    hostile = json.loads(tiny.tokenizer("x", "y"))
    hostile["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    (here / "b" / "tokenizer.json").write_text(json.dumps(hostile))
    (here / "a" / "tokenizer.json").write_bytes(tiny.tokenizer("x", "z"))
    assert "'y' (1) is only in the second" in refuse(RECIPE + "tokenizer_source: union\n")


def test_a_deep_tokenizer_config(here):
    write_models(here)
    for name in "ab":
        (here / name / "tokenizer_config.json").write_bytes(b'{"a":' * 50_000)
    assert "tokenizer_config.json: is not valid JSON" in refuse(RECIPE + "chat_template: auto\n")


@pytest.mark.parametrize("part", ["\x1b[2J", "\u202e", "\n", "x" * 200])
def test_names_of_tensors_in_messages_of_planning(here, part):
    write_models(here)
    tiny.save(here / "b", {part + name: array for name, array in tiny.llama(1).items()}, tiny.config())
    assert "tensors that 'a' lacks" in refuse()


def test_code_of_a_model_is_copied_and_never_imported(here):
    write_models(here)
    code = b"import pathlib; pathlib.Path('was_here').touch()\n"
    for name in ("modeling_evil.py", "configuration_evil.py", "__init__.py", "sitecustomize.py"):
        (here / "a" / name).write_bytes(code)
    config = tiny.config(auto_map={"AutoConfig": "configuration_evil.Evil"}, trust_remote_code=True)
    (here / "a" / "config.json").write_text(json.dumps(config))
    smelt.merge(RECIPE, here / "out")
    assert (here / "out" / "modeling_evil.py").read_bytes() == code
    assert not (here / "was_here").exists()
    assert sorted(os.listdir(here)) == ["a", "b", "out"]


def test_a_readme_is_read_for_its_licence_and_not_copied(here):
    write_models(here)
    start = b"---\nlicense: mit\n---\n"
    (here / "b" / "README.md").write_bytes(start)
    for content, licence in ((start + b"\x1b[2Jtext", b"mit"), (b"---\n&a [*a]\n\xff\x1b[2J---\n", b"unknown")):
        (here / "a" / "README.md").write_bytes(content)
        smelt.merge(RECIPE, here / "out", force=True)
        card = (here / "out" / "README.md").read_bytes()
        assert b"\x1b" not in card
        assert b"license: " + licence in card


def test_files_with_strange_names_stay_in_the_output(here):
    write_models(here)
    for name in ("..json", "a\nb.json", "-rf.json", "\x1b[2J.json", "~.json", "é.json"):
        (here / "a" / name).write_text("{}")
    (here / "a" / "LICENSE\x1b[2J").write_text("x")
    write_weights(here / "a" / "x\ny.bin", {})
    smelt.merge(RECIPE, here / "out")
    copied = {"-rf.json", "~.json", "é.json"}
    assert copied <= set(os.listdir(here / "out"))
    assert all(name.isprintable() for name in os.listdir(here / "out"))
    assert sorted(os.listdir(here)) == ["a", "b", "out"]


def test_a_file_of_gigabytes_beside_weights_on_the_hub_is_not_read(here):
    with open(here / "tokenizer.json", "wb") as file:
        file.truncate(50 * 2**30)
    remote = RemoteFiles("org/name", "c" * 40, here, ("tokenizer.json",), {})
    with pytest.raises(smelt.InputError, match=r"^org/name: tokenizer.json: 53687091200 bytes"):
        remote.read_file("tokenizer.json")
