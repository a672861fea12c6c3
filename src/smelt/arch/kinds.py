"""The kinds of layers, one by one, where a ``config.json`` gives them in short: as runs, or as a period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Models whose files may leave ``layer_types`` out: every p-th layer sees everything, the others a window.
_WINDOW_PERIODS = {"gemma2": 2, "gpt_oss": 2, "cohere2": 4, "gemma3n_text": 5, "gemma3_text": 6}


def spell_runs(runs: Sequence[Any], count: int) -> list[Any] | None:
    """Return the kinds of ``count`` layers from runs such as ``[[["global", "local"], 12]]``, as GPT-Neo writes them.

    ``None`` for what does not give each layer a kind; a run that says more is not written out.
    """
    kinds: list[Any] = []
    for run in runs:
        if not (isinstance(run, list) and len(run) == 2 and isinstance(run[0], list) and isinstance(run[1], int)):
            return None
        if len(run[0]) * run[1] > count - len(kinds):
            return None
        kinds += run[0] * run[1]
    return kinds if len(kinds) == count else None


def window_types(section: Mapping[str, Any], count: int) -> list[str]:
    """Return the ``layer_types`` that loaders derive for a file without them; ``[]`` where they are not derived."""
    first_windowed = section.get("max_window_layers")
    if section.get("use_sliding_window") and isinstance(first_windowed, int):
        return ["sliding_attention" if i >= first_windowed else "full_attention" for i in range(count)]
    period = section.get("sliding_window_pattern", _WINDOW_PERIODS.get(str(section.get("model_type"))))
    if not isinstance(period, int) or period < 1:
        return []
    return ["sliding_attention" if (i + 1) % period else "full_attention" for i in range(count)]
