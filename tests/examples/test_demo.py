"""What `make demo` says about the example family."""

import runpy
import sys
from pathlib import Path

import pytest
import yaml

import smelt

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
    for document in yaml.safe_load_all(path.read_text()):
        assert document["dtype"] == "bfloat16"


@pytest.mark.full
def test_the_demo_keeps_its_promise(demo, monkeypatch, capsys):
    monkeypatch.chdir(EXAMPLES.parent)
    assert demo["main"]() == 0
    shown = capsys.readouterr().out
    assert all(path.stem in shown for path in RECIPES)
