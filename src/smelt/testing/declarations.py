"""Checks of what a method says about itself: its declaration, the bounds of its settings, its documentation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from smelt.algebra.catalogue import describe_method
from smelt.algebra.declare import Method, Setting, catalogue
from smelt.errors import InputError
from smelt.recipes.build import KEYWORDS
from smelt.recipes.reading import read
from smelt.testing.families import draw_family
from smelt.testing.properties import applies
from smelt.testing.variants import as_method, variants_of

NO_CHOICE = "no-such-choice"


def check_declaration(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check that the declaration fits recipes: registered, sound names, a possible number of models, apt properties.

    Args:
        method: the method or its name.
        settings: values that all variants share.

    Raises:
        AssertionError: with what does not fit.
    """
    method = as_method(method)
    _hold(catalogue().get(method.name) is method, method, "it is not what the catalogue has under its name")
    _hold(re.fullmatch("[a-z][a-z0-9_]*", method.name), method, "a name is of small letters, digits and '_'")
    fewest, most = method.models
    _hold(fewest >= 1 and (most is None or most >= fewest), method, f"no number of models is in {method.models}")
    for setting in method.settings:
        _hold(setting.name not in KEYWORDS, method, f"'{setting.name}' is a keyword of all methods, and no setting")
    for name in method.holds:
        _hold(applies(method, name), method, f"'{name}' has no meaning for the tensors {method.tensors}")
    for variant in variants_of(method, settings):
        variant.merge(*_one_tensor(variant.count, variant.has_base))


def check_bounds(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check that ``smelt.read`` takes the ends of every setting's range, and refuses what lies outside by name.

    Args:
        method: the method or its name.
        settings: values that the recipes share.

    Raises:
        AssertionError: with the setting and the value.
    """
    method = as_method(method)
    variant = variants_of(method, settings)[0]
    shared = {n: v[0] if isinstance(v, list) else v for n, v in variant.settings.items()}
    for setting in method.settings:
        for value in _allowed(setting):
            problem = _refusal(method, variant.count, shared | {setting.name: value})
            _hold(
                problem is None, method, f"'{setting.name}' may be {setting.range}, but {value} is refused: {problem}"
            )
        for value in _refused(setting):
            problem = _refusal(method, variant.count, shared | {setting.name: value})
            _hold(problem is not None, method, f"'{setting.name}' must be {setting.range}, but {value} is taken")
            told = f"'{setting.name}'" in str(problem) and setting.range in str(problem)
            _hold(told, method, f"the refusal of {value} for '{setting.name}' does not tell its range: {problem}")


def check_documentation(method: Method | str, settings: Mapping[str, Any] | None = None) -> None:
    """Check that title, paper, a plain first line, "When to use it:" and every setting's meaning are there.

    Args:
        method: the method or its name.
        settings: not used; all checks are called alike.

    Raises:
        AssertionError: with what is missing.
    """
    method = as_method(method)
    _hold(method.title.strip() and method.paper.strip(), method, "it needs a title and a paper")
    first, _, rest = method.doc.partition("\n")
    _hold(first.strip() and not rest.partition("\n")[0].strip(), method, "its docstring must open with one plain line")
    _hold("\n\nWhen to use it: " in method.doc, method, "its docstring has no paragraph 'When to use it: …'")
    for setting in method.settings:
        _hold(setting.doc, method, f"its docstring says nothing about '{setting.name}' under 'Args:'")
    known = {setting.name for setting in method.settings}
    described = method.doc.partition("\nArgs:\n")[2].partition("\n\n")[0]
    for name in re.findall(r"^    (\w+):", described, re.MULTILINE):
        _hold(name in known, method, f"its docstring describes '{name}', which is no setting")
    try:
        text = describe_method(method)
    except Exception as error:
        raise AssertionError(f"{method.name}: it cannot be described: {type(error).__name__}: {error}") from error
    for part in (method.title, method.paper, *(f"{setting.name}: {setting.range}" for setting in method.settings)):
        _hold(part in text, method, f"`smelt methods {method.name}` does not show '{part}'")


def _one_tensor(count: int, has_base: bool) -> tuple[Any, Any]:
    base, models = draw_family(count, {"vector": (7,)}, np.float32)
    return base if has_base else None, models


def _allowed(setting: Setting) -> Iterator[Any]:
    """Yield values at the ends of a setting's range, or all of it."""
    yield from setting.choices
    if setting.type is bool and not setting.choices:
        yield from (False, True)
    low, high = setting.bounds.low, setting.bounds.high
    if setting.type is int and not setting.choices:
        yield int(high) if math.isfinite(high) else int(max(low, 0)) + 2
        yield int(low) + setting.bounds.open_low if math.isfinite(low) else -2
    if setting.type is float:
        yield high if math.isfinite(high) else max(low, 0.0) + 2.0
        yield math.nextafter(low, math.inf) if setting.bounds.open_low else low if math.isfinite(low) else -2.0


def _refused(setting: Setting) -> Iterator[Any]:
    """Yield values outside a setting's range, text among them."""
    yield NO_CHOICE
    low, high = setting.bounds.low, setting.bounds.high
    if setting.type is float:
        yield from (math.nan, math.inf, -math.inf)
        if math.isfinite(low):
            yield from (low - 1.0, low if setting.bounds.open_low else math.nextafter(low, -math.inf))
        if math.isfinite(high):
            yield from (math.nextafter(high, math.inf), high + 1.0)
    if setting.type is int and not setting.choices:
        yield 0.5
        if math.isfinite(low):
            yield int(low) - (not setting.bounds.open_low)
        if math.isfinite(high):
            yield int(high) + 1
    if setting.type is bool and not setting.choices:
        yield 2


def _refusal(method: Method, count: int, settings: Mapping[str, Any]) -> str | None:
    """Return what ``read`` says against a recipe with these settings, ``None`` when it takes them."""
    models = ["base", *(f"model-{place}" for place in range(1, count))] if method.tensors == ("a", "b") else None
    listed = "".join(f"  - model: {name}\n" for name in models or [f"model-{place}" for place in range(count)])
    base = "base_model: base\n" if method.needs_base else ""
    given = "".join(f"  {name}: {_spell(value)}\n" for name, value in settings.items())
    parameters = f"parameters:\n{given}" if given else ""
    try:
        read(f"merge_method: {method.name}\n{base}models:\n{listed}{parameters}")
    except InputError as error:
        return str(error)
    return None


def _spell(value: Any) -> str:
    """Return a value as YAML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return str(value)


def _hold(condition: Any, method: Method, words: str) -> None:
    if not condition:
        raise AssertionError(f"{method.name}: {words}")
