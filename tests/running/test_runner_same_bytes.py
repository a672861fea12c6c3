"""The same bytes for any number of threads, order of work, sizes of reads and tiles, layout of files, and process."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

import smelt
import tiny
from released import released_methods
from smelt.running.runner import Pace, run_plan
from tiny import BF16

TASK_VECTORS = """
base_model: base
models:
  - model: x
    parameters: {weight: 0.7, density: 0.53}
  - model: y
    parameters: {weight: -0.4, density: 0.81}
"""
WITHOUT_DENSITY = TASK_VECTORS.replace(", density: 0.53", "").replace(", density: 0.81", "")
WITHOUT_WEIGHT = "base_model: base\nmodels: [{model: x}, {model: y}]\n"
SHARES = "models: [{model: x, parameters: {weight: 0.3}}, {model: y, parameters: {weight: 0.4}}]\n"
SETTINGS = {
    "linear": [SHARES],
    "passthrough": ["models: [{model: x}]\nparameters: {scale: 0.37}"],
    "slerp": ["base_model: x\nmodels: [{model: x}, {model: y}]\nparameters: {t: 0.3}"],
    "nuslerp": [
        f"base_model: base\n{SHARES}parameters: {{nuslerp_flatten: false, nuslerp_row_wise: true}}",
        f"{SHARES}parameters: {{nuslerp_flatten: false}}",
    ],
    "multislerp": [f"base_model: base\n{SHARES}"],
    "karcher": ["models: [{model: base}, {model: x}, {model: y}]"],
    "geometric_median": ["models: [{model: base}, {model: x}, {model: y}]"],
    "model_stock": [WITHOUT_WEIGHT, f"{WITHOUT_WEIGHT}parameters: {{filter_wise: true}}"],
    "task_arithmetic": [WITHOUT_DENSITY, f"{WITHOUT_DENSITY}parameters: {{equalize: l2}}"],
    "ties": [
        TASK_VECTORS,
        TASK_VECTORS + "parameters: {rescale: l1, normalize: false, lambda: 0.9}",
        TASK_VECTORS + "parameters: {scope: row, equalize: l2}",
        TASK_VECTORS + "parameters: {scope: model, rescale: l1}",
    ],
    "breadcrumbs": [f"{TASK_VECTORS}parameters: {{gamma: 0.03, scope: {scope}}}" for scope in ("row", "model")],
    "breadcrumbs_ties": [TASK_VECTORS + "parameters: {gamma: 0.03}"],
    "dare_linear": [TASK_VECTORS, TASK_VECTORS + "parameters: {rescale: l1, normalize: true}"],
    "dare_ties": [TASK_VECTORS, TASK_VECTORS + "parameters: {rescale: l1}"],
    "della": [TASK_VECTORS + "parameters: {rescale: l1}"],
    "della_linear": [TASK_VECTORS],
    "sce": [f"{WITHOUT_WEIGHT}parameters: {{select_topk: 0.3}}"],
    "ram": [f"{WITHOUT_WEIGHT}parameters: {{epsilon: 0.05}}"],
    "ramplus_tl": [f"{WITHOUT_WEIGHT}parameters: {{epsilon: 0.05, r: 0.4}}"],
    "magmax": [WITHOUT_WEIGHT],
    "nearswap": ["base_model: x\nmodels: [{model: x}, {model: y}]\nparameters: {t: 0.03}"],
    "arcee_fusion": ["base_model: x\nmodels: [{model: x}, {model: y}]"],
}
RECIPES = [f"merge_method: {name}\n{text}\nseed: 7\n" for name, texts in SETTINGS.items() for text in texts]
CHAIN = f"name: first\nmerge_method: dare_ties\n{TASK_VECTORS}\n---\n" + (
    "merge_method: ties\nbase_model: base\nmodels: [{model: first}, {model: y}]\n"
    "parameters: {weight: 0.6, density: 0.4}\nout_dtype: bfloat16\n"
)
RECIPES.append(CHAIN)


def recipe_of(method):
    return next(text for text in RECIPES if text.split()[1] == method)


def shuffle(count):
    return random.Random(3).sample(range(count), count)


PACES = [
    Pace(2),
    Pace(4, window=1),
    Pace(4, order=shuffle),
    Pace(1, span=768, tile=512, order=shuffle),
    Pace(2, span=2**17 + 256, tile=256 * 77),
]


def arrays(seed):
    """Tensors of one block and of several, with rows that do not divide a block and lengths that no lane divides."""
    noise = np.random.default_rng(seed)
    fresh = np.random.default_rng(0)

    def near(shape, dtype):
        return (fresh.normal(size=shape) + 0.1 * noise.normal(size=shape)).astype(dtype)

    return {
        "model.embed_tokens.weight": near((301, 901), BF16),  # 2 blocks of 290 and 11 rows
        "model.layers.0.long.weight": near((2 * 2**18 + 77,), BF16),  # 3 blocks
        "model.layers.0.matrix.weight": near((33, 129), np.float32),
        "model.layers.1.matrix.weight": near((33, 129), np.float16),
        "model.layers.1.norm.weight": near((5,), np.float32),
        "model.scale": near((), np.float32),
        "model.nothing.weight": near((0, 5), BF16),
        "model.positions": np.arange(7, dtype=np.int64)[None],
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("same-bytes")
    for seed, name in enumerate(("base", "x", "y")):
        tiny.save(folder / name, arrays(seed), tiny.config())
    return folder


@pytest.fixture(autouse=True)
def beside_models(models, monkeypatch):
    monkeypatch.chdir(models)


def test_every_method_of_the_catalogue_is_here():
    assert sorted(SETTINGS) == released_methods(), "add the method to SETTINGS above"


@pytest.mark.parametrize("text", RECIPES, ids=range(len(RECIPES)))
def test_the_way_of_working_changes_no_byte(text):
    plan = smelt.plan(text)
    expected = run_plan(plan, pace=Pace(1))
    assert [o.spec.shape for o in plan.outputs] == [a.shape for a in expected.values()]
    for pace in PACES:
        found = run_plan(plan, pace=pace)
        for name, array in expected.items():
            assert found[name].tobytes() == array.tobytes(), (name, pace)


@pytest.mark.parametrize("size", ["5GB", "600kB", "1"])
def test_the_layout_of_files_changes_no_tensor(size, tmp_path):
    text = recipe_of("ties")
    expected = run_plan(smelt.plan(text), pace=Pace(1))
    for threads, folder in ((1, tmp_path / "one"), (4, tmp_path / "four")):
        smelt.merge(text, folder, threads=threads, max_shard_size=size)
        assert tiny.digest(tiny.read(folder)) == tiny.digest(expected)
    assert tiny.contents(tmp_path / "one") == tiny.contents(tmp_path / "four")


def test_two_processes_with_different_hash_seeds_write_the_same_files(tmp_path):
    (tmp_path / "recipe.yml").write_text(CHAIN)
    command = [sys.executable, "-m", "smelt.cli", "merge", str(tmp_path / "recipe.yml"), "--max-shard-size", "600kB"]
    for seed in ("1", "4321"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([*command, str(tmp_path / seed)], check=True, env=environment, capture_output=True)
    assert tiny.contents(tmp_path / "1") == tiny.contents(tmp_path / "4321")
    assert len(tiny.contents(tmp_path / "1")) > 5


def test_the_seed_decides_what_is_drawn():
    text = recipe_of("dare_linear")
    merges = [smelt.run(smelt.plan(text, seed=seed)) for seed in (None, 7, 8)]
    assert tiny.digest(merges[0]) == tiny.digest(merges[1]) != tiny.digest(merges[2])
    plans = [smelt.plan(text, seed=seed) for seed in (None, 7, 8)]
    assert plans[0].digest == plans[1].digest != plans[2].digest
