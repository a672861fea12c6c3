"""A plan grows with the kinds of tensors, not with their number."""

import numpy as np

import smelt
import tiny

LAYERS, WITHIN = 625, 32
RECIPE = """
merge_method: ties
base_model: base
models:
  - model: x
    parameters:
      weight: [0.2, 0.9, 0.4]
      density: [{filter: "w1", value: 0.25}, {filter: "w2", value: [0.5, 1.0]}, {value: 0.75}]
  - model: y
    parameters: {weight: 0.5, density: 0.5}
dtype: float32
"""


def test_twenty_thousand_tensors_make_a_handful_of_templates(here):
    names = [f"model.layers.{layer}.w{within}.weight" for layer in range(LAYERS) for within in range(WITHIN)]
    for seed, folder in enumerate(("base", "x", "y")):
        numbers = np.random.default_rng(seed).normal(size=(len(names), 2, 4)).astype("f4")
        tiny.save(here / folder, dict(zip(names, numbers, strict=True)), {"num_hidden_layers": LAYERS})
    plan = smelt.plan(RECIPE)
    assert len(plan.outputs) == 20_000
    assert len(plan.templates) <= 10
    assert len({(o.template, o.slots) for o in plan.outputs}) > 2 * LAYERS  # the gradients are all there
    smelt.run(plan, here / "merged")
    base, x, y, merged = (tiny.read(folder) for folder in ("base", "x", "y", "merged"))
    for layer, within in ((0, 0), (312, 1), (624, 2), (400, 31)):
        name = f"model.layers.{layer}.w{within}.weight"
        place = layer / (LAYERS - 1)
        weight = 0.2 + 1.4 * place if place <= 0.5 else 0.9 - (place - 0.5)
        density = {0: 0.75, 1: 0.25, 2: 0.5 + 0.5 * place, 31: 0.75}[within]
        models = [(x[name], weight, density), (y[name], 0.5, 0.5)]
        np.testing.assert_allclose(merged[name], merge_by_ties(base[name], models), rtol=1e-5, atol=1e-6)


def merge_by_ties(base, models):
    """TIES with the summed weights as the mean's divisor, in float64."""
    base = base.astype("f8").ravel()
    votes, weights = [], []
    for model, weight, density in models:
        delta = model.astype("f8").ravel() - base
        kept = np.argsort(-np.abs(delta), kind="stable")[: int(density * delta.size)]
        mask = np.zeros(delta.size, bool)
        mask[kept] = True
        votes.append(np.where(mask, delta, 0) * weight)
        weights.append(weight)
    elected = np.where(np.sum(votes, 0) >= 0, 1, -1)
    agree = [np.sign(v) == elected for v in votes]
    total = sum(np.where(a, v, 0) for a, v in zip(agree, votes, strict=True))
    mass = sum(np.where(a, w, 0) for a, w in zip(agree, weights, strict=True))
    return (base + total / np.where(mass == 0, 1, mass)).reshape(2, 4)
