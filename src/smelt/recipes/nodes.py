"""YAML text → a tree of plain values that know their lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import yaml
from yaml.constructor import SafeConstructor

from smelt.errors import InputError
from smelt.recipes.messages import Messages
from smelt.recipes.nouns import Reference

if TYPE_CHECKING:
    from yaml.error import Mark

Scalar = None | bool | int | float | str

DEEPEST = 40  # a recipe needs about ten levels
MOST_NODES = 100_000  # after aliases are replaced by what they stand for

_YAML = "tag:yaml.org,2002:"
_TAGS = tuple(_YAML + name for name in ("null", "bool", "int", "float", "str", "timestamp", "value", "seq", "map"))


@dataclass(frozen=True)
class Node:
    """A value of the recipe; ``line`` is that of its key where it has one. Python also gives references."""

    value: Scalar | Reference | list[Node] | dict[str, Node]
    line: int
    text: str = ""  # a scalar as it was written

    def __str__(self) -> str:
        """Return a short form for messages."""
        if isinstance(self.value, list | dict):
            return "a list" if isinstance(self.value, list) else "a mapping"
        text = self.text if len(self.text) <= 60 else self.text[:59] + "…"
        return f"'{text}'" if isinstance(self.value, str) else text or "nothing"


def parse(messages: Messages) -> list[Node]:
    """Return the documents of ``messages.text``; empty ones are left out.

    Anchors, aliases and merge keys are replaced by what they stand for.

    Raises:
        InputError: for text that is not YAML, duplicate keys, and trees that are too deep or too large.
    """
    try:
        documents = yaml.compose_all(messages.text, Loader=yaml.SafeLoader)
        trees = [_Tree(messages).grow(document, 0) for document in documents]
    except yaml.YAMLError as error:
        raise _malformed(error, messages) from None
    except RecursionError:
        raise messages.error(1, f"the text is nested deeper than {DEEPEST} levels") from None
    except (OverflowError, ValueError):  # PyYAML makes a character of an escape such as "\\UFFFFFFFF" unseen
        raise messages.error(1, "the text holds an escape that stands for no character") from None
    return [tree for tree in trees if tree.value is not None]


def plant(value: Any, messages: Messages) -> Node:
    """Return the tree of a Python value, on line 0.

    Raises:
        InputError: for what has no place in a recipe, such as an array.
    """
    if value is None or isinstance(value, bool | int | float | str):
        text = ("false", "true")[value] if isinstance(value, bool) else str(value)
        return Node(value, 0, text)
    if isinstance(value, Reference):
        return Node(value, 0, str(value))
    if isinstance(value, dict):
        return Node({str(key): plant(item, messages) for key, item in value.items()}, 0)
    if isinstance(value, list | tuple):
        return Node([plant(item, messages) for item in value], 0)
    if getattr(value, "shape", None) == ():  # a NumPy number
        return plant(value.item(), messages)
    raise messages.error(0, f"a setting is a number, text, list or dict, not {type(value).__name__}")


class _Tree:
    """Counts the nodes of one document while it is copied."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.nodes = 0

    def grow(self, node: yaml.Node, depth: int, key_line: int | None = None) -> Node:
        line = key_line or _line(node)
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise self.messages.error(line, f"the recipe has more than {MOST_NODES:,} values once aliases are expanded")
        if depth > DEEPEST:
            raise self.messages.error(
                line, f"the text is nested deeper than {DEEPEST} levels, or an alias holds itself"
            )
        if node.tag not in _TAGS:
            raise self.messages.error(line, f"the tag '{node.tag.replace(_YAML, '!!')}' has no meaning in a recipe")
        if isinstance(node, yaml.SequenceNode):
            return Node([self.grow(item, depth + 1) for item in node.value], line)
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, depth), line)
        return Node(_scalar(cast("yaml.ScalarNode", node)), line, node.value)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        merged: list[dict[str, Node]] = []
        for key, value in node.value:
            if key.tag == _YAML + "merge":
                merged += self._merged(value, depth)
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise self.messages.error(_line(key), "a key must be plain text, not a list or a mapping")
            if key.value in entries:
                raise self._duplicate(key, entries[key.value].line, node if depth == 0 else None)
            entries[key.value] = self.grow(value, depth + 1, _line(key))
        result: dict[str, Node] = {}
        for stronger in (*reversed(merged), entries):
            result.update(stronger)
        return result

    def _merged(self, node: yaml.Node, depth: int) -> list[dict[str, Node]]:
        """Return the mappings that a ``<<`` key brings, strongest first."""
        trees = [self.grow(item, depth + 1) for item in (node.value if isinstance(node, yaml.SequenceNode) else [node])]
        mappings = [tree.value for tree in trees if isinstance(tree.value, dict)]
        if len(mappings) < len(trees):
            raise self.messages.error(_line(node), "'<<' takes a mapping, or a list of mappings")
        return mappings

    def _duplicate(self, key: yaml.ScalarNode, first: int, document: yaml.MappingNode | None) -> InputError:
        """Say that a key stands twice; where it does in a whole ``document``, this may be two recipes in one."""
        second = _line(key)
        words = f"'{key.value}' stands twice, on lines {first} and {second}"
        keys = [other.value for other, _ in document.value] if document is not None else []
        if all(keys.count(name) < 2 for name in ("merge_method", "models", "slices", "modules")):
            return self.messages.error(second, f"{words}; delete one of them")
        hint = self.messages.missing_name(second)
        return self.messages.error(
            second, f"{words}. Is a '---' line missing above line {second}, between two recipes?{hint}"
        )


def _line(node: yaml.Node) -> int:
    return cast("Mark", node.start_mark).line + 1


def _scalar(node: yaml.ScalarNode) -> Scalar:
    """Return the YAML 1.1 meaning of a scalar; what is no number, boolean or null is text."""
    if ":" in node.value:  # to YAML 1.1 a number to the base of 60: costly, and nobody's intention
        return str(node.value)
    constructor = SafeConstructor()
    construct = {
        "null": constructor.construct_yaml_null,
        "bool": constructor.construct_yaml_bool,
        "int": constructor.construct_yaml_int,
        "float": constructor.construct_yaml_float,
    }.get(node.tag.removeprefix(_YAML))
    try:
        return cast(Scalar, construct(node)) if construct else str(node.value)
    except (ValueError, KeyError, IndexError):  # such as '0b_', or more digits than Python reads
        return str(node.value)


def _malformed(error: yaml.YAMLError, messages: Messages) -> InputError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a ReaderError
        position = getattr(error, "position", 0)
        line = messages.text.count("\n", 0, position) + 1
        return messages.error(line, f"the character {getattr(error, 'character', 0):#06x} is not allowed in YAML")
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or "malformed YAML"
    if "'\\t'" in problem:
        problem = "a tab stands where YAML allows only blanks; indent with blanks"
    if "unknown escape" in problem:
        problem += "; in double quotes a backslash starts an escape, so write the path in single quotes"
    return InputError(f"{messages.origin}:{mark.line + 1}:{mark.column + 1}: {problem}")
