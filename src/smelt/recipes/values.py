"""The values of settings: how they may be written, and which one holds for a tensor.

However it is written, a value becomes rules: a number, a boolean, a word, or a *gradient*, a list of numbers over the
layers of a slice; each for the tensors whose names contain a filter, or for all. Levels go from the inside to the
outside: source, slice, module, document.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any, Literal

from smelt.algebra.declare import Method, Setting
from smelt.recipes.fields import take_known, take_mapping
from smelt.recipes.messages import Messages
from smelt.recipes.nodes import Node
from smelt.recipes.nouns import Parameter, Parameters, Rule, Value

MISSING: Any = inspect.Parameter.empty
"""What ``resolve`` returns for a required setting that nothing gives."""

WITHOUT_EFFECT = ("int8_mask",)  # settings that change no result, so every method takes them


def resolve(setting: Setting, levels: Sequence[Parameters], tensor_name: str, position: float) -> Any:
    """Return the value of ``setting`` for one tensor.

    Args:
        setting: of the method.
        levels: the parameters that apply, innermost first.
        tensor_name: the source's name of the tensor for a setting that is per model, else the output's.
        position: from 0 to 1 over the layers of the slice, by ``position_of``.

    Returns:
        A float, int, bool or str; the default when no rule matches; ``MISSING`` when it has none.
    """
    name = setting.name
    for level in levels:
        parameter = level.get(name)
        if parameter is not None:
            for rule in parameter.rules:
                if rule.filter is None or rule.filter in tensor_name:
                    value = rule.value
                    return _interpolate(value, position) if isinstance(value, tuple) else value
    return setting.default


def position_of(layer: int | None, count: int) -> float:
    """Return where ``layer`` (from 0) stands among the ``count`` layers of its slice, from 0 to 1.

    As in mergekit, a tensor outside the layers (``None``) stands at 0, and the only layer of a slice at 1.
    """
    if layer is None:
        return 0.0
    return layer / (count - 1) if count > 1 else 1.0


def read_parameters(
    node: Node | None, method: Method, level: Literal["model", "slice", "module", "recipe"], messages: Messages
) -> dict[str, Parameter]:
    """Return the settings that ``parameters:`` gives at one level.

    Raises:
        InputError: for settings that the method lacks or that have no place at this level, and for wrong values.
    """
    parameters: dict[str, Parameter] = {}
    if node is None or node.value is None:
        return parameters
    for name, value in take_mapping(node, "'parameters'", messages).items():
        setting = method.setting.get(name)
        if name in WITHOUT_EFFECT:
            messages.note(value.line, f"'{name}' has no effect: it changes no result")
        elif setting is None:
            messages.ignore_unknown(value.line, method.name, "setting", name, method.setting)
        elif level == "model" and not setting.per_model:
            words = f"'{name}' holds for all models alike, so it has no place under one of them;"
            messages.ignore(value.line, f"{words} move it to 'parameters' of the recipe, or of a slice.")
        else:
            parameters[name] = Parameter(name, _read_rules(value, setting, messages), value.line)
    return parameters


def spell_out(parameters: Parameters, method: Method) -> dict[str, Parameter]:
    """Return a document's parameters with the defaults added: as last rules where only some tensors have a value."""
    full = dict(parameters)
    for setting in method.settings:
        given = full.get(setting.name, Parameter(setting.name, ()))
        if not setting.required and setting.default is not None and not covers_all(given):
            rules = (*given.rules, Rule(None, setting.check(setting.default)))
            full[setting.name] = Parameter(setting.name, rules, given.line)
    return full


def covers_all(parameter: Parameter) -> bool:
    """Say whether some rule holds for every tensor."""
    return any(rule.filter is None for rule in parameter.rules)


def _read_rules(node: Node, setting: Setting, messages: Messages) -> tuple[Rule, ...]:
    if isinstance(node.value, dict):
        return (_read_rule(node, setting, messages),)
    if isinstance(node.value, list):
        filtered = [isinstance(item.value, dict) for item in node.value]
        if filtered and all(filtered):
            return tuple(_read_rule(item, setting, messages) for item in node.value)
        if any(filtered):
            words = f"the list of '{setting.name}' mixes numbers and '{{filter, value}}' entries; it may hold either"
            raise messages.error(node.line, words)
    return (Rule(None, _read_value(node, setting, messages)),)


def _read_rule(node: Node, setting: Setting, messages: Messages) -> Rule:
    entries = take_known(node, ("filter", "value"), f"an entry of '{setting.name}'", messages)
    if "value" not in entries:
        raise messages.error(node.line, f"an entry of '{setting.name}' has no 'value'")
    pattern = entries.get("filter")
    if pattern is not None and isinstance(pattern.value, list | dict):
        raise messages.error(pattern.line, f"'filter' must be text that names of tensors contain, not {pattern}")
    everything = pattern is None or pattern.value is None or pattern.text in ("*", "")
    return Rule(
        None if everything or pattern is None else pattern.text, _read_value(entries["value"], setting, messages)
    )


def _read_value(node: Node, setting: Setting, messages: Messages) -> Value:
    if not isinstance(node.value, list):
        return _read_scalar(node, setting, messages)
    if not node.value:
        raise messages.error(node.line, f"'{setting.name}' is an empty list")
    if not setting.is_slot:
        raise messages.error(node.line, f"'{setting.name}' must be {setting.range}; it cannot vary over layers")
    gradient: tuple[float, ...] = tuple(float(_read_scalar(item, setting, messages)) for item in node.value)
    return gradient if len(gradient) > 1 else gradient[0]


def _read_scalar(node: Node, setting: Setting, messages: Messages) -> float | int | bool | str:
    value = node.value
    if isinstance(value, str) and setting.type in (float, int):  # YAML 1.1 takes 1e-8 for text
        try:
            value = float(value)
        except ValueError:
            value = node.text
    finite = not isinstance(value, int | float) or abs(value) <= sys.float_info.max
    if isinstance(value, list | dict) or value is None or not finite:
        raise messages.error(node.line, f"'{setting.name}' must be {setting.range}, not {node}")
    try:
        checked: float | int | bool | str = setting.check(value)
        return checked
    except ValueError:
        raise messages.error(node.line, f"'{setting.name}' must be {setting.range}, not {node}") from None


def _interpolate(gradient: tuple[float, ...], position: float) -> float:
    place = position * (len(gradient) - 1)
    left = min(int(place), len(gradient) - 2)
    share = place - left
    return (1 - share) * gradient[left] + share * gradient[left + 1]
