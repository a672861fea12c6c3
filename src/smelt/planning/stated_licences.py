"""What the inputs of a merge say about their licences: the front matter of their cards, and their licence files.

All of it was written by others, so nothing in it can make a merge fail: what cannot be read is an unknown licence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import yaml

from smelt.errors import InputError
from smelt.planning.licences import (
    Licence,
    Licensing,
    StatedLicences,
    combine_licences,
    find_licence,
    known_licences,
)
from smelt.tensors.checkpoint import Checkpoint

CARD_NAME = "README.md"
LICENCE_FILE = re.compile(r"[^/]*(LICEN[CS]E|COPYING|NOTICE)[^/]*(?<!\.py)(?<!\.json)", re.IGNORECASE)
# No licence that allows trade has these words; where they stand in a text, it is that one changed, or another.
_RESTRICTING = re.compile(
    r"non[- ]?commercial|research (use |purposes? )?only|only for research|commercial use is (forbidden|prohibited|not)"
)
_MOST_BYTES = 4_000_000  # of a card that are looked at; those with tables of results take half a megabyte
_MOST_TEXT_BYTES = 200_000  # of a licence file
_MOST_CHARACTERS = 2_000  # of the lines of a card that name the licence
_MOST_NAMES = 20
_KEY_LINE = re.compile(r"""(["']?)license(_name|_link)?\1\s*:""")
_HIDDEN = re.compile(r"licen[cs]e|\\[xuU]", re.IGNORECASE)
_LINK = re.compile(r"https?://[\w./~%?=&#:+@-]{1,300}", re.ASCII)


@dataclass(frozen=True)
class _Found:
    """What one place says."""

    licences: tuple[Licence, ...] = ()
    note: str | None = None


def find_licensing(checkpoints: Sequence[Checkpoint], labels: Sequence[str]) -> Licensing:
    """Return under which licence a merge of checkpoints may be shared.

    Args:
        checkpoints: the inputs, at least one.
        labels: what they are called in what is written.
    """
    return combine_licences(
        [read_stated(checkpoint, label) for checkpoint, label in zip(checkpoints, labels, strict=True)]
    )


def read_stated(checkpoint: Checkpoint, label: str) -> StatedLicences:
    """Return what a checkpoint says about its licence; where it says nothing, that there is none."""
    card = _read_card(checkpoint) if CARD_NAME in checkpoint.files else _Found()
    texts = {name: _read_licence_file(checkpoint, name) for name in checkpoint.files if LICENCE_FILE.fullmatch(name)}
    places = {CARD_NAME: card, **texts} if card.note else _settle(card, texts)
    licences = dict.fromkeys(licence for found in places.values() for licence in found.licences)
    notes = [f"{name} {found.note}" for name, found in places.items() if found.note is not None]
    if not licences:
        licences = {known_licences()["none"]: None}
        notes = ["nothing here names one, and then all rights are reserved"]
    named = tuple(name for name, found in places.items() if found.licences)
    return StatedLicences(label, tuple(licences), named, tuple(notes))


def _settle(card: _Found, texts: Mapping[str, _Found]) -> dict[str, _Found]:
    """Return what a card and the licence files say together, where the one explains the other."""
    recognised = {name: found for name, found in texts.items() if any(map(_is_known, found.licences))}
    is_vague = all(licence.name in ("other", "unknown", "none") for licence in card.licences)
    leads_here = all(licence.link is None or licence.link.split("/")[-1] in texts for licence in card.licences)
    if is_vague and leads_here and any("code" not in name.casefold() for name in recognised):
        card = replace(card, licences=())  # it says 'other' or 'unknown' and no more: it means these
    elif not recognised and any(licence.family == "custom" for licence in card.licences):
        texts = {}  # a text that is not known is that one's
    return {CARD_NAME: card, **texts}


def _unknown(note: str) -> _Found:
    return _Found((known_licences()["unknown"],), note)


def _is_known(licence: Licence) -> bool:
    return licence.family != "unknown"


def _read_card(checkpoint: Checkpoint) -> _Found:
    try:
        text = checkpoint.read_file(CARD_NAME)[:_MOST_BYTES].decode("utf-8-sig", "replace")
        fields = _read_fields(_licence_lines(text))
    except (InputError, ValueError, OverflowError, RecursionError, yaml.YAMLError):
        return _unknown("says something of its licence that cannot be read")
    licences = [find_licence(name) for name in fields["license"]]
    names, links = fields["license_name"], [_full_link(link, checkpoint) for link in fields["license_link"]]
    if names:  # all that is said holds
        named = [find_licence(name) for name in names]
        licences = [licence for licence in licences if licence.name != "other"] + named
    link = next((link for link in links if link is not None), None)
    return _Found(tuple(replace(one, link=link) if one.family == "custom" else one for one in licences))


def _full_link(link: str, checkpoint: Checkpoint) -> str | None:
    """Return a link that holds outside the repository, or ``None`` where there is none."""
    if checkpoint.repository and checkpoint.commit and LICENCE_FILE.fullmatch(link):
        return f"https://huggingface.co/{checkpoint.repository}/blob/{checkpoint.commit}/{link}"
    return link if _LINK.fullmatch(link) else None


def _licence_lines(text: str) -> str:
    """Return the lines of the front matter that speak of the licence, so that no more of it has to be parsed.

    Raises:
        ValueError: when something else there may speak of it.
    """
    first, *lines = re.split(r"\r\n|\r|\n", text.lstrip())
    if first.rstrip() != "---":
        return ""
    kept: list[str] = []
    inside = False
    for number, line in enumerate(lines):
        if line.rstrip() == "---":
            if not kept and _HIDDEN.search("\n".join(lines[:number])):
                raise ValueError("a licence that is said in a way that is not read here")
            return "\n".join(kept)
        if line[:1] not in ("", " ", "\t", "-", "#", "\r"):
            inside = _KEY_LINE.match(line) is not None
        if inside:
            kept.append(line)
    return ""


def _read_fields(lines: str) -> Mapping[str, list[str]]:
    """Return the texts of each field. Nothing is constructed, so that aliases cannot grow.

    Raises:
        ValueError: when they are too long, or hold something else than texts.
    """
    fields: dict[str, list[str]] = {"license": [], "license_name": [], "license_link": []}
    if len(lines) > _MOST_CHARACTERS:
        raise ValueError("too long")
    root = yaml.compose(lines, Loader=yaml.SafeLoader)
    if root is None:
        return fields
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("no mapping")
    for key, value in root.value:
        if not isinstance(key, yaml.ScalarNode) or key.value not in fields:
            continue
        nodes = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if len(nodes) > _MOST_NAMES or not all(isinstance(node, yaml.ScalarNode) for node in nodes):
            raise ValueError("no text")
        fields[key.value] += [node.value for node in nodes if node.value and not node.tag.endswith(":null")]
    return fields


def _read_licence_file(checkpoint: Checkpoint, name: str) -> _Found:
    try:
        content = checkpoint.read_file(name)[:_MOST_TEXT_BYTES]
    except InputError:
        return _unknown("cannot be read")
    recognised = recognise_licences(content.decode("utf-8", "replace"))
    if recognised or name.casefold().startswith("notice"):  # a notice often names nothing but the authors
        return _Found(recognised)
    return _unknown("is no text that is known here")


def recognise_licences(text: str) -> tuple[Licence, ...]:
    """Return the licences whose text, or whose notice, ``text`` is; none where it is no text that is known."""
    plain = " ".join(re.sub(r"[*\\_]", "", text.casefold()).split())
    found = [licence for licence in dict.fromkeys(known_licences().values()) if _is_text_of(licence, plain)]
    if _RESTRICTING.search(plain) and all(licence.commercial for licence in found):
        return ()
    return tuple(found)


def _is_text_of(licence: Licence, plain: str) -> bool:
    if licence.most_characters is not None and len(plain) > licence.most_characters:
        return False
    return any(_holds_in_order(plain, text.split(" … ")) for text in licence.texts)


def _holds_in_order(plain: str, parts: Sequence[str]) -> bool:
    position = 0
    for part in parts:
        found = plain.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return True
