"""Recipes that people have published, met well."""

from pathlib import Path

import pytest

from smelt.errors import InputError
from smelt.recipes.nouns import Reference, Rule
from smelt.recipes.reading import read, read_text
from smelt.recipes.writing import write_recipe

PUBLISHED = Path(__file__).parent / "published"
STAGE = "mistral-wizardmath-dare-0.7-density"


def test_minus_base():
    recipe = read(PUBLISHED / "minus-base.yml")
    (document,) = recipe.documents
    (instruct, plain) = document.modules[0].slices[0].sources
    assert document.method.name == "task_arithmetic"
    assert document.base_model == instruct.model == Reference("meta-llama/Meta-Llama-3-8B-Instruct")
    assert plain.parameters["weight"].rules == (Rule(None, -1.0),)
    assert (instruct.line, plain.line, plain.parameters["weight"].line, document.line) == (4, 8, 10, 2)
    assert document.parameters["normalize"].rules == (Rule(None, False),)
    assert document.dtype is not None
    assert document.dtype.recipe_name == "float32"
    assert recipe.notes == ()
    assert recipe.seed == 0


def test_base_as_component():
    recipe = read(PUBLISHED / "base-as-component.yml")
    assert [str(source.model) for source in recipe.result.modules[0].slices[0].sources] == [
        "base-9b",
        "writer-9b",
        "roleplay-9b",
    ]
    assert recipe.notes == ("base-as-component.yml:19: 'int8_mask' has no effect: it changes no result",)


def test_two_stages():
    recipe = read(PUBLISHED / "two-stage.yml")
    first, second = recipe.documents
    assert (first.name, second.name, recipe.names) == (STAGE, None, (STAGE,))
    assert recipe.result is second
    assert recipe.find(second.modules[0].slices[0].sources[0].model) is first
    assert recipe.find(second.modules[0].slices[0].sources[1].model) is None
    assert recipe.notes == (
        "two-stage.yml:13: 'int8_mask' has no effect: it changes no result",
        f"two-stage.yml:14: 'dtype' has no effect on the intermediate '{STAGE}', which stays float32",
    )


def test_two_stages_as_published_are_repaired_message_by_message():
    text = (PUBLISHED / "two-stage-as-published.yml").read_text("utf-8")
    name = f" The first recipe also needs the line 'name: {STAGE}' (now a comment on line 2), because line"
    assert message(text) == (
        "card.yml:16: 'merge_method' stands twice, on lines 9 and 16. Is a '---' line missing above line 16, between"
        f" two recipes?{name} 19 refers to it."
    )
    text = text.replace("\n\nmerge_method", "\n---\nmerge_method")
    assert message(text) == (
        "card.yml:16: 2 recipes are used by no other: the unnamed one (line 2), the unnamed one (line 16). Exactly one"
        f" may be, the result; refer to the others by their 'name'.{name} 19 refers to it."
    )
    text = text.replace("models: #", f"name: {STAGE}\nmodels: #")
    assert message(text) == (
        f"card.yml:20: model '{STAGE}' has no 'weight', which task_arithmetic needs of every model but the base model;"
        " write 'parameters: {weight: …}' under it"
    )
    text = text.replace(f"- model: {STAGE}", f"- model: {STAGE}\n    parameters: {{weight: 1}}")
    assert read_text(text, "card.yml") == read(PUBLISHED / "two-stage.yml")


@pytest.mark.parametrize("name", ["minus-base", "base-as-component", "two-stage"])
def test_written_and_read_again(name):
    recipe = read(PUBLISHED / f"{name}.yml")
    assert read_text(write_recipe(recipe), "again") == recipe


def message(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_text(text, "card.yml")
    return str(caught.value)
