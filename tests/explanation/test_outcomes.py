"""The ways in which draws may turn out."""

import numpy as np
import pytest

from smelt.explanation.outcomes import MOST, UnderivableError, list_outcomes


def test_two_draws_have_four_outcomes():
    found = list_outcomes({(0, 0): [0.25], (1, 0): [0.5]})
    assert found.probabilities.tolist() == [0.125, 0.125, 0.375, 0.375]
    assert found.below((0, 0), 0.25).tolist() == [True, True, False, False]
    assert found.below((1, 0), 0.5).tolist() == [True, False, True, False]


def test_a_draw_that_is_compared_twice_is_one_draw():
    found = list_outcomes({(0, 0): [0.5, 0.25, 0.5]})
    assert found.probabilities.tolist() == [0.25, 0.25, 0.5]
    assert found.below((0, 0), 0.25).tolist() == [True, False, False]
    assert found.below((0, 0), 0.5).tolist() == [True, True, False]


def test_what_is_certain_is_no_draw():
    found = list_outcomes({(0, 0): [1.0], (1, 0): [0.0], (2, 0): [0.5]})
    assert found.probabilities.tolist() == [0.5, 0.5]
    assert found.below((0, 0), 1.0).all()
    assert not found.below((1, 0), 0.0).any()


def test_without_draws_there_is_one_outcome():
    found = list_outcomes({})
    assert found.probabilities.tolist() == [1.0]
    assert found.first.probabilities.tolist() == [1.0]


def test_the_first_outcome_drops_nothing():
    found = list_outcomes({(number, 0): [0.3] for number in range(3)}).first
    assert [found.below((number, 0), 0.3).tolist() for number in range(3)] == [[True]] * 3


def test_too_many_draws_are_refused():
    assert len(list_outcomes({(number, 0): [0.5] for number in range(12)}).probabilities) == MOST
    with pytest.raises(UnderivableError, match="13 draws"):
        list_outcomes({(number, 0): [0.5] for number in range(13)})


def test_probabilities_sum_to_one():
    random = np.random.default_rng(1)
    found = list_outcomes({(number, 0): random.random(2).tolist() for number in range(5)})
    assert len(found.probabilities) == 3**5
    assert abs(found.probabilities.sum() - 1) < 1e-12
