"""Recipes and models that do not fit: one line that says where, what was found and what to do; nothing is written."""

import json
import re

import numpy as np
import pytest

import tiny

SOUP = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n"
TIES = "merge_method: ties\nbase_model: a\nmodels: [{model: b}]\nparameters: {weight: 0.5}\n"
STACK = "merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0, 9]}]}]\n"
DOCUMENT = "name: {}\nmerge_method: linear\nmodels: [{{model: {}}}]\nparameters: {{weight: 1}}\n"


@pytest.fixture
def refusal(here, smelt_command):
    """Merge by a recipe that is wrong; return the one line that comes, with the folder of the models unchanged."""

    def refuse(text, *options, code=1):
        (here / "recipe.yml").write_text(text)
        before = sorted(here.rglob("*"))
        for arguments in (["merge", "recipe.yml", "out", *options], ["plan", "recipe.yml"]):
            if arguments[0] == "plan" and (options or code == 2):
                continue
            answer = smelt_command(*arguments)
            assert answer.code == code, answer
            assert answer.out == ""
            (line,) = (text for text in answer.err.splitlines() if not text.startswith("note: "))
            assert line.startswith("smelt: ")
            assert "defect of smelt" not in line
        # What a failed run has done is kept: the same command carries on when the cause is gone.
        assert [path for path in sorted(here.rglob("*")) if "out.partial" not in str(path)] == before
        return line.removeprefix("smelt: ")

    return refuse


@pytest.fixture(autouse=True)
def models(here):
    tiny.save_llama(here / "a", 0)
    tiny.save_llama(here / "b", 1)


def change(folder, **changed):
    """Rewrite a model with some tensors changed, or taken away where they are None."""
    arrays = {**tiny.read(folder), **{name.replace("__", "."): array for name, array in changed.items()}}
    config = json.loads((folder / "config.json").read_text())
    tiny.save(folder, {name: array for name, array in arrays.items() if array is not None}, config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recipe.yml:1: the recipe is empty; it needs 'merge_method' and one of models, slices, modules"),
        ("# nothing\n", "recipe.yml:1: the recipe is empty; "),
        (SOUP.replace("linear", "linaer"), r"recipe.yml:1: there is no merge method 'linaer'; did you mean 'linear'\?"),
        (SOUP.replace("weight", "wieght"), r"recipe.yml:\d: linear has no setting 'wieght'; did you mean 'weight'\?"),
        (
            "merge_method: ties\nbase_model: a\nmodels:\n- model: a\n- model: b\n",
            "recipe.yml:5: model 'b' has no 'weight', which ties needs of every model but the base model; write ",
        ),
        (SOUP.replace("model: b", "model: bb/"), r"recipe.yml:2: 'bb/': no such file or folder; did you mean 'b'\?"),
        (
            DOCUMENT.format("x", "y") + "---\n" + DOCUMENT.format("y", "x"),
            "recipe.yml:1: the recipes refer to one another in a circle: x → y → x",
        ),
        (
            DOCUMENT.format("first", "a") + "---\n" + SOUP.replace("model: a", "model: first").replace("b", "./frist"),
            r"recipe.yml:7: './frist': no such .* \(documents of this recipe: first; did you mean 'first'\?\)",
        ),
        (STACK, r"recipe.yml:2: layer_range \[0, 9\] lies outside 'a', which has blocks 0 to 1"),
        (
            SOUP.replace("0.5", "[{filter: mlp, value: 1}]"),
            "recipe.yml:2: linear needs 'weight' of 'a', and no value applies to 'model.embed_tokens.weight'; add an",
        ),
        (
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: -1}}]",
            "recipe.yml:1: .*the weights sum to 0 and cannot be normalized; set normalize: false",
        ),
        (SOUP.replace("model: b", "model: b+adapter"), "recipe.yml:2: .*adapters are not supported yet"),
        (SOUP.replace("{model: b}", "{model: {model: b, lora: c}}"), "recipe.yml:2: adapters are not supported yet"),
        (SOUP + "chat_template: chatml\n", "recipe.yml:1: 'chat_template' other than 'auto' is not supported yet; "),
        (SOUP + "tokenizer: {source: a, tokens: {x: {source: a}}}\n", "recipe.yml:4: 'tokens' .*is not supported yet"),
    ],
    ids=lambda value: None if "\n" in value else value[:40],
)
def test_wrong_recipes(refusal, text, message):
    assert re.search(message, refusal(text))


def test_missing_and_broken_files(here, refusal):
    weights = here / "b" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-3])
    assert re.search("b/model.safetensors: truncated: 3 of 312 bytes of data are missing", refusal(SOUP))
    weights.write_bytes(content[:50])
    assert re.search("b/model.safetensors: truncated: .* of the header .* are missing", refusal(SOUP))
    weights.write_bytes(b"")
    assert "b/model.safetensors: 0 bytes long" in refusal(SOUP)
    weights.unlink()
    assert re.match("recipe.yml:2: b: ", refusal(SOUP))
    (here / "a" / "config.json").write_text("{")
    assert re.search("a: config.json", refusal(TIES.replace("model: b", "model: a")))


def test_a_recipe_that_is_not_there(here, smelt_command):
    (here / "recipe.yaml").write_text(SOUP)
    answer = smelt_command("merge", "recipe.yml", "out")
    assert (answer.code, answer.out, answer.err) == (
        1,
        "",
        "smelt: recipe.yml: there is no such recipe file; did you mean 'recipe.yaml'?\n",
    )


def test_shapes_that_differ(here, refusal):
    change(here / "b", **{"model.norm.weight": np.zeros(5, "f4")})
    for text in (SOUP, TIES):
        line = refusal(text)
        assert line == (
            "recipe.yml:1: 'model.norm.weight' is 4 in 'a' and 5 in 'b'; "
            "tensors that are merged must have the same shape"
        )
    change(
        here / "b", **{"model.norm.weight": np.zeros(4, "f4"), "model.layers.1.mlp.down_proj.weight": np.ones((6, 4))}
    )
    assert "'model.layers.1.mlp.down_proj.weight' is 4 × 6 in 'a' and 6 × 4 in 'b'" in refusal(SOUP)


def test_tensors_that_only_one_model_has(here, refusal):
    change(here / "b", **{"model.norm.weight": None, "model.layers.0.extra": np.zeros(2, "f4")})
    assert refusal(SOUP).startswith("recipe.yml:1: 'b' has 1 tensors that 'a' lacks: model.layers.0.extra; ")
    change(here / "b", **{"model.layers.0.extra": None})
    assert refusal(SOUP).startswith("recipe.yml:1: 'b' has no tensor 'model.norm.weight', which 'a' has; ")


def test_layers_that_differ(here, refusal):
    tiny.save_llama(here / "deep", 3, layers=3)
    assert refusal(SOUP.replace("model: b", "model: deep")).startswith(
        "recipe.yml:1: 'a' has 2 blocks under 'model.layers', 'deep' has 3; whole models need as many, 'slices' with"
    )
    slices = "merge_method: linear\nparameters: {weight: 1}\nslices:\n- sources:\n"
    uneven = slices + "  - {model: a, layer_range: [0, 2]}\n  - {model: deep, layer_range: [0, 3]}\n"
    assert "this source has 3 layers and the first has 2; in a slice all have equally many" in refusal(uneven)
    change(here / "deep", **{"model.layers.2.mlp.down_proj.weight": None})
    odd = slices + "  - {model: a, layer_range: [1, 2]}\n  - {model: deep, layer_range: [2, 3]}\n"
    assert "do not hold the same tensors; in one of them only: model.layers.1.mlp.down_proj.weight" in refusal(odd)
    change(here / "deep", **{f"model.layers.1.{n}.weight": None for n in ("input_layernorm", "self_attn.q_proj")})
    change(here / "deep", **{"model.layers.1.mlp.down_proj.weight": None})
    assert "deep: blocks 1 of 'model.layers' have no tensors" in refusal(odd)


def test_no_blocks(here, refusal):
    tiny.save(here / "flat", {"table": np.zeros(3, "f4"), "bias": np.ones(3, "f4")})
    line = refusal(STACK.replace("model: a", "model: flat"))
    assert "'flat': no numbered blocks are found among its 2 tensors (table, bias); slices need them" in line


def test_vocabularies_that_differ(here, refusal):
    for folder, tokens in (("a", "abcdefgh"), ("b", "abcdefgh+-")):
        tiny.save_llama(here / folder, 1, vocabulary=len(tokens), files={"tokenizer.json": tiny.tokenizer(*tokens)})
    assert refusal(SOUP) == (
        "recipe.yml:1: 'model.embed_tokens.weight' is 8 × 4 in 'a' and 10 × 4 in 'b': 'b' adds +, -; "
        "write 'tokenizer_source: base' to keep the rows of 'a'"
    )
    line = refusal(SOUP + "tokenizer_source: union\n")
    assert line.startswith("recipe.yml:4: 'tokenizer_source: union' needs tokens to be aligned, which is not supported")
    line = refusal(SOUP + "tokenizer_source: b\n")
    assert line.startswith("recipe.yml:4: tokenizer source 'b' needs tokens to be aligned, which is not supported yet")
    for tokens in ("abcdefhg+-", "bacdefgh"):
        files = {"tokenizer.json": tiny.tokenizer(*tokens)}
        tiny.save_llama(here / "b", 1, vocabulary=len(tokens), files=files)
        line = refusal(SOUP + "tokenizer_source: base\n")
        assert "'tokenizer_source: base' needs tokens to be aligned, which is not supported yet" in line
        assert "'g' is 6 in one and 7 in the other" in line or "'b' is 1 in one and 0 in the other" in line


def test_differing_integers(here, refusal):
    for folder, last in (("a", 3), ("b", 3)):
        change(here / folder, **{"model.buffer": np.array([1, 2, last])})
    change(here / "b", **{"model.buffer": np.array([1, 2, 3], "i4")})
    line = refusal(SOUP)
    assert "'model.buffer' is I64 in 'a' and I32 in 'b'; integers cannot be merged, and must be the same" in line
    change(here / "b", **{"model.buffer": np.array([1, 2, 4])})
    line = refusal(SOUP, code=2)
    assert "'model.buffer' holds int64 values that differ between 'a' and 'b'; integers are only carried" in line


def test_overflow_to_float8(here, refusal):
    change(here / "b", **{"model.norm.weight": np.array([0, 1e4, 0, 0], "f4")})
    line = refusal(SOUP + "out_dtype: float8_e4m3fn\n", code=2)
    assert "'model.norm.weight': " in line
    assert line.endswith("choose a wider 'out_dtype'")
