"""Text that somebody else wrote, in messages: on one line, without control characters, and short."""

from __future__ import annotations

_LONGEST_NAME = 80
_LONGEST_MESSAGE = 600


def quote(name: str) -> str:
    """Return a name in quotes; a long one loses its middle, and what cannot be printed becomes an escape."""
    return f"'{make_printable(_cut(name, _LONGEST_NAME))}'"


def shorten(message: str) -> str:
    """Return a whole message fit to be shown: a long one loses its middle, so that its place and its end remain."""
    return make_printable(_cut(message, _LONGEST_MESSAGE))


def make_printable(text: str) -> str:
    """Return text with an escape such as ``\\x1b`` for each character that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(text: str, length: int) -> str:
    half = length // 2
    return text if len(text) <= length else f"{text[:half]}…{text[len(text) - half + 1 :]}"
