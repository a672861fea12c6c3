"""How the values of settings are written, and which one holds for a tensor."""

import pytest

from smelt.algebra.declare import find
from smelt.recipes.nouns import Parameter, Rule
from smelt.recipes.reading import read_text
from smelt.recipes.values import MISSING, position_of, resolve

WEIGHT = find("linear").setting["weight"]
NORMALIZE = find("linear").setting["normalize"]
SCALE = find("passthrough").setting["scale"]


def level(*rules: tuple, name: str = "weight") -> dict[str, Parameter]:
    return {name: Parameter(name, tuple(Rule(*rule) for rule in rules))}


def rules_of(written: str, name: str = "lambda") -> tuple[Rule, ...]:
    text = f"merge_method: ties\nbase_model: a\nmodels: [{{model: b}}]\nparameters:\n  weight: 1\n  {name}: {written}\n"
    return read_text(text, "recipe.yml").result.parameters[name].rules


@pytest.mark.parametrize(
    ("written", "rules"),
    [
        ("2", [(None, 2.0)]),
        ("-0.5", [(None, -0.5)]),
        ("1e-8", [(None, 1e-8)]),  # text in YAML 1.1
        ("'0.25'", [(None, 0.25)]),
        ("true", [(None, 1.0)]),
        ("[0, 0.5, 1e-1]", [(None, (0.0, 0.5, 0.1))]),
        ("[0.5]", [(None, 0.5)]),
        ("{value: 3}", [(None, 3.0)]),
        ("{filter: mlp, value: 3}", [("mlp", 3.0), (None, 1.0)]),  # the default is the last rule
        ("[{filter: mlp, value: [0, 1]}, {filter: '*', value: 2}]", [("mlp", (0.0, 1.0)), (None, 2.0)]),
        ("[{filter: 1., value: 2}, {filter: null, value: 3}]", [("1.", 2.0), (None, 3.0)]),
    ],
)
def test_forms_of_numbers(written, rules):
    assert rules_of(written) == tuple(Rule(*rule) for rule in rules)


@pytest.mark.parametrize(("written", "value"), [("true", True), ("no", False), ("0", False), ("1.0", True)])
def test_forms_of_booleans(written, value):
    (rule,) = rules_of(written, "normalize")
    assert rule.value is value


def test_forms_of_choices():
    assert rules_of("l1", "rescale") == (Rule(None, "l1"),)
    assert rules_of("false", "rescale") == (Rule(None, False),)


def test_inner_levels_win():
    levels = [{}, level((None, 2.0)), level((None, 3.0))]
    assert resolve(WEIGHT, levels, "x", 0.0) == 2.0
    assert resolve(WEIGHT, levels[2:], "x", 0.0) == 3.0


def test_no_match_falls_to_the_next_level():
    levels = [level(("mlp", 1.0), ("attn", 2.0)), level(("norm", 3.0)), level((None, 4.0))]
    found = [resolve(WEIGHT, levels, name, 0.0) for name in ("l.0.mlp.up", "l.0.attn.q", "l.0.norm", "embed")]
    assert found == [1.0, 2.0, 3.0, 4.0]


def test_the_first_rule_that_matches_wins():
    assert resolve(WEIGHT, [level(("a", 1.0), ("ab", 2.0))], "abc", 0.0) == 1.0


def test_defaults():
    assert resolve(WEIGHT, [{}], "x", 0.0) is MISSING
    assert resolve(WEIGHT, [level(("mlp", 1.0))], "x", 0.0) is MISSING
    assert resolve(NORMALIZE, [{}], "x", 0.0) is True
    assert resolve(SCALE, [], "x", 0.0) is None


@pytest.mark.parametrize(
    ("position", "value"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (0.75, 0.375), (1.0, 0.25), (0.625, 0.4375)]
)
def test_gradient(position, value):
    """Three values over [0, 1]: 0 → 0.5 → 0.25, straight in between."""
    assert resolve(WEIGHT, [level((None, (0.0, 0.5, 0.25)))], "x", position) == value


def test_positions():
    assert [position_of(layer, 5) for layer in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert position_of(0, 1) == 1.0  # as in mergekit: the only layer takes the last value
    assert position_of(None, 5) == 0.0


def test_the_end_of_a_gradient_is_exact():
    gradient = (0.1, 0.7, 0.3)
    for count in range(2, 200):
        assert resolve(WEIGHT, [level((None, gradient))], "x", position_of(count - 1, count)) == 0.3
