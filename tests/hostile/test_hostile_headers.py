"""Safetensors files that break the format's rules or are made to hurt; the wording of most is in test_safetensors."""

import json
import os
import tracemalloc

import pytest
from refusals import RECIPE, check_message, refuse, write_models, write_weights

from smelt.errors import InputError
from smelt.tensors.safetensors import parse_header


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


LONG = "n" * 1_000_000
DEEP = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
CASES = {
    "empty file": (None, b"", "0 bytes long"),
    "header over the bound": (None, (2**62).to_bytes(8, "little") + bytes(100), "not a safetensors file"),
    "header beyond the file": (None, (5000).to_bytes(8, "little") + b"{}", "truncated: 4998 bytes of the header"),
    "empty header": (b"", b"", "the header is not valid"),
    "blank before the brace": (b" {}", b"", "the header is not valid: it must begin with '{'"),
    "text after the object": (b"{}x", b"", "the header is not valid: Extra data"),
    "not UTF-8": (b'{"\xff": 1}', b"", "the header is not valid: 'utf-8' codec"),
    "half a surrogate pair": (b'{"a\\uD800": {}}', b"", "the header is not valid: 'utf-8' codec"),
    "surrogate in the metadata": (b'{"__metadata__": {"a": "\\udfff"}}', b"", "the header is not valid: 'utf-8' codec"),
    "list": ([], b"", "must be a JSON object, not list"),
    "null": (None, b"\x04\0\0\0\0\0\0\0null", "must be a JSON object, not NoneType"),
    "deep": (DEEP, b"", "the header is not valid: it is nested too deeply"),
    "duplicate name": (b'{"a": {}, "b": {}, "a": {}}', b"", "the header is not valid: 'a' stands in it twice"),
    "duplicate key": (b'{"a": {"dtype": "F32", "dtype": "F32"}}', b"", "'dtype' stands in it twice"),
    "NaN": (b'{"a": {"dtype": NaN}}', b"", "the header is not valid: NaN is no number of JSON"),
    "Infinity": (b'{"a": {"shape": [-Infinity]}}', b"", "the header is not valid: -Infinity is no number of JSON"),
    "digits": (b'{"a": ' + b"9" * 100_000 + b"}", b"", "the header is not valid: Exceeds the limit"),
    "control character": (b'{"a\n": {}}', b"", "the header is not valid: Invalid control character"),
    "metadata as text": ({"__metadata__": "pt"}, b"", "__metadata__ must map text to text"),
    "metadata of numbers": ({"__metadata__": {"a": 1.5}}, b"", "__metadata__ must map text to text"),
    "metadata as null": ({"__metadata__": None}, b"", "__metadata__ must map text to text"),
    "escape sequence": ({"\x1b[2J\u202e": 1}, b"", r"tensor '\x1b[2J\u202e': the header must give"),
    "long name": ({LONG: entry()}, bytes(8), "its name has 1000000 characters; at most 256 are read"),
    "long dtype": ({"a": entry(dtype=LONG)}, bytes(8), "the header must give its dtype"),
    "unknown dtype": ({"a": entry(dtype="C64")}, bytes(8), "unknown dtype 'C64'"),
    "float shape": ({"a": entry(shape=(2e0,))}, bytes(8), "its shape must be a list"),
    "float offsets": ({"a": entry(offsets=(0.0, 8.0))}, bytes(8), "its data_offsets must be two whole numbers"),
    "shape beyond 2^63": ({"a": entry(shape=(2**63,))}, bytes(8), "its shape must be a list"),
    "product beyond 2^63": ({"a": entry(shape=(2**31, 2**31, 2))}, bytes(8), "takes more bytes than any file has"),
    "product of many": ({"a": entry(shape=(2**62,) * 64)}, bytes(8), "takes more bytes than any file has"),
    "product that wraps to 8": ({"a": entry(shape=(2**32, 2**32 + 2))}, bytes(8), "takes more bytes than any"),
    "wrong size": ({"a": entry(shape=(3,))}, bytes(8), "span 8 bytes; F32 of shape [3] takes 12"),
    "wrong size, many dimensions": ({"a": entry(shape=(1,) * 60)}, bytes(8), "1, … (60 dimensions)] takes 4"),
    "overlap": ({"a": entry(), "b": entry()}, bytes(8), "tensor 'b' overlaps the tensor before it"),
    "hole": ({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20), "tensor 'b' leaves a hole before it"),
    "hole at the start": ({"a": entry(offsets=(8, 16))}, bytes(16), "tensor 'a' leaves a hole before it"),
    "end before start": ({"a": entry(offsets=(8, 0))}, bytes(8), "span -8 bytes"),
    "out of the file": ({"a": entry(shape=(2**40,), offsets=(0, 2**42))}, bytes(8), "truncated: 4398046511096 of"),
    "bytes after the last tensor": ({"a": entry()}, bytes(9), "1 bytes follow the last tensor"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_names_file_and_fault(name, here, smelt_command):
    table, data, fault = CASES[name]
    write_models(here)
    path = here / "b" / "model.safetensors"
    if table is None:
        path.write_bytes(data)
    else:
        write_weights(path, table, data)
    (here / "recipe.yml").write_text(RECIPE)
    message = refuse()
    assert "b/model.safetensors: " in message
    assert fault in message
    answer = smelt_command("merge", "recipe.yml", "out")
    assert answer.code == 1
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1
    assert sorted(os.listdir(here)) == ["a", "b", "recipe.yml"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": [' + b"[]," * 20_000_000 + b"[]]}",
        b'{"a": [' + b"{}," * 20_000_000 + b"{}]}",
        b'{"a": "' + b"," * 60_000_000 + b'"}',
        b'{"a": [' + b"0," * 20_000_000 + b"0]}",
    ],
    ids=["lists", "objects", "marks in text", "numbers"],
)
def test_sixty_megabytes_of_values_take_no_memory(content):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="the header is not valid: it has more than 3,000,000 values"):
            parse_header(content, "m", 2**40)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000  # the text once more, as str
    finally:
        tracemalloc.stop()


def test_two_hundred_thousand_names_and_one_of_them_twice_take_no_time():
    names = [f'"{number}":0' for number in range(200_000)]
    content = ("{" + ",".join([*names, '"199999":0']) + "}").encode()
    with pytest.raises(InputError, match="'199999' stands in it twice"):
        parse_header(content, "m", 2**40)


def test_a_pipe_with_the_name_of_weights_is_not_waited_for(here):
    write_models(here)
    os.mkfifo(here / "w.safetensors")
    assert "w.safetensors: neither a folder nor a file" in refuse(RECIPE.replace("model: b", "model: w.safetensors"))
    (here / "b" / "model.safetensors").unlink()
    os.mkfifo(here / "b" / "model.safetensors")
    assert "b: no weights" in refuse()


def test_thirty_thousand_tensors_are_no_attack():
    table = {f"model.layers.{n}.w": entry(offsets=(8 * n, 8 * n + 8)) for n in range(30_000)}
    header = parse_header(json.dumps(table).encode(), "m", 8 + len(json.dumps(table)) + 240_000)
    assert len(header.tensors) == 30_000


def test_a_message_about_many_faulty_dimensions_is_short():
    table = {"a": entry(shape=(2**50, *[1] * 63), offsets=(2**61, 2**62))}
    with pytest.raises(InputError) as caught:
        parse_header(json.dumps(table).encode(), "m", 2**40)
    check_message(caught.value)
