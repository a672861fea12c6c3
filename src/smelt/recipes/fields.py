"""Taking a typed value out of a tree, or saying what stands there instead."""

from __future__ import annotations

from collections.abc import Sequence

from smelt.recipes.messages import Messages
from smelt.recipes.nodes import Node


def take_mapping(node: Node, what: str, messages: Messages) -> dict[str, Node]:
    """Return the entries of a mapping; ``what`` is how messages call it.

    Raises:
        InputError: when it is none.
    """
    if not isinstance(node.value, dict):
        raise messages.error(node.line, f"{what} must be a mapping ('key: value' lines), not {node}")
    return node.value


def take_known(node: Node, keys: Sequence[str], what: str, messages: Messages) -> dict[str, Node]:
    """Return the entries of a mapping whose keys are among ``keys``; others are refused, or noted when lenient.

    Raises:
        InputError: also when it is no mapping.
    """
    entries = take_mapping(node, what, messages)
    for key, value in entries.items():
        if key not in keys:
            messages.ignore_unknown(value.line, what, "key", key, keys)
    return {key: value for key, value in entries.items() if key in keys}


def take_list(node: Node, what: str, messages: Messages) -> list[Node]:
    """Return the items of a list that has some.

    Raises:
        InputError: when it is no list, or empty.
    """
    if not isinstance(node.value, list):
        raise messages.error(node.line, f"{what} must be a list ('- …' lines), not {node}")
    if not node.value:
        raise messages.error(node.line, f"{what} is an empty list")
    return node.value


def take_text(node: Node, what: str, messages: Messages) -> str:
    """Return a scalar as it was written, so that a folder may be called ``2024`` or ``on``.

    Raises:
        InputError: when it is empty, a list or a mapping.
    """
    if isinstance(node.value, list | dict):
        raise messages.error(node.line, f"{what} must be text, not {node}")
    if node.value is None or not node.text.strip():
        raise messages.error(node.line, f"{what} must be text, not nothing")
    return node.text


def take_whole(node: Node, low: int, what: str, messages: Messages) -> int:
    """Return a whole number of at least ``low``.

    Raises:
        InputError: for anything else.
    """
    if isinstance(node.value, bool) or not isinstance(node.value, int) or node.value < low:
        raise messages.error(node.line, f"{what} must be a whole number of at least {low}, not {node}")
    return node.value


def take_flag(node: Node, what: str, messages: Messages) -> bool:
    """Return a boolean.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(node.value, bool):
        raise messages.error(node.line, f"{what} must be true or false, not {node}")
    return node.value
