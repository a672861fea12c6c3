"""Kinds of methods, read from their formulas: the built-in ones by their papers, and one of one's own."""

import pytest

from smelt.algebra import declare
from smelt.algebra.declare import PerModel, catalogue, find
from smelt.algebra.vocabulary import sum_models, where
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


def test_a_method_of_ones_own(monkeypatch):
    monkeypatch.setattr(declare, "_registry", dict(declare._registry))

    @declare.method("half", title="Half", paper="none")
    def half(base, models, rng, *, weight: PerModel[float]):
        """Keep half of each difference.

        Args:
            weight: of each.
        """
        deltas = models - base
        return base + sum_models(where(rng.uniform(deltas) < 0.5, deltas, 0.0) * weight)

    assert not adds(half)  # it drops, and no density of 1 could keep it from that
    assert drops_evenly(half)
    assert not elects(half)
