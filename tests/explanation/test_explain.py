"""``smelt explain`` as a command and as a function, and the text that it prints."""

import json
import re
from pathlib import Path

import pytest

import smelt
import tiny

ROOT = Path(__file__).resolve().parent.parent.parent
PUBLISHED = Path(__file__).parents[1] / "recipes" / "published"
MINUS = """merge_method: task_arithmetic
base_model: math
models:
  - {model: math, parameters: {weight: 1.0}}
  - {model: base, parameters: {weight: -1.0}}
dtype: float32
"""
DISJOINT = """merge_method: dare_ties
base_model: base
models:
  - {model: math, parameters: {weight: 0.4, density: 0.6}}
  - {model: code, parameters: {weight: 0.3, density: 0.6}}
parameters: {normalize: true}
dtype: float32
"""
TWO_STAGES = """name: first
merge_method: dare_ties
base_model: base
models: [{model: math, parameters: {weight: 1.0, density: 0.3}}]
parameters: {normalize: true}
---
merge_method: task_arithmetic
base_model: base
models:
  - {model: first, parameters: {weight: 1.0}}
  - {model: code, parameters: {weight: 1.0}}
dtype: float32
"""


@pytest.fixture
def family(here):
    for seed, name in enumerate(("base", "math", "code")):
        tiny.save_llama(name, seed)
    return here


def test_it_says_what_a_recipe_computes(family, smelt_command):
    (family / "recipe.yml").write_text(MINUS)
    answer = smelt_command("explain", "recipe.yml")
    assert answer.code == 0
    assert answer.out.startswith(
        "recipe.yml: Task Arithmetic (arXiv:2212.04089)\n\nall 9 tensors\n  W = 2·math − 1·base\n\nNotes:\n  - line "
    )


def test_draws_are_explained_by_mean_noise_and_amplification(family, smelt_command):
    (family / "recipe.yml").write_text(DISJOINT)
    lines = smelt_command("explain", "recipe.yml").out.splitlines()
    assert lines[2:12] == [
        "all 9 tensors",
        "  W = base + Σ(u where v, else 0) / (Σ([0.4, 0.3] where v, else 0) or 1)",
        "      u = [0.4, 0.3]·1.66667·([math, code] − base where random < 0.6, else 0)",
        "      v = u agrees in sign with Σ(u)",
        "  E[W] = base + 0.742857·(math − base) + 0.657143·(code − base), for entries whose weighted differences do "
        "not conflict in sign",
        "  for the others E[W] is not linear: signs and sizes decide, entry by entry, who takes part",
        "  noise: the relative squared error per parameter of math − base is 0.799803, of code − base is 0.969124; "
        "their errors go together",
        "  dropping multiplies the share of math − base by 1.3, of code − base by 1.53333, against density 1",
        "  dropping before a disjoint mean enlarges the edit: A(q, N) = (1 − (1 − q)^N)/q = 1.4 for q = 0.6, N = 2",
        "",
    ]


def test_stages_are_collapsed(family, smelt_command):
    (family / "recipe.yml").write_text(TWO_STAGES)
    lines = smelt_command("explain", "recipe.yml").out.splitlines()
    assert lines[0] == "recipe.yml: Task Arithmetic (arXiv:2212.04089), the last of 2 merges"
    assert "  E[W] = base + 1·(math − base) + 1·(code − base)" in lines
    assert (
        "  noise: the relative squared error per parameter of math − base is 2.33333 = (1 − q)/q at density q = 0.3"
        in lines
    )


def test_what_cancels_on_average_is_not_passed_over(family, smelt_command):
    stages = [
        f"name: {name}\nmerge_method: dare_linear\nbase_model: base\n"
        f"models: [{{model: math, parameters: {{weight: {weight}, density: 0.5}}}}]\n---\n"
        for name, weight in (("plus", 1), ("minus", -1))
    ]
    last = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: plus}, {model: minus}]\n"
    (family / "recipe.yml").write_text("".join(stages) + last)
    lines = smelt_command("explain", "recipe.yml").out.splitlines()
    assert "  E[W] = base" in lines
    assert "  on average the difference of math cancels; what is left of it is noise alone" in lines


def test_the_same_as_data(family, smelt_command):
    (family / "recipe.yml").write_text(DISJOINT)
    found = json.loads(smelt_command("explain", "recipe.yml", "--json").out)
    assert list(found) == [
        *("recipe", "method", "documents", "models", "from_text_alone", "unreached", "unchecked"),
        *("groups", "notes", "simpler"),
    ]
    (group,) = found["groups"]
    assert list(group) == [
        *("tensors", "count", "layers", "formula", "parts", "coefficients", "expectation", "no_expectation_because")
    ]
    mean = group["expectation"]
    assert list(mean) == [
        *("formula", "reference", "density", "coefficients", "cancelled", "relative_squared_error"),
        *("amplification", "amplification_law"),
        *("assumes_agreeing_signs", "errors_are_independent", "ranges_over_ranks"),
    ]
    assert mean["amplification_law"] == {"q": 0.6, "n": 2}
    assert [entry["model"] for entry in mean["relative_squared_error"]] == ["math", "code"]
    assert found["models"] == ["base", "math", "code"]


def test_models_that_cannot_be_reached(here, smelt_command):
    (here / "recipe.yml").write_text(MINUS.replace("math", "./gone/math"))
    lines = smelt_command("explain", "recipe.yml").out.splitlines()
    assert lines[2] == "Explained from the text alone, because these models cannot be opened:"
    assert lines[3].startswith("  - ./gone/math: ")
    assert any(line.startswith("Not checked: that the models are there and fit one another; ") for line in lines)
    assert lines[lines.index("all tensors") + 1] == "  W = 2·math − 1·base"


def test_the_published_recipes_from_their_text_alone(here, smelt_command):
    """Their models are on the hub, which cannot be reached."""

    def explain(name):
        answer = smelt_command("explain", str(PUBLISHED / f"{name}.yml"))
        assert (answer.code, "Explained from the text alone" in answer.out) == (0, True)
        return answer.out

    assert "\n  W = 2·Meta-Llama-3-8B-Instruct − 1·Meta-Llama-3-8B\n" in explain("minus-base")
    stages = explain("two-stage")
    mean = "Mistral-7B-v0.1 + 1·(WizardMath-7B-V1.1 − Mistral-7B-v0.1) + 1·(neural-chat-7b-v3-3 − Mistral-7B-v0.1)"
    assert f"\n  E[W] = {mean}\n" in stages
    assert "of WizardMath-7B-V1.1 − Mistral-7B-v0.1 is 2.33333 = (1 − q)/q at density q = 0.3\n" in stages
    assert "base-9b + Σ(" in explain("base-as-component")


def test_the_simpler_recipe_is_written_and_gives_the_same(family, smelt_command):
    (family / "recipe.yml").write_text(MINUS)
    assert smelt_command("explain", "recipe.yml", "--simplify", "simpler.yml").code == 0
    given, simpler = (smelt.merge(smelt.read(name)) for name in ("recipe.yml", "simpler.yml"))
    for name, tensor in given.items():
        assert abs(tensor - simpler[name]).max() <= 2 * abs(tensor).max() * 2**-23, name
    assert "base_model: base" in (family / "simpler.yml").read_text()


def test_the_simpler_recipe_overwrites_nothing(family, smelt_command):
    (family / "recipe.yml").write_text(MINUS)
    (family / "there.yml").write_text("mine")
    answer = smelt_command("explain", "recipe.yml", "--simplify", "there.yml")
    assert (answer.code, answer.err) == (1, "smelt: there.yml: exists already; nothing is overwritten\n")
    answer = smelt_command("explain", "recipe.yml", "--simplify", "nowhere/there.yml")
    assert answer.code == 1
    assert answer.err.startswith("smelt: nowhere/there.yml: cannot be written: ")
    assert (family / "there.yml").read_text() == "mine"


def test_nothing_simpler_is_an_error(family, smelt_command):
    (family / "recipe.yml").write_text(DISJOINT)
    answer = smelt_command("explain", "recipe.yml", "--simplify", "simpler.yml")
    assert (answer.code, answer.err) == (1, "smelt: recipe.yml: no simpler recipe is known that gives the same\n")
    assert not (family / "simpler.yml").exists()


def test_algebra_on_checkpoints_and_an_output(family, smelt_command):
    base, math = smelt.Checkpoint("base"), smelt.Checkpoint("math")
    (passage,) = smelt.explain(2 * math - base).passages
    assert passage.closed.formula == "2·math − 1·base"
    (family / "recipe.yml").write_text(MINUS)
    smelt.merge("recipe.yml", "merged")
    (passage,) = smelt.explain("merged").passages  # through the recipe that it holds
    assert passage.closed.formula == "2·math − 1·base"


def test_a_recipe_that_does_not_fit_its_models_is_an_error(family, smelt_command):
    tiny.save_llama("math", 1, layers=3)
    (family / "recipe.yml").write_text(MINUS)
    answer = smelt_command("explain", "recipe.yml")
    assert answer.code == 1
    assert answer.err.count("\n") == 1


def test_the_example_of_the_readme(monkeypatch, smelt_command):
    monkeypatch.chdir(ROOT)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    name, shown = re.search(r"^\$ smelt explain (\S+)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL).groups()
    assert smelt_command("explain", name).out == shown


def test_many_groups_are_cut(here, smelt_command):
    import numpy as np

    names = [f"t{number:02d}" for number in range(50)]
    rules = ", ".join(f"{{filter: {name}, value: {number + 1}}}" for number, name in enumerate(names))
    for model in ("a", "b"):
        tiny.save(model, {name: np.ones(2, np.float32) for name in names})
    (here / "recipe.yml").write_text(
        "merge_method: linear\nparameters: {normalize: false}\nmodels:\n"
        f"  - {{model: a, parameters: {{weight: [{rules}]}}}}\n  - {{model: b, parameters: {{weight: 1}}}}\n"
    )
    assert "… and 10 more groups; --json has them all" in smelt_command("explain", "recipe.yml").out
