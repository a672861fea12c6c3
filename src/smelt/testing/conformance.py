"""All checks of a method, in one call or as one test each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from smelt.algebra.declare import Method
from smelt.testing.declarations import check_bounds, check_declaration, check_documentation
from smelt.testing.invariance import check_bytes, check_hostile_input
from smelt.testing.properties import (
    check_fixed_point,
    check_listed_base,
    check_model_order,
    check_rotation,
    check_scale,
    check_translation,
)

Check = Callable[[Method | str, Mapping[str, Any] | None], None]

CHECKS: tuple[Check, ...] = (
    check_declaration,
    check_documentation,
    check_bounds,
    check_bytes,
    check_hostile_input,
    check_fixed_point,
    check_model_order,
    check_scale,
    check_translation,
    check_rotation,
    check_listed_base,
)


def check_method(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Run every check of a method.

    Args:
        method: the method or its name.
        settings: values in place of those that are made up from the declaration; a list has one for each model.

    Raises:
        AssertionError: with a sentence that says what failed for which input.
    """
    for check in CHECKS:
        check(method, settings)


class MethodConformance:
    """One test per check, for pytest and its like: a subclass names its method.

    >>> class TestMine(MethodConformance):
    ...     method = "mine"
    """

    method: Method | str
    settings: Mapping[str, Any] | None = None

    def test_declaration(self) -> None:
        """Run ``check_declaration``."""
        check_declaration(self.method, self.settings)

    def test_documentation(self) -> None:
        """Run ``check_documentation``."""
        check_documentation(self.method, self.settings)

    def test_bounds(self) -> None:
        """Run ``check_bounds``."""
        check_bounds(self.method, self.settings)

    def test_bytes(self) -> None:
        """Run ``check_bytes``."""
        check_bytes(self.method, self.settings)

    def test_hostile_input(self) -> None:
        """Run ``check_hostile_input``."""
        check_hostile_input(self.method, self.settings)

    def test_fixed_point(self) -> None:
        """Run ``check_fixed_point``."""
        check_fixed_point(self.method, self.settings)

    def test_model_order(self) -> None:
        """Run ``check_model_order``."""
        check_model_order(self.method, self.settings)

    def test_scale(self) -> None:
        """Run ``check_scale``."""
        check_scale(self.method, self.settings)

    def test_translation(self) -> None:
        """Run ``check_translation``."""
        check_translation(self.method, self.settings)

    def test_rotation(self) -> None:
        """Run ``check_rotation``."""
        check_rotation(self.method, self.settings)

    def test_listed_base(self) -> None:
        """Run ``check_listed_base``."""
        check_listed_base(self.method, self.settings)
