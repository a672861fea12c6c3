"""The catalogue says what the declarations say."""

import json

import pytest

from smelt.algebra.catalogue import describe_method, formula, list_methods, method_json
from smelt.algebra.declare import catalogue, find

NAMES = list(catalogue())


def test_the_list_has_a_line_for_every_method():
    lines = list_methods([find(name) for name in NAMES]).splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert len({line.index(find(name).doc[:10]) for line, name in zip(lines, NAMES, strict=True)}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_page_names_settings_paper_and_formula(name):
    method = find(name)
    page = describe_method(method)
    assert page.startswith(f"{name}: {method.title}\n")
    assert f"Paper: {method.paper}" in page
    assert f"Formula: W = {formula(method)}" in page
    for setting in method.settings:
        assert f"  {setting.name}: {setting.range}" in page
        assert setting.doc
        assert setting.doc in page
    assert "Args:" not in page


def test_formulas_of_the_linear_methods():
    assert formula(find("task_arithmetic")) == "base + Σ(lambda·[weight₁, weight₂]·([model₁, model₂] − base))"
    assert formula(find("passthrough")) == "model"


@pytest.mark.parametrize("name", NAMES)
def test_every_formula_names_its_tensors_and_slots(name):
    method = find(name)
    text = formula(method)
    for tensor in method.tensors:
        assert {"models": "model₁"}.get(tensor, tensor) in text
    for setting in method.settings:
        if setting.is_slot and setting.default is not None:
            assert setting.name in text


@pytest.mark.parametrize("name", NAMES)
def test_the_declaration_as_data(name):
    data = json.loads(json.dumps(method_json(find(name))))
    assert data["name"] == name
    assert [s["name"] for s in data["settings"]] == list(find(name).setting)
    assert all(s["required"] == (find(name).setting[s["name"]].required) for s in data["settings"])


def test_defaults_and_ranges_are_written_out():
    page = describe_method(find("ties"))
    assert "  weight: a finite number, per model, required." in page
    assert "  density: a number from 0 to 1, per model, default 1." in page
    assert "  normalize: true or false, default true." in page
    assert "  rescale: one of false, l1, default false." in page
    assert "default not set" in describe_method(find("passthrough"))


def test_every_registered_method_can_be_described():
    for method in catalogue().values():
        assert describe_method(method)
