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
BARE = "base_model: base\nmodels: [{model: x}, {model: y}]\nparameters: {%s}\n"
PAIR = "base_model: base\nmodels: [{model: x}]\nparameters: {%s}\n"
SHARES = "models: [{model: x}, {model: y}]\nparameters: {weight: [0.3, 0.9, 1]%s}\n"
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
    "ties-row": "merge_method: ties\n" + TWO % ", scope: row, rescale: l1",
    "ties-model": "merge_method: ties\n" + TWO % ", scope: model",
    "ties-equalized": "merge_method: ties\n" + TWO % ", equalize: l2",
    "breadcrumbs": "merge_method: breadcrumbs\n" + TWO % ", gamma: 0.1",
    "breadcrumbs-row": "merge_method: breadcrumbs\n" + TWO % ", gamma: 0.2, scope: row",
    "breadcrumbs-model": "merge_method: breadcrumbs\n" + TWO % ", gamma: 0.05, scope: model, rescale: l1",
    "breadcrumbs_ties": "merge_method: breadcrumbs_ties\n" + TWO % ", gamma: 0.1",
    "della": "merge_method: della\n" + TWO % "",
    "della-l1": "merge_method: della\n" + TWO % ", epsilon: 0.3, rescale: l1",
    "della_linear": "merge_method: della_linear\n" + TWO % "",
    "nuslerp": "merge_method: nuslerp\nbase_model: base\n" + SHARES % "",
    "nuslerp-rows": "merge_method: nuslerp\n" + SHARES % ", nuslerp_flatten: false, nuslerp_row_wise: true",
    "nuslerp-columns": "merge_method: nuslerp\nbase_model: base\n" + SHARES % ", nuslerp_flatten: false",
    "multislerp": "merge_method: multislerp\n" + SHARES % "",
    "multislerp-base": "merge_method: multislerp\nbase_model: base\n" + SHARES % ", normalize_weights: false",
    "karcher": "merge_method: karcher\nmodels: [{model: x}, {model: y}, {model: base}]\n",
    "geometric_median": (
        "merge_method: geometric_median\nmodels: [{model: x}, {model: y}, {model: base}]\n"
        "parameters: {weight: [0.5, 1]}\n"
    ),
    "model_stock": "merge_method: model_stock\n" + BARE % "",
    "model_stock-filters": "merge_method: model_stock\n" + BARE % "filter_wise: true",
    "sce": "merge_method: sce\n" + BARE % "",
    "sce-selected": "merge_method: sce\n" + BARE % "select_topk: 0.4",
    "ram": "merge_method: ram\n" + BARE % "epsilon: 0.6",
    "ramplus_tl": "merge_method: ramplus_tl\n" + BARE % "epsilon: 0.6, r: 0.3, alpha: 0.7",
    "magmax": "merge_method: magmax\n" + BARE % "lambda: 0.7",
    "nearswap": "merge_method: nearswap\n" + PAIR % "t: 0.3",
    "arcee_fusion": "merge_method: arcee_fusion\nbase_model: base\nmodels: [{model: x}]\n",
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
