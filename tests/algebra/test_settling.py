"""What settings decide of an expression, and what they do not."""

from smelt.algebra.expressions import constant, input_tensor, slot, slots, stack
from smelt.algebra.settling import fold, settle
from smelt.algebra.vocabulary import (
    Noise,
    absolute,
    floor,
    keep_largest,
    kth_largest,
    minimum,
    selected,
    sine,
    size,
    sum_models,
    total,
    where,
)

X, Y = input_tensor(0), input_tensor(1)
BOTH = stack([X, Y])


def test_a_condition_that_always_or_never_holds_leaves_one_side():
    root = where(slot(0) > 1.0, X, -X)
    assert settle(root, [(2.0,), (3.0,)]) == X
    assert settle(root, [(0.5,), (1.0,)]) == -X


def test_a_condition_that_differs_between_tensors_stays():
    root = where(slot(0) > 1.0, X, -X)
    assert settle(root, [(2.0,), (0.0,)]) == root


def test_a_condition_per_model_must_hold_for_all():
    mass = where(slots(0, 2) > 0.0, 1.0, 0.0)
    root = mass[0] * X
    assert "greater" not in repr(settle(root, [(1.0, 2.0)]))
    assert "greater" in repr(settle(mass * BOTH, [(1.0, -2.0)]))


def test_what_hangs_on_the_tensor_stays():
    for asked in (total(X) > 0.0, size() > 1.0):
        assert settle(where(asked, X, -X), [()]) == where(asked, X, -X)


def test_half_known_conditions_lose_the_known_half():
    asked, known = total(X) > 0.0, absolute(slot(0)) <= 1.0
    both, either = where(asked & known, X, -X), where(asked | known, X, -X)
    assert settle(both, [(0.5,)]) == where(asked, X, -X)
    assert settle(either, [(2.0,)]) == where(asked, X, -X)
    assert settle(both, [(2.0,)]) == -X
    assert settle(either, [(0.5,)]) == X


def test_numbers_that_the_settings_decide_are_constants():
    assert settle(sum_models(slots(0, 3)) * X, [(0.5, 0.25, 1.0)]) == constant(1.75) * X
    assert settle(slot(0) * X, [(0.5,), (0.25,)]) == slot(0) * X  # they differ
    assert settle(slots(0, 2) * BOTH, [(2.0, 2.0)]) == slots(0, 2) * BOTH  # a sum over it needs to know how many


def test_a_sine_over_itself_is_1_and_0_over_any_0():
    angle = total(X)
    root = sine(slot(0) * angle) / sine(angle) * X
    assert settle(root, [(1.0,)]) == constant(1.0) * X
    assert settle(root, [(0.0,)]) == constant(0.0) * X


def test_density_1_keeps_all_and_density_0_nothing():
    kept = keep_largest(BOTH, slots(0, 2))
    assert settle(kept, [(1.0, 1.0), (1.0, 1.0)]) == BOTH
    assert settle(kept, [(0.0, 0.0)]) == constant(0.0) * BOTH
    for some in ((1.0, 0.5), (0.0, 1.0), (1e-9, 1e-9)):
        assert settle(kept, [some]) == kept


def test_a_count_that_only_a_large_tensor_reaches_is_not_decided():
    nearly = minimum(floor(0.1 * size()), size() - floor(0.95 * size())) + floor(0.95 * size())  # 5 of 6 entries
    for count in (minimum(size(), 100.0), size() - 1.0, constant(1.0), nearly):
        kept = where(selected(X, kth_largest(X, count)), X, 0.0)
        assert "selected" in repr(settle(kept, [()]))


def test_draws_that_are_certain():
    drawn = where(Noise().uniform(BOTH) < slots(0, 2), BOTH, 0.0)
    assert settle(drawn, [(1.0, 1.0)]) == BOTH
    assert settle(drawn, [(0.0, 0.0)]) == constant(0.0) * BOTH
    for some in ((1.0, 0.5), (1.0, 0.0)):
        assert settle(drawn, [some]) == drawn


def test_what_would_be_infinite_stays():
    assert fold(constant(1.0) / constant(0.0)) == constant(1.0) / constant(0.0)
    assert settle((slot(0) / slot(1)) * X, [(1.0, 0.0)]) == (constant(1.0) / constant(0.0)) * X


def test_numbers_per_row_are_folded_as_well():
    angle = total(X, "row")
    root = sine(slot(0) * angle) / sine(angle) * X
    assert settle(root, [(1.0,)]) == constant(1.0) * X
    assert settle(root, [(0.0,)]) == constant(0.0) * X
