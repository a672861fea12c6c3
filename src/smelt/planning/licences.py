"""Licences: what is known of them, and under which one a merge may be shared. No legal advice.

The rules are data, in ``licences.yml``; what the inputs say is read by ``stated_licences``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

_LONGEST_NAME = 60  # of a licence that a card names


@dataclass(frozen=True)
class Licence:
    """One licence; the fields are explained in ``licences.yml``. ``None`` stands for what is not known of it."""

    identifiers: tuple[str, ...]
    title: str
    family: str
    on_hub: bool = True
    commercial: bool | None = None
    derivatives: Literal["free", "bound", "same", "none"] | None = None
    duties: tuple[str, ...] = ()
    link: str | None = None
    texts: tuple[str, ...] = ()
    most_characters: int | None = None
    source: str = ""
    read: str = ""

    @property
    def name(self) -> str:
        """What cards and messages call it."""
        return self.identifiers[0]


@dataclass(frozen=True)
class StatedLicences:
    """What one input says: its licences, which all hold at once, where that stands, and what is odd about it."""

    label: str
    licences: tuple[Licence, ...]
    places: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def names(self) -> str:
        """Its licences for a reader, with where they stand."""
        names = " and ".join(licence.name for licence in self.licences)
        return f"{names} ({', '.join(self.places)})" if self.places else names


@dataclass(frozen=True)
class Licensing:
    """Under which licence a merge may be shared, and why.

    Args:
        inputs: what each input says, in the order of the plan's checkpoints.
        identifier, name, link: ``license``, ``license_name`` and ``license_link`` of the card.
        reason: one sentence, without its full stop.
        duties: what whoever shares the merge has to do, each after the name of the licence that asks for it.
        warnings: why the merge may not be shared, or not yet.
    """

    inputs: tuple[StatedLicences, ...]
    identifier: str
    name: str | None
    link: str | None
    reason: str
    duties: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its name for a reader."""
        return self.name or self.identifier

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "license": self.identifier,
            "license_name": self.name,
            "license_link": self.link,
            "reason": self.reason,
            "duties": list(self.duties),
            "warnings": list(self.warnings),
            "inputs": [
                {
                    "name": stated.label,
                    "licenses": [licence.name for licence in stated.licences],
                    "stated_in": list(stated.places),
                    "notes": list(stated.notes),
                }
                for stated in self.inputs
            ],
        }


@cache
def known_licences() -> Mapping[str, Licence]:
    """Return the licences of ``licences.yml`` by each of their identifiers, in the order of the file."""
    text = files("smelt.planning").joinpath("licences.yml").read_text(encoding="utf-8")
    licences = [_licence(entry) for entry in yaml.safe_load(text)]
    return {identifier: licence for licence in licences for identifier in licence.identifiers}


def find_licence(name: str) -> Licence:
    """Return the licence that a card calls ``name``: a known one, else one of that name of which nothing is known.

    A name that is long, or has other signs than the hub's own, is an unknown licence: they may restrict a known one.
    """
    plain = re.sub(r"[\s_-]+", "-", name.strip().lower())
    if len(plain) > _LONGEST_NAME or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", plain):
        return known_licences()["unknown"]
    return known_licences().get(plain) or replace(known_licences()["other"], identifiers=(plain,), title=plain)


def combine_licences(inputs: Sequence[StatedLicences]) -> Licensing:
    """Return the licence of a merge: the one of an input whose conditions cover all others, else all of them at once.

    Args:
        inputs: what each input says, at least one.
    """
    found = list(dict.fromkeys(_own(licence, stated.label) for stated in inputs for licence in stated.licences))
    unknown = [stated.label for stated in inputs if any(licence.family == "unknown" for licence in stated.licences)]
    return Licensing(
        tuple(inputs),
        *_choose(found, unknown),
        tuple(dict.fromkeys(f"{licence.name}: {duty}" for licence in found for duty in licence.duties)),
        tuple(dict.fromkeys([*_warn_of_unknown(inputs), *_warn_of_conflicts(found)])),
    )


def _own(licence: Licence, label: str) -> Licence:
    """Return the licence of one input: without a name, it is another than the unnamed one of any other input."""
    return replace(licence, title=f"the licence of {label}") if licence.name == "other" else licence


def _choose(found: Sequence[Licence], unknown: Sequence[str]) -> tuple[str, str | None, str | None, str]:
    """Return the three fields of the card, and the reason."""
    names = _names(found)
    covering = [one for one in found if all(_covers(one, other) for other in found)]
    if unknown:
        return (
            "unknown",
            None,
            None,
            f"the licence of {_listed(unknown)} is not known, so that of the merge is not either",
        )
    if not covering:
        names = _names([one for one in found if not any(_is_stricter(other, one) for other in found)])
        if len(names) == 1:
            reason = f"the inputs mean different licences by {names[0]}, so they all hold at once"
        else:
            reason = f"none of {_listed(names)} covers the conditions of the others, so they all hold at once"
        return "other", None if names == ["other"] else "-and-".join(names), None, reason
    chosen = max(covering, key=_rank)
    return *_card_fields(chosen), _say_why(chosen, [name for name in names if name != chosen.name])


def _say_why(chosen: Licence, others: Sequence[str]) -> str:
    """Return why the merge may be shared under ``chosen`` alone."""
    if not others:
        return f"every input is under {chosen.name}"
    if chosen.family == "custom":
        return f"{_listed(others)} would allow other conditions, but those of {chosen.name}, not known here, hold too"
    return f"the conditions of {chosen.name} cover those of {_listed(others)}"


def _covers(one: Licence, other: Licence) -> bool:
    """Say whether a work made of both may be shared under ``one`` alone, besides the other's duties."""
    if one == other:
        return True
    return other.derivatives == "free" and (other.commercial is True or one.commercial is False)


def _is_stricter(one: Licence, other: Licence) -> bool:
    return _covers(one, other) and not _covers(other, one)


def _rank(licence: Licence) -> int:
    order = list(known_licences())
    return order.index(licence.name) if licence.name in order else len(order)


def _card_fields(chosen: Licence) -> tuple[str, str | None, str | None]:
    if chosen.on_hub:
        return chosen.name, None, None
    return "other", None if chosen.name == "other" else chosen.name, chosen.link


def _warn_of_unknown(inputs: Iterable[StatedLicences]) -> list[str]:
    unknown: dict[tuple[str, ...], list[str]] = {}  # labels by what is said about them
    warnings = []
    for stated in inputs:
        if any(licence.family == "unknown" for licence in stated.licences):
            unknown.setdefault(tuple(stated.notes), []).append(stated.label)
        warnings += [
            f"the conditions of {licence.name}, the licence of {stated.label}, are not known here: read its text"
            for licence in stated.licences
            if licence.family == "custom"
        ]
    for notes, labels in unknown.items():
        why = f" ({'; '.join(notes)})" if notes else ""
        asked = "its author" if len(labels) == 1 else "their authors"
        warnings.append(f"the licence of {_listed(labels)} is not known{why}: ask {asked} before sharing the merge")
    return warnings


def _warn_of_conflicts(found: Sequence[Licence]) -> list[str]:
    """Return a line for what may not be shared, and for each pair of licences that cannot both be kept."""
    forbidding = [licence for licence in found if licence.derivatives == "none"]
    warnings = [
        f"{one.name} lets nobody share a changed work, and a merge is one: do not share it" for one in forbidding
    ]
    settled = [licence for licence in found if licence.family != "unknown" and licence not in forbidding]
    for one in settled:
        clashing = [other.name for other in settled if one.derivatives == "same" and not _covers(one, other)]
        if clashing:
            warnings.append(
                f"{one.name} must be the only licence of whatever is made of the work, and {_listed(clashing)} cannot "
                "be dropped: no licence fits both, so do not share the merge"
            )
    return warnings


def _names(licences: Iterable[Licence]) -> list[str]:
    return list(dict.fromkeys(licence.name for licence in licences))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _licence(entry: Mapping[str, Any]) -> Licence:
    fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in entry.items()}
    source = fields.pop("source", {})
    return Licence(**fields, source=source.get("url", ""), read=str(source.get("read", "")))
