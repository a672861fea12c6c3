"""Selections over all tensors of a model: what they count, how documents share them, and what is refused."""

import ml_dtypes
import numpy as np
import pytest

import smelt
import tiny
from smelt.running.runner import Pace, run_plan

BF16 = np.dtype(ml_dtypes.bfloat16)
PACES = [Pace(1), Pace(2, window=1, order=lambda n: range(n)[::-1]), Pace(2, span=5120, tile=2560)]
TIES = "merge_method: ties\nbase_model: base\nmodels: [{model: x}, {model: y}]\n"


def arrays(seed):
    noise = np.random.default_rng(seed)
    spread = 0.1 if seed else 0.0

    def near(key, shape, size=1.0):
        fresh = np.random.default_rng(key).normal(size=shape)
        return (fresh + size * spread * noise.normal(size=shape)).astype(BF16)

    return {
        "model.embed_tokens.weight": near(1, (300, 1000), 0.5),  # 2 blocks
        "model.layers.0.mlp.w.weight": near(2, (50, 40)),
        "model.layers.1.mlp.w.weight": near(3, (50, 40), 3.0),
        "model.layers.1.norm.weight": near(4, (7,)),
        "model.positions": np.arange(9, dtype=np.int64),  # carried over, and no part of the model's size
    }


@pytest.fixture
def models(here):
    for seed, name in enumerate(("base", "x", "y")):
        tiny.save(here / name, arrays(seed), tiny.config())
    return here


def kept_of(result, base):
    return {n: np.count_nonzero(result[n] != base[n]) for n in result}


def test_each_tensor_keeps_what_is_large_in_the_whole_model(models):
    text = TIES.replace(", {model: y}", "") + "parameters: {weight: 1, density: 0.2, scope: model}\n"
    result, base, x = smelt.merge(text), tiny.read("base"), tiny.read("x")
    names = [n for n in base if n != "model.positions"]
    deltas = np.concatenate([(np.float32(x[n]) - np.float32(base[n])).ravel() for n in names])
    kept = kept_of(result, base)
    assert sum(kept.values()) == int(0.2 * deltas.size)
    assert kept["model.layers.1.mlp.w.weight"] > 0.5 * 2000
    assert kept["model.embed_tokens.weight"] < 0.21 * 300_000
    assert np.array_equal(result["model.positions"], base["model.positions"])


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 9, 14, 20])
def test_of_equal_magnitudes_the_first_in_the_order_of_the_plan_are_kept(cut):
    # All 20 differences are ±1, so the cut alone decides, and it falls into one of the tensors.
    shapes = {"model.layers.0.w": (2, 3), "model.layers.1.w": (4,), "model.layers.2.w": (0, 2), "model.norm": (10,)}
    base = {n: np.ones(s, BF16) for n, s in shapes.items()}
    model = {n: (x + np.where(np.arange(x.size).reshape(x.shape) % 2, 1, -1)).astype(BF16) for n, x in base.items()}
    recipe = (
        smelt.methods.ties(
            smelt.Checkpoint(base), [smelt.Checkpoint(model)], weight=1.0, density=(cut + 0.5) / 20, scope="model"
        )
        if cut < 20
        else smelt.methods.ties(smelt.Checkpoint(base), [smelt.Checkpoint(model)], weight=1.0, scope="model")
    )
    plan = smelt.plan(recipe)
    result = smelt.run(plan)
    changed = np.concatenate([(result[o.spec.name] != 1).ravel() for o in plan.outputs])
    assert changed.tolist() == [place < cut for place in range(20)]


def test_a_cut_among_equal_magnitudes_of_several_blocks():
    shapes = {"a": (300, 1000), "b": (5,), "c": (2 * 2**18,)}
    base = {n: np.zeros(s, BF16) for n, s in shapes.items()}
    model = {n: np.ones(s, BF16) for n, s in shapes.items()}
    size = sum(x.size for x in base.values())
    for cut in (299_999, 300_003, 300_005 + 2**18 + 77):
        settings = {"weight": 1.0, "density": (cut + 0.5) / size, "scope": "model"}
        plan = smelt.plan(smelt.methods.ties(smelt.Checkpoint(base), [smelt.Checkpoint(model)], **settings))
        for threads in (1, 2):
            result = smelt.run(plan, threads=threads)
            row = np.concatenate([result[o.spec.name].ravel() for o in plan.outputs])
            assert np.array_equal(row != 0, np.arange(size) < cut)


FIRST = "name: first\n" + TIES + "parameters: {weight: 0.7, density: 0.3, scope: model}\n"
SECONDS = {
    "ties": "parameters: {weight: 0.6, density: 0.4, scope: model}",
    "breadcrumbs": "parameters: {weight: 0.6, density: 0.4, gamma: 0.02, scope: model, rescale: l1}",
    "breadcrumbs_ties": "parameters: {weight: 0.6, density: 0.4, scope: row, equalize: l2}",
    "della": "parameters: {weight: 0.6, density: 0.4}",
}


@pytest.mark.parametrize("second", SECONDS)
def test_two_documents_are_two_runs_at_any_pace(models, second):
    last = f"merge_method: {second}\nbase_model: base\nmodels: [{{model: first}}, {{model: y}}]\n{SECONDS[second]}\n"
    plan = smelt.plan(f"{FIRST}---\n{last}out_dtype: bfloat16\n")
    together = run_plan(plan, pace=PACES[0])
    for pace in PACES[1:]:
        assert tiny.digest(run_plan(plan, pace=pace)) == tiny.digest(together)
    smelt.merge(FIRST + "out_dtype: float32\n", models / "first")
    assert tiny.digest(smelt.merge(f"{last}out_dtype: bfloat16\n")) == tiny.digest(together)


def test_a_gradient_of_weights_is_allowed(models):
    text = TIES + "parameters: {weight: [0.2, 0.9], density: 0.3, scope: model, normalize: false}\n"
    result, base = smelt.merge(text + "out_dtype: float32\n"), tiny.read("base")
    flat = smelt.merge(text.replace("[0.2, 0.9]", "1.0") + "out_dtype: float32\n")
    for name, weight in (("model.layers.0.mlp.w.weight", 0.2), ("model.layers.1.mlp.w.weight", 0.9)):
        wide = np.float64(base[name])
        np.testing.assert_allclose(result[name] - wide, weight * (flat[name] - wide), rtol=0, atol=2.0**-20)


@pytest.mark.parametrize(
    "settings",
    [
        "density: [0.2, 0.5], weight: 1",
        "density: [{filter: mlp, value: 0.2}, {value: 0.5}], weight: 1",
    ],
)
def test_shares_that_differ_between_tensors_are_refused(models, settings):
    with pytest.raises(smelt.InputError) as caught:
        smelt.plan(TIES + f"parameters: {{{settings}, scope: model}}\n")
    message = str(caught.value)
    assert "'scope: model' selects from all tensors together" in message
    assert "no gradients or filters for density and gamma" in message
    assert "\n" not in message
    smelt.plan(TIES + f"parameters: {{{settings}, scope: tensor}}\n")


def test_a_gradient_of_gamma_is_refused_too(models):
    text = TIES.replace("ties", "breadcrumbs") + "parameters: {weight: 1, density: 0.5, gamma: [0, 0.2], scope: %s}\n"
    with pytest.raises(smelt.InputError, match="'scope: model' selects from all tensors together"):
        smelt.plan(text % "model")
    smelt.plan(text % "row")


def test_tensors_of_unlike_precision_are_refused():
    base = {"a": np.zeros(4, np.float32), "b": np.zeros(4, np.float64)}
    checkpoints = [smelt.Checkpoint(base), smelt.Checkpoint({n: x + 1 for n, x in base.items()})]
    with pytest.raises(smelt.InputError, match="the same models and precision throughout"):
        smelt.plan(smelt.methods.ties(checkpoints[0], checkpoints[1:], weight=1.0, density=0.5, scope="model"))
