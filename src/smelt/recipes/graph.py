"""Documents that build on one another: their order, and which one is the result."""

from __future__ import annotations

import graphlib
from collections.abc import Sequence

from smelt.recipes.messages import Messages
from smelt.recipes.nouns import Document


def link(documents: Sequence[Document], messages: Messages) -> tuple[Document, ...]:
    """Return the documents, each after those that it refers to; the result is last.

    Raises:
        InputError: for two documents of one name, for documents that go round in a circle, and unless exactly one of
            them is used by no other.
    """
    _check_names(documents, messages)
    number_of = {document.name: number for number, document in enumerate(documents) if document.name is not None}
    uses: dict[int, list[int]] = {}
    for number, document in enumerate(documents):
        texts = [reference.text for reference in document.references() if reference.may_be_document]
        uses[number] = [number_of[text] for text in dict.fromkeys(texts) if text in number_of]
    try:
        order = list(graphlib.TopologicalSorter(uses).static_order())
    except graphlib.CycleError as error:
        raise _cycle([documents[number] for number in reversed(error.args[1])], messages) from None
    used = dict.fromkeys(number for numbers in uses.values() for number in numbers)
    results = [document for number, document in enumerate(documents) if number not in used]
    if len(results) > 1:
        raise _several(results, messages)
    return tuple(documents[number] for number in order)


def _check_names(documents: Sequence[Document], messages: Messages) -> None:
    first: dict[str, Document] = {}
    for document in documents:
        if document.name is not None:
            other = first.setdefault(document.name, document)
            if other is not document:
                lines = f", on lines {other.line} and {document.line}" if document.line else ""
                words = f"two recipes are called '{document.name}'{lines}; give each a 'name' of its own"
                raise messages.error(document.line, words)


def _cycle(circle: list[Document], messages: Messages) -> Exception:
    """Say it starting from the document that stands first, whichever one was found first."""
    ring = circle[:-1]
    start = min(range(len(ring)), key=lambda number: ring[number].line)
    ring = ring[start:] + ring[:start]
    names = [str(document.name) for document in [*ring, ring[0]]]
    return messages.error(ring[0].line, f"the recipes refer to one another in a circle: {' → '.join(names)}")


def _several(results: list[Document], messages: Messages) -> Exception:
    shown = ", ".join(f"{document.title} (line {document.line})" for document in results)
    hint = messages.missing_name(results[1].line)
    words = f"{len(results)} recipes are used by no other: {shown}. Exactly one may be, the result;"
    return messages.error(results[1].line, f"{words} refer to the others by their 'name'.{hint}")
