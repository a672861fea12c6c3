"""The merges of a recipe as its text has them, slice by slice, with the values of their settings: for notes on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum
from typing import Any

from smelt.algebra.printing import print_number
from smelt.explanation.kinds import adds
from smelt.recipes.nouns import Document, Parameter, Parameters, Recipe, Reference, Source

# Settings of which it is known what they do to the factors.
KNOWN = ("weight", "density", "lambda", "normalize", "rescale", "equalize", "epsilon", "gamma", "scope")
SMALLEST_MASS = 1e-8  # of weights that ``normalize`` divides by; a smaller sum counts as 1


@dataclass(frozen=True)
class Note:
    """Something that the reader of a recipe should know, with the line of its text that it is about."""

    line: int | None
    text: str


@dataclass(frozen=True)
class Merge:
    """One slice of a document, or the whole of one that has none.

    Args:
        document: where it stands.
        base: its base model, whether the method has use for one or not.
        listed: the base among the models, if it is there.
        sources: the models that are merged; without the base, where the method takes it for itself.
        outer: the parameters that hold for all of them, innermost first.
    """

    document: Document
    base: Reference | None
    listed: Source | None
    sources: tuple[Source, ...]
    outer: tuple[Parameters, ...]

    @property
    def drops_base(self) -> bool:
        """Whether the base, listed among the models, is not one of them."""
        return self.document.method.takes_base and "models" in self.document.method.tensors

    @property
    def normalizes_signs(self) -> bool:
        """Whether weights are divided by weights, so that signs may cancel."""
        return self.document.method.takes_base and self.value("normalize") is True

    @property
    def mass(self) -> float | None:
        """The sum of the weights; ``None`` where they vary between tensors."""
        weights = self.values("weight")
        return None if None in weights else fsum(weights)

    def find(self, name: str, source: Source | None = None) -> Parameter | None:
        """Return where a setting is given, for a model or for all."""
        levels = (*((source.parameters,) if source is not None else ()), *self.outer)
        return next((level[name] for level in levels if name in level), None)

    def value(self, name: str, source: Source | None = None) -> Any:
        """Return the value of a setting for all tensors; ``None`` where it has none, or not one for all."""
        found = self.find(name, source)
        if found is None:
            return None
        rule = found.rules[0]
        return rule.value if rule.filter is None and not isinstance(rule.value, tuple) else None

    def values(self, name: str) -> list[Any]:
        """Return the value of a setting for each of the models."""
        return [self.value(name, source) for source in self.sources]

    def line(self, name: str, source: Source | None = None) -> int | None:
        """Return the line that gives a setting, else that of the model or of the document."""
        found = self.find(name, source)
        stated = found.line if found is not None else 0
        return stated or (source.line if source is not None else 0) or self.document.line or None

    def coefficients(self) -> list[float] | None:
        """Return the factor of each model's difference, for a method that adds them; on average, if it drops some.

        ``None`` where they vary between tensors, and where what is dropped is not made up for.
        """
        weights, scale = self.values("weight"), self.value("lambda")
        method = self.document.method
        lossy = "density" in method.setting and any(q != 1.0 for q in self.values("density"))
        restored = method.random and self.value("rescale") is True
        if not adds(method) or None in weights or scale is None or (lossy and not restored):
            return None
        if self._has_other_settings:
            return None
        if self.value("equalize") and len(weights) > 1:
            return None
        mass = fsum(weights) if self.value("normalize") else 1.0
        factors = [scale * weight / (mass if abs(mass) >= SMALLEST_MASS else 1.0) for weight in weights]
        return [0.0 if q == 0 else factor for factor, q in zip(factors, self.values("density"), strict=True)]

    @property
    def _has_other_settings(self) -> bool:
        """Whether a setting is given that may change the factors in a way that only the method knows."""
        settings = self.document.method.settings
        others = [setting for setting in settings if setting.name not in KNOWN]
        return any(
            (found := self.find(setting.name, source)) is not None and found.rules[0].value != setting.default
            for setting in others
            for source in self.sources
        )


def list_merges(recipe: Recipe) -> Iterator[Merge]:
    """Yield the merges of a recipe in the order of its documents."""
    for document in recipe.documents:
        for module in document.modules:
            for slice_ in module.slices:
                base = slice_.base_model or document.base_model
                outer = tuple(p for p in (slice_.parameters, module.parameters, document.parameters) if p)
                listed = next((s for s in slice_.sources if s.model == base), None)
                merge = Merge(document, base, listed, slice_.sources, outer)
                if merge.drops_base and listed is not None:
                    same = (listed.model, listed.layer_range)
                    kept = tuple(s for s in slice_.sources if (s.model, s.layer_range) != same)
                    merge = Merge(document, base, listed, kept, outer)
                yield merge


def print_briefly(value: float) -> str:
    """Return a number with three digits."""
    return print_number(float(f"{value:.3g}"))


def root_of(recipe: Recipe, base: Reference) -> Reference:
    """Return the model that a merge was built on in the end, through documents that are the base of others."""
    document = recipe.find(base)
    while document is not None and document.base_model is not None:
        base = document.base_model
        document = recipe.find(base)
    return base
