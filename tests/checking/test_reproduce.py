"""``smelt reproduce``: the inputs found or asked for, checked, the merge run again, and the first difference named."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

import smelt
import tiny
from smelt.checking import reproduce as reproducing
from smelt.errors import InputError
from smelt.tensors.platform import open_locked

RECIPE = """
merge_method: dare_ties
base_model: a
models: [{model: b, parameters: {weight: 0.5, density: 0.6}}]
dtype: float32
out_dtype: bfloat16
seed: 4
"""
NORM = "model.norm.weight"


@pytest.fixture(autouse=True)
def merged(here, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "caches"))
    for seed, name in enumerate("ab"):
        tiny.save_llama(here / name, seed, files={"tokenizer.json": tiny.tokenizer(*"abcdefgh")})
    smelt.merge(RECIPE, "out", max_shard_size="200")
    return here / "out"


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_an_untouched_output(here):
    before = sorted(here.rglob("*"))
    found = smelt.reproduce("out", threads=1)
    assert found.differences == found.circumstances == ()
    assert found.promise == "identical on every machine"
    assert (found.files, found.tensors) == (8, 9)
    assert sorted(here.rglob("*")) == before


def test_the_new_output_may_stay(here, merged):
    smelt.reproduce("out", "kept")
    for path in merged.iterdir():
        if path.name != "provenance.json":
            assert (here / "kept" / path.name).read_bytes() == path.read_bytes()
    for into, words in (("kept", "kept: exists; choose another"), ("out", "out: is the output itself; name another")):
        with pytest.raises(InputError, match=words):
            smelt.reproduce("out", into)


def test_the_first_tensor_that_differs(merged):
    paths = sorted(merged.glob("*.safetensors"))
    content = paths[0].read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    names = [name for name in header if name != "__metadata__"]
    start = len(content) - header[names[-1]]["data_offsets"][1]
    for name, element in ((names[1], 3), (names[2], 0)):
        flip(paths[0], start + header[name]["data_offsets"][0] + 2 * element)
    assert smelt.reproduce("out").differences == (
        f"{paths[0].name}: tensor '{names[1]}' differs from element 3 on (2 of {len(names)} tensors differ)",
    )


def test_other_files_that_differ(merged):
    text = (merged / "README.md").read_text()
    (merged / "README.md").write_text("###" + text)
    (merged / "config.json").unlink()
    (merged / "smelt_recipe.yml").write_text((merged / "smelt_recipe.yml").read_text() + "# more\n")
    size = len((merged / "smelt_recipe.yml").read_text()) - len("# more\n")
    assert smelt.reproduce("out").differences == (
        "README.md: differs from byte 0 on",
        "config.json: missing",
        f"smelt_recipe.yml: differs from byte {size} on",
    )


def test_another_smelt_wrote_other_metadata_and_the_same_tensors(merged, monkeypatch):
    monkeypatch.setattr("smelt.planning.planner.__version__", "9.0.0")
    monkeypatch.setattr("smelt.running.provenance.__version__", "9.0.0")
    found = smelt.reproduce("out")
    assert found.circumstances == (f"smelt is 9.0.0; it was {smelt.__version__}",)
    paths = sorted(merged.glob("*.safetensors"))
    assert found.differences == (
        *(f"{path.name}: the metadata 'smelt.version' differ" for path in paths),
        "checksums.sha256: differs from byte " + found.differences[-1].split("byte ")[1],
    )


def test_models_that_were_moved(here, monkeypatch):
    (here / "else" / "where").mkdir(parents=True)
    shutil.move(here / "a", here / "else" / "where" / "original")
    with pytest.raises(InputError) as caught:
        smelt.reproduce("out")
    assert str(caught.value) == (
        "smelt_recipe.yml:2: 'a': not found beside out or in the working directory; say where it is: --map 'a=FOLDER'"
    )
    assert smelt.reproduce("out", moved=["a=else/where/original"]).differences == ()
    shutil.move(here / "out", here / "else" / "out")
    assert (
        smelt.reproduce("else/out", moved=["a=else/where/original"]).differences == ()
    )  # b is in the working directory
    with pytest.raises(
        InputError, match=r"^--map c=x: must be OLD=NEW, with OLD one of the models of the output: a, b"
    ):
        smelt.reproduce("else/out", moved=["c=x"])


def test_a_model_named_by_an_absolute_path_is_found_by_its_last_part(here):
    smelt.merge(RECIPE.replace("model: b,", f"model: '{here}/b',"), "absolute")
    assert smelt.reproduce("absolute").differences == ()


def test_another_model_of_that_name(here):
    tiny.save_llama(here / "b", 5)
    found = smelt.reproduce("out")  # of the content nothing was recorded, so it shows in the result
    assert "tensor 'model.embed_tokens.weight' differs from element " in found.differences[0]
    tiny.save_llama(here / "b", 5, layers=3)
    with pytest.raises(InputError) as caught:
        smelt.reproduce("out")
    assert "'b': is not the model that was merged: its tensors have other names, dtypes or shapes" in str(caught.value)
    assert str(caught.value).endswith("; say where that one is: --map 'b=FOLDER'")
    arrays = tiny.llama(1)
    tiny.save(here / "b", dict(reversed(arrays.items())), tiny.config())
    with pytest.raises(
        InputError, match=r"model\.safetensors has \d+ bytes and a header \w{16}…; it had \d+ bytes and"
    ):
        smelt.reproduce("out")


def test_contents_are_checked_where_they_are_recorded(here):
    smelt.merge(RECIPE, "hashed", hash_inputs=True)
    assert smelt.reproduce("hashed").differences == ()
    tiny.save_llama(here / "b", 5)
    with pytest.raises(
        InputError, match=r"'b': is not the model that was merged: model\.safetensors has the sha256 \w+;"
    ):
        smelt.reproduce("hashed")


def test_two_models_of_one_place_stay_two(here):
    shutil.copytree(here / "a", here / "c")
    smelt.merge("merge_method: linear\nmodels: [{model: a}, {model: c}]\nparameters: {weight: [0.2, 0.9]}\n", "twice")
    shutil.rmtree(here / "c")
    assert smelt.reproduce("twice", moved=["c=a"]).differences == ()


def test_arrays_in_memory_are_found_where_they_were_written_down(here):
    arrays = smelt.Checkpoint(tiny.llama(1))
    smelt.merge(smelt.methods.slerp("a", arrays, t=0.3), "mixed")
    with pytest.raises(InputError, match=r"'arrays in memory': not found .* --map 'arrays in memory=FOLDER'"):
        smelt.reproduce("mixed")
    found = smelt.reproduce("mixed", moved=["arrays in memory=b"])
    assert [line for line in found.differences if "safetensors" in line] == []


HUB = """
merge_method: linear
models: [{model: org/one}, {model: org/two}]
parameters: {weight: 0.5}
"""


def fill_cache(home):
    for seed, name in enumerate(("one", "two")):
        repository = home / "hub" / f"models--org--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(name[0] * 40)
        tiny.save_llama(repository / "snapshots" / (name[0] * 40), seed)


def test_models_of_the_hub_by_commit_or_from_a_folder(here):
    fill_cache(here / "home")
    (here / "recipe.yml").write_text(HUB)
    environment = {**os.environ, "HF_HOME": str(here / "home"), "HF_HUB_OFFLINE": "1"}

    def command(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "smelt.cli", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    assert command("merge", "recipe.yml", "merged")[0] == 0
    (here / "home/hub/models--org--one/refs/main").write_text("9" * 40)  # main has moved on
    assert command("reproduce", "merged")[0] == 0
    shutil.move(here / "home/hub/models--org--two/snapshots" / ("t" * 40), here / "copy")
    code, shown = command("reproduce", "merged")
    assert (code, len(shown.splitlines())) == (1, 1)
    assert f"org/two@{'t' * 40}: not (completely) in the cache" in shown
    for old in ("org/two", f"org/two@{'t' * 40}"):
        code, shown = command("reproduce", "merged", "--map", f"{old}=copy")
        assert (code, shown) == (0, "merged: 5 files and 9 tensors, identical; promised: identical on every machine\n")


def test_the_promise_of_methods_that_are_exact_on_one_machine(merged, monkeypatch):
    path = merged / "provenance.json"
    statement = json.loads(path.read_text())
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    internal |= {"accuracyClass": "machine", "blas": {"name": "mkl", "version": "1", "core": "x"}}
    path.write_text(json.dumps(statement))
    here_blas = {"name": "openblas", "version": "2", "core": "y"}
    real = reproducing.read_record

    def as_if_machine(folder):
        record = real(folder)
        return record if folder == merged else replace(record, accuracy="machine", blas=here_blas)

    monkeypatch.setattr(reproducing, "read_record", as_if_machine)
    found = smelt.reproduce(merged)
    assert found.promise == "identical for the same BLAS build and processor core type"
    assert found.circumstances == ("the BLAS is openblas 2 y; it was mkl 1 x, so the promise says nothing here",)


def test_the_command(merged, smelt_command):
    answer = smelt_command("reproduce", "out", "--threads", 1)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "out: 8 files and 9 tensors, identical; promised: identical on every machine\n"
    (merged / "README.md").unlink()
    answer = smelt_command("reproduce", "out")
    assert (answer.code, answer.err) == (1, "")
    assert answer.out == (
        "out: README.md: missing\nout: 8 files and 9 tensors, 1 difference; promised: identical on every machine\n"
    )
    shown = json.loads(smelt_command("reproduce", "out", "--json", "--map", "a=a", "--map", "b=b").out)
    assert (shown["identical"], shown["differences"]) == (False, ["README.md: missing"])
    answer = smelt_command("reproduce", "out", "--map", "x")
    assert (answer.code, answer.out) == (1, "")


def test_what_a_killed_one_left_is_replaced(here):
    again = here / "out.again"
    (again / "out.partial").mkdir(parents=True)
    (again / "out.partial" / "config.json").write_text("{}")
    (again / "out.partial.journal").write_text("half a line")
    with pytest.raises(
        InputError, match=r"out\.again: exists, and was not written by 'smelt reproduce'; name a folder"
    ):
        smelt.reproduce("out")
    assert (again / "out.partial" / "config.json").exists()
    (again / ".smelt-reproduce").touch()
    running = pytest.raises(InputError, match=r"out\.again: 'smelt reproduce' is running already")
    with open_locked(again / ".smelt-reproduce"), running:
        smelt.reproduce("out")
    assert smelt.reproduce("out").differences == ()
    assert not again.exists()


def test_a_core_type_that_nobody_knows_is_not_the_same(merged, monkeypatch):
    unknown = {"name": "accelerate", "version": "unknown", "core": "unknown"}
    real = reproducing.read_record
    monkeypatch.setattr(
        reproducing, "read_record", lambda folder: replace(real(folder), accuracy="machine", blas=unknown)
    )
    (line,) = smelt.reproduce(merged).circumstances
    assert line.endswith("whether what is unknown is the same too cannot be told")
