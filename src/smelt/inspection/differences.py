"""What was measured of the differences between models: data, and no decisions.

Every difference is that of a model to the base. Numbers are over the entries whose difference is finite; the others are
counted. ``None`` stands for what is not defined, such as the kurtosis of a difference that is zero everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)  # levels
TOP_SHARE = 0.2  # of the entries of a tensor: those of largest magnitude
QUANTILE_PRECISION = 2**-7  # relative: the width of a bin; exact where all values of a bin are equal


@dataclass(frozen=True)
class Measure:
    """The difference of one model to the base, in a tensor or in several.

    Args:
        model: its label.
        zeros: entries that are exactly zero.
        nonfinite: entries that are not finite in either model, or whose difference is not; left out of all else.
        norm: the root of the sum of squares.
        rms: the root of the mean square.
        largest: the largest magnitude.
        mean_magnitude: the mean of the magnitudes, to 2⁻²³ of it.
        relative: ``norm`` over the norm of the base; ``None`` where that is zero.
        quantiles: of the magnitudes, at ``QUANTILES``, to ``QUANTILE_PRECISION``.
        kurtosis: the mean fourth power over the squared mean square, about zero: 3 for a normal distribution, 1.8 for
            a uniform one.
        top_energy: the share of the sum of squares that is in the top 20 % of the entries by magnitude, to 2⁻¹⁵.
        rounding_rms: the rms of the rounding that the model's stored dtype has put into the difference, as expected
            of a uniform error within the last bit; from a quarter of the entries, spread evenly.
        effective_rank: e to the entropy of the singular values as shares of their sum; only where asked for.
        octaves: how many magnitudes lie in (2^e, 2^(e+1)], as pairs (e, count) with e ascending; zeros are left out.
            Given for groups of tensors only.
    """

    model: str
    zeros: int
    nonfinite: int
    norm: float
    rms: float
    largest: float
    mean_magnitude: float
    relative: float | None
    quantiles: tuple[float, ...] | None
    kurtosis: float | None
    top_energy: float | None
    rounding_rms: float
    effective_rank: float | None = None
    octaves: tuple[tuple[int, int], ...] = ()

    @property
    def is_zero(self) -> bool:
        """Whether the model's values are those of the base, throughout."""
        return self.largest == 0 and self.nonfinite == 0


@dataclass(frozen=True)
class Pair:
    """Two differences beside one another.

    Args:
        first, second: the labels of the models.
        cosine: of the angle between them; ``None`` where one is zero.
        conflicts: the share of entries of opposite sign, of those in which both differ from the base.
        overlap: how many of the smaller top 20 % are in the other one too; 1 for equal ones. The top 20 % of a tensor
            is taken by whole bins, so that entries that are equal are all in or all out.
        chance: what ``overlap`` would be for places drawn at random.
    """

    first: str
    second: str
    cosine: float | None
    conflicts: float | None
    overlap: float | None
    chance: float | None


@dataclass(frozen=True)
class Shares:
    """What a result took from its parents: the least squares of its difference on theirs.

    Args:
        result: its label.
        coefficients: one per model, in the order of ``Differences.models``; where their differences are not
            independent, the shortest of the best, in units of each one's norm.
        base: 1 − their sum: the weight of the base itself.
        unexplained: the norm of what is left over that of the result's difference, down to about 1e-8;
            ``None`` where that is zero.
        dimensions: how many independent directions the models' differences have.
    """

    result: str
    coefficients: tuple[float, ...]
    base: float
    unexplained: float | None
    dimensions: int


@dataclass(frozen=True)
class Section:
    """Tensors that are looked at together: one, those of a layer or of a role, or all.

    Args:
        label: the name of the tensor, layer or role; ``all`` for all.
        tensors: how many there are.
        elements: entries of each model.
        base_norm: the root of the sum of squares of the base, over its finite entries.
        measures: one per model, then one per result.
        pairs: of models and results, in the order (0, 1), (0, 2), (1, 2), …
        shares: one per result.
    """

    label: str
    tensors: int
    elements: int
    base_norm: float
    measures: tuple[Measure, ...]
    pairs: tuple[Pair, ...] = ()
    shares: tuple[Shares, ...] = ()


@dataclass(frozen=True)
class TensorDifference:
    """One tensor of all models.

    Args:
        name: its name.
        shape: its shape.
        role: what it does, as in ``arch.roles``.
        layer: the block that it is in, such as ``model.layers.3``; ``None`` outside of all blocks.
        module: its name within the block, such as ``self_attn.q_proj.weight``; its whole name outside.
        precision: in which the differences are taken: float32, or float64 where a model stores that.
        section: what was measured.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    layer: str | None
    module: str
    precision: str
    section: Section


@dataclass(frozen=True)
class Mismatch:
    """A tensor that could not be compared.

    Args:
        name: its name.
        model: the label of the model that has it otherwise, or the base's where it does not hold floats.
        reason: ``missing``, ``not in the base``, or what differs.
    """

    name: str
    model: str
    reason: str


@dataclass(frozen=True)
class Advice:
    """What follows from the numbers.

    Args:
        topic: ``dare``, ``trimming``, ``model_stock``, ``norms``, ``rounding``, ``retention``, ``identical`` or
            ``nonfinite``.
        verdict: in one sentence.
        evidence: the numbers that it rests on, and where the threshold comes from.
    """

    topic: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Differences:
    """What models differ in from a base, and what a merge took from them.

    Args:
        base: the label of the base.
        models, results: the labels of the models and of the results of merges.
        tensors: in the base's order.
        layers: in the order of their stacks and numbers, then ``outside the layers``.
        roles: in the order of the tensors.
        whole: all tensors.
        mismatches: tensors that are not compared.
        advice: what follows.
    """

    base: str
    models: tuple[str, ...]
    results: tuple[str, ...]
    tensors: tuple[TensorDifference, ...]
    layers: tuple[Section, ...]
    roles: tuple[Section, ...]
    whole: Section
    mismatches: tuple[Mismatch, ...]
    advice: tuple[Advice, ...]

    @property
    def compared(self) -> tuple[str, ...]:
        """The labels of models and results, in the order of ``Section.measures``."""
        return (*self.models, *self.results)

    def identical(self, model: str) -> tuple[str, ...]:
        """Return the names of the tensors in which a model has the values of the base."""
        at = self.compared.index(model)
        return tuple(t.name for t in self.tensors if t.section.measures[at].is_zero)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; what is not finite becomes ``null``."""
        return {
            "quantile_levels": list(QUANTILES),
            "quantile_precision": QUANTILE_PRECISION,
            "top_share": TOP_SHARE,
            **_to_json(self),
            "identical": {model: list(self.identical(model)) for model in self.compared},
        }


def _to_json(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
