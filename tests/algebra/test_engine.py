"""Compiled programs: what they are told, and what happens where there is no compiler."""

import mpmath
import numpy as np
import pytest
from evaluating import X, Y, models

from smelt.algebra import engine
from smelt.algebra.elementary import exp, log
from smelt.algebra.engine import TILE, CompiledProgram, find_fault
from smelt.algebra.expressions import slot, slots
from smelt.algebra.kernel_cache import KernelUnavailable
from smelt.algebra.kernel_source import UnsupportedError
from smelt.algebra.numbers import solve
from smelt.algebra.storage_source import CODES
from smelt.algebra.vocabulary import arccos, exponential, keep_largest, logarithm, rank, total
from smelt.tensors.dtypes import dtype_of_array

FLOAT32 = np.dtype(np.float32)
WORDS = [np.dtype(f"u{size_bytes}") for size_bytes in (1, 2, 4, 8)]


def test_every_distinct_root_has_its_rows():
    pair = models(2)
    program = CompiledProgram([X, pair, X, Y], FLOAT32)
    assert program.row_of == {X.key: 0, pair.key: 1, Y.key: 3}
    assert program.rows_out == 4


def test_numbers_are_rounded_to_float32_once():
    third = slot(0)
    program = CompiledProgram([models(2) * slots(1, 2) + third], FLOAT32)
    values = solve(program.numbers, (1 / 3, 0.1, 1e300), {"tensor": 4, "row": 4, "column": 1}, {})
    packed = program.pack(values)
    assert packed.numbers.dtype == np.float32
    assert sorted(packed.numbers.tolist()) == sorted(np.array([1 / 3, 0.1, np.inf], np.float32).tolist())


def test_numbers_that_hang_on_answers_are_known():
    assert CompiledProgram([X / total(X)], FLOAT32).asks
    assert not CompiledProgram([X * 3.0], FLOAT32).asks


def test_ranks_ask_for_whole_rows():
    assert CompiledProgram([rank(X)], FLOAT32).whole_rows
    assert not CompiledProgram([X + Y], FLOAT32).whole_rows


def test_what_is_not_compiled_is_refused():
    with pytest.raises(UnsupportedError):
        CompiledProgram([arccos(X)], FLOAT32)


def test_selections_of_the_tensor_and_of_rows_meet_in_one_kernel():
    program = CompiledProgram([keep_largest(X, 0.5) + keep_largest(X, 0.4, "row")], FLOAT32)
    of_tensor, of_rows = sorted(program.selections, key=lambda node: node.along or "")
    values = {
        of_tensor.key: (np.array([7], np.uint32), np.array([2])),
        of_rows.key: (np.array([[1, 2, 3]], np.uint32), np.array([[4, 5, 6]])),
    }
    packed = program.add_selections(program.pack({n.key: 0.0 for n in program.numbers}), values)
    assert sorted(packed.thresholds.tolist()) == [[1, 2, 3], [7, 7, 7]]
    assert sorted(packed.cuts.tolist()) == [[2, 2, 2], [4, 5, 6]]


def test_a_fault_is_told_in_a_line(monkeypatch):
    def fail(*_, **__):
        raise KernelUnavailable("no compiler today")

    monkeypatch.setattr(engine, "load_kernel", fail)
    monkeypatch.setattr(engine, "_load", engine._load.__wrapped__)
    assert find_fault.__wrapped__() == "no compiler today"


def test_there_is_a_compiler_here():
    assert find_fault() is None


@pytest.mark.parametrize(("operation", "reference"), [(exponential, mpmath.exp), (logarithm, mpmath.log)])
def test_exp_and_log_are_correctly_rounded(operation, reference):
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(-104, 89, 2000), rng.standard_normal(2000), 10.0 ** rng.uniform(-45, 38, 2000)])
    x = x.astype(np.float32)
    x = x if operation is exponential else np.abs(x)
    with mpmath.workprec(120):
        expected = [
            float(reference(mpmath.mpf(float(value)))) if value or operation is exponential else -np.inf for value in x
        ]
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(run(operation(X), x), np.array(expected, np.float64).astype(np.float32))


def test_exp_and_log_at_the_edges():
    edges = np.float32([np.inf, -np.inf, np.nan, 0.0, -0.0, 200.0, -200.0, -1.0, 1e-45])
    np.testing.assert_array_equal(run(exponential(X), edges)[:7], np.float32([np.inf, 0, np.nan, 1, 1, np.inf, 0]))
    found = run(logarithm(X), edges)
    np.testing.assert_array_equal(
        found[:8], np.float32([np.inf, np.nan, np.nan, -np.inf, -np.inf, 5.2983174, np.nan, np.nan])
    )
    assert found[8] == np.float32(-149 * np.log(2.0))


def test_exp_and_log_are_those_of_the_interpreter():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 2**32, 200_000, np.uint32).view(np.float32)
    for operation, reference in ((exponential, exp), (logarithm, log)):
        with np.errstate(all="ignore"):
            expected = reference(x).astype(np.float32)
        found = run(operation(X), x)
        np.testing.assert_array_equal(found.view(np.uint32)[x == x], expected.view(np.uint32)[x == x])
        assert np.isnan(found[x != x]).all()


def run(node, x):
    """Return a node's values through the compiled loop; X is ``x``."""
    program = CompiledProgram([node], x.dtype)
    packed = program.pack({n.key: n.attributes[0] for n in program.numbers})
    result = np.empty((1, len(x)), x.dtype)
    program.loop("values", ())(*arguments(program, packed, x.view(np.uint8), dtype_of_array(x.dtype), len(x)), result)
    return result[0]


def arguments(program, packed, raw, dtype, size):
    """Return what all loops take, for one input of ``size`` numbers as they are stored."""
    zero = np.zeros(1, np.int64)
    padded = np.concatenate([raw, np.zeros(-len(raw) % 8, np.uint8)])
    rows = [np.empty((max(program.rows_scratch, 1), TILE), program.precision) for _ in range(3)]
    return (
        *(*(padded.view(word) for word in WORDS), zero, zero + CODES[dtype.name], size, TILE, 0, size),
        *(packed.p, packed.numbers, packed.rows, packed.columns, np.zeros((1, 1), np.uint64)),
        *(packed.thresholds, packed.cuts, *rows),
    )
