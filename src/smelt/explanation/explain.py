"""Explaining a recipe: what it computes, group of tensors by group of tensors, and what a reader should know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smelt.errors import InputError
from smelt.explanation.closed_forms import ClosedForm, close
from smelt.explanation.collapse import collapse_outputs
from smelt.explanation.groups import describe_areas, group
from smelt.explanation.notes import Note, find_notes
from smelt.explanation.simplify import simplify, write_document
from smelt.explanation.stand_ins import describe_stand_ins, open_models, plan_from_text
from smelt.planning.plan import Plan
from smelt.planning.planner import plan_recipe
from smelt.recipes.nouns import Recipe

UNCHECKED = (
    "that the models are there and fit one another",
    "how many layers they have, what their tensors are called, how large they are and how stored",
    "tokenizers and licences",
)


@dataclass(frozen=True)
class Passage:
    """What is said about some tensors.

    Args:
        tensors: which ones, in words.
        count: how many they are; ``None`` where only the text is known.
        layers: the first and last layer, where they all stand in one run of layers.
        closed: what they become.
    """

    tensors: str
    count: int | None
    layers: tuple[int, int] | None
    closed: ClosedForm

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        closed = self.closed
        return {
            "tensors": self.tensors,
            "count": self.count,
            "layers": list(self.layers) if self.layers else None,
            "formula": closed.formula,
            "parts": list(closed.parts),
            "coefficients": [s.to_json() for s in closed.shares] if closed.shares is not None else None,
            "expectation": closed.expectation.to_json() if closed.expectation else None,
            "no_expectation_because": closed.underivable,
        }


@dataclass(frozen=True)
class Explanation:
    """What a recipe computes.

    Args:
        recipe: what is explained.
        plan: its plan; where ``unreached`` names models, over stand-ins for all of them.
        unreached: models that could not be opened, with the reason.
        passages: what becomes of which tensors, in their order.
        notes: what a reader should know.
        simpler: a simpler recipe that gives the same values, as YAML; ``None`` when none is known.
    """

    recipe: Recipe
    plan: Plan
    unreached: Mapping[str, str]
    passages: tuple[Passage, ...]
    notes: tuple[Note, ...]
    simpler: str | None

    def write_simpler(self, path: str | Path) -> None:
        """Write the simpler recipe to a new file.

        Raises:
            InputError: when no simpler recipe is known, the file exists, or it cannot be written.
        """
        if self.simpler is None:
            raise InputError(f"{self.recipe.origin}: no simpler recipe is known that gives the same")
        try:
            with open(path, "x", encoding="utf-8") as stream:
                stream.write(self.simpler)
        except FileExistsError:
            raise InputError(f"{path}: exists already; nothing is overwritten") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What could not be looked at."""
        return UNCHECKED if self.unreached else ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; the keys are stable."""
        return {
            "recipe": self.recipe.origin,
            "method": self.recipe.result.method.name,
            "documents": len(self.recipe.documents),
            "models": list(self.plan.labels),
            "from_text_alone": bool(self.unreached),
            "unreached": [{"model": model, "reason": reason} for model, reason in self.unreached.items()],
            "unchecked": list(self.unchecked),
            "groups": [passage.to_json() for passage in self.passages],
            "notes": [{"line": note.line, "text": note.text} for note in self.notes],
            "simpler": self.simpler,
        }


def explain_recipe(recipe: Recipe) -> Explanation:
    """Say what a recipe computes; headers are read where the models can be reached, and no weight.

    Args:
        recipe: what to explain.

    Raises:
        InputError: when the recipe does not fit its models.
    """
    opened, reasons = open_models(recipe)
    plan = plan_from_text(recipe) if reasons else plan_recipe(recipe, opened_by=lambda reference: opened[reference])
    collapsed = {o.spec.name: f for o, f in zip(plan.outputs, collapse_outputs(plan), strict=True)}
    where, groups = group(plan)
    passages = []
    for found in groups:
        words = describe_stand_ins(found, where) if reasons else describe_areas(found, where, plan.config)
        count = None if reasons else found.count
        passages.append(Passage(words, count, found.layers, close(plan, found, collapsed)))
    unreached = {str(reference): reason for reference, reason in reasons.items()}
    simpler = simplify(recipe, plan)
    text = write_document(simpler, recipe, plan) if simpler is not None else None
    return Explanation(recipe, plan, unreached, tuple(passages), find_notes(recipe, plan, simpler), text)
