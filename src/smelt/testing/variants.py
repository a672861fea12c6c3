"""The ways in which a method is tried: how many models, with or without a base, with which settings.

They are made from the declaration: required settings get sensible values, float settings are tried at their defaults
and away from them, and booleans and choices in all combinations. Whoever finds that too many fixes some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from typing import Any

from numpy.typing import NDArray

from smelt.algebra.declare import Bounds, Method, Setting, find
from smelt.planning.planner import plan_recipe
from smelt.recipes.build import build_recipe
from smelt.running.runner import Pace, run_plan
from smelt.tensors.checkpoint import Checkpoint

Arrays = dict[str, NDArray[Any]]

# Where a value lies in a bounded range, for one model after the other; and what the default is multiplied by in a
# range without an end. Settings that must fit together do so near the middle, as DELLA's density ± epsilon.
INSIDE = (0.5, 0.6, 0.45)
FACTORS = (0.3, 0.4, 0.35)


@dataclass(frozen=True)
class Variant:
    """One way in which a method is tried.

    Args:
        method: which one.
        settings: by the names that recipes use; a list has a value for each model.
        count: models, the base not counted; 2 for the tensors ``a, b``.
        has_base: whether ``base`` is among the tensors.
    """

    method: Method
    settings: Mapping[str, Any]
    count: int
    has_base: bool

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        models = f"{self.count} model{'s' if self.count > 1 else ''}"
        return f"{self.method.name}({given}) of {'a base and ' if self.has_base else ''}{models}"

    def permuted(self, order: Sequence[int]) -> Variant:
        """Return the same for the models in another order."""
        return replace(self, settings=self._per_model(lambda values: [values[i] for i in order]))

    def with_listed_base(self, place: int) -> Variant:
        """Return the same for one more model at ``place``; its settings are those of the first."""
        longer = self._per_model(lambda values: [*values[:place], values[0], *values[place:]])
        return replace(self, settings=longer, count=self.count + 1)

    def merge(self, base: Arrays | None, models: Sequence[Arrays], pace: Pace | None = None) -> Arrays:
        """Merge arrays by name; a model that is ``base`` itself counts as the listed base.

        Raises:
            AssertionError: when the method refuses.
        """
        opened = [Checkpoint(dict(model)) if model is not base else None for model in models]
        root = Checkpoint(dict(base)) if base is not None else None
        listed = [root if model is None else model for model in opened]
        several = [listed] if "models" in self.method.tensors else listed
        arguments = several if root is None else [root, *several] if self.method.needs_base else [*several, root]
        try:
            plan = plan_recipe(build_recipe(self.method, arguments, self.settings), seed=5)
            merged = run_plan(plan, non_finite="report", pace=pace or Pace(1))
        except Exception as error:
            raise AssertionError(f"{self} failed: {type(error).__name__}: {error}") from error
        assert merged is not None
        return dict(merged)

    def _per_model(self, change: Callable[[list[Any]], list[Any]]) -> dict[str, Any]:
        return {name: change(value) if isinstance(value, list) else value for name, value in self.settings.items()}


def as_method(method: Method | str) -> Method:
    """Return the method, looked up where it is given by name."""
    return find(method) if isinstance(method, str) else method


def variants_of(method: Method | str, settings: Mapping[str, Any] | None = None) -> list[Variant]:
    """Return the variants of a method, the plainest first.

    Args:
        method: the method or its name.
        settings: values that all variants share, by the names of settings or parameters; a list has a value for each
            model, and then fixes their number.
    """
    method = as_method(method)
    names = {setting.parameter: setting.name for setting in method.settings}
    given = {names.get(name, name): value for name, value in (settings or {}).items()}
    optional = "base" in method.tensors and not method.needs_base
    variants: list[Variant] = []
    for has_base in (False, True) if optional else (method.tensors == ("base", "models"),):
        *fewer, usual = _counts(method, given)
        tried = [Variant(method, s | given, usual, has_base) for s in _choose_settings(method, given, usual, has_base)]
        tried += [Variant(method, _required(method, count, has_base) | given, count, has_base) for count in fewer]
        variants += [variant for place, variant in enumerate(tried) if variant not in tried[:place]]
    return variants


def variants_at_ends(method: Method | str, settings: Mapping[str, Any] | None = None) -> list[Variant]:
    """Return the plainest variants with one number after the other at an end of its range, where that is allowed.

    Args:
        method: the method or its name.
        settings: values that all variants share; they are left as they are.
    """
    plain: dict[bool, Variant] = {}
    for variant in variants_of(method, settings):
        plain.setdefault(variant.has_base, variant)
    variants = []
    for variant in plain.values():
        for setting in variant.method.settings:
            low, high = setting.bounds.low, setting.bounds.high
            if {setting.name, setting.parameter}.isdisjoint(settings or {}):
                ends = [end for end in (low, high) if abs(end) < inf and setting.bounds.admit(end)]
                values = [setting.type(end) for end in ends]
                variants += [replace(variant, settings={**variant.settings, setting.name: v}) for v in values]
    return variants


def _counts(method: Method, given: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the numbers of models to try, the one to try most last."""
    fixed = {("a", "b"): 2, ("model",): 1}.get(method.tensors)
    lengths = [len(value) for value in given.values() if isinstance(value, list)]
    if fixed or lengths:
        return (fixed or lengths[0],)
    fewest, most = method.models
    usual = min(max(3, fewest), most or max(3, fewest))
    return (fewest, usual) if fewest < usual else (usual,)


def _choose_settings(method: Method, given: Mapping[str, Any], count: int, has_base: bool) -> Iterator[dict[str, Any]]:
    required = _required(method, count, has_base)
    yield required
    moved = required | {s.name: _moved(s, count, has_base) for s in method.settings if s.is_slot}
    yield moved
    structure = [s for s in method.settings if not s.is_slot and s.name not in given]
    kept = {s.name: required.get(s.name, s.default) for s in structure}
    for values in product(*(s.choices or ((False, True) if s.type is bool else (kept[s.name],)) for s in structure)):
        yield moved | {s.name: value for s, value in zip(structure, values, strict=True) if value is not None}


def _required(method: Method, count: int, has_base: bool) -> dict[str, Any]:
    """Return the settings that have no default; weights are positive."""
    values: dict[str, Any] = {}
    for setting in (s for s in method.settings if s.required):
        if not setting.is_slot:
            values[setting.name] = setting.choices[0] if setting.choices else setting.type(1)
        else:
            is_weight = setting.per_model and setting.bounds == Bounds()
            values[setting.name] = _weights(count, has_base) if is_weight else _moved(setting, count, has_base)
    return values


def _moved(setting: Setting, count: int, has_base: bool) -> Any:
    """Return a value for a float setting that is not its default; of several weights one is negative."""
    if setting.per_model and setting.required and setting.bounds == Bounds():
        return _weights(count, has_base, last=-1.0)
    values = [_inside(setting, place % len(INSIDE)) for place in range(count)]
    return values if setting.per_model else values[0]


def _inside(setting: Setting, place: int) -> float:
    low, high = setting.bounds.low, setting.bounds.high
    if low > -inf and high < inf:
        return low + (high - low) * INSIDE[place]
    default = float(setting.default) if setting.default and not setting.required else 1.0
    if low > -inf:
        return low + FACTORS[place] * (default - low or 1.0)
    return high - FACTORS[place] if high < inf else default * FACTORS[place]


def _weights(count: int, has_base: bool, last: float = 2.0) -> list[float]:
    """Return unequal weights; without a base they sum to 1, so that what is not normalized can be an average."""
    weights = [3.0 + place for place in range(count - 1)] + [last]
    whole = sum(weights) / (1.5 if has_base else 1.0)
    return [weight / whole for weight in weights]
