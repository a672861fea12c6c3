"""The floor: the least that any merge has to do. It reads every input byte and writes, hashes and syncs the output.

    python -m benchmarks.floor THREADS OUT SIZE[,SIZE…] INPUT…

As many threads as smelt has read the inputs with positional reads of 4 MiB and write what they read last, 4 MiB at a
time, to files of the sizes given. One follower per file computes its sha256 over what is already there. Prints the
seconds from the first read to the last fsync as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

STEP = 4 << 20  # bytes


class Progress:
    """How far an output file is written without a gap; a follower waits on it."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._starts: set[int] = set()
        self._end = 0
        self._condition = threading.Condition()

    def add(self, start: int) -> None:
        """Say that the step that begins at ``start`` is written."""
        with self._condition:
            self._starts.add(start)
            while self._end in self._starts:
                self._starts.remove(self._end)
                self._end = min(self._end + STEP, self.size_bytes)
            self._condition.notify_all()

    def wait(self, past: int) -> int:
        """Return how far the file is written, once that is further than ``past``."""
        with self._condition:
            self._condition.wait_for(lambda: self._end > past)
            return self._end


def pace(outputs: Sequence[int], inputs: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """Return for each step of the output the (file, start, end) to read before it, so that reads and writes mix."""
    reads = [
        (file, start, min(start + STEP, size)) for file, size in enumerate(inputs) for start in range(0, size, STEP)
    ]
    steps = sum(-(-size // STEP) for size in outputs)
    return [reads[len(reads) * n // steps : len(reads) * (n + 1) // steps] for n in range(steps)]


def work(inputs: Sequence[int], outputs: Sequence[int], progress: Sequence[Progress], jobs: list[Job]) -> None:
    """Carry out jobs until none is left; run by every thread."""
    buffer = memoryview(bytearray(STEP))
    while jobs:
        try:
            reads, file, start = jobs.pop()
        except IndexError:  # another thread was faster
            return
        for source, low, high in reads:
            done = 0
            while low + done < high and (count := os.preadv(inputs[source], [buffer[done : high - low]], low + done)):
                done += count
        end = min(start + STEP, progress[file].size_bytes)
        done = start
        while done < end:
            done += os.pwrite(outputs[file], buffer[done - start : end - start], done)
        progress[file].add(start)


Job = tuple[list[tuple[int, int, int]], int, int]  # what to read, the output file to write, where


def follow(output: int, progress: Progress) -> None:
    """Compute the sha256 of a file while it is being written."""
    digest, done, buffer = hashlib.sha256(), 0, memoryview(bytearray(STEP))
    while done < progress.size_bytes:
        ready = progress.wait(done)
        while done < ready:
            count = os.preadv(output, [buffer[: min(STEP, ready - done)]], done)
            digest.update(buffer[:count])
            done += count


def run_floor(threads: int, into: Path, sizes: Sequence[int], sources: Sequence[Path]) -> float:
    """Do it, and return the seconds."""
    into.mkdir(parents=True)
    started = time.perf_counter()
    inputs = [os.open(path, os.O_RDONLY) for path in sources]
    outputs = [os.open(into / f"{n}.bin", os.O_RDWR | os.O_CREAT) for n in range(len(sizes))]
    for output, size in zip(outputs, sizes, strict=True):
        os.ftruncate(output, size)
    progress = [Progress(size) for size in sizes]
    places = [(file, start) for file, size in enumerate(sizes) for start in range(0, size, STEP)]
    reads = pace(sizes, [os.fstat(descriptor).st_size for descriptor in inputs])
    jobs = [(part, *place) for part, place in zip(reads, places, strict=True)][::-1]
    workers = [threading.Thread(target=work, args=(inputs, outputs, progress, jobs)) for _ in range(threads)]
    followers = [threading.Thread(target=follow, args=pair) for pair in zip(outputs, progress, strict=True)]
    for thread in workers + followers:
        thread.start()
    for thread in workers:
        thread.join()
    for descriptor in outputs:
        os.fsync(descriptor)  # the followers finish meanwhile
    for thread in followers:
        thread.join()
    for descriptor in inputs + outputs:
        os.close(descriptor)
    return time.perf_counter() - started


if __name__ == "__main__":
    seconds = run_floor(
        int(sys.argv[1]), Path(sys.argv[2]), [int(size) for size in sys.argv[3].split(",")], [*map(Path, sys.argv[4:])]
    )
    print(json.dumps({"inner_s": seconds}))
