"""The progress display: bytes, rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from smelt.running.runner import Progress


@contextmanager
def shown_progress(total_bytes: int, quiet: bool = False) -> Iterator[Progress | None]:
    """Yield a progress function that draws on standard error, or ``None`` where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("merge", total=total_bytes)
        yield lambda done, total: bar.update(task, completed=min(done, total), total=total)
