"""Numbers: exact sums, and the algebra of float64 scalars and vectors."""

import itertools
import math

import numpy as np
import pytest

from smelt.algebra.expressions import Expr, constant, input_tensor, slot, slots
from smelt.algebra.numbers import guards_in, numbers_in, solve, sum_exactly
from smelt.algebra.vocabulary import (
    absolute,
    equal,
    floor,
    max_models,
    maximum,
    minimum,
    nonzero,
    scalar_function,
    sign,
    size,
    square_root,
    sum_models,
    total,
    where,
)
from smelt.errors import InputError, SmeltError


def value(node, slots=(), size=10):
    return solve([node], slots, {"tensor": size}, {})[node.key]


def test_a_sum_is_correctly_rounded_in_every_order():
    terms = [1e16, 1.0, -1e16, 2.0**-60]
    assert {sum_exactly(order) for order in itertools.permutations(terms)} == {1.0}
    assert sum_exactly([]) == 0
    assert sum_exactly(iter([0.1] * 10)) == 1.0


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([1.0, math.inf, 2.0], math.inf),
        ([-math.inf, 1.0], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([1.0, math.nan, math.inf], math.nan),
        ([1.7e308, 1.7e308], math.inf),
        ([-1.7e308, -1.7e308], -math.inf),
    ],
)
def test_infinities_nans_and_overflow_follow_ieee(terms, expected):
    result = sum_exactly(terms)
    assert result == expected or (math.isnan(result) and math.isnan(expected))


def test_arithmetic_is_float64():
    a, b = slot(0), slot(1)
    given = [0.1, 3.0]
    assert value(a + b, given) == 0.1 + 3.0
    assert value(a - b, given) == 0.1 - 3.0
    assert value(2 * a, given) == 0.2
    assert value(1 / b, given) == 1 / 3.0
    assert value(-a, given) == -0.1
    assert value(b - 1 + size(), given, size=7) == 9.0


def test_words_on_numbers():
    a = slot(0)
    for x in (-2.5, 0.0, 2.5):
        assert value(absolute(a), [x]) == abs(x)
        assert value(sign(a), [x]) == (x > 0) - (x < 0)
        assert value(floor(a), [x]) == math.floor(x)
        assert value(minimum(a, 1), [x]) == min(x, 1)
        assert value(maximum(a, 1), [x]) == max(x, 1)
        assert value(where(a > 0, a, 7), [x]) == (x if x > 0 else 7)
        assert value(where(equal(a, 0), 1, 2), [x]) == (1 if x == 0 else 2)
        assert value(where((a >= 0) & (a <= 1) | (a < -2), 1, 0), [x]) == (x in (-2.5, 0.0))
    assert value(square_root(a), [2.0]) == math.sqrt(2)
    assert math.isnan(value(square_root(a), [-1.0]))
    assert value(1 / a, [0.0]) == math.inf


def test_words_along_the_models():
    weights = slots(1, 3)
    given = [9.0, 0.1, -0.7, 0.2]
    assert value(sum_models(weights), given) == 0.1 + -0.7 + 0.2
    assert value(max_models(weights), given) == 0.2
    assert value(weights[1], given) == -0.7
    assert value(weights * slot(0), given).tolist() == [0.1 * 9, -0.7 * 9, 0.2 * 9]
    assert value(where(weights > 0, weights, 0), given).tolist() == [0.1, 0, 0.2]
    assert [value(w, given) for w in weights] == [0.1, -0.7, 0.2]
    # A number without a model axis that is summed over one counts once per model.
    assert value(sum_models(where(weights > 5, weights, 1.0)), given) == 3.0


@scalar_function(returns=2)
def split(x, parts):
    """Return a half, and the sum of a list."""
    return x / 2, sum(parts)


@scalar_function(returns=1)
def doubled(x):
    return 2 * x


def test_scalar_functions_see_plain_floats():
    half, all_ = split(slot(0), slots(1, 2))
    assert value(half, [3.0, 1.0, 2.0]) == 1.5
    assert value(all_, [3.0, 1.0, 2.0]) == 3.0
    (twice,) = doubled(0.25)
    assert value(twice) == 0.5
    assert split.__doc__ == "Return a half, and the sum of a list."


def test_a_scalar_function_takes_no_tensor_and_keeps_its_name():
    with pytest.raises(TypeError, match="takes numbers, not tensors"):
        doubled(input_tensor(0))

    def impostor(x):
        return x

    impostor.__qualname__, impostor.__module__ = "doubled", __name__
    with pytest.raises(TypeError, match="two scalar functions are called"):
        scalar_function(returns=1)(impostor)


def test_a_scalar_function_of_another_process_is_an_error():
    with pytest.raises(SmeltError, match="not defined"):
        value(Expr("call", (constant(1),), ("elsewhere:gone", 0), constant(1).sort))


def test_nonzero_refuses_zero_with_its_message():
    guarded = 1 / nonzero(sum_models(slots(0, 2)), "the weights sum to 0")
    (guard,) = guards_in(guarded)
    assert value(guard, [1.0, 2.0]) == 3.0
    with pytest.raises(InputError, match="the weights sum to 0"):
        value(guard, [1.0, -1.0])
    with pytest.raises(InputError, match="sum to 0"):
        value(guarded, [1.0, -1.0])
    with pytest.raises(TypeError, match="checks a number"):
        nonzero(input_tensor(0), "")


def test_a_guard_on_an_answer_waits_for_the_run():
    guarded = input_tensor(0) / nonzero(total(input_tensor(0)), "the tensor sums to 0")
    assert guards_in(guarded) == []


def test_an_unanswered_question_is_an_error():
    with pytest.raises(LookupError, match="total"):
        value(total(input_tensor(0)))


def test_the_numbers_in_use_are_listed_once_and_in_order():
    x, a, b = input_tensor(0), slot(0), slot(1)
    assert numbers_in([a * x + b, a * (x - b)]) == [a, b]
    assert numbers_in([a + b]) == [a + b]


def test_a_long_chain_does_not_recurse():
    node = slot(0)
    for _ in range(5000):
        node = node + 1
    assert value(node, [0.0]) == 5000


def test_values_are_deterministic_across_vector_lengths():
    for count in range(1, 20):
        weights = np.random.default_rng(count).standard_normal(count).tolist()
        expected = weights[0]
        for weight in weights[1:]:
            expected = expected + weight
        assert value(sum_models(slots(0, count)), weights) == expected
