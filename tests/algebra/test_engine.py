"""Compiled programs: what they are told, and what happens where there is no compiler."""

import numpy as np
import pytest
from evaluating import X, Y, models

from smelt.algebra import engine
from smelt.algebra.engine import CompiledProgram, find_fault
from smelt.algebra.expressions import slot, slots
from smelt.algebra.kernel_cache import KernelUnavailable
from smelt.algebra.kernel_source import UnsupportedError
from smelt.algebra.numbers import solve
from smelt.algebra.vocabulary import exponential, rank, total


def test_every_distinct_root_has_its_rows():
    pair = models(2)
    program = CompiledProgram([X, pair, X, Y])
    assert program.row_of == {X.key: 0, pair.key: 1, Y.key: 3}
    assert program.rows_out == 4


def test_numbers_are_rounded_to_float32_once():
    third = slot(0)
    program = CompiledProgram([models(2) * slots(1, 2) + third])
    values = solve(program.numbers, (1 / 3, 0.1, 1e300), {"tensor": 4, "row": 4, "column": 1}, {})
    packed = program.pack(values)
    assert packed.numbers.dtype == np.float32
    assert sorted(packed.numbers.tolist()) == sorted(np.array([1 / 3, 0.1, np.inf], np.float32).tolist())


def test_numbers_that_hang_on_answers_are_known():
    assert CompiledProgram([X / total(X)]).asks
    assert not CompiledProgram([X * 3.0]).asks


def test_ranks_ask_for_whole_rows():
    assert CompiledProgram([rank(X)]).whole_rows
    assert not CompiledProgram([X + Y]).whole_rows


def test_what_is_not_compiled_is_refused():
    with pytest.raises(UnsupportedError):
        CompiledProgram([exponential(X)])


def test_a_fault_is_told_in_a_line(monkeypatch):
    def fail(*_, **__):
        raise KernelUnavailable("no compiler today")

    monkeypatch.setattr(engine, "load_kernel", fail)
    monkeypatch.setattr(engine, "_load", engine._load.__wrapped__)
    assert find_fault.__wrapped__() == "no compiler today"


def test_there_is_a_compiler_here():
    assert find_fault() is None
