"""What stands beside the weights: configuration, tokenizer, index, the resolved recipe, the model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from smelt.planning.plan import Plan
from smelt.planning.stated_licences import CARD_NAME
from smelt.running.card import model_card
from smelt.tensors.checkpoint import CONFIG_NAME
from smelt.tensors.platform import open_file, sync_file, write_at
from smelt.tensors.shards import INDEX_NAME, index_json

RECIPE_NAME = "smelt_recipe.yml"
CHECKSUMS_NAME = "checksums.sha256"


def write_companions(plan: Plan, folder: Path) -> dict[str, str]:
    """Write every file of the output but the weights, and return their sha256 by name.

    Raises:
        OSError: when a file cannot be written.
    """
    return {name: write_whole(folder / name, content) for name, content in _contents(plan)}


def _contents(plan: Plan) -> Iterator[tuple[str, bytes]]:
    for number, name in plan.copies:
        yield name, plan.checkpoints[number].read_file(name)
    if plan.config is not None:
        yield CONFIG_NAME, (json.dumps(plan.config, indent=2, ensure_ascii=False) + "\n").encode()
    if len(plan.shards) > 1:
        yield INDEX_NAME, index_json(plan.shards).encode()
    yield RECIPE_NAME, plan.resolved.encode()
    yield CARD_NAME, model_card(plan).encode()


def write_checksums(folder: Path, checksums: Mapping[str, str]) -> str:
    """Write ``checksums.sha256``, which ``sha256sum -c`` takes, and return its own sha256.

    Args:
        folder: of the output.
        checksums: sha256 in hexadecimal by file name.

    Raises:
        OSError: when it cannot be written.
    """
    lines = (_checksum_line(name, checksums[name]) for name in sorted(checksums))
    return write_whole(folder / CHECKSUMS_NAME, "".join(lines).encode())


def _checksum_line(name: str, checksum: str) -> str:
    # A backslash in front of the line says that there are escapes in the name.
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{checksum}  {name}\n" if escaped == name else f"\\{checksum}  {escaped}\n"


def write_whole(path: Path, content: bytes) -> str:
    """Write a file that must not exist, wait until it is on the disk, and return its sha256.

    Raises:
        OSError: when it cannot be created.
        RunError: when it cannot be written.
    """
    with open_file(path, "xb") as file:
        write_at(file, content, 0)
        sync_file(file)
    return hashlib.sha256(content).hexdigest()
