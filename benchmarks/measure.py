"""Running a program: how long it takes as a whole, and how much memory it needs at its peak."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Measured:
    """What a process took.

    Args:
        seconds: wall time from its start to its end.
        peak_bytes: the most resident memory.
        output: what it wrote on standard output.
    """

    seconds: float
    peak_bytes: int
    output: str


def run_process(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Measured:
    """Run a program to its end, in the root of the repository.

    The peak is the kernel's own figure for the process that ended. A process starts as a copy of the one that measures,
    so that one must stay small: it makes no models and reads no weights.

    Args:
        command: the program and its arguments.
        variables: environment variables in addition.

    Raises:
        RuntimeError: when it fails, with the end of what it said.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=ROOT, env={**os.environ, **(variables or {})})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        output, errors = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} … failed with {process.returncode}:\n{errors[-2000:]}")
    return Measured(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), output)


def describe_machine(scratch: Path) -> dict[str, Any]:
    """Return what a reader needs to know of the machine; no name of it, and no path."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk": disk_name(scratch),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        **{name: version_of(name) for name in ("smelt", "numpy", "numba")},
    }


def version_of(package: str) -> str:
    """Return the version of a package, a dash where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "–"


def cpu_name() -> str:
    """Return what the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def disk_name(folder: Path) -> str:
    """Return the kind of file system, and of disk where it is known, that a folder lies on."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    inside = [m for m in mounts if folder.resolve().is_relative_to(m[1])]
    device, _, kind, *_ = max(inside, key=lambda m: len(m[1]))
    name = Path(device).name.rstrip("0123456789")
    if name.startswith(("vd", "xvd")):  # what it says of rotation is a guess of the host's
        return f"{kind} on a virtual disk"
    try:
        spins = (Path("/sys/block") / name / "queue" / "rotational").read_text().strip() == "1"
    except OSError:
        return kind
    return f"{kind} on {'a rotating disk' if spins else 'a solid-state disk'}"
