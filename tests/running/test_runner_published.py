"""Recipes that people have published, carried out on small models under the names that they mention."""

from pathlib import Path

import numpy as np

import smelt
import tiny

PUBLISHED = Path(__file__).parents[1] / "recipes" / "published"


def test_minus_base_is_twice_the_tuned_model_minus_the_base(here):
    base, tuned = "meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"
    for seed, name in enumerate((base, tuned)):
        tiny.save_llama(here / name, seed)
    smelt.merge(PUBLISHED / "minus-base.yml", "out")
    merged, a, b = tiny.read("out"), tiny.read(tuned), tiny.read(base)
    for name, array in merged.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, 2 * a[name].astype("f8") - b[name].astype("f8"))


def test_a_base_among_the_components_changes_nothing(here):
    for seed, name in enumerate(("base-9b", "writer-9b", "roleplay-9b")):
        tiny.save_llama(here / name, seed)
    text = (PUBLISHED / "base-as-component.yml").read_text()
    plan = smelt.plan(PUBLISHED / "base-as-component.yml")
    assert any("'base-9b' is the base model itself" in note for note in plan.notes)
    component = "  - model: base-9b\n    parameters:\n      weight: 0.4\n      density: 0.6\n"
    without = smelt.plan(text.replace(component, ""))
    assert component in text
    smelt.run(plan, "with")
    smelt.run(without, "without")
    assert plan.digest == without.digest
    assert tiny.digest(tiny.read("with")) == tiny.digest(tiny.read("without"))


def test_two_stages(here):
    base, math, chat = "mistralai/Mistral-7B-v0.1", "WizardLM/WizardMath-7B-V1.1", "Intel/neural-chat-7b-v3-3"
    for seed, name in enumerate((base, math, chat)):
        tiny.save_llama(here / name, seed)
    smelt.merge(PUBLISHED / "two-stage.yml", "out")
    merged, a, b, c = (tiny.read(folder) for folder in ("out", base, math, chat))
    for name, array in merged.items():
        assert array.dtype == tiny.BF16
        first = array.astype("f8") - c[name].astype(
            "f8"
        )  # mask ∘ (math − base) / 0.3; normalize divides by the weight, 1
        full = b[name].astype("f8") - a[name].astype("f8")
        slack = 2**-8 * np.abs(array.astype("f8")) + 1e-6
        dropped, kept = np.abs(first) <= slack, np.abs(first - full / 0.3) <= slack
        assert np.all(dropped | kept), name
    everything = np.concatenate([merged[n].ravel().astype("f8") - c[n].ravel().astype("f8") for n in merged])
    assert 0.2 < np.mean(np.abs(everything) > 0.05) < 0.4
