"""The conformance suite over the whole registry, and over a method as a third party writes it."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

from smelt.algebra import declare
from smelt.algebra.declare import PerModel, catalogue
from smelt.algebra.vocabulary import sum_models
from smelt.testing import CHECKS, MethodConformance, check_method, suggest_properties
from smelt.testing.families import draw_family
from smelt.testing.variants import variants_of

# Properties that hold in what is tried of a method, and that it nevertheless does not promise; with the reason.
UNPROMISED = {}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", list(catalogue()))
def test_every_registered_method_conforms(name, check):
    check(name, None)


@pytest.mark.parametrize("name", list(catalogue()))
def test_built_in_methods_stay_finite_where_squares_overflow_float32(name):
    for variant in variants_of(name)[:2]:
        base, models = draw_family(variant.count, {"matrix": (4, 6)}, np.float64)
        huge = [{"w": (model["matrix"] * 1e36).astype(np.float32)} for model in (base, *models)]
        merged = variant.merge(huge[0] if variant.has_base else None, huge[1:])
        assert np.isfinite(merged["w"]).all(), str(variant)


@pytest.mark.parametrize("name", list(catalogue()))
def test_methods_declare_what_is_true_of_them(name):
    assert suggest_properties(name) == UNPROMISED.get(name, ()), "add them to 'holds', or above with the reason"


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_structural_value_is_tried(name):
    variants = variants_of(name)
    for setting in catalogue()[name].settings:
        tried = [v.settings.get(setting.name, setting.default) for v in variants]
        if setting.is_slot:
            assert setting.required or any(value != setting.default for value in tried), setting.name
        for value in setting.choices or ((False, True) if setting.type is bool else ()):
            assert any(value == t and type(value) is type(t) for t in tried), (setting.name, value)


class TestThirdParty(MethodConformance):
    """A method that stands in no file of smelt."""

    method = "half_way"
    settings = {"weight": [0.5, 0.25, 3.0]}

    @pytest.fixture(autouse=True)
    def registered(self, monkeypatch):
        monkeypatch.setattr(declare, "_registry", dict(catalogue()))

        @declare.method(
            "half_way",
            title="Half way",
            paper="A third party, 2026",
            holds=("fixed point", "model order", "scale", "translation", "rotation", "listed base"),
        )
        def half_way(base, models, *, weight: PerModel[float], share: declare.Fraction = 0.5):
            """Go half way from the base to the weighted mean of the models.

            When to use it: to see that the suite takes methods from anywhere.

            Args:
                weight: of each model.
                share: how far to go.
            """
            return base + share * (sum_models(weight * (models - base)) / sum_models(weight))

    def test_all_at_once(self):
        check_method(self.method)
        check_method(declare.find(self.method), {"weight": 2.0, "share": 1.0})

    def test_all_checks_have_a_test(self):
        names = [name for name, _ in inspect.getmembers(MethodConformance, inspect.isfunction)]
        assert sorted(names) == sorted(check.__name__.replace("check_", "test_") for check in CHECKS)

    def test_settings_of_the_caller_hold_in_all_variants(self):
        variants = variants_of(self.method, {"weight": [1.0, 2.0], "share": 0.25})
        assert [(v.count, v.settings) for v in variants] == [(2, {"weight": [1.0, 2.0], "share": 0.25})]


def test_settings_may_be_given_by_the_names_of_parameters():
    assert all(v.settings["lambda"] == 0.5 for v in variants_of("task_arithmetic", {"lambda_": 0.5}))


def test_importing_the_suite_needs_no_test_runner():
    code = "import sys, smelt.testing; sys.exit('pytest' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
