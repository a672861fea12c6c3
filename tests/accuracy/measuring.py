"""How far merges are from their float64 oracle, as a share of what is allowed; and the models to try it on."""

import numpy as np
from engine_families import model_count, plan_variant
from shadows import Trace

from smelt.running.runner import Pace, run_plan
from smelt.testing.variants import variants_of

# Stored bits of the mantissa, the exponent of the smallest normal number, the largest number.
FORMATS = {
    "float32": (23, -126, (2 - 2.0**-23) * 2.0**127),
    "bfloat16": (7, -126, (2 - 2.0**-7) * 2.0**127),
    "float16": (10, -14, 65504.0),
    "float8_e4m3fn": (3, -6, 448.0),
    "float8_e5m2": (2, -14, 57344.0),
}
WIDE = ("float32", "bfloat16")  # that hold what the wide families hold
SHAPE = (12, 40)


def tried(name):
    """The variants of a method; what is selected over the whole model is selected like what is in one tensor."""
    return [v for v in variants_of(name) if v.settings.get("scope") != "model"]


def draw_models(count, wide):
    """Models (the first may be a base), each family a tensor: ordinary ones, and such that make sums hard."""
    draws = np.random.default_rng(12)

    def spread(low, high):
        return draws.choice([-1.0, 1.0], SHAPE) * draws.uniform(1, 2, SHAPE) * 2.0 ** draws.uniform(low, high, SHAPE)

    def steps(reach, step):
        return draws.integers(-reach, reach + 1, SHAPE) * step

    def family(start, change):
        return [start, *(start + change(place) for place in range(1, count))]

    edit = draws.normal(size=SHAPE)
    # The first two weights that are tried stand to each other as 3 to 4.
    opposed = {1: edit / 3, 2: -edit / 4}
    near = {
        "ordinary": family(draws.normal(size=SHAPE), lambda place: 0.1 * draws.normal(size=SHAPE)),
        "mixed": [spread(-20, 3) for _ in range(count)],
        "cancelling": family(
            1e-6 * draws.normal(size=SHAPE), lambda place: opposed.get(place, 0.0) + 1e-7 * draws.normal(size=SHAPE)
        ),
        # Differences that float32 cannot tell apart, and float64 can.
        "crowded": family(draws.uniform(0.03, 0.06, SHAPE), lambda place: 0.65 + 2.0**-24 * draws.normal(size=SHAPE)),
        "ties": family(steps(8, 0.125), lambda place: steps(2, 0.25)),
        "subnormal": [steps(2**10, 2.0**-149) * 2.0 ** draws.integers(0, 20, SHAPE) for _ in range(count)],
    }
    far = {
        "huge": family(1e30 * draws.normal(size=SHAPE), lambda place: 1e29 * draws.normal(size=SHAPE)),
        "huge and tiny": [spread(-100, 100) for _ in range(count)],
    }
    families = far if wide else near
    return [{name: models[place].astype("f4") for name, models in families.items()} for place in range(count)]


def half_step(values, dtype):
    """Half a unit in the last place of a dtype."""
    mantissa_bits, lowest, _ = FORMATS[dtype]
    return np.ldexp(0.5, np.maximum(np.frexp(values)[1] - 1, lowest) - mantissa_bits)


def traces_of(variant, wide):
    """The shadow of each tensor of a variant's merge, by name."""
    plan = plan_variant(variant, draw_models(model_count(variant), wide), out_dtype="float32")
    return {output.spec.name: Trace(plan, output) for output in plan.outputs}


def measure(variant):
    """The worst error of a variant's merges by output dtype, as a share of what is allowed."""
    worst = {}
    for wide in (False, True):
        traces = traces_of(variant, wide)
        models = draw_models(model_count(variant), wide)
        for dtype in WIDE if wide else FORMATS:
            plan = plan_variant(variant, models, out_dtype=dtype)
            merged = run_plan(plan, non_finite="report", pace=Pace(1, engine=False))
            shares = [share_of(traces[name], array, dtype) for name, array in merged.items()]
            worst[dtype] = max(worst.get(dtype, 0.0), *shares)
    return worst


def share_of(trace, merged, dtype):
    """The worst error of a tensor as a share of what is allowed, among the entries that its dtype can hold."""
    root, result = trace.root, np.asarray(merged).astype(np.float64).reshape(-1)
    with np.errstate(invalid="ignore"):
        held = np.isfinite(trace.in_float32) & (abs(root.value) + root.bound < FORMATS[dtype][2])
        assert np.count_nonzero(held) >= 0.9 * held.size, "too few entries that can be held to anything"
        allowed = half_step(np.maximum(abs(root.value), abs(result)), dtype) + root.bound
        return float(np.max((abs(result - root.value) / allowed)[held]))
