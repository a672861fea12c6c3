"""Every statistic of ``smelt diff`` against NumPy in float64; the same numbers however the work is done."""

import json
import math
import tracemalloc

import diff_oracle
import ml_dtypes
import numpy as np
import pytest

import smelt
from smelt.inspection import measuring
from smelt.inspection.comparing import diff
from smelt.inspection.differences import QUANTILES
from smelt.inspection.histograms import unpack
from smelt.inspection.statistics_source import MOST_PACKED, PLACES, WAYS
from smelt.running.runner import Pace
from tiny import BF16, E4M3, config, save

F16, F32, F64 = np.dtype("f2"), np.dtype("f4"), np.dtype("f8")
# By name: the shape, and how base and models store it. A row longer than a block, a scalar, nothing at all.
TENSORS = {
    "model.layers.0.mlp.up_proj.weight": ((37, 61), BF16, BF16, BF16),
    "model.layers.0.self_attn.q_proj.weight": ((4, 1, 2049), F16, F16, BF16),
    "model.layers.1.mlp.up_proj.weight": ((2, 300_001), BF16, BF16, F32),
    "model.layers.1.self_attn.q_proj.weight": ((1025,), F32, BF16, F32),
    "model.layers.2.mlp.up_proj.weight": ((11, 256), F64, F32, F64),
    "model.norm.weight": ((), BF16, BF16, BF16),
    "nothing": ((0, 4), F32, F32, F32),
    "coarse": ((5, 300), E4M3, E4M3, BF16),
}


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Let the largest tensor have several blocks."""
    monkeypatch.setattr(measuring, "BLOCK", 2**18)


def make(seed=0):
    """Return a base and two models: small changes, many of them zero after rounding, heavy tails in the second."""
    random = np.random.default_rng(seed)
    made = [{}, {}, {}]
    for name, (shape, *dtypes) in TENSORS.items():
        base = (random.standard_normal(shape) * 0.05).astype(dtypes[0])
        exact = base.astype(np.float64)
        made[0][name] = base
        made[1][name] = np.asarray(exact + random.standard_normal(shape) * 3e-4).astype(dtypes[1])
        made[2][name] = np.asarray(exact + random.standard_t(2.5, shape) * 2e-4).astype(dtypes[2])
    return made


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Return the folders and the arrays of a family."""
    root = tmp_path_factory.mktemp("family")
    arrays = make()
    names = ("base", "math", "code")
    return [save(root / n, a, config(layers=3)) for n, a in zip(names, arrays, strict=True)], arrays


def precision_of(*arrays):
    return F64 if any(a.dtype == F64 for a in arrays) else F32


def agree(found, expected, context):
    """Check a measure: exact counts, sums to rounding, what bins can tell to what they promise."""
    tolerances = {"mean_magnitude": 1e-6, "kurtosis": 1e-4, "top_energy": 2e-4, "quantiles": 2**-7}
    for field, value in expected.items():
        got, label = getattr(found, field), f"{context}: {field}"
        if value is None:
            assert got is None, label
        elif field in ("zeros", "nonfinite"):
            assert got == value, label
        else:
            np.testing.assert_allclose(got, value, rtol=tolerances.get(field, 1e-12), atol=0, err_msg=label)


def test_every_statistic_of_every_tensor(family):
    folders, (base, *models) = family
    found = smelt.diff(folders[0], folders[1:])
    assert [t.name for t in found.tensors] == list(TENSORS)
    for tensor in found.tensors:
        name, section = tensor.name, tensor.section
        precision = precision_of(base[name], *(m[name] for m in models))
        assert (tensor.precision, tensor.shape) == (precision.name, TENSORS[name][0])
        taken = [diff_oracle.differences(base[name], m[name], precision) for m in models]
        for measure, (difference, nonfinite) in zip(section.measures, taken, strict=True):
            agree(measure, diff_oracle.statistics(base[name], difference, nonfinite), f"{name} {measure.model}")
        if base[name].size:
            (pair,) = section.pairs
            for field, value in diff_oracle.pair(taken[0][0], taken[1][0]).items():
                assert getattr(pair, field) == (None if value is None else pytest.approx(value, rel=1e-10)), field
        kept = base[name].astype(np.float64).ravel()
        assert section.base_norm == pytest.approx(math.sqrt(math.fsum(kept**2)), rel=1e-12)


def test_layers_roles_and_the_whole_are_over_all_their_entries(family):
    folders, (base, *models) = family
    found = smelt.diff(folders[0], folders[1:])
    members = {
        "model.layers.1": [n for n in TENSORS if n.startswith("model.layers.1.")],
        "mlp": [n for n in TENSORS if "mlp" in n],
        "all": list(TENSORS),
    }
    sections = {s.label: s for s in (*found.layers, *found.roles, found.whole)}
    assert [s.label for s in found.layers] == [*(f"model.layers.{i}" for i in range(3)), "outside the layers"]
    for label, names in members.items():
        section = sections[label]
        assert (section.tensors, section.elements) == (len(names), sum(base[n].size for n in names))
        joined = np.concatenate([base[n].astype(np.float64).ravel() for n in names])
        taken, tops = [], []
        for at, measure in enumerate(section.measures):
            # Every difference as it was taken, then as a number.
            parts = [
                diff_oracle.differences(base[n], models[at][n], precision_of(base[n], *(m[n] for m in models)))[0]
                for n in names
            ]
            difference = np.concatenate([part.astype(np.float64) for part in parts])
            agree(measure, diff_oracle.statistics(joined, difference, 0), f"{label} {measure.model}")
            counts = np.bincount((np.ceil(np.log2(np.abs(difference[difference != 0]))) - 1 + 200).astype(int))
            octaves = {int(e) - 200: int(counts[e]) for e in np.flatnonzero(counts)}
            taken.append(difference)
            tops.append([diff_oracle.support(part) for part in parts if part.size])
            for e, count in measure.octaves:  # a value at the edge may be rounded across it, to float32
                assert count == pytest.approx(octaves[e], abs=2)
        expected = diff_oracle.pair(*taken)
        assert section.pairs[0].cosine == pytest.approx(expected["cosine"], rel=1e-10)
        assert section.pairs[0].conflicts == expected["conflicts"]
        common = sum(int((one & other).sum()) for one, other in zip(*tops, strict=True))  # tensor by tensor
        assert section.pairs[0].overlap == common / min(sum(int(top.sum()) for top in one) for one in tops)


@pytest.mark.parametrize("wide", [False, pytest.param(True, marks=pytest.mark.full)])
def test_numbers_do_not_depend_on_how_the_work_is_done(wide, monkeypatch):
    base, math_model, code = make(seed=4)
    for arrays in (base, math_model, code):
        if not wide:  # further kernels, for float64
            del arrays["model.layers.2.mlp.up_proj.weight"]
    for arrays, places in ((base, (7, 400_000)), (math_model, (7, 8, 599_999)), (code, (1100,))):
        arrays["model.layers.1.mlp.up_proj.weight"].reshape(-1)[list(places)] = (np.nan, np.inf, -np.inf)[: len(places)]
    expected = diff(base, [math_model], [code], pace=Pace(1, engine=False)).to_json()
    ways = [
        Pace(3, engine=False, span=512, order=lambda count: range(count)[::-1]),
        Pace(2, engine=False, span=4096, tile=256),
        Pace(1, engine=True),
        Pace(3, engine=True, span=1280, order=lambda count: range(count)[::-1]),
    ]
    for pace in ways:
        assert diff(base, [math_model], [code], pace=pace).to_json() == expected, pace
    monkeypatch.setattr(measuring, "MOST_PACKED", 2**18)
    assert diff(base, [math_model], [code], pace=ways[2]).to_json() == expected


def test_what_is_not_finite_is_counted_and_left_out():
    random = np.random.default_rng(1)
    base = random.standard_normal((3, 999)).astype(F32)
    model = (base + random.standard_normal(base.shape) * 0.01).astype(F32)
    base[0, 3], base[2, 5] = np.nan, np.inf
    model[0, 700], model[1, 4], model[2, 5] = np.inf, np.nan, np.inf
    base[1, 9], model[1, 9] = 3e38, -3e38  # finite, but their difference is not
    found = smelt.diff({"w": base}, [{"w": model}, {"w": base.copy()}])
    difference, nonfinite = diff_oracle.differences(base, model, F32)
    assert nonfinite == 5
    changed, same = found.whole.measures
    agree(changed, diff_oracle.statistics(base, difference, nonfinite), "changed")
    assert (same.nonfinite, same.norm, same.zeros) == (2, 0, base.size - 2)
    assert not same.is_zero
    assert [a.topic for a in found.advice][:2] == ["nonfinite", "nonfinite"]
    assert "5 differences" in found.advice[0].verdict
    json.dumps(found.to_json(), allow_nan=False)


def test_zeros_are_exact_where_float32_would_lose_them():
    base = {"w": np.zeros(6, F64)}
    model = {"w": np.array([0, 5e-324, -1e-60, 1e-44, 1e300, 0], F64)}
    (measure,) = smelt.diff(base, [model]).whole.measures
    assert (measure.zeros, measure.largest, measure.nonfinite) == (2, 1e300, 0)
    assert measure.relative is None  # the base is zero


def test_rounding_noise_is_a_twelfth_of_the_squared_last_bit():
    """Values in [1, 2) of bfloat16 have a last bit of 2⁻⁷; of float16 2⁻¹⁰, and 2⁻²⁴ where they are zero."""
    for dtype, values, last in ((BF16, 1.5, 2**-7), (F16, -1.5, 2**-10), (F16, 0.0, 2**-24), (F32, 3.0, 2**-22)):
        model = np.full(5000, values).astype(dtype)
        (measure,) = smelt.diff({"w": np.ones(5000, F32) * 7}, [{"w": model}]).whole.measures
        assert measure.rounding_rms == pytest.approx(last / math.sqrt(12), rel=1e-12)


def test_rounding_noise_is_what_rounding_does():
    """A base of float32 and its copy in bfloat16 differ by rounding alone."""
    base = (np.random.default_rng(2).standard_normal(200_000) * 0.02).astype(F32)
    (measure,) = smelt.diff({"w": base}, [{"w": base.astype(ml_dtypes.bfloat16)}]).whole.measures
    assert measure.rounding_rms == pytest.approx(measure.rms, rel=0.01)


def test_effective_rank():
    random = np.random.default_rng(3)
    flat = np.linalg.qr(random.standard_normal((40, 8)))[0] @ np.linalg.qr(random.standard_normal((60, 8)))[0].T
    arrays = {"flat": flat, "any": random.standard_normal((30, 70)), "vector": random.standard_normal(50)}
    base = {name: np.zeros_like(array) for name, array in arrays.items()}
    ranks = {t.name: t.section.measures[0].effective_rank for t in smelt.diff(base, [arrays], rank=True).tensors}
    values = np.linalg.svd(arrays["any"], compute_uv=False)
    shares = values / values.sum()
    assert ranks["flat"] == pytest.approx(8, rel=1e-6)  # eight equal singular values
    assert ranks["any"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-9)
    assert ranks["vector"] is None
    ways = [diff(base, [arrays], rank=True, threads=threads).to_json() for threads in (1, 3)]
    assert ways[0] == ways[1]


def test_a_place_tells_number_and_sum_apart_however_full_it_is():
    for bin_number, above in ((1, 0), (1, 0xFFFF), (0x7F80, 0), (0x7F80, 0xFFFF)):
        packed = np.zeros((WAYS, PLACES), np.uint64)
        raised = ((bin_number + 15) << 16) + above
        packed[0, bin_number + 15] = MOST_PACKED * (2**40 + raised)
        packed[1, [0, 7, 15]] = [2**40, 3 * (2**40 + (7 << 16)), 2**40 + (15 << 16)]
        found = unpack(packed)
        assert (found.zeros, found.first) == (5, bin_number)
        assert (found.counts.tolist(), found.lows.tolist()) == ([MOST_PACKED], [MOST_PACKED * above])


def test_quantiles_are_exact_where_the_values_of_a_bin_are_equal():
    model = {"w": np.repeat(np.array([0, 2**-9, 2**-8, 3 * 2**-9], F32), [10, 40, 45, 5])}
    (measure,) = smelt.diff({"w": np.zeros(100, F32)}, [model]).whole.measures
    expected = {0.01: 0, 0.05: 0, 0.25: 2**-9, 0.5: 2**-9, 0.75: 2**-8, 0.95: 2**-8, 0.99: 3 * 2**-9, 0.999: 3 * 2**-9}
    assert dict(zip(QUANTILES, measure.quantiles, strict=True)) == expected
    # By hand, in units of 2⁻¹⁸: 40·1 + 45·4 + 5·9 = 265, of which the top twenty have 5·9 + 15·4 = 105.
    assert measure.top_energy == pytest.approx(105 / 265, rel=1e-12)
    assert measure.kurtosis == pytest.approx(100 * (40 + 45 * 16 + 5 * 81) / 265**2, rel=1e-12)
    assert measure.octaves == ((-10, 40), (-9, 45), (-8, 5))


def test_memory_grows_with_many_tensors_by_what_is_reported_of_them():
    """A histogram of differences over twenty octaves takes 40 kB; it may not stay after its tensor."""

    def peak(count):
        random = np.random.default_rng(0)
        base, model = ({f"t{n}": random.standard_normal(3000).astype(F32) for n in range(count)} for _ in range(2))
        tracemalloc.start()
        found = diff(base, [model], [base], pace=Pace(1, engine=False))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(found.tensors) == count
        return most

    peak(10)  # what is imported and kept on first use
    assert peak(210) - peak(10) < 200 * 20_000
