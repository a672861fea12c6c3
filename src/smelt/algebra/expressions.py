"""The nodes of tensor algebra: what a traced merge method builds, and what formulas, plans and interpreters read.

A node is a value: frozen, and equal to any node of the same content. It has a *sort*:

``TENSOR``     one float per element (float32 while it runs; float64 where an input is float64)
``MASK``       one bool per element
``NUMBER``     one float64 for the whole tensor
``CONDITION``  one bool for the whole tensor
``MATRIX``     models × models float64 numbers (a Gram matrix)
``SELECTION``  the answer (threshold, cut) to "which are the k largest"

``models`` is the length of its leading model axis, or ``None`` without one. ``along`` says that a number is one per
``row`` or ``column`` of the tensor (rows × last dimension), and not one for the whole. ``degree`` is the sum of the
coefficients of the models in it where that is known: 1 makes it a *weight*, 0 a *delta*.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Union


class Sort(Enum):
    """What a node stands for."""

    TENSOR = "tensor"
    MASK = "mask"
    NUMBER = "number"
    CONDITION = "condition"
    MATRIX = "matrix"
    SELECTION = "selection"


Attribute = int | float | str | None
Operand = Union["Expr", float, int]

# Nodes that ask something of a whole tensor: each needs the pass before it.
QUESTIONS = ("total", "dot", "gram", "largest", "select")

PER_ELEMENT = (Sort.TENSOR, Sort.MASK)


@dataclass(frozen=True, eq=False)
class Expr:
    """One node. Build it with the functions of ``smelt.algebra.vocabulary`` and the operators + − × ÷ and < ≤ > ≥."""

    op: str
    args: tuple[Expr, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    sort: Sort = Sort.TENSOR
    models: int | None = None
    degree: float | None = None
    along: str | None = None
    key: str = field(init=False)  # the content key: equal for equal nodes, on every machine
    depth: int = field(init=False)  # how many passes over the tensor must be complete before it can be computed

    def __post_init__(self) -> None:
        # Both are computed at once, so that no walk over a long chain of nodes recurses.
        content = [self.op, self.attributes, self.sort.value, self.models, [a.key for a in self.args], self.along]
        text = json.dumps(content if self.along else content[:-1])
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest())
        below = max((a.depth for a in self.args), default=0)
        object.__setattr__(self, "depth", below + (self.op in QUESTIONS))

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Expr) and self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __bool__(self) -> bool:
        raise TypeError(
            "a traced value has no truth value: use where(condition, a, b) on tensors and numbers, "
            "a @scalar_function for loops and branches on numbers"
        )

    def __repr__(self) -> str:
        inside = [repr(a) for a in self.args] + [str(a) for a in self.attributes]
        return f"{self.op}({', '.join(inside)})"

    def __add__(self, other: Operand) -> Expr:
        return elementwise("add", self, other)

    def __radd__(self, other: Operand) -> Expr:
        return elementwise("add", other, self)

    def __sub__(self, other: Operand) -> Expr:
        return elementwise("subtract", self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return elementwise("subtract", other, self)

    def __mul__(self, other: Operand) -> Expr:
        return elementwise("multiply", self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return elementwise("multiply", other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return elementwise("divide", self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return elementwise("divide", other, self)

    def __neg__(self) -> Expr:
        return elementwise("multiply", -1.0, self)

    def __lt__(self, other: Operand) -> Expr:
        return compare("less", self, other)

    def __le__(self, other: Operand) -> Expr:
        return compare("less_equal", self, other)

    def __gt__(self, other: Operand) -> Expr:
        return compare("greater", self, other)

    def __ge__(self, other: Operand) -> Expr:
        return compare("greater_equal", self, other)

    def __and__(self, other: Expr) -> Expr:
        return compare("logical_and", self, other)

    def __or__(self, other: Expr) -> Expr:
        return compare("logical_or", self, other)

    def __getitem__(self, model: int) -> Expr:
        """One model of a node with a model axis (0 is the first listed)."""
        if self.models is None or not 0 <= model < self.models:
            raise IndexError(f"model {model} of {self.models or 'a node without a model axis'}")
        if self.sort in (Sort.MATRIX, Sort.SELECTION):
            raise TypeError(f"no single model can be taken from a {self.sort.value}")
        if self.op == "stack":
            return self.args[model]
        return Expr("pick", (self,), (model,), self.sort, None, self.degree, self.along)

    def __iter__(self) -> Iterator[Expr]:
        """The models one by one, for methods in which the order of the models is the algorithm."""
        if self.models is None:
            raise TypeError("only a node with a model axis can be iterated over")
        return (self[i] for i in range(self.models))

    def __len__(self) -> int:
        if self.models is None:
            raise TypeError("a node without a model axis has no length")
        return self.models


def input_tensor(index: int) -> Expr:
    """Return the tensor that a binding lists at ``index``."""
    return Expr("input", (), (index,), degree=1.0)


def stack(tensors: Sequence[Expr]) -> Expr:
    """Return the tensors as one tensor with a leading model axis."""
    degrees = {t.degree for t in tensors}
    degree = tensors[0].degree if len(degrees) == 1 else None
    return Expr("stack", tuple(tensors), (), Sort.TENSOR, len(tensors), degree)


def slot(index: int) -> Expr:
    """Return the setting that a binding lists at ``index``: a number that differs between uses of one template."""
    return Expr("slot", (), (index,), Sort.NUMBER)


def slots(start: int, models: int) -> Expr:
    """Return one slot per model, from ``start`` on, as a vector along the model axis."""
    return Expr("slots", (), (start,), Sort.NUMBER, models)


def constant(value: float) -> Expr:
    """Return a number that is part of the template."""
    return Expr("constant", (), (float(value),), Sort.NUMBER)


def as_expr(value: Operand) -> Expr:
    """Return ``value`` as a node."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a tensor or a number, not {value!r}")
    return constant(value)


def join_models(*nodes: Expr) -> int | None:
    """Return the model axis that the nodes share.

    Raises:
        TypeError: when two of them have model axes of different lengths.
    """
    lengths = [n.models for n in nodes if n.models is not None]
    if any(length != lengths[0] for length in lengths):
        raise TypeError(f"model axes of different lengths meet: {lengths}")
    return lengths[0] if lengths else None


def join_along(*nodes: Expr) -> str | None:
    """Return whether numbers that meet are one per row, one per column, or (``None``) one for the tensor.

    Raises:
        TypeError: when numbers per row meet numbers per column.
    """
    found = list(dict.fromkeys(n.along for n in nodes if n.along is not None))
    if len(found) > 1:
        raise TypeError("numbers per row and numbers per column cannot be combined")
    return found[0] if found else None


def elementwise(op: str, *operands: Operand) -> Expr:
    """Return an arithmetic node; numbers broadcast over elements, and both over the model axis.

    Raises:
        TypeError: when an operand is neither a tensor nor a number.
    """
    args = tuple(as_expr(o) for o in operands)
    for arg in args:
        if arg.sort not in (Sort.TENSOR, Sort.NUMBER):
            raise TypeError(f"{op} needs tensors or numbers, not a {arg.sort.value}")
    sort = Sort.TENSOR if any(a.sort is Sort.TENSOR for a in args) else Sort.NUMBER
    if sort is Sort.NUMBER:
        return Expr(op, args, (), sort, join_models(*args), None, join_along(*args))
    return Expr(op, args, (), sort, join_models(*args), _degree(op, args))


def compare(op: str, a: Operand, b: Operand) -> Expr:
    """Return a mask (where a tensor takes part) or a condition on numbers."""
    left, right = as_expr(a), as_expr(b)
    logical = op in ("logical_and", "logical_or")
    allowed = (Sort.MASK, Sort.CONDITION) if logical else (Sort.TENSOR, Sort.NUMBER)
    for arg in (left, right):
        if arg.sort not in allowed:
            raise TypeError(f"{op} cannot take a {arg.sort.value}")
    if any(x.sort in PER_ELEMENT for x in (left, right)):
        return Expr(op, (left, right), (), Sort.MASK, join_models(left, right))
    return Expr(op, (left, right), (), Sort.CONDITION, join_models(left, right), None, join_along(left, right))


def _degree(op: str, args: tuple[Expr, ...]) -> float | None:
    a, b = (args[0], args[-1])
    if op in ("add", "subtract"):
        one, two = _own_degree(a), _own_degree(b)
        if one is None or two is None:
            return None
        return one + two if op == "add" else one - two
    if op == "multiply" and Sort.NUMBER in (a.sort, b.sort):
        number, tensor = (a, b) if a.sort is Sort.NUMBER else (b, a)
        return _scaled(tensor.degree, number)
    if op == "divide" and b.sort is Sort.NUMBER:
        return 0.0 if a.degree == 0 else None
    return 0.0 if op == "multiply" and a.degree == 0 and b.degree == 0 else None


def _own_degree(node: Expr) -> float | None:
    zero = node.op == "constant" and node.attributes == (0.0,)
    return 0.0 if zero else node.degree


def _scaled(degree: float | None, number: Expr) -> float | None:
    if degree == 0:
        return 0.0
    if degree is None or number.op != "constant":
        return None
    value = number.attributes[0]
    assert isinstance(value, float)
    return degree * value


def arguments(node: Expr) -> Sequence[Expr]:
    """Return what a node is computed from."""
    return node.args


def walk(*roots: Expr, below: Callable[[Expr], Sequence[Expr]] = arguments) -> list[Expr]:
    """Return every node under ``roots`` once, arguments before the nodes that use them.

    Args:
        roots: where to begin.
        below: which nodes to go on to from a node, its arguments by default.
    """
    seen: dict[str, Expr] = {}
    pending = [(root, False) for root in reversed(roots)]
    while pending:
        node, entered = pending.pop()
        if node.key in seen:
            continue
        if entered:
            seen[node.key] = node
        else:
            pending.append((node, True))
            pending.extend((a, False) for a in reversed(below(node)))
    return list(seen.values())
