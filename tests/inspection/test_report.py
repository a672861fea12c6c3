"""The report of ``smelt diff``: one page that loads nothing, stays small, and lets no name become markup."""

import base64
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up import MODULES, differences, section

import tiny
from smelt.errors import InputError, RunError
from smelt.inspection import report
from smelt.inspection.differences import TensorDifference
from smelt.inspection.labels import shorten_labels
from smelt.inspection.report import render_report, write_report
from smelt.inspection.report_grids import fill_cosines, find_stacks, follow_shares, grid_layers, grid_outside
from smelt.inspection.report_tables import (
    tabulate_models,
    tabulate_pairs,
    tabulate_sections,
    tabulate_shares,
    tabulate_tensors,
)

EVIL = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page():
    return Elements(render_report(differences()))


def test_the_page_loads_nothing_and_runs_only_its_own_script(page):
    assert [tag for tag, _ in page.found if tag in ("link", "iframe", "object", "base", "form", "a")] == []
    links = [value for _, attributes in page.found for name, value in attributes.items() if name in ("src", "href")]
    assert links
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links)
    assert [attributes for tag, attributes in page.found if tag == "script"] == [{}]
    (policy,) = [a["content"] for tag, a in page.found if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_figures_have_units_and_link_to_nothing(page):
    drawn = [base64.b64decode(a["src"].partition(",")[2]) for tag, a in page.found if tag == "img"]
    texts = []
    for content in drawn:
        root = ElementTree.fromstring(content)
        texts.append([element.text for element in root.iter("{http://www.w3.org/2000/svg}text")])
        targets = [value for element in root.iter() for key, value in element.attrib.items() if key.endswith("href")]
        assert all(target.startswith(("#", "data:image/png")) for target in targets)
    assert len(drawn) == 3 + 1 + 5 + 1 + 1  # models, outside, all and roles, cosines, result
    assert {"layer", "size relative to the base", "self_attn.q_proj", "2.1 %"} <= set(texts[0])  # 3 · (5 + 2) / 10
    assert {"|difference|, in units of the weights", "entries per octave [%]", "math (25 % zeros)"} <= set(texts[4])
    assert {"cosine", "0.25", "1.00"} <= set(texts[9])
    assert {"coefficient", "unexplained [%]", "layer", "the base"} <= set(texts[10])


def test_names_are_escaped_everywhere():
    found = differences((EVIL, "$x_{$"), modules={EVIL: "mlp", "a\x00b": "norm"}, outside=(EVIL,))
    text = render_report(found)
    assert EVIL not in text
    page = Elements(text)
    assert [tag for tag, _ in page.found if tag == "script"] == ["script"]
    assert f"model.layers.0.{EVIL}" in page.text
    for content in (base64.b64decode(a["src"].partition(",")[2]) for tag, a in page.found if tag == "img"):
        assert b"<script" not in content
        ElementTree.fromstring(content)


def test_the_same_numbers_give_the_same_page():
    assert render_report(differences()) == render_report(differences())


def test_a_mixture_of_many_experts_stays_under_five_megabytes():
    modules = {f"mlp.experts.{expert}.{name}_proj.weight": "expert" for expert in range(64) for name in ("up", "down")}
    found = differences(("a" * 60, "b" * 60, "c" * 60), ("d" * 60,), layers=48, modules=modules | MODULES)
    page = render_report(found)
    assert len(page.encode()) < 5_000_000
    assert re.search(rf"\d,\d\d\d of {4 * (48 * 134 + 1):,} rows: those of largest relative size\.", page)
    kept = {float(row[4]) for row in tabulate_tensors(found).rows}
    assert min(kept) > 300  # of up to 48 · 136 / 10 %
    assert grid_layers(found, "model.layers", 0).columns[:2] == ("mlp.experts.*.up_proj", "mlp.experts.*.down_proj")


@pytest.mark.full
def test_many_models_with_hostile_names_stay_under_five_megabytes():
    names = [f"{chr(0xE0001) * 40}{number}" for number in range(16)]
    page = render_report(
        differences(names[:12], names[12:], layers=64, outside=[f"{'<' * 200}{n}" for n in range(500)])
    )
    assert len(page.encode()) < 5_000_000


def test_relative_sizes_by_layer_and_module():
    found = differences()
    assert find_stacks(found) == ("model.layers",)
    grid = grid_layers(found, "model.layers", 1)
    assert (grid.rows, grid.columns[:2]) == (("0", "1", "2"), ("input_layernorm", "self_attn.q_proj"))
    # The norm is (layer + 1) · (place of the module + place of the model) / 10, that of the base 100.
    np.testing.assert_allclose(grid.values[:, 0], [0.001, 0.002, 0.003])
    np.testing.assert_allclose(grid.values[2], [0.003, 0.006, 0.009, 0.012, 0.015, 0.018])
    outside = grid_outside(found, ("math", "code"))
    assert (outside.rows, outside.columns, outside.values.tolist()) == (
        ("lm_head",),
        ("math", "code"),
        [[0.005, 0.005]],
    )


def test_experts_are_joined_as_one_tensor_would_be():
    found = differences(modules={"experts.0.w1.weight": "expert", "experts.1.w1.weight": "expert"}, layers=1)
    grid = grid_layers(found, "model.layers", 1)
    assert grid.columns == ("experts.*.w1",)
    np.testing.assert_allclose(grid.values, [[np.hypot(0.1, 0.2) / np.hypot(100, 100)]])


def test_too_many_modules_become_roles():
    found = differences(modules={f"part_{letter}": "mlp" for letter in "abcdefghijklmnopqrstuvwxyz"})
    assert grid_layers(found, "model.layers", 0).columns == ("mlp",)


def test_the_order_of_pairs():
    found = differences(("a", "b", "c"), ("d",))
    values = fill_cosines(found, 3)
    assert values.tolist() == [[1, 0.25, 0.25], [0.25, 1, 0.25], [0.25, 0.25, 1]]
    rows = tabulate_pairs(found).rows
    assert [row[2:4] for row in rows[:4]] == [("a", "b"), ("a", "c"), ("b", "c"), ("a", "d")]
    assert rows[0] == ("all", "all", "a", "b", "0.25", "50", "30", "20")


def test_tables_hold_what_was_measured():
    found = differences()
    # rms = 1 / √65536 = 2⁻⁸, the largest four times, the median 0.7 times, 99 % of them below 2.6 times that.
    assert tabulate_models(found).rows[0] == (
        *("math", "1", "0.00391", "0.0156", "0.00273", "0.0102", "25", "3.25", "62.5", "2"),
        "3",  # the first module of each of 3 layers
    )
    first, second = tabulate_tensors(found).rows[:2]
    assert first[:5] == ("model.layers.0.input_layernorm.weight", "32 × 32", "norm", "math", "0")
    assert first[5:] == ("0", "0", "0", "0", "100", "–", "–", "–")
    assert second[3:5] == ("code", "0.1")
    sections = tabulate_sections(found).rows
    assert [row[:3] for row in sections[::3]] == [
        ("all", "all", "math"),
        *(("role", role, "math") for role in ("norm", "attention", "mlp", "head")),
        *(("layer", f"model.layers.{layer}", "math") for layer in range(3)),
        ("layer", "outside the layers", "math"),
    ]
    assert tabulate_shares(found).rows[0] == ("all", "all", "merged", "0.5", "0.5", "0", "12.5")
    assert [column.label for column in tabulate_shares(found).columns[3:6]] == ["math", "code", "the base"]


def test_what_results_took_layer_by_layer():
    rows, lines, rest = follow_shares(differences(), "model.layers", 0, ("m", "c", "the base"))
    assert rows == ["0", "1", "2"]
    assert lines == {"m": [0.5] * 3, "c": [0.5] * 3, "the base": [0.0] * 3}
    assert rest == [0.125] * 3


def test_labels_are_as_short_as_tells_them_apart():
    assert shorten_labels(("org/math", "C:\\models\\code", "here/")) == ("math", "code", "here")
    assert shorten_labels(("a/model", "b/model")) == ("a/model", "b/model")


def test_one_model_that_is_the_base_and_one_without_layers():
    one = section("x", 1, 4, {"twin": 0.0}, ("twin",))
    found = differences(("twin",), (), layers=0, outside=("x",))
    found = type(found)(
        *("base", ("twin",), ()),
        (TensorDifference("x", (4,), "other", None, "x", "float32", one),),
        *((), (one,), one, (), ()),
    )
    page = Elements(render_report(found))
    assert "How they stand to one another" not in page.text
    assert "Advice" not in page.text


def test_writing(tmp_path, monkeypatch):
    write_report(differences(layers=1), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes().startswith(b"<!doctype html>")
    with pytest.raises(InputError, match="is a folder"):
        write_report(differences(), tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        write_report(differences(), tmp_path / "nowhere" / "report.html")
    monkeypatch.setattr(report, "render_report", lambda found: "")
    with pytest.raises(RunError, match="cannot be written"):
        write_report(differences(), tmp_path / ("x" * 300))
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=re.escape("pip install 'smelt[report]'")):
        write_report(differences(), tmp_path / "report.html")


def test_nothing_but_drawing_imports_what_draws():
    code = "import sys, smelt.api, smelt.cli, smelt.inspection.report; print({'matplotlib', 'jinja2'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_command(here, smelt_command, monkeypatch):
    tiny.save_llama(here / "base", 0)
    tiny.save_llama(here / "tuned", 1)
    answer = smelt_command("diff", "base", "tuned", "--html", "report.html")
    assert answer.code == 0
    assert "model.layers.1.mlp.down_proj.weight" in (here / "report.html").read_text(encoding="utf-8")
    assert smelt_command("diff", "base", "tuned", "--html", "nowhere/report.html").code == 1
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    answer = smelt_command("diff", "base", "tuned", "--html", "other.html")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "smelt: --html needs matplotlib and Jinja2; install them with: pip install 'smelt[report]'\n"


def test_what_the_documentation_links_to_is_there():
    docs = Path(__file__).resolve().parents[2] / "docs"
    links = re.findall(r"\]\(([^)#:]+)\)", (docs / "diff.md").read_text(encoding="utf-8"))
    assert "pictures/report.png" in links
    assert [link for link in links if not (docs / link).exists()] == []
    assert (docs / "pictures" / "report.png").stat().st_size < 300_000
