"""The interpreter against NumPy written out: words on tensors, the model axis, precision, tiles."""

import math

import numpy as np
import pytest
from evaluating import Evaluation, X, Y, models, tensor

from smelt.algebra.expressions import Sort, slot, slots
from smelt.algebra.interpreter import Tile, TileProgram, meet
from smelt.algebra.vocabulary import (
    Noise,
    absolute,
    dot,
    equal,
    gram,
    kth_largest,
    max_models,
    maximum,
    minimum,
    norm,
    ratio,
    same_sign,
    scalar_function,
    selected,
    sign,
    square_root,
    sum_models,
    total,
    where,
)

A = np.float32([1, -2, 0, np.nan, np.inf, 3])
B = np.float32([2, -2, -0.0, 1, np.nan, -1])


def same(result, expected):
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.float32(expected))


def test_arithmetic_rounds_every_step_to_float32():
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((3, 50)).astype(np.float32) for _ in range(2))
    same(tensor(X + Y, a, b), a + b)
    same(tensor(X - Y, a, b), a - b)
    same(tensor(X * Y, a, b), a * b)
    same(tensor(X / Y, a, b), a / b)
    same(tensor(-X, a), -a)
    # A number is rounded to float32 when it meets a tensor, not before: (0.1 + 0.2) is float64.
    same(tensor((slot(0) + slot(1)) * X, a, slots=[0.1, 0.2]), np.float32(0.1 + 0.2) * a)
    same(tensor(slot(0) * X + slot(1) * X, a, slots=[0.1, 0.2]), np.float32(0.1) * a + np.float32(0.2) * a)


def test_float64_stays_float64():
    a = np.array([1 + 2.0**-50])
    assert tensor(0.1 * X, a, precision=np.float64).tolist() == [0.1 * (1 + 2.0**-50)]


def test_words_on_tensors():
    same(tensor(absolute(X), A), [1, 2, 0, np.nan, np.inf, 3])
    same(tensor(sign(X), A), [1, -1, 0, 0, 1, 1])
    same(tensor(square_root(X), A), [1, np.nan, 0, np.nan, np.inf, math.sqrt(3)])
    # A comparison with NaN does not hold, so the second operand is taken.
    same(tensor(minimum(X, Y), A, B), [1, -2, -0.0, 1, np.nan, -1])
    same(tensor(maximum(X, Y), A, B), [2, -2, -0.0, 1, np.nan, 3])
    same(tensor(ratio(X, Y), A, B), [0.5, 1, 0, np.nan, np.nan, -3])
    same(tensor(where(X > Y, 1, 0), A, B), [0, 0, 0, 0, 0, 1])
    same(tensor(where(X >= Y, 1, 0), A, B), [0, 1, 1, 0, 0, 1])
    same(tensor(where(X < Y, 1, 0), A, B), [1, 0, 0, 0, 0, 0])
    same(tensor(where(X <= Y, 1, 0), A, B), [1, 1, 1, 0, 0, 0])
    same(tensor(where(equal(X, Y), X, 7), A, B), [7, -2, 0, 7, 7, 7])
    same(tensor(where((X > 0) & (Y > 0) | equal(X, -2), 1, 0), A, B), [1, 1, 0, 0, 0, 0])
    same(tensor(where(same_sign(X, Y), 1, 0), A, B), [1, 1, 0, 0, 0, 0])
    same(tensor(where(same_sign(Y, X), 1, 0), A, B), [1, 1, 0, 0, 0, 0])


def test_a_zero_votes_for_nothing_and_elects_plus():
    x, y = np.float32([0, 0, 3, -3]), np.float32([1, -1, 0, 0])
    same(tensor(where(same_sign(X, Y), 1, 0), x, y), [0, 0, 1, 0])
    same(tensor(where(same_sign(X, Y), 1, 0), x, -np.abs(y) * 0), [0, 0, 1, 0])  # −0 too


def test_mixed_operands_of_where_stay_float32():
    same(tensor(where(X > 0, slot(0), X), A[:2], slots=[0.1]), np.float32([0.1, -2]))
    same(tensor(where(slot(0) > 0, X, 0.0), A[:2], slots=[1.0]), A[:2])


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_model_axis(count):
    rng = np.random.default_rng(2)
    stacked = [rng.standard_normal((4, 7)).astype(np.float32) for _ in range(count)]
    given = rng.standard_normal(count).tolist()
    m = models(count)
    total_ = np.float32(given[0]) * stacked[0]
    for weight, x in zip(given[1:], stacked[1:], strict=True):
        total_ = total_ + np.float32(weight) * x
    same(tensor(sum_models(slots(0, count) * m), *stacked, slots=given), total_)
    same(tensor(max_models(m), *stacked), np.max(stacked, axis=0))
    same(tensor(m - m[0], *stacked), np.stack(stacked) - stacked[0])
    same(tensor(m[count - 1], *stacked), stacked[-1])
    same(tensor((m * 2)[count - 1], *stacked), stacked[-1] * 2)


def test_a_loop_over_the_models():
    # Each model writes only where no earlier one did: the first non-zero entry wins.
    stacked = [np.float32([1, 0, 0]), np.float32([2, 2, 0]), np.float32([3, 3, 3])]
    weights = slots(0, 3)
    result = 0.0 * X
    for model, weight in zip(models(3), weights, strict=True):
        result = where(equal(result, 0.0), weight * model, result)
    same(tensor(result, *stacked, slots=[1, 10, 100]), [1, 20, 300])


def test_max_models_keeps_what_nan_does_not_beat():
    same(tensor(max_models(models(2)), A, B), [2, -2, 0, np.nan, np.inf, 3])


@scalar_function(returns="models")
def inverse_lengths(matrix):
    return [1 / matrix[i][i] for i in range(len(matrix))]


def test_a_gram_matrix_and_a_scalar_function_per_model():
    stacked = [np.float32([1, 1]), np.float32([2, 0]), np.float32([0, 4])]
    result = tensor(sum_models(inverse_lengths(gram(models(3))) * models(3)), *stacked)
    same(result, [0.5 + 0.5, 0.5 + 0.25])


def test_one_model_picked_from_a_selection_or_mask():
    stacked = [np.float32([1, 5, 3]), np.float32([9, 2, 4])]
    m = models(2)
    kept = selected(m, kth_largest(m, 1))
    same(tensor(where(kept[1], m[1], 0), *stacked), [9, 0, 0])
    same(tensor(where((m > 2)[0], m[0], 0), *stacked), [0, 5, 3])


def test_uniforms_are_of_the_element_the_model_and_the_draw():
    zeros = [np.zeros((20, 30), np.float32)] * 2
    noise = Noise(1)
    first, second = noise.uniform(models(2)), noise.uniform(X)
    fields = tensor(first + 0 * models(2), *zeros, keys=[0, 5, 6])
    again = tensor(first + 0 * models(2), *zeros, keys=[9, 5, 7])
    alone = tensor(second + 0 * X, *zeros, keys=[0, 5, 6])
    assert fields.shape == (2, 20, 30)
    assert ((fields >= 0) & (fields < 1)).all()
    assert np.array_equal(fields[0], again[0])
    assert not np.array_equal(fields[1], again[1])
    assert not np.array_equal(alone, fields[0])  # another draw
    assert np.unique(fields).size > 1190


@pytest.mark.parametrize("tile", [1, 7, 256, 1000])
def test_tiles_of_any_size_give_the_same_bytes(tile):
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal((11, 101)).astype(np.float32) for _ in range(2))
    drawn = Noise().uniform(X)
    root = where(drawn < 0.4, X / 3.0, absolute(Y) * drawn) + slot(0) * Y
    expected = tensor(root, a, b, slots=[0.7], keys=[99], tile=1 << 14)
    assert tensor(root, a, b, slots=[0.7], keys=[99], tile=tile).tobytes() == expected.tobytes()


def test_a_program_computes_several_roots_at_once_and_shares_what_they_share():
    shared = X * Y
    program = TileProgram([shared + 1.0, shared, sum_models(models(2))], np.dtype(np.float32))
    a, b = np.float32([1, 2]), np.float32([3, 4])
    numbers = meet(program.numbers, {n.key: np.float64(1) for n in program.numbers}, np.dtype(np.float32))
    results = program(Tile(0, 2, 2, [a, b], numbers, []))
    assert [r.tolist() for r in results] == [[4, 9], [3, 8], [4, 6]]


def test_inputs_are_never_written_to():
    a, b = np.float32([1, 2]), np.float32([3, 4])
    for root in (sum_models(models(2)), max_models(models(2)), X, X + Y, sum_models(models(1))):
        tensor(root, a, b)
    assert a.tolist() == [1, 2]
    assert b.tolist() == [3, 4]


def test_a_program_does_not_compute_numbers():
    program = TileProgram([total(X)], np.dtype(np.float32))
    with pytest.raises(TypeError, match="computes tensors, not a number"):
        program(Tile(0, 1, 1, [np.float32([1])], {total(X).key: 1.0}, []))


def test_division_by_zero_and_overflow_are_quiet():
    same(tensor(X / (Y * 0.0), np.float32([1, -1, 0]), np.float32([1, 1, 1])), [np.inf, -np.inf, np.nan])
    same(tensor(X * 3e38, np.float32([3])), [np.inf])
    same(tensor(X * slot(0), np.float32([1]), slots=[1e300]), [np.inf])  # rounded to float32 first


def test_several_questions_of_one_pass():
    a, b = np.float32([3, 0]), np.float32([0, 4])
    run = Evaluation(X / norm(X) + Y / norm(Y) + dot(X, Y), [a, b])
    same(run.tensor(), [1, 1])
    assert len(run.answers) == 3
    assert {n.sort for n in (norm(X), dot(X, Y))} == {Sort.NUMBER}
