"""Templates read as linear combinations of their inputs, outcome by outcome."""

import numpy as np
import pytest

from smelt.algebra.expressions import constant, input_tensor, slots, stack
from smelt.algebra.vocabulary import Noise, absolute, ratio, same_sign, size, sum_models, total, where
from smelt.explanation.linear_reading import Binding, Signs, compared_draws, read
from smelt.explanation.outcomes import Outcomes, UnderivableError, list_outcomes

BASE, A, B = (input_tensor(number) for number in range(3))
DELTAS = stack([A, B]) - BASE
CERTAIN = Outcomes(np.ones(1), {})


def binding(settings=(), keys=(5, 6), **others):
    return Binding(settings, keys, {"tensor": 100, "row": 10}, 3, **others)


def factors(root, settings=(), outcomes=CERTAIN, **others):
    """Return the factors of base, A and B, then what is added, for each outcome."""
    return read(root, binding(settings, **others), outcomes, Signs())[:, 0].tolist()


def test_arithmetic():
    assert factors(BASE + sum_models(slots(0, 2) * DELTAS), (0.5, 0.25)) == [[0.25, 0.5, 0.25, 0]]
    assert factors(DELTAS[1] / 2.0 - A * size("row")) == [[-0.5, -10, 0.5, 0]]
    assert factors(sum_models(A + 0.0 * stack([A, B]))) == [[0, 2, 0, 0]]
    assert factors(A + 3.0) == [[0, 1, 0, 3]]


def test_outcomes_are_an_axis():
    rng = Noise(0)
    kept = where(rng.uniform(DELTAS) < constant(0.25), DELTAS, 0.0)
    compared = compared_draws(kept, binding())
    assert compared == {(5, 0): [0.25], (6, 0): [0.25]}
    both, first, second, none = factors(sum_models(kept), outcomes=list_outcomes(compared))
    assert (both, first, second, none) == ([-2, 1, 1, 0], [-1, 1, 0, 0], [-1, 0, 1, 0], [0, 0, 0, 0])


def test_signs_are_assumed_to_agree_and_remembered():
    signs = Signs()
    votes = slots(0, 2) * DELTAS
    agree = same_sign(votes, sum_models(votes))
    merged = ratio(sum_models(where(agree, votes, 0.0)), sum_models(where(agree, slots(0, 2), 0.0)))
    assert read(merged, binding((1.0, -3.0)), CERTAIN, signs).tolist() == [[[-1.0, -0.5, 1.5, 0.0]]]
    assert (signs.reference, signs.of_inputs) == (0, {1: 1.0, 2: -1.0})
    with pytest.raises(UnderivableError, match="signs and sizes"):
        read(where(sum_models(DELTAS) > 0.0, A, B), binding(), CERTAIN, signs)


def test_the_magnitude_of_a_difference_follows_its_sign():
    assert factors(absolute(A - BASE)) == [[-1, 1, 0, 0]]
    assert factors(absolute(constant(-2.0) * (A - BASE))) == [[2, -2, 0, 0]]
    with pytest.raises(UnderivableError, match="sizes of the weights"):
        factors(absolute(A))


def test_a_difference_of_nothing_has_no_sign():
    assert factors(where(A - A > 0.0, A, B)) == [[0, 0, 1, 0]]


def test_a_whole_tensor_is_not_known():
    with pytest.raises(UnderivableError, match=r"the whole tensor \('total'\)"):
        factors(A * total(B))


def test_nothing_is_dropped_when_all_probabilities_are_1():
    probability = slots(0, 2)
    kept = where(Noise(0).uniform(DELTAS) < probability, DELTAS, 0.0)
    root = BASE + sum_models(where(probability > 0.0, 1.0 / probability, 0.0) * kept)
    assert factors(root, (0.5, 0.25), certain=True) == [[-1, 1, 1, 0]]
