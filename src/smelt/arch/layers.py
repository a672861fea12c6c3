"""The numbered stacks of blocks in a model, found from tensor names and confirmed by its config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from smelt.arch.roles import is_embedding_path
from smelt.errors import InputError, listing

_NUMBER = re.compile(r"\.(0|[1-9][0-9]*)(?=\.)")  # a component between two others
_LAST_NUMBER = re.compile(r"\.(0|[1-9][0-9]*)(?=\.|$)")
_BLOCK_WORDS = frozenset(("layers", "layer", "h", "blocks", "block", "resblocks", "stages"))
_COUNT_KEY = re.compile(r"(^|_)(n_?layer|layers|depth|n_blocks|num_blocks)$")
_COUNT_NOISE = frozenset(("config", "num", "n", "hidden", "layer", "layers", "nlayer", "depth", "blocks", "model"))
_SAME_WORD = {
    **dict.fromkeys(("visual", "vit", "image"), "vision"),
    **dict.fromkeys(("language", "llm"), "text"),
    "speech": "audio",
}
_SIDE_TOWERS = frozenset(("vision", "audio"))
_EXTRA_BLOCKS = ("num_nextn_predict_layers", "num_mtp_layers", "num_mtp_modules", "mtp_num_hidden_layers")
_FRONT = re.compile(
    r"^(conv\d|conv_in|feature_extractor|feature_projection|pre_layrnorm|pre_layernorm|ln_pre|layernorm_pre"
    r"|patch_conv|register_tokens|per_layer_model_projection|per_layer_projection_norm|rotary_pos)$"
)


@dataclass(frozen=True)
class Stack:
    """One numbered stack of blocks, ``PREFIX.0`` … ``PREFIX.(count - 1)``."""

    prefix: str
    count: int  # blocks of the stack proper; blocks numbered from here on are extra (multi-token prediction)
    config_key: tuple[str, ...] | None  # where the config holds the count; None when no key confirms it
    missing: str = ""  # block numbers below the count without any tensor, as "3, 5-7"


@dataclass(frozen=True)
class Place:
    """Where a tensor stands: a block of a stack."""

    stack: Stack
    layer: int

    @property
    def is_extra(self) -> bool:
        """Whether the block lies beyond the config's count: carried with the model, never part of a slice."""
        return self.layer >= self.stack.count


def find_stacks(names: Iterable[str], config: Mapping[str, Any] | None = None) -> tuple[Stack, ...]:
    """Return the stacks of blocks in a model, the main one first; ``()`` when there is none.

    A stack is a prefix that ends in a block word (``layers``, ``h``, ``blocks`` …), is followed by numbers, and has
    two blocks or a count that the config confirms. A model without one may have a stack under any other prefix:
    those that the config confirms, else the largest whose blocks all hold the same tensors.
    The main stack is a language model's before a vision or audio tower's, then one confirmed by a top-level or text
    count, then the one with most blocks, then the first in alphabetical order.

    Args:
        names: all tensor names, in any order.
        config: the parsed ``config.json``, or None.
    """
    blocks = _group_blocks(names)
    found = [_describe(prefix, sorted(members), config) for prefix, members in sorted(blocks.items())]
    stacks = [s for s in found if _ends_in_block_word(s.prefix) and (s.count > 1 or s.config_key)]
    stacks = stacks or [s for s in found if s.config_key] or _largest_uniform(found, blocks)
    return tuple(sorted(stacks, key=lambda s: (_rank(s), -s.count, s.prefix)))


def check_stack(stack: Stack, config: Mapping[str, Any] | None, model_name: str) -> None:
    """Check that a stack can be cut: no block is missing, and the config agrees on the number of blocks.

    Raises:
        InputError: naming the missing blocks, or both counts.
    """
    if stack.missing:
        raise InputError(
            f"{model_name}: blocks {stack.missing} of '{stack.prefix}' have no tensors; "
            f"layers can be sliced only when all from 0 to {stack.count - 1} are there."
        )
    keys = [] if stack.config_key or config is None else _count_keys(stack.prefix, config)
    if keys:
        path, value = keys[0]
        raise InputError(
            f"{model_name}: tensor names give {stack.count} blocks under '{stack.prefix}', "
            f"but config.json says {'.'.join(path)} = {value}; both must be the same."
        )


def place(name: str, stacks: Sequence[Stack]) -> Place | None:
    """Return the stack and block that the tensor ``name`` belongs to, or None when it stands outside all blocks."""
    for stack in stacks:
        if name.startswith(stack.prefix + "."):
            number = _LAST_NUMBER.match(name, len(stack.prefix))
            if number:
                return Place(stack, int(number[1]))
    return None


def renumber(name: str, stack: Stack, layer: int) -> str:
    """Return ``name``, a tensor inside a block of ``stack``, as it is called in block number ``layer``."""
    rest = name[len(stack.prefix) + 1 :].split(".", 1)
    return ".".join((stack.prefix, str(layer), *rest[1:]))


def is_before_blocks(name: str) -> bool:
    """Say whether a tensor outside the blocks is used before them.

    Embeddings of any kind, their norms, and what turns pixels or sound into tokens come before the blocks;
    everything else (final norm, head, pooler, classifier, projector) comes after.
    """
    return is_embedding_path(name) or any(_FRONT.match(part) for part in name.lower().split("."))


def module_of(name: str, stacks: Sequence[Stack]) -> str:
    """Return the name that a recipe's ``modules:`` block uses for the part of the model that holds ``name``.

    It is ``default`` for a model with one stack. Otherwise it is what tells the stacks apart: the components of a
    stack's prefix after those that all stacks share, as many as are needed, such as ``encoder``, ``visual`` or
    ``vision_model.transformer``. A tensor belongs to the stack that shares most leading components with it, the
    earlier stack when two share as many; so what stands outside all belongs to the main stack's module.
    """
    if len(stacks) < 2:
        return "default"
    path = name.split(".")
    return _module_name(max(stacks, key=lambda s: _shared(path, s.prefix.split("."))), stacks)


def _module_name(stack: Stack, stacks: Sequence[Stack]) -> str:
    mine = stack.prefix.split(".")
    shared = [_shared(mine, other.prefix.split(".")) for other in stacks if other != stack]
    label = mine[min(shared) : max(shared) + 1]
    if label == mine[-1:]:  # a block word alone says nothing
        label = mine[-2:-1]
    return ".".join(label) or "default"


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the leading components that two paths share."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _group_blocks(names: Iterable[str]) -> dict[str, dict[int, set[str]]]:
    """Group names as prefix → block number → rest of the name."""
    blocks: dict[str, dict[int, set[str]]] = {}
    for name in names:
        split = _split(name)
        if split:
            prefix, number, rest = split
            blocks.setdefault(prefix, {}).setdefault(number, set()).add(rest)
    return blocks


@lru_cache(2**16)  # models of a merge share their names
def _split(name: str) -> tuple[str, int, str] | None:
    """Split at the first number that follows a block word, else at the first number."""
    numbers = list(_NUMBER.finditer(name))
    # A multi-token-prediction head has blocks of its own, and is no stack: it is carried with the model.
    if not numbers or "mtp" in name[: numbers[0].start()].split("."):
        return None
    at = next((n for n in numbers if _ends_in_block_word(name[: n.start()])), numbers[0])
    return name[: at.start()], int(at[1]), name[at.end() + 1 :]


def _ends_in_block_word(prefix: str) -> bool:
    return prefix.rsplit(".", 1)[-1] in _BLOCK_WORDS


def _describe(prefix: str, numbers: Sequence[int], config: Mapping[str, Any] | None) -> Stack:
    seen = numbers[-1] + 1
    for path, value in _count_keys(prefix, config or {}):
        if value == seen or value < seen <= value + _extra_blocks(config or {}, path):
            return Stack(prefix, value, path, _gaps([n for n in numbers if n < value], value))
    return Stack(prefix, seen, None, _gaps(numbers, seen))


def _gaps(numbers: Sequence[int], count: int) -> str:
    """Write the numbers below ``count`` that are absent from the sorted ``numbers`` as ``3, 5-7``."""
    edges = [-1, *numbers, count]
    holes = [(low + 1, high - 1) for low, high in pairwise(edges) if high - low > 1]
    return listing(str(low) if low == high else f"{low}-{high}" for low, high in holes)


def _count_keys(prefix: str, config: Mapping[str, Any]) -> list[tuple[tuple[str, ...], int]]:
    """Return the config's layer counts that may be about ``prefix``, most specific first.

    A count may be about a stack when every telling word of its path stands in the prefix too: ``encoder_layers`` is
    about ``model.encoder.layers``, ``vision_config.depth`` about ``visual.blocks``. A vision or audio tower is an
    encoder whether its name says so or not; any other stack may be the text model.
    """
    words = _words(prefix)
    allowed = words | {"encoder" if words & _SIDE_TOWERS else "text"}
    found = [(path, value) for path, value in _walk_counts(config, ()) if _count_words(path) <= allowed]
    return sorted(found, key=lambda item: (-len(_count_words(item[0]) & words), len(item[0])))


def _walk_counts(section: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _walk_counts(value, (*path, key))
        elif isinstance(value, int) and not isinstance(value, bool) and value > 0 and _COUNT_KEY.search(key):
            yield (*path, key), value


def _words(path: str) -> set[str]:
    return {_SAME_WORD.get(word, word) for word in re.split(r"[._]", path.lower())}


def same_count_keys(section: Mapping[str, Any], key: str) -> list[str]:
    """Return the keys of a config section that repeat the layer count under ``key``, itself included.

    Some files hold one count under two names (``n_layer`` and ``num_hidden_layers``), and ``num_hidden_layers`` of an
    encoder-decoder stands for ``encoder_layers``; loaders believe either.
    """
    mine = _count_words([key])
    alike = (mine, set()) if mine == {"encoder"} else (mine,)
    found = [path[0] for path, value in _walk_counts(section, ()) if len(path) == 1 and value == section[key]]
    return [other for other in found if _count_words([other]) in alike]


def is_side_tower(path: str) -> bool:
    """Say whether the words of a prefix or config key speak of a vision or audio tower."""
    return bool(_words(path) & _SIDE_TOWERS)


def _count_words(path: Sequence[str]) -> set[str]:
    """Return the words of a layer count's path that tell which stack it is about; none for ``num_hidden_layers``."""
    return _words(".".join(path)) - _COUNT_NOISE


def _extra_blocks(config: Mapping[str, Any], path: Sequence[str]) -> int:
    """Return how many multi-token-prediction blocks may follow the count at ``path``."""
    for key in path[:-1]:
        config = config[key]
    return max((config[key] for key in _EXTRA_BLOCKS if isinstance(config.get(key), int)), default=0)


def _largest_uniform(found: Sequence[Stack], blocks: Mapping[str, Mapping[int, set[str]]]) -> list[Stack]:
    uniform = [s for s in found if s.count > 1 and not s.missing and _is_uniform(blocks[s.prefix].values())]
    return [max(uniform, key=lambda s: s.count)] if uniform else []


def _is_uniform(blocks: Iterable[set[str]]) -> bool:
    """Whether all blocks hold the same tensors, and more than a weight and a bias."""
    first, *others = blocks
    return len(first) > 2 and all(block == first for block in others)


def _rank(stack: Stack) -> int:
    if is_side_tower(stack.prefix):
        return 2
    return 0 if stack.config_key and _count_words(stack.config_key) <= {"text"} else 1
