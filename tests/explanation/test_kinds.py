"""Kinds of methods, read from their formulas: the built-in ones by their papers, and one of one's own."""

from typing import Literal

import pytest

from smelt.algebra import declare
from smelt.algebra.declare import Fraction, PerModel, catalogue, find
from smelt.algebra.vocabulary import absolute, largest, nonzero, sum_models, where
from smelt.explanation.kinds import adds, drops_evenly, elects, is_sum

# As the papers describe them.
ADDING = ["breadcrumbs", "dare_linear", "della_linear", "task_arithmetic"]
ELECTING = ["breadcrumbs_ties", "dare_ties", "della", "ties"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (adds, ADDING),
        (is_sum, sorted([*ADDING, "linear"])),
        (elects, ELECTING),
        (drops_evenly, ["dare_linear", "dare_ties"]),
    ],
)
def test_the_methods_of_each_kind(kind, expected):
    assert sorted(name for name in catalogue() if kind(find(name))) == expected


@pytest.fixture
def register(monkeypatch):
    monkeypatch.setattr(declare, "_registry", dict(declare._registry))

    def register(function, **options):
        function.__doc__ = "Trial."
        return declare.method(function.__name__, title="Trial", paper="none", **options)(function)

    return register


def test_a_method_that_drops_whatever_its_settings_say(register):
    def half(base, models, rng, *, weight: PerModel[float]):
        deltas = models - base
        return base + sum_models(where(rng.uniform(deltas) < 0.5, deltas, 0.0) * weight)

    found = register(half)
    assert not adds(found)
    assert drops_evenly(found)
    assert not elects(found)


def test_weights_that_are_not_the_factors(register):
    def divided(base, models, *, weight: PerModel[float]):
        return base + sum_models(weight / sum_models(weight) * (models - base))

    def squared(base, models, *, weight: PerModel[float]):
        return base + sum_models(weight * weight * (models - base))

    def plain(base, models, *, weight: PerModel[float]):
        return base + sum_models(weight * (models - base))

    assert [adds(register(function)) for function in (divided, squared, plain)] == [False, False, True]


def test_a_probability_that_the_weights_decide_is_not_even(register):
    def by_size(base, models, rng, *, weight: PerModel[float]):
        deltas = models - base
        kept = where(rng.uniform(deltas) < absolute(deltas) / largest(absolute(deltas)), deltas, 0.0)
        return base + sum_models(weight * kept)

    assert not drops_evenly(register(by_size))


def test_methods_that_cannot_be_traced_on_settings_nobody_chose(register):
    def required(base, models, *, weight: PerModel[float], how_far: float, mode: Literal["a", "b"]):
        return base + how_far * sum_models(weight * (models - base))

    def three(models, *, weight: PerModel[float]):
        return models[2] * weight[0]

    def below_one(base, models, *, weight: PerModel[float], density: Fraction = 0.5):
        return base + sum_models(weight * (models - base)) / nonzero(1.0 - density, "density must be below 1")

    for function, count in ((required, (1, None)), (three, (3, None)), (below_one, (1, None))):
        method = register(function, models=count)
        assert [kind(method) for kind in (is_sum, elects, drops_evenly)] == [False, False, False]
