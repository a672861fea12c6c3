"""NaN and infinities are counted in inputs and output, and reported or refused."""

import ml_dtypes
import numpy as np
import pytest

import smelt
import tiny
from smelt.algebra.grid import BLOCK
from smelt.running import runner
from smelt.running.nonfinite import Census, NonFinite, NonFiniteWarning, count_nonfinite
from smelt.running.runner import Pace, run_plan
from smelt.tensors.dtypes import DTYPES, dtype_of_array
from tiny import BF16, E4M3, E5M2

ENGINES = pytest.mark.parametrize("engine", [False, True], ids=["interpreted", "compiled"])


@pytest.fixture
def counts(monkeypatch):
    """Carry out a plan and return what its census holds at the end."""
    kept = []
    monkeypatch.setattr(runner, "Census", lambda *arguments: kept.append(Census(*arguments)) or kept[-1])

    def run(plan, **options):
        with pytest.warns(NonFiniteWarning):
            run_plan(plan, non_finite="report", **options)
        return kept[-1].counts()

    return run


def plan_of(method, *models, **settings):
    opened = [[smelt.Checkpoint(m) for m in x] if isinstance(x, list) else smelt.Checkpoint(x) for x in models]
    return smelt.plan(getattr(smelt.methods, method)(*opened, **settings))


def spoiled(shape, dtype, places, seed=0):
    """Ordinary values with NaN and both infinities, in turn, at some places."""
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    array.reshape(-1)[places] = np.resize(np.array([np.nan, np.inf, -np.inf], np.float32), len(places))
    return array.astype(dtype)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.is_float and d.size_bytes <= 2], ids=lambda d: d.name)
def test_every_code_of_a_short_format(dtype):
    codes = np.arange(256**dtype.size_bytes).astype(f"<u{dtype.size_bytes}").view(np.uint8)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(codes.view(dtype.array).astype(np.float32))
    assert count_nonfinite(codes, dtype) == np.count_nonzero(~finite) > 0


@pytest.mark.parametrize("array", ["<f4", "<f8"])
def test_long_formats(array):
    limits = np.finfo(array)
    values = [np.nan, -np.nan, np.inf, -np.inf, limits.max, limits.min, limits.tiny, limits.smallest_subnormal, 0, -0.0]
    raw = np.array(values, array)
    assert count_nonfinite(raw.view(np.uint8), dtype_of_array(raw.dtype)) == 4
    assert count_nonfinite(raw[4:].view(np.uint8), dtype_of_array(raw.dtype)) == 0
    assert count_nonfinite(raw[:0].view(np.uint8), dtype_of_array(raw.dtype)) == 0


def test_integers_have_none():
    full = np.full(8, 255, np.uint8)
    assert [count_nonfinite(full, d) for d in DTYPES if not d.is_float] == [0] * 9


@ENGINES
@pytest.mark.parametrize("stored", ["f4", BF16, "f2", E5M2, "f8"], ids=str)
@pytest.mark.parametrize("out", ["float32", "bfloat16", "float16", "float64"])
def test_inputs_and_output_are_counted(engine, stored, out, counts):
    shape, size = (37, 91), 37 * 91
    x, y = spoiled(shape, stored, [0, 1, 5, 1030, size - 1]), spoiled(shape, stored, [1, 2], seed=1)
    plan = plan_of("linear", [{"w": x}, {"w": y}], weight=[0.5, 0.5], out_dtype=out)
    found = counts(plan, pace=Pace(1, engine=engine))
    assert found == {"w": NonFinite((5, 2), 6)}  # places 0, 1, 2, 5, 1030 and the last


@ENGINES
@pytest.mark.parametrize("method", ["slerp", "ties", "della"])
def test_passes_and_blocks_count_once(method, engine, counts):
    places = [3, BLOCK - 1, BLOCK, 2 * BLOCK + 7]
    base, x = spoiled(2 * BLOCK + 9, BF16, places[:1]), spoiled(2 * BLOCK + 9, BF16, places, seed=1)
    settings = {"t": 0.5} if method == "slerp" else {"weight": [1.0], "density": [0.5]}
    plan = plan_of(method, {"w": base}, {"w": x} if method == "slerp" else [{"w": x}], **settings)
    for pace in (Pace(2, engine=engine), Pace(1, span=256 * 9, engine=engine, order=lambda n: range(n)[::-1])):
        assert counts(plan, pace=pace)["w"].inputs == (1, 4)


def test_a_selection_in_the_whole_model(counts):
    base, x = ({"w": spoiled((4, 5), "f4", places), "v": spoiled(3, "f4", [])} for places in ([], [7]))
    plan = plan_of("ties", base, [x], weight=[1.0], density=[0.5], scope="model")
    assert counts(plan) == {"w": NonFinite((0, 1), 0)}


@pytest.mark.parametrize("dtype", ["f4", BF16, "f2", E4M3], ids=str)
def test_copies_are_counted(dtype, counts):
    x = {"w": np.array([1, np.nan, 2, np.nan], np.float32).astype(dtype), "n": np.full(5, -1)}
    plan = plan_of("passthrough", x)
    assert plan.outputs[0].precision == "bytes"
    assert counts(plan) == {"w": NonFinite((2,), 2)}


def test_what_becomes_infinite_only_in_the_output_is_counted():
    for value, out, array in ((6e4, "float16", "f2"), (3.4e38, "bfloat16", BF16)):
        x = {"w": np.array([value, 1.0], np.float32)}
        plan = plan_of("linear", [x], weight=[1.5 if array == "f2" else 1.0], normalize=False, out_dtype=out)
        for engine in (False, True):
            with pytest.raises(smelt.RunError, match=r"^'w': 1 value of the result is .*, and its inputs are finite;"):
                run_plan(plan, pace=Pace(1, engine=engine))
            with pytest.warns(NonFiniteWarning, match=r"in 1 of 1 tensors; most in 'w': 1 \(its inputs are finite\)"):
                merged = run_plan(plan, non_finite="report", pace=Pace(1, engine=engine))
            assert np.isinf(merged["w"].astype("f4")).tolist() == [True, False]


@pytest.fixture
def recipe(here):
    """Two models: one tensor that an input spoils, one that overflows in float16."""
    (here / "recipe.yml").write_text(
        "merge_method: linear\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {weight: 1.0, normalize: false}\nout_dtype: float16\n"
    )

    def save(spoil, overflow):
        for seed, name in enumerate("ab"):
            large = np.array([4e4 if overflow else 4.0, 1.0], np.float32)
            tiny.save(here / name, {"held": spoiled((3, 4), "f4", spoil, seed), "large": large}, tiny.config())

    return save


@pytest.mark.parametrize(
    ("policy", "spoil", "overflow", "code"),
    [
        ("auto", [], False, 0),
        ("auto", [2, 3, 4], False, 0),
        ("auto", [2, 3, 4], True, 2),
        ("report", [2, 3, 4], True, 0),
        ("error", [2, 3, 4], False, 2),
        ("error", [], False, 0),
    ],
)
def test_the_policies(policy, spoil, overflow, code, recipe, here, smelt_command):
    recipe(spoil, overflow)
    answer = smelt_command("merge", "recipe.yml", "out", "--non-finite", policy)
    assert (answer.code, (here / "out").exists()) == (code, code == 0)
    lines = [line for line in answer.err.splitlines() if "NaN" in line]
    if code:
        tensor, held = ("large", "1 value of the result is") if overflow else ("held", "3 values of the result are")
        origin = "its inputs are finite" if overflow else "its inputs hold some already"
        assert lines[-1] == (
            f"smelt: '{tensor}': {held} NaN or infinite, and {origin}; choose other settings or a wider 'out_dtype', "
            "or non-finite: report"
        )
    elif spoil:
        tensors, values = (2, 4) if overflow else (1, 3)
        assert lines == [
            f"note: {values} values of the result are NaN or infinite, in {tensors} of 2 tensors; "
            "most in 'held': 3 (its inputs hold 6)"
        ]
    else:
        assert lines == []


def test_what_was_counted_before_a_run_stopped_is_not_forgotten(recipe, here, smelt_command):
    recipe([2, 3, 4], True)
    assert smelt_command("merge", "recipe.yml", "out", "--non-finite", "auto", "--threads", 1).code == 2
    answer = smelt_command("merge", "recipe.yml", "out", "--non-finite", "report")
    assert (answer.code, answer.err.splitlines()[-1]) == (
        0,
        "note: 4 values of the result are NaN or infinite, in 2 of 2 tensors; most in 'held': 3 (its inputs hold 6)",
    )


def test_what_an_input_holds_and_the_result_does_not_is_said(recwarn):
    base, x = {"w": spoiled(6, "f4", [])}, {"w": spoiled(6, "f4", [3])}  # a NaN agrees with no sign
    run_plan(plan_of("ties", base, [x], weight=[1.0]), non_finite="error")
    (warning,) = recwarn
    assert str(warning.message) == "1 value of the inputs is NaN or infinite, and none of the result"


@pytest.mark.parametrize("found", ["eror", "", "Report"])
def test_an_unknown_policy_is_refused(found, smelt_command, here):
    plan = plan_of("passthrough", {"w": np.zeros(2, ml_dtypes.bfloat16)})
    with pytest.raises(smelt.InputError, match=f"^'non_finite' cannot be '{found}'.* Allowed: auto, report, error$"):
        smelt.run(plan, non_finite=found)
    (here / "recipe.yml").write_text("merge_method: passthrough\nmodels: [{model: a}]\n")
    answer = smelt_command("merge", "recipe.yml", "out", "--non-finite", found)
    assert (answer.code, len(answer.err.splitlines())) == (1, 1)
    assert "'auto', 'report', 'error'" in answer.err
