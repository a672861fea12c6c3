"""From what was added up to what is reported: of each tensor, and of layers, roles and all tensors together."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from smelt.algebra.numbers import sum_exactly
from smelt.arch.layers import Place
from smelt.inspection.blocks import Compared, pairs_of
from smelt.inspection.differences import Differences, Measure, Mismatch, Pair, Section, Shares, TensorDifference
from smelt.inspection.histograms import Histogram, join
from smelt.inspection.measuring import Sums
from smelt.inspection.shares import explain_result

WHOLE = "all"
OUTSIDE = "outside the layers"


@dataclass(frozen=True)
class Home:
    """Where a tensor belongs.

    Args:
        role: what it does.
        place: the block that it is in, if any.
    """

    role: str
    place: Place | None

    @property
    def layer(self) -> str | None:
        """The name of the block."""
        return f"{self.place.stack.prefix}.{self.place.layer}" if self.place else None

    def module(self, name: str) -> str:
        """Return what a tensor is called within the block."""
        return name.removeprefix(f"{self.layer}.") if self.layer else name


Key = tuple[str, str]  # layer, role or whole; and its label


class Ledger:
    """What is known so far; tasks hand over what they have, from any thread and in any order.

    Args:
        models, results: their labels.
        homes: of the tensors, by name, in the order of the report.
    """

    def __init__(self, models: Sequence[str], results: Sequence[str], homes: dict[str, Home]) -> None:
        self._models = tuple(models)
        self._results = tuple(results)
        self._homes = homes
        self._lock = threading.Lock()
        self._sums: dict[str, Sums] = {}
        self._histograms: dict[Key, list[Histogram]] = {}
        self._tensors: dict[str, TensorDifference] = {}

    def take(
        self, tensor: Compared, sums: Sums, histograms: Sequence[Histogram], ranks: Sequence[float | None]
    ) -> None:
        """Enter a tensor."""
        name = tensor.spec.name
        # Rounding does not stand in a difference that is not there.
        last_bits = tuple(b if largest else 0.0 for b, largest in zip(sums.last_bits, sums.largest, strict=True))
        sums = replace(sums, last_bits=last_bits)
        section = self._section(name, [sums], histograms)
        measures = zip(section.measures, ranks, strict=True)
        section = replace(section, measures=tuple(replace(m, effective_rank=r) for m, r in measures))
        home = self._homes[name]
        found = TensorDifference(
            name, tensor.spec.shape, home.role, home.layer, home.module(name), tensor.precision.name, section
        )
        with self._lock:
            self._sums[name] = sums
            self._tensors[name] = found
            for key in _keys_of(home):
                known = self._histograms.get(key)
                pairs = zip(known, histograms, strict=True) if known else ((h,) for h in histograms)
                self._histograms[key] = [join(pair) for pair in pairs]

    def close(self, base: str, mismatches: tuple[Mismatch, ...]) -> Differences:
        """Return everything, once all tensors are entered; without advice.

        Args:
            base: the base's label.
            mismatches: what was not measured.
        """
        return Differences(
            base,
            self._models,
            self._results,
            tuple(self._tensors[name] for name in self._homes),
            self._sections("layer"),
            self._sections("role"),
            self._sections("whole")[0],
            mismatches,
            (),
        )

    def _sections(self, kind: str) -> tuple[Section, ...]:
        """Return the layers, roles or the whole: ``layer``, ``role`` or ``whole``."""
        members: dict[Key, list[str]] = {}
        for name, home in self._homes.items():
            for key in _keys_of(home):
                members.setdefault(key, []).append(name)
        keys = [key for key in members if key[0] == kind]
        if kind == "layer":
            keys.sort(key=lambda key: _layer_order(self._homes[members[key][0]]))
        return tuple(
            self._section(key[1], [self._sums[name] for name in members[key]], self._histograms[key], True)
            for key in keys
        )

    def _section(
        self, label: str, parts: Sequence[Sums], histograms: Sequence[Histogram], has_octaves: bool = False
    ) -> Section:
        sums = _join_sums(parts)
        labels = (*self._models, *self._results)
        measures = tuple(_measure(labels[i], i, sums, histograms[i], has_octaves) for i in range(len(labels)))
        pairs = tuple(
            _pair(labels[i], labels[j], (i, j), number, sums) for number, (i, j) in enumerate(pairs_of(len(labels)))
        )
        return Section(
            label, len(parts), sums.elements, math.sqrt(sums.base), measures, pairs, tuple(self._shares(sums))
        )

    def _shares(self, sums: Sums) -> list[Shares]:
        count = len(self._models)
        gram = np.diag(np.array(sums.squares))
        for (i, j), product in zip(pairs_of(len(sums.squares)), sums.products, strict=True):
            gram[i, j] = gram[j, i] = product
        return [
            explain_result(result, gram[:count, :count], gram[count + n, :count].tolist(), gram[count + n, count + n])
            for n, result in enumerate(self._results)
        ]


def _keys_of(home: Home) -> tuple[Key, ...]:
    return ("layer", home.layer or OUTSIDE), ("role", home.role), ("whole", WHOLE)


def _layer_order(home: Home) -> tuple[bool, str, int]:
    return (home.place is None, home.place.stack.prefix if home.place else "", home.place.layer if home.place else 0)


def _join_sums(parts: Sequence[Sums]) -> Sums:
    """Return the sums of several tensors: floats exactly added, and the largest of what is largest."""
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {}
    for field in fields(Sums):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "largest":
            joined[field.name] = tuple(map(max, zip(*values, strict=True)))
        elif isinstance(values[0], tuple):
            joined[field.name] = tuple(map(_total, zip(*values, strict=True)))
        else:
            joined[field.name] = _total(values)
    return Sums(**joined)


def _total(values: Sequence[float]) -> float:
    return sum(values) if isinstance(values[0], int) else sum_exactly(values)


def _measure(label: str, at: int, sums: Sums, histogram: Histogram, has_octaves: bool) -> Measure:
    count = max(sums.elements - sums.nonfinite[at], 1)
    norm = math.sqrt(sums.squares[at])
    return Measure(
        label,
        zeros=histogram.zeros,
        nonfinite=sums.nonfinite[at],
        norm=norm,
        rms=norm / math.sqrt(count),
        largest=sums.largest[at],
        mean_magnitude=histogram.mean,
        relative=norm / math.sqrt(sums.base) if sums.base else None,
        quantiles=histogram.quantiles(),
        kurtosis=histogram.kurtosis,
        top_energy=histogram.top_energy(),
        rounding_rms=math.sqrt(sums.last_bits[at] / 12 / count),
        octaves=histogram.octaves() if has_octaves else (),
    )


def _pair(first: str, second: str, places: tuple[int, int], number: int, sums: Sums) -> Pair:
    i, j = places
    length = math.sqrt(sums.squares[i]) * math.sqrt(sums.squares[j])
    smaller = min(sums.supports[i], sums.supports[j])
    return Pair(
        first,
        second,
        cosine=min(max(sums.products[number] / length, -1.0), 1.0) if length else None,
        conflicts=sums.opposite[number] / sums.both[number] if sums.both[number] else None,
        overlap=sums.common[number] / smaller if smaller else None,
        chance=sums.chance[number] / smaller if smaller else None,
    )
