"""The catalogue of methods in words, made from their declarations alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from smelt.algebra.declare import Method, Setting
from smelt.algebra.expressions import input_tensor
from smelt.algebra.formulas import describe
from smelt.algebra.templates import slot_count, trace


def list_methods(methods: Sequence[Method]) -> str:
    """Return one line per method."""
    width = max(len(m.name) for m in methods)
    return "\n".join(f"{m.name:<{width}}  {m.doc.splitlines()[0]}" for m in methods)


def describe_method(method: Method) -> str:
    """Return what a method does, its settings with ranges and defaults, its formula and its paper."""
    text = method.doc.split("\nArgs:")[0].strip()
    rest = method.doc.partition("\nDifferences")[2]
    lines = [f"{method.name}: {method.title}", "", text, "", f"Models: {_models(method)}", ""]
    lines += ["Settings:"] + [_describe_setting(s) for s in method.settings] if method.settings else []
    lines += ["", f"Formula: W = {formula(method)}"]
    lines += ["", f"Differences{rest.rstrip()}"] if rest else []
    return "\n".join([*lines, "", f"Paper: {method.paper}", f"Exact: {method.exact}"])


def formula(method: Method) -> str:
    """Return the formula of a method with its settings at their defaults, over two models where it takes several."""
    names = {"models": ["model₁", "model₂"]}
    inputs = [n for t in sorted(method.tensors) for n in names.get(t, [t])]  # the base comes before the models
    models = 2 if "models" in method.tensors else 1
    structure = {s.parameter: None if s.default is None else s.default for s in method.settings if not _is_free(s)}
    slots = [
        s.name + ("₁₂"[i] if slot_count(method, s.name, models) > 1 else "")
        for s in method.settings
        if _is_free(s)
        for i in range(slot_count(method, s.name, models))
    ]
    template = trace(method, [input_tensor(i) for i in range(len(inputs))], structure, 0, 0)
    return describe(template.root, inputs, slots)


def method_json(method: Method) -> dict[str, Any]:
    """Return a method's declaration as plain data."""
    return {
        "name": method.name,
        "title": method.title,
        "paper": method.paper,
        "exact": method.exact,
        "models": _models(method),
        "random": method.random,
        "formula": formula(method),
        "documentation": method.doc,
        "settings": [
            {
                "name": s.name,
                "per_model": s.per_model,
                "range": s.range,
                "required": s.required,
                "default": None if s.required else s.default,
                "documentation": s.doc,
            }
            for s in method.settings
        ],
    }


def _is_free(setting: Setting) -> bool:
    return setting.is_slot and setting.default is not None


def _models(method: Method) -> str:
    fewest, most = method.models
    count = f"exactly {fewest}" if fewest == most else "any number" if fewest == 1 else f"{fewest} or more"
    return {
        ("models",): f"{count}; a listed base is an ordinary input",
        ("base", "models"): f"a base and {count} of others" if count == "any number" else f"a base and {count} others",
        ("models", "base"): f"{count}, and a base if their differences from it are meant",
        ("a", "b"): "exactly two, the base and one other",
        ("model",): "exactly one (per slice)",
    }[method.tensors]


def _describe_setting(setting: Setting) -> str:
    default = "required" if setting.default is inspect.Parameter.empty else f"default {_shown(setting.default)}"
    per_model = ", per model" if setting.per_model else ""
    return f"  {setting.name}: {setting.range}{per_model}, {default}. {setting.doc}"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
