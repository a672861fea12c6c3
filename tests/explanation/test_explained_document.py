"""docs/explained.md: its recipes are run on small models, and every formula under them is held against what comes out.

Models are constant: all entries of one are equal, so that the mean over the entries of a merge is a mean over draws.
"""

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import smelt
import tiny
from smelt.algebra.declare import find
from smelt.tensors.dtypes import dtype_of_recipe

DOCUMENT = (Path(__file__).parents[2] / "docs" / "explained.md").read_text(encoding="utf-8")
PUBLISHED = Path(__file__).parents[1] / "recipes" / "published"
FENCED = r"((?:(?!```).*\n)+)```$"
CASES = re.findall(rf"^```yaml\n{FENCED}\n\n```\n{FENCED}", DOCUMENT, re.MULTILINE)
RECIPES = re.findall(rf"^```yaml\n{FENCED}", DOCUMENT, re.MULTILINE)
NAMES = ["embed", *(f"layers.{layer}.w" for layer in range(5)), "norm"]
ENTRIES = 40_000
VALUES = [1.0, 1.75, 2.25, 1.125, 3.5, 1.375]  # of the models; all differences from the first have one sign


def save_models(folder, references):
    """Write a constant model for each reference; return the value of each. One that is called zeros is."""
    values = {}
    for reference, value in zip(references, VALUES, strict=False):
        values[reference] = 0.0 if reference == "zeros" else value
        tiny.save(folder / reference, {n: np.full((100, ENTRIES // 100), values[reference], "f4") for n in NAMES})
    return values


def models_of(text):
    """Return the models that a recipe names and that are no documents of it, its base first."""
    documents = list(yaml.safe_load_all(text))
    found = [d["base_model"] for d in documents if "base_model" in d]
    found += [m["model"] for d in documents for m in d["models"]]
    return [m for m in dict.fromkeys(found) if m not in [d.get("name") for d in documents]]


def evaluate(formula, values):
    """Return the value of a formula of this page, in float64."""
    plain = formula.replace("·", "*").replace("−", "-")
    return float(eval(compile(ast.parse(plain, mode="eval"), "formula", "eval"), {"__builtins__": {}}, values))


def in_float32(recipe):
    """Return the recipe without the rounding of the dtype that it stores."""
    return replace(recipe, documents=(*recipe.documents[:-1], replace(recipe.result, dtype=dtype_of_recipe("float32"))))


def test_every_recipe_has_a_formula_but_the_one_that_the_table_is_about():
    bare = [r for r in RECIPES if r not in [recipe for recipe, _ in CASES]]
    assert [yaml.safe_load(r) for r in bare] == [yaml.safe_load((PUBLISHED / "base-as-component.yml").read_text())]


def test_the_published_recipes_are_those_that_people_published():
    for name, place in (("minus-base", 0), ("base-as-component", 3), ("two-stage", 4)):
        published = list(yaml.safe_load_all((PUBLISHED / f"{name}.yml").read_text(encoding="utf-8")))
        assert list(yaml.safe_load_all(RECIPES[place])) == published, name


@pytest.mark.parametrize("number", range(len(CASES)))
def test_what_comes_out_is_what_the_formula_says(here, number):
    text, formulas = CASES[number]
    values = save_models(here, models_of(text))
    merged = smelt.merge(in_float32(smelt.read(text)))
    called = {}
    for line in formulas.splitlines():
        left, right = line.split(" = ")
        if right in values:
            called[left] = values[right]
        elif left.startswith("W"):
            wanted = [n for n in NAMES if not left.endswith("]") or left[2:-1] in n]
            assert wanted, line
            for name in wanted:
                np.testing.assert_allclose(merged[name], evaluate(right, called), rtol=3e-7, err_msg=line)
        else:
            check_statistics(left, right, merged[NAMES[1]].astype("f8"), called)


def check_statistics(left, right, tensor, called):
    """Check a mean, or the noise of a difference relative to its square, from the entries of one tensor."""
    error = tensor.std() / np.sqrt(tensor.size)
    if left == "E[W]":
        assert error > 0
        assert abs(tensor.mean() - evaluate(right, called)) < 5 * error, right
        called["W"] = right
    else:
        difference = left.removeprefix("noise of ")
        (share,) = re.findall(rf"([\d.]+)·\({re.escape(difference)}\)", called["W"]) or ["1"]
        noise = tensor.var() / (float(share) * evaluate(difference, called)) ** 2
        assert noise == pytest.approx(evaluate(right, called), rel=0.05)


def test_the_simpler_recipe_is_the_one_that_is_written(here):
    save_models(here, models_of(RECIPES[0]))
    recipe = smelt.read(RECIPES[0])
    assert smelt.explain(recipe).simpler == RECIPES[1]


def rows(heading):
    """Return the cells of the table that follows ``heading``."""
    table = DOCUMENT.split(heading, 1)[1].split("|---|---|---|\n", 1)[1].split("\n\n")[0]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()]


LISTED, COPIED = rows("The proof for every method"), rows("A copy of the base")


@pytest.fixture
def writers(here):
    """Write random fine-tunes of a base, and a copy of the base; return their tensors."""
    random = np.random.default_rng(0)
    base = random.standard_normal((8, 16)).astype("f4")
    models = {"Base": base, "copy": base}
    models |= {name: base + random.standard_normal((8, 16)).astype("f4") for name in ("Writer", "Roleplay")}
    for name, tensor in models.items():
        tiny.save(here / name, {"w": tensor})
    return models


def merge_with(method, normalize, listed, density=1.0):
    """Merge the listed models onto Base by a method, with those of these settings that it has."""
    known = find(method).setting
    weights = {"Base": 0.4, "copy": 0.4, "Writer": 0.4, "Roleplay": 0.3}
    models = [{"model": m, "parameters": {"weight": weights[m]} if "weight" in known else {}} for m in listed]
    settings = {"normalize": normalize, "density": density}
    given = {name: value for name, value in settings.items() if name in known}
    tree = {"merge_method": method, "base_model": "Base", "models": models, "parameters": given}
    return smelt.merge(smelt.read(yaml.safe_dump(tree)))["w"]


@pytest.mark.parametrize(("method", "off", "on"), LISTED, ids=[row[0] for row in LISTED])
def test_what_listing_the_base_changes(writers, method, off, on):
    for normalize, cell in ((False, off), (True, on)):
        first, last, without = (
            merge_with(method, normalize, models, density=0.6)
            for models in (["Base", "Writer", "Roleplay"], ["Writer", "Roleplay", "Base"], ["Writer", "Roleplay"])
        )
        if cell in ("same bytes", ""):
            assert first.tobytes() == without.tobytes() == last.tobytes()
        else:
            assert first.tobytes() != without.tobytes()
            np.testing.assert_allclose(first, evaluate_arrays(cell, writers), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("method", "off", "on"), COPIED, ids=[row[0] for row in COPIED])
def test_what_a_copy_of_the_base_changes(writers, method, off, on):
    for normalize, cell in ((False, off), (True, on)):
        copied = merge_with(method, normalize, ["Writer", "Roleplay", "copy"])
        if cell == "same values":
            # Draws belong to the place of a model: listed last, the copy moves none.
            dropped = merge_with(method, normalize, ["Writer", "Roleplay", "copy"], density=0.6)
            np.testing.assert_array_equal(dropped, merge_with(method, normalize, ["Writer", "Roleplay"], density=0.6))
            np.testing.assert_array_equal(copied, merge_with(method, normalize, ["Writer", "Roleplay"]))
        else:
            np.testing.assert_allclose(copied, evaluate_arrays(cell, writers), rtol=1e-5, atol=1e-6)


def evaluate_arrays(formula, values):
    plain = formula.removeprefix("W = ").replace("·", "*").replace("−", "-")
    return eval(plain, {"__builtins__": {}}, {k: v.astype("f8") for k, v in values.items()})


def test_what_a_copy_of_the_base_does_to_model_stock(here):
    """Two fine-tunes at the cosine 0.5: t is 2/3 of their mean difference, and 1/4 with the copy."""
    one, two = np.float32([1, 0]), np.float32([0.5, np.sqrt(0.75)])
    for name, tensor in {"Base": 0 * one, "copy": 0 * one, "Writer": one, "Roleplay": two}.items():
        tiny.save(here / name, {"w": tensor})
    mean = (one + two) / 2
    without = merge_with("model_stock", False, ["Writer", "Roleplay"])
    copied = merge_with("model_stock", False, ["Writer", "Roleplay", "copy"])
    np.testing.assert_allclose(without, 2 / 3 * mean, rtol=1e-6)
    np.testing.assert_allclose(copied, 1 / 4 * mean, rtol=1e-6)
    assert "for two models at c = 0.5, 0.25 in place of 0.667" in DOCUMENT


def test_a_copy_of_the_base_in_model_stock_with_three_models(here):
    """Three fine-tunes at the cosine 0.4, and what the formula of the page makes of it with N = 3."""
    models = np.linalg.cholesky(np.full((3, 3), 0.4) + 0.6 * np.eye(3)).astype("f4")
    names = ["Writer", "Roleplay", "third"]
    for name, tensor in zip(["Base", "copy", *names], [0 * models[0], 0 * models[0], *models], strict=True):
        tiny.save(here / name, {"w": tensor})
    tree = {"merge_method": "model_stock", "base_model": "Base"}
    tree["models"] = [{"model": name} for name in [*names, "copy"]]
    (formula,) = re.findall(r"which leaves (N·c·.*?\))\n", DOCUMENT)
    plain = formula.replace("·", "*").replace("−", "-")
    share = eval(plain, {"__builtins__": {}}, {"N": 3, "c": 0.4})
    merged = smelt.merge(smelt.read(yaml.safe_dump(tree)))["w"]
    np.testing.assert_allclose(merged, share * models.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("method", ["karcher", "geometric_median"])
def test_methods_without_a_base_average_it_in(writers, method):
    listed = merge_with(method, False, ["Base", "Writer", "Roleplay"])
    assert not np.allclose(listed, merge_with(method, False, ["Writer", "Roleplay"]))


def test_the_probabilities_of_della(here):
    """Rows of five rising differences, all of them 1 and more: the share of rows that keeps each place."""
    base = np.zeros((ENTRIES, 5), "f4")
    tiny.save(here / "base", {"w": base})
    tiny.save(here / "one", {"w": base + np.float32([1, 2, 3, 4, 5])})
    text = "merge_method: della_linear\nbase_model: base\nmodels: [{model: one}]\n"
    text += "parameters: {weight: 1, density: 0.5, epsilon: 0.2, rescale: false}\n"
    kept = (smelt.merge(smelt.read(text))["w"] != 0).mean(axis=0)
    stated = re.search(
        r"density 0\.5 and epsilon 0\.2 are kept with the probabilities ([\d., \n]+) and ([\d.]+\d)", DOCUMENT
    )
    chances = [float(p) for p in re.findall(r"\d\.\d", " ".join(stated.groups()))]
    assert chances == [0.3, 0.4, 0.5, 0.6, 0.7]
    np.testing.assert_allclose(kept, chances, atol=5 * 0.5 / np.sqrt(ENTRIES))


def test_the_numbers_in_the_text():
    """Those that stand beside the formulas, worked out."""
    amplification = {q: (1 - (1 - q) ** 3) / q for q in (0.5, 0.1)}
    assert amplification == {0.5: 1.75, 0.1: pytest.approx(2.71)}
    assert "1.75 for three models at density 0.5, and 2.71 at 0.1" in DOCUMENT
    assert f"0.7/1.1 = {0.7 / 1.1:.3f}" in DOCUMENT
    assert f"(1 − q)/q = {0.7 / 0.3:.2f}" in DOCUMENT
    assert f"√(1/0.3 + 1) = {(1 / 0.3 + 1) ** 0.5:.2f}" in DOCUMENT
    assert f"1/q² − 1 = {1 / 0.3**2 - 1:.1f}" in DOCUMENT
