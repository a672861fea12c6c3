"""Conditions that settings decide, and those that they do not."""

from smelt.algebra.expressions import constant, input_tensor, slot, slots
from smelt.algebra.vocabulary import absolute, size, total, where
from smelt.explanation.settling import settle

X = input_tensor(0)


def test_a_condition_that_always_holds_is_1_and_one_that_never_does_0():
    root = where(slot(0) > 1.0, X, -X)
    assert settle(root, [(2.0,), (3.0,)]) == where_constant(1.0)
    assert settle(root, [(0.5,), (1.0,)]) == where_constant(0.0)


def test_a_condition_that_differs_between_tensors_stays():
    root = where(slot(0) > 1.0, X, -X)
    assert settle(root, [(2.0,), (0.0,)]) == root


def test_a_condition_per_model_must_hold_for_all():
    mass = where(slots(0, 2) > 0.0, 1.0, 0.0)
    root = mass[0] * X
    assert "greater" not in repr(settle(root, [(1.0, 2.0)]))
    assert "greater" in repr(settle(root, [(1.0, -2.0)]))


def test_what_hangs_on_the_tensor_stays():
    for asked in (total(X) > 0.0, size() > 1.0):
        assert settle(where(asked, X, -X), [()]) == where(asked, X, -X)


def test_half_known_conditions_lose_the_known_half():
    asked, known = total(X) > 0.0, absolute(slot(0)) <= 1.0
    both, either = where(asked & known, X, -X), where(asked | known, X, -X)
    assert settle(both, [(0.5,)]) == where(asked, X, -X)
    assert settle(either, [(2.0,)]) == where(asked, X, -X)
    assert settle(both, [(2.0,)]) == where_constant(0.0)
    assert settle(either, [(0.5,)]) == where_constant(1.0)


def where_constant(value):
    from dataclasses import replace

    return replace(where(slot(0) > 1.0, X, -X), args=(constant(value), X, -X))
