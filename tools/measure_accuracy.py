"""Print how far merges are from their float64 oracle, method by method: the table in docs/reliability.md.

python tools/measure_accuracy.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("", "accuracy", "algebra", "methods", "running")]

from measuring import FORMATS, measure, tried  # noqa: E402

from released import released_methods  # noqa: E402


def write_table() -> str:
    """Return the worst share of what is allowed by method and output dtype, over all of a method's variants."""
    head = f"| method | variants | {' | '.join(FORMATS)} |"
    lines = [head, "|---|--:|" + "--:|" * len(FORMATS)]
    for name in released_methods():
        variants = tried(name)
        shares = [measure(variant) for variant in variants]
        worst = (max(share[dtype] for share in shares) for dtype in FORMATS)
        lines.append(f"| {name} | {len(variants)} | {' | '.join(f'{w:.2f}' for w in worst)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(write_table())
