"""Means and scatter of methods that draw: against hand calculation, and against real merges of constant models."""

import numpy as np
import pytest

import smelt
from smelt.algebra.expressions import constant, input_tensor, stack
from smelt.algebra.grid import sizes_of
from smelt.algebra.vocabulary import Noise, absolute, maximum, same_sign, where
from smelt.explanation.expectation import derive
from smelt.explanation.linear_reading import Binding
from smelt.explanation.outcomes import UnderivableError
from smelt.methods import dare_linear, dare_ties, della, della_linear

SHAPE = 300, 700
DELTAS = 1.0, 0.5, 0.75


def flat(value, shape=SHAPE):
    return smelt.Checkpoint({"w": np.full(shape, value, np.float32)})


def models(count, shape=SHAPE):
    """A base of zeros, and models whose differences from it are positive and the same everywhere."""
    return flat(0.0, shape), [flat(delta, shape) for delta in DELTAS[:count]]


def moments(recipe, rank=0.5):
    plan = smelt.plan(recipe)
    (output,) = plan.outputs
    sizes = sizes_of(output.spec.shape)
    binding = Binding(output.slots, output.keys, sizes, len(output.inputs), rank)
    return derive(plan.templates[output.template].root, binding)


def of_expression(root, inputs, keys):
    return derive(root, Binding((), keys, {"tensor": 100, "row": 10}, inputs))


def two_stages(second, **settings):
    """A text whose second document merges a DARE merge of one model again."""
    given = "".join(f"\n  {name}: {value}" for name, value in settings.items())
    return f"""
name: first
merge_method: dare_linear
base_model: base
models: [{{model: math, parameters: {{weight: 1.0, density: 0.5}}}}]
---
merge_method: {second}
base_model: base
models:
  - model: first
    parameters: {{weight: 1.0}}
parameters:{given}
"""


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5, 0.9])
def test_dare_is_the_task_vector_on_average_with_noise(density):
    base, listed = models(2, (2, 3))
    found = moments(dare_linear(base, listed, weight=[0.5, -0.75], density=density))
    assert found.mean == pytest.approx([1.25, 0.5, -0.75])
    assert [found.noise(1), found.noise(2)] == pytest.approx([(1 - density) / density] * 2)
    assert found.reference == 0
    assert not found.shares_draws
    assert not found.assumes_agreement
    assert found.law is None


def test_without_rescaling_the_edit_shrinks_to_the_density():
    base, listed = models(2, (2, 3))
    found = moments(dare_linear(base, listed, weight=1.0, density=[0.5, 0.25], rescale=False))
    assert found.mean == pytest.approx([0.25, 0.5, 0.25])
    assert [found.amplification(1), found.amplification(2)] == pytest.approx([0.5, 0.25])
    assert [found.noise(1), found.noise(2)] == pytest.approx([1.0, 3.0])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("method", [dare_ties, della])
def test_one_model_has_nobody_to_disagree_with(method, normalize):
    base, listed = models(1, (2, 3))
    settings = {"epsilon": 0.0} if method is della else {}
    weight = 2.0 if normalize else 0.5  # the weight of a single model cancels
    found = moments(method(base, listed, weight=weight, density=0.3, normalize=normalize, **settings))
    assert found.mean[1] == pytest.approx(1.0 if normalize else 0.5)
    assert found.noise(1) == pytest.approx(7 / 3)
    assert not found.assumes_agreement


@pytest.mark.parametrize(("density", "law"), [(0.7, 1.39), (0.5, 1.75), (0.3, 2.19), (0.1, 2.71)])
def test_a_disjoint_mean_of_three_is_amplified(density, law):
    base, listed = models(3, (2, 3))
    found = moments(dare_ties(base, listed, weight=1.0, density=density, normalize=True))
    assert found.mean[1:] == pytest.approx([law / 3] * 3)
    assert found.amplification(2) == pytest.approx(law)
    assert found.law == (density, 3)
    assert found.assumes_agreement


def test_the_law_holds_for_the_sum_with_other_weights():
    base, listed = models(2, (2, 3))
    found = moments(dare_ties(base, listed, weight=[0.4, 0.3], density=0.6, normalize=True))
    # E[m₁ / Σ w·m] = q(1 − q)/w₁ + q²/(w₁ + w₂), times w₁/q
    assert found.mean[1:] == pytest.approx(
        [0.4 / 0.6 * (0.24 / 0.4 + 0.36 / 0.7), 0.3 / 0.6 * (0.24 / 0.3 + 0.36 / 0.7)]
    )
    assert found.mean[1:].sum() == pytest.approx((1 - 0.4**2) / 0.6)
    assert found.law == (0.6, 2)


def test_a_sum_of_what_agrees_is_not_amplified():
    base, listed = models(3, (2, 3))
    found = moments(dare_ties(base, listed, weight=[1.0, 0.5, -1.0], density=0.3))
    assert found.mean == pytest.approx([0.5, 1.0, 0.5, -1.0])
    assert [found.amplification(i) for i in (1, 2, 3)] == pytest.approx([1.0] * 3)
    assert found.assumes_agreement


def test_at_density_1_nothing_scatters():
    base, listed = models(2, (2, 3))
    found = moments(dare_linear(base, listed, weight=[0.5, 0.25], density=1.0))
    assert found.mean == pytest.approx([0.25, 0.5, 0.25])
    assert found.is_certain


def test_della_keeps_large_entries_more_often():
    base, listed = models(1, (2, 5))
    recipe = della_linear(base, listed, weight=0.5, density=0.5, epsilon=0.2)
    for rank, kept in [(0.0, 0.3), (0.5, 0.5), (1.0, 0.7)]:
        found = moments(recipe, rank)
        assert found.mean == pytest.approx([0.5, 0.5])
        assert found.noise(1) == pytest.approx((1 - kept) / kept)


def test_two_draws_in_a_row(here):
    import tiny

    for number, name in enumerate(("base", "math")):
        tiny.save_llama(name, number, layers=0)
    plan = smelt.plan(smelt.read(two_stages("dare_linear", density=0.5)))
    output = plan.outputs[0]
    binding = Binding(output.slots, output.keys, sizes_of(output.spec.shape), len(output.inputs))
    found = derive(plan.templates[output.template].root, binding)
    assert found.mean == pytest.approx([0.0, 1.0])
    assert found.noise(1) == pytest.approx(1 / 0.25 - 1)  # kept with q², so its square is 1/q² on average


def test_one_draw_that_is_used_twice_is_not_two():
    rng, x = Noise(0), input_tensor(0)
    kept = where(rng.uniform(x) < constant(0.5), x, 0.0)
    found = of_expression(kept + kept, 1, (7,))
    assert found.mean.tolist() == [1.0]
    assert found.covariance.tolist() == [[1.0]]  # 0 or 2; two draws would give 1/2
    other = where(Noise(1).uniform(x) < constant(0.5), x, 0.0)
    assert of_expression(kept + other, 1, (7, 7)).covariance.tolist() == [[1.0]]
    assert of_expression(kept + other, 1, (7, 8)).covariance.tolist() == [[0.5]]


def test_one_draw_compared_with_two_probabilities():
    rng, x = Noise(0), input_tensor(0)
    uniform = rng.uniform(x)
    found = of_expression(where(uniform < constant(0.2), x, 0.0) + where(uniform < constant(0.5), x, 0.0), 1, (7,))
    assert found.mean == pytest.approx([0.7])
    assert found.covariance[0] == pytest.approx([0.2 * 4 + 0.3 * 1 - 0.7**2])


@pytest.mark.parametrize("turned", [False, True])
def test_the_probability_may_stand_on_either_side(turned):
    x, uniform = input_tensor(0), Noise(0).uniform(input_tensor(0))
    probability = constant(0.25)
    kept = where(probability <= uniform, 0.0, x) if turned else where(uniform >= probability, 0.0, x)
    assert of_expression(kept, 1, (7,)).mean == pytest.approx([0.25])


@pytest.mark.parametrize(
    ("settings", "reason"), [({"rescale": "l1"}, "whole tensor"), ({"equalize": "l2"}, "whole tensor")]
)
def test_what_hangs_on_the_weights_is_refused(settings, reason):
    base, listed = models(2, (2, 3))
    with pytest.raises(UnderivableError, match=reason):
        moments(dare_linear(base, listed, weight=1.0, density=0.5, **settings))


def test_too_many_models_are_refused():
    base, listed = flat(0.0, (2, 3)), [flat(1.0, (2, 3)) for _ in range(13)]
    with pytest.raises(UnderivableError, match="13 draws"):
        moments(dare_linear(base, listed, weight=1.0, density=0.5))


def test_other_uses_of_draws_and_weights_are_refused():
    a, b = input_tensor(0), input_tensor(1)
    uniform = Noise(0).uniform(a)
    half = constant(0.5)
    for root in (
        a + uniform * (b - a),
        where(uniform * 2.0 < half, a, b),
        where(uniform < Noise(1).uniform(a), a, b),
        where(uniform < absolute(a), a, b),
        where(uniform < half, a, b) * b,
        maximum(where(uniform < half, a, b), a),
        where(uniform < half, a, b) / where(uniform < half, constant(0.0), 1.0),
        where(a - b > stack([a, b])[0], a, where(uniform < half, a, b)),
        where(uniform < half, a, b) + 1.0,
    ):
        with pytest.raises(UnderivableError):
            of_expression(root, 2, (7, 8))


def test_what_hangs_on_a_direction_is_refused():
    base, a = input_tensor(0), input_tensor(1)
    kept = where(Noise(0).uniform(a) < constant(0.5), a - base, 0.0)
    with pytest.raises(UnderivableError, match="direction"):
        of_expression(base + where(kept > 0.0, kept, 0.0), 2, (7,))


def test_models_that_meet_in_no_election_need_not_agree():
    base, halves = input_tensor(0), []
    for number in (1, 2):
        kept = where(Noise(number - 1).uniform(base) < constant(0.5), input_tensor(number) - base, 0.0)
        halves.append(where(same_sign(kept, kept), 2.0 * kept, 0.0))
    found = of_expression(base + (halves[0] - halves[1]), 3, (7, 8))
    assert found.mean.tolist() == [1.0, 1.0, -1.0]
    assert not found.assumes_agreement


def test_what_cancels_on_average_still_scatters():
    base, a = input_tensor(0), input_tensor(1)
    one, other = (where(Noise(n).uniform(a) < constant(0.5), a - base, 0.0) for n in (0, 1))
    found = of_expression(base + (one - other), 2, (7, 8))
    assert found.mean.tolist() == [1.0, 0.0]
    assert found.covariance[1, 1] == 0.5
    assert found.noise(1) is None


RECIPES = {
    "dare_linear": lambda b, m: dare_linear(b, m, weight=[0.5, -0.75, 1.0], density=[0.3, 0.6, 1.0], lambda_=1.5),
    "normalized": lambda b, m: dare_linear(b, m, weight=[0.5, 0.75, 1.0], density=0.3, normalize=True),
    "not rescaled": lambda b, m: dare_linear(b, m, weight=1.0, density=0.3, rescale=False),
    "dare_ties": lambda b, m: dare_ties(b, m, weight=[0.5, 0.75, 1.0], density=[0.3, 0.6, 0.9]),
    "disjoint mean": lambda b, m: dare_ties(b, m, weight=[0.5, 0.75, 1.0], density=[0.3, 0.6, 0.9], normalize=True),
    "equal disjoint mean": lambda b, m: dare_ties(b, m, weight=1.0, density=0.3, normalize=True),
    "not rescaled disjoint mean": lambda b, m: dare_ties(
        b, m, weight=1.0, density=0.3, normalize=True, rescale=False, lambda_=0.5
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_real_merges_have_these_moments(name):
    base, listed = models(3)
    recipe = RECIPES[name](base, listed)
    found, merged = moments(recipe), smelt.merge(recipe)["w"].astype(np.float64)
    values = np.array([0.0, *DELTAS])
    variance = values @ found.covariance @ values
    assert variance > 0
    assert abs(merged.mean() - found.mean @ values) < 5 * np.sqrt(variance / merged.size)
    assert merged.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("normalize", [True, False])
def test_negative_weights_agree_where_the_differences_do_not(normalize):
    base, listed = flat(0.0), [flat(1.0), flat(-0.5)]
    recipe = dare_ties(base, listed, weight=[1.0, -0.75], density=[0.4, 0.7], normalize=normalize)
    found, merged = moments(recipe), smelt.merge(recipe)["w"].astype(np.float64)
    values = np.array([0.0, 1.0, -0.5])
    variance = values @ found.covariance @ values
    assert abs(merged.mean() - found.mean @ values) < 5 * np.sqrt(variance / merged.size)
    assert merged.var() == pytest.approx(variance, rel=0.03)


def test_where_signs_conflict_the_mean_is_another():
    base, listed = flat(0.0), [flat(1.0), flat(-0.5)]
    recipe = dare_ties(base, listed, weight=1.0, density=0.5)
    found, merged = moments(recipe), smelt.merge(recipe)["w"].astype(np.float64)
    assert found.assumes_agreement
    # 2 where the first is kept, −1 where the second is kept alone: (2 + 2 − 1 + 0) / 4, and not 1 − 0.5.
    assert merged.mean() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("normalize", [True, False])
def test_real_merges_of_della_have_these_moments_rank_by_rank(normalize):
    rows, ranks = 40_000, np.arange(5)
    base = flat(0.0, (rows, 5))
    listed = [smelt.Checkpoint({"w": np.tile(np.float32(ranks + 1) * d, (rows, 1))}) for d in DELTAS[:2]]
    recipe = della(base, listed, weight=[0.5, 1.0], density=0.5, epsilon=0.3, normalize=normalize)
    merged = smelt.merge(recipe)["w"].astype(np.float64)
    for rank in ranks:
        found, values = moments(recipe, rank / 4), np.array([0.0, *DELTAS[:2]]) * (rank + 1)
        variance = values @ found.covariance @ values
        assert abs(merged[:, rank].mean() - found.mean @ values) < 5 * np.sqrt(variance / rows)
        assert merged[:, rank].var() == pytest.approx(variance, rel=0.05)


def test_a_real_merge_of_two_stages_has_these_moments(here):
    import tiny

    values = {"base": 0.25, "math": 1.25, "code": -0.5}
    for name, value in values.items():
        tiny.save(name, {"w": np.full(SHAPE, value, np.float32)})
    text = two_stages("dare_linear", density=0.6).replace(
        "models:\n", "models:\n  - {model: code, parameters: {weight: 0.5}}\n"
    )
    plan = smelt.plan(smelt.read(text))
    (output,) = plan.outputs
    binding = Binding(output.slots, output.keys, sizes_of(SHAPE), len(output.inputs))
    found = derive(plan.templates[output.template].root, binding)
    inputs = np.array([values[plan.short_names[pieces[0].checkpoint]] for pieces in output.inputs])
    merged = smelt.run(plan)["w"].astype(np.float64)
    variance = inputs @ found.covariance @ inputs
    assert abs(merged.mean() - found.mean @ inputs) < 5 * np.sqrt(variance / merged.size)
    assert merged.var() == pytest.approx(variance, rel=0.03)
