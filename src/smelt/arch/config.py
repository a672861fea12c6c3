"""What a parsed ``config.json`` says, and copies of it that say something else. No argument is ever changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from smelt.arch.kinds import spell_runs, window_types
from smelt.arch.layers import Stack, is_side_tower, same_count_keys
from smelt.errors import InputError

_ORIGIN_KEYS = frozenset(("_name_or_path", "name_or_path", "_commit_hash"))
_DTYPE_KEYS = ("dtype", "torch_dtype")
# Lists that say something else than one thing per layer, even where their length happens to be the layer count.
_NOT_PER_LAYER = re.compile(
    r"token|^(architectures|(image|patch)_size|block_types|(ssm|mlp)_multipliers|time_step_limit|stage_names"
    r"|out_(features|indices)|(conv|tdnn)_(dim|kernel|stride|dilation))$"
)
# Lists of layer numbers: a number follows its layer.
_INDEX_LISTS = re.compile(
    r"^(mlp_only_layers|moe_layers|cross_attention_layers|full_attn_idxs|attn_layer_(indices|idx)|(hybrid|ple)_layer_ids"
    r"|(fullatt_block|global_attn|window_block)_indexes)$"
)
# Lists of layers whose outputs are tapped by other tensors, one each: a tap cannot be lost or doubled.
_TAP_LISTS = frozenset(("deepstack_visual_indexes", "intermediate_layers_indices"))
# "The first k layers are of another kind" → the list that says it layer by layer where a file has that list.
_LEADING = {"first_k_dense_replace": "mlp_layer_types", "num_dense_layers": "mlp_layer_types"}
# "Every p-th layer is of another kind" → the list that says it layer by layer where a file has that list.
_PERIODS = {
    **dict.fromkeys(("attn_layer_period", "expert_layer_period", "block_types"), "layers_block_type"),
    **dict.fromkeys(("decoder_sparse_step", "moe_layer_freq", "moe_layer_frequency"), "mlp_layer_types"),
    **dict.fromkeys(("global_attn_every_n_layers", "full_attention_interval"), "layer_types"),
    "interleave_moe_layer_step": "moe_layers",
    "no_rope_layer_interval": "no_rope_layers",
}


@dataclass(frozen=True)
class _Piece:
    """The blocks ``start`` … ``stop - 1`` of one source."""

    section: Mapping[str, Any]  # the part of the source's config that is about the stack
    count: int  # blocks in the source
    start: int
    stop: int


def with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return the config with ``dtype`` (such as ``bfloat16``) as the stored dtype, at every level that names one.

    The key is ``dtype`` (transformers 5) or ``torch_dtype``; a file with neither gets the latter, read by all versions.
    """
    result = deepcopy(dict(config))
    for section in _sections(result, towers=True):
        for key in _DTYPE_KEYS:
            if key in section:
                section[key] = dtype
    if not any(key in result for key in _DTYPE_KEYS):
        result["torch_dtype"] = dtype
    return result


def tied(config: Mapping[str, Any]) -> bool:
    """Say whether the head shares the embedding's tensor: ``tie_word_embeddings`` at the top, else in a text section.

    Absent means true: transformers 4 leaves it out only where it is its default, true, and transformers 5 always
    writes it. Whether the checkpoint holds a head says more than an absent key.
    """
    stated = (section.get("tie_word_embeddings") for section in _sections(config, towers=False))
    return next((value for value in stated if isinstance(value, bool)), True)


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the same model with a head of its own."""
    result = deepcopy(dict(config))
    for section in _sections(result, towers=False):
        if section is result or "tie_word_embeddings" in section or "vocab_size" in section:
            section["tie_word_embeddings"] = False
    return result


def without_origin(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config without the keys that name another model or a path on somebody's disk, at every level."""
    return {
        key: without_origin(value) if isinstance(value, Mapping) else deepcopy(value)
        for key, value in config.items()
        if key not in _ORIGIN_KEYS
    }


def layer_count(config: Mapping[str, Any], stack: Stack) -> int:
    """Return how many blocks the config gives ``stack``; the stack's own count when the config is silent."""
    value = _section(config, stack).get(stack.config_key[-1]) if stack.config_key else None
    return value if isinstance(value, int) else stack.count


def restack(
    config: Mapping[str, Any], stack: Stack, sources: Sequence[tuple[Mapping[str, Any], int, int]]
) -> dict[str, Any]:
    """Return the base's config for a stack made of slices of the sources.

    The layer count becomes the number of blocks taken, in the section that owns the stack. With the blocks go:

    - lists with one entry per layer (``layer_types``, ``no_rope_layers`` …): cut and joined. A source without a list
      that another has takes that one's, if it has as many layers. ``layer_types`` that a file leaves to the
      architecture's rule are written out when the slices break the rule.
    - lists of layer numbers (``mlp_only_layers``, ``moe_layers`` …): each number follows its layer.
    - ``first_k_dense_replace``, ``num_dense_layers``, ``num_kv_shared_layers``: counted anew.
    - ``max_window_layers``: the new count if it was the old count or more, else at most the new count.
    - periods such as ``attn_layer_period``: kept; each layer must keep its place within the period.

    Blocks for multi-token prediction stand beyond the count, and their number is kept.

    Args:
        config: the base's parsed ``config.json``.
        stack: the base's stack.
        sources: per slice, in order: the source's config, its first block, and one past its last block.

    Raises:
        InputError: a range outside its source, no place for the count, or a rule of the config that the new order
            of layers breaks.
    """
    result = deepcopy(dict(config))
    section = _section(result, stack)
    pieces = [_Piece(_section(source, stack), layer_count(source, stack), *cut) for source, *cut in sources]
    _check_ranges(pieces, stack)
    joined = _join_lists(section, pieces, stack)
    counters = _count_kinds(section, pieces, joined)
    _check_periods(section, pieces, joined)
    section.update(joined | counters)
    _set_count(section, stack, sum(piece.stop - piece.start for piece in pieces), bool(joined))
    return result


def _sections(config: Mapping[str, Any], towers: bool) -> Iterator[Any]:
    """Yield the config and every nested section that configures a model, vision and audio towers if asked for."""
    yield config
    for key, value in config.items():
        if isinstance(value, Mapping) and key != "quantization_config" and (towers or not is_side_tower(key)):
            yield from _sections(value, towers)


def _section(config: Mapping[str, Any], stack: Stack) -> Any:
    """Return the section that owns the stack's count: a text model's own config may be the section itself."""
    for key in (stack.config_key or ())[:-1]:
        config = config.get(key) or config
    return config


def _check_ranges(pieces: Sequence[_Piece], stack: Stack) -> None:
    for piece in pieces:
        if not 0 <= piece.start < piece.stop <= piece.count:
            raise InputError(
                f"layer_range [{piece.start}, {piece.stop}) lies outside '{stack.prefix}', "
                f"which has blocks 0 to {piece.count - 1}; allowed: 0 <= start < stop <= {piece.count}."
            )


def _places(pieces: Sequence[_Piece]) -> Iterator[tuple[_Piece, int]]:
    """Yield, for each block of the new stack, the piece it comes from and its number there."""
    for piece in pieces:
        for layer in range(piece.start, piece.stop):
            yield piece, layer


def _set_count(section: dict[str, Any], stack: Stack, count: int, has_lists: bool) -> None:
    if stack.config_key:
        key = stack.config_key[-1]
        for alias in same_count_keys(section, key) if key in section else [key]:
            section[alias] = count
    elif count != stack.count and not has_lists:
        raise InputError(
            f"config.json holds no layer count for '{stack.prefix}', which has {stack.count} blocks; "
            f"a stack of {count} blocks could not be loaded; state the count there, such as num_hidden_layers."
        )


def _join_lists(section: Mapping[str, Any], pieces: Sequence[_Piece], stack: Stack) -> dict[str, Any]:
    """Return the per-layer lists and lists of layer numbers of the new stack, by key."""
    donors = [_Piece(section, stack.count, 0, stack.count), *pieces]
    joined: dict[str, Any] = {}
    for key in dict.fromkeys([*section, "layer_types"]):
        if any(_entries(key, donor) is not None for donor in donors):
            entries = {id(piece): _lend(key, piece, donors) for piece in pieces}
            joined[key] = _write_entries(key, [entries[id(piece)][layer] for piece, layer in _places(pieces)], section)
    if "layer_types" not in joined and all(window_types(donor.section, donor.count) for donor in donors):
        types = [window_types(piece.section, piece.count)[layer] for piece, layer in _places(pieces)]
        if types != window_types(section, len(types)):
            joined["layer_types"] = types
    return joined


def _entries(key: str, piece: _Piece) -> list[Any] | None:
    """Return what a list says of each layer: an entry, or whether its number is listed; None for any other value."""
    value = piece.section.get(key)
    if not isinstance(value, list):
        return None
    if key == "attention_types":  # GPT-Neo: [[["global", "local"], 12]]
        return spell_runs(value, piece.count)
    if key in _TAP_LISTS or _INDEX_LISTS.search(key):
        return [layer in value for layer in range(piece.count)]
    return value if len(value) == piece.count and not _NOT_PER_LAYER.search(key) else None


def _write_entries(key: str, entries: list[Any], section: Mapping[str, Any]) -> list[Any]:
    """Write what a list says of each layer in the form that ``key`` has in a file."""
    if key == "attention_types":
        return [[entries, 1]]
    if key not in _TAP_LISTS and not _INDEX_LISTS.search(key):
        return entries
    if key in _TAP_LISTS and sum(entries) != len(section[key]):
        raise InputError(
            f"the slices hold {sum(entries)} of the layers {section[key]} that config.json lists as '{key}'; "
            "each must stand in the new stack exactly once."
        )
    return [at for at, is_listed in enumerate(entries) if is_listed]


def _lend(key: str, piece: _Piece, donors: Sequence[_Piece]) -> list[Any]:
    """Return a source's list, or another's for as many layers: the same family, saved by another version."""
    lists = [_entries(key, donor) for donor in [piece, *donors] if donor.count == piece.count]
    for entries in lists:
        if entries is not None:
            return entries
    raise InputError(
        f"config.json of a model with {piece.count} layers has no list '{key}' with one entry per layer, "
        f"but another model of the slices has it; add it there."
    )


def _count_kinds(section: Mapping[str, Any], pieces: Sequence[_Piece], joined: Mapping[str, Any]) -> dict[str, int]:
    """Return the counters of layers of one kind in the new stack, by key."""
    counters: dict[str, int] = {}
    count = sum(piece.stop - piece.start for piece in pieces)
    for key in [key for key, value in section.items() if isinstance(value, int)]:
        if key in _LEADING:
            flags = [layer < _counter(piece, key, section[key]) for piece, layer in _places(pieces)]
            counters[key] = _count_leading(key, flags, _LEADING[key] in joined, "start")
        elif key == "num_kv_shared_layers":
            flags = [layer >= piece.count - _counter(piece, key, section[key]) for piece, layer in _places(pieces)]
            counters[key] = _count_leading(key, flags[::-1], False, "end")
        elif key == "max_window_layers":
            counters[key] = count if section[key] >= pieces[0].count else min(section[key], count)
    return counters


def _counter(piece: _Piece, key: str, default: int) -> int:
    value = piece.section.get(key)
    return value if isinstance(value, int) else default


def _count_leading(key: str, flags: Sequence[bool], is_listed: bool, end: str) -> int:
    count = len(list(takewhile(bool, flags)))
    if count != sum(flags) and not is_listed:
        raise InputError(
            f"config.json can say by '{key}' only that layers at the {end} of the stack are of another kind; "
            f"the slices put {sum(flags) - count} of them elsewhere; take those layers at the {end} only."
        )
    return count


def _check_periods(section: Mapping[str, Any], pieces: Sequence[_Piece], joined: Mapping[str, Any]) -> None:
    """Check that each layer keeps its place in every period that no list overrides."""
    for key in section:
        value = section[key] if key in _PERIODS and _PERIODS[key] not in joined else 1
        period = len(value) if isinstance(value, list) and key not in joined else value
        if not isinstance(period, int) or period < 2:
            continue
        for at, (_, layer) in enumerate(_places(pieces)):
            if at % period != layer % period:
                raise InputError(
                    f"config.json chooses the kind of a layer by '{key}' = {period}, and the slices put layer {layer} "
                    f"at place {at}; allowed are slices that keep each layer's place modulo {period}."
                )
