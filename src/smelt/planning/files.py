"""The files beside the weights: which are carried over, and what models are called in what is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from smelt.tensors.checkpoint import CONFIG_NAME, Checkpoint

# Tokenizers, generation settings, processors, custom code and the licence belong to the model and travel with it.
COPIED = re.compile(r".*\.(json|jinja|model|tiktoken|py|vocab|bpe)|(vocab|merges|special_tokens).*\.txt")
LICENCE_FILE = re.compile(r"(?!.*\.(py|json)$).*(licen[cs]e|copying|notice).*", re.ASCII | re.IGNORECASE)
TOKENIZER = re.compile(
    r"tokenizer.*|special_tokens_map\.json|added_tokens\.json|(vocab|merges)\..*|chat_template.*|"
    r".*\.(model|tiktoken|spm|bpe)|tokenization_.*\.py"
)
# These speak of the input itself, or of how it was made.
LEFT = re.compile(
    r"adapter_.*|mergekit_.*|smelt_.*|provenance\.json|trainer_state\.json|training_args.*|.*results.*\.json|"
    r"(optimizer|scheduler|rng_state).*"
)


def choose_copies(checkpoints: Sequence[Checkpoint], home: int, tokenizer: int) -> Iterator[tuple[int, str]]:
    """Yield the files that the result carries over, byte for byte; the tokenizer may come from another checkpoint.

    Names that cannot be printed stay behind: they would reach the terminal of whoever lists the result.
    """
    for name in checkpoints[home].files:
        if (
            name != CONFIG_NAME
            and name.isprintable()
            and (COPIED.fullmatch(name) or LICENCE_FILE.fullmatch(name))
            and not LEFT.fullmatch(name)
            and not TOKENIZER.fullmatch(name)
        ):
            yield home, name
    for name in checkpoints[tokenizer].files:
        if name.isprintable() and TOKENIZER.fullmatch(name):
            yield tokenizer, name


def public_names(checkpoints: Sequence[Checkpoint], taken: Sequence[str] = ()) -> list[str]:
    """Return what written files call each checkpoint: hub ids, relative paths, and the tail of absolute paths.

    The tails are as short as tells the checkpoints apart, and never a whole absolute path; names in ``taken``, which
    documents have, are not used.
    """
    tails = [[c.repository] if c.repository else public_tails(c.name) for c in checkpoints]
    names = [t[0] for t in tails]
    for depth in range(1, max(map(len, tails), default=1)):
        shared = [n for n in names if names.count(n) > 1]
        names = [t[min(depth, len(t) - 1)] if n in shared else n for n, t in zip(names, tails, strict=True)]
    counted = dict.fromkeys(taken, 1)
    for i, name in enumerate(names):
        counted[name] = counted.get(name, 0) + 1
        names[i] = name if counted[name] == 1 else f"{name} ({counted[name]})"
    return names


def public_tails(text: str) -> list[str]:
    """Return what a path may be called, shortest first: as it was written if that says nothing about this machine."""
    is_absolute = PurePath(text).is_absolute() or re.match(r"[~\\/]|[A-Za-z]:[\\/]", text)
    if not is_absolute:
        return [text]
    parts = [p for p in re.split(r"[\\/]", text) if p]
    return ["/".join(parts[-length:]) for length in range(1, max(len(parts), 2))]


def public_reference(checkpoint: Checkpoint, label: str) -> str:
    """Return how the resolved recipe names a model: pinned to its commit if it is one of the hub."""
    return f"{checkpoint.repository}@{checkpoint.commit}" if checkpoint.repository and checkpoint.commit else label
