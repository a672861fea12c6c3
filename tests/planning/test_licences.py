"""Licences: what is known of them, and what a merge of them may be. All expectations are by hand."""

import itertools
import runpy
from pathlib import Path

import pytest

import smelt
import tiny
from smelt.planning.licences import StatedLicences, combine_licences, find_licence, known_licences

ROOT = Path(__file__).resolve().parent.parent.parent


def combine(*names):
    """Combine inputs that each name licences: one, or several joined by &."""
    stated = [
        StatedLicences(f"model-{number}", tuple(find_licence(name) for name in text.split("&")), ("README.md",), ())
        for number, text in enumerate(names)
    ]
    return combine_licences(stated)


@pytest.mark.parametrize(
    ("inputs", "identifier", "name"),
    [
        (["mit"], "mit", None),
        (["mit", "apache-2.0"], "apache-2.0", None),
        (["cc0-1.0", "mit"], "mit", None),
        (["apache-2.0", "cc-by-nc-4.0"], "cc-by-nc-4.0", None),
        (["mit", "gpl-3.0"], "gpl-3.0", None),
        (["cc-by-4.0", "cc-by-sa-4.0"], "cc-by-sa-4.0", None),
        (["cc-by-nc-4.0", "cc-by-nc-sa-4.0"], "cc-by-nc-sa-4.0", None),
        (["llama3.1", "apache-2.0", "llama3.1"], "llama3.1", None),
        (["gemma", "mit"], "gemma", None),
        (["deepseek", "mit"], "other", "deepseek"),
        (["mrl", "cc-by-nc-4.0"], "other", "mrl"),
        (["yi-license", "apache-2.0"], "other", "yi-license"),
        (["gemma", "llama3"], "other", "gemma-and-llama3"),
        (["llama2", "llama3"], "other", "llama2-and-llama3"),
        (["mit", "gemma", "apache-2.0", "llama3"], "other", "gemma-and-llama3"),
        (["llama3.1", "cc-by-nc-4.0"], "other", "llama3.1-and-cc-by-nc-4.0"),
        (["yi-license", "cc-by-nc-4.0"], "other", "yi-license-and-cc-by-nc-4.0"),
        (["cc-by-sa-4.0", "cc-by-nc-4.0"], "other", "cc-by-sa-4.0-and-cc-by-nc-4.0"),
        (["cc-by-sa-4.0", "gpl-3.0"], "other", "cc-by-sa-4.0-and-gpl-3.0"),
        (["cc-by-nd-4.0", "mit"], "cc-by-nd-4.0", None),
        (["mit", "unknown"], "unknown", None),
        (["none"], "unknown", None),
        (["unknown", "cc-by-nc-4.0"], "unknown", None),
        (["mit&llama3.2", "mit"], "llama3.2", None),
        (["other"], "other", None),
        (["other", "other"], "other", None),
        (["other", "gemma"], "other", "other-and-gemma"),
        (["MIT*", "mit"], "unknown", None),
        (["mit 非商用"], "unknown", None),
        (["x" * 61], "unknown", None),
    ],
)
def test_the_licence_of_a_merge(inputs, identifier, name):
    licensing = combine(*inputs)
    assert (licensing.identifier, licensing.name) == (identifier, name)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (["mit", "unknown"], ["the licence of model-1 is not known: ask its author"]),
        (["cc-by-nd-4.0"], ["cc-by-nd-4.0 lets nobody share a changed work, and a merge is one"]),
        (["cc-by-sa-4.0", "llama3"], ["cc-by-sa-4.0 must be the only licence", "no licence fits both"]),
        (["gpl-3.0", "cc-by-sa-4.0"], ["gpl-3.0 must be the only", "cc-by-sa-4.0 must be the only"]),
        (["yi-license"], ["the conditions of yi-license, the licence of model-0, are not known here"]),
        (["mit", "llama3", "cc-by-nc-sa-4.0"], ["cc-by-nc-sa-4.0 must be the only licence of whatever"]),
    ],
)
def test_warnings(inputs, words):
    warnings = combine(*inputs).warnings
    for word in words:
        assert any(word in warning for warning in warnings), warnings


@pytest.mark.parametrize("inputs", [["mit", "apache-2.0"], ["llama3", "mit"], ["gemma", "llama3"], ["gpl-3.0", "mit"]])
def test_no_warning_without_need(inputs):
    assert combine(*inputs).warnings == ()


def test_the_reason_is_one_sentence():
    assert combine("mit", "mit").reason == "every input is under mit"
    assert combine("mit", "bsd-3-clause", "llama3").reason == (
        "the conditions of llama3 cover those of mit and bsd-3-clause"
    )
    assert combine("mit", "acme").reason == (
        "mit would allow other conditions, but those of acme, not known here, hold too"
    )
    assert combine("other", "other").reason == "the inputs mean different licences by other, so they all hold at once"
    assert "none of gemma and llama3 covers" in combine("gemma", "llama3").reason
    assert combine("none", "mit").reason.startswith("the licence of model-0 is not known")


def test_as_plain_data():
    assert combine("deepseek", "none").to_json() == {
        "license": "unknown",
        "license_name": None,
        "license_link": None,
        "reason": "the licence of model-1 is not known, so that of the merge is not either",
        "duties": [f"deepseek: {duty}" for duty in find_licence("deepseek").duties],
        "warnings": ["the licence of model-1 is not known: ask its author before sharing the merge"],
        "inputs": [
            {"name": "model-0", "licenses": ["deepseek"], "stated_in": ["README.md"], "notes": []},
            {"name": "model-1", "licenses": ["none"], "stated_in": ["README.md"], "notes": []},
        ],
    }


def test_the_duties_of_llama_3():
    duties = combine("llama3", "apache-2.0").duties
    assert "llama3: begin the name of the merge with: Llama 3 (in a repository's name: Llama-3)" in duties
    assert "llama3: show where people meet it: Built with Meta Llama 3" in duties
    notice = "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright © Meta Platforms, Inc. All "
    assert any(notice + "Rights Reserved." in duty for duty in duties)
    assert any("700 million" in duty for duty in duties)
    assert any(duty.startswith("apache-2.0: ") for duty in duties)


def test_no_pair_becomes_freer_than_its_inputs():
    every = list(dict.fromkeys(known_licences().values()))
    for one, other in itertools.product(every, repeat=2):
        licensing = combine(one.name, other.name)
        back = combine(other.name, one.name)
        pair = (one.name, other.name)
        assert set(licensing.duties) == {f"{i.name}: {duty}" for i in (one, other) for duty in i.duties}, pair
        if licensing.name is None or "-and-" not in licensing.name:
            assert (licensing.identifier, licensing.name) == (back.identifier, back.name), pair
        result = (
            known_licences()[licensing.name or licensing.identifier] if "-and-" not in str(licensing.name) else None
        )
        if "unknown" in (one.family, other.family):
            assert licensing.identifier == "unknown", pair
            assert licensing.warnings, pair
        elif result is not None:
            assert result in (one, other), pair
            for part in (one, other):
                assert part.commercial is not False or result.commercial is False, pair
                assert part.derivatives == "free" or result == part, pair


def test_the_entries_of_the_table():
    for licence in dict.fromkeys(known_licences().values()):
        assert licence.family in ("permissive", "copyleft", "non-commercial", "use-restricted", "custom", "unknown")
        assert licence.derivatives in ("free", "bound", "same", "none", None)
        assert (licence.family == "non-commercial") == (licence.commercial is False), licence.name
        for identifier in licence.identifiers:
            assert find_licence(identifier.upper()) == licence
        if licence.family not in ("custom", "unknown"):
            assert licence.link is not None
            assert licence.source.startswith("https://")
            assert licence.read.startswith("20")
    identifiers = [i for licence in dict.fromkeys(known_licences().values()) for i in licence.identifiers]
    assert len(identifiers) == len(set(identifiers))


def test_the_plan_says_it_before_anything_runs(here, smelt_command):
    llama = "---\nlicense: llama3.1\n---\n"
    tiny.save_llama("a", 0, files={"README.md": llama})
    tiny.save_llama("b", 1, files={"README.md": "---\nlicense: cc-by-sa-4.0\n---\n"})
    text = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n"
    (here / "recipe.yml").write_text(text)
    shown = smelt_command("plan", "recipe.yml").out
    for line in (
        "licence   llama3.1-and-cc-by-sa-4.0: none of llama3.1 and cc-by-sa-4.0 covers the conditions of the others",
        "no legal advice",
        "  a: llama3.1 (README.md)\n",
        "  b: cc-by-sa-4.0 (README.md)\n",
        "warning: cc-by-sa-4.0 must be the only licence",
        "duty of llama3.1: show where people meet it: Built with Llama\n",
    ):
        assert line in shown
    assert smelt.plan(text).notes == ()


def test_the_table_of_the_documentation():
    tool = runpy.run_path(str(ROOT / "tools" / "write_licences.py"))
    written = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert written == tool["page"](), "run: python tools/write_licences.py"


def test_the_rules_are_part_of_the_package():
    assert '"planning/licences.yml"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
