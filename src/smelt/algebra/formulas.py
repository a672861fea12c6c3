"""The reading of an expression on symbols: as algebra over named models.

Linear parts collapse to one coefficient per model (``2·Instruct − 1·Base``); everything else prints as it is written in
the method, with shared parts and questions spelled out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from smelt.algebra.expressions import Expr, Sort, walk
from smelt.algebra.numbers import numbers_in, solve
from smelt.errors import SmeltError

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
WORDS: Mapping[str, str] = {
    "absolute": "|{}|",
    "square_root": "√({})",
    "sum_models": "Σ({})",
    "max_models": "max({})",
    "floor": "⌊{}⌋",
    "select": "the {1} largest",
    "selected": "{0} is among {1}",
    "nonzero": "{}",
    "where": "({1} where {0}, else {2})",
    "size": "elements",
    "uniform": "random",
}

Coefficients = dict[int, float]


def coefficients(root: Expr, slots: Sequence[float]) -> Coefficients | None:
    """Return the factor of each input, where the output is a linear combination whose factors the settings decide.

    Returns:
        input number → factor, in order of first use; ``None`` when the output is not linear in that sense.
    """
    if root.depth:
        return None
    numbers = [n for n in numbers_in([root]) if n.sort is Sort.NUMBER]
    try:
        values = solve(numbers, slots, {}, {})
    except (LookupError, SmeltError):  # a question, or a size that only a tensor has
        return None
    per_model = _linear(root, values)
    return per_model[0] if per_model is not None and len(per_model) == 1 else None


def describe(root: Expr, names: Sequence[str], slots: Sequence[float] | Sequence[str]) -> str:
    """Return the formula of ``root``; parts that occur more than once are named once, at the end.

    Args:
        root: an output's expression.
        names: what the inputs are called.
        slots: the settings; their names instead of their values give the formula of a method.
    """
    values = [s for s in slots if not isinstance(s, str)]
    factors = coefficients(root, values) if len(values) == len(slots) else None
    if factors is not None:
        return combination(factors, names)
    printer = _Printer(root, names, slots)
    body = printer.expand(root)
    parts = [f"{letter} = {printer.expand(node)}" for node, letter in printer.letters]
    return f"{body}, with {'; '.join(parts)}" if parts else body


def combination(factors: Coefficients, names: Sequence[str]) -> str:
    """Return ``2·Instruct − 1·Base`` for factors by input."""
    text = ""
    for index, factor in factors.items():
        sign = "−" if factor < 0 else "+"
        text += f" {sign} " if text else sign.replace("+", "")
        text += names[index] if abs(factor) == 1 and len(factors) == 1 else f"{abs(factor):.6g}·{names[index]}"
    return text or "0"


def _linear(node: Expr, values: Mapping[str, object]) -> list[Coefficients] | None:
    """Return the coefficients along the model axis (one entry without one), or ``None``."""
    if node.op == "input":
        return [{int(node.attributes[0] or 0): 1.0}]
    if node.op == "stack":
        parts = [_linear(a, values) for a in node.args]
        return [p[0] for p in parts if p] if all(p is not None and len(p) == 1 for p in parts) else None
    if node.op == "sum_models":
        below = _linear(node.args[0], values)
        return None if below is None else [_added(below)]
    if node.op in ("add", "subtract"):
        return _add(node, values)
    if node.op in ("multiply", "divide"):
        return _scale(node, values)
    return None


def _add(node: Expr, values: Mapping[str, object]) -> list[Coefficients] | None:
    left, right = (_linear(a, values) for a in node.args)
    if left is None or right is None:
        return None
    length = max(len(left), len(right))
    sign = 1.0 if node.op == "add" else -1.0
    flipped = [{i: sign * c for i, c in part.items()} for part in right]
    return [_added([a, b]) for a, b in zip(_spread(left, length), _spread(flipped, length), strict=True)]


def _scale(node: Expr, values: Mapping[str, object]) -> list[Coefficients] | None:
    a, b = node.args
    number, tensor = (b, a) if b.sort is Sort.NUMBER else (a, b)
    if number.sort is not Sort.NUMBER or tensor.sort is not Sort.TENSOR or (node.op == "divide" and tensor is b):
        return None
    below = _linear(tensor, values)
    if below is None:
        return None
    value = values[number.key]
    factors = value.tolist() if hasattr(value, "tolist") else value
    scales = list(factors) if isinstance(factors, list) else [float(str(factors))]
    if node.op == "divide" and 0.0 in scales:
        return None
    length = max(len(below), len(scales))
    if node.op == "divide" and 0.0 in scales:
        return None
    powers = [1.0 / s if node.op == "divide" else s for s in _spread(scales, length)]
    return [{i: c * s for i, c in part.items()} for part, s in zip(_spread(below, length), powers, strict=True)]


def _spread(parts: list[object] | list[Coefficients] | list[float], length: int) -> list:  # type: ignore[type-arg]
    return list(parts) * length if len(parts) == 1 else list(parts)


def _added(parts: Sequence[Coefficients]) -> Coefficients:
    total: Coefficients = {}
    for part in parts:
        for index, factor in part.items():
            total[index] = total.get(index, 0.0) + factor
    return total


class _Printer:
    """Writes nodes as text; nodes that are used more than once appear as letters."""

    def __init__(self, root: Expr, names: Sequence[str], slots: Sequence[float] | Sequence[str]) -> None:
        nodes = walk(root)
        uses: dict[str, int] = {}
        for argument in (a for node in nodes for a in node.args):
            uses[argument.key] = uses.get(argument.key, 0) + 1
        shared = [n for n in nodes if uses.get(n.key, 0) > 1 and n.args and n.op not in ("stack", "floor")]
        self.letters = list(zip(shared, _letters(names), strict=False))
        self._letter_of = {node.key: letter for node, letter in self.letters}
        self._names = names
        self._slots = slots

    def expand(self, node: Expr) -> str:
        """Return the text of a node whose arguments may be letters."""
        texts = [self._letter_of.get(a.key) or self.expand(a) for a in node.args]
        if node.op == "input":
            return self._names[int(node.attributes[0] or 0)]
        if node.op in ("slot", "slots"):
            return self._setting(node)
        if node.op == "constant":
            return _number(node.attributes[0])
        if node.op == "stack":
            return "[" + ", ".join(texts) + "]"
        if node.op in SIGNS:
            return self._infix(node, texts)
        if node.op == "pick":
            return f"{texts[0]}[{int(node.attributes[0] or 0) + 1}]"
        if node.op == "call":
            name = str(node.attributes[0]).rpartition(":")[2]
            which = "" if node.attributes[1] is None else f"[{node.attributes[1]}]"
            return f"{name}{which}({', '.join(texts)})"
        if node.op in WORDS:
            return WORDS[node.op].format(*texts)
        return f"{node.op}({', '.join(texts)})" if texts else node.op

    def _infix(self, node: Expr, texts: list[str]) -> str:
        whole = self._shown(node)
        if whole is not node:
            return texts[0 if self._shown(node.args[0]) is whole else 1]
        shown = [self._shown(a) for a in node.args]
        inner = [
            f"({text})" if a.op in SIGNS and a.key not in self._letter_of and _looser(a.op, node.op) else text
            for a, text in zip(shown, texts, strict=True)
        ]
        return SIGNS[node.op].join(inner)

    def _shown(self, node: Expr) -> Expr:
        """Return the node whose text stands for ``node``: another one where a factor of 1 is left out."""
        if node.op == "multiply" and node.key not in self._letter_of:
            for factor, rest in (node.args, node.args[::-1]):
                if factor.sort is Sort.NUMBER and not factor.args and self.expand(factor) == "1":
                    return self._shown(rest)
        return node

    def _setting(self, node: Expr) -> str:
        first = int(node.attributes[0] or 0)
        chosen = self._slots[first : first + (node.models or 1)]
        texts = [c if isinstance(c, str) else _number(c) for c in chosen]
        same = all(t == texts[0] for t in texts)
        return texts[0] if same else "[" + ", ".join(texts) + "]"


def _looser(inside: str, outside: str) -> bool:
    product = inside == outside == "multiply"
    return not (product or (inside in ("multiply", "divide") and outside in ("add", "subtract", "less", "greater")))


def _letters(taken: Sequence[str]) -> Iterator[str]:
    for round_ in count():
        for letter in "uvwxyzpqrsabcdefghijklmno":
            name = letter + (str(round_) if round_ else "")
            if name not in taken:
                yield name


def _number(value: object) -> str:
    return f"{value:g}".replace("-", "−")
