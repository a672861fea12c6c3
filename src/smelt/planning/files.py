"""The files beside the weights: which are carried over, and what models are called in what is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from smelt.tensors.checkpoint import CONFIG_NAME, Checkpoint

# Tokenizers, generation settings, processors, custom code and the licence belong to the model and travel with it.
COPIED = re.compile(
    r".*\.(json|jinja|model|tiktoken|py|vocab|bpe)|(vocab|merges|special_tokens).*\.txt|(LICEN[CS]E|NOTICE).*"
)
# These speak of the input itself, or of how it was made.
LEFT = re.compile(
    r"adapter_.*|mergekit_.*|smelt_.*|provenance\.json|trainer_state\.json|training_args.*|.*results.*\.json|"
    r"(optimizer|scheduler|rng_state).*|figures\.json"
)


def choose_copies(checkpoints: Sequence[Checkpoint], home: int) -> Iterator[tuple[int, str]]:
    """Yield the files of the home checkpoint that the result carries over, byte for byte."""
    for name in checkpoints[home].files:
        if name != CONFIG_NAME and "/" not in name and COPIED.fullmatch(name) and not LEFT.fullmatch(name):
            yield home, name


def public_names(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Return what written files call each checkpoint: hub ids, relative paths, and the tail of absolute paths."""
    names: list[str] = []
    for checkpoint in checkpoints:
        name = checkpoint.repository or public_path(checkpoint.name)
        clashes = sum(1 for other in names if re.fullmatch(re.escape(name) + r"( \(\d+\))?", other))
        names.append(f"{name} ({clashes + 1})" if clashes else name)
    return names


def public_path(text: str) -> str:
    """Return a path as it was written if that says nothing about this machine, else its last part."""
    path = PurePath(text)
    is_absolute = path.is_absolute() or text.startswith(("~", "\\", "/")) or re.match(r"[A-Za-z]:[\\/]", text)
    return re.split(r"[\\/]", text.rstrip("\\/"))[-1] if is_absolute else text


def public_reference(checkpoint: Checkpoint, label: str) -> str:
    """Return how the resolved recipe names a model: pinned to its commit if it is one of the hub."""
    return f"{checkpoint.repository}@{checkpoint.commit}" if checkpoint.repository and checkpoint.commit else label
