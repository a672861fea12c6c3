"""Python calls give the recipes that their text would give."""

from pathlib import Path

import numpy as np
import pytest

from smelt.algebra.declare import find
from smelt.errors import InputError
from smelt.recipes.build import build_recipe, combine
from smelt.recipes.reading import read_text
from smelt.recipes.writing import write_recipe


class Opened:
    """Stands for a ``Checkpoint``."""

    def __init__(self, name: str) -> None:
        self.name = name


def build(method, *models, **settings):
    return build_recipe(find(method), models, settings)


def test_ties():
    expected = read_text(
        """\
merge_method: ties
base_model: base
models:
  - {model: math, parameters: {weight: 0.6}}
  - {model: code, parameters: {weight: 0.4}}
parameters: {density: 0.5, lambda: 0.9}
dtype: bfloat16
name: mix
seed: 3
""",
        "recipe.yml",
    )
    arguments = {"density": 0.5, "lambda_": 0.9, "dtype": "bfloat16", "name": "mix", "seed": 3}
    assert build("ties", "base", ["math", Path("code")], weight=[0.6, 0.4], **arguments) == expected
    assert build("ties", "base", ("math", "code"), weight=np.array([0.6, 0.4]), **arguments) == expected


def test_other_shapes():
    assert build("linear", ["a", "b"], weight=[1, 1]) == read_text(
        "merge_method: linear\nmodels: [{model: a, parameters: &w {weight: 1}}, {model: b, parameters: *w}]\n",
        "r",
    )
    assert build("linear", ["a", "b"], weight=np.float32(0.5)) == read_text(
        "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n", "r"
    )
    assert build("slerp", "a", "b", t=[0, 1]) == read_text(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: [0, 1]}\n", "r"
    )
    assert build("passthrough", "a") == read_text("merge_method: passthrough\nmodels: [{model: a}]\n", "r")


def test_gradients_per_model():
    recipe = build("linear", ["a", "b"], weight=[[0, 1], 0.5])
    first, second = recipe.result.modules[0].slices[0].sources
    assert first.parameters["weight"].rules[0].value == (0.0, 1.0)
    assert second.parameters["weight"].rules[0].value == 0.5


def test_checkpoints_keep_their_objects():
    a, b = Opened("arrays"), Opened("arrays")
    recipe = build("ties", a, [a, b], weight=[1, 1])
    first, second = recipe.result.modules[0].slices[0].sources
    assert recipe.result.base_model == first.model
    assert first.model != second.model
    assert (first.model.checkpoint, second.model.checkpoint) == (a, b)


def test_combine():
    assert combine([(2, "math"), (-1, "base")]) == build("linear", ["math", "base"], weight=[2, -1], normalize=False)


def test_recipes_as_models():
    inner = build("linear", ["a", "b"], weight=1)
    named = build("linear", [inner, "c"], weight=1, name="mine", dtype="float16")
    recipe = build("ties", "base", [inner, named, inner], weight=[1, 2, 3])
    assert [document.name for document in recipe.documents] == ["stage-1", "mine", None]
    (slice_,) = recipe.result.modules[0].slices
    assert [source.model.text for source in slice_.sources] == ["stage-1", "mine", "stage-1"]
    assert read_text(write_recipe(recipe), "again") == recipe
    assert recipe.notes == ("ties: 'dtype' has no effect on the intermediate 'mine', which stays float32",)


def test_different_stages_get_different_names():
    one, two = build("linear", ["a"], weight=1), build("linear", ["b"], weight=1)
    assert build("slerp", one, two, t=0.5).names == ("stage-1", "stage-2")


def test_seeds_of_recipes():
    one, two = (build("passthrough", "a", seed=seed, name=f"s{seed}") for seed in (1, 2))
    assert build("linear", [one], weight=1).seed == 1
    assert build("linear", [one, two], weight=1, seed=5).seed == 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: build("ties", "a", ["b"], weight=1, densty=1),
            "ties: ties has no setting 'densty'; did you mean 'density'? Settings: weight, density, normalize, lambda_,"
            " rescale, scope, equalize, dtype, out_dtype, name, seed.",
        ),
        (
            lambda: build("ties", "a", ["b"], weight=[1, 2]),
            "ties: 'weight' has 2 values for 1 model; give one number or one for each",
        ),
        (lambda: build("ties", "a", ["b"], weight=2, density=2), "ties: 'density' must be a number from 0 to 1, not 2"),
        (
            lambda: build("ties", "a", ["b"]),
            "ties: model 'b' has no 'weight', which ties needs of every model but the base model;"
            " write 'parameters: {weight: …}' under it",
        ),
        (lambda: build("ties", "a", []), "ties: 'models' is an empty list"),
        (
            lambda: build("ties", "a", "b", weight=1),
            "ties: the models are (base, [models]), where [models] is a list of models",
        ),
        (lambda: build("slerp", "a", t=1), "slerp: the models are (a, b)"),
        (lambda: build("linear", [3], weight=1), "linear: a model is a Checkpoint, a path or a recipe, not int"),
        (
            lambda: build("linear", ["a"], weight=object()),
            "linear: a setting is a number, text, list or dict, not object",
        ),
        (
            lambda: build("linear", [build("passthrough", "a", seed=1), build("passthrough", "b")], weight=1),
            "linear: the recipes among the models have the seeds 1, 0; give seed=",
        ),
        (
            lambda: build("slerp", *(build("passthrough", m, name="x") for m in "ab"), t=1),
            "slerp: two recipes are called 'x'; give each a 'name' of its own",
        ),
        (lambda: combine([(float("inf"), "a")]), "linear: 'weight' must be a finite number, not inf"),
    ],
)
def test_errors(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == words
