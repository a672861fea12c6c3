"""Whatever stands in a recipe, reading it ends in a recipe or in one line about it."""

import random
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from smelt.errors import InputError
from smelt.recipes.reading import read_text
from smelt.recipes.writing import write_recipe

PUBLISHED = sorted((Path(__file__).parent / "published").glob("*.yml"))
TEXTS = [path.read_text("utf-8") for path in PUBLISHED] + [
    """\
merge_method: slerp
slices:
  - sources: [{model: a, layer_range: [0, 2]}, {model: {model: b, lora: {path: c}}, layer_range: [1, 3]}]
    parameters: {t: [{filter: mlp, value: [0, 1]}, {value: 1e-8}]}
base_model: a
tokenizer: {source: union, tokens: {x: {source: {kind: model_token, model: a, token_id: 3}}}, pad_to_multiple_of: 8}
chat_template: chatml
seed: 1
"""
]
SPLINTERS = (
    *(
        "---\n",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "<<: ",
        "\n",
        "  ",
        "\t",
        "'",
        '"',
        "#",
        "|\n",
        ">",
        "!!int ",
    ),
    *("null", "true", "1e999", ".nan", "-1", "0x", "0b_", "1:30", "2024-01-01", "é", "\x00", "\u2028", "?", "%", "@"),
    *("models: ", "slices: ", "modules: ", "name: x\n", "parameters: ", "filter: ", "value: ", "layer_range: "),
)


def mutate(text: str, seed: int, times: int) -> str:
    draw = random.Random(seed)
    for _ in range(times):
        at, stop = sorted(draw.randrange(len(text) + 1) for _ in range(2))
        stop = min(stop, at + 30)
        lines = text.splitlines(keepends=True)
        text = draw.choice(
            [
                text[:at] + draw.choice(SPLINTERS) + text[at:],
                text[:at] + draw.choice(SPLINTERS) + text[stop:],
                text[:at] + text[stop:],
                "".join(draw.sample(lines, len(lines))) if draw.random() < 0.1 else text + draw.choice(lines or [""]),
                text.replace(draw.choice(text.split() or ["a"]), draw.choice(SPLINTERS), 1),
            ]
        )
    return text


def check(text: str, lenient: bool) -> None:
    try:
        recipe = read_text(text, "recipe.yml", lenient=lenient)
    except InputError as error:
        message = str(error)
        assert message.startswith("recipe.yml:")
        assert message.partition(":")[2].partition(":")[0].isdigit()
        assert len(message.splitlines()) == 1
    else:
        assert read_text(write_recipe(recipe), "again") == recipe


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(TEXTS), st.integers(0, 2**32), st.integers(1, 4), st.booleans())
def test_mutated_recipes(text, seed, times, lenient):
    check(mutate(text, seed, times), lenient)


LEAVES = (None, True, -1, 0, 0.5, 10**400, float("inf"), "", "a", "base", "zero", "model_token", "ties")
INNER = (
    "model",
    "models",
    "path",
    "value",
    "filter",
    "weight",
    "t",
    "kind",
    "token",
    "source",
    "sources",
    "layer_range",
)
OUTER = ("base_model", "parameters", "models", "slices", "modules", "tokenizer", "tokenizer_source", "chat_template")
SHORT = ("name", "dtype", "out_dtype", "seed", "merge_method")
TREES = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(OUTER + SHORT), TREES, st.booleans())
def test_wrong_trees_under_every_key(key, tree, lenient):
    models = [{"model": "b", "parameters": {"weight": 1}}]
    whole = {"merge_method": "ties", "base_model": "a", "models": models, key: tree}
    if key in ("slices", "modules"):
        del whole["models"]
    check(yaml.safe_dump(whole), lenient)
