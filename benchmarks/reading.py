"""The floor of what only reads: every input byte once, in positional reads of 4 MiB by as many threads as smelt has.

    python -m benchmarks.reading THREADS INPUT…

Prints the seconds from the first read to the last as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.floor import STEP


def work(jobs: list[tuple[int, int, int]]) -> None:
    """Carry out reads (file, start, end) until none is left; run by every thread."""
    buffer = memoryview(bytearray(STEP))
    while jobs:
        try:
            source, low, high = jobs.pop()
        except IndexError:  # another thread was faster
            return
        while low < high and (count := os.preadv(source, [buffer[: high - low]], low)):
            low += count


def read_all(threads: int, sources: Sequence[Path]) -> float:
    """Do it, and return the seconds."""
    started = time.perf_counter()
    files = [os.open(path, os.O_RDONLY) for path in sources]
    sizes = [os.fstat(file).st_size for file in files]
    jobs = [
        (file, start, min(start + STEP, size))
        for file, size in zip(files, sizes, strict=True)
        for start in range(0, size, STEP)
    ][::-1]
    workers = [threading.Thread(target=work, args=(jobs,)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for file in files:
        os.close(file)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps({"inner_s": read_all(int(sys.argv[1]), [*map(Path, sys.argv[2:])])}))
