"""What ``smelt diff`` says of models: shares of a merge, names that differ, advice, and the command itself."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import smelt
from smelt.errors import InputError
from tiny import BF16, config, llama, save, save_llama

F32, F64 = np.dtype("f4"), np.dtype("f8")


def normal(seed, scale=1.0, shape=(40, 50)):
    return np.random.default_rng(seed).standard_normal(shape) * scale


def test_a_linear_merge_is_explained_by_its_weights():
    base, a, b = normal(0), normal(1, 0.1), normal(2, 0.3)
    merge = base + 0.5 * a + 0.25 * b
    noisy = base + 0.5 * a + normal(3, 0.02)
    models = [{"w": base + a}, {"w": base + b}]
    found = smelt.diff({"w": base}, models, [{"w": merge}, {"w": noisy}])
    exact, rest = found.whole.shares
    assert exact.coefficients == pytest.approx((0.5, 0.25), rel=1e-9)
    assert exact.base == pytest.approx(0.25, rel=1e-9)
    assert exact.unexplained == pytest.approx(0, abs=3e-8)
    columns = np.stack([a.ravel(), b.ravel()], axis=1)
    solved, residual, *_ = np.linalg.lstsq(columns, (noisy - base).ravel(), rcond=None)
    assert rest.coefficients == pytest.approx(tuple(solved), rel=1e-9)
    assert rest.unexplained == pytest.approx(np.sqrt(residual[0]) / np.linalg.norm(noisy - base), rel=1e-9)
    assert rest.dimensions == 2
    assert found.advice[-2].verdict.startswith("arrays in memory (4) is 0.25 of the base, 0.5 of arrays in memory (2)")


def test_shares_by_layer_tell_layers_apart():
    models = [llama(seed, layers=2, dtype=F64) for seed in range(3)]
    base, a, b = models
    weights = {name: (0.9, 0.1) if ".layers.0." in name else (0.2, 0.8) for name in base}
    merge = {n: base[n] + weights[n][0] * (a[n] - base[n]) + weights[n][1] * (b[n] - base[n]) for n in base}
    found = smelt.diff(base, [a, b], [merge])
    first, second, outside = (section.shares[0] for section in found.layers)
    assert first.coefficients == pytest.approx((0.9, 0.1), rel=1e-9)
    assert second.coefficients == pytest.approx((0.2, 0.8), rel=1e-9)
    assert outside.coefficients == pytest.approx((0.2, 0.8), rel=1e-9)
    assert {section.label for section in found.roles} == {"embedding", "norm", "attention", "mlp", "head"}


def test_parents_that_are_the_same_share_equally():
    base, a = normal(0), normal(1)
    model = {"w": base + a}
    found = smelt.diff({"w": base}, [model, dict(model), {"w": base}], [{"w": base + 0.6 * a}, {"w": base}])
    shares, none = found.whole.shares
    assert shares.coefficients == pytest.approx((0.3, 0.3, 0), rel=1e-6)
    assert shares.dimensions == 1
    assert (none.base, none.unexplained, none.coefficients) == (1, None, (0, 0, 0))
    assert "the base itself" in found.advice[-1].verdict


def test_what_cannot_be_compared_is_reported():
    base = {"both": normal(0), "gone": normal(1), "shaped": normal(2), "counted": np.arange(3)}
    model = {"both": base["both"], "shaped": normal(2, shape=(4, 5)), "counted": np.arange(3), "new": normal(3)}
    found = smelt.diff(base, [model])
    assert [(m.name, m.reason) for m in found.mismatches] == [
        ("gone", "missing"),
        ("shaped", "shape [4, 5], in the base [40, 50]"),
        ("counted", "holds int64, not floats"),
        ("new", "not in the base"),
    ]
    assert found.identical("arrays in memory (2)") == ("both",)
    assert "contributes nothing" in found.advice[0].verdict
    assert found.whole.measures[0].kurtosis is None


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="no tensor of 'arrays in memory' is in all other models"):
        smelt.diff({"a": normal(0)}, [{"b": normal(0)}])
    with pytest.raises(InputError, match="at least one model"):
        smelt.diff({"a": normal(0)}, [])
    with pytest.raises(InputError, match="'threads' must be at least 1"):
        smelt.diff({"a": normal(0)}, [{"a": normal(0)}], threads=0)


def advice_of(*differences):
    base = np.full((200, 300), 0.05)
    found = smelt.diff({"w": base}, [{"w": base + difference} for difference in differences])
    return {advice.topic: advice for advice in found.advice}


def signs(axis):
    """Return 1 and −1 by turns along an axis: along two axes they are at right angles."""
    return 1 - 2 * (np.indices((200, 300))[axis] % 2)


def test_advice_on_small_flat_differences():
    found = advice_of(5e-4 * signs(0))
    assert "small enough for DARE" in found["dare"].verdict
    # √(p/(1 − p)) for 0.5, 0.9, 0.99; the differences are 1 % of the weights.
    for part in ("0.5: 100% of the difference, 1.00% of", "0.9: 300% of the difference, 3.00% of", "0.99: 995% of"):
        assert part in found["dare"].evidence
    uniform = np.random.default_rng(2).uniform(-1e-3, 1e-3, (200, 300))
    # Of a uniform distribution the top 20 % hold 1 − 0.8³ = 49 %, and the kurtosis is 1.8.
    assert "flat" in advice_of(uniform)["trimming"].verdict
    assert "49% of the energy, kurtosis 1.8" in advice_of(uniform)["trimming"].evidence
    assert "model_stock" not in found


def test_advice_on_large_heavy_tailed_differences():
    heavy = np.random.default_rng(3).standard_t(3, (200, 300)) * 0.02
    found = advice_of(heavy)
    assert "too large for DARE" in found["dare"].verdict
    assert "heavy-tailed" in found["trimming"].verdict


def test_advice_on_several_models():
    one, other = 1e-3 * signs(0), 1e-3 * signs(1)
    same_task = advice_of(1e-3 + one, 1e-3 + other)["model_stock"]
    assert "applies" in same_task.verdict  # a cosine of 1/2 gives 2·(1/2)/(1 + 1/2) = 67 %
    assert "mean cosine 0.500" in same_task.evidence
    assert "67% of the mean difference" in same_task.evidence
    apart = advice_of(one, other * 5)
    assert "nearly return the base" in apart["model_stock"].verdict
    assert "dominates" in apart["norms"].verdict


def test_the_command(here, smelt_command):
    for seed, name in enumerate(("base", "math", "code")):
        save_llama(here / name, seed)
    said = json.loads(smelt_command("diff", "base", "math", "--result", "code", "--json").out)
    assert (said["base"], said["models"], said["results"]) == ("base", ["math"], ["code"])
    assert len(said["tensors"]) == 9
    answer = smelt_command("diff", "base", "math", "code")
    assert (answer.code, answer.err) == (0, "")
    for part in ("9 tensors", "Between them", "math · code", "By role", "model.layers.1", "What follows"):
        assert part in answer.out
    assert "\x1b" not in answer.out
    assert max(map(len, answer.out.split("What follows")[0].splitlines())) < 160
    assert smelt_command("diff", "base", "maht").code == 1


def documented():
    """Yield what the two blocks of the documentation name: keys, each with those indented below it."""
    text = (Path(__file__).parents[2] / "docs" / "diff.md").read_text(encoding="utf-8")
    for block in re.findall(r"```\n(.*?)```", text.partition("## `--json`")[2].partition("## ")[0], re.DOTALL):
        keys, owner = {}, ""
        for line in block.splitlines():
            names = re.match(r" *((?:\w+, )*\w+)", line)[1].split(", ")
            if line.startswith(" "):
                keys[owner] += names
            else:
                owner = names[-1]
                keys |= {name: [] for name in names}
        yield keys


def test_the_keys_of_json_are_documented(here):
    for seed, name in enumerate(("base", "math", "code", "merge")):
        save_llama(here / name, seed)
    said = smelt.diff("base", ["math", "code"], ["merge"]).to_json()
    whole, section = documented()
    assert list(said) == list(whole)
    assert list(said["tensors"][0]) == whole["tensors"]
    assert list(said["whole"]) == list(section)
    for key in ("measures", "pairs", "shares"):
        assert list(said["whole"][key][0]) == section[key]


def test_two_results_side_by_side(here, smelt_command):
    base, math, code = (llama(seed, dtype=F64) for seed in range(3))
    most, half = (
        {n: base[n] + a * (math[n] - base[n]) + b * (code[n] - base[n]) for n in base}
        for a, b in ((0.75, 0.25), (0.25, 0.25))
    )
    for name, arrays in {"base": base, "math": math, "code": code, "most": most, "half": half}.items():
        save(here / name, arrays, config())
    answer = smelt_command("diff", "base", "math", "code", "--result", "most", "--result", "half")
    table = answer.out.partition("What the results took")[2].splitlines()
    rows = {cells[0]: cells[1:4] for cells in map(str.split, table) if cells}
    assert [float(cell) for cell in rows["most"] + rows["half"]] == pytest.approx([0, 0.75, 0.25, 0.5, 0.25, 0.25])


def test_a_wide_model_lists_the_layers_that_differ_most(tmp_path):
    from smelt.inspection.text import describe_differences

    base = llama(0, layers=50, dtype=BF16)
    model = {name: array * np.array(2, BF16) if ".layers.7." in name else array for name, array in base.items()}
    found = smelt.diff(save(tmp_path / "base", base, config(50)), [model])
    text = describe_differences(found)
    assert "The 40 of 51 layers that differ most" in text
    assert text.index("model.layers.7 ") < text.index("model.layers.0 ")
