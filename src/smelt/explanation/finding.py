"""Finding a recipe: in a file, on standard input, or beside a model in a folder or on the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from smelt.errors import InputError
from smelt.recipes.nouns import Recipe
from smelt.recipes.reading import STANDARD_INPUT, read, read_text, take_standard_input
from smelt.tensors.folder import read_whole
from smelt.tensors.hub import load_first
from smelt.tensors.locating import locate

CARD = "README.md"
BESIDE_MODELS = ("mergekit_config.yml", "smelt_recipe.yml", CARD)  # where the recipe of a merge stands
FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([\w-]*)[^`]*")
METHOD = re.compile(r"^[ \t]*merge_method[ \t]*:", re.MULTILINE)
RECIPE_FILES = (".yml", ".yaml", ".md", ".txt", ".json")


def find_recipe(source: str | Path, *, lenient: bool = False) -> Recipe:
    """Read the recipe that a merge was made with.

    Args:
        source: what ``smelt.read`` takes; or a model card, on standard input one of at most 100 kB; or a folder or hub
            id that holds ``mergekit_config.yml``, ``smelt_recipe.yml`` or a model card. Of a card, the fenced blocks
            that name a ``merge_method`` are read.
        lenient: whether to pass over what mergekit ignores, with a note for each.

    Raises:
        InputError: when there is none, or it is wrong.
    """
    if isinstance(source, str) and ("\n" in source or source == "-"):
        text, origin = (take_standard_input(), STANDARD_INPUT) if source == "-" else (source, "recipe")
        is_card = bool(_find_recipes(text.splitlines()))
        return read_text(take_from_card(text, origin) if is_card else text, origin, lenient=lenient)
    path = Path(source)
    if path.is_dir():
        found = next((path / name for name in BESIDE_MODELS if (path / name).is_file()), None)
        if found is None:
            raise InputError(f"{source}: the folder holds no recipe: none of {', '.join(BESIDE_MODELS)}")
        path = found
    elif not path.exists() and isinstance(source, str) and _may_be_repository(source):
        return _load(source, lenient)
    if path.suffix != Path(CARD).suffix:
        return read(path, lenient=lenient)
    return read_text(take_from_card(_read_card(path), path.name), path.name, lenient=lenient)


def take_from_card(card: str, origin: str) -> str:
    """Return the recipe in the text of a model card; it has the line numbers of the card.

    Raises:
        InputError: when no fenced block of it names a ``merge_method``.
    """
    lines = card.splitlines()
    kept = [""] * len(lines)
    for place, (first, last) in enumerate(found := _find_recipes(lines)):
        if place:
            kept[first - 1] = "---"  # in place of the mark that opens the block
        kept[first:last] = lines[first:last]
    if not found:
        raise InputError(f"{origin}: no recipe: no block between ``` marks says 'merge_method'")
    return "\n".join(kept) + "\n"


def _find_recipes(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Return the first line and the one after the last of every fenced block that names a ``merge_method``."""
    return [(first, last) for first, last in _find_blocks(lines) if METHOD.search("\n".join(lines[first:last]))]


def _find_blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the first line and the one after the last of every fenced block, without its marks."""
    opened: tuple[int, str] | None = None
    for number, line in enumerate(lines):
        fence = FENCE.fullmatch(line)
        if fence and opened is None:
            opened = number + 1, fence[1]
        elif fence and opened is not None and fence[1].startswith(opened[1]) and not fence[2]:
            yield opened[0], number
            opened = None
    if opened is not None:
        yield opened[0], len(lines)


def _read_card(path: Path) -> str:
    return read_whole(path, path.name).decode("utf-8-sig", errors="replace")


def _may_be_repository(text: str) -> bool:
    """Say whether a text that is no path may be ``org/name``; what looks like a recipe's file is a mistyped one."""
    if text.count("/") != 1 or text.endswith(RECIPE_FILES):
        return False
    try:
        return locate(text).repository is not None
    except InputError:
        return False


def _load(source: str, lenient: bool) -> Recipe:
    where = locate(source)
    found = load_first(str(where.repository), where.revision, BESIDE_MODELS)
    if found is None:
        raise InputError(f"{source}: the repository holds no recipe: none of {', '.join(BESIDE_MODELS)}")
    name, content = found
    origin = f"{source}/{name}"
    text = content.decode("utf-8-sig", errors="replace")
    return read_text(take_from_card(text, origin) if name == CARD else text, origin, lenient=lenient)
