"""Recognising licences by their texts, or by the notices that they ask for. What is not certain is not recognised."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smelt.planning.licences import Licence, known_licences

_MOST_BEFORE = 4_000  # characters; Creative Commons puts advice of 3,000 there
# A title that stands after anything else is a mention: 'the documentation is under ...'.
_BEFORE_TITLE = re.compile(
    r"\W{0,90}(the |meta |creative commons legal code\W+"
    r"|(the )?(mit|expat|(new |modified |simplified )?bsd[ -][23]-clause)( \w+)? licen[cs]e\W{0,90}"
    r"(\((mit|expat)\)\W{0,90})?"
    r"|(([\w.]+ ){1,4}is )?(licensed|provided)( by mistral ai)? under (and subject to )?the (meta )?"
    r"|attribution[\w -]* 4\.0 international\W+creative commons corporation .*)?"
    r"(copyright((?!\b(under|is|are|for|only|not|licen\w*|models?|weights?|terms)\b).){0,400})?"
)
# Words of no licence that allows commercial use: a text of one that has them was changed. (GPL 3 has the exception.)
_RESTRICTION = re.compile(
    r"(?<!occasionally and )\bnon-? ?commercial|\b(no|not|never)\b[^.,;]{0,40}\bcommercial"
    r"|\bcommercial(ly)?( (use|usage|purposes?|exploitation|distribution))*,? (is|are|requires?|needs?|must|may|only)\b"
    r"|\b(research|academic|educational|personal|evaluation)( and \w+)?( use| purposes?)? (only|alone)\b"
    r"|\b(only|solely|exclusively|limited to|restricted to)( used)?( for| to)?( \w+)? "
    r"(research|academic|educational|personal|evaluation)\b"
)
_FIELD_OF_USE = re.compile(r"\b(research|academic|educational|weights)\b")  # in no permissive text


def recognise_licences(text: str) -> tuple[Licence, ...]:
    """Return the licences whose text, or whose notice, ``text`` is; none where it is no text that is known."""
    plain = _plain(text)
    found = [licence for licence in dict.fromkeys(known_licences().values()) if _is_text_of(licence, plain)]
    if any(licence.commercial for licence in found) and _RESTRICTION.search(plain):
        return ()
    if any(licence.family == "permissive" for licence in found) and _FIELD_OF_USE.search(plain):
        return ()
    return tuple(found)


def restricts_use(text: str) -> bool:
    """Say whether a text has words that restrict use to what is not commercial, or to research."""
    return _RESTRICTION.search(_plain(text)) is not None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[*\\_]", "", text.casefold()).split())


def _is_text_of(licence: Licence, plain: str) -> bool:
    if licence.most_characters is not None and len(plain) > licence.most_characters:
        return False
    return any(_holds_in_order(plain, text.split(" … ")) for text in licence.texts)


def _holds_in_order(plain: str, parts: Sequence[str]) -> bool:
    start = plain.find(parts[0])
    if not 0 <= start <= _MOST_BEFORE or not _BEFORE_TITLE.fullmatch(plain[:start]):
        return False
    position = start
    for part in parts:
        found = plain.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return True
