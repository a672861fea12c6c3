"""From the text that names a model to the place where it is.

=========================  ====================================================
text                       place
=========================  ====================================================
``path``                   a folder or file on this machine
``org/name``, ``name``     a repository on the hub
``org/name@revision``      a branch, tag or commit of it
``X+adapter[@revision]``   one of these with an adapter
=========================  ====================================================

What exists on disk wins: a path may contain ``+``, ``@``, ``:`` and blanks.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from smelt.errors import InputError, nearest
from smelt.tensors.quoting import quote

_LONGEST_REPOSITORY = 200  # characters; the hub allows 96, and says so itself
_REVISION = re.compile(r"[\w.+-]+(/[\w.+-]+)*", re.ASCII)
_LONGEST_REVISION = 200
_REPOSITORY = re.compile(r"\b[\w.-]+\b(/\b[\w.-]+\b)?", re.ASCII)


@dataclass(frozen=True)
class Location:
    """Where a model is: either ``path`` or ``repository`` (with ``revision``, if one is named) is set."""

    path: Path | None = None
    repository: str | None = None
    revision: str | None = None
    adapter: str | None = None


def locate(text: str, revision: str | None = None) -> Location:
    """Return the place that ``text`` names. Looks at this machine's files only, never at the network.

    Args:
        text: a path (relative to the working directory, ``~`` allowed) or a reference as in the table above.
        revision: a revision given apart from the text.

    Raises:
        InputError: when it is neither on disk nor a possible hub id, or when a local path has a revision.
    """
    model, adapter = _split_adapter(text)
    path = _existing(model)
    if path is not None:
        if revision is not None:
            raise InputError(f"{quote(model)} is a local path and cannot have a revision ({quote(revision)})")
        return Location(path=path, adapter=adapter)
    repository, _, named = model.partition("@")
    if named and _existing(repository) is not None:
        raise InputError(f"{quote(repository)} is a local path and cannot have a revision ({quote(named)})")
    if not _is_repository(repository) or model.endswith("@"):
        raise InputError(f"{quote(text)}: no such file or folder{nearest_sibling(text)}")
    if named and revision not in (None, named):
        raise InputError(
            f"{quote(text)} names the revision {quote(named)}, and {quote(revision or '')} is given as well; keep one"
        )
    chosen = named or revision
    if chosen is not None and not _is_revision(chosen):
        raise InputError(f"{quote(repository)}: {quote(chosen)} cannot be a branch, tag or commit")
    return Location(repository=repository, revision=chosen, adapter=adapter)


def nearest_sibling(text: str) -> str:
    """Return ``"; did you mean 'x'?"`` for the existing path closest to one that does not exist, or ``"."``."""
    wanted = Path(os.path.expanduser(text))
    folder = wanted.parent
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return f" ({quote(str(folder))} does not exist either)." if str(folder) != "." else "."
    return nearest(str(wanted), [str(folder / name) for name in names])


def _split_adapter(text: str) -> tuple[str, str | None]:
    """Split ``model+adapter``: behind the longest part that is on disk, else at the first ``+`` of a hub reference."""
    if _existing(text) is not None or "+" not in text:
        return text, None
    cuts = [position for position, character in enumerate(text) if character == "+"]
    for cut in reversed(cuts):
        if _existing(text[:cut]) is not None:
            return text[:cut], text[cut + 1 :]
    model = text[: cuts[0]]
    return (model, text[cuts[0] + 1 :]) if _is_repository(model.partition("@")[0]) else (text, None)


def _existing(text: str) -> Path | None:
    for candidate in (text, os.path.expanduser(text)):
        if candidate and os.path.exists(candidate):
            return Path(candidate)
    return None


def _is_repository(text: str) -> bool:
    if len(text) > _LONGEST_REPOSITORY or "--" in text or ".." in text:
        return False
    return bool(_REPOSITORY.fullmatch(text))


def _is_revision(text: str) -> bool:
    """Say whether git could have such a name; it becomes a path in the hub's cache, and must not lead out of that."""
    return len(text) <= _LONGEST_REVISION and ".." not in text and bool(_REVISION.fullmatch(text))
