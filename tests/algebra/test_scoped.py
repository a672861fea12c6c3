"""Questions asked of each row or column: against float64, and the same bits for any tiles and order of blocks."""

import math
from types import SimpleNamespace

import evaluating
import numpy as np
import pytest

from smelt.algebra.expressions import input_tensor, slot, slots, stack
from smelt.algebra.grid import BLOCK, block_bounds, block_count, rows_and_columns
from smelt.algebra.questions import ask
from smelt.algebra.selection import magnitude_keys
from smelt.algebra.vocabulary import dot, gram, kth_largest, largest, scalar_function, selected, total, where

X, Y = input_tensor(0), input_tensor(1)
M = stack([X, Y])
# One block; three blocks of rows; rows of two pieces; a row shorter than the lanes; single columns; a vector; a scalar.
SHAPES = [(7, 300), (600, 1000), (2, 300_000), (40, 5), (300, 1), (3, 2, 9), (300_000,), (4,), ()]


def answer_of(node, values, shape, count=None, rows_per_tile=3, order=list):
    """Answer a question over ``values``, one array per operand, of shape (elements,) or (models, elements)."""
    question = ask(node, count, shape, np.dtype(np.float32))
    look = SimpleNamespace(block=lambda _, start, stop: values[0][..., start:stop])
    question.prepare(look, block_count(shape) <= 1)
    if question.answer is None:
        partials = [None] * block_count(shape)
        columns = rows_and_columns(shape)[1]
        step = 4096 * rows_per_tile if columns > BLOCK else columns * rows_per_tile
        for number in order(range(len(partials))):
            start, stop = block_bounds(shape, number)
            partial = question.open_block(start, stop)
            for low in range(start, stop, step):
                question.measure(partial, [v[..., low : min(low + step, stop)] for v in values], low)
            partials[number] = question.close_block(partial)
        question.conclude(partials, None)
    return question.answer


def backwards(blocks):
    return list(blocks)[::-1]


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(math.prod(shape)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scope", ["row", "column"])
def test_sums_and_products_per_row_and_column(shape, scope):
    x, y = draw(shape, 1), draw(shape, 2)
    rows, columns = rows_and_columns(shape)

    def along(terms):
        if scope == "column" and len(shape) < 2:  # a vector is one column, whose sum is told to each of its elements
            return np.full(columns, terms.sum())
        return terms.sum(axis=1 if scope == "row" else 0)

    wide_x, wide_y = (np.float64(v).reshape(rows, columns) for v in (x, y))
    bound = 1e-13 * along(np.abs(wide_x) + wide_x**2 + wide_y**2) + 1e-300
    expected = {
        total(X, scope): ([x], along(wide_x)),
        dot(X, Y, scope): ([x, y], along(wide_x * wide_y)),
    }
    for node, (values, sums) in expected.items():
        found = answer_of(node, values, shape)
        assert np.shape(found) == np.shape(sums)
        assert (np.abs(found - sums) <= bound).all()
    both = np.stack([x, y])
    matrix = np.asarray(answer_of(gram(M, scope), [both], shape))
    pairs = [[along(a * b) for b in (wide_x, wide_y)] for a in (wide_x, wide_y)]
    assert matrix.shape == np.shape(pairs)
    assert (np.abs(matrix - pairs) <= bound).all()
    assert np.array_equal(matrix[0][1], matrix[1][0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scope", ["row", "column"])
def test_tiles_and_the_order_of_blocks_change_no_bit(shape, scope):
    x, y = draw(shape, 3), draw(shape, 4)
    nodes = [(dot(X, Y, scope), [x, y], None)]
    if scope == "row":
        nodes += [(largest(X, "row"), [x], None)]
        nodes += [(kth_largest(X, slot(0), "row"), [x[None]], np.float64(rows_and_columns(shape)[1] // 3))]
    for node, values, count in nodes:
        expected = answer_of(node, values, shape, count)
        for rows_per_tile, order in ((1, list), (7, backwards), (1000, backwards)):
            found = answer_of(node, values, shape, count, rows_per_tile, order)
            assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_largest_of_each_row(shape):
    x = draw(shape, 5)
    expected = x.reshape(rows_and_columns(shape)).max(axis=1)
    assert np.array_equal(answer_of(largest(X, "row"), [x], shape), expected)
    both = np.stack([x, -x])
    expected = both.reshape(2, *rows_and_columns(shape)).max(axis=2)
    assert np.array_equal(answer_of(largest(M, "row"), [both], shape), expected)


def kept(answer, x):
    """The mask that thresholds and cuts of shape (models, rows) stand for, over x of shape (models, rows, columns)."""
    thresholds, cuts = (np.asarray(part)[..., None] for part in answer)
    keys = magnitude_keys(x)
    return (keys > thresholds) | ((keys == thresholds) & (np.arange(x.shape[-1]) < cuts))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_as_many_are_selected_in_each_row_as_asked_for(shape, share):
    rows, columns = rows_and_columns(shape)
    count = math.floor(share * columns)
    x = np.round(np.stack([draw(shape, 6), draw(shape, 7)]) * 4) / 4  # many equal magnitudes
    mask = kept(answer_of(kth_largest(M, slot(0), "row"), [x], shape, np.float64(count)), x.reshape(2, rows, columns))
    assert (mask.sum(axis=-1) == count).all()
    magnitude = np.abs(x.reshape(2, rows, columns))
    order = np.argsort(-magnitude, axis=-1, kind="stable")[..., :count]  # of equal ones the lowest index first
    expected = np.zeros_like(mask)
    np.put_along_axis(expected, order, True, axis=-1)
    assert np.array_equal(mask, expected)


def test_rows_may_ask_for_different_numbers_of_elements():
    x = np.float32([[1, -5, 3, 2], [4, 4, -4, 1]])
    answer = answer_of(kth_largest(M, slot(0), "row"), [np.stack([x.ravel(), -x.ravel()])], (2, 4), np.float64([1, 3]))
    mask = kept(answer, np.stack([x, -x]))
    assert mask[0].tolist() == [[False, True, False, False], [True, False, False, False]]
    assert mask[1].tolist() == [[False, True, True, True], [True, True, True, False]]


@pytest.mark.parametrize("shape", [(3, 5), (2, BLOCK + 3)], ids=str)
def test_one_tensor_may_be_asked_for_another_number_of_elements_per_model(shape):
    x = draw(shape, 8).reshape(shape)
    node = selected(X, kth_largest(X, slots(0, 2), "row"))
    found = evaluating.tensor(where(node, X, 0.0), x, slots=(1.0, 3.0))
    assert found.shape == (2, *shape)
    for model, count in enumerate((1, 3)):
        order = np.argsort(-np.abs(x), axis=-1, kind="stable")[:, :count]
        expected = np.zeros_like(x)
        np.put_along_axis(expected, order, np.take_along_axis(x, order, -1), axis=-1)
        assert np.array_equal(found[model], expected)


@scalar_function(returns=1)
def weigh(products, factor, factors):
    return (factor * products[0][1] + factors[1],)


def test_scalar_functions_take_plain_numbers_beside_numbers_of_rows():
    x, y = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6], [7, 8]])
    (answer,) = weigh(gram(M, "row"), slot(0), slots(1, 2))
    assert evaluating.number(answer, x, y, slots=(10.0, 0.25, 0.5)).tolist() == [170.5, 530.5]
