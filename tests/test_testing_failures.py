"""What is claimed and false fails: for every check a method that is wrong in just that, and the words that say so."""

import itertools
from typing import Annotated, Literal

import pytest

from smelt import testing
from smelt.algebra import declare
from smelt.algebra.declare import Bounds, Fraction, PerModel, catalogue
from smelt.algebra.grid import BLOCK
from smelt.algebra.vocabulary import absolute, dot, equal, max_models, nonzero, norm, size, sum_models, where
from smelt.testing.variants import Variant, variants_of

PROPERTIES = ("fixed point", "model order", "scale", "translation", "rotation")


@pytest.fixture
def register(monkeypatch):
    """Register a method until the test ends."""
    monkeypatch.setattr(declare, "_registry", dict(catalogue()))

    def add(function, name="wrong", title="Wrong", paper="none", **declaration):
        return declare.method(name, title=title, paper=paper, **declaration)(function)

    return add


def failure_of(check, method, settings=None):
    with pytest.raises(AssertionError) as failing:
        check(method, settings)
    message = str(failing.value)
    assert "\n" not in message
    return message


def add_up(models):
    """Scaled by the number of models: no fixed point, and models that move are not followed."""
    return sum_models(models)


def take_first(models):
    return models[0]


def drop_small(base, models):
    deltas = models - base
    return base + sum_models(where(absolute(deltas) > 1e-5, deltas, 0.0))


def drop_tiny(base, models):
    deltas = models - base
    return base + sum_models(where(absolute(deltas) > 1e-10, deltas, 0.0))


def double_base(base, models):
    return 2.0 * base + sum_models(models - base)


def take_largest(base, models):
    return base + max_models(models - base)


def ignore_order_but_in_one_setting(models, *, turned: bool = False, mode: Literal["plain", "odd"] = "plain"):
    return models[0] if turned and mode == "odd" else sum_models(models) / float(len(models))


@pytest.mark.parametrize(
    ("function", "name", "words"),
    [
        (add_up, "fixed point", "equal models in float32 do not come out as they are"),
        (take_first, "model order", "the models in the order [2, 3, 1] give another result"),
        (ignore_order_but_in_one_setting, "model order", "turned=True, mode=odd"),
        (drop_small, "scale", "the differences from the base times 128 do not give the result times 128"),
        (drop_tiny, "scale", "times 9.53674e-07 do not"),
        (lambda models: where(absolute(models) > 1e-10, models, 0.0)[0], "scale", "the models times 9.09495e-13 do"),
        (lambda models: where(models > 0.01, models, 0.0)[0], "scale", "the models times"),
        (double_base, "translation", "one tensor added to all models is not added to the result"),
        (add_up, "translation", "one tensor added"),
        (take_largest, "rotation", "turned by an orthogonal matrix from the right"),
        (lambda models: sum_models(norm(models, "row") * models), "rotation", "from the left"),
    ],
)
def test_a_property_that_is_false_fails(register, function, name, words):
    wrong = register(function, holds=(name,))
    check = getattr(testing, "check_" + name.replace(" ", "_"))
    message = failure_of(check, wrong)
    assert words in message
    assert message.startswith("wrong(")
    assert name not in testing.suggest_properties(register(function))
    check(register(function))  # not declared, not checked


def test_a_listed_base_that_counts_as_a_model_fails(monkeypatch):
    merge = Variant.merge

    def count_base(variant, base, models):
        return merge(variant, base, [dict(model) for model in models])

    monkeypatch.setattr(Variant, "merge", count_base)
    assert "the base listed in place 1 changes bytes" in failure_of(testing.check_listed_base, "model_stock")


def test_true_properties_are_suggested(register):
    average = register(lambda models: sum_models(models) / float(len(models)))
    assert testing.suggest_properties(average) == PROPERTIES
    assert testing.suggest_properties(register(average.function, holds=PROPERTIES[1:])) == PROPERTIES[:1]


def test_bytes_that_change_from_run_to_run_fail(register):
    calls = itertools.count(1)
    wrong = register(lambda models: models[0] * float(next(calls)))
    message = failure_of(testing.check_bytes, wrong)
    assert "wrong() of 3 models: 'scalar' has other bytes worked with 2 threads" in message


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda models: sum_models(models / norm(models)), "models that are zeros, 'scalar' holds nan"),
        (lambda models: where(models[0] > 0, models[0] / (models[0] - models[1]), 0.0), "models that are identical"),
        (lambda models: models[0] * models[0] * models[0], "models that are huge"),
        (
            lambda models: sum_models(where(norm(models) > 0, 1.0 / norm(models), 0.0) * models),
            "models that are subnor",
        ),
    ],
)
def test_output_that_is_not_finite_fails(register, function, words):
    assert words in failure_of(testing.check_hostile_input, register(function))


@pytest.mark.parametrize("pole", [0.0, 1.0])
def test_output_that_is_not_finite_at_the_end_of_a_range_fails(register, pole):
    def wrong(models, *, share: Fraction = 0.5):
        return models[0] / (share - pole)

    assert f"wrong(share={pole}) of 3 models: for models that" in failure_of(
        testing.check_hostile_input, register(wrong)
    )


def test_a_refusal_at_the_end_of_a_range_passes(register):
    def right(models, *, share: Fraction = 0.5):
        return models[0] / nonzero(share, "share must not be 0")

    testing.check_hostile_input(register(right))


def test_overflow_in_float16_alone_fails(register):
    wrong = register(lambda models: 100.0 * models[0])
    assert "models that are huge, 'matrix in float16' holds" in failure_of(testing.check_hostile_input, wrong)


def test_overflow_of_squares_fails_where_the_result_scales(register):
    def wrong(models):
        x = models[0]
        return x * x / where(equal(x, 0.0), 1.0, absolute(x))

    assert "models that are enormous" in failure_of(testing.check_hostile_input, register(wrong, holds=("scale",)))
    testing.check_hostile_input(register(wrong))


def test_bytes_that_change_in_long_rows_of_one_structure_alone_fail(register):
    calls = itertools.count(1)

    def wrong(models, *, turned: bool = False):
        return models[0] * (where(size("row") > float(BLOCK), float(next(calls)), 1.0) if turned else 1.0)

    assert "turned=True) of 3 models: 'long' has other bytes" in failure_of(testing.check_bytes, register(wrong))


def test_a_method_that_refuses_fails(register):
    wrong = register(lambda models: models[0] if dot(models, models) else models[1])
    assert "wrong() of 3 models failed: TypeError" in failure_of(testing.check_declaration, wrong)


@pytest.mark.parametrize(
    ("function", "declaration", "words"),
    [
        (lambda a, b: a, {"holds": ("model order",)}, "'model order' has no meaning for the tensors ('a', 'b')"),
        (lambda models: models[0], {"holds": ("listed base",)}, "'listed base' has no meaning"),
        (lambda models: models[0], {"name": "Wrong Name"}, "small letters"),
        (lambda models: models[0], {"models": (3, 2)}, "no number of models is in (3, 2)"),
    ],
)
def test_a_declaration_that_fits_no_recipe_fails(register, function, declaration, words):
    assert words in failure_of(testing.check_declaration, register(function, **declaration))


def test_a_setting_named_like_a_keyword_of_all_methods_fails(register):
    def wrong(models, *, seed: float = 1.0):
        return seed * models[0]

    assert "'seed' is a keyword of all methods" in failure_of(testing.check_declaration, register(wrong))


def test_a_method_that_another_one_replaced_fails(register):
    first = register(take_first)
    register(take_first, title="Another")
    assert "not what the catalogue has" in failure_of(testing.check_declaration, first)


class Loose(Bounds):
    """A range that lets everything in."""

    def admit(self, value):
        return True


class Narrow(Bounds):
    """A range without its ends."""

    def admit(self, value):
        return self.low < value < self.high


class Silent(Bounds):
    """A range that does not say what it is; two of them read alike to nobody."""

    def __str__(self):
        return f"a number {next(self.numbers)}"

    numbers = itertools.count()


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Loose(0.0, 1.0), "'share' must be a number from 0 to 1, but -1.0 is taken"),
        (Narrow(0.0, 1.0), "'share' may be a number from 0 to 1, but 1.0 is refused"),
        (Silent(0.0, 1.0), "does not tell its range"),
    ],
)
def test_bounds_that_are_not_kept_fail(register, bounds, words):
    def wrong(models, *, share: Annotated[float, bounds] = 0.5):
        return share * models[0]

    assert words in failure_of(testing.check_bounds, register(wrong))


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Loose(1.0, 9.0), "'steps' must be a whole number from 1 to 9, but 0 is taken"),
        (Narrow(1.0, 9.0), "'steps' may be a whole number from 1 to 9, but 9 is refused"),
    ],
)
def test_bounds_of_whole_numbers_that_are_not_kept_fail(register, bounds, words):
    def wrong(models, *, steps: Annotated[int, bounds] = 5):
        return float(steps) * models[0]

    assert words in failure_of(testing.check_bounds, register(wrong))


RIGHT = """Take the first model.

When to use it: never.

Args:
    weight: of a model.
    share: of nothing.
"""


@pytest.mark.parametrize(
    ("documentation", "declaration", "words"),
    [
        (RIGHT, {"title": " "}, "needs a title and a paper"),
        (RIGHT, {"paper": ""}, "needs a title and a paper"),
        (None, {}, "open with one plain line"),
        (RIGHT.replace("\n\n", "\n"), {}, "open with one plain line"),
        (RIGHT.replace("When to use it: never.\n\n", ""), {}, "no paragraph 'When to use it: …'"),
        (RIGHT.replace("    share: of nothing.\n", ""), {}, "says nothing about 'share'"),
        (RIGHT + "    part: of everything.\n", {}, "describes 'part', which is no setting"),
    ],
)
def test_documentation_that_is_missing_fails(register, documentation, declaration, words):
    def wrong(models, *, weight: PerModel[float], share: Fraction = 0.5):
        return models[0]

    wrong.__doc__ = documentation
    assert words in failure_of(testing.check_documentation, register(wrong, **declaration))


def test_documentation_that_is_there_passes(register):
    def right(models, *, weight: PerModel[float], share: Fraction = 0.5):
        return models[0]

    right.__doc__ = RIGHT
    testing.check_documentation(register(right))


def test_required_structure_is_filled_in(register):
    def right(models, *, steps: int, mode: Literal["a", "b"], turned: bool):
        return models[0] * float(steps)

    tried = [variant.settings for variant in variants_of(register(right))[1:-1]]
    assert tried == [{"steps": 1, "mode": m, "turned": t} for m in "ab" for t in (False, True) if (m, t) != ("a", True)]
