import json
import shutil
import threading

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from smelt.errors import InputError, RunError
from smelt.tensors import folder
from smelt.tensors.checkpoint import Checkpoint

RNG = np.random.default_rng(0)
ARRAYS = {
    "embed": RNG.normal(size=(5, 4)).astype(ml_dtypes.bfloat16),
    "norm": RNG.normal(size=4).astype(np.float32),
    "head": RNG.normal(size=(4, 5)).astype(np.float16),
}


def write_single(path):
    path.mkdir()
    save_file(ARRAYS, path / "model.safetensors")
    (path / "config.json").write_text('{"hidden_size": 4}')
    (path / "tokenizer.json").write_bytes(b"{}\r\n")
    (path / "pytorch_model.bin").write_bytes(b"x")
    (path / ".gitattributes").write_text("x")
    (path / "subfolder").mkdir()
    return path


def write_shards(path, count=3):
    path.mkdir()
    weight_map = {}
    for number, (name, array) in enumerate(ARRAYS.items()):
        file_name = f"model-{number % count + 1:05d}-of-{count:05d}.safetensors"
        save_file({name: array}, path / file_name)
        weight_map[name] = file_name
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return path


def read(checkpoint, name):
    buffer = np.zeros(checkpoint.specs[name].size_bytes, np.uint8)
    checkpoint.read(name, 0, buffer)
    return buffer.tobytes()


def make(kind, tmp_path):
    if kind == "arrays":
        return Checkpoint(ARRAYS)
    if kind == "shards":
        return Checkpoint(str(write_shards(tmp_path / "m")))
    path = write_single(tmp_path / "m")
    return Checkpoint(path if kind == "folder" else str(path / "model.safetensors"))


@pytest.mark.parametrize("kind", ["folder", "file", "shards", "arrays"])
def test_all_kinds_give_the_same_tensors(kind, tmp_path):
    checkpoint = make(kind, tmp_path)
    assert sorted(checkpoint.specs) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert checkpoint.specs[name].shape == array.shape
        assert checkpoint.specs[name].dtype.array == array.dtype
        assert read(checkpoint, name) == array.tobytes()
    part = np.zeros(6, np.uint8)
    checkpoint.read("norm", 5, part)
    assert part.tobytes() == ARRAYS["norm"].tobytes()[5:11]
    assert checkpoint.repository is None
    assert checkpoint.commit is None
    checkpoint.fetch()
    checkpoint.close()
    assert read(checkpoint, "norm") == ARRAYS["norm"].tobytes()


def test_the_files_beside_the_weights(tmp_path):
    checkpoint = make("folder", tmp_path)
    assert checkpoint.files == ("config.json", "tokenizer.json")
    assert checkpoint.config == {"hidden_size": 4}
    assert checkpoint.read_file("tokenizer.json") == b"{}\r\n"
    assert repr(checkpoint) == f"Checkpoint({str(tmp_path / 'm')!r})"
    with pytest.raises(InputError, match=r"no file 'tokeniser.json'; did you mean 'tokenizer.json'\?"):
        checkpoint.read_file("tokeniser.json")
    alone = Checkpoint(tmp_path / "m" / "model.safetensors")
    assert alone.files == ()
    assert alone.config is None


def test_a_bad_config_says_where(tmp_path):
    (write_single(tmp_path / "m") / "config.json").write_text('{"a": 1,\n b}')
    with pytest.raises(InputError, match=r"m: config.json: is not valid JSON: .*line 2 column 2"):
        _ = Checkpoint(tmp_path / "m").config


def test_identity_is_the_place(tmp_path, monkeypatch):
    path = write_single(tmp_path / "m")
    (tmp_path / "link").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    same = [Checkpoint(p).identity for p in ("m", "./m/", str(path), "link", path)]
    assert same == [same[0]] * 5
    assert hash(same[0]) == hash(same[1])
    shutil.copytree(path, "copy")
    assert Checkpoint("copy").identity != same[0]
    assert Checkpoint(ARRAYS).identity == Checkpoint(ARRAYS).identity
    assert Checkpoint(ARRAYS).identity != Checkpoint(dict(ARRAYS)).identity


def test_a_relative_path_holds_when_the_working_directory_changes(tmp_path, monkeypatch):
    write_single(tmp_path / "m")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint("m")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read(checkpoint, "norm") == ARRAYS["norm"].tobytes()
    assert checkpoint.name == "m"


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    (tmp_path / "m").mkdir()
    checkpoint = Checkpoint(str(tmp_path / "m"))
    with pytest.raises(InputError, match="no weights"):
        _ = checkpoint.specs
    save_file(ARRAYS, tmp_path / "m" / "model.safetensors")
    assert list(checkpoint.specs)


def test_messages_use_the_users_words(tmp_path, monkeypatch):
    path = write_single(tmp_path / "m")
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[:-3])
    monkeypatch.chdir(tmp_path)
    for text in ("m", "m/model.safetensors"):
        with pytest.raises(InputError, match=r"^m/model.safetensors: truncated: 3 of 96 bytes of data are missing"):
            _ = Checkpoint(text).specs


def test_a_file_that_shrinks_after_planning_is_a_run_error(tmp_path):
    checkpoint = make("file", tmp_path)
    assert list(checkpoint.specs)
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(RunError, match=r"model.safetensors: truncated: bytes"):
        read(checkpoint, list(checkpoint.specs)[-1])
    checkpoint.close()
    path.unlink()
    with pytest.raises(RunError, match="cannot be opened any more: No such file"):
        read(checkpoint, "norm")


def test_the_fingerprint_tells_a_changed_file(tmp_path):
    checkpoint = make("shards", tmp_path)
    before = checkpoint.fingerprint()
    assert list(before) == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert checkpoint.fingerprint() == before
    path = tmp_path / "m" / "model-00002-of-00003.safetensors"
    save_file({"norm": ARRAYS["norm"].astype(np.float64)}, path)
    after = checkpoint.fingerprint()
    changed = [name for name in before if before[name] != after[name]]
    assert changed == [path.name]
    assert after[path.name].size_bytes == path.stat().st_size
    assert Checkpoint(ARRAYS).fingerprint() == {}


@pytest.mark.parametrize("kept_open", [1, 2, 16])
def test_many_threads_read_many_files_with_few_open(tmp_path, monkeypatch, kept_open):
    monkeypatch.setattr(folder, "_OPEN_FILES", kept_open)
    checkpoint = make("shards", tmp_path)
    assert list(checkpoint.specs)
    wrong = []

    def read_everything(seed):
        for name in np.random.default_rng(seed).choice(list(ARRAYS), 200).tolist():
            if read(checkpoint, name) != ARRAYS[name].tobytes():
                wrong.append(name)

    threads = [threading.Thread(target=read_everything, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(checkpoint._opened._open) == min(kept_open, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("org/name+o/lora@v1",),
            r"adapters are not supported yet: merge the adapter 'o/lora@v1' into its model first",
        ),
        (("./nowhere",), "'./nowhere': no such file or folder"),
        (({}, "v1"), "arrays in memory cannot have a revision"),
        ((".", "v1"), "'.' is a local path and cannot have a revision"),
    ],
)
def test_what_cannot_be_a_checkpoint_is_refused_at_once(arguments, message):
    with pytest.raises(InputError, match=message):
        Checkpoint(*arguments)


def test_a_path_object_is_never_a_hub_id(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        Checkpoint((tmp_path / "x").relative_to(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pytorch_model.bin", r"not a folder and not a .safetensors file; convert with transformers"),
        ("m.gguf", r"not a folder and not a .safetensors file; use the original checkpoint"),
    ],
)
def test_files_of_other_formats(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        _ = Checkpoint(str(tmp_path / name)).specs
