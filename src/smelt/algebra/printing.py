"""Writing an expression down for a reader: brackets only where they are needed, shared parts as letters.

Guards against division by 0 are shortened to ``or 1``. No walk recurses, and what grows beyond any reader's patience
is cut off with ``…``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from smelt.algebra.expressions import QUESTIONS, Expr, constant, walk
from smelt.algebra.vocabulary import same_sign

SIGNS: Mapping[str, str] = {
    "add": " + ",
    "subtract": " − ",
    "multiply": "·",
    "divide": " / ",
    "less": " < ",
    "less_equal": " ≤ ",
    "greater": " > ",
    "greater_equal": " ≥ ",
    "equal": " = ",
    "logical_and": " and ",
    "logical_or": " or ",
}
# How tightly an operation holds its parts together; what holds less tightly than its place asks for is bracketed.
WHERE, LOGIC, COMPARISON, SUM, PRODUCT, ATOM = range(6)
TIGHTNESS = {"add": SUM, "subtract": SUM, "multiply": PRODUCT, "divide": PRODUCT} | dict.fromkeys(
    ("logical_and", "logical_or"), LOGIC
)
WORDS: Mapping[str, str] = {
    "absolute": "|{}|",
    "square_root": "√({})",
    "sum_models": "Σ({})",
    "max_models": "max({})",
    "floor": "⌊{}⌋",
    "exponential": "exp({})",
    "logarithm": "log({})",
    "sine": "sin({})",
}
LONGEST = 600  # characters of a part, before it is cut off
MOST_PARTS = 30  # named parts that are spelled out
SHOWN = 6  # digits from which a reader takes a number for a rounded one
SHORT = 5  # characters up to which a part that occurs often is repeated and not named
LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

Text = tuple[str, int]  # what is printed, and how tightly it holds together


def print_parts(root: Expr, names: Sequence[str], slots: Sequence[float | str]) -> list[str]:
    """Return the text of ``root``, then a line ``u = …`` for each part that occurs more than once."""
    printer = _Printer(names, slots)
    body = printer.print(root)
    parts = [f"{letter} = {text}" for letter, text in printer.parts]
    return [body, *parts[:MOST_PARTS], *(["…"] if len(parts) > MOST_PARTS else [])]


def print_number(value: Any) -> str:
    """Return a number with a true minus sign and a short exponent.

    It has six digits at most; where fewer would make it look like another number (1 − 5e-13 like 1), up to 15.
    """
    text = f"{value:g}"
    digits = text.partition("e")[0].lstrip("-0.").replace(".", "")
    if len(digits) < SHOWN and float(text) != value:
        text = f"{value:.15g}"
    mantissa, mark, exponent = text.partition("e")
    return (f"{mantissa}e{int(exponent)}" if mark else mantissa).replace("-", "−")


def constant_value(node: Expr) -> object:
    """Return the number that a node is, ``None`` where it is none."""
    return node.attributes[0] if node.op == "constant" else None


class _Printer:
    """Writes nodes as text, arguments first; those that are used more than once become letters."""

    def __init__(self, names: Sequence[str], slots: Sequence[float | str]) -> None:
        self.parts: list[tuple[str, str]] = []
        self._names = names
        self._slots = slots
        self._letters = _letters([*names, *map(str, slots)])
        self._texts: dict[str, Text] = {}
        self._draws: list[tuple[Any, ...]] = []

    def print(self, root: Expr) -> str:
        """Return the text of ``root``; ``parts`` are then the letters that it needs, each after those that it uses."""
        nodes = walk(root, below=_read)
        self._draws = [node.attributes for node in nodes if node.op == "uniform"]
        uses = Counter(a.key for node in nodes for a in _read(node))
        named: list[tuple[Expr, str, str]] = []
        cut: dict[str, bool] = {}
        for node in nodes:
            text, tightness = self._write(node)
            cut[node.key] = len(text) > LONGEST
            if cut[node.key]:
                text, tightness = "…", ATOM
            plain = not node.args or node.op in ("stack", "floor", "select") or len(text) <= SHORT
            if uses[node.key] > 1 and not plain:
                letter = next(self._letters)
                named.append((node, letter, text))
                text, tightness = letter, ATOM
            self._texts[node.key] = text, tightness
        seen = {root.key: True}
        for node in reversed(nodes):
            if node.key in seen and not cut[node.key]:
                seen.update((a.key, True) for a in _read(node))
        self.parts = [(letter, text) for node, letter, text in named if node.key in seen]
        return self._texts[root.key][0]

    def _write(self, node: Expr) -> Text:
        texts = [self._texts[a.key] for a in _read(node)]
        inside = [text for text, _ in texts]
        first = node.attributes[0] if node.attributes else 0
        if node.op in SIGNS:
            return self._infix(node, texts)
        if node.op == "where":
            return _where(texts)
        if node.op in WORDS:
            return WORDS[node.op].format(inside[0]), ATOM
        if node.op == "input":
            return self._names[int(first or 0)], ATOM
        if node.op in ("slot", "slots"):
            return self._setting(node), ATOM
        if node.op == "constant":
            return print_number(first), ATOM
        if node.op == "stack":
            return f"[{', '.join(_within(texts))}]", ATOM
        if node.op == "pick":
            return f"{_tight(texts[0], ATOM)}{str(int(first or 0) + 1).translate(LOWERED)}", ATOM
        return self._question(node, texts)

    def _question(self, node: Expr, texts: list[Text]) -> Text:
        inside = _within(texts)
        scope = node.along or str(node.attributes[0] if node.attributes else "")
        if node.op == "size":
            return f"elements({scope})" if scope else "elements", ATOM
        if node.op == "select":
            return f"the {inside[0]} largest" + {"row": " of its row", "model": " of the model"}.get(scope, ""), ATOM
        if node.op == "selected":
            return f"{_tight(texts[0], SUM)} is among {inside[1]}", COMPARISON
        if node.op == "magnitude_at":
            return f"largest(|{inside[0]}|, number {inside[1]})", ATOM
        if node.op == "uniform":
            return _numbered("random", self._draws.index(node.attributes)), ATOM
        name = node.op
        if node.op == "call":
            name = _numbered(str(node.attributes[0]).rpartition(":")[2], int(node.attributes[1] or 0))
        elif node.op in QUESTIONS and node.along:
            inside.append(f"per {node.along}")
        return f"{name}({', '.join(inside)})" if inside else name, ATOM

    def _infix(self, node: Expr, texts: list[Text]) -> Text:
        agree = agreement(node)
        if agree is not None:
            return f"{_tight(texts[0], SUM)} agrees in sign with {_tight(texts[1], SUM)}", COMPARISON
        if node.op == "multiply" and constant_value(node.args[0]) == -1.0:
            return f"−{_tight(texts[1], PRODUCT)}", PRODUCT
        own = TIGHTNESS.get(node.op, COMPARISON)
        left, right = own, own if node.op == "add" else own + 1
        if node.op == "multiply":
            # A quotient on the left of a product would read as if the product were divided by.
            left = ATOM if node.args[0].op == "divide" else PRODUCT
            right = ATOM if node.args[1].op == "divide" else PRODUCT
        elif node.op in ("logical_and", "logical_or"):
            left, right = (LOGIC if a.op == node.op else COMPARISON for a in node.args)
        elif own == COMPARISON:
            left = right = SUM
        return SIGNS[node.op].join((_tight(texts[0], left), _tight(texts[1], right))), own

    def _setting(self, node: Expr) -> str:
        first = int(node.attributes[0] or 0)
        chosen = self._slots[first : first + (node.models or 1)]
        texts = [c if isinstance(c, str) else print_number(c) for c in chosen]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _where(texts: list[Text]) -> Text:
    if len(texts) == 1:
        return f"{_tight(texts[0], SUM)} or 1", WHERE
    condition, chosen, other = texts
    return f"{_tight(chosen, LOGIC)} where {_tight(condition, LOGIC)}, else {_tight(other, LOGIC)}", WHERE


def _read(node: Expr) -> tuple[Expr, ...]:
    """Return the nodes whose texts the text of ``node`` holds."""
    if node.op == "logical_or":
        return agreement(node) or node.args
    if node.op == "where":
        condition, one, other = node.args
        guards = condition.op == "equal" and condition.args == (other, constant(0.0)) and constant_value(one) == 1.0
        return (other,) if guards else node.args
    if node.op == "select":
        return node.args[1:]
    return node.args[0].args if node.op == "magnitude_at" else node.args


def agreement(node: Expr) -> tuple[Expr, Expr] | None:
    """Return x and y where ``node`` is ``same_sign(x, y)``."""
    first = node.args[0]
    if (
        node.op != "logical_or"
        or first.op != "logical_and"
        or first.args[0].op != "greater"
        or len(first.args[1].args) < 2
    ):
        return None
    x, y = first.args[0].args[0], first.args[1].args[0]
    return (x, y) if node == same_sign(x, y) else None


def _numbered(name: str, position: int) -> str:
    """Return the name of the first, second, … of its kind; the first one needs no number."""
    return name + (str(position + 1).translate(LOWERED) if position else "")


def _tight(text: Text, least: int) -> str:
    return text[0] if text[1] >= least else f"({text[0]})"


def _within(texts: Sequence[Text]) -> list[str]:
    """Return the texts as they stand between commas."""
    return [_tight(text, LOGIC if len(texts) > 1 else WHERE) for text in texts]


def _letters(taken: Sequence[str]) -> Iterator[str]:
    for round_ in count():
        for letter in "uvwxyzpqrsabcdefghijklmno":
            name = letter + (str(round_) if round_ else "")
            if name not in taken:
                yield name
