"""``smelt verify``: each way in which an output can differ from its provenance, by name."""

import hashlib
import json

import pytest

import smelt
import tiny
from smelt.errors import InputError

RECIPE = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n"
NORM = "model.norm.weight"


@pytest.fixture(autouse=True)
def merged(here):
    for seed, name in enumerate("ab"):
        tiny.save_llama(here / name, seed)
    smelt.merge(RECIPE, "out", max_shard_size="200")
    return here / "out"


def shards(folder):
    return sorted(folder.glob("*.safetensors"))


def rewrite(path, change):
    """Change a file's header as text, of the same length."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    text = change(content[8:end].decode()).encode()
    assert len(text) == end - 8
    path.write_bytes(content[:8] + text + content[end:])


def test_an_untouched_output(merged):
    found = smelt.verify("out")
    assert found.differences == ()
    assert found.non_finite == {}
    assert (found.files, found.tensors) == (len(list(merged.iterdir())) - 1, 9)


def test_missing_changed_and_extra_files(merged):
    (merged / "config.json").write_text("{}")
    (merged / "README.md").unlink()
    (merged / "notes.txt").write_text("mine")
    (merged / "folder").mkdir()
    (merged / ".gitattributes").write_text("passed over")
    recorded = json.loads((merged / "provenance.json").read_text())["subject"]
    was = next(s["digest"]["sha256"] for s in recorded if s["name"] == "config.json")
    assert smelt.verify(merged).differences == (
        "README.md: missing",
        "folder: extra: provenance.json does not name it",
        "notes.txt: extra: provenance.json does not name it",
        f"config.json: changed: its sha256 is {hashlib.sha256(b'{}').hexdigest()}, in provenance.json it is {was}",
    )


def test_a_value_that_changed(merged):
    path = shards(merged)[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (line,) = smelt.verify(merged).differences
    assert line.startswith(f"{path.name}: changed: its sha256 is {hashlib.sha256(content).hexdigest()}, ")


def test_values_that_became_nan(merged):
    path = shards(merged)[-1]
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    start, _ = header[NORM]["data_offsets"]
    content = bytearray(path.read_bytes())
    place = 8 + int.from_bytes(content[:8], "little") + start
    content[place : place + 4] = b"\xc0\x7f\x80\xff"  # NaN and minus infinity in bfloat16
    path.write_bytes(content)
    found = smelt.verify(merged)
    assert found.non_finite == {NORM: 2}
    assert found.differences[1:] == (f"tensor '{NORM}': 2 values are NaN or infinite; 0 were when it was written",)


def test_values_that_were_nan_already(here):
    base = tiny.llama(0)
    base[NORM][:3] = float("nan")
    tiny.save(here / "a", base, tiny.config())
    with pytest.warns(UserWarning, match="NaN or infinite"):
        smelt.merge("merge_method: passthrough\nmodels: [{model: a}]\nparameters: {scale: 2}\n", "with-nan")
    found = smelt.verify("with-nan")
    assert (found.differences, found.non_finite) == ((), {NORM: 3})


def test_a_header_that_is_not_sound(merged):
    path = shards(merged)[0]
    path.write_bytes(path.read_bytes()[:-10])
    lines = smelt.verify(merged).differences
    assert lines[0].startswith(f"{path.name}: changed: ")
    assert lines[1].startswith(f"{path.name}: truncated: 10 of ")


def test_another_shape(merged):
    rewrite(shards(merged)[0], lambda text: text.replace('"shape":[8,4]', '"shape":[4,8]', 1))
    lines = smelt.verify(merged).differences
    assert (
        lines[1]
        == "tensor 'model.embed_tokens.weight': is BF16 of shape [4, 8]; it was written as BF16 of shape [8, 4]"
    )


def test_another_name(merged):
    rewrite(shards(merged)[-1], lambda text: text.replace(f'"{NORM}"', '"model.morn.weight"'))
    last = shards(merged)[-1].name
    assert smelt.verify(merged).differences[1:] == (
        f"model.safetensors.index.json: tensor 'model.morn.weight' is in {last}; the index says 'None'",
        f"model.safetensors.index.json: tensor '{NORM}' is not in {last}",
        f"tensor '{NORM}': missing",
        "tensors that provenance.json does not name: 'model.morn.weight'",
    )


def test_an_index_that_says_something_else(merged):
    first, last = (path.name for path in shards(merged))
    path = merged / "model.safetensors.index.json"
    path.write_text(path.read_text().replace(f'"{NORM}": "{last}"', f'"{NORM}": "{first}"'))
    assert smelt.verify(merged).differences[1:] == (
        f"{path.name}: tensor '{NORM}' is in {last}; the index says '{first}'",
    )
    path.write_text('{"weight_map": {"x": "../../x"}}')
    assert "'../../x' is not the name of a file" in smelt.verify(merged).differences[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["subject"][0].update(name="../x"), "is not the name of a file beside it"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0\nall is well"), r"'0\nall is well'; it must be 64 hexa"),
        (lambda s: s["subject"].append(3), "subject[7].name must be text"),
        (lambda s: s.update(_type="x"), "_type is not 'https://in-toto.io/Statement/v1'"),
        (lambda s: s.update(predicate=[]), "predicate.buildDefinition.buildType must be text"),
        (
            lambda s: s["predicate"]["buildDefinition"].update(resolvedDependencies={}),
            "resolvedDependencies must be a list",
        ),
        (lambda s: s["predicate"]["runDetails"]["byproducts"][0]["annotations"].update(x=[1]), "must be a dtype and a"),
    ],
)
def test_a_provenance_that_is_none(merged, change, words):
    path = merged / "provenance.json"
    statement = json.loads(path.read_text())
    change(statement)
    path.write_text(json.dumps(statement))
    with pytest.raises(InputError) as caught:
        smelt.verify("out")
    assert words in str(caught.value)
    assert str(caught.value).startswith("out/provenance.json: ")


def test_nothing_to_verify(here):
    with pytest.raises(InputError, match=r"^nowhere: there is no such folder; name the output of a merge$"):
        smelt.verify("nowhere")
    with pytest.raises(InputError, match=r"^a: holds no provenance\.json, so nothing is known of it; merge it again"):
        smelt.verify("a")
    (here / "a" / "provenance.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"^a/provenance\.json: is not valid JSON"):
        smelt.verify("a")


def test_the_command(merged, smelt_command):
    answer = smelt_command("verify", "out")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "out: 7 files and 9 tensors, as provenance.json says\n"
    (merged / "README.md").unlink()
    answer = smelt_command("verify", "out")
    assert (answer.code, answer.err) == (1, "")
    assert answer.out == "out: README.md: missing\nout: 6 files and 9 tensors, 1 difference\n"
    shown = json.loads(smelt_command("verify", "out", "--json").out)
    assert shown == {
        "output": "out",
        "verified": False,
        "differences": ["README.md: missing"],
        "non_finite": {},
        "files": 6,
        "tensors": 9,
    }
    answer = smelt_command("verify", "a")
    assert (answer.code, answer.out) == (1, "")
    assert len(answer.err.splitlines()) == 1


def test_what_a_provenance_holds_stays_on_its_line(merged):
    path = merged / "provenance.json"
    statement = json.loads(path.read_text())
    statement["subject"] += [{"name": f"\x1b[2J{'x' * 900}", "digest": {"sha256": "0" * 64}}]
    statement["predicate"]["runDetails"]["byproducts"][0]["annotations"]["more"] = ["BF16\nall is well", [1]]
    tensors = statement["predicate"]["runDetails"]["byproducts"][0]["annotations"]
    tensors[NORM] = ["BF16\nall is well", tensors[NORM][1]]
    path.write_text(json.dumps(statement))
    lines = smelt.verify(merged).differences
    assert lines[0].startswith("\\x1b[2Jxxx")
    assert lines[0].endswith("xxx: missing")
    assert all(line.isprintable() and len(line) < 700 for line in lines)
    assert any(r"it was written as BF16\nall is well of shape" in line for line in lines)
