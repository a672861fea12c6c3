"""Declarations: what a signature becomes, what it may not be, and which values a setting takes."""

import inspect
import math
from typing import Literal

import pytest

from smelt.algebra import declare
from smelt.algebra.declare import Bounds, Factor, Fraction, PerModel, Positive, Setting, catalogue, every, find
from smelt.algebra.vocabulary import sum_models
from smelt.errors import InputError

BUILT_IN = ["dare_linear", "dare_ties", "linear", "passthrough", "slerp", "task_arithmetic", "ties"]


@pytest.fixture
def method(monkeypatch):
    """Registers methods for the length of a test."""
    catalogue()
    monkeypatch.setattr(declare, "_registry", dict(declare._registry))
    return lambda name="trial": declare.method(name, title="Trial", paper="arXiv:0000.00000")


def test_a_declaration_is_the_signature(method):
    @method()
    def trial(
        base,
        models,
        rng,
        *,
        weight: PerModel[float],
        density: PerModel[Fraction] = every(0.5),
        lambda_: Positive = 1.0,
        scale: PerModel[Factor] = every(1.0),
        steps: int = 3,
        mode: Literal[False, "l1"] = False,
        extra: float | None = None,
    ):
        """Do something.

        Args:
            weight: how much,
                on two lines.
            lambda: how far.

        Differences: none.
        """

    assert (trial.name, trial.title, trial.exact) == ("trial", "Trial", "everywhere")
    assert trial.tensors == ("base", "models")
    assert trial.random
    assert trial.needs_base
    assert list(trial.setting) == ["weight", "density", "lambda", "scale", "steps", "mode", "extra"]
    weight, density, lambda_, scale, steps, mode, extra = trial.settings
    assert weight.required
    assert weight.per_model
    assert weight.doc == "how much, on two lines."
    assert (density.default, density.per_model, density.range) == (0.5, True, "a number from 0 to 1")
    assert (lambda_.name, lambda_.parameter, lambda_.doc) == ("lambda", "lambda_", "how far.")
    assert lambda_.range == "a number above 0"
    assert scale.bounds.neutral == 1.0
    assert [s.is_slot for s in (weight, density, lambda_, steps, mode, extra)] == [True, True, True, False, False, True]
    assert mode.range == "one of false, l1"
    assert steps.range == "a whole number"
    assert extra.default is None
    assert trial.doc.startswith("Do something.")


@pytest.mark.parametrize("tensors", declare.TENSORS)
def test_the_four_shapes_of_a_method(method, tensors):
    source = f"def trial({', '.join(tensors)}, *, t: float = 0.5): ..."
    scope = {}
    exec(source, scope)
    declared = method()(scope["trial"])
    assert declared.tensors == tensors
    assert not declared.random
    assert declared.needs_base == (tensors[0] in ("base", "a"))


def positional_setting(models, weight: float): ...
def unknown_tensor(x): ...
def noise_first(rng, models): ...
def more_tensors(models, *others): ...
def any_setting(models, **settings): ...
def no_tensor(*, weight: float): ...
def no_annotation(models, *, weight): ...
def free_text(models, *, mode: str = "a"): ...
def a_list(models, *, weight: list[float]): ...
def nothing_per_model(models, *, weight: PerModel): ...
def a_flag_per_model(models, *, flag: PerModel[bool] = every(True)): ...
def default_outside(models, *, density: Fraction = 1.5): ...
def default_outside_choices(models, *, mode: Literal["a", "b"] = "c"): ...
def unset_per_model(models, *, scale: PerModel[Factor] | None = None): ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (positional_setting, r"the tensors must be one of .*, not \('models', 'weight'\)"),
        (unknown_tensor, r"the tensors must be one of .*, not \('x',\)"),
        (noise_first, r"then perhaps rng, not \('rng', 'models'\)"),
        (more_tensors, r"not \('models', 'others'\)"),
        (any_setting, r"not \('models', 'settings'\)"),
        (no_tensor, r"not \(\)"),
        (no_annotation, "setting 'weight' has type None; allowed: float, int, bool, Literal"),
        (free_text, "setting 'mode' has type <class 'str'>; allowed"),
        (a_list, "setting 'weight' has type .*list.*; allowed"),
        (nothing_per_model, "setting 'weight' has type .*PerModel"),
        (a_flag_per_model, "'flag' is a bool per model; only floats may differ"),
        (default_outside, "the default of 'density' must be a number from 0 to 1, not 1.5"),
        (default_outside_choices, "the default of 'mode' must be one of a, b, not 'c'"),
        (unset_per_model, "'scale' has a value for every model, so None cannot be its default"),
    ],
)
def test_a_wrong_declaration_is_a_type_error_that_says_why(method, function, words):
    with pytest.raises(TypeError, match=words):
        method()(function)


def test_two_functions_cannot_have_one_name_but_a_reload_may(method):
    def make(name):
        def body(models):
            return sum_models(models)

        body.__qualname__ = name
        return body

    first = method("trial")(make("one"))
    assert find("trial") is first
    again = method("trial")(make("one"))
    assert find("trial") is again
    with pytest.raises(TypeError, match="two methods are called 'trial'"):
        method("trial")(make("two"))


def test_the_catalogue_is_in_alphabetical_order_and_holds_the_built_in_methods():
    assert [name for name in catalogue() if name in BUILT_IN] == BUILT_IN
    assert list(catalogue()) == sorted(catalogue())


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(
        InputError, match=r"no merge method 'tis'; did you mean 'ties'\? Methods: arcee_fusion, breadcrumbs, "
    ):
        find("tis")


def setting(type_=float, bounds=None, choices=()):
    return Setting("s", "s", type_, False, bounds or Bounds(), choices, inspect.Parameter.empty, "")


TAKEN = [
    (setting(), [(1, 1.0), (-2.5, -2.5), (True, 1.0), (1e308, 1e308)]),
    (setting(bounds=Bounds(0, 1)), [(0, 0.0), (1, 1.0), (0.3, 0.3)]),
    (setting(int, bounds=Bounds(1.0)), [(1, 1), (2.0, 2)]),
    (setting(bounds=Bounds(0.0, open_low=True)), [(5e-324, 5e-324), (7, 7.0)]),
    (setting(int), [(3, 3), (3.0, 3), (-1, -1), (10**30, 10**30), (False, 0)]),
    (setting(bool), [(True, True), (0, False), (1.0, True)]),
    (setting(str, choices=(True, False, "l1")), [("l1", "l1"), (True, True), (1, True), (0.0, False)]),
    (setting(int, choices=(2, 4)), [(2, 2), (4.0, 4)]),
    (setting(str, choices=("1", "2")), [("1", "1")]),
]
REFUSED = [
    (setting(), [math.inf, math.nan, "1", None, [1.0], 10**400], "a finite number"),
    (setting(bounds=Bounds(0, 1)), [-0.001, 1.001, math.nan, "0.5", math.inf], "a number from 0 to 1"),
    (setting(bounds=Bounds(0.0, open_low=True)), [0, -1, math.inf], "a number above 0"),
    (setting(bounds=Bounds(2.0)), [1.9], "a number of at least 2"),
    (setting(int, bounds=Bounds(1.0)), [0, -3, 1.5], "a whole number of at least 1"),
    (setting(int, bounds=Bounds(0.0, 9.0)), [10, -1], "a whole number from 0 to 9"),
    (setting(int), [2.5, math.inf, -math.inf, math.nan, "3", None], "a whole number"),
    (setting(bool), [2, "true", None, 0.5], "true or false"),
    (setting(str, choices=(True, False, "l1")), ["L1", 2, "true", None, [1]], "one of true, false, l1"),
    (setting(int, choices=(2, 4)), [3, True, "2"], "one of 2, 4"),
    (setting(str, choices=("1", "2")), [1, 2.0], "one of 1, 2"),
]


@pytest.mark.parametrize(("declared", "pairs"), TAKEN)
def test_a_value_becomes_the_settings_type(declared, pairs):
    for given, expected in pairs:
        result = declared.check(given)
        assert result == expected
        assert type(result) is type(expected)


@pytest.mark.parametrize(("declared", "values", "words"), REFUSED)
def test_a_wrong_value_is_refused_with_what_is_allowed(declared, values, words):
    for value in values:
        with pytest.raises(ValueError) as caught:
            declared.check(value)
        assert str(caught.value) == f"must be {words}, not {value!r}"


def test_a_method_can_be_called_by_another(method):
    @method()
    def trial(models, *, weight: PerModel[float]):
        return sum_models(weight * models)

    from smelt.algebra.expressions import input_tensor, slots, stack

    models = stack([input_tensor(0), input_tensor(1)])
    assert trial(models, weight=slots(0, 2)) == sum_models(slots(0, 2) * models)
