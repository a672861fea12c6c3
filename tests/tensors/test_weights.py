import json

import pytest

from smelt.errors import InputError
from smelt.tensors.dtypes import dtype_named
from smelt.tensors.safetensors import Header, StoredTensor
from smelt.tensors.spec import TensorSpec
from smelt.tensors.weights import WeightFiles, find_weights, is_weights, join_headers, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def find(*file_names, index=None):
    content = index if isinstance(index, bytes) else json.dumps({"weight_map": index}).encode()
    return find_weights("m", file_names, lambda _: content)


def header(*names):
    i8 = dtype_named("I8")
    return Header(
        {n: StoredTensor(TensorSpec(n, (2,), i8), 2 * k, 2 * k + 2) for k, n in enumerate(names)}, {}, 100, ""
    )


def test_a_single_file_and_shards_are_found():
    assert find("config.json", SINGLE) == WeightFiles((SINGLE,), None)
    index = {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}
    assert find("a.safetensors", "b.safetensors", INDEX, index=index).names == ("a.safetensors", "b.safetensors")
    assert find(SINGLE, INDEX, index={"x": SINGLE}).names == (SINGLE,)


@pytest.mark.parametrize(
    ("names", "index", "message"),
    [
        ([SINGLE, INDEX, "a"], {"x": "a"}, "holds both model.safetensors and model.safetensors.index.json.*delete"),
        ([INDEX, "a"], {"x": "a", "y": "b", "z": "c"}, "names files that are not there: b, c"),
        ([INDEX], {"x": "../a"}, "'../a' is not the name of a file in the same folder"),
        ([INDEX], {"x": "..\\\\a"}, "is not the name of a file in the same folder"),
        ([INDEX], {"x": 1}, "weight_map must map"),
        ([INDEX], None, "weight_map must map"),
        ([INDEX], b"[", "index.json: is not valid JSON: .*line 1 column 2"),
        ([INDEX], b"[]", "must hold a JSON object, not list"),
        (["config.json"], None, "no weights; a model's folder holds"),
        (["pytorch_model.bin", "config.json"], None, "only pytorch_model.bin and no safetensors.*save_pretrained"),
        (["x.pt"], None, "only x.pt .*save_pretrained"),
        (["x-Q4.gguf"], None, "only x-Q4.gguf .*use the original checkpoint"),
        (["adapter_config.json", "adapter_model.safetensors"], None, "an adapter and not a model"),
        (["other.safetensors"], None, "to read other.safetensors, name that file itself"),
        (["a.safetensors", "b.safetensors"], None, r"2 safetensors files \(a.safetensors, b.safetensors\) but no"),
    ],
)
def test_folders_without_one_sound_set_of_weights(names, index, message):
    with pytest.raises(InputError, match=f"^m: .*{message}") as caught:
        find(*names, index=index)
    assert "\n" not in str(caught.value)


def test_tensors_come_file_after_file_with_offsets_into_the_file():
    extents = join_headers("m", WeightFiles(("a", "b"), None), {"a": header("y", "x"), "b": header("w")})
    assert [(n, e.file_name, e.offset) for n, e in extents.items()] == [
        ("y", "a", 100),
        ("x", "a", 102),
        ("w", "b", 100),
    ]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"x": "a"}, "tensor 'y' is in b, but model.safetensors.index.json does not name it"),
        ({"x": "a", "y": "a"}, "tensor 'y' is in b, but model.safetensors.index.json gives it to a"),
        ({"x": "a", "y": "b", "z": "b"}, "names tensor 'z', which is not in b"),
    ],
)
def test_an_index_that_contradicts_the_files(index, message):
    with pytest.raises(InputError, match=f"^m: .*{message}"):
        join_headers("m", WeightFiles(("a", "b"), index), {"a": header("x"), "b": header("y")})


def test_what_counts_as_weights():
    weights = [SINGLE, INDEX, "pytorch_model.BIN", "pytorch_model.bin.index.json", "m.gguf", "model.onnx"]
    beside = ["config.json", "tokenizer.model", "merges.txt", "modeling_x.py", "chat_template.jinja", "README.md"]
    assert all(map(is_weights, weights))
    assert not any(map(is_weights, beside))


def test_a_byte_order_mark_is_no_error():
    assert read_json("m", b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
