"""Functions of plain floats as words of the algebra: the place for loops and branches on numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

from smelt.algebra.expressions import Attribute, Expr, Operand, Sort, as_expr, join_along, join_models
from smelt.errors import SmeltError

ScalarBody = Callable[..., object]
_scalar_functions: dict[str, ScalarBody] = {}


@overload
def scalar_function(returns: int) -> Callable[[ScalarBody], Callable[..., tuple[Expr, ...]]]: ...
@overload
def scalar_function(returns: Literal["models"]) -> Callable[[ScalarBody], Callable[..., Expr]]: ...
def scalar_function(returns: int | Literal["models"]) -> Callable[[ScalarBody], Callable[..., Any]]:
    """Make a function of plain floats usable on numbers: the place for loops and branches on numbers.

    The decorated function receives Python floats (a list of floats for a per-model number, a list of rows for a Gram
    matrix) and returns that many floats, or one per model with ``returns="models"``. It must be deterministic, and use
    ``smelt.algebra.elementary`` instead of ``math`` for anything but + − × ÷ √.
    """

    def decorate(body: ScalarBody) -> Callable[..., Any]:
        name = f"{body.__module__}:{body.__qualname__}"
        if _scalar_functions.setdefault(name, body).__code__ is not body.__code__:
            raise TypeError(f"two scalar functions are called {name}")

        def on_numbers(*operands: Operand) -> Any:
            args = tuple(as_expr(o) for o in operands)
            if any(a.sort not in (Sort.NUMBER, Sort.MATRIX) for a in args):
                raise TypeError(f"{name} takes numbers, not tensors")
            along = join_along(*args)
            if returns == "models":
                return Expr("call", args, (name, None), Sort.NUMBER, join_models(*args), None, along)
            return tuple(
                Expr("call", args, (name, position), Sort.NUMBER, None, None, along) for position in range(returns)
            )

        on_numbers.__doc__ = body.__doc__
        return on_numbers

    return decorate


def scalar_body(name: Attribute) -> ScalarBody:
    """Return the function of floats that a ``call`` node names."""
    if not isinstance(name, str) or name not in _scalar_functions:
        raise SmeltError(f"the scalar function {name} is not defined in this process")
    return _scalar_functions[name]
