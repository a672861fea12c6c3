"""What a recipe may look like, and where it may come from."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from smelt.errors import InputError
from smelt.recipes.nouns import Reference, Rule, Tokenizer, TokenSource
from smelt.recipes.reading import read, read_text

TEXT = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n"


def references(*written: str) -> list[Reference]:
    lines = "".join(f"  - model: {model}\n" for model in written)
    recipe = read_text(f"merge_method: linear\nparameters: {{weight: 1}}\nmodels:\n{lines}", "recipe.yml")
    return [source.model for source in recipe.result.modules[0].slices[0].sources]


def test_references():
    assert references("org/name@main+org/lora@v1", r"C:\models\x", "'C:\\models\\x'", "2024", "on", "a b+c") == [
        Reference("org/name@main+org/lora@v1"),
        Reference("C:\\models\\x"),
        Reference("C:\\models\\x"),
        Reference("2024"),
        Reference("on"),
        Reference("a b+c"),
    ]


def test_references_as_mappings():
    assert references(
        "{model: a}",
        "{model: a, revision: 12}",
        "{model: {path: a, revision: r}, lora: l}",
        "{model: a, lora: {path: l, revision: s}}",
    ) == [
        Reference("a"),
        Reference("a", "12"),
        Reference("a", "r", Reference("l")),
        Reference("a", None, Reference("l", "s")),
    ]
    assert str(references("{model: {path: a, revision: r}, lora: {path: l, revision: s}}")[0]) == "a@r+l@s"


def test_slices():
    recipe = read_text(
        """\
merge_method: slerp
base_model: a
slices:
  - sources: # the same model twice
      - {model: a, layer_range: [0, 4]}
      - {model: a, layer_range: [1, 5]}
    parameters: {t: [0, 1]}
  - sources:
      - {model: b, layer_range: [4, 8]}
    base_model: c
parameters: {t: 0.25}
""",
        "recipe.yml",
    )
    (module,) = recipe.result.modules
    first, second = module.slices
    assert [source.layer_range for source in first.sources] == [(0, 4), (1, 5)]
    assert first.parameters["t"].rules == (Rule(None, (0.0, 1.0)),)
    assert (second.base_model, second.line) == (Reference("c"), 8)
    assert module.name is None


def test_modules():
    recipe = read_text(
        """\
merge_method: linear
modules:
  text:
    models: [{model: a}, {model: b}]
    parameters: {weight: 0.5}
  vision:
    slices: [{sources: [{model: a, layer_range: [0, 2], parameters: {weight: 1}}]}]
""",
        "recipe.yml",
    )
    assert [(module.name, len(module.slices)) for module in recipe.result.modules] == [("text", 1), ("vision", 1)]


def test_anchors_and_merge_keys():
    text = """\
merge_method: linear
models:
  - model: a
    parameters: &half {weight: 0.5}
  - model: b
    parameters: {<<: *half}
  - model: c
    parameters:
      <<: [{weight: 2}, *half]
  - model: d
    parameters:
      <<: *half
      weight: 3
"""
    (slice_,) = read_text(text, "recipe.yml").result.modules[0].slices
    assert [source.parameters["weight"].rules[0].value for source in slice_.sources] == [0.5, 0.5, 2.0, 3.0]
    assert slice_.sources[3].parameters["weight"].line == 13


def test_a_weight_under_a_filter_only_is_left_to_planning():
    read_text("merge_method: linear\nmodels: [{model: a, parameters: {weight: {filter: x, value: 1}}}]\n", "recipe.yml")


def test_tokenizer():
    def tokenizer(written: str) -> Tokenizer | None:
        return read_text(TEXT + written, "recipe.yml").result.tokenizer

    assert tokenizer("") is None
    assert tokenizer("tokenizer_source: union\n") == Tokenizer("union")
    assert tokenizer("tokenizer_source: org/name\n") == Tokenizer(Reference("org/name"))
    found = tokenizer(
        """\
tokenizer:
  source: base
  pad_to_multiple_of: 64
  tokens:
    <|a|>: {source: b, force: true}
    <|b|>: {source: {kind: zero}}
    <|c|>: {source: {kind: model_token, model: b, token: "1"}}
    <|d|>: {source: {kind: model_token, model: b, token_id: 1}}
"""
    )
    assert found is not None
    assert (found.source, found.pad_to_multiple_of) == ("base", 64)
    assert [(token.text, token.source, token.force, token.line) for token in found.tokens] == [
        ("<|a|>", TokenSource("model", Reference("b")), True, 7),
        ("<|b|>", TokenSource("zero"), False, 8),
        ("<|c|>", TokenSource("model_token", Reference("b"), "1"), False, 9),
        ("<|d|>", TokenSource("model_token", Reference("b"), 1), False, 10),
    ]


def test_chat_template():
    assert read_text(TEXT + "chat_template: chatml\n", "recipe.yml").result.chat_template == "chatml"
    jinja = "{% for message in messages %}{{ message }}{% endfor %}"
    assert read_text(TEXT + f"chat_template: '{jinja}'\n", "recipe.yml").result.chat_template == jinja


def test_documents_come_in_the_order_of_their_use():
    part = "merge_method: linear\nparameters: {weight: 1}\nmodels: "
    last, middle = f"{part}[{{model: x}}, {{model: y}}]\nseed: 7\n", f"name: y\n{part}[{{model: x}}]\n"
    recipe = read_text(f"{last}---\n{middle}---\nname: x\n{part}[{{model: m}}]\n---\n", "recipe.yml")
    assert [document.name for document in recipe.documents] == ["x", "y", None]
    assert recipe.seed == 7


def test_a_long_chain_of_documents():
    part = "merge_method: linear\nparameters: {weight: 1}\nmodels: "
    chain = "---\n".join(f"name: n{i}\n{part}[{{model: n{i + 1}}}]\n" for i in range(1100))
    assert read_text(chain, "recipe.yml").result.name == "n0"


def test_a_document_may_be_called_like_its_method():
    part = "merge_method: linear\nparameters: {weight: 1}\nmodels: "
    recipe = read_text(f"name: linear\n{part}[{{model: a}}]\n---\n{part}[{{model: linear}}]\n", "recipe.yml")
    assert [document.name for document in recipe.documents] == ["linear", None]


def test_from_a_file_from_text_and_from_standard_input(tmp_path, monkeypatch):
    file = tmp_path / "recipe.yml"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    assert read(file) == read(str(file)) == read(TEXT) == read("-") == read_text(TEXT, "x")
    assert (read(file).origin, read(TEXT).origin) == ("recipe.yml", "recipe")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("recpe.yml", "recpe.yml: there is no such recipe file; did you mean 'recipe.yml'?"),
        ("x" * 30, f"{'x' * 30}: there is no such recipe file."),
        ("latin.yml", "latin.yml:2: byte 0xe9 is not UTF-8, the encoding of recipes"),
        ("large.yml", "large.yml: more than 100 kB; a recipe is a short text"),
        ("folder", "folder: cannot be read as a recipe: "),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, name, words):
    (tmp_path / "recipe.yml").write_text(TEXT)
    (tmp_path / "latin.yml").write_bytes(b"# a\n# caf\xe9\n")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "large.yml").open("wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(words)


def test_a_folder_that_is_not_there():
    with pytest.raises(InputError) as caught:
        read("nowhere/recipe.yml")
    assert str(caught.value) == "recipe.yml: there is no such recipe file, nor a folder 'nowhere'."
