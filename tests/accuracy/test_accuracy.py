"""Results are as near to a float64 oracle as their dtype and the roundings of float32 on the way allow."""

import runpy
from pathlib import Path

import pytest
from measuring import FORMATS, measure, traces_of, tried

from smelt.algebra.declare import catalogue

ROOT = Path(__file__).resolve().parents[2]


def few(names):
    """The variants of methods; all but the first two of each are for the full suite."""
    return [
        pytest.param(variant, id=f"{name}-{place}", marks=[pytest.mark.full] if place > 1 else [])
        for name in names
        for place, variant in enumerate(tried(name))
    ]


@pytest.mark.parametrize("variant", few(catalogue()))
def test_results_are_within_half_a_step_and_the_bound(variant):
    worst = measure(variant)
    assert list(worst) == list(FORMATS)
    assert {dtype: share for dtype, share in worst.items() if not share <= 1.0} == {}


@pytest.mark.parametrize(
    ("name", "op"), [("ties", "selected"), ("della", "rank"), ("ties", "less"), ("sce", "greater")]
)
def test_the_models_are_hard_enough_for_decisions_to_differ(name, op):
    traces = traces_of(tried(name)[1], wide=False).values()
    assert any(decision.differs.any() for trace in traces for decision in trace.decisions if decision.op == op)


@pytest.mark.parametrize("variant", few(catalogue()))
def test_decisions_differ_from_float64_only_where_the_margin_is_below_the_bound(variant):
    for wide in (False, True):
        for name, trace in traces_of(variant, wide).items():
            for decision in trace.decisions:
                unexplained = decision.differs & ~(decision.margin <= decision.bound)
                assert not unexplained.any(), (name, decision.op, decision.margin[unexplained][0])


@pytest.mark.full
def test_the_table_in_the_documentation_is_what_is_measured():
    table = runpy.run_path(str(ROOT / "tools" / "measure_accuracy.py"))["write_table"]()
    refresh = "run: python tools/measure_accuracy.py"
    assert table in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8"), refresh
