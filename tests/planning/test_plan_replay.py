"""Recipes compile to the plans that they compiled to before."""

import json

import pytest

import golden


@pytest.mark.parametrize("name", golden.RECIPES)
def test_a_recipe_compiles_to_the_same_plan(here, name):
    found = golden.plan_json(name)
    expected = json.loads((golden.PLANS / f"{name}.json").read_text(encoding="utf-8"))
    assert found == expected, golden.REFRESH


def test_there_is_a_plan_for_every_recipe_and_no_other():
    assert sorted(path.stem for path in golden.PLANS.iterdir()) == sorted(golden.RECIPES), golden.REFRESH
