"""The two locks on results: plans of recipes as JSON, and digests of small merges.

A change that is meant to move them refreshes both with ``python tests/golden.py`` and says so in CHANGELOG.md.
"""

import json
import os
import tempfile
from pathlib import Path

import smelt
import tiny

TESTS = Path(__file__).resolve().parent
PLANS = TESTS / "plans"
DIGESTS = TESTS / "running" / "golden.json"
RECIPES = {
    path.stem: path
    for folder in (TESTS.parent / "examples" / "recipes", TESTS / "recipes" / "published")
    for path in sorted(folder.glob("*.yml"))
    if path.stem != "two-stage-as-published"  # it ends in messages
}
REFRESH = "if this is meant, run: python tests/golden.py"

TWO = "base_model: base\nmodels: [{model: x}, {model: y}]\nparameters: {weight: 0.7, density: 0.6%s}\nseed: 3\n"
MERGES = {
    "linear": "merge_method: linear\nmodels: [{model: x}, {model: y}]\nparameters: {weight: [0.3, 0.9, 1]}\n",
    "slerp": "merge_method: slerp\nbase_model: x\nmodels: [{model: y}]\nparameters: {t: [0.2, 0.9]}\n",
    "passthrough": "merge_method: passthrough\nmodels: [{model: x}]\nparameters: {scale: 0.7}\n",
    "task_arithmetic": "merge_method: task_arithmetic\n" + TWO.replace(", density: 0.6", "") % ", lambda: 0.3",
    "ties": "merge_method: ties\n" + TWO % "",
    "ties-l1": "merge_method: ties\n" + TWO % ", rescale: l1, normalize: false",
    "dare_linear": "merge_method: dare_linear\n" + TWO % "",
    "dare_linear-l1": "merge_method: dare_linear\n" + TWO % ", rescale: l1, normalize: true",
    "dare_ties": "merge_method: dare_ties\n" + TWO % "",
    "dare_ties-normalized": "merge_method: dare_ties\n" + TWO % ", rescale: false, normalize: true",
}
OUT_DTYPES = ("float32", "bfloat16", "float16", "float8_e5m2")


def make_models(recipe):
    """Write a stand-in for every model that a recipe names, in the working directory."""
    references = [r for document in recipe.documents for r in document.references() if recipe.find(r) is None]
    for seed, folder in enumerate(sorted({str(reference) for reference in references})):
        tiny.save_llama(folder, seed, layers=4)


def plan_json(name):
    """Return a recipe's plan as plain data, without what depends on how the work is done."""
    recipe = smelt.read(RECIPES[name])
    make_models(recipe)
    result = smelt.plan(recipe).to_json()
    del result["cost"]["thread_bytes"]
    return result


def merge_digest(name, out_dtype):
    """Return the digest of a small merge."""
    recipe = smelt.read(MERGES[name] + f"out_dtype: {out_dtype}\n")
    make_models(recipe)
    return tiny.digest(smelt.merge(recipe))


def show(plan):
    """Return a plan as text of which a difference can be read: one line per template, output and so on."""
    text = json.dumps(plan, ensure_ascii=False)
    for start in ('{"name"', '{"inputs"', *(f'"{key}"' for key in plan)):
        text = text.replace(f", {start}", f",\n{start}")
    return text + "\n"


def refresh():
    """Write every golden file anew."""
    PLANS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in RECIPES:
            (PLANS / f"{name}.json").write_text(show(plan_json(name)), encoding="utf-8")
        digests = {f"{name} as {dtype}": merge_digest(name, dtype) for name in MERGES for dtype in OUT_DTYPES}
        DIGESTS.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
        os.chdir(TESTS)


if __name__ == "__main__":
    refresh()
