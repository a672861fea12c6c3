"""Formulas: linear parts as coefficients worked out by hand, the rest as it is written."""

import math

import numpy as np
import pytest

import smelt
from smelt.algebra.expressions import input_tensor, slot, slots, stack
from smelt.algebra.formulas import coefficients, combination, describe
from smelt.algebra.vocabulary import absolute, keep_largest, max_models, minimum, norm, ratio, sum_models, total, where

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
        (where(A > 0, A, 0.5), (), "(A where A > 0, else 0.5)"),
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
    assert show(ratio(A, B)) == "A / (1 where B = 0, else B)"


def test_an_infinite_number_does_not_break_a_formula():
    assert show(slot(0) * absolute(A), [math.inf]) == "inf·|A|"
