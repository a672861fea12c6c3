"""Recipes in files, cards and folders, and on a stand-in for the hub."""

import io
import sys

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from smelt.errors import InputError
from smelt.explanation import finding
from smelt.explanation.finding import find_recipe, take_from_card
from smelt.tensors.hub import load_first

RECIPE = """merge_method: linear
models:
  - {model: a, parameters: {weight: 1.0}}
  - {model: b, parameters: {weight: 2.0}}
"""
CARD = f"""---
license: mit
---
# A model

```python
merge_method = "linear"
```

```yaml
{RECIPE}```

Text.
"""


@pytest.mark.parametrize("name", ["mergekit_config.yml", "smelt_recipe.yml", "README.md"])
def test_a_folder_that_holds_a_recipe(here, name):
    (here / "merge").mkdir()
    (here / "merge" / name).write_text(CARD if name == "README.md" else RECIPE)
    found = find_recipe("merge")
    assert found.origin == name
    assert found.result.method.name == "linear"
    assert [source.model.text for source in found.result.modules[0].slices[0].sources] == ["a", "b"]


def test_a_recipe_file_comes_before_the_card(here):
    (here / "README.md").write_text("no recipe here")
    (here / "smelt_recipe.yml").write_text(RECIPE)
    (here / "mergekit_config.yml").write_text(RECIPE)
    assert find_recipe(here).origin == "mergekit_config.yml"


def test_a_file_a_card_a_text_and_standard_input(here, monkeypatch):
    (here / "one.yml").write_text(RECIPE)
    (here / "card.md").write_text(CARD)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(RECIPE.encode())))
    found = [find_recipe(source) for source in ("one.yml", here / "card.md", RECIPE, "-")]
    assert [recipe.origin for recipe in found] == ["one.yml", "card.md", "recipe", "standard input"]
    assert all(recipe == found[0] for recipe in found)


def test_a_card_that_is_piped_or_pasted(here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CARD.encode())))
    assert find_recipe("-") == find_recipe(CARD) == find_recipe(RECIPE)
    with pytest.raises(InputError, match=r"^recipe:11: .*'linear'"):
        find_recipe(CARD.replace("linear\nmodels", "liner\nmodels"))


def test_a_recipe_whose_chat_template_holds_marks_is_no_card():
    text = RECIPE + "chat_template: |\n  {{ messages }}\n  ```\n  code\n  ```\n"
    assert find_recipe(text).result.chat_template is not None


def test_lines_are_those_of_the_card(here):
    (here / "README.md").write_text(CARD.replace("linear\nmodels", "liner\nmodels"))
    with pytest.raises(InputError, match=r"^README.md:11: .*'linear'"):
        find_recipe(here)


def test_several_blocks_are_documents():
    second = "```yaml\nmerge_method: linear\nmodels: [{model: first}]\n```\n"
    text = take_from_card(f"```yaml\nname: first\n{RECIPE}```\nthen\n{second}", "card")
    assert text.count("---") == 1
    assert text.splitlines()[9] == "merge_method: linear"


@pytest.mark.parametrize(
    "card",
    [
        f"~~~~\n{RECIPE}~~~~\n",
        f"````yaml\n```\n{RECIPE}````\n".replace("```\nmerge", "merge"),
        f"```yaml\n{RECIPE}",  # never closed
        f"text\r\n```yaml title\r\n{RECIPE}```\r\n",
        "- in a list:\n\n  ```yaml\n" + "".join(f"  {line}\n" for line in RECIPE.splitlines()) + "  ```\n",
    ],
)
def test_other_ways_to_write_a_block(here, card):
    (here / "README.md").write_bytes(card.encode())
    assert find_recipe(here).result.method.name == "linear"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing.yml", "nothing.yml: there is no such recipe file"),
        ("folder/nothing.yml", "nothing.yml: there is no such recipe file"),
        ("empty", "empty: the folder holds no recipe: none of mergekit_config.yml, smelt_recipe.yml, README.md"),
        ("card.md", "card.md: no recipe: no block between ``` marks says 'merge_method'"),
        ("a/b/c", "c: there is no such recipe file"),
    ],
)
def test_nothing_is_found(here, source, words):
    (here / "empty").mkdir()
    (here / "card.md").write_text("```yaml\nmodels: []\n```\nmerge_method: linear\n")
    with pytest.raises(InputError) as error:
        find_recipe(source)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "text"), [("mergekit_config.yml", RECIPE), ("README.md", CARD)])
def test_a_repository_of_the_hub(here, monkeypatch, name, text):
    asked = []

    def load_first(repository, revision, names):
        asked.append((repository, revision, names))
        return name, text.encode()

    monkeypatch.setattr(finding, "load_first", load_first)
    assert find_recipe("org/merge@v1").origin == f"org/merge@v1/{name}"
    assert asked == [("org/merge", "v1", ("mergekit_config.yml", "smelt_recipe.yml", "README.md"))]


def test_an_unreachable_hub_is_asked_once(here, monkeypatch):
    """Each attempt may wait for half a minute; whatever else is wanted can only come from the cache."""
    asked = []

    def download(repository, name, *, revision, local_files_only):
        asked.append((name, local_files_only))
        if name == "README.md":
            (here / name).write_text("a card")
            return str(here / name)
        raise LocalEntryNotFoundError(f"no {name}")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert load_first("org/merge", None, ("a.yml", "b.yml", "README.md")) == ("README.md", b"a card")
    assert asked == [("a.yml", False), ("b.yml", True), ("README.md", True)]
    with pytest.raises(InputError, match=r"^org/merge: cannot be loaded from the hub: no a.yml$"):
        load_first("org/merge", None, ("a.yml", "b.yml"))


def test_a_repository_without_a_recipe(here, monkeypatch):
    monkeypatch.setattr(finding, "load_first", lambda *_: None)
    with pytest.raises(InputError, match=r"^org/merge: the repository holds no recipe: none of mergekit_config.yml"):
        find_recipe("org/merge")
