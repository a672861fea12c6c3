"""Vocabularies of tokenizer files, compared."""

import json

import pytest

from smelt.arch.tokenizers import Relation, compare, vocabulary
from smelt.errors import InputError


def tokenizer_json(tokens, added=()):
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [{"id": number, "content": token, **special} for token, number in added],
            "model": {"type": "WordLevel", "vocab": tokens, "unk_token": "a"},
        }
    ).encode()


def test_added_tokens_count_and_ids_order():
    found = vocabulary(tokenizer_json({"b": 1, "a": 0}, [("<end>", 2)]))
    assert list(found.items()) == [("a", 0), ("b", 1), ("<end>", 2)]


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"\xff\xfe", b'{"model": 3}'])
def test_bad_files_are_the_users_error(data):
    with pytest.raises(InputError, match=r"^tokenizer\.json: [^\n]+$"):
        vocabulary(data)


def test_same_and_prefix():
    small, large = {"a": 0, "b": 1}, {"a": 0, "b": 1, "z": 3, "y": 2}
    assert compare(small, dict(reversed(small.items()))).relation is Relation.SAME
    assert compare(small, large).relation is Relation.A_IS_PREFIX
    assert compare(large, small).relation is Relation.B_IS_PREFIX
    assert compare(small, large).added == ("y", "z") == compare(large, small).added
    assert compare({}, small).relation is Relation.A_IS_PREFIX


def test_differing_vocabularies():
    base = {"a": 0, "b": 1, "c": 3}
    filled_gap = compare(base, {**base, "x": 2})
    assert (filled_gap.relation, filled_gap.added) == (Relation.DIFFER, ())
    assert filled_gap.disagreements == ("'x' (2) is only in the second",)
    swapped = compare({"a": 0, "b": 1, "c": 2, "d": 3}, {"a": 1, "b": 0, "c": 3, "e": 2}, limit=4)
    assert swapped.disagreements == (
        "'a' is 0 in one and 1 in the other",
        "'b' is 1 in one and 0 in the other",
        "'c' is 2 in one and 3 in the other",
        "'d' (3) is only in the first",
    )
    assert compare({"a": 0}, {"b": 0}).relation is Relation.DIFFER
