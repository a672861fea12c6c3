"""Embeddings and heads of different length: the rows of the base where one vocabulary is a prefix of the other."""

import json

import numpy as np
import pytest

import smelt
import tiny
from smelt.errors import InputError

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(autouse=True)
def models(here):
    """``large`` has two tokens more than ``small``; ``same`` has the tokens of ``small``."""
    for seed, (name, tokens) in enumerate((("small", "abcdef"), ("large", "abcdef+-"), ("same", "abcdef"))):
        files = {"tokenizer.json": tiny.tokenizer(*tokens), "tokenizer_config.json": {"chat_template": "plain"}}
        tiny.save_llama(here / name, seed, vocabulary=len(tokens), files=files)


def soup(first, second, more=""):
    text = (
        "merge_method: linear\nmodels: [{model: %s, parameters: {weight: 3}}, {model: %s, parameters: {weight: 1}}]\n"
    )
    return text % (first, second) + "dtype: float32\n" + more


def wide(folder):
    return {name: array.astype("f8") for name, array in tiny.read(folder).items()}


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_a_larger_model_is_cut_to_the_rows_of_the_base(here, where):
    text = soup("small", "large", "tokenizer_source: base\n")
    if where == "memory":
        merged = smelt.merge(text)
    else:
        smelt.merge(text, "out")
        merged = tiny.read("out")
        assert json.loads((here / "out/config.json").read_text())["vocab_size"] == 6
        assert (here / "out/tokenizer.json").read_bytes() == (here / "small/tokenizer.json").read_bytes()
    small, large = wide("small"), wide("large")
    for name in small:
        expected = 0.75 * small[name] + 0.25 * large[name][: len(small[name])]
        np.testing.assert_allclose(merged[name], expected, rtol=1e-6, atol=1e-7)


def test_a_smaller_model_gets_the_further_rows_of_the_base(here):
    smelt.merge(soup("large", "small", "tokenizer_source: base\n"), "out")
    merged, small, large = tiny.read("out"), wide("small"), wide("large")
    for name in (EMBEDDING, HEAD):
        longer = np.concatenate([small[name], large[name][6:]])
        np.testing.assert_allclose(merged[name], 0.75 * large[name] + 0.25 * longer, rtol=1e-6, atol=1e-7)
        assert np.array_equal(merged[name][6:], large[name][6:])  # 0.75 + 0.25 of the same row
    assert json.loads((here / "out/config.json").read_text())["vocab_size"] == 8
    assert (here / "out/tokenizer.json").read_bytes() == (here / "large/tokenizer.json").read_bytes()


def test_the_base_of_a_task_vector_sets_the_rows():
    text = "merge_method: task_arithmetic\nbase_model: large\nmodels: [{model: small}]\nparameters: {weight: 0.5}\n"
    merged = smelt.merge(text + "dtype: float32\ntokenizer_source: base\n")
    small, large = wide("small"), wide("large")
    expected = large[EMBEDDING].copy()
    expected[:6] += 0.5 * (small[EMBEDDING] - large[EMBEDDING][:6])
    np.testing.assert_allclose(merged[EMBEDDING], expected, rtol=1e-6, atol=1e-7)


def test_equal_vocabularies_need_no_alignment(here):
    for words in ("", "tokenizer_source: base\n", "tokenizer_source: union\n", "tokenizer_source: same\n"):
        smelt.merge(soup("small", "same", words), "out", force=True)
        assert (here / "out/tokenizer.json").read_bytes() == (here / "small/tokenizer.json").read_bytes()


def test_the_rows_of_equal_vocabularies_may_differ_by_padding(here):
    padded = tiny.llama(5, vocabulary=10)
    files = {"tokenizer.json": tiny.tokenizer(*"abcdef")}
    tiny.save(here / "padded", padded, tiny.config(vocabulary=10), files)
    with pytest.raises(
        InputError, match=r"10 × 4 in 'padded', for the same tokens; write 'tokenizer_source: base' to k"
    ):
        smelt.plan(soup("small", "padded"))
    assert smelt.merge(soup("small", "padded", "tokenizer_source: base\n"))[EMBEDDING].shape == (6, 4)


def test_models_without_a_tokenizer_cannot_be_compared(here):
    (here / "large/tokenizer.json").unlink()
    for words in ("", "tokenizer_source: base\n"):
        with pytest.raises(
            InputError, match=r"no tokenizer\.json|aligning different vocabularies is not supported yet"
        ):
            smelt.plan(soup("small", "large", words))


def test_padding_is_carried_out_where_it_changes_nothing():
    words = "tokenizer: {source: base, pad_to_multiple_of: %d}\n"
    smelt.plan(soup("small", "same", words % 3))
    with pytest.raises(InputError, match=r"'pad_to_multiple_of: 5' is not supported yet; the embedding has 6 rows"):
        smelt.plan(soup("small", "same", words % 5))


def test_chat_templates(here):
    smelt.merge(soup("small", "same", "chat_template: auto\n"), "out")
    assert json.loads((here / "out/tokenizer_config.json").read_text()) == {"chat_template": "plain"}
    (here / "same/tokenizer_config.json").write_text('{"chat_template": "fancy"}')
    with pytest.raises(
        InputError, match=r"recipe:\d: 'chat_template: auto' would have to choose: the templates of 'small"
    ):
        smelt.plan(soup("small", "same", "chat_template: auto\n"))
    smelt.plan(soup("small", "same"))  # the template of the base, without being asked
    (here / "same/tokenizer_config.json").write_text("[")
    with pytest.raises(InputError, match=r"same: tokenizer_config\.json: is not valid JSON"):
        smelt.plan(soup("small", "same", "chat_template: auto\n"))
