"""Values that are not finite: counted tensor by tensor on their way through a run, and what a run says about them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smelt.errors import InputError, RunError, listing, nearest
from smelt.planning.plan import Plan
from smelt.tensors.dtypes import DType

# What becomes of values that are not finite in a result: ``auto`` reports those of tensors whose inputs had some
# already, and makes those an error that came of finite inputs; ``report`` and ``error`` treat all alike.
POLICIES = ("auto", "report", "error")

# NaN and infinities are the codes in which all of these bits are set.
NONFINITE_BITS: Mapping[str, int] = {
    "F64": 0x7FF << 52,
    "F32": 0xFF << 23,
    "F16": 0x1F << 10,
    "BF16": 0xFF << 7,
    "F8_E4M3": 0x7F,
    "F8_E5M2": 0x1F << 2,
}


# The values that are not finite: of each input, then of what was written; nothing where there are none.
Counts = tuple[int, ...]


class NonFiniteWarning(UserWarning):
    """Tensors of a merge hold NaN or infinities; which ones, and how many."""


@dataclass(frozen=True)
class NonFinite:
    """How many values of a tensor are NaN or infinite.

    Args:
        inputs: of each input of the output, in the plan's order.
        output: of what was written.
    """

    inputs: tuple[int, ...]
    output: int


def count_nonfinite(raw: NDArray[np.uint8], dtype: DType) -> int:
    """Return how many stored values are NaN or infinite; 0 for integers and booleans.

    Args:
        raw: contiguous bytes, a whole number of elements.
        dtype: how they are stored.
    """
    if not dtype.is_float:
        return 0
    codes = raw.view(f"<u{dtype.size_bytes}")
    bits = codes.dtype.type(NONFINITE_BITS[dtype.name])
    found = codes & bits
    return int(np.count_nonzero(found == bits)) if found.size and found.max() == bits else 0


class Census:
    """The counts of a run; tensors of which no value is NaN or infinite are not in it. Shared by all workers.

    Args:
        plan: what is run.
        policy: what becomes of values that are not finite.

    Raises:
        InputError: when there is no such policy.
    """

    def __init__(self, plan: Plan, policy: str = "auto") -> None:
        if policy not in POLICIES:
            hint = nearest(policy, POLICIES)
            raise InputError(f"'non_finite' cannot be '{policy}'{hint} Allowed: {listing(POLICIES)}")
        self._plan = plan
        self._policy = policy
        self._found: dict[str, NonFinite] = {}  # each tensor is put in once, by the worker that completes it

    def add(self, name: str, blocks: Collection[Counts]) -> None:
        """Take the counts of a complete tensor, of the blocks that have any.

        Raises:
            RunError: when the policy makes them an error.
        """
        if not any(blocks):
            return
        *inputs, output = (sum(counts) for counts in zip(*blocks, strict=True))
        if output and (self._policy == "error" or (self._policy == "auto" and not any(inputs))):
            origin = "its inputs hold some already" if any(inputs) else "its inputs are finite"
            raise RunError(
                f"'{name}': {_values(output, 'the result')} NaN or infinite, and {origin}; "
                "choose other settings or a wider 'out_dtype', or non-finite: report"
            )
        self._found[name] = NonFinite(tuple(inputs), output)

    def counts(self) -> dict[str, NonFinite]:
        """Return what was found so far by tensor, in the plan's order."""
        names = (output.spec.name for output in self._plan.outputs)
        return {name: self._found[name] for name in names if name in self._found}

    def summary(self) -> str | None:
        """Return what was found in one line, ``None`` for nothing."""
        counts = self.counts()
        if not counts:
            return None
        written = {name: found.output for name, found in counts.items() if found.output}
        if not written:
            values = sum(sum(found.inputs) for found in counts.values())
            return f"{_values(values, 'the inputs')} NaN or infinite, and none of the result"
        most = max(written, key=lambda name: written[name])
        held = sum(counts[most].inputs)
        origin = f"its inputs hold {held:,}" if held else "its inputs are finite"
        return (
            f"{_values(sum(written.values()), 'the result')} NaN or infinite, in {len(written)} of "
            f"{len(self._plan.outputs)} tensors; most in '{most}': {written[most]:,} ({origin})"
        )


def _values(count: int, of: str) -> str:
    return f"{count:,} value{'s' if count > 1 else ''} of {of} {'are' if count > 1 else 'is'}"
