"""The reading of an expression on symbols: as algebra over named models.

Linear parts collapse to one coefficient per model (``2·Instruct − 1·Base``); everything else prints as it is written in
the method, with shared parts named once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from smelt.algebra.expressions import Expr, Sort, constant, input_tensor, slot, walk
from smelt.algebra.numbers import numbers_in, solve
from smelt.algebra.printing import SIGNS, constant_value, print_number, print_parts
from smelt.algebra.rewriting import rewrite
from smelt.algebra.settling import ARITHMETIC, fold
from smelt.errors import SmeltError

Coefficients = dict[int, float]
NOTHING = 1e-9  # of factors: what rounding leaves of 0
Slots = Sequence[float | str]  # the settings; as text those that are no one number


def coefficients(root: Expr, slots: Slots) -> Coefficients | None:
    """Return the factor of each input, where the output is a linear combination whose factors the settings decide.

    Returns:
        input number → factor, in order of first use; ``None`` when the output is not linear in that sense.
    """
    if root.depth:
        return None
    values = _solve_known(numbers_in([root]), slots)
    found: dict[str, list[Coefficients]] = {}
    for node in walk(root):
        if node.sort is Sort.TENSOR:
            linear = _linear(node, found, values)
            if linear is None:
                return None
            found[node.key] = linear
    per_model = found.get(root.key, [])
    return per_model[0] if len(per_model) == 1 else None


def describe(root: Expr, names: Sequence[str], slots: Slots) -> str:
    """Return the formula of ``root`` on one line; parts that occur more than once are named once, at the end."""
    body, *parts = describe_parts(root, names, slots)
    return f"{body}, with {'; '.join(parts)}" if parts else body


def describe_parts(root: Expr, names: Sequence[str], slots: Slots) -> list[str]:
    """Return the formula of ``root``, then a line ``u = …`` for each part that occurs more than once.

    Args:
        root: an output's expression.
        names: what the inputs are called.
        slots: the settings; their names instead of their values give the formula of a method.
    """
    factors = coefficients(root, slots)
    if factors is not None:
        return [combination(factors, names)]
    return print_parts(_simplified(_with_sums_collapsed(root, slots), slots), names, slots)


def combination(factors: Coefficients, names: Sequence[str]) -> str:
    """Return ``2·Instruct − 1·Base`` for factors by input; what cancelled is left out, unless everything did."""
    shown = {i: f for i, f in factors.items() if f} or factors
    return join_terms([(print_number(factor), names[index]) for index, factor in shown.items()])


def join_terms(terms: Sequence[tuple[str, str]]) -> str:
    """Return the sum of some names, each with its factor; one that stands alone needs no factor of 1."""
    if len(terms) == 1 and terms[0][0] in ("1", "−1"):
        return "".join(terms[0]).replace("1", "", 1)
    return " + ".join(f"{factor}·{name}" for factor, name in terms).replace("+ −", "− ") or "0"


def _solve_known(numbers: Sequence[Expr], slots: Slots) -> dict[str, object]:
    """Return the values of the numbers that the settings decide, not the weights, nor a size that only a tensor has."""
    given = [0.0 if isinstance(s, str) else s for s in slots]
    values: dict[str, object] = {}
    for number in numbers:
        if number.sort is Sort.NUMBER and not any(_is_named(node, slots) for node in walk(number)):
            try:
                value = solve([number], given, {}, {})[number.key]
            except (LookupError, SmeltError):
                continue
            if np.isfinite(value).all():
                values[number.key] = value
    return values


def _is_named(node: Expr, slots: Slots) -> bool:
    """Say whether a node is a setting that is known by its name only."""
    first = int(node.attributes[0] or 0) if node.op in ("slot", "slots") else len(slots)
    return any(isinstance(s, str) for s in slots[first : first + (node.models or 1)])


def _with_sums_collapsed(root: Expr, slots: Slots) -> Expr:
    """Return ``root`` with every model that is a linear combination written as one: what an earlier document made.

    ``Σ([0.5, 0.5]·[A, B]) / 1`` within something that is not linear becomes ``0.5·A + 0.5·B``. A sum of differences, of
    which the factors sum to 0, stays as the method has it.
    """
    values = _solve_known(numbers_in([root]), slots)
    found: dict[str, list[Coefficients]] = {}
    sums: set[str] = set()

    def change(node: Expr) -> Expr:
        linear = _linear(node, found, values) if node.sort is Sort.TENSOR else None
        if linear is None:
            return node
        if node.op == "sum_models" or any(a.key in sums for a in node.args):
            sums.add(node.key)
        if node.key in sums and node.models is None and abs(math.fsum(linear[0].values())) > NOTHING:
            node = _write_sum(linear[0])
            sums.add(node.key)
        found[node.key] = linear
        return node

    return rewrite(root, change)


def _write_sum(factors: Coefficients) -> Expr:
    """Return the expression of a linear combination, of which a factor at least is not 0."""
    total: Expr | None = None
    for index, factor in factors.items():
        if factor:
            term = input_tensor(index) if abs(factor) == 1.0 else abs(factor) * input_tensor(index)
            if total is None:
                total = -term if factor < 0 else term
            else:
                total = total - term if factor < 0 else total + term
    assert total is not None
    return total


def _linear(
    node: Expr, found: Mapping[str, list[Coefficients]], values: Mapping[str, object]
) -> list[Coefficients] | None:
    """Return the coefficients along the model axis (one entry without one), or ``None``."""
    if node.op == "input":
        return [{int(node.attributes[0] or 0): 1.0}]
    if any(a.sort is Sort.TENSOR and a.key not in found for a in node.args):
        return None
    below = [found.get(a.key, []) for a in node.args]
    if node.op == "stack":
        return [part[0] for part in below]
    if node.op == "sum_models":
        return [_added(below[0])]
    if node.op in ("add", "subtract") and all(below):
        sign = 1.0 if node.op == "add" else -1.0
        left, right = below
        length = max(len(left), len(right))
        flipped = [{i: sign * c for i, c in part.items()} for part in right]
        return [_added([a, b]) for a, b in zip(_spread(left, length), _spread(flipped, length), strict=True)]
    if node.op in ("multiply", "divide"):
        return _scale(node, below, values)
    return None


def _scale(node: Expr, below: list[list[Coefficients]], values: Mapping[str, object]) -> list[Coefficients] | None:
    a, b = node.args
    number, parts = (b, below[0]) if b.sort is Sort.NUMBER else (a, below[1])
    if number.sort is not Sort.NUMBER or not parts or (node.op == "divide" and number is a):
        return None
    value = values.get(number.key)
    if value is None:
        return None
    factors = value.tolist() if hasattr(value, "tolist") else value
    scales = list(factors) if isinstance(factors, list) else [float(str(factors))]
    if node.op == "divide" and 0.0 in scales:
        return None
    length = max(len(parts), len(scales))
    powers = [1.0 / s if node.op == "divide" else s for s in _spread(scales, length)]
    return [{i: c * s for i, c in part.items()} for part, s in zip(_spread(parts, length), powers, strict=True)]


def _spread(parts: list[object] | list[Coefficients] | list[float], length: int) -> list:  # type: ignore[type-arg]
    return list(parts) * length if len(parts) == 1 else list(parts)


def _added(parts: Sequence[Coefficients]) -> Coefficients:
    total: Coefficients = {}
    for part in parts:
        for index, factor in part.items():
            before = total.get(index, 0.0)
            after = before + factor
            # 0.3 − (0.1 + 0.2) has cancelled, whatever the last bit says.
            total[index] = after if abs(after) > 1e-15 * (abs(before) + abs(factor)) else 0.0
    return total


def _simplified(root: Expr, slots: Slots) -> Expr:
    """Return ``root`` for a reader: settings that are known in place, factors of 1 and guards that guard twice gone."""

    def change(node: Expr) -> Expr:
        if node.op in ("slot", "slots"):
            first = int(node.attributes[0] or 0)
            chosen = [s for s in slots[first : first + (node.models or 1)] if not isinstance(s, str)]
            return constant(chosen[0]) if chosen and all(c == chosen[0] for c in chosen) else node
        if node.op == "pick":
            return _picked(node, 8)
        if node.op == "where":
            condition, chosen_part, other = node.args
            if condition.op == "constant":
                return chosen_part if constant_value(condition) else other
            args = (condition, _given(condition, True, chosen_part, 3), _given(condition, False, other, 3))
            return replace(node, args=args)
        if node.op in ("sum_models", "max_models") and constant_value(node.args[0]) == 0.0:
            return node.args[0]
        if node.op == "nonzero" or (node.op == "floor" and node.args[0].op == "floor"):
            return node.args[0]
        return fold(node) if node.op in ARITHMETIC or node.op in SIGNS else node

    return rewrite(root, change)


def _picked(node: Expr, levels: int) -> Expr:
    """Return one model of an operation as the operation on one model of its parts, some levels deep."""
    (whole,), model = node.args, int(node.attributes[0] or 0)
    if whole.op == "slots":
        return slot(int(whole.attributes[0] or 0) + model)
    if whole.op == "stack":
        return whole.args[model]
    if whole.models is None or whole.op not in ARITHMETIC or not levels:
        return whole if whole.models is None else node
    args = tuple(_picked(replace(node, args=(a,), sort=a.sort), levels - 1) for a in whole.args)
    return replace(whole, args=args, models=None)


def _given(condition: Expr, holds: bool, node: Expr, levels: int) -> Expr:
    """Return ``node`` for the case that ``condition`` holds, or does not, looked through some levels deep."""
    if node.op == "where" and node.args[0] == condition:
        return node.args[1 if holds else 2]
    if not levels or node.op not in ARITHMETIC:
        return node
    return replace(node, args=tuple(_given(condition, holds, a, levels - 1) for a in node.args))
