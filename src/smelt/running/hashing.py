"""Checksums of what is written: a follower per file hashes what is complete while the rest is still being computed."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from smelt.tensors.platform import open_file, read_at, start_flush

# What is hashed at a time: it fits into the second cache, and many steps of a file let go of the interpreter lock.
STEP_BYTES = 2**20
# What may be dirty before the system is asked to bring it to the disk, long before the last fsync.
FLUSH_BYTES = 2**26


class Prefix:
    """How far a file is written without a gap; the parts may come in any order."""

    def __init__(self) -> None:
        self.end = 0
        self._parts: dict[int, int] = {}

    def add(self, start: int, stop: int) -> None:
        """Say that bytes [start, stop) are written; a byte may be named again once it is in the prefix."""
        if start < stop:
            self._parts[start] = stop
            while (end := self._parts.pop(self.end, None)) is not None:
                self.end = end


class Follower:
    """A thread that computes the sha256 of a file which others are writing.

    Args:
        path: the file; it has its final size already.
        size_bytes: that size.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size = size_bytes
        self._prefix = Prefix()
        self._ready = 0  # how far the thread may read
        self._condition = threading.Condition()
        self._stopped = False
        self._error: BaseException | None = None
        self._digest = hashlib.sha256()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def add(self, start: int, stop: int) -> None:
        """Say that bytes [start, stop) are in the file."""
        with self._condition:
            self._prefix.add(start, stop)
            if self._prefix.end - self._ready >= STEP_BYTES:
                self._ready = self._prefix.end
                self._condition.notify()

    def release(self) -> None:
        """Say that the whole file is written."""
        with self._condition:
            self._ready = self._size
            self._condition.notify()

    def finish(self) -> str:
        """Return the sha256 of a file that is released, in hexadecimal.

        Raises:
            RunError: when the file cannot be read.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def stop(self) -> None:
        """Give up, and wait until the file is let go."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            self._follow()
        except BaseException as error:
            self._error = error

    def _follow(self) -> None:
        done = flushed = 0
        buffer = memoryview(bytearray(min(STEP_BYTES, self._size)))
        while done < self._size:
            ready = self._wait(done)
            if ready is None:
                return
            with open_file(self._path, "rb") as file:  # not open while it waits: there may be many files
                while done < ready and not self._stopped:
                    part = buffer[: min(STEP_BYTES, ready - done)]
                    read_at(file, part, done)
                    self._digest.update(part)
                    done += len(part)
                    if done - flushed >= FLUSH_BYTES:
                        start_flush(file, flushed, done - flushed)
                        flushed = done

    def _wait(self, done: int) -> int | None:
        """Return how far the file may be read, once that is further than ``done``; ``None`` when it is given up."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopped or self._ready > done)
            return None if self._stopped else self._ready
