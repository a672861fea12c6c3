"""Merge fine-tuned neural-network checkpoints: recipe → plan → run.

>>> recipe = smelt.read("recipe.yml")
>>> plan = smelt.plan(recipe)
>>> smelt.run(plan, "merged")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smelt import methods
    from smelt.api import Checkpoint, diff, explain, inspect, merge, plan, read, reproduce, run, verify
    from smelt.errors import InputError, RunError, SmeltError

__version__ = "0.1.0"
__all__ = [
    "Checkpoint",
    "InputError",
    "RunError",
    "SmeltError",
    "diff",
    "explain",
    "inspect",
    "merge",
    "methods",
    "plan",
    "read",
    "reproduce",
    "run",
    "verify",
]

_HOMES = {
    **dict.fromkeys(("InputError", "RunError", "SmeltError"), "smelt.errors"),
    "diff": "smelt.inspection.comparing",
    "inspect": "smelt.inspection.model",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that ``smelt --help`` answers at once."""
    if name not in __all__:
        raise AttributeError(f"module 'smelt' has no attribute '{name}'")
    if name == "methods":
        return import_module("smelt.methods")
    return getattr(import_module(_HOMES.get(name, "smelt.api")), name)
