"""The merge methods, one family per file; each is registered under the name that recipes use.

As Python functions they build recipes from checkpoints: ``smelt.methods.ties(base, [math, code], weight=[0.6, 0.4])``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smelt.methods import (
    dropping,
    same_task,
    selective,
    soups,
    spherical,
    stacking,
    task_vectors,
    trimming,
    two_models,
)

__all__ = [
    "dropping",
    "same_task",
    "selective",
    "soups",
    "spherical",
    "stacking",
    "task_vectors",
    "trimming",
    "two_models",
]


def __getattr__(name: str) -> Callable[..., Any]:
    """Return the function that builds a recipe of the method ``name``, third-party methods included."""
    from smelt.algebra.declare import catalogue
    from smelt.recipes.build import build_recipe

    if name.startswith("_") or name not in catalogue():
        raise AttributeError(f"smelt.methods has no method '{name}'")
    method = catalogue()[name]

    def build(*models: Any, **settings: Any) -> Any:
        return build_recipe(method, models, settings)

    build.__doc__ = method.doc
    build.__name__ = build.__qualname__ = name
    return build
