"""Formulas: linear parts as coefficients worked out by hand, the rest as it is written."""

import math

import numpy as np
import pytest

import smelt
from smelt.algebra.expressions import input_tensor, slot, slots, stack
from smelt.algebra.formulas import coefficients, combination, describe
from smelt.algebra.printing import print_number
from smelt.algebra.vocabulary import (
    absolute,
    keep_largest,
    kth_largest,
    magnitude_at,
    max_models,
    minimum,
    norm,
    ratio,
    same_sign,
    scalar_function,
    size,
    sum_models,
    total,
    where,
)

A, B, C = (input_tensor(i) for i in range(3))
NAMES = ["A", "B", "C"]


def show(root, values=()):
    return describe(root, NAMES, values)


def test_coefficients_by_hand():
    assert coefficients(2 * A - B, []) == {0: 2.0, 1: -1.0}
    assert coefficients(A + slot(0) * (B - A), [0.25]) == {0: 0.75, 1: 0.25}
    assert coefficients(sum_models(slots(0, 2) * (stack([B, C]) - A)) + A, [0.5, -0.25]) == {1: 0.5, 0: 0.75, 2: -0.25}
    assert coefficients((A + B) / slot(0), [4.0]) == {0: 0.25, 1: 0.25}
    assert coefficients(A + B - A, []) == {0: 0.0, 1: 1.0}


@pytest.mark.parametrize("root", [A * B, A / B, absolute(A), A + 1.0, A * total(A), keep_largest(A, 0.5), A / slot(0)])
def test_what_is_not_linear_has_no_coefficients(root):
    assert coefficients(root, [0.0]) is None


def test_signs_and_numbers():
    assert show(2 * A - B) == "2·A − 1·B"
    assert show(-A) == "−A"
    assert show(A) == "A"
    assert show(-0.5 * A + 1e-3 * B) == "−0.5·A + 0.001·B"
    assert combination({}, NAMES) == "0"


@pytest.mark.parametrize(
    ("root", "values", "text"),
    [
        (absolute(A) - (B - C), (), "|A| − (B − C)"),
        (absolute(A) / (B * C), (), "|A| / (B·C)"),
        (absolute(A) * (B + C), (), "|A|·(B + C)"),
        (absolute(A) - slot(0) * (B + C), (1.0,), "|A| − (B + C)"),
        (slot(1) * (slot(0) * (absolute(B) + C)), (1.0, 2.0), "2·(|B| + C)"),
        (absolute(A) + slot(0) * slot(1) * B, (1.0, 3.0), "|A| + 3·B"),
        (minimum(A, B) + max_models(stack([A, B])), (), "minimum(A, B) + max([A, B])"),
        (absolute(A) + B / C, (), "|A| + B / C"),
        (absolute(A) - B / (C / A), (), "|A| − B / (C / A)"),
        (A / norm(A), (), "A / √(dot(A, A))"),
        (where(A > 0, A, 0.5), (), "A where A > 0, else 0.5"),
    ],
)
def test_the_rest_prints_as_it_is_written(root, values, text):
    assert show(root, values) == text


def test_a_model_may_be_called_1():
    assert describe(absolute(A) + slot(0) * B, ["a", "1"], [2.0]) == "|a| + 2·1"


def test_names_of_settings_in_place_of_values():
    assert show(sum_models(slots(0, 2) * stack([A, B])), ["w₁", "w₂"]) == "Σ([w₁, w₂]·[A, B])"


def test_shared_parts_are_named_once():
    shared = absolute(A - B)
    assert show(shared * shared + shared) == "u·u + u, with u = |A − B|"
    # Letters that are names of models are passed over.
    assert describe(shared * shared, ["u", "v"], []) == "w·w, with w = |u − v|"


def checkpoints(*values):
    return [smelt.Checkpoint({"w": np.float32([v])}) for v in values]


def formula(recipe, names):
    """Plan a recipe; return its formula with ``names``, name → checkpoint, for what its checkpoints are called."""
    plan = smelt.plan(recipe)
    called = [next(n for n, known in names.items() if known is c) for c in plan.checkpoints]
    output = plan.outputs[0]
    text = describe(plan.templates[0].root, [called[i[0].checkpoint] for i in output.inputs], output.slots)
    return plan, text


def test_task_arithmetic_collapses():
    a, b = checkpoints(5, 3)
    plan, text = formula(smelt.methods.task_arithmetic(a, [b], weight=-1.0), {"A": a, "B": b})
    assert text == "2·A − 1·B"
    assert smelt.run(plan)["w"].tolist() == [2 * 5 - 3]


def test_two_documents_collapse_into_one_sum():
    a, b, c = checkpoints(5, 3, 11)
    stage = smelt.methods.task_arithmetic(a, [b], weight=-1.0, name="amplified")  # 2·A − B
    plan, text = formula(smelt.methods.task_arithmetic(a, [stage, c], weight=[0.5, 0.25]), {"A": a, "B": b, "C": c})
    # A + 0.5·(2A − B − A) + 0.25·(C − A) = 1.25·A − 0.5·B + 0.25·C
    output = plan.outputs[0]
    found = coefficients(plan.templates[0].root, output.slots)
    assert [found[i] for i in range(3)] == [1.25, -0.5, 0.25]
    assert text == "1.25·A − 0.5·B + 0.25·C"
    assert smelt.run(plan)["w"].tolist() == [1.25 * 5 - 0.5 * 3 + 0.25 * 11]


def test_a_chat_vector_collapses():
    tuned, base, other = checkpoints(5, 3, 11)
    _, text = formula(
        smelt.methods.task_arithmetic(tuned, [base, other], weight=[-1, 1]), {"F": tuned, "B": base, "C": other}
    )
    assert text == "1·F − 1·B + 1·C"


def test_normalized_weights_show_their_shares():
    a, b = checkpoints(5, 3)
    _, text = formula(smelt.methods.linear([a, b], weight=[1, 3]), {"A": a, "B": b})
    assert text == "0.25·A + 0.75·B"


def test_ties_names_its_shared_parts_once():
    base, a, b = checkpoints(1, 2, 3)
    _, text = formula(smelt.methods.ties(base, [a, b], weight=0.5, density=0.3), {"B": base, "M": a, "N": b})
    body, _, parts = text.partition(", with ")
    definitions = parts.split("; ")
    letters = [d.partition(" = ")[0] for d in definitions]
    assert body.startswith("B + ")
    assert len(letters) == len(dict.fromkeys(letters)) >= 3
    assert text.count("[M, N] − B") == 1  # the differences
    assert text.count("⌊0.3·elements⌋") == 1
    bodies = [d.partition(" = ")[2] for d in definitions]
    for place, letter in enumerate(letters):
        assert any(letter in later for later in [*bodies[place + 1 :], body])  # each is used, after it is defined


def test_the_ratio_prints_its_guard():
    assert show(ratio(A, B)) == "A / (B or 1)"


def test_an_infinite_number_does_not_break_a_formula():
    assert show(slot(0) * absolute(A), [math.inf]) == "inf·|A|"


@pytest.mark.parametrize(
    ("root", "text"),
    [
        (sum_models(where(stack([A, B]) > 0, stack([A, B]), 0.0)), "Σ([A, B] where [A, B] > 0, else 0)"),
        (where(A > 0, where(B > 0, A, B), 0.5), "(A where B > 0, else B) where A > 0, else 0.5"),
        (absolute(A) + (B + C), "|A| + B + C"),
        (absolute(A) * (B / C), "|A|·(B / C)"),
        (same_sign(A, B - C) | (A > B), "A agrees in sign with B − C or A > B"),
        (total(A, "row") * A, "total(A, per row)·A"),
        (size("row") * absolute(A), "elements(row)·|A|"),
        (where(B > 0, A / where(B > 0, B, 1.0), 0.0), "A / B where B > 0, else 0"),
        (-absolute(A), "−|A|"),
    ],
)
def test_brackets_stand_only_where_they_are_needed(root, text):
    assert show(root) == text


def test_one_model_of_an_operation_is_the_operation_on_that_model():
    deltas = stack([B, C]) - A
    assert show(absolute(A) + slots(0, 2)[1] * deltas[0], ["w₁", "w₂"]) == "|A| + w₂·(B − A)"
    assert show(absolute(A) * absolute(deltas)[1]) == "|A|·|[B, C] − A|₂"


def test_numbers_are_written_one_way():
    assert show(1e-9 * A + B) == "1e−9·A + 1·B"
    assert show(absolute(A) + 1e-7) == "|A| + 1e−7"
    assert show(absolute(A) * 1e20) == "|A|·1e20"


def test_what_cancelled_is_left_out():
    assert show(A + B - A) == "B"
    assert show(A + 0.1 * B + 0.2 * B - 0.3 * B) == "A"
    assert show(A - A) == "0·A"
    assert show(A + slot(0) * B, [0.0]) == "A"


def test_selections_say_what_they_ask_for():
    assert show(keep_largest(A, 0.5)) == "A where A is among the ⌊0.5·elements⌋ largest, else 0"
    assert show(absolute(A) * magnitude_at(kth_largest(A, 3.0))) == "|A|·largest(|A|, number ⌊3⌋)"


@scalar_function(returns=2)
def halves(x):
    return x / 2, x / 2


def test_results_of_functions_are_numbered():
    one, two = halves(total(A))
    assert show(absolute(A) * one + two) == "|A|·halves(u) + halves₂(u), with u = total(A)"


def test_settings_are_not_taken_for_parts():
    shared = absolute(A - B)
    assert show(shared * shared * slot(0), ["u"]) == "v·v·u, with v = |A − B|"


@pytest.mark.parametrize("step", [lambda x, i: x + float(i) * B, lambda x, i: x * x + absolute(x)])
def test_long_chains_are_cut_off(step):
    root = absolute(A)
    for i in range(1500):
        root = step(root, i)
    assert len(show(root)) < 20_000
    assert "…" in show(root)


def test_long_linear_chains_collapse():
    root = A
    for _ in range(1500):
        root = root + 0.5 * B
    assert show(root) == "1·A + 750·B"


def test_what_the_settings_decide_is_worked_out():
    guarded = where(slot(0) > 0.5, absolute(A), 0.0) * where(slot(0) - 1.0 < 0, 2.0, B)
    assert show(guarded, [0.75]) == "|A|·2"
    assert show(guarded, ["q"]) == "(|A| where q > 0.5, else 0)·(2 where q − 1 < 0, else B)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (1 - 5e-13, "0.9999999999995"),
        (-1.00000001, "−1.00000001"),
        (0.1 + 0.2, "0.3"),
        (1 / 3, "0.333333"),
        (2.0**-24, "5.96046e−8"),
        (1e6, "1e6"),
        (1e30, "1e30"),
        (1000000.5, "1000000.5"),
        (0.0, "0"),
        (math.inf, "inf"),
    ],
)
def test_a_number_does_not_look_like_another_one(value, text):
    assert print_number(value) == text
