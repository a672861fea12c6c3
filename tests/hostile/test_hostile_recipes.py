"""Recipes that are made to hurt; the wording of ordinary mistakes is in test_recipe_errors."""

import io
import sys
import types

import pytest
from refusals import RECIPE, check_message, refuse, write_models

import smelt
from smelt.recipes.reading import LARGEST_BYTES, read

LONG = "x" * 90_000
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(12))
CASES = {
    "laughs": (LAUGHS, "more than 100,000 values once aliases are expanded"),
    "laughs by merge keys": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n + 1}: &a{n + 1} {{k: [{', '.join([f'{{<<: *a{n}}}'] * 10)}]}}\n" for n in range(12)),
        "more than 100,000 values once aliases are expanded",
    ),
    "alias in itself": ("a: &a {b: *a}\n", "or an alias holds itself"),
    "merge of itself": ("a: &a {<<: *a}\n", "or an alias holds itself"),
    "deep lists": ("[" * 90_000 + "\n", "nested deeper than 40 levels"),
    "deep mappings": ("{a: " * 10_000 + "\n", "nested deeper than 40 levels"),
    "deep by indents": ("\n".join(" " * n + "a:" for n in range(300)) + "\n", "nested deeper than 40 levels"),
    "object": ("a: !!python/object/apply:os.system ['touch was_here']\n", "has no meaning in a recipe"),
    "module": ("a: !!python/module:os x\n", "has no meaning in a recipe"),
    "own tag": ("a: !x y\n", "the tag '!x' has no meaning"),
    "long tag": (f"a: !{LONG} y\n", "has no meaning in a recipe"),
    "binary": ("a: !!binary aGk=\n", "has no meaning in a recipe"),
    "duplicate key": (RECIPE + "dtype: float32\ndtype: float16\n", "'dtype' stands twice"),
    "not a character": (RECIPE + "name: \x1b[31m\n", "is not allowed in YAML"),
    "escaped control characters": (RECIPE + 'name: "x"\n"\\e[2J\\u202e": 1\n', r"no key '\x1b[2J\u202e'"),
    "long key": (RECIPE + f"{LONG[:1000]}: 1\n", "a recipe has no key 'xxx"),
    "long text": (RECIPE + f"dtype: {LONG}\n", "there is no dtype 'xxx"),
    "long method": (f"merge_method: {LONG}\nmodels: []\n", "there is no merge method 'xxx"),
    "long alias": (f"a: *{LONG}\n", "found undefined alias"),
    "long model": (RECIPE.replace("model: b", f"model: {LONG}"), "no such file or folder"),
    "revision that leads out of the cache": (
        RECIPE.replace("model: b", "model: org/name@../../../x"),
        "'org/name': '../../../x' cannot be a branch, tag or commit",
    ),
    "revision apart": (
        RECIPE.replace("model: b", 'model: {model: org/name, revision: "/etc\\e"}'),
        r"'org/name': '/etc\x1b' cannot be a branch, tag or commit",
    ),
    "model with an escape": (RECIPE.replace("model: b", r'model: "./\e[2Jx"'), r"'./\x1b[2Jx': no such file"),
    "large": (RECIPE + "# " + "x" * LARGEST_BYTES, "more than 100 kB; a recipe is a short text"),
    "digits": (RECIPE + f"seed: {'9' * 5000}\n", "'seed' must be a whole number"),
    "digits in hexadecimal": (RECIPE + f"seed: 0x{'f' * 5000}\n", "recipe:7: a number of more than 3,000 digits"),
    "digits in a range": (
        "merge_method: slerp\nbase_model: a\nparameters: {t: 1}\nslices:\n- sources:\n"
        f"  - {{model: a, layer_range: [0, 0x{'f' * 5000}]}}\n  - {{model: b, layer_range: [0, 1]}}\n",
        "recipe:6: a number of more than 3,000 digits",
    ),
    "digits to the base of 60": (RECIPE + f"seed: 1{':1' * 20_000}\n", "'seed' must be a whole number"),
    "fractions to the base of 60": (RECIPE + f"seed: 1{':1' * 20_000}.5\n", "'seed' must be a whole number"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_names_recipe_and_fault(name, here):
    text, fault = CASES[name]
    write_models(here)
    message = refuse(text)
    assert message.startswith("recipe:")
    assert fault in message
    assert not (here / "was_here").exists()


def test_thousands_of_merged_mappings_take_no_time_in_their_square(here):
    merged = ",".join(f"{{k{n}: 0}}" for n in range(6_000))
    assert "a recipe has no key 'x'" in refuse(f"x: {{<<: [{merged}]}}\n" + RECIPE)


def test_a_recipe_without_an_end_is_not_read_to_it(here, monkeypatch):
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:] = b"#" * len(buffer)
            return len(buffer)

    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BufferedReader(Endless())))
    for source in ("-", "/dev/zero"):
        with pytest.raises(smelt.InputError, match="more than 100 kB; a recipe is a short text") as caught:
            read(source)
        check_message(caught.value)


def test_a_hostile_recipe_is_exit_code_1(here, smelt_command):
    (here / "recipe.yml").write_text(CASES["object"][0])
    answer = smelt_command("plan", "recipe.yml")
    assert (answer.code, len(answer.err.splitlines())) == (1, 1)
    assert answer.err.startswith("smelt: recipe.yml:1: the tag ")
