"""The safetensors library is the oracle for files that smelt reads and writes."""

import hashlib
import json

import ml_dtypes
import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from smelt.errors import InputError, RunError
from smelt.tensors.dtypes import DTYPES, dtype_named
from smelt.tensors.safetensors import build_header, measure_header, parse_header, read_header
from smelt.tensors.spec import TensorSpec


def write(path, table, data=b"", length=None):
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_a_spec_counts_elements_and_bytes():
    bf16 = dtype_named("BF16")
    assert TensorSpec("w", (3, 4), bf16).elements == 12
    assert TensorSpec("w", (3, 4), bf16).size_bytes == 24
    assert TensorSpec("scalar", (), bf16).size_bytes == 2
    assert TensorSpec("empty", (0, 5), bf16).size_bytes == 0


def test_reads_what_the_library_writes(tmp_path):
    arrays = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.arange(4, dtype=ml_dtypes.bfloat16),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float16),
        "ü \n name": np.array([True]),
    }
    path = tmp_path / "m.safetensors"
    save_file(arrays, path, metadata={"format": "pt"})
    header = read_header(path, "m")
    content = path.read_bytes()
    assert header.metadata == {"format": "pt"}
    assert {n: t.spec.shape for n, t in header.tensors.items()} == {n: a.shape for n, a in arrays.items()}
    starts = [t.start for t in header.tensors.values()]
    assert starts == sorted(starts)
    for name, stored in header.tensors.items():
        data = content[header.data_start + stored.start : header.data_start + stored.end]
        assert stored.spec.dtype.array == arrays[name].dtype
        assert data == arrays[name].tobytes()
    assert header.sha256 == hashlib.sha256(content[8 : header.data_start]).hexdigest()


def test_the_library_reads_what_smelt_writes(tmp_path):
    rng = np.random.default_rng(1)
    specs = [TensorSpec(f"t.{d.name} é", (3, 2), d) for d in DTYPES] + [TensorSpec("scalar", (), DTYPES[1])]
    specs.append(TensorSpec("empty", (4, 0), DTYPES[1]))
    data = [rng.integers(0, 2, spec.size_bytes, dtype=np.uint8).tobytes() for spec in specs]
    header = build_header(specs, {"format": "pt"})
    assert len(header) % 8 == 0
    path = tmp_path / "m.safetensors"
    path.write_bytes(header + b"".join(data))
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert sorted(file.keys()) == sorted(spec.name for spec in specs)
    loaded = dict(safetensors.deserialize(path.read_bytes()))
    for spec, expected in zip(specs, data, strict=True):
        assert loaded[spec.name]["dtype"] == spec.dtype.name
        assert tuple(loaded[spec.name]["shape"]) == spec.shape
        assert bytes(loaded[spec.name]["data"]) == expected
    assert [t.spec for t in read_header(path, "m").tensors.values()] == specs


def test_a_header_without_tensors_is_sound(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(build_header([], {}))
    assert load_file(path) == {}
    assert read_header(path, "m").tensors == {}


@pytest.mark.parametrize(
    ("table", "data", "message"),
    [
        (b"{", b"", "the header is not valid: Expecting"),
        (b"\xff\xfe{}", b"", "the header is not valid: 'utf-8'"),
        (b"[" * 50_000, b"", "the header is not valid"),
        (b"[1]", b"", "must be a JSON object, not list"),
        (b'{"a": 1, "a": 2}', b"", "'a' stands in it twice"),
        (b'{"\\ud800": 1}', b"", "the header is not valid: 'utf-8'"),
        (b'{"a": ' + b"9" * 5000 + b"}", b"", "the header is not valid|the header must give"),
        ({"__metadata__": {"a": 1}}, b"", "__metadata__ must map text to text"),
        ({"__metadata__": 3}, b"", "__metadata__ must map text to text"),
        ({"w": 3}, b"", "tensor 'w': the header must give its dtype, shape and data_offsets"),
        ({"w": entry(dtype=4)}, bytes(8), "tensor 'w': the header must give its dtype"),
        ({"w": entry(dtype="F\n")}, bytes(8), "tensor 'w': the header must give its dtype"),
        ({"w": entry(dtype="F33")}, bytes(8), "tensor 'w': unknown dtype 'F33'"),
        ({"w": entry(shape=(-1,))}, bytes(8), "tensor 'w': its shape must be"),
        ({"w": entry(shape=(2.0,))}, bytes(8), "tensor 'w': its shape must be"),
        ({"w": entry(shape=(True,))}, bytes(8), "tensor 'w': its shape must be"),
        ({"w": entry(shape=(1,) * 65)}, bytes(8), "tensor 'w': its shape must be"),
        ({"w": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}, bytes(8), "tensor 'w': its shape must be"),
        ({"w": entry(offsets=(0, 4, 8))}, bytes(8), "tensor 'w': its data_offsets must be"),
        ({"w": entry(offsets=(-8, 0))}, bytes(8), "tensor 'w': its data_offsets must be"),
        ({"w": entry(offsets=(8, 0))}, bytes(8), r"offsets \[8, 0\] span -8 bytes; F32 of shape \[2\] takes 8"),
        ({"w": entry(offsets=(0, 4))}, bytes(8), r"span 4 bytes; F32 of shape \[2\] takes 8"),
        ({"w": entry(offsets=(4, 12))}, bytes(12), "tensor 'w' leaves a hole before it: it starts at 4, not at 0"),
        ({"w": entry(), "v": entry(offsets=(4, 12))}, bytes(12), "tensor 'v' overlaps the tensor before it"),
        ({"w": entry()}, bytes(5), "truncated: 3 of 8 bytes of data are missing"),
        ({"w": entry()}, bytes(9), "1 bytes follow the last tensor"),
    ],
)
def test_an_unsound_header_is_refused_in_one_line(tmp_path, table, data, message):
    path = write(tmp_path / "m.safetensors", table, data)
    with pytest.raises(InputError, match=f"^here/m: .*({message})") as caught:
        read_header(path, "here/m")
    assert "\n" not in str(caught.value)
    with pytest.raises(safetensors.SafetensorError):
        load_file(path)


def test_a_tensor_name_with_a_line_break_leaves_the_message_one_line(tmp_path):
    path = write(tmp_path / "m.safetensors", {"a\nb": 1})
    with pytest.raises(InputError, match=r"tensor 'a\\nb'"):
        read_header(path, "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes long; a safetensors file has at least 8"),
        (b"1234567", "7 bytes long"),
        ((100_000_001).to_bytes(8, "little"), "not a safetensors file"),
        (b"\xff" * 20, "not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer.*git lfs pull"),
        ((10).to_bytes(8, "little") + b"{}", "truncated: 8 bytes of the header of 10 bytes are missing"),
    ],
)
def test_what_cannot_be_a_header_is_refused(tmp_path, content, message):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^m: .*{message}"):
        read_header(path, "m")


def test_a_file_that_cannot_be_opened_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"^m: cannot be opened: No such file"):
        read_header(tmp_path / "m.safetensors", "m")


SOUND = json.dumps(
    {
        "__metadata__": {"format": "pt"},
        "a": entry(),
        "b": entry("BF16", (2, 2), (8, 16)),
        "c": entry("I8", (), (16, 17)),
    }
).encode()
SOUND_FILE = len(SOUND).to_bytes(8, "little") + SOUND + bytes(17)
EDITS = st.lists(
    st.tuples(st.integers(0, len(SOUND_FILE) - 1), st.integers(0, 2), st.binary(max_size=6) | st.just(b'"\\ud800"')),
    max_size=4,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["F32", "BF16"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = VALUES | st.fixed_dictionaries({"dtype": VALUES, "shape": VALUES, "data_offsets": VALUES})


def read_or_refuse(content):
    message = ""
    try:
        length = measure_header(content[:8], "m", len(content))
        parse_header(content[8 : 8 + length], "m", len(content))
    except (InputError, RunError) as error:
        message = str(error)
    assert message.isprintable()


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(EDITS, st.integers(0, len(SOUND_FILE)))
def test_a_file_with_changed_bytes_is_read_or_refused(edits, cut):
    content = SOUND_FILE
    for position, removed, inserted in edits:
        content = content[:position] + inserted + content[position + removed :]
    read_or_refuse(content)
    read_or_refuse(content[:cut])


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=3) | st.just("__metadata__"), ENTRIES, max_size=3), st.integers(0, 20))
def test_a_header_with_any_json_is_read_or_refused(table, data_bytes):
    text = json.dumps(table).encode()
    read_or_refuse(len(text).to_bytes(8, "little") + text + bytes(data_bytes))
