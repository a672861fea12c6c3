"""What the inputs of a merge say about their licences: the front matter of their cards, and their licence files.

All of it was written by others, so nothing in it can make a merge fail: what cannot be read is an unknown licence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import yaml

from smelt.errors import InputError
from smelt.planning.files import LICENCE_FILE
from smelt.planning.licence_texts import recognise_licences, restricts_use
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
_MOST_BYTES = 4_000_000  # of a card that are looked at; those with tables of results take half a megabyte
_MOST_TEXT_BYTES = 200_000  # of a licence file
_MOST_CHARACTERS = 2_000  # of the lines of a card that name the licence
_MOST_NAMES = 20
_KEY_LINE = re.compile(r"""(["']?)license(_name|_link)?\1\s*:""")
_ODD_KEY = re.compile(r"""[{?&*!]|"[^"]*\\""")  # may be any key
_MENTION = re.compile(r"licen[cs]e", re.IGNORECASE)
_DECORATION = re.compile(r"^https?://(www\.)?|(/legalcode|\.txt|\.md|\.html)?/?$")
_LINK = re.compile(r"https?://[\w./~%?=&#:+@-]{1,300}", re.ASCII)


class Files(Protocol):
    """What is looked at of a model: a ``Checkpoint``, or what can be read of one that is not sound."""

    @property
    def repository(self) -> str | None:
        """The hub id without its revision, for a model of the hub."""

    @property
    def commit(self) -> str | None:
        """The hub commit that is read, for a model of the hub."""

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files beside the weights."""

    @property
    def read_file(self) -> Callable[[str], bytes]:
        """What gives the content of one of ``files``."""


@dataclass(frozen=True)
class _Found:
    """What one place says."""

    licences: tuple[Licence, ...] = ()
    note: str | None = None
    file: str | None = None  # which it links to


def find_licensing(checkpoints: Sequence[Checkpoint], labels: Sequence[str]) -> Licensing:
    """Return under which licence a merge of checkpoints may be shared.

    Args:
        checkpoints: the inputs, at least one.
        labels: what they are called in what is written.
    """
    return combine_licences(
        [read_stated(checkpoint, label) for checkpoint, label in zip(checkpoints, labels, strict=True)]
    )


def read_stated(checkpoint: Files, label: str) -> StatedLicences:
    """Return what a checkpoint says about its licence; where it says nothing, that there is none."""
    card = _read_card(checkpoint) if CARD_NAME in checkpoint.files else _Found()
    texts = {name: _read_licence_file(checkpoint, name) for name in checkpoint.files if LICENCE_FILE.fullmatch(name)}
    places = {CARD_NAME: card, **texts} if card.note else _settle(card, texts)
    licences = dict.fromkeys(licence for found in places.values() for licence in found.licences)
    notes = [f"{_printable(name)} {found.note}" for name, found in places.items() if found.note is not None]
    if not licences:
        licences = {known_licences()["none"]: None}
        notes = ["nothing here names one, and then all rights are reserved"]
    named = tuple(_printable(name) for name, found in places.items() if found.licences)
    return StatedLicences(label, tuple(licences), named, tuple(notes))


def _settle(card: _Found, texts: Mapping[str, _Found]) -> dict[str, _Found]:
    """Return what a card and the licence files say together, where the one explains the other."""
    plausible = [name for name in texts if not re.search("code|notice", name, re.IGNORECASE)]
    linked = [name for name in plausible if card.file in (None, name)]
    meant = linked or plausible
    unread = [name for name in meant if not _is_recognised(texts[name])]
    is_custom = any(licence.family == "custom" for licence in card.licences)
    is_vague = all(licence.name in ("other", "unknown", "none") for licence in card.licences)
    if is_vague and any(_is_recognised(texts[name]) for name in linked):
        card = replace(card, licences=())  # it says 'other' or 'unknown' and no more: then it means these
    elif is_custom and len(meant) == 1:  # then this one, where it is not recognised, is the text of what the card names
        texts = {name: found for name, found in texts.items() if name not in unread}
    return {CARD_NAME: card, **texts}


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _unknown(note: str) -> _Found:
    return _Found((known_licences()["unknown"],), note)


def _is_recognised(found: _Found) -> bool:
    return any(licence.family != "unknown" for licence in found.licences)


def _read_card(checkpoint: Files) -> _Found:
    try:
        text = checkpoint.read_file(CARD_NAME)[:_MOST_BYTES].decode("utf-8-sig", "replace")
        fields = _read_fields(_licence_lines(text))
    except (InputError, ValueError, OverflowError, RecursionError, yaml.YAMLError):
        return _unknown("says something of its licence that cannot be read")
    licences, named = ([find_licence(name) for name in fields[key]] for key in ("license", "license_name"))
    if any(find_licence(name).name == "unknown" != name.lower() for name in fields["license"] + fields["license_name"]):
        return _unknown("names its licence in a way that is not known here")
    if named:  # then 'other' stands for it, while a licence that is named besides holds too
        licences = [licence for licence in licences if licence.name != "other"] + named
    return _follow_links(licences, fields["license_link"], checkpoint)


def _follow_links(licences: Sequence[Licence], links: Sequence[str], checkpoint: Files) -> _Found:
    """Return the licences of a card, those without known conditions with its first link that holds anywhere."""
    full = next((link for link in (_full_link(link, checkpoint) for link in links) if link is not None), None)
    is_custom = any(one.family == "custom" for one in licences)
    if not is_custom and not all(_adds_nothing(link, licences, checkpoint) for link in links):
        return _unknown("links to a licence that is not read here")
    linked = tuple(replace(one, link=full) if one.family == "custom" else one for one in licences)
    return _Found(linked, file=links[0].rsplit("/", 1)[-1] if links else None)


def _adds_nothing(link: str, licences: Sequence[Licence], checkpoint: Files) -> bool:
    """Say whether a link leads to a licence file, which then is read if it is here, or to a licence that is named."""
    last = _DECORATION.sub("", link).rsplit("/", 1)[-1]
    if link in checkpoint.files:
        return LICENCE_FILE.fullmatch(link) is not None
    known = [one for one in licences if one.link and _DECORATION.sub("", one.link) == _DECORATION.sub("", link)]
    return bool(known) or last.lower() in ("license", "licence", "copying") or find_licence(last) in licences


def _full_link(link: str, checkpoint: Files) -> str | None:
    """Return a link that holds outside the repository, or ``None`` where there is none."""
    if checkpoint.repository and checkpoint.commit and link in checkpoint.files:
        link = f"https://huggingface.co/{checkpoint.repository}/blob/{checkpoint.commit}/{link}"
    return link if _LINK.fullmatch(link) else None


def _licence_lines(text: str) -> str:
    """Return the lines of the front matter that speak of the licence, so that no more of it has to be parsed.

    Raises:
        ValueError: when it speaks of the licence in another way, or has keys in which that cannot be seen.
    """
    first, *lines = re.split(r"\r\n?|\n", text.lstrip())
    if first.rstrip() != "---":
        return ""
    end = next((number for number, line in enumerate(lines) if line.rstrip() == "---"), len(lines))
    kept: list[str] = []
    inside = False
    for line in lines[:end]:
        if line[:1] not in ("", " ", "\t", "-", "#"):
            inside = _KEY_LINE.match(line) is not None
            if _ODD_KEY.match(line):
                raise ValueError("a key that is not plain")
        if inside:
            kept.append(line)
    if (end == len(lines) or not kept) and any(_MENTION.search(line) for line in lines[:end]):
        raise ValueError("no plain key")
    return "\n".join(kept)


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


def _read_licence_file(checkpoint: Files, name: str) -> _Found:
    try:
        content = checkpoint.read_file(name)[:_MOST_TEXT_BYTES]
    except InputError:
        return _unknown("cannot be read")
    text = content.decode("utf-8", "replace")
    recognised = recognise_licences(text)
    is_notice = "notice" in name.casefold() and not restricts_use(text)  # it often names nothing but the authors
    if recognised or is_notice:
        return _Found(recognised)
    return _unknown("is no text that is known here")
