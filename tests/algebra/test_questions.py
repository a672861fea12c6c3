"""Sums over whole tensors: to the bit against lanes written out in plain Python, and to rounding against float64."""

import math

import numpy as np
import pytest
from evaluating import Evaluation, X, Y, models, number

from smelt.algebra.expressions import slot
from smelt.algebra.grid import BLOCK, LANES, block_bounds, block_count
from smelt.algebra.questions import ask
from smelt.algebra.vocabulary import absolute, dot, gram, norm, scalar_function, size, sum_models, total, where


def lane_sum(terms, shape):
    """The definition: 256 lanes per block by position in the block, folded in halves, blocks added exactly."""
    blocks = []
    for number_ in range(block_count(shape)):
        start, stop = block_bounds(shape, number_)
        block = terms[start:stop]
        lanes = []
        for lane in range(LANES):
            value = 0.0
            for term in block[lane::LANES].tolist():
                value += term
            lanes.append(value)
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [lanes[i] + lanes[half + i] for i in range(half)]
        blocks.append(lanes[0])
    return math.fsum(blocks)


SHAPES = [(), (1,), (255,), (257,), (3, 1000), (0,), (5, 100_003)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_those_of_the_lanes_to_the_bit(shape):
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    wide_x, wide_y = (np.float64(v).reshape(-1) for v in (x, y))
    assert number(total(X), x) == lane_sum(wide_x, shape)
    assert number(dot(X, Y), x, y) == lane_sum(wide_x * wide_y, shape)
    assert number(total(absolute(X - Y)), x, y) == lane_sum(np.float64(np.abs(x - y)).reshape(-1), shape)


@pytest.mark.parametrize("tile", [256, 1024, 1 << 14, BLOCK])
def test_the_size_of_tiles_and_the_order_of_blocks_change_no_bit(tile):
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal((7, 50_001)).astype(np.float32) for _ in range(2))
    root = dot(X - 0.5 * Y, Y) / norm(X)
    expected = number(root, x, y, tile=1 << 12)
    assert number(root, x, y, tile=tile) == expected
    assert number(root, x, y, tile=tile, order=lambda blocks: blocks[::-1]) == expected


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_totals_and_products_against_float64(precision):
    rng = np.random.default_rng(3)
    stacked = [rng.standard_normal((40, 90)).astype(precision) for _ in range(3)]
    wide = [x.astype(np.float64).reshape(-1) for x in stacked]
    m = models(3)
    options = {"precision": precision}
    np.testing.assert_allclose(number(total(m), *stacked, **options), [math.fsum(w) for w in wide], rtol=0, atol=1e-11)
    expected = [[math.fsum(a * b) for b in wide] for a in wide]
    np.testing.assert_allclose(number(gram(m), *stacked, **options), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(number(dot(m, m[1]), *stacked, **options), [row[1] for row in expected], atol=1e-10)
    np.testing.assert_allclose(number(norm(m), *stacked, **options), np.sqrt(np.diag(expected)), rtol=1e-13)
    np.testing.assert_allclose(number(total(sum_models(m)), *stacked, **options), math.fsum(sum(wide)), atol=1e-3)


def test_a_gram_matrix_is_symmetric_to_the_bit_and_holds_the_dots():
    stacked = [np.random.default_rng(s).standard_normal(5000).astype(np.float32) for s in range(3)]
    m = models(3)
    rows = number(gram(m), *stacked)
    assert all(rows[i][j] == rows[j][i] == number(dot(m[i], m[j]), *stacked) for i in range(3) for j in range(3))


def test_products_are_taken_in_float64():
    x = np.float32([1 + 2.0**-23, 2.0**100, 2.0**-80])
    assert number(dot(X, X), x[:1]) == (1 + 2.0**-23) ** 2
    assert number(dot(X, X), x[1:2]) == 2.0**200
    assert number(dot(X, X), x[2:]) == 2.0**-160


def test_blocks_are_added_exactly():
    x = np.zeros(3 * BLOCK)
    x[[0, BLOCK, 2 * BLOCK]] = [1e30, 1.0, -1e30]
    assert number(total(X), x, precision=np.float64, tile=BLOCK) == 1.0


def test_infinities_and_nans_arrive_in_the_answer():
    assert number(total(X), np.float32([1, np.inf])) == np.inf
    assert math.isnan(number(total(X), np.float32([-np.inf, np.inf])))
    assert math.isnan(number(dot(X, X), np.float32([1, np.nan])))


def test_answers_combine_with_numbers_and_meet_tensors():
    x = np.float32([3, 4])
    assert number(norm(X) * slot(0) + size(), x, slots=[2.0]) == 12.0
    run = Evaluation(X / norm(X), [x])
    np.testing.assert_array_equal(run.tensor(), np.float32([0.6, 0.8]))
    assert run.passes == 1


def test_each_question_on_an_answer_takes_another_pass():
    x = np.random.default_rng(4).standard_normal(1000)
    mean = total(X) / size()
    variance = dot(X - mean, X - mean) / size()
    run = Evaluation(total((X - mean) / (variance + 1.0)), [x], precision=np.float64)
    assert abs(run.number()) < 1e-10
    assert run.root.depth == run.passes == 3
    np.testing.assert_allclose(number(variance, x, precision=np.float64), x.var(), rtol=1e-12)


def test_questions_may_be_asked_under_a_condition_on_numbers():
    root = where(total(X) > 0, X, -X)
    assert Evaluation(root, [np.float32([1, 2])]).tensor().tolist() == [1, 2]
    assert Evaluation(root, [np.float32([1, -2])]).tensor().tolist() == [-1, 2]


@scalar_function(returns="models")
def shares_of(matrix):
    lengths = [matrix[i][i] for i in range(len(matrix))]
    return [length / sum(lengths) for length in lengths]


def test_a_scalar_function_works_on_a_gram_matrix():
    stacked = [np.float32([1, 1]), np.float32([3, 3])]
    m = models(2)
    assert number(shares_of(gram(m)), *stacked).tolist() == [0.1, 0.9]
    result = Evaluation(sum_models(shares_of(gram(m)) * m), stacked).tensor()
    np.testing.assert_allclose(result, [2.8, 2.8], rtol=2.0**-22)


def test_a_partial_takes_tiles_of_any_length_at_the_end():
    node = total(X)
    question = ask(node, None, (300,), np.dtype(np.float32))
    partial = question.open_block(0, 300)
    for start, stop in ((0, 256), (256, 300)):
        question.measure(partial, [np.arange(start, stop, dtype=np.float32)], start)
    question.conclude([question.close_block(partial)], lambda *_: None)
    assert question.answer == 299 * 300 / 2
