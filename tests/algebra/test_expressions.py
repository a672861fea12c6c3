"""Nodes are values: keys, kinds, axes, and what the operators refuse."""

import subprocess
import sys

import numpy as np
import pytest

from smelt.algebra.expressions import (
    Expr,
    Sort,
    constant,
    input_tensor,
    join_models,
    slot,
    slots,
    stack,
    walk,
)
from smelt.algebra.rewriting import renumber, rewrite
from smelt.algebra.vocabulary import (
    Noise,
    absolute,
    dot,
    gram,
    keep_largest,
    kth_largest,
    max_models,
    ratio,
    size,
    sum_models,
    total,
    where,
)

A, B = input_tensor(0), input_tensor(1)
MODELS = stack([A, B])


def test_nodes_of_the_same_content_are_equal_and_others_are_not():
    assert input_tensor(0) + input_tensor(1) == A + B
    assert hash(A + B) == hash(input_tensor(0) + input_tensor(1))
    different = [A, B, A + B, B + A, A - B, slot(0), slots(0, 1), slots(0, 2), constant(0), constant(1), total(A)]
    different += [MODELS, MODELS * 2, 2 * MODELS, (MODELS * 2)[0], (MODELS * 2)[1], A > B, A >= B, A * slot(0)]
    assert len({node.key for node in different}) == len(different)
    assert A != "input(0)"


def test_keys_are_the_same_in_every_process():
    program = (
        "from smelt.algebra.expressions import *; from smelt.algebra.vocabulary import *;"
        "m = stack([input_tensor(0), input_tensor(1)]) - input_tensor(2);"
        "print(sum_models(where(m > 0, keep_largest(m, slots(0, 2)), 0.1)).key)"
    )
    found = [
        subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    m = stack([A, B]) - input_tensor(2)
    expected = sum_models(where(m > 0, keep_largest(m, slots(0, 2)), 0.1)).key
    assert [f.stdout.decode().strip() for f in found] == [expected, expected]


def test_the_degree_tells_weights_from_differences():
    delta, w = B - A, slot(0)
    assert A.degree == 1
    for node in (delta, w * delta, delta / w, -delta, delta + delta, MODELS - A, sum_models(w * (MODELS - A))):
        assert node.degree == 0
    for node in (where(delta > 0, delta, 0.0), keep_largest(delta, 0.5), 0.5 * A - 0.5 * B, (MODELS - A)[1]):
        assert node.degree == 0
    assert (A + delta).degree == 1
    assert (2 * A - B).degree == 1
    assert (A + B).degree == 2
    assert sum_models(MODELS).degree is None
    assert (w * A).degree is None
    assert absolute(delta).degree is None


def test_depth_counts_the_passes_before():
    assert (A + B).depth == 0
    assert total(A).depth == dot(A, B).depth == gram(MODELS).depth == kth_largest(A, 3).depth == 1
    assert keep_largest(A - total(A), 0.5).depth == 2
    assert (total(A) + total(B)).depth == 1


@pytest.mark.parametrize("ask", [bool, lambda node: 1 if node > 0 else 2, lambda node: node and 1])
def test_a_traced_value_has_no_truth_value(ask):
    for node in (A, slot(0)):
        with pytest.raises(TypeError, match="no truth value: use where"):
            ask(node)


def test_operands_that_make_no_sense_are_refused():
    mask, matrix = A > 0, gram(MODELS)
    for attempt, words in [
        (lambda: A + "b", "expected a tensor or a number"),
        (lambda: A * True, "expected a tensor or a number"),
        (lambda: A + mask, "add needs tensors or numbers, not a mask"),
        (lambda: A * matrix, "not a matrix"),
        (lambda: mask > 0, "greater cannot take a mask"),
        (lambda: mask & A, "logical_and cannot take a tensor"),
        (lambda: MODELS + stack([A, B, A]), r"different lengths meet: \[2, 3\]"),
        (lambda: list(A), "only a node with a model axis"),
        (lambda: len(A), "no length"),
        (lambda: matrix[0], "no single model can be taken from a matrix"),
        (lambda: kth_largest(MODELS, 1)[0], "no single model can be taken from a selection"),
    ]:
        with pytest.raises(TypeError, match=words):
            attempt()


def test_models_are_numbered_from_zero():
    assert MODELS[0] is A
    assert list(MODELS) == [A, B]
    assert len(MODELS) == 2
    assert (MODELS * 2)[1].op == "pick"
    for place in (-1, 2):
        with pytest.raises(IndexError, match=f"model {place} of 2"):
            MODELS[place]
    with pytest.raises(IndexError, match="without a model axis"):
        A[0]


def test_the_model_axis_is_shared():
    assert join_models(A, MODELS, slots(0, 2)) == 2
    assert join_models(A, slot(0)) is None
    assert (MODELS * slots(0, 2) + A).models == 2
    assert total(MODELS).models == 2
    assert sum_models(MODELS).models is max_models(MODELS).models is None


def test_numpy_numbers_on_the_left_are_constants():
    assert np.float64(2) * A == 2.0 * A


def test_walk_lists_arguments_first_and_everything_once():
    root = (A + B) * (A + B) - A
    nodes = walk(root)
    assert [n.op for n in nodes] == ["input", "input", "add", "multiply", "subtract"]
    places = {n.key: i for i, n in enumerate(nodes)}
    assert all(places[a.key] < places[n.key] for n in nodes for a in n.args)
    assert walk(A, B, A) == [A, B]


def test_long_chains_do_not_recurse():
    node = A
    for _ in range(5000):
        node = node + B
    assert len(walk(node)) == 5002
    assert rewrite(node, lambda n: n) == node


def test_renumbering_moves_inputs_slots_and_streams():
    noise = Noise(0)
    root = where(noise.uniform(MODELS) < slots(1, 2), slot(0) * MODELS, 0.0)
    moved = renumber(root, [5, 3], 10, 20)
    expected = stack([input_tensor(5), input_tensor(3)])
    assert moved == where(Noise(20).uniform(expected) < slots(11, 2), slot(10) * expected, 0.0)
    assert renumber(root, [0, 1], 0, 0) == root


def test_renumbering_may_let_two_inputs_meet():
    assert renumber(A - B, [7, 7], 0, 0) == input_tensor(7) - input_tensor(7)


def test_ratio_and_questions_have_the_sorts_they_say():
    assert ratio(A, B).sort is Sort.TENSOR
    assert ratio(total(A), size()).sort is Sort.NUMBER
    assert gram(MODELS).sort is Sort.MATRIX
    assert kth_largest(A, 2).sort is Sort.SELECTION
    assert (A > 0).sort is Sort.MASK
    assert (total(A) > 0).sort is Sort.CONDITION
    assert isinstance(repr(A + 1), str)
    assert repr(Expr("input", (), (0,))) == "input(0)"
