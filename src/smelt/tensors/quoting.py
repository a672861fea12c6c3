"""Names that somebody else wrote, in messages: on one line, without control characters, and short."""

from __future__ import annotations

from smelt.errors import cut_middle, make_printable

_LONGEST_NAME = 80


def quote(name: str) -> str:
    """Return a name in quotes; a long one loses its middle, and what cannot be printed becomes an escape."""
    return f"'{make_printable(cut_middle(name, _LONGEST_NAME))}'"
