"""torch itself is the oracle for what its files hold."""

import collections
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from smelt.errors import InputError
from smelt.tensors import pickled
from smelt.tensors.checkpoint import Checkpoint
from smelt.tensors.pickled import find_pickled

TENSORS = {
    "embed": torch.arange(20, dtype=torch.bfloat16).reshape(5, 4),
    "transposed": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
    "parameter": torch.nn.Parameter(torch.ones(3, dtype=torch.float16)),
    "scalar": torch.tensor(3, dtype=torch.int64),
    "empty": torch.zeros(0, 4, dtype=torch.float64),
    "flags": torch.tensor([True, False]),
    "e4m3": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
}
INDEX = "pytorch_model.bin.index.json"


def write(folder, content=TENSORS, name="pytorch_model.bin"):
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / name)
    (folder / "config.json").write_text('{"hidden_size": 4}')
    return folder


def read(checkpoint, name):
    buffer = np.zeros(checkpoint.specs[name].size_bytes, np.uint8)
    if buffer.size:
        checkpoint.read(name, 0, buffer)
    return buffer.tobytes()


def refuse(folder):
    with pytest.raises(InputError) as caught:
        _ = Checkpoint(folder).specs
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700
    return str(caught.value)


@pytest.mark.parametrize("kind", ["folder", "file", "shards", "training state"])
def test_the_bytes_are_those_that_torch_saved(tmp_path, kind):
    folder = write(tmp_path / "m")
    if kind == "shards":
        (folder / "pytorch_model.bin").unlink()
        for number, name in enumerate(TENSORS):
            torch.save({name: TENSORS[name]}, folder / f"{number}.bin")
        index = {name: f"{number}.bin" for number, name in enumerate(TENSORS)}
        (folder / INDEX).write_text(json.dumps({"weight_map": index}))
    if kind == "training state":
        torch.save({"epoch": 3, "state_dict": TENSORS}, folder / "pytorch_model.bin")
    checkpoint = Checkpoint(folder / "pytorch_model.bin" if kind == "file" else folder)
    assert list(checkpoint.specs) == list(TENSORS)
    for name, tensor in TENSORS.items():
        spec = checkpoint.specs[name]
        assert spec.shape == tuple(tensor.shape)
        assert spec.dtype.recipe_name == str(tensor.dtype).removeprefix("torch.")
        assert read(checkpoint, name) == tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    part = np.zeros(6, np.uint8)
    checkpoint.read("embed", 4, part)
    assert part.tobytes() == TENSORS["embed"].view(torch.uint8).numpy().tobytes()[4:10]
    assert checkpoint.files == (() if kind == "file" else ("config.json",))
    assert checkpoint.paths[0] == folder
    assert checkpoint.config == (None if kind == "file" else {"hidden_size": 4})
    checkpoint.fetch()
    checkpoint.close()
    assert read(checkpoint, "scalar") == b"\3" + bytes(7)


def test_safetensors_come_first(tmp_path):
    folder = write(tmp_path / "m")
    assert find_pickled(folder, folder).names == ("pytorch_model.bin",)
    (folder / "model.safetensors").write_bytes(b"")
    assert find_pickled(folder, folder) is None


def test_the_fingerprint_tells_a_changed_file(tmp_path):
    folder = write(tmp_path / "m")
    checkpoint = Checkpoint(folder)
    before = checkpoint.fingerprint()
    assert list(before) == ["pytorch_model.bin"]
    assert checkpoint.fingerprint() == before
    status = os.stat(folder / "pytorch_model.bin")
    write(folder, {**TENSORS, "embed": TENSORS["embed"] + 1})
    os.utime(folder / "pytorch_model.bin", ns=(status.st_atime_ns, status.st_mtime_ns))
    after = checkpoint.fingerprint()["pytorch_model.bin"]
    assert after.size_bytes == before["pytorch_model.bin"].size_bytes
    assert after.header_sha256 != before["pytorch_model.bin"].header_sha256


class Evil:
    """A pickle that runs a command when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    folder = write(tmp_path / "m", {"w": Evil(tmp_path / "was_here")})
    assert "m/pytorch_model.bin: its pickle names 'posix mkdir'" in refuse(folder)
    assert not (tmp_path / "was_here").exists()
    pickle.loads(pickle.dumps(Evil(tmp_path / "was_here")))  # it would have
    assert (tmp_path / "was_here").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "must hold tensors by name, not list"),
        ({}, "must hold tensors by name, not dict"),
        ({"w": torch.ones(2), "epoch": 3}, "'epoch' is not the name of a plain tensor"),
        ({3: torch.ones(2)}, "'3' is not the name of a plain tensor"),
        ({"n" * 100_000: torch.ones(2)}, "nnn…nnn"),
        ({"\x1b[2J": 1}, r"'\x1b[2J' is not the name"),
        ({"w": torch.eye(2).to_sparse()}, "its pickle names 'torch._utils _rebuild_sparse_tensor'"),
        ({"w": torch.ones(1).expand(2**40)}, "'w' is not the name of a plain tensor"),
        ({"w": torch.ones(2, device="meta")}, "its pickle names 'torch._utils _rebuild_meta_tensor_no_storage'"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "tensor 'w': "),
        (collections.OrderedDict(a=collections.OrderedDict(b=1)), "'a' is not the name of a plain tensor"),
    ],
)
def test_what_is_no_set_of_tensors(tmp_path, content, message):
    assert message.split("…")[0] in refuse(write(tmp_path / "m", content))


def test_broken_files(tmp_path):
    folder = write(tmp_path / "m")
    content = (folder / "pytorch_model.bin").read_bytes()
    for broken in (content[: len(content) // 2], content[:4], content[:200] + b"\xff" * 100 + content[300:]):
        (folder / "pytorch_model.bin").write_bytes(broken)
        assert "m/pytorch_model.bin: " in refuse(folder)
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as file:
        file.writestr("x", "y")
    assert "m/pytorch_model.bin: it holds 0 records named data.pkl and not one" in refuse(folder)
    torch.save(TENSORS, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert "m: only pytorch_model.bin and no safetensors weights; convert with transformers" in refuse(folder)


@pytest.mark.parametrize("name", ["../x.bin", "/x", "..", "absent.bin"])
def test_an_index_outside_its_folder(tmp_path, name):
    folder = write(tmp_path / "m")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"w": name}}))
    assert f"m: {INDEX}" in refuse(folder)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"w": "a.bin", "v": "b.bin"}, f"tensor 'w' is in b.bin, but {INDEX} gives it to a.bin"),
        ({"v": "a.bin"}, f"tensor 'w' is in a.bin, but {INDEX} does not name it"),
        ({"w": "a.bin", "v": "a.bin"}, f"{INDEX} names tensor 'v', which is not in a.bin"),
        ({"w": "a.bin", "v": "pipe.bin"}, f"{INDEX} names a file that is not there: 'pipe.bin'"),
    ],
)
def test_an_index_that_disagrees_with_its_files(tmp_path, index, message):
    folder = write(tmp_path / "m", {"w": torch.ones(2)}, "a.bin")
    write(folder, {"w": torch.ones(2)}, "b.bin")
    os.mkfifo(folder / "pipe.bin")
    (folder / INDEX).write_text(json.dumps({"weight_map": index}))
    assert message in refuse(folder)


def test_a_pipe_is_not_waited_for(tmp_path):
    (tmp_path / "m").mkdir()
    os.mkfifo(tmp_path / "m" / "pytorch_model.bin")
    assert "m: no weights" in refuse(tmp_path / "m")


def replace_pickle(path, pickled_bytes, compression=zipfile.ZIP_STORED):
    """Write a file of torch whose pickle is another one."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled_bytes)
        file.writestr("archive/version", "3\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x80\x02c__builtin__\nbytearray\nJ\x00\xca\x9a\x3b\x85R.",
            "its pickle names '__builtin__ bytearray'",
        ),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a\x85R.", "its pickle names '_codecs encode'"),
        (b"\x80\x02" + b"]" * 600_000 + b".", "its pickle has more than 500,000 steps"),
        (b"\x80\x02" + b"N" * 5_000_000 + b".", "its data.pkl has more than 4 MB"),
        (b"\x80\x02(", "is damaged, or no file that torch.save has written since torch 1.6"),
    ],
)
def test_a_pickle_that_would_take_the_memory_is_not_given_to_torch(tmp_path, content, message):
    folder = write(tmp_path / "m")
    replace_pickle(folder / "pytorch_model.bin", content)
    assert f"m/pytorch_model.bin: {message}" in refuse(folder)


@pytest.mark.parametrize(
    "constructor", ["torch Tensor", "torch FloatTensor", "torch.storage TypedStorage", "torch Size"]
)
@pytest.mark.parametrize("call", [b"R", b"\x81"], ids=["called", "made anew"])
def test_a_pickle_that_makes_numbers_which_are_not_in_the_file(tmp_path, constructor, call):
    folder = write(tmp_path / "m")
    made = b"c" + constructor.replace(" ", "\n").encode() + b"\nM\x70\x17\x85" + call  # of 6,000
    replace_pickle(folder / "pytorch_model.bin", b"\x80\x02}X\x01\x00\x00\x00a" + made + b"s.")
    assert f"m/pytorch_model.bin: its pickle names '{constructor}'" in refuse(folder)


def test_compressed_records_are_not_inflated(tmp_path):
    folder = write(tmp_path / "m")
    replace_pickle(folder / "pytorch_model.bin", bytes(10_000_000), zipfile.ZIP_DEFLATED)
    assert "m/pytorch_model.bin: its records are compressed" in refuse(folder)


def test_without_torch_the_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled, "find_spec", lambda name: None)
    folder = write(tmp_path / "m")
    for path in (folder, folder / "pytorch_model.bin"):
        message = refuse(path)
        assert "any code" in message
        assert message.endswith("pip install 'smelt[torch]'")
