"""What a group of tensors becomes, in algebra over the original checkpoints, and what that is on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smelt.algebra.expressions import Expr, walk
from smelt.algebra.formulas import Coefficients, combination, describe_parts, join_terms
from smelt.algebra.grid import sizes_of
from smelt.algebra.printing import print_number
from smelt.algebra.settling import settle
from smelt.explanation.expectation import SAME, Moments, derive, draws
from smelt.explanation.groups import Case, Group
from smelt.explanation.linear_reading import Binding
from smelt.explanation.outcomes import UnderivableError
from smelt.planning.plan import Output, Plan

RANKS = (0.0, 0.5, 1.0)  # at which what hangs on an entry's rank within its row is looked at
MOST_TURNS = 6  # values of a gradient that are spelled out
DIGITS = 6  # of a number that was worked out

Values = tuple[float, ...]


@dataclass(frozen=True)
class Share:
    """A number for one model: one value, or several along the layers of a gradient."""

    model: str
    values: Values

    def to_json(self) -> dict[str, Any]:
        """Return the model with the smallest and the largest value."""
        return {"model": self.model, "low": min(self.values), "high": max(self.values)}


@dataclass(frozen=True)
class Expectation:
    """What draws give on average.

    Args:
        reference: the model that differences are taken from.
        shares: the mean factor of each model.
        cancelled: models whose mean factor is 0 and that scatter nevertheless.
        noise: for models whose factor is random its variance over its squared mean: the relative squared error that
            drawing adds to each parameter of the model's difference.
        amplification: mean factors over those that keeping every entry gives, for models where these differ.
        probability: with which an entry is kept, where that is one number for all draws, else ``None``.
        law: (q, N) where dropping multiplies the sum of the factors by A(q, N) = (1 − (1 − q)^N) / q.
        assumes_agreement: whether all this holds only where the differences do not conflict in sign.
        shares_draws: whether the errors of several models go together.
        hangs_on_rank: whether the values range over the entries of a row.
        spans_layers: whether they do so over the layers of a gradient as well, and are but the smallest and largest.
    """

    reference: str
    shares: tuple[Share, ...]
    cancelled: tuple[str, ...]
    noise: tuple[Share, ...]
    amplification: tuple[Share, ...]
    probability: float | None
    law: tuple[float, int] | None
    assumes_agreement: bool
    shares_draws: bool
    hangs_on_rank: bool
    spans_layers: bool

    @property
    def formula(self) -> str:
        """The mean as ``Base + 1·(Math − Base)``; without the reference where the factors do not sum to 1."""
        sums = [sum(values) for values in zip(*(s.values for s in self.shares), strict=True)]
        if any(abs(total - 1.0) > SAME for total in sums):
            return combine(self.shares)
        others = [s for s in self.shares if s.model != self.reference and any(s.values)]
        terms = [f"{_factor(s.values)}·({s.model} − {self.reference})" for s in others]
        return " + ".join([self.reference, *terms]).replace("+ −", "− ")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "formula": self.formula,
            "reference": self.reference,
            "density": self.probability,
            "coefficients": [share.to_json() for share in self.shares],
            "cancelled": list(self.cancelled),
            "relative_squared_error": [share.to_json() for share in self.noise],
            "amplification": [share.to_json() for share in self.amplification],
            "amplification_law": {"q": self.law[0], "n": self.law[1]} if self.law else None,
            "assumes_agreeing_signs": self.assumes_agreement,
            "errors_are_independent": not self.shares_draws,
            "ranges_over_ranks": self.hangs_on_rank,
        }


@dataclass(frozen=True)
class ClosedForm:
    """What the tensors of a group become.

    Args:
        formula: in algebra over the models' names.
        parts: its named parts, a line ``u = …`` each.
        shares: the factor of each model where the result is linear in them, else ``None``.
        expectation: for what draws, where it can be derived.
        underivable: why it cannot be.
    """

    formula: str
    parts: tuple[str, ...] = ()
    shares: tuple[Share, ...] | None = None
    expectation: Expectation | None = None
    underivable: str | None = None


def close(plan: Plan, group: Group, collapsed: Mapping[str, Coefficients | None]) -> ClosedForm:
    """Return what a group of tensors becomes.

    Args:
        plan: of the recipe.
        group: of its outputs.
        collapsed: the factors of each output's inputs by name, ``None`` where it is not linear.
    """
    names = [_name(plan, group, number) for number in range(len(group.outputs[0].inputs))]
    factors = [collapsed[output.spec.name] for output in group.outputs]
    linear = [f for f in factors if f is not None]
    if len(linear) == len(factors):
        shares = _shares(names, [[f.get(i, 0.0) for i in range(len(names))] for f in linear])
        return ClosedForm(_combine_exactly(linear, names, shares), shares=shares)
    root = plan.templates[group.outputs[0].template].root
    settled = settle(root, [case.slots for case in group.cases])
    formula, *parts = describe_parts(settled, names, _settings(settled, group.cases))
    if not draws(root):
        return ClosedForm(formula, tuple(parts))
    try:
        moments = [derive(root, binding) for output in group.outputs for binding in _bindings(root, output)]
    except UnderivableError as error:
        return ClosedForm(formula, tuple(parts), underivable=str(error) if draws(settled) else None)
    if not moments[0].assumes_agreement and all(m.is_certain for m in moments):
        shares = _shares(names, [m.mean.tolist() for m in moments])
        return ClosedForm(combine(shares), shares=shares)
    return ClosedForm(formula, tuple(parts), expectation=_expect(names, moments, _ranks(root)))


def combine(shares: Sequence[Share]) -> str:
    """Return ``2·Instruct − 1·Base``; what nowhere takes part is left out."""
    shown = [s for s in shares if any(s.values)] or shares
    return join_terms([(_factor(s.values), s.model) for s in shown])


def print_values(values: Sequence[float]) -> str:
    """Return one number, the values at which a gradient turns, or the smallest and largest of many."""
    turns = _find_turns(values)
    if len(turns) > MOST_TURNS:
        return f"between {_print_value(min(values))} and {_print_value(max(values))}"
    return " … ".join(map(_print_value, turns))


def _print_value(value: float) -> str:
    return print_number(float(f"{value:.{DIGITS}g}") + 0.0)  # −0 + 0 is 0


def _factor(values: Sequence[float]) -> str:
    text = print_values(values)
    return f"({text})" if " " in text else text


def _find_turns(values: Sequence[float]) -> list[float]:
    """Return the first and last value, and those between at which rising turns into falling or back."""
    turns: list[float] = []
    for value in values:
        if turns and abs(value - turns[-1]) <= SAME * abs(value):
            continue
        if len(turns) > 1 and (turns[-1] - turns[-2]) * (value - turns[-1]) > 0:
            turns.pop()
        turns.append(value)
    return turns


def _combine_exactly(factors: Sequence[Coefficients], names: Sequence[str], shares: Sequence[Share]) -> str:
    return combination(factors[0], names) if len(factors) == 1 else combine(shares)


def _shares(names: Sequence[str], rows: Sequence[Sequence[float]]) -> tuple[Share, ...]:
    """Return the values of each input, given those of all inputs layer by layer."""
    return tuple(Share(name, tuple(values)) for name, values in zip(names, zip(*rows, strict=True), strict=True))


def _expect(names: Sequence[str], moments: Sequence[Moments], hangs_on_rank: bool) -> Expectation:
    first = moments[0]
    others = [i for i in range(len(names)) if i != first.reference]
    shares = _shares(names, [m.mean.tolist() for m in moments])
    noise = [_share_of_known(names[i], [m.noise(i) for m in moments]) for i in others]
    grown = [_share_of_known(names[i], [m.amplification(i) for m in moments]) for i in others]
    spans_layers = hangs_on_rank and len(moments) > len(RANKS)
    if spans_layers:
        shares = tuple(map(_extremes, shares))
        noise, grown = ([_extremes(share) for share in found if share.values] for found in (noise, grown))
    return Expectation(
        names[first.reference],
        shares,
        tuple(names[i] for i in others if any(m.covariance[i, i] and not m.mean[i] for m in moments)),
        tuple(s for s in noise if any(s.values)),
        tuple(s for s in grown if any(abs(v - 1) > SAME for v in s.values)),
        first.probability if all(m.probability == first.probability for m in moments) else None,
        first.law if all(m.law == first.law for m in moments) else None,
        any(m.assumes_agreement for m in moments),
        any(m.shares_draws for m in moments),
        hangs_on_rank,
        spans_layers,
    )


def _extremes(share: Share) -> Share:
    return Share(share.model, tuple(sorted({min(share.values), max(share.values)})))


def _share_of_known(name: str, values: Sequence[float | None]) -> Share:
    """Return the values without those that are undefined, where a model has no share."""
    return Share(name, tuple(value for value in values if value is not None))


def _ranks(root: Expr) -> bool:
    return any(node.op == "rank" for node in walk(root))


def _bindings(root: Expr, output: Output) -> list[Binding]:
    """Return what to look at for one output: several ranks where an entry's rank takes part."""
    ranks = RANKS if _ranks(root) else RANKS[:1]
    sizes = sizes_of(output.spec.shape)
    return [Binding(output.slots, output.keys, sizes, len(output.inputs), rank) for rank in ranks]


def _settings(root: Expr, cases: Sequence[Case]) -> list[Any]:
    """Return the settings for the formula: numbers, and as text those that vary over the layers."""
    slots: list[Any] = list(cases[0].slots)
    for node in walk(root):
        if node.op in ("slot", "slots"):
            first = int(node.attributes[0] or 0)
            places = range(first, first + (node.models or 1))
            if any(case.slots[place] != slots[place] for case in cases for place in places):
                for place in places:
                    slots[place] = _factor([case.slots[place] for case in cases])
    return slots


def _name(plan: Plan, group: Group, number: int) -> str:
    """Return what a formula calls an input: its model, and the layers that are read where these are others."""
    checkpoints, above = group.cases[0].origins[number]
    name = " and ".join(plan.short_names[checkpoint] for checkpoint in checkpoints)
    if not above:
        return name
    if group.layers is None:
        return f"{name}[{above:+d} layers]".replace("-", "−")
    first, last = (layer + above for layer in group.layers)
    return f"{name}[layers {first}–{last}]" if first < last else f"{name}[layer {first}]"
