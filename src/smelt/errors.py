"""The one exception family. A message says where, what was found, what is allowed, and the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_MESSAGE = 600  # characters


class SmeltError(Exception):
    """Whatever smelt raises on purpose; ``str()`` of it is the line that a user reads.

    Args:
        message: one line. What stands in it from files may be long or hold control characters: these become escapes,
            and the middle of a long message is left out, so that its place and its end remain.
    """

    def __init__(self, message: str) -> None:
        super().__init__(make_printable(cut_middle(message, _LONGEST_MESSAGE)))


class InputError(SmeltError):
    """Something that the user gave is wrong: a recipe, a path, a model, an option. Exit code 1.

    Args:
        message: one line.
        line: the line of the recipe that it is about, for whoever knows the recipe's name to put in front.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class RunError(SmeltError):
    """A run failed for a reason outside the recipe, such as a full disk. Exit code 2."""


def make_printable(text: str) -> str:
    """Return text with an escape such as ``\\x1b`` for each character that cannot be printed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut_middle(text: str, length: int) -> str:
    """Return text of at most ``length`` characters, with an ellipsis for its middle where it is longer."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]}…{text[len(text) - half + 1 :]}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the allowed name closest to ``name``, or ``"."`` if none is close."""
    names = list(allowed)
    folded = {candidate.casefold(): candidate for candidate in reversed(names)}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f"; did you mean '{folded[close[0]]}'?" if close else "."


def listing(names: Iterable[str], limit: int = 12) -> str:
    """Return the names joined by commas, the ones past ``limit`` as a count."""
    shown = list(names)
    more = f", … ({len(shown) - limit} more)" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
