"""What kind of merge a method is, read from its formula: for notes that hold of a kind, one's own methods included."""

from __future__ import annotations

from functools import cache

import numpy as np

from smelt.algebra.catalogue import trace_defaults
from smelt.algebra.declare import Method
from smelt.algebra.expressions import Expr, Sort, walk
from smelt.algebra.printing import agreement
from smelt.algebra.settling import LARGE, settle
from smelt.explanation.expectation import Moments, derive
from smelt.explanation.linear_reading import Binding

WEIGHTS = (0.5, 0.25)
FULL = {"density": 1.0, "lambda": 1.0}  # settings at which all of each difference is there


@cache
def is_sum(method: Method) -> bool:
    """Say whether a method is linear in its models, with factors as their weights, where nothing is dropped."""
    found = _read(method)
    if found is None or not found.is_certain or found.assumes_agreement:
        return False
    factors = found.mean[len(found.mean) - len(WEIGHTS) :]
    scale = 1.0 / sum(WEIGHTS) if _normalizes(method) else 1.0
    return bool(np.allclose(factors, scale * np.array(WEIGHTS)))


@cache
def adds(method: Method) -> bool:
    """Say whether a method adds up differences from a base, each with its weight, where nothing is dropped."""
    return method.takes_base and is_sum(method)


@cache
def elects(method: Method) -> bool:
    """Say whether a method elects a sign per entry before it adds up the differences that agree with it."""
    return method.takes_base and any(node.op == "logical_or" and agreement(node) for node in _nodes(method))


@cache
def drops_evenly(method: Method) -> bool:
    """Say whether a method drops entries at random, with a probability that does not hang on the weights."""
    chances = [node.args[1] for node in _nodes(method) if node.op == "less" and node.args[0].op == "uniform"]
    return bool(chances) and all(chance.sort is Sort.NUMBER and chance.depth == 0 for chance in chances)


def _normalizes(method: Method) -> bool:
    given = method.setting.get("normalize")
    return given is not None and given.default is True


def _nodes(method: Method) -> list[Expr]:
    """Return what a method with weights is made of; nothing where it cannot be traced on settings that nobody chose."""
    if "weight" not in method.setting:
        return []
    try:
        return walk(trace_defaults(method)[0].root)
    except Exception:  # a method of somebody's own may need more models, or other settings
        return []


def _read(method: Method) -> Moments | None:
    """Return what a method computes with ``WEIGHTS`` where nothing is dropped; ``None`` where that is not linear."""
    if "weight" not in method.setting:
        return None
    try:
        template, inputs, names = trace_defaults(method)
        weights = iter(WEIGHTS)
        known = {setting.name: setting.default for setting in method.settings} | FULL
        plain = [name.rstrip("₁₂") for name in names]
        slots = [next(weights) if name == "weight" else float(known[name]) for name in plain]
        return derive(settle(template.root, [slots]), Binding(slots, (1, 2), LARGE, len(inputs)))
    except Exception:  # likewise; and what is refused is not linear
        return None
