"""What kind of merge a method is, read from its formula: for notes that hold of a kind, one's own methods included."""

from __future__ import annotations

from functools import cache

from smelt.algebra.catalogue import trace_defaults
from smelt.algebra.declare import Method
from smelt.algebra.expressions import walk
from smelt.algebra.printing import agreement
from smelt.algebra.settling import LARGE, settle
from smelt.explanation.expectation import derive
from smelt.explanation.linear_reading import Binding
from smelt.explanation.outcomes import UnderivableError

WEIGHTS = (0.5, 0.25)
FULL = {"density": 1.0, "lambda": 1.0}  # settings at which all of each difference is there


@cache
def is_sum(method: Method) -> bool:
    """Say whether a method is linear in its models, each with its weight, where nothing is dropped."""
    if "weight" not in method.setting:
        return False
    template, inputs, names = trace_defaults(method)
    weights = iter(WEIGHTS)
    known = {setting.name: setting.default for setting in method.settings} | FULL
    plain = [name.rstrip("₁₂") for name in names]
    slots = [next(weights) if name == "weight" else float(known[name]) for name in plain]
    try:
        found = derive(settle(template.root, [slots]), Binding(slots, (1, 2), LARGE, len(inputs)))
    except UnderivableError:
        return False
    return found.is_certain and not found.assumes_agreement


@cache
def adds(method: Method) -> bool:
    """Say whether a method adds up differences from a base, each with its weight, where nothing is dropped."""
    return method.takes_base and is_sum(method)


@cache
def elects(method: Method) -> bool:
    """Say whether a method elects a sign per entry before it adds up what agrees with it."""
    nodes = walk(trace_defaults(method)[0].root)
    return "weight" in method.setting and any(node.op == "logical_or" and agreement(node) for node in nodes)


@cache
def drops_evenly(method: Method) -> bool:
    """Say whether a method drops entries at random, each with the same probability."""
    return method.random and not any(node.op == "rank" for node in walk(trace_defaults(method)[0].root))
