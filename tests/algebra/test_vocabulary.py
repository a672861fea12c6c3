"""What the words refuse, and which of them are one question however they are asked. Values: test_interpreter."""

import pytest

from smelt.algebra.expressions import Sort, constant, input_tensor, slot, slots, stack
from smelt.algebra.vocabulary import (
    Noise,
    dot,
    equal,
    floor,
    gram,
    keep_largest,
    kth_largest,
    largest,
    max_models,
    norm,
    sign,
    size,
    sum_models,
    total,
    where,
)

A, B = input_tensor(0), input_tensor(1)
MODELS = stack([A, B])


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda: total(slot(0)), "total needs a tensor, not a number"),
        (lambda: dot(A, slot(0)), "dot needs a tensor, not a number"),
        (lambda: gram(A), "gram needs a model axis"),
        (lambda: gram(slots(0, 2)), "gram needs a tensor, not a number"),
        (lambda: kth_largest(slot(0), 1), "kth_largest needs a tensor, not a number"),
        (lambda: kth_largest(A, B), "floor needs a number, not a tensor"),
        (lambda: kth_largest(A, 1, "column"), "kth_largest is asked of a row or tensor or model, not of a column"),
        (lambda: largest(A, "column"), "largest is asked of a row or tensor, not of a column"),
        (lambda: size("column"), "size is asked of a row or tensor or model, not of a column"),
        (lambda: norm(A, "model"), "dot is asked of a row or column or tensor, not of a model"),
        (lambda: keep_largest(MODELS, slots(0, 3)), "different lengths meet"),
        (lambda: floor(A), "floor needs a number, not a tensor"),
        (lambda: sum_models(A), "sum_models needs a model axis"),
        (lambda: max_models(slot(0)), "max_models needs a model axis"),
        (lambda: sum_models(MODELS > 0), "not a mask"),
        (lambda: sum_models(gram(MODELS)), "not a matrix"),
        (lambda: where(A, A, B), "where needs a mask or a condition first, not a tensor"),
        (lambda: where(A > 0, "x", B), "expected a tensor or a number"),
        (lambda: equal(A > 0, B), "equal cannot take a mask"),
        (lambda: sign(A > 0), "sign needs tensors or numbers, not a mask"),
    ],
)
def test_wrong_operands_are_named(attempt, words):
    with pytest.raises(TypeError, match=words):
        attempt()


def test_a_product_is_one_question_whichever_way_round_it_is_asked():
    assert dot(A, B) == dot(B, A)
    assert norm(A) == norm(input_tensor(0))


def test_selection_counts_whole_elements():
    assert kth_largest(A, 2.5).args[1] == floor(constant(2.5))


def test_where_on_numbers_is_a_number_and_else_per_element():
    condition = slot(0) > 0
    assert where(condition, 1.0, slot(1)).sort is Sort.NUMBER
    assert where(condition, A, 0.0).sort is Sort.TENSOR
    assert where(A > 0, 1.0, 0.0).sort is Sort.TENSOR
    assert where(slots(0, 2) > 0, 1.0, 0.0).models == 2


def test_every_draw_is_another_one():
    noise = Noise(3)
    one, two = noise.uniform(MODELS), noise.uniform(MODELS)
    assert one != two
    assert one.models == 2
    assert one.attributes == (3, 0)
    assert two.attributes == (3, 1)
    assert noise.uniform(A).models is None
