"""Notes: what is said of which line, and of what nothing is said."""

import re
from pathlib import Path

import numpy as np
import pytest

import smelt
import tiny
from smelt.explanation.notes import Note, find_notes

PUBLISHED = Path(__file__).parents[1] / "recipes" / "published"


def notes(text, pattern=""):
    """Return (line, text) of the notes on a recipe's text alone in which ``pattern`` is found."""
    found = find_notes(smelt.read(text), None)
    return [(note.line, note.text) for note in found if re.search(pattern, note.text)]


def planned(text, pattern=""):
    recipe = smelt.read(text)
    found = smelt.explain(recipe).notes
    return [(note.line, note.text) for note in found if re.search(pattern, note.text)]


@pytest.fixture
def models(here):
    for seed, name in enumerate("ABC"):
        tiny.save_llama(here / name, seed, dtype="f4")
    return here


def recipe(method, settings="", base="A", **models):
    """Return a recipe: line 1 the method, 2 the base, 3 the settings, from line 5 on a model with its parameters."""
    entries = "\n".join(f"  - {{model: {name}, parameters: {{{given}}}}}" for name, given in models.items())
    return f"merge_method: {method}\nbase_model: {base}\nparameters: {{{settings}}}\nmodels:\n{entries}\n"


def test_a_listed_base(models):
    text = recipe("ties", "density: 0.5", A="weight: 1", B="weight: 1")
    zero = "'A' is the base model itself: its difference is zero, so listing it changes nothing"
    unused = "'weight' of 'A' has no effect: it is left out as the base"
    assert notes(text, "'A'") == planned(text, "'A'") == [(5, zero), (5, unused)]
    assert notes(recipe("ties", B="weight: 1"), "'A'") == []


def test_another_name_of_the_base_is_found_by_planning(models):
    text = recipe("ties", B="weight: 1").replace("model: B", "model: ./A/../A")
    assert notes(text, "itself") == []
    assert [line for line, _ in planned(text, "is the base model itself")] in ([5], [None])


def test_a_base_of_a_method_that_has_none():
    assert notes(recipe("linear", A="weight: 1", B="weight: 1")) == [
        (5, "linear has no base: 'A' counts like every other model")
    ]
    ((line, text),) = notes(recipe("karcher", B="", C=""))
    assert line == 2
    assert text.startswith("karcher has no base: 'A' gives configuration, tokenizer and dtypes")


def test_a_negative_weight_that_normalize_cancels(models):
    text = recipe("task_arithmetic", "normalize: true", B="weight: -1")
    assert [line for line, _ in notes(text, "sign of a negative weight cancels")] == [5]
    assert len(planned(text, "sign of a negative weight cancels")) == 1  # planning notes it too
    assert notes(text.replace("true", "false"), "cancels") == []
    merged = smelt.merge(smelt.read(text))
    np.testing.assert_allclose(merged["model.norm.weight"], tiny.read("B")["model.norm.weight"], rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "one", "other", "said"),
    [
        ("task_arithmetic", 1.0, -0.5, []),  # divided by 0.5: 2·B − 1·C
        ("task_arithmetic", 0.5, -1.0, [(6, "the weights sum to −0.5, so 'normalize' turns every sign round")]),
        ("ties", 1.0, -0.5, [(6, "'normalize' divides by the weights that take part, so the sign of a")]),
    ],
)
def test_negative_weights_among_others_under_normalize(models, method, one, other, said):
    text = recipe(method, "normalize: true", B=f"weight: {one}", C=f"weight: {other}")
    for found in (notes(text, "sign of a|every sign"), planned(text, "sign of a|every sign")):
        assert [(line, words[: len(start)]) for (line, words), (_, start) in zip(found, said, strict=True)] == said
    if method == "task_arithmetic":
        a, b, c = (tiny.read(name)["model.norm.weight"].astype("f8") for name in "ABC")
        by_hand = a + (one * (b - a) + other * (c - a)) / (one + other)
        np.testing.assert_allclose(smelt.merge(smelt.read(text))["model.norm.weight"], by_hand, rtol=1e-5, atol=1e-6)


def test_negative_weights_of_an_average(models):
    text = "merge_method: linear\nmodels:\n  - {model: A, parameters: {weight: -1}}\n"
    assert [line for line, _ in notes(text, "sign of a negative weight cancels")] == [3]
    text += "  - {model: B, parameters: {weight: 0.5}}\n"
    ((line, said),) = notes(text, "every sign round")
    assert (line, said[:29]) == (3, "the weights sum to −0.5, so '")
    a, b = (tiny.read(name)["model.norm.weight"].astype("f8") for name in "AB")
    np.testing.assert_allclose(smelt.merge(smelt.read(text))["model.norm.weight"], 2 * a - b, rtol=1e-5, atol=1e-6)
    assert notes(text + "parameters: {normalize: false}\n", "sign") == []


def test_signs_that_a_gradient_gives_are_noted_by_planning(models):
    text = recipe("task_arithmetic", "normalize: true", B="weight: [-1, -1]", C="weight: 0.5")
    assert len(planned(text, "sign of a negative weight cancels where these sum to less than 0")) == 1


def test_weights_without_effect(models):
    assert notes(recipe("ties", B="weight: 0.4"), "no effect") == [
        (5, "the weight of 'B' has no effect: with one model 'normalize' divides it by itself")
    ]
    assert notes(recipe("ties", "normalize: false", B="weight: 0.4"), "no effect") == []
    assert notes(recipe("ties", B="weight: 1"), "no effect") == []
    one, other = (smelt.merge(smelt.read(recipe("ties", B=f"weight: {w}"))) for w in (0.5, 2))
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    assert notes(recipe("task_arithmetic", B="weight: 1", C="weight: 0"), "weight 0") == [
        (6, "'C' has weight 0, so it contributes nothing")
    ]


def test_full_strength_differences_on_one_base():
    ((line, text),) = notes(recipe("task_arithmetic", B="weight: 1", C="weight: 1", D="weight: 1"), "right angles")
    assert line == 5
    assert "with the factors 1, 1, 1: equally large" in text
    assert "make one 1.73 times as large" in text  # √3
    assert "3 times where they agree; positive factors that sum to at most 1 stay within" in text
    assert notes(recipe("task_arithmetic", "lambda: 0.4", B="weight: 1", C="weight: 1"), "right angles") == []
    assert notes(recipe("task_arithmetic", "normalize: true", B="weight: 1", C="weight: 1"), "right angles") == []
    assert notes(recipe("task_arithmetic", B="weight: 2"), "right angles") == []


def test_full_strength_differences_that_an_election_adds_up():
    text = recipe("ties", "normalize: false", B="weight: 1", C="weight: 1", D="weight: -0.5")
    ((line, said),) = notes(text, "added up")
    assert line == 5
    assert "with the factors 1, 1, −0.5: where all do and are equally large, to 2.5 times a parent's" in said
    assert notes(text.replace("normalize: false", "normalize: true"), "added up") == []
    assert notes(recipe("ties", "normalize: false, lambda: 0.4", B="weight: 1", C="weight: 1"), "added up") == []


def test_agreeing_differences_add_up_as_the_note_says():
    base, *tuned = (smelt.Checkpoint({"w": np.float32(x)}) for x in ([0, 0], [2, 1], [2, -1], [-2, 3]))
    merged = smelt.merge(smelt.methods.ties(base, tuned, weight=[1.0, 1.0, -0.5], normalize=False))
    assert merged["w"].tolist() == [5.0, -2.5]  # the weighted differences are 2 2 1 and 1 −1 −1.5


@pytest.mark.parametrize("method", ["ties", "della", "breadcrumbs", "breadcrumbs_ties"])
def test_density_0_and_lambda_0_leave_nothing(models, method):
    text = recipe(method, "lambda: 1", B="weight: 1", C="weight: 1, density: 0")
    said = "'C' has density 0: nothing of its difference is kept, so it contributes nothing"
    assert notes(text, "density 0") == [(6, said)]
    alone = recipe(method, "lambda: 1", B="weight: 1")
    one, other = (smelt.merge(smelt.read(t)) for t in (text, alone))
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    nothing = text.replace("lambda: 1", "lambda: 0")
    assert notes(nothing, "lambda 0") == [(3, "at lambda 0 nothing is added to 'A': it comes out as it is")]
    merged, base = smelt.merge(smelt.read(nothing)), tiny.read("A")
    assert all(np.array_equal(merged[name], base[name]) for name in merged)


def test_density_0_where_weights_are_divided_by(models):
    text = recipe("breadcrumbs", "normalize: true", B="weight: 1", C="weight: 1, density: 0")
    assert notes(text, "density 0")[0][1].endswith("is kept, but it still counts in what scales the others")
    merged, alone = (smelt.merge(smelt.read(t)) for t in (text, recipe("breadcrumbs", B="weight: 0.5")))
    np.testing.assert_allclose(merged["model.norm.weight"], alone["model.norm.weight"], rtol=1e-6)


def test_what_has_density_0_is_not_added_up():
    nothing, whole = "weight: 1, density: 0", "weight: 1, density: 1"
    assert notes(recipe("dare_linear", B=nothing, C=whole), "right angles|√") == []
    assert notes(recipe("dare_ties", "normalize: false", B=nothing, C=nothing), "added up") == []


def test_orthogonal_differences_add_up_as_the_note_says():
    base, *tuned = (smelt.Checkpoint({"w": np.float32(x)}) for x in ([0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]))
    merged = smelt.merge(smelt.methods.task_arithmetic(base, tuned, weight=1.0))
    assert np.linalg.norm(merged["w"]) / 2 == pytest.approx(1.73, abs=0.005)


def test_the_noise_of_dropping_makes_the_sum_larger():
    found = notes(recipe("dare_linear", B="weight: 1, density: 0.3", C="weight: 1"), "noise of dropping")
    assert found == [(5, "with the noise of dropping it is 2.08 times as large, √(Σ factor²/density)")]


def test_slerp_on_the_straight_line():
    ((line, text),) = notes(recipe("slerp", "t: 0.5", A="", B=""))
    assert line == 3
    assert "fine-tunes of one base may be" in text
    assert "linear with the weights 1 − t and t" in text
    assert notes(recipe("slerp", "t: 1", A="", B="")) == [(3, "slerp at t = 1 is 'B' itself, whatever the angle")]
    assert notes(recipe("slerp", "t: 0", B="")) == [(3, "slerp at t = 0 is 'A' itself, whatever the angle")]
    without_base = recipe("nuslerp", B="weight: 1", C="weight: 1").replace("base_model: A\n", "")
    assert "may be so nearly parallel that it is linear in effect" in notes(without_base)[0][1]
    assert notes(recipe("nuslerp", B="weight: 1", C="weight: 1")) == []
    ends = recipe("nuslerp", B="weight: 0", C="weight: 1").replace("base_model: A\n", "")
    assert notes(ends) == [(4, "nuslerp at t = 1 is 'C' itself, whatever the angle")]


def test_slerp_that_is_linear_everywhere_has_no_angle_to_speak_of(models):
    text = recipe("slerp", "t: [{filter: mlp, value: 1}, {value: VALUE}]", B="")
    assert planned(text.replace("VALUE", "0"), "cos Ω") == []
    assert len(planned(text.replace("VALUE", "0.5"), "cos Ω")) == 1


def test_slerp_below_its_angle_is_the_straight_line():
    angle = np.radians(1.75)  # below the 1.8° of the note
    a, b = (smelt.Checkpoint({"w": np.float32(x)}) for x in ([1, 0], [np.cos(angle), np.sin(angle)]))
    merged = smelt.merge(smelt.methods.slerp(a, b, t=0.5))
    np.testing.assert_allclose(merged["w"], [(1 + np.cos(angle)) / 2, np.sin(angle) / 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        (recipe("dare_ties", "rescale: l1", B="weight: 1, density: 1"), 3, "rescale"),
        (recipe("ties", "density: 1, scope: model", B="weight: 1"), 3, "scope"),
        (recipe("della", B="weight: 1, density: 1, epsilon: 0.1"), 5, "epsilon"),
        (recipe("della", B="weight: 1, density: 0, epsilon: 0.1"), 5, "epsilon"),
        (recipe("breadcrumbs", "gamma: 0.1", B="weight: 1, density: 1"), 3, "gamma"),
        (recipe("nuslerp", "nuslerp_row_wise: true", B="weight: 1", C="weight: 1"), 3, "nuslerp_row_wise"),
        (recipe("task_arithmetic", "equalize: l2", B="weight: 1"), 3, "equalize"),
        (recipe("ties", "int8_mask: true", B="weight: 1"), 3, "int8_mask"),
    ],
)
def test_settings_without_effect(models, text, line, name):
    assert [at for at, said in notes(text) if said.startswith(f"'{name}' has no effect")] == [line]
    bare = re.sub(rf"(, )?{name}: \w+(\.\d)?", "", text)
    assert bare != text
    with_it, without_it = (smelt.merge(smelt.read(t)) for t in (text, bare))
    for tensor in with_it:
        np.testing.assert_allclose(with_it[tensor], without_it[tensor], rtol=1e-6, atol=1e-6)


def test_settings_with_effect():
    assert notes(recipe("dare_ties", "rescale: l1", B="weight: 1, density: 0.5"), "no effect") == []
    assert notes(recipe("ties", "density: [1, 0.5], scope: model", B="weight: 1"), "no effect") == []
    assert notes(recipe("task_arithmetic", "equalize: l2", B="weight: 1", C="weight: 1"), "no effect") == []


def test_seeds_that_matter():
    text = recipe("dare_ties", B="weight: 1, density: 0.5") + "seed: 4\n"
    assert [(line, said[:35]) for line, said in notes(text, "seed")] == [(1, "the seed (4) decides which entries ")]
    assert notes(text.replace("0.5", "1"), "seed") == [(None, "the seed (4) has no effect: nothing is drawn at random")]
    assert notes(recipe("ties", B="weight: 1"), "seed") == []


def test_gradients(models):
    text = recipe("task_arithmetic", B="weight: [0, 1]")
    assert [line for line, _ in notes(text, "gradient of 'weight'")] == [5]
    assert len(planned(text, "gradient")) == 1  # planning notes it too
    text = recipe("task_arithmetic", B="weight: [0, 1]", C="weight: [1, 0]")
    assert [line for line, _ in notes(text, "gradient of 'weight'")] == [5]  # said once


def test_factors_that_do_not_sum_to_1(models):
    text = recipe("linear", "normalize: false", B="weight: 0.5", C="weight: 0.2")
    ((line, said),) = planned(text, "sum to")
    assert (line, said[:62]) == (3, "the factors of the models sum to 0.7 and not to 1, so what the")
    graded = recipe("linear", "normalize: false", B="weight: [0.5, 0.25]", C="weight: 0.5")
    assert "sum to 0.75 and not to 1 (in 3 of 9 tensors)" in planned(graded, "sum to")[0][1]
    assert planned(recipe("linear", B="weight: 0.5", C="weight: 0.2"), "sum to") == []
    assert planned(recipe("task_arithmetic", B="weight: 1", C="weight: 1"), "not to 1") == []


def test_a_simpler_recipe_is_named(models):
    text = recipe("task_arithmetic", A="weight: 3", B="weight: 2", C="weight: 0.5")
    said = "the same comes out of task_arithmetic on 'A' with 'B' at weight 2 and 'C' at weight 0.5; "
    assert planned(text, "comes out") == [(1, f"{said}--simplify OUT.yml writes that recipe")]
    alone = planned(recipe("slerp", "t: 1", A="", B=""), "comes out")
    assert alone == [(1, "the same comes out of 'B' alone; --simplify OUT.yml writes that recipe")]
    assert planned(recipe("task_arithmetic", B="weight: 2"), "comes out") == []


def test_tensors_that_lose_everything(models):
    """Of 4 entries a fifth is none; of the 16 and more of the others it is 3 and more."""
    ((line, text),) = planned(recipe("ties", B="weight: 1, density: 0.2"), "lost as a whole")
    assert line == 5
    assert text.startswith("in 3 tensors, such as 'model.layers.0.input_layernorm.weight' (of 4 entries)")
    assert planned(recipe("ties", B="weight: 1, density: 0.25"), "lost") == []
    assert planned(recipe("ties", B="weight: 1, density: 0"), "lost") == []
    assert planned(recipe("ties", "scope: model", B="weight: 1, density: 0.2"), "lost") == []
    assert planned(recipe("breadcrumbs", B="weight: 1, density: 0.5"), "lost") == []  # no outlier, as ⌊0.01·4⌋ = 0
    assert len(planned(recipe("breadcrumbs", B="weight: 1, density: 0.1"), "in 3 tensors")) == 1
    merged, base = smelt.merge(smelt.read(recipe("ties", B="weight: 1, density: 0.2"))), tiny.read("A")
    assert merged["model.norm.weight"].tolist() == base["model.norm.weight"].tolist()


def test_tensors_that_draws_are_likely_to_empty(models):
    """Of 4 entries all are dropped with 0.9⁴ = 0.656; of 16 with 0.9¹⁶ = 0.185."""
    ((line, text),) = planned(recipe("dare_linear", B="weight: 1, density: 0.1", C="weight: 1"), "more likely than not")
    assert line == 5
    assert text.startswith("in 3 tensors, such as 'model.layers.0.input_layernorm.weight' (of 4 entries)")
    assert text.endswith("(1 − density)^entries = 0.656")
    assert planned(recipe("dare_linear", B="weight: 1, density: 0.2"), "more likely than not") == []  # 0.8⁴ = 0.41


def test_models_in_memory_have_no_sizes_to_speak_of():
    """They may stand in for models that cannot be reached."""
    a, b = (smelt.Checkpoint({"w": np.float32([1, x])}) for x in (2, 3))
    built = smelt.methods.ties(a, [b], weight=1.0, density=0.1)
    assert find_notes(built, smelt.plan(built)) == ()


def test_notes_of_reading_and_planning_are_among_them_once(models):
    text = recipe("dare_ties", "int8_mask: true, normalize: true", A="weight: 1", B="weight: -1, density: [0.5, 1]")
    plan = smelt.plan(text)
    said = [note.text for note in find_notes(plan.recipe, plan)]
    for note in plan.notes:
        assert said.count(re.sub(r"^recipe:\d+: ", "", note)) == 1, note
    lines = [note.line or 0 for note in find_notes(plan.recipe, plan)]
    assert lines == sorted(lines)


def test_recipes_from_python_have_no_lines():
    built = smelt.methods.task_arithmetic("A", ["B", "C"], weight=1.0)
    assert [note.line for note in find_notes(built, None)] == [None]


def test_the_published_recipes():
    assert notes(PUBLISHED / "base-as-component.yml", "no effect|changes nothing") == [
        (3, "'base-9b' is the base model itself: its difference is zero, so listing it changes nothing"),
        (3, "'weight' and 'density' of 'base-9b' have no effect: it is left out as the base"),
        (19, "'int8_mask' has no effect: it changes no result"),
    ]
    assert "√" in dict(notes(PUBLISHED / "two-stage.yml"))[21]
    assert Note(4, notes(PUBLISHED / "minus-base.yml")[0][1]) in find_notes(
        smelt.read(PUBLISHED / "minus-base.yml"), None
    )
