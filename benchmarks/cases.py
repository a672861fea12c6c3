"""What is merged: for every method of the catalogue a recipe that smelt and mergekit both read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.models import Family
from smelt.algebra.declare import Method, catalogue, find

MODELS = 3  # fine-tunes of a family

# A weight of each model, in turn. They are unequal, so that a mix-up of models shows, and no simple fractions: with
# those, many exact results lie halfway between two bfloat16 numbers, and the last bit of float32 decides.
WEIGHTS = (0.5237, 0.4129, 0.3071, 0.2113)

# Settings away from the defaults; a name that is not the method's own says what is different about it.
SETTINGS: dict[str, Mapping[str, Any]] = {
    "breadcrumbs": {"density": 0.9, "gamma": 0.01},
    "breadcrumbs_ties": {"density": 0.9, "gamma": 0.01},
    "dare_linear": {"density": 0.5},
    "dare_ties": {"density": 0.5},
    "della": {"density": 0.5, "epsilon": 0.1},
    "della_linear": {"density": 0.5, "epsilon": 0.1},
    "nearswap": {"t": 0.0005},
    "sce": {"select_topk": 1.0},
    "sce, half": {"select_topk": 0.5},
    "slerp": {"t": 0.4},
    "ties": {"density": 0.5},
}


@dataclass(frozen=True)
class Case:
    """A method with settings, as it is measured."""

    name: str
    method: Method
    settings: Mapping[str, Any]


def list_cases(names: str | None = None) -> list[Case]:
    """Return a case for every method, and further ones of ``SETTINGS``; or those whose methods are named.

    Args:
        names: methods or cases, separated by commas or spaces; all without it.

    Raises:
        InputError: when a name is neither, or a method needs settings that ``SETTINGS`` does not have.
    """
    everything = [make_case(name) for name in sorted({**catalogue(), **SETTINGS})]
    if not names:
        return everything
    wanted = [find(name).name for name in names.replace(",", " ").split()]
    return [case for case in everything if case.method.name in wanted]


def make_case(name: str) -> Case:
    """Return the case of a name: a method, or a method, a comma and what is special.

    Raises:
        ValueError: when a required setting has no value in ``SETTINGS``.
    """
    method, settings = find(name.split(",")[0]), SETTINGS.get(name, {})
    missing = [s.name for s in method.settings if s.required and s.name != "weight" and s.name not in settings]
    if missing:
        raise ValueError(f"'{name}' needs {missing}; give them in SETTINGS")
    return Case(name, method, settings)


def write_recipe(path: Path, case: Case, family: Family) -> None:
    """Write the recipe that merges a family."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe_of(case, family), sort_keys=False), encoding="utf-8")


def recipe_of(case: Case, family: Family) -> dict[str, Any]:
    """Return the recipe as plain data.

    A method of a base takes it and all fine-tunes, one of two models the base and the first, and one without a base
    takes the base as a model like the others.
    """
    method = case.method
    _, most = method.models
    models = list(family.models[:most])
    if method.tensors == ("a", "b"):
        models = [family.base, *models[:1]]
    elif method.tensors == ("model",):
        models = models[:1]
    elif not method.takes_base:
        models = [family.base, *models]
    entries: list[dict[str, Any]] = [{"model": str(folder)} for folder in models]
    if (weight := method.setting.get("weight")) is not None and weight.per_model:
        for place, entry in enumerate(entries):
            entry["parameters"] = {"weight": WEIGHTS[place % len(WEIGHTS)]}
    recipe: dict[str, Any] = {"merge_method": method.name, "models": entries}
    if method.takes_base:
        recipe["base_model"] = str(family.base)
    if case.settings:
        recipe["parameters"] = dict(case.settings)
    return recipe | {"dtype": family.dtype}
