"""The Python API: the verbs of the command line, on folders and on arrays in memory."""

import subprocess
import sys

import numpy as np
import pytest

import smelt
import tiny
from smelt.errors import InputError

BASE, MATH, CODE = (tiny.llama(seed, dtype=np.float32) for seed in range(3))


@pytest.fixture
def checkpoints():
    return smelt.Checkpoint(BASE), smelt.Checkpoint(MATH), smelt.Checkpoint(CODE)


def test_a_method_on_checkpoints_is_the_recipe_of_the_same_words(here):
    for seed, name in enumerate(("base", "math", "code")):
        tiny.save_llama(here / name, seed)
    base, math, code = map(smelt.Checkpoint, ("base", "math", "code"))
    plan = smelt.plan(smelt.methods.ties(base, [math, code], weight=[0.6, 0.4], density=0.5))
    text = """
merge_method: ties
base_model: base
models:
- {model: math, parameters: {weight: 0.6}}
- {model: code, parameters: {weight: 0.4}}
parameters: {density: 0.5}
"""
    assert plan.digest == smelt.plan(text).digest == smelt.plan(smelt.read(text)).digest
    assert smelt.run(plan, "merged") is None
    assert tiny.digest(tiny.read("merged")) == tiny.digest(smelt.merge(text))


def test_sums_of_checkpoints(here, checkpoints):
    base, math, _ = checkpoints
    merged = smelt.run(smelt.plan(2 * math - base))
    assert list(merged) == list(BASE)
    for name, array in merged.items():
        np.testing.assert_array_equal(array, 2 * MATH[name] - BASE[name])
    for seed, name in enumerate(("base", "math")):
        tiny.save_llama(here / name, seed)
    base, math = map(smelt.Checkpoint, ("base", "math"))
    text = "merge_method: linear\nparameters: {normalize: false}\nmodels:\n- {model: math, parameters: {weight: 2}}\n"
    text += "- {model: base, parameters: {weight: -1}}\n"
    assert smelt.plan(2 * math - base).digest == smelt.plan(text).digest


def test_recipes_stand_where_models_stand(checkpoints):
    base, math, code = checkpoints
    soup = smelt.methods.linear([math, code], weight=0.5)
    merged = smelt.merge(smelt.methods.task_arithmetic(base, [soup], weight=3))
    for name, array in merged.items():
        expected = BASE[name] + 3 * ((MATH[name].astype("f8") + CODE[name]) / 2 - BASE[name])
        np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-6)


def test_arrays_come_back_in_their_dtypes(checkpoints):
    _, math, _ = checkpoints
    merged = smelt.merge(smelt.methods.passthrough(math, dtype="bfloat16"))
    assert {array.dtype for array in merged.values()} == {tiny.BF16}
    for name, array in merged.items():
        np.testing.assert_array_equal(array, MATH[name].astype(tiny.BF16))


def test_arrays_that_do_not_fit(checkpoints):
    base, math, _ = checkpoints
    odd = smelt.Checkpoint({**CODE, "model.norm.weight": np.zeros(7, "f4")})
    with pytest.raises(InputError, match=r"'model\.norm\.weight' is 4 in .* and 7 in "):
        smelt.plan(base + math + odd)
    with pytest.raises(AttributeError, match="has no method 'tise'"):
        _ = smelt.methods.tise
    with pytest.raises(AttributeError, match="has no attribute 'mrge'"):
        _ = smelt.mrge


def test_progress_force_and_the_size_of_files(here, checkpoints):
    base, math, _ = checkpoints
    recipe = smelt.methods.slerp(base, math, t=0.5)
    seen = []
    plan = smelt.plan(recipe, max_shard_size=200, seed=4)
    smelt.run(plan, here / "out", threads=1, progress=lambda *numbers: seen.append(numbers))
    assert len(list((here / "out").glob("*.safetensors"))) == len(plan.shards) > 1
    assert plan.recipe.seed == 4
    assert seen[-1] == (plan.cost.read_bytes, plan.cost.read_bytes)
    with pytest.raises(InputError, match="exists"):
        smelt.merge(recipe, here / "out")
    smelt.merge(recipe, here / "out", force=True)
    assert [path.name for path in (here / "out").glob("*.safetensors")] == ["model.safetensors"]


def test_import_alone_loads_nothing():
    code = "import smelt, sys; print([m for m in ('numpy', 'yaml', 'typer', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
