"""Formulas as they are printed; and every linear one against a real merge."""

import numpy as np
import pytest

import smelt
import tiny
from smelt.explanation.closed_forms import Share, combine, print_values
from smelt.explanation.groups import group

LAYERS = 4


@pytest.fixture
def family(here):
    for seed, name in enumerate(("base", "math", "code")):
        tiny.save_llama(name, seed, layers=LAYERS, dtype=np.dtype("f4"))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.5,), "0.5"),
        ((-1.0, -1.0), "−1"),
        ((0.2, 0.4, 0.6, 0.8), "0.2 … 0.8"),
        ((0.0, 0.5, 1.0, 0.5, 0.0), "0 … 1 … 0"),
        ((0.0, 0.5, 0.3, 0.7, 1.0), "0 … 0.5 … 0.3 … 1"),
        ((1.0, 1.0, 0.0), "1 … 0"),
        ((0.0, 1.0) * 8, "between 0 and 1"),
        ((-0.0, 1.0), "0 … 1"),
        ((1 / 3,), "0.333333"),
        ((0.1 + 0.2,), "0.3"),
    ],
)
def test_values_over_layers(values, text):
    assert print_values(values) == text


def test_combinations():
    assert combine([Share("a", (1.0,)), Share("b", (0.0,))]) == "a"
    assert combine([Share("a", (0.2, 0.8)), Share("b", (-1.0, -1.0))]) == "(0.2 … 0.8)·a − 1·b"
    assert combine([Share("a", (0.0,))]) == "0·a"
    assert combine([Share("a", (0.0, 1.0) * 8)]) == "(between 0 and 1)·a"


def document(method, *sources, name=None, base="base", **parameters):
    listed = "".join(
        f"\n  - model: {model}\n    parameters: {{{', '.join(f'{k}: {v}' for k, v in given.items())}}}"
        for model, given in sources
    )
    settings = f"\nparameters: {{{', '.join(f'{k}: {v}' for k, v in parameters.items())}}}" if parameters else ""
    head = f"name: {name}\n" if name else ""
    based = f"\nbase_model: {base}" if base else ""
    return f"{head}merge_method: {method}{based}\nmodels:{listed}{settings}\ndtype: float32\n"


ONE, TWO = {"weight": 1.0}, {"weight": 2.0}
STAGE = document("linear", ("math", ONE), ("code", TWO), name="stage", base=None)
FORMS = {
    "one layer after the other": (
        document("linear", ("math", {"weight": "[0, 1]"}), ("code", {"weight": "[1, 0]"}), base=None),
        {"embedding, norm, head": "code", "layers 0–3": "(0 … 1)·math + (1 … 0)·code"},
    ),
    "minus the base": (
        document("task_arithmetic", ("math", {"weight": 1.0}), ("base", {"weight": -1.0}), base="math"),
        {"all tensors": "2·math − 1·base"},
    ),
    "two documents": (
        f"{STAGE}---\n{document('task_arithmetic', ('stage', {'weight': 0.5}), ('code', ONE))}",
        {"all tensors": "−0.5·base + 0.166667·math + 1.33333·code"},
    ),
    "a document as the base": (
        f"{STAGE}---\n{document('task_arithmetic', ('base', {'weight': -0.5}), base='stage')}",
        {"all tensors": "0.5·math + 1·code − 0.5·base"},
    ),
    "one model alone in an election": (
        document("dare_ties", ("math", {"weight": 0.5}), normalize="true"),
        {"all tensors": "math"},
    ),
    "slerp at its ends": (
        document("slerp", ("math", {}), t="[{filter: mlp, value: 1}, {value: 0}]"),
        {"embedding, norm, head; layers 0–3 · norm, attention": "base", "layers 0–3 · mlp": "math"},
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_formula_is_what_a_merge_computes(family, name):
    text, expected = FORMS[name]
    explanation = smelt.explain(smelt.read(text))
    shown = {passage.tensors: passage.closed.formula for passage in explanation.passages}
    assert shown == expected
    merged = smelt.run(explanation.plan)
    models = {name: tiny.read(name) for name in ("base", "math", "code")}
    _, groups = group(explanation.plan)
    for found, passage in zip(groups, explanation.passages, strict=True):
        for number, output in enumerate(found.outputs):
            tensor = output.spec.name
            factors = {s.model: s.values[number] for s in passage.closed.shares}
            by_hand = sum(factor * models[model][tensor].astype(np.float64) for model, factor in factors.items())
            np.testing.assert_allclose(merged[tensor], by_hand, rtol=1e-5, atol=1e-5)


def test_the_rest_is_a_formula_with_named_parts(family):
    text = document("ties", ("math", {"weight": 1.0, "density": 0.5}), ("code", {"weight": 1.0, "density": 0.5}))
    (passage,) = smelt.explain(smelt.read(text)).passages
    closed = passage.closed
    assert closed.formula == "base + Σ(v where w, else 0) / (Σ(1 where w, else 0) or 1)"
    assert closed.parts == (
        "u = [math, code] − base",
        "v = u where u is among the ⌊0.5·elements⌋ largest, else 0",
        "w = v agrees in sign with Σ(v)",
    )
    assert closed.shares is None
    assert closed.expectation is None
    assert closed.underivable is None


def test_what_an_earlier_document_adds_up_is_one_sum(family):
    source = ("stage", {"weight": 1.0, "density": 0.5})
    text = f"{STAGE}---\n{document('ties', source, ('code', {'weight': 0.5, 'density': 0.5}))}"
    (passage,) = smelt.explain(smelt.read(text)).passages
    assert passage.closed.parts[0] == "u = [0.333333·math + 0.666667·code, code] − base"


def test_densities_of_0_and_1_leave_no_selection(family):
    def form(density):
        settings = {"weight": 1.0, "density": density}
        text = document("ties", ("math", settings), ("code", settings), normalize="true")
        (passage,) = smelt.explain(smelt.read(text)).passages
        return passage.closed

    assert form(0).formula == "base"
    assert form(1).formula == "base + Σ(u where v, else 0) / (Σ(1 where v, else 0) or 1)"
    assert form(1).parts == ("u = [math, code] − base", "v = u agrees in sign with Σ(u)")


def test_draws_that_keep_everything_leave_no_mean_to_speak_of(family):
    text = document("dare_ties", ("math", {"weight": 1.0}), ("code", {"weight": 1.0}), equalize="l2", density="1.0")
    (passage,) = smelt.explain(smelt.read(text)).passages
    assert "random" not in " ".join([passage.closed.formula, *passage.closed.parts])
    assert passage.closed.underivable is None


def test_nothing_that_is_kept_is_no_nan(family):
    text = document("dare_linear", ("math", {"weight": 1.0}), ("code", {"weight": 1.0}), equalize="l2", density="0.0")
    (passage,) = smelt.explain(smelt.read(text)).passages
    assert passage.closed.formula == "base"


def test_nuslerp_of_rows_at_its_ends_is_linear(family):
    text = document("nuslerp", ("math", ONE), ("code", {"weight": 0.0}), base=None, nuslerp_flatten="false")
    assert [passage.closed.formula for passage in smelt.explain(smelt.read(text)).passages] == ["math"]


def test_settings_that_vary_are_ranges_in_a_formula(family):
    source = {"weight": 1.0, "density": "[0.4, 0.8]"}
    text = document("dare_ties", ("math", source), ("code", {"weight": 1.0, "density": 0.5}))
    closed = smelt.explain(smelt.read(text)).passages[1].closed
    assert "random < [(0.4 … 0.8), 0.5]" in closed.parts[0]
    noise = {share.model: share.values for share in closed.expectation.noise}
    assert noise["math"] == pytest.approx([1.5, 0.875, 0.5, 0.25])  # at densities 0.4, 0.533…, 0.666…, 0.8
    assert noise["code"] == pytest.approx([1.0] * LAYERS)


def test_the_draws_of_two_merges_are_told_apart(family):
    source = {"weight": 1.0, "density": 0.5}
    first = document("dare_ties", ("math", source), ("code", source), name="stage")
    text = first + "---\n" + document("dare_ties", ("stage", source), ("code", source))
    closed = smelt.explain(smelt.read(text)).passages[0].closed
    assert sum("random < " in part for part in closed.parts) == sum("random₂ < " in part for part in closed.parts) == 1


def test_ranks_along_a_gradient_are_one_range_over_both(family):
    """Kept with probability 0.1 to 0.5 in the first layer, 0.5 to 0.9 in the last: (1 − p)/p from 9 to 1/9."""
    text = document("della_linear", ("math", {"weight": 1.0, "density": "[0.3, 0.7]", "epsilon": 0.2}))
    mean = smelt.explain(smelt.read(text)).passages[-1].closed.expectation
    assert (mean.hangs_on_rank, mean.spans_layers) == (True, True)
    assert mean.noise[0].values == pytest.approx((1 / 9, 9.0), rel=0.02)
    mean = smelt.explain(smelt.read(text.replace("[0.3, 0.7]", "0.3"))).passages[-1].closed.expectation
    assert (mean.hangs_on_rank, mean.spans_layers) == (True, False)
    assert mean.noise[0].values == pytest.approx((9.0, 7 / 3, 1.0), rel=0.02)


def test_there_is_no_noise_where_there_is_no_share(family):
    text = document("dare_linear", ("math", {"weight": "[0, 1]", "density": 0.25}))
    passage = smelt.explain(smelt.read(text)).passages[-1]
    assert "layers 0–3" in passage.tensors
    (noise,) = passage.closed.expectation.noise
    assert noise.values == pytest.approx([3.0] * (LAYERS - 1))  # (1 − q)/q, in all layers but the first


def test_a_draw_whose_mean_hangs_on_the_weights_says_so(family):
    text = document("dare_linear", ("math", {"weight": 1.0, "density": 0.5}), rescale="l1")
    (passage,) = smelt.explain(smelt.read(text)).passages
    assert passage.closed.expectation is None
    assert passage.closed.underivable == "it hangs on the weights of the whole tensor ('total')"


def test_layers_that_are_read_elsewhere_are_named(family):
    text = """
slices:
  - sources: [{model: math, layer_range: [0, 2]}]
  - sources: [{model: code, layer_range: [1, 4]}]
  - sources: [{model: math, layer_range: [3, 4]}]
merge_method: passthrough
"""
    found = {p.tensors: p.closed.formula for p in smelt.explain(smelt.read(text)).passages}
    assert found == {
        "embedding, norm, head; layers 0–1": "math",
        "layers 2–4": "code[layers 1–3]",
        "layer 5": "math[layer 3]",
    }


def test_the_mean_in_words(family):
    sources = [("math", {"weight": 0.5, "density": 0.5}), ("code", {"weight": -0.25, "density": 0.5})]
    mean = smelt.explain(smelt.read(document("dare_linear", *sources))).passages[0].closed.expectation
    assert mean.formula == "base + 0.5·(math − base) − 0.25·(code − base)"
    assert mean.to_json()["coefficients"] == [
        {"model": "base", "low": 0.75, "high": 0.75},
        {"model": "math", "low": 0.5, "high": 0.5},
        {"model": "code", "low": -0.25, "high": -0.25},
    ]
    assert not mean.amplification
