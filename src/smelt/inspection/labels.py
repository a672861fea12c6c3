"""What differences call the models: names as short as tells them apart."""

from __future__ import annotations

import re
from collections.abc import Sequence


def shorten_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the last parts of paths and ids where these tell the models apart, else the labels as they are."""
    tails = [re.split(r"[/\\]", label.rstrip("/\\"))[-1] or label for label in labels]
    return tuple(tails if len(dict.fromkeys(tails)) == len(labels) else labels)
