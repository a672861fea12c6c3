"""Reading JSON that somebody else wrote: what it takes of the machine is bounded by what may stand in it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from smelt.tensors.quoting import quote

MOST_VALUES = 3_000_000  # a tensor of a header takes eight; each may cost Python 70 bytes
_DEEPEST = 60  # a config.json has about five levels


def load_json(text: str, *, strict: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the document.
        strict: whether names that stand twice and ``NaN`` or ``Infinity`` are refused, as the safetensors format does;
            a ``config.json`` may hold both.

    Raises:
        ValueError: for what is no JSON, has too many values, or holds text that cannot be written down.
    """
    if sum(text.count(mark) for mark in "[{,") > MOST_VALUES:  # in names too, where so many are no honest mistake
        raise ValueError(f"it has more than {MOST_VALUES:,} values")
    try:
        if strict:
            value = json.loads(text, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
        else:
            value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is JSON but no text
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def check_depth(value: Any) -> None:
    """Check that lists and objects stand in one another no deeper than what handles them can follow.

    Raises:
        ValueError: beyond 60 levels.
    """
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        members = (item.values() if isinstance(item, dict) else item for item in level)
        level = [inner for found in members for inner in found if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {_DEEPEST} levels")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: dict[str, None] = {}
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{quote(name)} stands in it twice")
            seen[name] = None
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
