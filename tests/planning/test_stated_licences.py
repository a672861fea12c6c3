"""What inputs say about their licences: cards, licence files, and both together. All expectations are by hand."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from licence_samples import MIT

import tiny
from smelt.planning.licences import combine_licences
from smelt.planning.stated_licences import read_stated
from smelt.tensors.checkpoint import Checkpoint


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
        ("---\nlicense: mit\n", ["unknown"]),  # front matter without an end
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


@pytest.mark.parametrize(
    ("card", "files", "expected"),
    [
        ("license: mit (仅研究)", {}, ["unknown"]),
        ("license: mit (仅研究)", {"LICENSE": MIT}, ["unknown", "mit"]),
        ("license: apache-2.0\nlicense_name: llama3", {}, ["apache-2.0", "llama3"]),
        ("license: mit\nlicense_link: https://acme.org/nc", {}, ["unknown"]),
        ("license: mit\nlicense_link: https://opensource.org/licenses/MIT", {}, ["mit"]),
        ("license: apache-2.0\nlicense_link: https://huggingface.co/a/b/blob/main/LICENSE", {}, ["apache-2.0"]),
        ("license: apache-2.0\nlicense_link: https://www.apache.org/licenses/LICENSE-2.0.txt", {}, ["apache-2.0"]),
        ("license: mit\nlicense_link: TERMS.json", {"TERMS.json": "{}"}, ["unknown"]),
        ("license: other\nlicense_link: LICENSE", {"LICENSE": MIT}, ["mit"]),
        ("license: other", {"LICENSE-CODE": MIT}, ["other", "mit"]),
        ("license: [mit, other]", {"LICENSE": MIT}, ["mit", "other"]),
        ("license_name: acme", {"LICENSE": MIT, "LICENSE-MODEL": "my own terms"}, ["acme", "mit", "unknown"]),
        ("license_name: acme", {"LICENSE-CODE": MIT, "LICENSE-MODEL": "my own terms"}, ["acme", "mit"]),
        ("license_name: acme", {"LICENSE": "my own terms", "LICENSE-2": "and more"}, ["acme", "unknown"]),
        ("license: mit", {"META-LLAMA-3-LICENSE": "META LLAMA 3 COMMUNITY LICENSE"}, ["mit", "llama3"]),
        ("license: mit", {"LICENSE-LLAMA-3.1.txt": "LLAMA 3.1 COMMUNITY LICENSE"}, ["mit", "llama3.1"]),
        ("license: mit", {"LICENSE.pdf": b"%PDF-1.4 \xff"}, ["mit", "unknown"]),
        ("license: mit", {"LICENSES.md": "my own terms"}, ["mit", "unknown"]),
        ("license: mit", {"NOTICE": "For non-commercial use only."}, ["mit", "unknown"]),
        ("license: mit", {"THIRD-PARTY-NOTICES.txt": "Copyright Some Body"}, ["mit"]),
        ('"licens\\x65": cc-by-nc-4.0', {"LICENSE": MIT}, ["unknown", "mit"]),
        ('license: mit\n"licens\\x65": cc-by-nc-4.0', {}, ["unknown"]),
        ("License: cc-by-nc-4.0", {"LICENSE": MIT}, ["unknown", "mit"]),
        ("? license\n: cc-by-nc-4.0", {"LICENSE": MIT}, ["unknown", "mit"]),
    ],
)
def test_what_holds_besides(said, card, files, expected):
    assert names(said({"README.md": f"---\n{card}\n---\n", **files})) == expected


def test_front_matter_with_other_line_ends(said):
    for card in ("\r\n ---\rlicense: gemma\r---\r", "\n\n---\nlicense: gemma\n---\n"):
        assert names(said({"README.md": card})) == ["gemma"]


def test_names_of_files_reach_no_line_as_they_are(said):
    assert said({"LICENSE\x1b[2J": MIT}).places == ("'LICENSE\\x1b[2J'",)
