"""Models of the hub, from a cache and without a network: planned, merged, and pinned in what is written."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

import smelt
import tiny
from smelt.errors import InputError, RunError
from smelt.running import sinks

COMMITS = {"org/base": "a" * 40, "org/tuned": "b" * 40}
RECIPE = """
name: doubled
merge_method: task_arithmetic
base_model: org/base
models: [{model: org/tuned@main}]
parameters: {weight: 2}
---
merge_method: linear
models: [{model: doubled}, {model: {model: org/base, revision: main}}, {model: local}]
parameters: {weight: 1, normalize: false}
dtype: float32
"""


def fill_cache(home):
    """Write what huggingface_hub leaves behind after it downloaded two models."""
    for seed, (name, commit) in enumerate(COMMITS.items()):
        repository = home / "hub" / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
        tiny.save_llama(repository / "snapshots" / commit, seed, files={"tokenizer.json": tiny.tokenizer(*"abcdefgh")})


def command(here, *arguments):
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"HF_HOME": str(here / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "smelt.cli", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_merge_from_the_cache(here):
    fill_cache(here / "cache")
    tiny.save_llama(here / "local", 2)
    (here / "recipe.yml").write_text(RECIPE)
    code, shown, errors = command(here, "plan", "recipe.yml", "--json")
    assert (code, errors) == (0, "")
    plan = json.loads(shown)
    assert plan["checkpoints"] == [
        *({"name": name, "repository": name, "commit": commit} for name, commit in COMMITS.items()),
        {"name": "local", "repository": None, "commit": None},
    ]
    code, shown, errors = command(here, "merge", "recipe.yml", "out")
    assert (code, shown) == (0, f"out: 9 tensors, plan digest {plan['digest'][:16]}\n")
    (note,) = errors.splitlines()
    assert note.startswith("note: the licence of org/base, org/tuned and local is not known")

    first, second = yaml.safe_load_all((here / "out" / "smelt_recipe.yml").read_text())
    assert first["base_model"] == f"org/base@{'a' * 40}"
    assert [source["model"] for source in first["models"]] == [f"org/tuned@{'b' * 40}"]
    assert [source["model"] for source in second["models"]] == ["doubled", f"org/base@{'a' * 40}", "local"]
    card = ModelCard.load(here / "out" / "README.md")
    assert card.data.base_model == ["org/base", "org/tuned"]
    assert card.data.to_dict()["base_model_relation"] == "merge"
    assert f"- `org/base` at `{'a' * 40}`, licence: none\n" in card.text
    assert "tokenizer.json" in os.listdir(here / "out")

    base, tuned, local = (tiny.llama(seed) for seed in range(3))
    for name, merged in tiny.read(here / "out").items():
        a, b, c = (model[name].astype("f8") for model in (base, tuned, local))
        np.testing.assert_allclose(merged, a + 2 * (b - a) + a + c, rtol=1e-5, atol=1e-6)

    code, shown, _ = command(here, "plan", "out/smelt_recipe.yml", "--json")
    assert json.loads(shown)["digest"] == plan["digest"]


def test_what_is_not_in_the_cache(here):
    fill_cache(here / "cache")
    (here / "recipe.yml").write_text(RECIPE.replace("model: local", "model: dubled"))
    code, shown, errors = command(here, "merge", "recipe.yml", "out")
    assert (code, shown) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith("smelt: recipe.yml:9: dubled: not (completely) in the cache, and HF_HUB_OFFLINE is set; ")
    assert line.endswith(" (documents of this recipe: doubled; did you mean 'doubled'?)")
    assert sorted(path.name for path in here.iterdir()) == ["cache", "recipe.yml"]


def test_a_run_carries_on_after_a_file_was_downloaded_again(here, monkeypatch):
    tiny.save_llama(here / "a", 0)
    tiny.save_llama(here / "b", 1)
    weights = here / "a" / "model.safetensors"
    content = weights.read_bytes()
    blobs = [here / "blobs" / name for name in (hashlib.sha256(content).hexdigest(), "0" * 64)]
    blobs[0].parent.mkdir()

    class OfTheHub(smelt.Checkpoint):
        repository = "org/a"
        commit = "c" * 40

    def merge_with(blob):
        blob.unlink(missing_ok=True)
        blob.write_bytes(content)
        os.utime(blob, ns=(next(moments), next(moments)))
        weights.unlink()
        weights.symlink_to(blob)
        smelt.merge(smelt.methods.slerp(OfTheHub(here / "a"), "b", t=0.3), "out", threads=1)

    def write_some(self, *arguments):
        if next(left, None) is None:
            raise RunError("stopped")
        write(self, *arguments)

    moments, left, write = iter(range(9)), iter(range(3)), sinks.FileSink.write
    with monkeypatch.context() as patch:
        patch.setattr(sinks.FileSink, "write", write_some)
        with pytest.raises(RunError, match="stopped"):
            merge_with(blobs[0])
    with pytest.raises(InputError, match=r"is not the same any more \(model\.safetensors\)"):
        merge_with(blobs[1])
    merge_with(blobs[0])
    assert smelt.verify("out").differences == ()
