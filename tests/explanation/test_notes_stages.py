"""Notes on merges that build on merges, each held against a merge."""

import re

import numpy as np

import smelt
from smelt.explanation.notes import find_notes
from smelt.planning.planner import plan_recipe


def stage(method="dare_linear", density=0.3):
    """Return a first document of six lines: ``m`` on A from B."""
    settings = f"weight: 1, density: {density}" if density else "weight: 1"
    model = f"  - {{model: B, parameters: {{{settings}}}}}"
    return f"name: m\nmerge_method: {method}\nbase_model: A\nmodels:\n{model}\n---\n"


def notes(text, pattern=""):
    found = find_notes(smelt.read(text), None)
    return [(note.line, note.text) for note in found if re.search(pattern, note.text)]


def merge(text, **values):
    """Merge constant models; return the entries of the result."""
    opened = {name: smelt.Checkpoint({"w": np.full(20_000, value, "f4")}) for name, value in values.items()}
    plan = plan_recipe(smelt.read(text), opened_by=lambda reference: opened[reference.text])
    return smelt.run(plan)["w"].astype("f8")


def second(base, models, method="task_arithmetic", settings=""):
    """Return the second document: its base stands on line 8, its first model on line 11."""
    entries = "\n".join(f"  - {{model: {name}, parameters: {{{given}}}}}" for name, given in models.items())
    return f"merge_method: {method}\nbase_model: {base}\nparameters: {{{settings}}}\nmodels:\n{entries}\n"


def test_a_merge_as_the_base_is_attenuated():
    text = stage("task_arithmetic", None) + second("m", {"C": "weight: 0.6"})
    ((line, said),) = notes(text, "take back")
    assert line == 8
    assert "share of that which remains is 0.4, 1 − Σ factor" in said
    assert said.endswith("; to keep it whole, add 'A' to the models, with the weight −0.6")
    # A = 0, what m changed = 1, C = A: 0.4 of it remains.
    np.testing.assert_allclose(merge(text, A=0.0, B=1.0, C=0.0), 0.4, rtol=1e-6)
    remedy = stage("task_arithmetic", None) + second("m", {"C": "weight: 0.6", "A": "weight: -0.6"})
    assert notes(remedy, "take back") == []
    np.testing.assert_allclose(merge(remedy, A=0.0, B=1.0, C=0.0), 1.0, rtol=1e-6)


def test_the_difference_from_where_a_model_started_takes_nothing_back():
    text = stage("task_arithmetic", None) + second("m", {"C": "weight: 0.6", "A": "weight: -0.6"})
    assert notes(text, "take") == []
    np.testing.assert_allclose(merge(text, A=0.0, B=1.0, C=0.0), 1.0, rtol=1e-6)
    half = stage("task_arithmetic", None) + second("m", {"C": "weight: 0.6", "A": "weight: -0.3"})
    assert notes(half, "take")[0][1].endswith("remains is 0.7, 1 − Σ factor")  # a model is not to be listed twice


def test_a_mean_of_models_has_no_change_to_take_back():
    soup = "name: m\nmerge_method: linear\nmodels:\n  - {model: A, parameters: {weight: 1}}\n---\n"
    assert notes(soup + second("m", {"C": "weight: 0.6"})) == []


def test_normalized_weights_and_lambda_count():
    text = stage("task_arithmetic", None) + second("m", {"C": "weight: 5"}, settings="normalize: true, lambda: 0.25")
    assert notes(text, "take back")[0][1].endswith("remains is 0.75, 1 − Σ factor")  # no remedy is known
    np.testing.assert_allclose(merge(text, A=0.0, B=1.0, C=0.0), 0.75, rtol=1e-6)


def test_it_holds_on_average_where_entries_are_dropped():
    text = stage(density=1) + second("m", {"C": "weight: 0.6, density: 0.5"}, "dare_linear")
    assert "remains is 0.4," in notes(text, "take back")[0][1]
    merged = merge(text, A=0.0, B=1.0, C=0.0)
    assert abs(merged.mean() - 0.4) < 5 * merged.std() / np.sqrt(merged.size)


def test_election_takes_back_what_it_wins():
    text = stage("ties", 1) + second("m", {"C": "weight: 0.6"}, "ties")
    assert [line for line, _ in notes(text, "takes back what 'm' changed$")] == [8]
    np.testing.assert_allclose(merge(text, A=0.0, B=1.0, C=0.0), 0.0, atol=1e-6)


def test_a_difference_from_another_base_than_the_merges_own():
    text = stage("task_arithmetic", None) + second("C", {"m": "weight: 0.3"})
    ((line, said),) = notes(text, "was merged onto")
    assert line == 11
    assert "with 0.3 of what it changed come −0.3 of what 'C' has over 'A'" in said
    # C + 0.3·(m − C) with A = 0, m = 10, C = 1
    np.testing.assert_allclose(merge(text, A=0.0, B=10.0, C=1.0), 1 + 0.3 * 10 - 0.3 * 1, rtol=1e-6)
    assert notes(stage("task_arithmetic", None) + second("A", {"m": "weight: 0.3"}), "was merged onto") == []


def test_dropping_twice():
    text = stage() + second("A", {"m": "weight: 1, density: 0.5"}, "dare_linear")
    ((line, said),) = notes(text, "dropped from already")
    assert line == 11
    assert "probability q = 0.3 · 0.5 = 0.15" in said
    assert "a relative squared error of (1 − q)/q = 5.67 per parameter; give 'm' density 1 here" in said  # 0.85/0.15
    merged = merge(text, A=0.0, B=1.0)
    kept, size = (merged != 0).mean(), merged.size
    assert abs(kept - 0.15) < 5 * np.sqrt(0.15 * 0.85 / size)
    np.testing.assert_allclose(merged[merged != 0], 1 / 0.15, rtol=1e-6)
    np.testing.assert_allclose(merged[merged != 0], 1 / 0.15, rtol=1e-6)  # so its variance is 1/0.15 − 1 = 5.67
    assert notes(text.replace("0.5", "1"), "already") == []
    assert notes(stage("ties") + second("A", {"m": "weight: 1, density: 0.5"}, "dare_linear"), "already") == []
    unscaled = second("A", {"m": "weight: 1, density: 0.5"}, "dare_linear", "rescale: false")
    assert notes(stage() + unscaled, "already") == []
