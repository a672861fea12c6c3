"""The report of ``smelt diff`` in a browser. Where there is no Chromium, these tests say that they were skipped."""

import json

import pytest
from browsing import BROWSER, open_page, read_page
from made_up import differences

from smelt.inspection.report import render_report

pytestmark = pytest.mark.skipif(BROWSER is None, reason="neither chromium nor chromium-browser is installed")

SORT = """
const click = (table, head) => page.querySelectorAll(`#${table} th button`)[head].click();
const column = (table, cell) =>
  [...page.querySelectorAll(`#${table} tbody tr:not([hidden])`)].map((row) => row.cells[cell].textContent);
const sorted = (table, cell) => [click(table, cell), column(table, cell)][1];
const field = page.querySelector("#tensors input");
const filter = (text) => { field.value = text; field.dispatchEvent(new Event("input")); };
const found = { down: sorted("models", 1), up: sorted("models", 1), words: sorted("models", 0) };
found.undefined = sorted("tensors", 10);
filter("MATH q_proj");
found.names = column("tensors", 0);
found.models = column("tensors", 3);
found.count = page.querySelector("#tensors .count").textContent;
const body = page.documentElement;
found.overflow = body.scrollWidth - body.clientWidth;
found.width = body.clientWidth;
found.images = [...page.images].map((image) =>
  [image.complete, image.naturalWidth, image.getBoundingClientRect().right]);
return found;
"""


@pytest.fixture(scope="module")
def page():
    return render_report(differences())


def test_tables_sort_and_filter_on_a_page_as_wide_as_a_phone(page, tmp_path):
    found = json.loads(read_page(page, SORT, tmp_path))
    assert (found["down"], found["up"]) == (["3", "2", "1"], ["1", "2", "3"])
    assert found["words"] == ["code", "math", "merged"]
    assert found["undefined"] == ["3.25"] * 54 + ["–"] * 3  # the differences that are zero come last
    assert found["names"] == [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in range(3)]
    assert found["models"] == ["math"] * 3
    assert found["count"] == "3 of 57 rows"
    assert (found["width"], found["overflow"]) == (400, 0)
    assert len(found["images"]) == 4 + 5 + 1 + 1
    for complete, width, right in found["images"]:
        assert complete
        assert width > 300
        assert right <= 400


def test_hostile_names_stay_text(tmp_path):
    name = "<script>alert(1)</script>"
    models = (name, '"><img src=x onerror=alert(2)>', "$\\frac{}{", "{{ 7 * 7 }}")
    found = differences(
        models, modules={name: "mlp", "</td></table>": "norm"}, outside=("'-->]]><b>", "a\x00\x1b\u202e")
    )
    page = render_report(found)
    count = "return [page.scripts.length, page.querySelectorAll('b, img:not([src^=data])').length, page.title];"
    assert json.loads(read_page(page, count, tmp_path)) == [1, 0, "What differs from base"]
    assert "a\\x00\\x1b\\u202e" in page
    names = "return [...page.querySelectorAll('#tensors td:first-child')].map((cell) => cell.textContent);"
    assert f"model.layers.0.{name}" in json.loads(read_page(page, names, tmp_path))


def test_the_file_itself_opens_without_a_word_on_the_console(page, tmp_path):
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    shown, console = open_page(tmp_path / "report.html", tmp_path / "profile", "--dump-dom")
    assert console == []
    assert shown.count("<table>") == 6
    assert shown.count("<button>") == shown.count('<th scope="col"') > 40
