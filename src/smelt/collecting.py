"""Python's garbage collector, kept away while it would only be in the way."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector away for seconds; what is counted down to zero is still let go at once.

    A plan of 20,000 tensors is a million objects and no garbage: going through them time and again takes longer than
    making them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """Let the garbage collector pass over what there is now, such as a plan, and look at what comes after it."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
