"""Licences: what inputs say, what is recognised, and what a merge of them may be. All expectations are by hand."""

import itertools
import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smelt
import tiny
from smelt.planning.licences import StatedLicences, combine_licences, find_licence, known_licences
from smelt.planning.stated_licences import read_stated, recognise_licences
from smelt.tensors.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
MIT = """MIT License

Copyright (c) 2024 Some Body

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
MODIFIED_MIT = MIT + (
    "\nOur only modification is that, if the Software (or any derivative works thereof) is used for any of your "
    "commercial products or services that have more than 100 million monthly active users, you shall prominently "
    'display "Some Model" on the user interface of such product or service.\n'
)
BSD_CONDITIONS = """Copyright (c) 2024, Some Body
All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.
"""
BSD_THIRD = """3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or
   promote products derived from this software without specific prior written permission.
"""
BSD_END = 'THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED ...\n'


def combine(*names):
    """Combine inputs that each name licences: one, or several joined by &."""
    stated = [
        StatedLicences(f"model-{number}", tuple(find_licence(name) for name in text.split("&")), ("README.md",), ())
        for number, text in enumerate(names)
    ]
    return combine_licences(stated)


@pytest.fixture
def said(tmp_path):
    """What a model says whose folder holds these files."""

    def read(files):
        tiny.save(tmp_path / "model", {"weight": tiny.np.ones(2, "f4")}, files=files)
        return read_stated(Checkpoint(tmp_path / "model"), "model")

    return read


def names(stated):
    return [licence.name for licence in stated.licences]


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MIT, ["mit"]),
        (MODIFIED_MIT, []),
        (BSD_CONDITIONS + BSD_END, ["bsd-2-clause"]),
        (BSD_CONDITIONS + BSD_THIRD + BSD_END, ["bsd-3-clause"]),
        ((ROOT / "LICENSE").read_text(encoding="utf-8"), ["apache-2.0"]),
        ("# LLAMA 2 COMMUNITY LICENSE AGREEMENT\nLlama 2 Version Release Date: July 18, 2023", ["llama2"]),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT\n", ["llama3"]),
        (" LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n", ["llama3.1"]),
        ("Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright ©", ["llama3.2"]),
        ("**LLAMA 3.3 COMMUNITY LICENSE AGREEMENT**\n", ["llama3.3"]),
        ("LLAMA 4 COMMUNITY LICENSE\nAGREEMENT", ["llama4"]),
        ("Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms", ["gemma"]),
        ("Tongyi Qianwen LICENSE AGREEMENT\n\nTongyi Qianwen Release Date: August 3, 2023", ["tongyi-qianwen"]),
        ("Tongyi Qianwen RESEARCH LICENSE AGREEMENT", ["tongyi-qianwen-research"]),
        ("Qwen LICENSE AGREEMENT\n\nQwen LICENSE AGREEMENT Release Date: September 19, 2024", ["qwen"]),
        ("Qwen RESEARCH LICENSE AGREEMENT", ["qwen-research"]),
        ("DEEPSEEK LICENSE AGREEMENT\n\nVersion 1.0, 23 October 2023", ["deepseek"]),
        ("# Mistral AI Research License\n", ["mrl"]),
        ("# Mistral AI Non-Production License\n", ["mnpl"]),
        ("MICROSOFT RESEARCH LICENSE TERMS\n", ["microsoft-research-license"]),
        ("FALCON 180B TII LICENSE VERSION 1.0", ["falcon-180b-license"]),
        ("Creative Commons Attribution-NonCommercial 4.0 International Public\nLicense", ["cc-by-nc-4.0"]),
        ("Creative Commons Attribution-ShareAlike 4.0 International Public License", ["cc-by-sa-4.0"]),
        ("CreativeML Open RAIL++-M License\ndated November 24, 2022", ["openrail++"]),
        ("CreativeML Open RAIL-M\ndated August 22, 2022", ["creativeml-openrail-m"]),
        ("You may use this for good, and not for evil.", []),
        ("", []),
    ],
)
def test_texts_are_recognised(text, expected):
    assert [licence.name for licence in recognise_licences(text)] == expected


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\n---\n# A model", ["mit"]),
        ("---\nlicense: Apache 2.0\ntags: [x]\n---\n", ["apache-2.0"]),
        ("---\r\nlanguage:\r\n- en\r\n\"license\" : 'gemma'\r\n---\r\n", ["gemma"]),
        ("\ufeff---\nlicense:\n- mit\n- cc-by-nc-4.0\n---\n", ["mit", "cc-by-nc-4.0"]),
        ("---\nlicense: [mit, apache-2.0]\n---\n", ["mit", "apache-2.0"]),
        ("---\nlicense: other\nlicense_name: tongyi-qianwen\n---\n", ["tongyi-qianwen"]),
        ("---\nlicense: other\nlicense_name: Yi License\n---\n", ["yi-license"]),
        ("---\nlicense: other\n---\n", ["other"]),
        ("---\nlicense_name: mrl\n---\n", ["mrl"]),
        ("---\nlicense: mit\nlicense: cc-by-nc-4.0\n---\n", ["mit", "cc-by-nc-4.0"]),
        ("---\nlicense: 2.0\n---\n", ["2.0"]),
        ("---\nlicense: wtfpl\n---\n", ["wtfpl"]),
        ("---\nlicense:\n---\n", ["none"]),
        ("---\nlicense: null\ntags: [a]\n---\n", ["none"]),
        ("---\nlicense: mit\n", ["none"]),  # front matter without an end is none
        ("# A model\n\nlicense: mit\n", ["none"]),
        ("---\nx:\n  license: mit\n---\n", ["unknown"]),
        ("", ["none"]),
    ],
)
def test_cards_are_read(said, card, expected):
    assert names(said({"README.md": card})) == expected


@pytest.mark.parametrize(
    ("files", "expected", "places"),
    [
        ({"LICENSE": MIT}, ["mit"], ("LICENSE",)),
        ({"README.md": "---\nlicense: mit\n---\n", "LICENSE": MIT}, ["mit"], ("README.md", "LICENSE")),
        ({"README.md": "---\nlicense: mit\n---\n", "LICENSE": "DeepSeek License Agreement"}, ["mit", "deepseek"], None),
        ({"README.md": "---\nlicense: other\n---\n", "LICENSE": "DEEPSEEK LICENSE AGREEMENT"}, ["deepseek"], None),
        ({"README.md": "---\nlicense: unknown\n---\n", "license.txt": MIT}, ["mit"], ("license.txt",)),
        ({"README.md": "---\nlicense: other\n---\n", "LICENSE": "my own terms"}, ["other"], ("README.md",)),
        ({"README.md": "---\nlicense: mit\n---\n", "LICENSE": "my own terms"}, ["mit", "unknown"], None),
        ({"COPYING": "my own terms"}, ["unknown"], ("COPYING",)),
        ({"NOTICE": "Copyright Some Body"}, ["none"], ()),
        ({"Notice.txt": "Llama 3.1 is licensed under the Llama 3.1 Community License, ©"}, ["llama3.1"], None),
        ({"LICENSE-MODEL": "DEEPSEEK LICENSE AGREEMENT", "LICENSE-CODE": MIT}, ["mit", "deepseek"], None),
        ({"Tongyi Qianwen LICENSE AGREEMENT": "Tongyi Qianwen LICENSE AGREEMENT"}, ["tongyi-qianwen"], None),
        ({"license_check.py": "x = 1", "licenses.json": "{}"}, ["none"], ()),
    ],
)
def test_licence_files_are_read(said, files, expected, places):
    stated = said(files)
    assert names(stated) == expected
    assert places is None or stated.places == places


def test_the_link_of_a_custom_licence(said):
    card = "---\nlicense: other\nlicense_name: my-terms\nlicense_link: {}\n---\n"
    stated = said({"README.md": card.format("https://example.org/terms")})
    assert combine_licences([stated]).link == "https://example.org/terms"
    for hostile in ("LICENSE", "javascript:alert(1)", "'https://x.org/a b'", '"https://x.org\\n- x"'):
        assert combine_licences([said({"README.md": card.format(hostile)})]).link is None


def test_arrays_and_single_files_name_no_licence(tmp_path):
    array = tiny.np.ones(2, "f4")
    tiny.write_file(tmp_path / "one.safetensors", {"x": array})
    for checkpoint in (Checkpoint({"x": array}), Checkpoint(tmp_path / "one.safetensors")):
        stated = read_stated(checkpoint, "model")
        assert (names(stated), stated.names) == (["none"], "none")
        assert "all rights are reserved" in stated.notes[0]


BOMB = "a: &a [x,x]\n" + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in itertools.pairwise("abcdefghijklmnopqrst"))
HOSTILE = {
    "not YAML": "license: [mit\n",
    "a tag": "license: !!python/object/apply:os.system [true]\n",
    "a mapping": "license: {id: mit}\n",
    "nested lists": "license: [[mit]]\n",
    "deep": "license: " + "[" * 1900 + "\n",
    "deeper than may be read": "license: " + "[" * 100_000 + "\n",
    "long": "license: " + "x" * 1_000_000 + "\n",
    "many": "license: [" + "x," * 1000 + "]\n",
    "an unknown alias": "license: *nothing\n",
    "an escape too large": 'license: "\\UFFFFFFFF"\n',
    "control characters": "license: \x00\x1b[31m\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_cards_are_unknown(said, kind):
    stated = said({"README.md": f"---\n{HOSTILE[kind]}---\n"})
    assert names(stated) == (["unknown"] if kind != "a tag" else ["true"]), kind
    assert kind == "a tag" or "cannot be read" in stated.notes[0]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": "---\nlicense: MIT 非商用\n---\n"}, ["unknown"]),
        ({"README.md": "---\nlicense: mit*\n---\n"}, ["unknown"]),
        ({"README.md": "---\nlicense: mit\nlicense_name: acme-non-commercial\n---\n"}, ["mit", "acme-non-commercial"]),
        (
            {"README.md": "---\nlicense: other\nlicense_link: https://a.b/nc\n---\n", "LICENSE-CODE": MIT},
            ["other", "mit"],
        ),
        ({"README.md": "---\nlicense: mit\n---\n", "META-LLAMA-3-LICENSE": "my own terms"}, ["mit", "unknown"]),
        ({"README.md": "---\n{license: cc-by-nc-4.0}\n---\n", "LICENSE": MIT}, ["unknown", "mit"]),
        ({"README.md": "---\r\nlicense: cc-by-nc-4.0\r\n---\r\n"}, ["cc-by-nc-4.0"]),
        ({"README.md": "\n---\nlicense: cc-by-nc-4.0\n---\n"}, ["cc-by-nc-4.0"]),
        ({"LICENSE": MIT.replace("without restriction", "for non-commercial use")}, ["unknown"]),
    ],
)
def test_what_is_not_certain_makes_nothing_freer(said, files, expected):
    assert names(said(files)) == expected


def test_what_else_a_card_holds_is_not_parsed(said):
    for other in (BOMB, "x: [" * 100_000 + "\n", "model-index:\n" + "- name: x\n  value: 1\n" * 50_000, "x: \x00\n"):
        assert names(said({"README.md": f"---\n{other}license: mit\ntags: []\n---\n".encode()})) == ["mit"]


def test_hostile_names_reach_no_line_of_text(said):
    stated = said({"README.md": '---\nlicense: other\nlicense_name: "\\e[31m`x`\\n# big | <b>"\n---\n'})
    assert names(stated) == ["unknown"]
    stated = said({"README.md": b"---\nlicense: \xff\xfe\n---\n"})
    assert names(stated) == ["unknown"]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.one_of(st.text(), st.text("license_nameink: []{}&*!|>'\"\n\t-#,mit\\"), st.binary().map(repr)))
def test_no_front_matter_makes_a_merge_fail(text):
    class Card:
        files = ("README.md", "LICENSE")
        repository = commit = None

        def read_file(self, name):
            return f"---\nlicense{text}\n---\n".encode(errors="surrogatepass")

    licensing = combine_licences([read_stated(Card(), "model")])
    assert all(line.isprintable() for line in (licensing.identifier, licensing.reason, *licensing.warnings))


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
