"""Building a recipe from Python: ``smelt.methods.ties(base, [math, code], weight=[0.6, 0.4])``.

The arguments become the same tree that a recipe's text becomes, and are read and checked by the same functions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from smelt.algebra.declare import Method, Setting, find
from smelt.errors import InputError, listing, nearest
from smelt.recipes.messages import Messages
from smelt.recipes.nodes import plant
from smelt.recipes.nouns import Document, Recipe, Reference
from smelt.recipes.reading import assemble

KEYWORDS = ("dtype", "out_dtype", "name", "seed")  # of every method, beside its settings


def build_recipe(method: Method, models: Sequence[Any], settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of one merge.

    Args:
        method: which merge.
        models: what the method's positional parameters ask for: a base and a list of models, a list of models, two
            models, or one. Each is a ``Checkpoint``, a path, or a recipe, whose result is then an intermediate,
            called ``stage-1`` and so on where it has no name.
        settings: by the names of the method's parameters. A setting per model is one value for all or a list with a
            value for each; a list for another setting is a gradient over the layers. ``dtype``, ``out_dtype``,
            ``name`` and ``seed`` are as in a recipe; the seed of the recipes among ``models`` holds unless given.

    Raises:
        InputError: for arguments that a recipe could not hold either.
    """
    settings = dict(settings)
    if "base" in method.tensors[len(models) :] and settings.get("base") is not None:
        models = (*models, settings.pop("base"))
    base, listed = _arrange(method, models)
    messages = Messages(method.name)
    stages = _Stages(messages)
    references = [stages.refer(model) for model in listed]
    entries: dict[str, Any] = {"merge_method": method.name}
    if base is not None:
        entries["base_model"] = stages.refer(base)
    entries |= {key: settings[key] for key in KEYWORDS if settings.get(key) is not None}
    shared, single = _sort_settings(method, settings, len(listed), messages)
    entries["models"] = [
        {"model": reference, "parameters": {name: values[place] for name, values in single.items()}}
        for place, reference in enumerate(references)
    ]
    entries.update(parameters=shared, seed=stages.seed(settings.get("seed")))
    return assemble([plant(entries, messages)], messages, stages.documents)


def combine(terms: Sequence[tuple[float, Any]]) -> Recipe:
    """Return the recipe of a sum of models, each with a factor, such as ``2 * math - base``.

    Raises:
        InputError: for a factor that is not finite.
    """
    settings = {"weight": [factor for factor, _ in terms], "normalize": False}
    return build_recipe(find("linear"), ([model for _, model in terms],), settings)


def _arrange(method: Method, models: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return the base, or ``None``, and the models beside it."""
    names = ", ".join("[models]" if name == "models" else name for name in method.tensors)
    optional = method.takes_base and not method.needs_base
    fits = len(method.tensors) - optional <= len(models) <= len(method.tensors)
    for name, model in zip(method.tensors, models, strict=False):
        fits = fits and isinstance(model, list | tuple) == (name == "models")
    if not fits:
        where = ", where [models] is a list of models" if "models" in method.tensors else ""
        raise InputError(f"{method.name}: the models are ({names}){where}")
    given = dict(zip(method.tensors, models, strict=False))
    base = models[0] if method.needs_base else given.get("base")
    return base, list(given["models"]) if "models" in given else list(models)


def _sort_settings(
    method: Method, settings: Mapping[str, Any], count: int, messages: Messages
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the settings that hold for all models, and those with a value for each of ``count`` models."""
    known = {setting.parameter: setting for setting in method.settings} | dict(method.setting)
    shared: dict[str, Any] = {}
    single: dict[str, list[Any]] = {}
    for name, value in settings.items():
        if name in KEYWORDS or value is None:
            continue
        if name not in known:
            parameters = [*(setting.parameter for setting in method.settings), *KEYWORDS]
            words = f"{method.name} has no setting '{name}'{nearest(name, parameters)} Settings: {listing(parameters)}."
            raise messages.error(0, words)
        setting = known[name]
        values = value.tolist() if getattr(value, "ndim", 0) == 1 else value  # a NumPy vector
        if setting.per_model and isinstance(values, list | tuple):
            single[setting.name] = _one_for_each(setting, values, count, messages)
        else:
            shared[setting.name] = values
    return shared, single


def _one_for_each(setting: Setting, values: Sequence[Any], count: int, messages: Messages) -> list[Any]:
    if len(values) != count:
        plural = "s" if count > 1 else ""
        words = f"'{setting.name}' has {len(values)} values for {count} model{plural}; give one number or one for each"
        raise messages.error(0, words)
    return list(values)


class _Stages:
    """Gathers the documents of the recipes that stand where models stand."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.documents: list[Document] = []
        self.recipes: list[tuple[Recipe, Reference]] = []

    def refer(self, model: Any) -> Reference:
        """Return how a document refers to ``model``."""
        if isinstance(model, Recipe):
            return self._add(model)
        if isinstance(model, str | os.PathLike):
            return Reference(os.fspath(model))
        name = getattr(model, "name", None)
        if not isinstance(name, str):
            words = f"a model is a Checkpoint, a path or a recipe, not {type(model).__name__}"
            raise self.messages.error(0, words)
        return Reference(name, checkpoint=model)

    def seed(self, given: Any) -> Any:
        """Return ``given``, else the one seed of the gathered recipes."""
        seeds = list(dict.fromkeys(recipe.seed for recipe, _ in self.recipes))
        if given is None and len(seeds) > 1:
            raise self.messages.error(
                0, f"the recipes among the models have the seeds {listing(map(str, seeds))}; give seed="
            )
        return given if given is not None else (seeds or [0])[0]

    def _add(self, recipe: Recipe) -> Reference:
        for known, reference in self.recipes:
            if known is recipe:
                return reference
        for document in recipe.documents:
            named = document if document.name is not None else replace(document, name=self._free_name(recipe))
            if named not in self.documents:  # two of one name that differ are refused by ``assemble``
                self.documents.append(named)
        reference = Reference(str(named.name))
        self.recipes.append((recipe, reference))
        return reference

    def _free_name(self, recipe: Recipe) -> str:
        taken = [*recipe.names, *(document.name for document in self.documents)]
        return next(name for name in (f"stage-{n}" for n in range(1, len(taken) + 2)) if name not in taken)
