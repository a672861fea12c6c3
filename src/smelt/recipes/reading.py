"""Reading a recipe: text → ``Recipe``. No model is looked at; that is planning's part."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from smelt.algebra.declare import Method, find
from smelt.errors import InputError, nearest
from smelt.recipes.checks import check_document
from smelt.recipes.fields import take_known, take_text, take_whole
from smelt.recipes.graph import link
from smelt.recipes.messages import Messages
from smelt.recipes.models import SHAPES, read_modules, read_reference
from smelt.recipes.nodes import Node, parse
from smelt.recipes.nouns import Document, Recipe
from smelt.recipes.tokenizer import read_chat_template, read_tokenizer
from smelt.recipes.values import read_parameters, spell_out
from smelt.tensors.dtypes import DType, dtype_of_recipe

KEYS = (
    *("name", "merge_method", *SHAPES, "base_model", "parameters", "dtype", "out_dtype"),
    *("tokenizer", "tokenizer_source", "chat_template", "seed"),
)
LARGEST_BYTES = 100_000  # so that a checkpoint given as a recipe is a message and not a wait; YAML takes 1 s for it
STANDARD_INPUT = "standard input"
_LARGEST_BITS = 10_000  # of a whole number; Python writes no more than 4,300 digits into a message


def read(source: str | Path, *, lenient: bool = False) -> Recipe:
    """Read a recipe in the dialect that mergekit's users write; several documents are separated by ``---`` lines.

    Args:
        source: the path of a recipe file; ``-`` for standard input; or the recipe itself, a string that contains a
            line break.
        lenient: whether to pass over what mergekit ignores (unknown keys and settings), with a note for each.

    Raises:
        InputError: ``recipe.yml:12: what is wrong``, for everything that the text alone decides.
    """
    if isinstance(source, str) and "\n" in source:
        return read_text(source, "recipe", lenient=lenient)
    if source == "-":
        return read_text(take_standard_input(), STANDARD_INPUT, lenient=lenient)
    path = Path(source)
    return read_text(_decode(_load(path), path.name), path.name, lenient=lenient)


def read_text(text: str, origin: str, *, lenient: bool = False) -> Recipe:
    """Read the text of a recipe that messages call ``origin``; the rest is as for ``read``."""
    if len(text) > LARGEST_BYTES:
        raise _too_large(origin)
    messages = Messages(origin, lenient, text)
    nodes = parse(messages)
    for node in nodes:
        _check_numbers(node, messages)
    return assemble(nodes, messages)


def assemble(nodes: Sequence[Node], messages: Messages, used: Sequence[Document] = ()) -> Recipe:
    """Return the recipe whose documents are ``used``, which have been read already, and ``nodes``, which have not.

    Raises:
        InputError: for everything that their contents decide.
    """
    if not nodes:
        raise messages.error(1, f"the recipe is empty; it needs 'merge_method' and one of {', '.join(SHAPES)}")
    read_now = [_read_document(node, messages) for node in nodes]
    documents = link([*used, *read_now], messages)
    for document in read_now:
        check_document(document, messages)
    entries = {id(document): node.value for document, node in zip(read_now, nodes, strict=True)}
    for document in documents[:-1]:
        _note_dtypes(document, entries.get(id(document)), messages)
    return Recipe(documents, _read_seed(nodes, messages), messages.origin, tuple(messages.notes))


def _check_numbers(node: Node, messages: Messages) -> None:
    if isinstance(node.value, int) and node.value.bit_length() > _LARGEST_BITS:
        raise messages.error(node.line, f"a number of more than {_LARGEST_BITS * 3 // 10:,} digits")
    if isinstance(node.value, list | dict):
        for inner in node.value.values() if isinstance(node.value, dict) else node.value:
            _check_numbers(inner, messages)


def _load(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return _take(stream, path.name)
    except FileNotFoundError:
        folder = path.parent
        siblings = sorted(os.listdir(folder)) if folder.is_dir() else []
        where = "" if folder.is_dir() else f", nor a folder '{folder}'"
        raise InputError(f"{path.name}: there is no such recipe file{where}{nearest(path.name, siblings)}") from None
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read as a recipe: {error.strerror or error}") from None
    except ValueError:  # a path with a null character
        raise InputError(f"{path.name!r} is no file name") from None


def take_standard_input() -> str:
    """Return the text on standard input.

    Raises:
        InputError: when it is longer than a recipe may be, or no text.
    """
    return _decode(_take(sys.stdin.buffer, STANDARD_INPUT), STANDARD_INPUT)


def _take(stream: BinaryIO, origin: str) -> bytes:
    """Return what a stream holds, and read no more of it than a recipe may have."""
    raw = stream.read(LARGEST_BYTES + 1)
    if len(raw) > LARGEST_BYTES:
        raise _too_large(origin)
    return raw


def _too_large(origin: str) -> InputError:
    return InputError(f"{origin}: more than {LARGEST_BYTES // 1000} kB; a recipe is a short text")


def _decode(raw: bytes, origin: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        words = f"byte {raw[error.start]:#04x} is not UTF-8, the encoding of recipes"
        raise InputError(f"{origin}:{line}: {words}") from None


def _read_document(node: Node, messages: Messages) -> Document:
    entries = take_known(node, KEYS, "a recipe", messages)
    line = min((entry.line for entry in entries.values()), default=node.line)
    method = _read_method(entries, line, messages)
    modules = read_modules(entries, line, method, messages)
    base = entries.get("base_model")
    name = entries.get("name")
    return Document(
        take_text(name, "'name'", messages) if name is not None else None,
        method,
        read_reference(base, "'base_model'", messages) if base is not None and base.value is not None else None,
        modules,
        spell_out(read_parameters(entries.get("parameters"), method, "recipe", messages), method),
        _read_dtype(entries.get("dtype"), "dtype", messages),
        _read_dtype(entries.get("out_dtype"), "out_dtype", messages),
        read_tokenizer(entries, messages),
        read_chat_template(entries.get("chat_template"), messages),
        line,
    )


def _read_method(entries: dict[str, Node], line: int, messages: Messages) -> Method:
    node = entries.get("merge_method")
    if node is None:
        raise messages.error(line, "the recipe has no 'merge_method'; 'smelt methods' lists them")
    name = take_text(node, "'merge_method'", messages)
    try:
        return find(name)
    except InputError as error:
        raise messages.error(node.line, str(error)) from None


def _read_dtype(node: Node | None, key: str, messages: Messages) -> DType | None:
    if node is None or node.value is None:
        return None
    name = take_text(node, f"'{key}'", messages)
    try:
        return dtype_of_recipe(name)
    except InputError as error:
        raise messages.error(node.line, str(error)) from None


def _note_dtypes(document: Document, entries: object, messages: Messages) -> None:
    """Note that an intermediate keeps float32, whatever it asks for."""
    for key, dtype in (("dtype", document.dtype), ("out_dtype", document.out_dtype)):
        if dtype is not None:
            line = entries[key].line if isinstance(entries, dict) else 0
            messages.note(line, f"'{key}' has no effect on the intermediate {document.title}, which stays float32")


def _read_seed(nodes: Sequence[Node], messages: Messages) -> int:
    found = [node.value["seed"] for node in nodes if isinstance(node.value, dict) and "seed" in node.value]
    seeds = [take_whole(node, 0, "'seed'", messages) for node in found]
    for node, seed in zip(found, seeds, strict=True):
        if seed != seeds[0]:
            words = f"the seed is {seed} here and {seeds[0]} on line {found[0].line}; a recipe has one"
            raise messages.error(node.line, words)
    return seeds[0] if seeds else 0
