"""The words in which merge methods are written. Closed and small: a method that needs another word extends the algebra.

Shapes: a *tensor* has one value per element of the output, with or without a leading model axis; a *number* is one
float64 for the whole tensor, or one per model. Numbers and tensors mix freely: a number meets a tensor by one rounding
to the tensor's type, and broadcasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from smelt.algebra.expressions import (
    PER_ELEMENT,
    Expr,
    Operand,
    Sort,
    as_expr,
    compare,
    elementwise,
    join_along,
    join_models,
)
from smelt.algebra.scalars import scalar_function

__all__ = [
    "Noise",
    "absolute",
    "arccos",
    "dot",
    "equal",
    "exponential",
    "floor",
    "gram",
    "keep_largest",
    "kth_largest",
    "largest",
    "logarithm",
    "magnitude_at",
    "max_models",
    "maximum",
    "minimum",
    "nonzero",
    "norm",
    "rank",
    "ratio",
    "same_sign",
    "scalar_function",
    "selected",
    "sign",
    "sine",
    "size",
    "square_root",
    "sum_models",
    "total",
    "where",
]

# Over what a question is asked. A row is a run along the last dimension; vectors and scalars are one row.
Scope = Literal["row", "column", "tensor", "model"]
SUMMED: tuple[Scope, ...] = ("row", "column", "tensor")
RANKED: tuple[Scope, ...] = ("row", "tensor", "model")


def absolute(x: Operand) -> Expr:
    """Return |x|."""
    return elementwise("absolute", x)


def sign(x: Operand) -> Expr:
    """Return 1, −1 or 0 as x is above, below or equal to 0; NaN gives 0."""
    return elementwise("sign", x)


def square_root(x: Operand) -> Expr:
    """Return √x, NaN for x < 0."""
    return elementwise("square_root", x)


def exponential(x: Operand) -> Expr:
    """Return eˣ, computed in float64."""
    return elementwise("exponential", x)


def logarithm(x: Operand) -> Expr:
    """Return the natural logarithm, computed in float64; NaN for x < 0."""
    return elementwise("logarithm", x)


def sine(x: Operand) -> Expr:
    """Return sin x, computed in float64; NaN for |x| > 2²⁰."""
    return elementwise("sine", x)


def arccos(x: Operand) -> Expr:
    """Return the angle in [0, π] whose cosine is x, computed in float64; NaN for |x| > 1."""
    return elementwise("arccos", x)


def minimum(x: Operand, y: Operand) -> Expr:
    """Return ``where(x < y, x, y)``."""
    return elementwise("minimum", x, y)


def maximum(x: Operand, y: Operand) -> Expr:
    """Return ``where(x > y, x, y)``."""
    return elementwise("maximum", x, y)


def floor(x: Expr) -> Expr:
    """Return the largest whole number that is not above the number ``x``."""
    if x.sort is not Sort.NUMBER:
        raise TypeError(f"floor needs a number, not a {x.sort.value}")
    return elementwise("floor", x)


def equal(x: Operand, y: Operand) -> Expr:
    """Return where x = y (``==`` compares nodes, not values)."""
    return compare("equal", x, y)


def where(condition: Expr, x: Operand, y: Operand) -> Expr:
    """Return x where the condition holds, else y."""
    if condition.sort not in (Sort.MASK, Sort.CONDITION):
        raise TypeError(f"where needs a mask or a condition first, not a {condition.sort.value}")
    a, b = as_expr(x), as_expr(y)
    sort = Sort.TENSOR if any(e.sort in PER_ELEMENT for e in (condition, a, b)) else Sort.NUMBER
    degrees = {0.0 if e.op == "constant" and e.attributes == (0.0,) else e.degree for e in (a, b)}
    if sort is Sort.NUMBER:
        return Expr(
            "where", (condition, a, b), (), sort, join_models(condition, a, b), None, join_along(condition, a, b)
        )
    degree = degrees.pop() if len(degrees) == 1 else None
    return Expr("where", (condition, a, b), (), sort, join_models(condition, a, b), degree)


def ratio(x: Operand, y: Operand) -> Expr:
    """Return x / y, and x where y is 0."""
    return elementwise("divide", x, where(equal(y, 0.0), 1.0, y))


def same_sign(x: Expr, y: Expr) -> Expr:
    """Return where x has the sign elected by y: x > 0 and y ≥ 0, or x < 0 and y < 0. A zero x agrees with nothing."""
    return ((x > 0) & (y >= 0)) | ((x < 0) & (y < 0))


def sum_models(x: Expr) -> Expr:
    """Return the sum over the model axis, added in listed order."""
    return _fold_models("sum_models", x)


def max_models(x: Expr) -> Expr:
    """Return the largest over the model axis."""
    return _fold_models("max_models", x)


def total(x: Expr, scope: Scope = "tensor") -> Expr:
    """Return Σ over all elements (or over each row or column), in float64: a number, or one per model."""
    _expect_tensor("total", x)
    return Expr("total", (x,), (), Sort.NUMBER, x.models, None, _along("total", scope, SUMMED))


def dot(x: Expr, y: Expr, scope: Scope = "tensor") -> Expr:
    """Return Σ x·y over all elements (or each row or column), products and sums in float64: one, or one per model."""
    _expect_tensor("dot", x, y)
    first, second = sorted((x, y), key=lambda e: e.key)  # one question, whichever way round it is asked
    return Expr("dot", (first, second), (), Sort.NUMBER, join_models(x, y), None, _along("dot", scope, SUMMED))


def norm(x: Expr, scope: Scope = "tensor") -> Expr:
    """Return the Euclidean norm over all elements, or over each row or column."""
    return square_root(dot(x, x, scope))


def largest(x: Expr, scope: Scope = "tensor") -> Expr:
    """Return the largest element, or that of each row: a number, or one per model."""
    _expect_tensor("largest", x)
    return Expr("largest", (x,), (), Sort.NUMBER, x.models, None, _along("largest", scope, ("row", "tensor")))


def gram(models: Expr, scope: Scope = "tensor") -> Expr:
    """Return the N × N matrix of dot products between the models, for a scalar function to work on."""
    _expect_tensor("gram", models)
    if models.models is None:
        raise TypeError("gram needs a model axis")
    return Expr("gram", (models,), (), Sort.MATRIX, models.models, None, _along("gram", scope, SUMMED))


def size(scope: Scope = "tensor") -> Expr:
    """Return the number of elements of the tensor, or of one row, or of the whole model."""
    _along("size", scope, RANKED)
    return Expr("size", (), () if scope == "tensor" else (scope,), Sort.NUMBER)


def kth_largest(x: Expr, count: Operand, scope: Scope = "tensor") -> Expr:
    """Return which ``count`` (a number, rounded down, or one per model) elements of ``x`` have the largest |x|.

    The answer is exact: of equal magnitudes the ones with the lowest index are kept; NaN ranks above infinity. With a
    ``scope`` the question is asked of each row, or once of all tensors of the model together.
    """
    _expect_tensor("kth_largest", x)
    along = _along("kth_largest", scope, RANKED)
    k = floor(as_expr(count))
    attributes = ("model",) if scope == "model" else ()
    return Expr("select", (x, k), attributes, Sort.SELECTION, join_models(x, k), None, along)


def keep_largest(x: Expr, density: Operand, scope: Scope = "tensor") -> Expr:
    """Return x with only the ⌊density · elements⌋ entries of the largest |x| kept, the others 0 (per model)."""
    return where(selected(x, kth_largest(x, elementwise("multiply", density, size(scope)), scope)), x, 0.0)


def selected(x: Expr, selection: Expr) -> Expr:
    """Return the mask of the elements of ``x`` that ``kth_largest`` selected."""
    return Expr("selected", (x, selection), (), Sort.MASK, join_models(x, selection))


def magnitude_at(selection: Expr) -> Expr:
    """Return the smallest |x| that ``kth_largest`` selected, a number; 0 when that was nothing or the whole tensor."""
    return Expr("magnitude_at", (selection,), (), Sort.NUMBER, selection.models, None, selection.along)


def rank(x: Expr) -> Expr:
    """Return the rank of each |x| within its row, from 0 for the smallest; of equals the lowest index comes first."""
    _expect_tensor("rank", x)
    return Expr("rank", (x,), (), Sort.TENSOR, x.models)


def nonzero(number: Expr, message: str) -> Expr:
    """Return ``number``; planning refuses settings for which it is 0, with ``message``."""
    if number.sort is not Sort.NUMBER:
        raise TypeError("nonzero checks a number")
    return Expr("nonzero", (number,), (message,), Sort.NUMBER, number.models, None, number.along)


@dataclass
class Noise:
    """The ``rng`` of a method: each call draws a fresh field of uniforms, the same one on every machine.

    Args:
        first_key: the position of the first model's stream key in the binding.
    """

    first_key: int = 0
    draws: int = field(default=0, init=False)

    def uniform(self, like: Expr) -> Expr:
        """Return uniforms in [0, 1), independent for every element (and model) of ``like``: multiples of 2⁻²⁴."""
        draw, self.draws = self.draws, self.draws + 1
        return Expr("uniform", (), (self.first_key, draw), Sort.TENSOR, like.models)


def _fold_models(op: str, x: Expr) -> Expr:
    if x.models is None:
        raise TypeError(f"{op} needs a model axis")
    if x.sort not in (Sort.TENSOR, Sort.NUMBER):
        raise TypeError(f"{op} needs tensors or numbers, not a {x.sort.value}")
    degree = 0.0 if x.degree == 0 else None
    return Expr(op, (x,), (), x.sort, None, degree, x.along)


def _along(word: str, scope: Scope, allowed: Sequence[Scope]) -> str | None:
    if scope not in allowed:
        raise TypeError(f"{word} is asked of a {' or '.join(allowed)}, not of a {scope}")
    return scope if scope in ("row", "column") else None


def _expect_tensor(word: str, *nodes: Expr) -> None:
    for node in nodes:
        if node.sort is not Sort.TENSOR:
            raise TypeError(f"{word} needs a tensor, not a {node.sort.value}")
