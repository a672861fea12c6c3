"""The statements of one loop of a kernel: what is between stored nodes, written as one expression per node."""

from __future__ import annotations

from typing import Protocol

from smelt.algebra.expressions import PER_ELEMENT, Expr, Sort

INFIX = {
    "add": "({} + {})",
    "subtract": "({} - {})",
    "multiply": "({} * {})",
    "divide": "({} / {})",
    "less": "({} < {})",
    "less_equal": "({} <= {})",
    "greater": "({} > {})",
    "greater_equal": "({} >= {})",
    "equal": "({} == {})",
    "logical_and": "({} & {})",
    "logical_or": "({} | {})",
    "absolute": "abs({})",
    "exponential": "exponential({})",
    "logarithm": "logarithm({})",
    "square_root": "np.sqrt({})",
    "minimum": "({0} if {0} < {1} else {1})",
    "maximum": "({0} if {0} > {1} else {1})",
    "sign": "(ONE if {0} > ZERO else (-ONE if {0} < ZERO else ZERO))",
    "where": "({1} if {0} else {2})",
}


class Places(Protocol):
    """Where the kernel that the loop is part of has put things."""

    def place_of(self, node: Expr) -> str | None:
        """Return where a stored node is."""

    def offset_of(self, node: Expr) -> str:
        """Return where a number or selection is."""

    def new_parameter(self, value: int) -> str:
        """Return a parameter for a loop's body."""


class LoopBody:
    """The statements of one loop over the elements; ``model`` is the expression of the model in question."""

    def __init__(self, writer: Places, model: str | None) -> None:
        self.outer: list[str] = []
        self.inner: list[str] = []
        self._writer = writer
        self._model = model
        self._names: dict[tuple[str, str | None], str] = {}

    def value(self, node: Expr) -> str:
        """Return the variable that holds a node for element ``j``, writing what computes it first."""
        pending = [(node, self._model, False)]
        while pending:
            current, model, entered = pending.pop()
            key = (current.key, model if current.models is not None else None)
            if key in self._names:
                continue
            parts = self._parts(current, model)
            if entered or not parts:
                self._names[key] = self._emit(current, model)
            else:
                pending.append((current, model, True))
                pending.extend((part, m, False) for part, m in reversed(parts))
        return self._names[node.key, self._model if node.models is not None else None]

    def _parts(self, node: Expr, model: str | None) -> list[tuple[Expr, str | None]]:
        if self._writer.place_of(node) is not None or node.sort not in PER_ELEMENT or node.op in ("input", "stack"):
            return []
        if node.op == "pick":
            return [(node.args[0], str(node.attributes[0]))]
        return [(a, model) for a in node.args]

    def _emit(self, node: Expr, model: str | None) -> str:
        name = f"t{len(self._names)}"
        place = self._writer.place_of(node)
        which = f" + {model}" if node.models is not None else ""
        if node.sort not in PER_ELEMENT:
            return self._emit_number(node, which, name)
        if place is not None:
            text = self._row(f"s[{place}{which}]", name)
        elif node.op == "input":
            text = self._row(f"x[{self._writer.new_parameter(int(node.attributes[0] or 0))}]", name)
        elif node.op == "stack":
            text = self._row(f"x[{self._writer.new_parameter(first_of_run(node) or 0)}{which}]", name)
        elif node.op == "pick":
            return self._names[node.args[0].key, str(node.attributes[0])]
        elif node.op == "selected":
            text = self._selected(node, model, name)
        else:
            text = INFIX[node.op].format(*(self._name(a, model) for a in node.args))
        self.inner.append(f"{name} = {text}")
        return name

    def _emit_number(self, node: Expr, which: str, name: str) -> str:
        if node.sort is Sort.SELECTION:
            return ""
        offset = self._writer.offset_of(node)
        if node.along is None:
            text = f"numbers[{offset}{which}]"
        elif node.along == "row":
            text = f"rows[{offset}{which}, row]"
        else:
            self.inner.append(f"{name} = {self._row(f'columns[{offset}{which}]', name)}")
            return name
        self.outer.append(f"{name} = {text}" + (" != ZERO" if node.sort is Sort.CONDITION else ""))
        return name

    def _row(self, row: str, name: str) -> str:
        """Take a row out of its array before the loop; return the element of it."""
        self.outer.append(f"r{name} = {row}")
        return f"r{name}[j]"

    def _selected(self, node: Expr, model: str | None, name: str) -> str:
        operand, selection = node.args
        place = self._writer.place_of(operand)
        of_operand = f" + {model}" if operand.models is not None else ""
        of_selection = f" + {model}" if selection.models is not None else ""
        offset = self._writer.offset_of(selection)
        at = "row" if selection.along == "row" else "0"
        key = f"key_of({self._row(f's[{place}{of_operand}]', name)})"
        self.outer.append(f"th{name} = thresholds[{offset}{of_selection}, {at}]")
        first = "0" if selection.along == "row" else "start"
        self.outer.append(f"cut{name} = np.int32(min(max(cuts[{offset}{of_selection}, {at}] - {first}, 0), n))")
        return f"is_selected({key}, th{name}, np.int32(j), cut{name})"

    def _name(self, node: Expr, model: str | None) -> str:
        return self._names[node.key, model if node.models is not None else None]


def first_of_run(node: Expr) -> int | None:
    """Return the first input of a stack of consecutive inputs, ``None`` for any other stack."""
    numbers = [int(a.attributes[0] or 0) if a.op == "input" else -1 for a in node.args]
    return numbers[0] if numbers[0] >= 0 and numbers == list(range(numbers[0], numbers[0] + len(numbers))) else None
