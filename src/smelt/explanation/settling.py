"""Leaving out of a formula what the settings decide: which way its conditions on numbers go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smelt.algebra.expressions import Expr, Sort, constant
from smelt.algebra.numbers import solve
from smelt.algebra.printing import constant_value
from smelt.algebra.rewriting import rewrite
from smelt.errors import SmeltError

TRUE, FALSE = 1.0, 0.0


def settle(root: Expr, settings: Sequence[Sequence[float]]) -> Expr:
    """Return ``root`` with 1 or 0 for each condition that is the same for several choices of its settings.

    Args:
        root: an output's expression.
        settings: the values of its slots, once for each tensor that the formula is to speak of.
    """

    def change(node: Expr) -> Expr:
        if node.sort is not Sort.CONDITION:
            return node
        known = [constant_value(arg) for arg in node.args]
        if node.op in ("logical_and", "logical_or"):
            neutral, decisive = (TRUE, FALSE) if node.op == "logical_and" else (FALSE, TRUE)
            if decisive in known:
                return constant(decisive)
            if neutral in known:
                return node.args[1 - known.index(neutral)]
            return node
        return _decide(node, settings)

    return rewrite(root, change)


def _decide(node: Expr, settings: Sequence[Sequence[float]]) -> Expr:
    try:
        answers = [np.asarray(solve([node], slots, {}, {})[node.key]) for slots in settings]
    except (LookupError, SmeltError):  # a question, or a size that only a tensor has
        return node
    if all(answer.all() for answer in answers):
        return constant(TRUE)
    return node if any(answer.any() for answer in answers) else constant(FALSE)
