"""Reading what a recipe says about the tokenizer and the chat template."""

from __future__ import annotations

from typing import Literal

from smelt.errors import nearest
from smelt.recipes.fields import take_flag, take_known, take_mapping, take_text, take_whole
from smelt.recipes.messages import Messages
from smelt.recipes.models import read_reference
from smelt.recipes.nodes import Node
from smelt.recipes.nouns import Reference, Token, Tokenizer, TokenSource

CHAT_TEMPLATES = ("auto", "alpaca", "chatml", "llama3", "mistral", "exaone")
SHORTEST_TEMPLATE = 20  # characters


def read_tokenizer(entries: dict[str, Node], messages: Messages) -> Tokenizer | None:
    """Return what ``tokenizer:`` or ``tokenizer_source:`` asks for, or ``None`` when a document has neither.

    Raises:
        InputError: also when it has both.
    """
    short, node = entries.get("tokenizer_source"), entries.get("tokenizer")
    if short is not None and node is not None:
        words = "a recipe has 'tokenizer' or 'tokenizer_source', not both"
        raise messages.error(max(short.line, node.line), words)
    if short is not None:
        return Tokenizer(_read_source(short, "'tokenizer_source'", messages), line=short.line)
    if node is None:
        return None
    if not isinstance(node.value, dict):
        raise messages.error(
            node.line, f"'tokenizer' must be a mapping; write 'tokenizer_source: {node.text or 'base'}'"
        )
    given = take_known(node, ("source", "tokens", "pad_to_multiple_of"), "'tokenizer'", messages)
    if "source" not in given:
        raise messages.error(node.line, "'tokenizer' has no 'source': base, union or a model")
    multiple = given.get("pad_to_multiple_of")
    listed = given.get("tokens")
    tokens = take_mapping(listed, "'tokens'", messages) if listed is not None and listed.value is not None else {}
    return Tokenizer(
        _read_source(given["source"], "'source'", messages),
        tuple(_read_token(text, item, messages) for text, item in tokens.items()),
        take_whole(multiple, 1, "'pad_to_multiple_of'", messages) if multiple and multiple.value is not None else None,
        node.line,
    )


def read_chat_template(node: Node | None, messages: Messages) -> str | None:
    """Return the name or the text of the chat template, or ``None`` when there is none.

    Raises:
        InputError: when it is neither a known name nor a Jinja text.
    """
    if node is None:
        return None
    text = take_text(node, "'chat_template'", messages)
    if text in CHAT_TEMPLATES or (len(text) >= SHORTEST_TEMPLATE and "{" in text):
        return text
    words = f"there is no chat template {node}{nearest(text, CHAT_TEMPLATES)} Allowed: {', '.join(CHAT_TEMPLATES)}"
    raise messages.error(node.line, f"{words}, or a Jinja text of at least {SHORTEST_TEMPLATE} characters with a '{{'")


def _read_source(node: Node, what: str, messages: Messages) -> Literal["base", "union"] | Reference:
    if node.text == "base":
        return "base"
    if node.text == "union":
        return "union"
    return read_reference(node, what, messages)


def _read_token(text: str, node: Node, messages: Messages) -> Token:
    what = f"token '{text}'"
    entries = take_known(node, ("source", "force"), what, messages)
    if "source" not in entries:
        raise messages.error(node.line, f"{what} has no 'source'")
    force = take_flag(entries["force"], "'force'", messages) if "force" in entries else False
    return Token(text, _read_token_source(entries["source"], what, messages), force, node.line)


def _read_token_source(node: Node, what: str, messages: Messages) -> TokenSource:
    if not isinstance(node.value, dict) or "kind" not in node.value:
        return TokenSource("model", read_reference(node, f"'source' of {what}", messages))
    kind = node.value["kind"].text
    if kind == "zero":
        take_known(node, ("kind",), f"'source' of {what}", messages)
        return TokenSource("zero")
    if kind != "model_token":
        raise messages.error(node.value["kind"].line, f"'kind' must be model_token or zero, not '{kind}'")
    entries = take_known(node, ("kind", "model", "token", "token_id"), f"'source' of {what}", messages)
    if "model" not in entries or ("token" in entries) == ("token_id" in entries):
        raise messages.error(node.line, f"'source' of {what} must have 'model', and 'token' or 'token_id'")
    if "token_id" in entries:
        token: str | int = take_whole(entries["token_id"], 0, "'token_id'", messages)
    else:
        token = take_text(entries["token"], "'token'", messages)
    return TokenSource("model_token", read_reference(entries["model"], "'model'", messages), token)
