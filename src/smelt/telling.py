"""What the command line says beside its results: notes, and what went wrong, each on one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from smelt.errors import RunError, SmeltError
from smelt.mergekit_flags import MERGEKIT_FLAGS


def describe_error(error: Exception) -> tuple[str, int]:
    """Return the line that says what went wrong, and the exit code."""
    if isinstance(error, SmeltError):
        return str(error), 2 if isinstance(error, RunError) else 1
    option = str(getattr(error, "option_name", "")).split("=")[0]
    if option in MERGEKIT_FLAGS:
        return f"{option} is an option of mergekit; {MERGEKIT_FLAGS[option]}", 1
    if hasattr(error, "format_message"):  # a usage error of the command line library
        return f"{error.format_message()} Try 'smelt --help'.", 1
    return f"{type(error).__name__}: {error} (this is a defect of smelt; run again with --debug for a traceback)", 2


def print_notes(notes: tuple[str, ...]) -> None:
    """Show notes on standard error."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


@contextmanager
def warnings_as_notes(*kinds: type[Warning]) -> Iterator[None]:
    """Show warnings of some kinds as notes, whatever the filters say, and all others as ever."""
    with warnings.catch_warnings():
        for kind in kinds:
            warnings.simplefilter("always", kind)
        show = warnings.showwarning

        def show_note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, kinds):
                print_notes((str(message),))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_note
        yield
