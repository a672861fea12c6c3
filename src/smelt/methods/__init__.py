"""The merge methods, one family per file; each is registered under the name that recipes use.

As Python functions they build recipes from checkpoints: ``smelt.methods.ties(base, [math, code], weight=[0.6, 0.4])``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

# A file in this folder is a family of methods; there is no list of them to keep.
for _module in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")


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
