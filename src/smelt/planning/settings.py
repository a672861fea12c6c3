"""The settings of a method for one tensor: what is structure, and which numbers fill the slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smelt.algebra.declare import Method, Setting
from smelt.algebra.templates import is_vector
from smelt.errors import InputError
from smelt.planning.pairing import Pairing
from smelt.recipes.nouns import Document, Parameters
from smelt.recipes.values import MISSING, resolve


@dataclass
class Settings:
    """What a tensor's binding needs: structure by parameter name, and the slots in order of declaration."""

    structure: dict[str, Any] = field(default_factory=dict)
    slots: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # those of them that are the models' weights


def settle(document: Document, pairing: Pairing, models: Sequence[int]) -> Settings:
    """Resolve every setting of the document's method for one tensor.

    Args:
        document: whose method and parameters apply.
        pairing: the tensor.
        models: the views that are the method's models, without the base.

    Raises:
        InputError: when a setting that the method needs has no value for this tensor.
    """
    method = document.method
    outer = [p for p in (pairing.part.slice.parameters, pairing.part.module.parameters, document.parameters) if p]
    settings = Settings()
    for setting in method.settings:
        if not setting.per_model:
            values = [resolve(setting, outer, pairing.name, pairing.position)]
        else:
            values = [_of_model(setting, pairing, model, outer) for model in models]
        for model, value in zip(models, values, strict=False):
            if value is MISSING:
                raise _missing(document, setting, pairing, model)
        _add(settings, setting, values, method)
    return settings


def _of_model(setting: Setting, pairing: Pairing, model: int, outer: list[Parameters]) -> Any:
    sources = pairing.part.slice.sources
    inner = [sources[model].parameters] if model < len(sources) else []
    return resolve(setting, inner + outer, pairing.names[model], pairing.position)


def _add(settings: Settings, setting: Setting, values: list[Any], method: Method) -> None:
    value = values[0] if values else None
    absent = value is None or (setting.bounds.neutral is not None and value == setting.bounds.neutral)
    if setting.is_slot and (is_vector(method, setting) or not absent):
        settings.slots.extend(float(v) for v in values)
        if setting.name == "weight":
            settings.weights.extend(float(v) for v in values)
    else:
        settings.structure[setting.parameter] = None if absent else value


def _missing(document: Document, setting: Setting, pairing: Pairing, model: int) -> InputError:
    sources = pairing.part.slice.sources
    line = sources[model].line if setting.per_model and model < len(sources) else document.line
    who = f" of '{pairing.part.views[model].label}'" if setting.per_model else ""
    return InputError(
        f"{document.method.name} needs '{setting.name}'{who}, and no value applies to '{pairing.name}'; "
        "add an entry without a filter at the end of the list",
        line,
    )
