"""The suite that every merge method passes, third-party ones included. Part of the public API; needs no test runner.

In one call, ``check_method("mine")``; or with pytest one test per check:

>>> class TestMine(smelt.testing.MethodConformance):
...     method = "mine"

Everything follows from the method's declaration. The properties that it names in ``holds`` are checked, and a property
that is claimed and false fails; ``suggest_properties`` finds those that it could claim.
"""

from __future__ import annotations

from smelt.testing.conformance import CHECKS, MethodConformance, check_method
from smelt.testing.declarations import check_bounds, check_declaration, check_documentation
from smelt.testing.invariance import check_bytes, check_hostile_input
from smelt.testing.properties import (
    check_fixed_point,
    check_listed_base,
    check_model_order,
    check_rotation,
    check_scale,
    check_translation,
    suggest_properties,
)

__all__ = [
    "CHECKS",
    "MethodConformance",
    "check_bounds",
    "check_bytes",
    "check_declaration",
    "check_documentation",
    "check_fixed_point",
    "check_hostile_input",
    "check_listed_base",
    "check_method",
    "check_model_order",
    "check_rotation",
    "check_scale",
    "check_translation",
    "suggest_properties",
]
