"""What stands beside the weights: configuration, tokenizer, index, the resolved recipe, the model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from smelt.planning.files import public_reference
from smelt.planning.plan import Plan
from smelt.recipes.nouns import Reference
from smelt.recipes.writing import write_recipe
from smelt.running.card import model_card
from smelt.tensors.checkpoint import CONFIG_NAME
from smelt.tensors.platform import open_file, sync_file, write_at
from smelt.tensors.shards import INDEX_NAME, index_json

RECIPE_NAME = "smelt_recipe.yml"
CARD_NAME = "README.md"
CHECKSUMS_NAME = "checksums.sha256"


def write_companions(plan: Plan, folder: Path) -> dict[str, str]:
    """Write every file of the output but the weights, and return their sha256 by name.

    Raises:
        OSError: when a file cannot be written.
    """
    return {name: _write(folder / name, content) for name, content in _contents(plan)}


def _contents(plan: Plan) -> Iterator[tuple[str, bytes]]:
    for number, name in plan.copies:
        yield name, plan.checkpoints[number].read_file(name)
    if plan.config is not None:
        yield CONFIG_NAME, (json.dumps(plan.config, indent=2, ensure_ascii=False) + "\n").encode()
    if len(plan.shards) > 1:
        yield INDEX_NAME, index_json(plan.shards).encode()
    recipe = resolved_recipe(plan)
    yield RECIPE_NAME, recipe.encode()
    yield CARD_NAME, model_card(plan, recipe).encode()


def write_checksums(folder: Path, checksums: Mapping[str, str]) -> None:
    """Write ``checksums.sha256``, which ``sha256sum -c`` takes.

    Args:
        folder: of the output.
        checksums: sha256 in hexadecimal by file name.

    Raises:
        OSError: when it cannot be written.
    """
    lines = (_checksum_line(name, checksums[name]) for name in sorted(checksums))
    _write(folder / CHECKSUMS_NAME, "".join(lines).encode())


def resolved_recipe(plan: Plan) -> str:
    """Return the recipe with nothing left unsaid: defaults, seed, hub commits; and no path of this machine."""

    def rename(reference: Reference) -> str:
        number = plan.references[reference]
        return public_reference(plan.checkpoints[number], plan.labels[number])

    return write_recipe(plan.recipe, rename)


def _checksum_line(name: str, checksum: str) -> str:
    # A backslash in front of the line says that there are escapes in the name.
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{checksum}  {name}\n" if escaped == name else f"\\{checksum}  {escaped}\n"


def _write(path: Path, content: bytes) -> str:
    with open_file(path, "xb") as file:
        write_at(file, content, 0)
        sync_file(file)
    return hashlib.sha256(content).hexdigest()
