"""In which dtype a result is computed and stored; what is only carried keeps its bytes."""

import numpy as np
import pytest

import smelt
import tiny
from smelt.errors import RunError
from tiny import BF16, E4M3, E5M2

SOUP = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 0.3}}, {model: b, parameters: {weight: 0.7}}]\n"
COPY = "merge_method: passthrough\nmodels: [{model: a}]\n"
FLOATS = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": BF16,
    "float8_e4m3fn": E4M3,
    "float8_e5m2": E5M2,
}


def make(seed):
    random = np.random.default_rng(seed)
    tensors = {name: random.normal(size=(3, 5)).astype(dtype) for name, dtype in FLOATS.items()}
    whole = {"long": np.arange(5), "int": np.arange(3, dtype="i4"), "byte": np.arange(4, dtype="u1")}
    return {**tensors, **whole, "flags": np.array([True, False])}


@pytest.fixture(autouse=True)
def models(here):
    for seed, name in enumerate("ab"):
        tiny.save(here / name, make(seed))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", None),
        ("dtype: float16\n", "float16"),
        ("out_dtype: bfloat16\n", "bfloat16"),
        ("dtype: torch.bfloat16\nout_dtype: float8_e5m2\n", "float8_e5m2"),
        ("dtype: float8_e4m3fn\n", "float8_e4m3fn"),
        ("dtype: float64\n", "float64"),
    ],
)
def test_out_dtype_before_dtype_before_what_is_stored(lines, expected):
    merged = smelt.merge(SOUP + lines)
    a, b = make(0), make(1)
    for name in FLOATS:
        stored = np.dtype(FLOATS[expected or name])
        assert merged[name].dtype == stored
        if name == "float64":  # computed in float64, rounded once
            exact = 0.3 / (0.3 + 0.7) * a[name] + 0.7 / (0.3 + 0.7) * b[name]
        else:
            weights = np.array([0.3, 0.7]).astype("f4")
            exact = weights[0] * a[name].astype("f4") + weights[1] * b[name].astype("f4")
        assert merged[name].tobytes() == exact.astype(stored).tobytes(), name
    for name in ("long", "int", "byte", "flags"):
        assert merged[name].dtype == a[name].dtype
        assert np.array_equal(merged[name], a[name])


def test_the_dtype_of_the_base_decides_tensor_by_tensor(here):
    swapped = {name: make(1)[name].astype(FLOATS[other]) for name, other in zip(FLOATS, reversed(FLOATS), strict=True)}
    tiny.save(here / "b", {**make(1), **swapped})
    text = "merge_method: task_arithmetic\nbase_model: b\nmodels: [{model: a}]\nparameters: {weight: 1}\n"
    plan = smelt.plan(text)
    found = {o.spec.name: (o.spec.dtype.recipe_name, o.precision) for o in plan.outputs if o.spec.name in FLOATS}
    for name, other in zip(FLOATS, reversed(FLOATS), strict=True):
        assert found[name] == (other, "float64" if "float64" in (name, other) else "float32")
    merged = smelt.run(plan)
    exact = make(0)["float64"].astype("f8")  # b + (a − b) in float64, stored as float8_e5m2
    b = swapped["float64"].astype("f8")
    assert merged["float64"].tobytes() == (b + (exact - b)).astype(E5M2).tobytes()


def test_copies_keep_every_bit(here):
    strange = {
        "model.norm.weight": np.array([0x7FC1, 0xFF81, 0x8000, 0x0001], "u2").view(BF16),  # odd NaNs, −0, a subnormal
        "model.bias": np.array([0x7F800001, 0x80000000], "u4").view("f4"),
        "model.eight": np.array([0xFF, 0x80], "u1").view(E4M3),
    }
    tiny.save(here / "a", strange)
    for text in (COPY, COPY + "parameters: {scale: 1.0}\n", COPY + "dtype: bfloat16\n"):
        plan = smelt.plan(text)
        merged = smelt.run(plan)
        for output in plan.outputs:
            kept = "dtype" not in text or output.spec.name == "model.norm.weight"
            assert (output.precision == "bytes") == kept
            if kept:
                assert merged[output.spec.name].tobytes() == strange[output.spec.name].tobytes()
    converted = smelt.merge(COPY + "dtype: float32\n")["model.norm.weight"].view("u4")
    assert [f"{bits:08x}" for bits in converted] == ["7fc00000", "7fc00000", "80000000", "00010000"]


def test_float8_overflow_is_an_error_and_infinity_is_none_in_float16(here):
    tiny.save(here / "a", {"model.norm.weight": np.array([464.5, 7e4, 1.0], "f4")})
    with pytest.raises(RunError, match=r"'model\.norm\.weight': .*choose a wider 'out_dtype'"):
        smelt.merge(COPY + "out_dtype: float8_e4m3fn\n", "out")
    assert not (here / "out").exists()
    with pytest.raises(RunError, match="choose a wider"):
        smelt.merge(COPY + "out_dtype: float8_e5m2\n")
    stored = smelt.merge(COPY + "out_dtype: float16\n", non_finite="report")["model.norm.weight"]
    assert stored.astype("f4").tolist() == [464.5, np.inf, 1.0]


def test_integers_that_differ_stop_the_run_before_anything_else(here):
    tiny.save(here / "b", {**make(1), "long": np.array([0, 1, 2, 3, 5])})
    with pytest.raises(RunError, match="'long' holds int64 values that differ between 'a' and 'b'; integers are only"):
        smelt.merge(SOUP)
    chain = f"name: soup\n{SOUP}---\nmerge_method: passthrough\nmodels: [{{model: soup}}]\n"
    with pytest.raises(RunError, match="'long' holds int64 values that differ"):
        smelt.merge(chain)
