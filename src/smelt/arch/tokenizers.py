"""Vocabularies: what a ``tokenizer.json`` holds, and how two of them stand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from smelt.errors import InputError
from smelt.tensors.quoting import quote
from smelt.tensors.weights import read_json


class Relation(str, Enum):
    """How vocabulary ``a`` stands to vocabulary ``b``."""

    SAME = "same"
    A_IS_PREFIX = "a is a prefix of b"
    B_IS_PREFIX = "b is a prefix of a"
    DIFFER = "differ"


@dataclass(frozen=True)
class Comparison:
    """How two vocabularies stand to each other."""

    relation: Relation
    added: tuple[str, ...] = ()  # tokens that only the larger one has, by id; () when they differ
    disagreements: tuple[str, ...] = ()  # when they differ: the first few, in words


def vocabulary(tokenizer_json: bytes) -> dict[str, int]:
    """Return token → id of a ``tokenizer.json``, added tokens included, ordered by id.

    Args:
        tokenizer_json: the file's bytes.

    Raises:
        InputError: when they are no tokenizer.
    """
    # Read as JSON and not by the library, which a hostile file can make abort the process or take gigabytes.
    found = read_json("tokenizer.json", tokenizer_json)
    model, added = found.get("model"), found.get("added_tokens") or []
    listed = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(listed, list):  # Unigram: pairs of token and score, numbered by their place
        listed = {str(pair[0]): number for number, pair in enumerate(listed) if isinstance(pair, list) and pair}
    if not isinstance(listed, dict) or not isinstance(added, list):
        raise InputError("tokenizer.json: has no vocabulary; expected a Hugging Face tokenizer in JSON.")
    tokens = dict(listed)
    tokens.update((str(entry.get("content")), entry.get("id")) for entry in added if isinstance(entry, dict))
    for token, number in tokens.items():
        if type(number) is not int or not 0 <= number < 2**32:
            raise InputError(f"tokenizer.json: token {quote(token)} must have a whole number from 0 up as its id.")
    return dict(sorted(tokens.items(), key=lambda item: (item[1], item[0])))


def compare(a: Mapping[str, int], b: Mapping[str, int], limit: int = 3) -> Comparison:
    """Compare two vocabularies.

    One is a prefix of the other when all its tokens have the same ids there, and every further token of the other
    has a larger id than all of these: embedding rows of the smaller one are then the first rows of the larger one.

    Args:
        a: token → id.
        b: token → id.
        limit: how many disagreements to name, from 1.
    """
    if a == b:
        return Comparison(Relation.SAME)
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    added = tuple(sorted((token for token in large if token not in small), key=lambda token: (large[token], token)))
    is_kept = all(large.get(token) == number for token, number in small.items())
    if is_kept and large[added[0]] > max(small.values(), default=-1):
        return Comparison(Relation.A_IS_PREFIX if small is a else Relation.B_IS_PREFIX, added)
    return Comparison(Relation.DIFFER, disagreements=tuple(_disagreements(a, b)[:limit]))


def _disagreements(a: Mapping[str, int], b: Mapping[str, int]) -> list[str]:
    """Describe what stands in the way of a prefix, by id: moved tokens, then tokens that only one has."""
    moved = sorted((number, token) for token, number in a.items() if b.get(token, number) != number)
    only_a = sorted((number, token) for token, number in a.items() if token not in b)
    only_b = sorted((number, token) for token, number in b.items() if token not in a)
    return [
        *(f"{token!r} is {number} in one and {b[token]} in the other" for number, token in moved),
        *(f"{token!r} ({number}) is only in the first" for number, token in only_a),
        *(f"{token!r} ({number}) is only in the second" for number, token in only_b),
    ]
