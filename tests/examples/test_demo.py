"""What `make demo` says about the example family."""

import runpy
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import smelt
from released import released_methods

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RECIPES = sorted((EXAMPLES / "recipes").glob("*.yml"))


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    return runpy.run_path(str(EXAMPLES / "demo.py"))


def test_kept_share_is_zero_for_the_base_and_one_for_the_expert(demo):
    figures = {
        "base": {"python": 2.0, "prose": 3.0, "exact_match": 0.2},
        "python": {"python": 1.5, "prose": 3.2, "exact_match": 0.1},
        "prose": {"python": 2.2, "prose": 2.5, "exact_match": 0.2},
        "arithmetic": {"python": 2.5, "prose": 3.0, "exact_match": 1.0},
        "merge": {"python": 1.75, "prose": 3.0, "exact_match": 0.8},
    }
    assert demo["keep"](figures, "base") == {"python": 0, "prose": 0, "exact_match": 0}
    assert demo["keep"](figures, "python")["python"] == 1
    assert demo["keep"](figures, "merge") == pytest.approx({"python": 0.5, "prose": 0, "exact_match": 0.75})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_merges_the_family(path, tmp_path, monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    smelt.merge(path, tmp_path / "merged")
    assert (tmp_path / "merged" / "config.json").exists()
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        assert document["dtype"] == "bfloat16"


def test_every_method_has_an_example():
    used = {d["merge_method"] for path in RECIPES for d in yaml.safe_load_all(path.read_text(encoding="utf-8"))}
    assert [name for name in released_methods() if name not in used] == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_first_what_to_look_for(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


def test_merges_are_ordered_by_what_they_keep_of_two_skills(demo):
    assert demo["kept_of_two"]({"python": 0.9, "prose": -1.0, "exact_match": 0.7}) == 0.7
    assert demo["kept_of_two"]({"python": 0.1, "prose": 0.8, "exact_match": 0.3}) == 0.3


def test_without_a_merge_that_keeps_two_skills_the_demo_fails(demo):
    figures = {name: {"python": 2.0, "prose": 2.0} for name in ("base", "one")}
    for share, code in ((0.79, 1), (0.8, 0)):
        kept = {"one": {"python": 0.9, "prose": 0.1, "exact_match": share}}
        console = Console(width=96, record=True)
        assert demo["conclude"](console, figures, kept) == code
        assert ("one keeps 90% of the python gain and 80%" in console.export_text()) == (code == 0)


@pytest.mark.full
def test_the_demo_keeps_its_promise(demo, monkeypatch, capsys):
    monkeypatch.chdir(EXAMPLES.parent)
    assert demo["main"]() == 0
    shown = capsys.readouterr().out
    assert all(path.stem in shown for path in RECIPES)
