import json

import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file

from smelt.errors import InputError
from smelt.tensors.dtypes import dtype_named
from smelt.tensors.safetensors import read_header
from smelt.tensors.shards import index_json, lay_out, parse_size
from smelt.tensors.spec import TensorSpec


def spec(name, elements, dtype="F32"):
    return TensorSpec(name, (elements,), dtype_named(dtype))


def write(shards, folder):
    for shard in shards:
        (folder / shard.file_name).write_bytes(shard.header + bytes(shard.size_bytes - len(shard.header)))


def test_one_file_when_everything_fits_exactly(tmp_path):
    shards = lay_out([spec("a", 2), spec("b", 3)], 20)
    assert [s.file_name for s in shards] == ["model.safetensors"]
    assert shards[0].size_bytes == len(shards[0].header) + 20
    write(shards, tmp_path)
    assert load_file(tmp_path / "model.safetensors")["b"].shape == (3,)


def test_files_are_filled_in_the_given_order_and_a_large_tensor_stands_alone(tmp_path):
    shards = lay_out([spec("d", 2), spec("a", 1), spec("huge", 9), spec("c", 1), spec("b", 2), spec("e", 1)], 12)
    assert [list(s.tensors) for s in shards] == [["d", "a"], ["huge"], ["c", "b"], ["e"]]
    assert shards[1].file_name == "model-00002-of-00004.safetensors"
    write(shards, tmp_path)
    for shard in shards:
        with safetensors.safe_open(tmp_path / shard.file_name, "np") as file:
            assert sorted(file.keys()) == sorted(shard.tensors)


def test_wider_elements_come_first_so_that_every_tensor_is_aligned(tmp_path):
    specs = [spec("u", 3, "U8"), spec("h", 3, "BF16"), spec("d", 1, "F64"), spec("f", 3), spec("i", 1, "I64")]
    specs.append(spec("h2", 1, "F16"))
    (shard,) = lay_out(specs, 10**9)
    assert list(shard.tensors) == ["d", "i", "f", "h", "h2", "u"]
    for stored in shard.tensors.values():
        assert (len(shard.header) + stored.start) % stored.spec.dtype.size_bytes == 0
    write([shard], tmp_path)
    assert read_header(tmp_path / "model.safetensors", "m").tensors == shard.tensors


def test_no_tensor_gives_one_file_without_tensors(tmp_path):
    shards = lay_out([], 100)
    write(shards, tmp_path)
    assert load_file(tmp_path / "model.safetensors") == {}
    assert json.loads(index_json(shards)) == {"metadata": {"total_size": 0}, "weight_map": {}}


def test_scalars_and_empty_tensors_have_their_place(tmp_path):
    f32 = dtype_named("F32")
    shards = lay_out([TensorSpec("empty", (0, 3), f32), TensorSpec("scalar", (), f32), TensorSpec("e2", (0,), f32)], 4)
    write(shards, tmp_path)
    loaded = load_file(tmp_path / "model.safetensors")
    assert {name: array.shape for name, array in loaded.items()} == {"empty": (0, 3), "scalar": (), "e2": (0,)}
    assert np.array_equal(loaded["scalar"], 0)


def test_the_index_names_each_tensors_file_in_alphabetical_order():
    text = index_json(lay_out([spec("b", 2), spec("a", 2)], 8))
    index = json.loads(text)
    assert list(index["weight_map"].items()) == [
        ("a", "model-00002-of-00002.safetensors"),
        ("b", "model-00001-of-00002.safetensors"),
    ]
    assert index["metadata"] == {"total_size": 16}
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("5GB", 5_000_000_000),
        ("500 MB", 500_000_000),
        ("2GiB", 2_147_483_648),
        ("1.5kb", 1500),
        ("3 TiB", 3_298_534_883_328),
        ("0.1GB", 100_000_000),
        ("12", 12),
        (" 7B ", 7),
        ("4K", 4000),
    ],
)
def test_sizes(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5XB", "0", "0.5", "1e9", "5GBs", "٣GB", "5 G B", "iB", "5iB"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match=f"'{text}' is not a size; write for example 5GB"):
        parse_size(text)
