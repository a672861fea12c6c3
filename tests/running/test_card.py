"""The model card: its licence, what it is made of, the methods that it cites, how to make it again."""

import pytest
from huggingface_hub import ModelCard

import smelt
import tiny

RECIPE = """
name: first
merge_method: ties
base_model: {0}base
models: [{{model: {0}math}}, {{model: {0}code}}]
parameters: {{weight: 1, density: 0.5}}
---
merge_method: slerp
base_model: first
models: [{{model: first}}, {{model: {0}code}}]
parameters: {{t: 0.5}}
"""


@pytest.fixture
def make(here):
    """Merge three models whose cards name these licences, and return the card's text."""

    def merge(base, math, code, prefix="", out="out", **files):
        for seed, (name, licence) in enumerate((("base", base), ("math", math), ("code", code))):
            card = {"README.md": f"---\nlicense: {licence}\n---\n"} if licence else {}
            tiny.save_llama(here / name, seed, files=card | (files if name == "base" else {}))
        smelt.merge(RECIPE.format(prefix), out)
        return (here / out / "README.md").read_text(encoding="utf-8")

    return merge


def test_the_front_matter_loads(here, make):
    make("llama3.1", "mit", "apache-2.0")
    card = ModelCard.load(here / "out" / "README.md")
    assert card.data.to_dict() == {
        "license": "llama3.1",
        "library_name": "transformers",
        "tags": ["merge", "smelt"],
    }


def test_a_licence_that_the_hub_does_not_list(here, make):
    make("deepseek-license", "mit", "mit")
    card = ModelCard.load(here / "out" / "README.md")
    assert card.data.license == "other"
    assert card.data.license_name == "deepseek"
    assert card.data.license_link == "https://github.com/deepseek-ai/DeepSeek-Coder/blob/main/LICENSE-MODEL"


def test_what_it_says_of_licences(make):
    text = make("llama3", "cc-by-sa-4.0", None, LICENSE="META LLAMA 3 COMMUNITY LICENSE AGREEMENT")
    for line in (
        "license: unknown\n",
        "- `base`, licence: llama3 (README.md, LICENSE)\n",
        "- `math`, licence: cc-by-sa-4.0 (README.md)\n",
        "- `code`, licence: none\n",
        "unknown: the licence of code is not known, so that of the merge is not either. ",
        "no legal advice.\n",
        "- Warning: the licence of code is not known (nothing here names one, and then all rights are reserved): ",
        "- Warning: cc-by-sa-4.0 must be the only licence",
        "- `LICENSE` here is a copy of that of `base` and speaks of that model alone.\n",
        "- llama3: begin the name of the merge with: Llama 3 (in a repository's name: Llama-3)\n",
        "- cc-by-sa-4.0: name the authors",
    ):
        assert line in text


def test_the_methods_of_all_documents_are_cited(make):
    text = make("mit", "mit", "mit")
    assert (
        "- TIES-Merging: Yadav et al., TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023. [arXiv"
        in text
    )
    assert "[arXiv:2306.01708](https://arxiv.org/abs/2306.01708)\n" in text
    assert "Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985\n" in text


def test_it_says_how_to_make_it_again(here, make):
    text = make("mit", "mit", "mit")
    assert "smelt reproduce OUT" in text
    assert "smelt merge smelt_recipe.yml OUT" in text
    assert (here / "out" / "smelt_recipe.yml").read_text(encoding="utf-8").rstrip() in text


def test_the_same_bytes_wherever_the_models_are(here, make):
    relative = make("mit", "gemma", "custom terms")
    absolute = make("mit", "gemma", "custom terms", f"{here}/", "again")
    assert absolute == relative
    assert str(here) not in absolute


def test_hostile_cards_do_not_fail_a_merge(here, make):
    make("[" * 1900, "{a: b}", "!!python/name:os.system x")
    card = ModelCard.load(here / "out" / "README.md")
    assert card.data.license == "unknown"
