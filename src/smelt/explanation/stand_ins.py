"""Models that stand in for ones that cannot be reached: a tensor for each case that a recipe's text tells apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import lcm

import numpy as np

from smelt.arch.roles import Role, role
from smelt.errors import InputError, SmeltError
from smelt.explanation.groups import EVERYTHING, Area, Group, Places
from smelt.planning.plan import Plan
from smelt.planning.planner import open_model, plan_recipe
from smelt.recipes.nouns import Document, Parameter, Recipe, Reference
from smelt.tensors.checkpoint import Checkpoint

STACK = "layers"
REST = "other"  # the tensor that no filter matches
EMBEDDINGS = "embed"  # what stands before the layers comes from the first slice, what stands behind from the last
INSIDE = (Role.ATTENTION, Role.MLP, Role.EXPERT, Role.ROUTER)  # of layers
OUTSIDE = (Role.EMBEDDING, Role.HEAD)
MOST_LAYERS = 500
MOST_TENSORS = 20_000
SHAPE = 1024, 1024  # like that of many a matrix; all tensors share one array, which nothing reads


def open_models(recipe: Recipe) -> tuple[dict[Reference, Checkpoint], dict[Reference, str]]:
    """Open the models of a recipe. Headers are read, and no weight.

    Returns:
        those that could be opened; and for the others the reason why not.
    """
    opened: dict[Reference, Checkpoint] = {}
    reasons: dict[Reference, str] = {}
    for reference in _models(recipe):
        try:
            checkpoint = open_model(reference)
            checkpoint.config, checkpoint.specs  # noqa: B018 (looked up for what they raise)
            opened[reference] = checkpoint
        except SmeltError as error:
            reasons[reference] = str(error)
    return opened, reasons


def plan_from_text(recipe: Recipe) -> Plan:
    """Return a plan of the recipe over models in memory that stand in for those that it names.

    They have as many layers as the recipe mentions, in each of them a tensor for every filter and one that no filter
    matches, and the same outside the layers. Nothing that belongs to tokenizers is planned.

    Raises:
        InputError: when the recipe needs more of its models than that.
    """
    layers = _count_layers(recipe)
    names = [*dict.fromkeys(_filters(recipe)), REST]
    within = [name for name in names if role(name, ()) not in OUTSIDE]
    outside = [name for name in (*names, *[EMBEDDINGS][:layers]) if layers == 0 or role(name, ()) not in INSIDE]
    if layers * len(within) > MOST_TENSORS:
        words = f"it tells {layers * len(within)} cases apart, more than can be explained without its models"
        raise InputError(f"{recipe.origin}: {words}")
    inside = [f"{STACK}.{layer}.{name}" for layer in range(layers) for name in within]
    arrays = dict.fromkeys((*inside, *outside), np.zeros(SHAPE, np.float32))
    stand_ins: dict[Reference, Checkpoint] = {}
    for reference in _models(recipe):
        stand_ins[reference] = Checkpoint(dict(arrays))
        stand_ins[reference].name = str(reference)
    documents = tuple(replace(d, tokenizer=None, chat_template=None) for d in recipe.documents)
    try:
        return plan_recipe(replace(recipe, documents=documents), opened_by=lambda reference: stand_ins[reference])
    except InputError as error:
        taken = f", and were taken to have {layers} layers" if layers else ""
        raise InputError(f"{error} (its models cannot be reached{taken})") from error


def _models(recipe: Recipe) -> Iterator[Reference]:
    """Yield every model that the recipe names and that is no document of it, once."""
    named = [reference for document in recipe.documents for reference in document.references()]
    yield from dict.fromkeys(reference for reference in named if recipe.find(reference) is None)


def _parameters(document: Document) -> Iterator[Parameter]:
    for level in document.levels:
        yield from level.values()


def _filters(recipe: Recipe) -> Iterator[str]:
    for document in recipe.documents:
        for parameter in _parameters(document):
            yield from (rule.filter for rule in parameter.rules if rule.filter is not None)


def _count_layers(recipe: Recipe) -> int:
    """Return how many layers show every range and every value of a gradient that the recipe mentions; 0 for none."""
    stops, steps = [0], [0]
    for document in recipe.documents:
        sources = [s for module in document.modules for slice_ in module.slices for s in slice_.sources]
        stops += [source.layer_range[1] for source in sources if source.layer_range is not None]
        values = [rule.value for parameter in _parameters(document) for rule in parameter.rules]
        steps += [len(value) - 1 for value in values if isinstance(value, tuple)]
    if any(stops):
        return min(max(2, *stops), MOST_LAYERS)
    found = [step for step in steps if step]
    return min(lcm(*found) + 1, MOST_LAYERS) if found else 0


def describe_stand_ins(group: Group, where: Places) -> str:
    """Return in words which tensors a group of a plan over stand-ins speaks of."""
    if group.count == sum(len(layers) for names in where.names.values() for layers in names.values()):
        return EVERYTHING
    return "; ".join(_describe(area, where) for area in group.areas)


def _describe(area: Area, where: Places) -> str:
    names = where.names[area.prefix]
    place = "outside the layers" if STACK in where.names else ""
    if area.prefix is not None:
        whole = (area.first, area.last) == where.layers(area.prefix)
        place = "all layers" if whole else f"layers {area.first}–{area.last}"
    if len(area.names) == len(names):
        return place
    named = [f"'{name}'" for name in area.names if name not in (REST, EMBEDDINGS)]
    parts = [f"tensors named {' or '.join(named)}"] if named else []
    parts += [word for name, word in ((EMBEDDINGS, "embeddings"), (REST, "all others")) if name in area.names]
    return " · ".join([*([place] if place else []), ", ".join(parts)])
