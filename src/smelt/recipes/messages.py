"""How a recipe's reader is spoken to: errors with a line, notes with a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from smelt.errors import InputError, listing, nearest


@dataclass(frozen=True)
class Messages:
    """What is said about one recipe.

    Args:
        origin: what the recipe is called: a file's name without folders.
        lenient: whether what mergekit ignores is ignored here too, with a note.
        text: the recipe's text, for hints that comments give; empty when there is none.
    """

    origin: str
    lenient: bool = False
    text: str = ""
    notes: list[str] = field(default_factory=list)

    def place(self, line: int) -> str:
        """Return ``recipe.yml:12``; a recipe built in Python has no lines."""
        return f"{self.origin}:{line}" if line else self.origin

    def error(self, line: int, words: str) -> InputError:
        """Return an error about ``line``, to be raised."""
        return InputError(f"{self.place(line)}: {_on_one_line(words)}")

    def note(self, line: int, words: str) -> None:
        """Tell the reader something that is no error."""
        self.notes.append(f"{self.place(line)}: {_on_one_line(words)}")

    def ignore(self, line: int, words: str) -> None:
        """Refuse what mergekit passes over without a word, or note it when the reader is lenient.

        Raises:
            InputError: unless lenient.
        """
        if not self.lenient:
            way_on = "mergekit ignores it: delete the line, or carry on with --lenient."
            raise self.error(line, f"{words} {way_on}")
        self.note(line, f"ignored: {words}")

    def ignore_unknown(self, line: int, subject: str, noun: str, name: str, allowed: Iterable[str]) -> None:
        """Do the same for a ``noun`` (``key``, ``setting``) called ``name`` that ``subject`` lacks."""
        names = list(allowed)
        have = f"{noun.capitalize()}s: {listing(names, 20)}." if names else f"It has no {noun}s."
        self.ignore(line, f"{subject} has no {noun} '{name}'{nearest(name, names)} {have}")

    def missing_name(self, line: int) -> str:
        """Return a hint when a comment before ``line`` holds what a later part calls a model, else nothing.

        On model cards the name of a first recipe often stands in a comment, where no program finds it.
        """
        lines = self.text.splitlines()
        earlier, later = lines[: line - 1], lines[line - 1 :]
        known = {name for name, _ in _models(earlier, 1)}
        wanted = {name: at for name, at in reversed(_models(later, line)) if name not in known}
        for at, text in enumerate(earlier, 1):
            for word in text.partition("#")[2].split():
                if word in wanted:
                    return (
                        f" The first recipe also needs the line 'name: {word}' (now a comment on line {at}),"
                        f" because line {wanted[word]} refers to it."
                    )
        return ""


def _on_one_line(words: str) -> str:
    """Show line breaks that a name or a value contains."""
    return "\\n".join(words.splitlines())


def _models(lines: list[str], first_line: int) -> list[tuple[str, int]]:
    pattern = re.compile(r"""^[-\s]*(?:model|base_model)\s*:\s*["']?([^"'#]+?)["']?\s*(?:#.*)?$""")
    found = ((pattern.match(text), at) for at, text in enumerate(lines, first_line))
    return [(match[1], at) for match, at in found if match]
