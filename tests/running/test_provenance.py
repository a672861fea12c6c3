"""``provenance.json``: the published structure, what it says of the output and its inputs, and what it must not say."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timezone

import jsonschema
import pytest
from safetensors import safe_open
from statement_schema import SCHEMA

import smelt
import tiny
from smelt.algebra.declare import find
from smelt.errors import RunError
from smelt.running import blas, inputs
from smelt.running.provenance import write_provenance

RECIPE = """
merge_method: ties
base_model: base
models: [{model: math, parameters: {weight: 0.5}}]
parameters: {density: 0.5, rescale: false}
seed: 3
"""


@pytest.fixture(autouse=True)
def models(here, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "caches"))
    for seed, name in enumerate(("base", "math")):
        tiny.save_llama(here / name, seed, files={"tokenizer.json": tiny.tokenizer(*"abcdefgh")})


def provenance(folder):
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def header_of(path):
    content = path.read_bytes()
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


@pytest.mark.parametrize("hash_inputs", [False, True])
def test_the_structure_is_the_published_one(here, hash_inputs):
    smelt.merge(RECIPE, "out", max_shard_size="200", hash_inputs=hash_inputs)
    jsonschema.validate(provenance(here / "out"), SCHEMA)


def test_the_subjects_are_all_other_files(here):
    smelt.merge(RECIPE, "out", max_shard_size="200")
    subjects = {s["name"]: s["digest"] for s in provenance(here / "out")["subject"]}
    files = sorted(path for path in (here / "out").iterdir() if path.name != "provenance.json")
    assert subjects == {path.name: {"sha256": sha256(path)} for path in files}
    assert {"config.json", "tokenizer.json", "README.md", "smelt_recipe.yml", "checksums.sha256"} < set(subjects)


def test_what_was_decided_and_by_what(here):
    plan = smelt.plan(RECIPE, max_shard_size="300")
    before = datetime.now(timezone.utc).replace(microsecond=0)
    smelt.run(plan, "out")
    predicate = provenance(here / "out")["predicate"]
    build, run = predicate["buildDefinition"], predicate["runDetails"]
    recipe = (here / "out" / "smelt_recipe.yml").read_text()
    assert build["externalParameters"] == {"recipe": recipe, "seed": 3, "maxShardBytes": 300}
    internal = build["internalParameters"]
    assert internal["planDigest"] == plan.digest
    assert internal["accuracyClass"] == "everywhere"
    assert "blas" not in internal
    assert internal["versions"]["smelt"] == run["builder"]["version"]["smelt"] == smelt.__version__
    assert internal["versions"]["numpy"] == tiny.np.__version__
    times = [datetime.fromisoformat(run["metadata"][key].replace("Z", "+00:00")) for key in ("startedOn", "finishedOn")]
    assert before <= times[0] <= times[1] <= datetime.now(timezone.utc)


def test_the_defaults_do_not_hang_on_how_the_recipe_was_written(here):
    smelt.merge(RECIPE, "out")
    build = provenance(here / "out")["predicate"]["buildDefinition"]
    settings = {s.name: s for s in find("ties").settings}
    (defaults,) = build["internalParameters"]["defaults"]
    assert (defaults["name"], defaults["method"]) == (None, "ties")
    assert {"weight", "density"}.isdisjoint(defaults["settings"])
    assert ("rescale" in defaults["settings"]) == (settings["rescale"].default is False)
    assert set(settings) - {"weight", "density", "rescale"} <= set(defaults["settings"])
    smelt.merge("out/smelt_recipe.yml", "again")
    assert provenance(here / "again")["predicate"]["buildDefinition"] == build


def test_the_inputs(here):
    smelt.merge(RECIPE, "out")
    found = {d["name"]: d for d in provenance(here / "out")["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert list(found) == ["base", "math"]
    for name, dependency in found.items():
        path = here / name / "model.safetensors"
        assert dependency["annotations"]["files"] == {
            "model.safetensors": {
                "sizeBytes": path.stat().st_size,
                "headerSha256": hashlib.sha256(header_of(path)).hexdigest(),
            }
        }
        specs = [[n, "BF16", list(a.shape)] for n, a in sorted(tiny.llama(0).items())]
        expected = hashlib.sha256(json.dumps(specs, separators=(",", ":")).encode()).hexdigest()
        assert dependency["digest"] == {"tensorSpecs": expected}


def test_contents_are_read_once_and_then_known(here, monkeypatch):
    def file(out):
        dependency = provenance(here / out)["predicate"]["buildDefinition"]["resolvedDependencies"][0]
        return dependency["annotations"]["files"]["model.safetensors"]

    smelt.merge(RECIPE, "out", hash_inputs=True)
    found = file("out")
    assert found["digest"] == {"sha256": sha256(here / "base" / "model.safetensors")}
    assert found["digestSource"] == "read"
    kept = list((here / "caches" / "smelt" / "contents").iterdir())
    assert len(kept) == 2
    assert str(here) not in "".join(path.name + path.read_text() for path in kept)

    read = []
    hash_content = inputs.hash_content
    monkeypatch.setattr(inputs, "hash_content", lambda path: (read.append(path.parent.name), hash_content(path))[1])
    smelt.merge(RECIPE, "again", hash_inputs=True)
    assert (read, file("again")) == ([], found)
    tiny.save_llama(here / "base", 5)
    smelt.merge(RECIPE, "changed", hash_inputs=True)
    assert read == ["base"]
    assert file("changed")["digest"] == {"sha256": sha256(here / "base" / "model.safetensors")}
    for path in kept:
        path.write_text("damaged")
    smelt.merge(RECIPE, "damaged", hash_inputs=True)
    assert read == ["base", "math"]


def test_a_content_that_changes_while_it_is_read(here, monkeypatch):
    def change(path):
        path.write_bytes(path.read_bytes() + b"x")
        return "0" * 64

    monkeypatch.setattr(inputs, "hash_content", change)
    with pytest.raises(RunError, match=r"model\.safetensors: has changed while it was read; plan and run again$"):
        smelt.merge(RECIPE, "out", hash_inputs=True)
    assert not (here / "out").exists()
    assert not (here / "caches" / "smelt" / "contents").exists()


def test_models_of_the_hub_by_commit_and_by_the_hubs_own_digests(here):
    commit, content = "c" * 40, (here / "math" / "model.safetensors").read_bytes()
    repository = here / "models--org--math"
    snapshot = repository / "snapshots" / commit
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (snapshot / "model.safetensors").symlink_to(blob)

    class OfTheHub(smelt.Checkpoint):
        repository = "org/math"
        commit = "c" * 40

    smelt.merge(smelt.methods.passthrough(OfTheHub(snapshot)), "out")
    (found,) = provenance(here / "out")["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert found == {
        "name": f"org/math@{commit}",
        "uri": f"pkg:huggingface/org/math@{commit}",
        "digest": {"gitCommit": commit},
        "annotations": {
            "files": {
                "model.safetensors": {
                    "sizeBytes": len(content),
                    "headerSha256": hashlib.sha256(header_of(blob)).hexdigest(),
                    "digest": {"sha256": blob.name},
                    "digestSource": "as named by the hub",
                }
            }
        },
    }


def test_arrays_in_memory(here):
    checkpoint = smelt.Checkpoint(tiny.llama(0))
    smelt.merge(smelt.methods.passthrough(checkpoint), "out")
    jsonschema.validate(provenance(here / "out"), SCHEMA)
    (found,) = provenance(here / "out")["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert (found["name"], found["annotations"]) == ("arrays in memory", {"files": {}})


def test_only_the_times_differ_from_run_to_run(here):
    smelt.merge(RECIPE, "one", threads=1, max_shard_size="200")
    smelt.merge(RECIPE, "two", threads=3, max_shard_size="200")
    assert tiny.contents("one") == tiny.contents("two")
    assert (here / "one" / "provenance.json").read_text().count('On": "') == 2


def test_no_path_of_this_machine(here):
    text = RECIPE.replace("base_model: base", f"base_model: {here}/base").replace(
        "model: math", f"model: '{here}/math'"
    )
    smelt.merge(text, here / "out", hash_inputs=True)
    for path in (here / "out").iterdir():
        assert str(here).encode() not in path.read_bytes(), path.name
        assert here.name.encode() not in path.read_bytes(), path.name


def test_the_short_form_in_every_header(here):
    plan = smelt.plan(RECIPE, max_shard_size="200")
    smelt.run(plan, "out")
    paths = sorted((here / "out").glob("*.safetensors"))
    assert len(paths) == 2
    for path in paths:
        with safe_open(path, "np") as file:
            assert file.metadata() == {
                "format": "pt",
                "smelt.recipe": (here / "out" / "smelt_recipe.yml").read_text(),
                "smelt.plan_digest": plan.digest,
                "smelt.version": smelt.__version__,
            }


def test_byproducts(here):
    base = tiny.llama(0)
    base["model.norm.weight"][2] = float("inf")
    tiny.save(here / "base", base, tiny.config())
    with pytest.warns(UserWarning, match="NaN or infinite"):
        smelt.merge("merge_method: passthrough\nmodels: [{model: base}]\nparameters: {scale: 2}\n", "out")
    found = {b["name"]: b for b in provenance(here / "out")["predicate"]["runDetails"]["byproducts"]}
    assert found["tensors"]["annotations"] == {name: ["BF16", list(array.shape)] for name, array in base.items()}
    assert found["non-finite values"]["annotations"] == {"model.norm.weight": {"inputs": [1], "output": 1}}
    for byproduct in found.values():
        text = json.dumps(byproduct["annotations"], sort_keys=True, separators=(",", ":"))
        assert byproduct["digest"] == {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def test_a_method_that_is_exact_on_one_machine_alone_names_the_machine(here):
    plan = smelt.plan(RECIPE)
    document = plan.recipe.result
    document = replace(document, method=replace(document.method, exact="machine"))
    plan = replace(plan, recipe=replace(plan.recipe, documents=(document,)))
    (here / "empty").mkdir()
    write_provenance(plan, here / "empty", {"x": "0" * 64}, datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc))
    found = provenance(here / "empty")
    jsonschema.validate(found, SCHEMA)
    internal = found["predicate"]["buildDefinition"]["internalParameters"]
    assert internal["accuracyClass"] == "machine"
    assert sorted(internal["blas"]) == ["core", "name", "version"]
    built = tiny.np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    assert (internal["blas"]["name"], internal["blas"]["version"]) == (built["name"], built["version"])
    assert found["predicate"]["runDetails"]["metadata"]["startedOn"] == "2030-01-02T03:04:05Z"


def test_a_library_that_cannot_be_loaded_is_not_known(here, monkeypatch):
    (here / "numpy.libs").mkdir()
    (here / "numpy.libs" / "libopenblas.so").write_text("for another machine")
    monkeypatch.setattr(blas.np, "__file__", str(here / "numpy" / "__init__.py"))
    assert blas.describe_blas()["core"] == "unknown"
