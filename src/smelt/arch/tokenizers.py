"""Vocabularies: what a ``tokenizer.json`` holds, and how two of them stand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from smelt.errors import InputError


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
    from tokenizers import Tokenizer

    try:
        tokens = Tokenizer.from_str(tokenizer_json.decode("utf-8")).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises plain Exception
        cause = str(error).splitlines()[0]
        raise InputError(f"tokenizer.json: {cause}; expected a Hugging Face tokenizer in JSON.") from error
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
