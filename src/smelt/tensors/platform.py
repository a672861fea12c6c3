"""The calls that differ between operating systems: positional reads and writes, advice, reserving, syncing, renaming.

Where the system reads and writes at a position by itself (Linux, macOS), threads share a file freely. Elsewhere
(Windows) a lock around seek and read does the same; ``open_file(..., positional=False)`` asks for that anywhere.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from smelt.errors import RunError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import resource

Mode = Literal["rb", "xb", "x+b", "r+b", "a+b"]
Buffer = Any  # bytes, bytearray, memoryview or an array; typing has no name for it before Python 3.12

# Far behind the end of the file, as Windows lets nobody read what is locked.
_LOCKED_BYTE = 2**40

# macOS refuses calls of 2 GiB and more; Linux shortens them.
_CALL_LIMIT_BYTES = 2**30


class File:
    """An open file that many threads read or write, each at positions of its own; made by ``open_file``."""

    def __init__(self, path: Path, stream: io.FileIO, lock: threading.Lock | None) -> None:
        self.path = path
        self.stream = stream
        self.lock = lock  # None where the system takes positions

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        """Its size now."""
        return os.fstat(self.stream.fileno()).st_size

    @property
    def number(self) -> int:
        """What the system calls it: the lowest number that was free when it was opened."""
        return self.stream.fileno()

    def close(self) -> None:
        """Close it; closing twice is allowed."""
        self.stream.close()


def open_file(path: Path, mode: Mode, positional: bool = hasattr(os, "preadv") and hasattr(os, "pwrite")) -> File:
    """Open a file for ``read_at`` and ``write_at``.

    Args:
        path: the file; a link in its place is followed to read, and never to write.
        mode: ``rb`` reads, ``xb`` creates a file that must not exist, ``x+b`` one that is read as well, ``r+b`` writes
            into an existing one, ``a+b`` into one that may exist, for ``append``.
        positional: whether the system's positional calls are used, and not a lock around seek and read.

    Raises:
        OSError: as ``open`` does.
    """
    opener = None if mode == "rb" else _open_unless_link
    return File(path, open(path, mode, buffering=0, opener=opener), None if positional else threading.Lock())


def read_at(file: File, buffer: Buffer, offset: int) -> None:
    """Fill a writable buffer with the bytes of the file from ``offset`` on; thread-safe.

    Raises:
        RunError: when the file ends before the buffer is full, or cannot be read.
    """
    view = _as_bytes(buffer)
    done = 0
    while done < len(view):
        with _named(file.path, "read"):
            count = _read_once(file, view[done : done + _CALL_LIMIT_BYTES], offset + done)
        if count == 0:
            raise RunError(
                f"{file.path}: truncated: bytes {offset} to {offset + len(view)} are needed, "
                f"the file ends at {offset + done}"
            )
        done += count


def write_at(file: File, data: Buffer, offset: int) -> None:
    """Write all bytes of ``data`` into the file from ``offset`` on; thread-safe.

    Raises:
        RunError: when they cannot be written, as on a full disk.
    """
    view = _as_bytes(data)
    done = 0
    while done < len(view):
        with _named(file.path, "written"):
            done += _write_once(file, view[done : done + _CALL_LIMIT_BYTES], offset + done)


def append(file: File, data: bytes) -> None:
    """Put bytes at the end of a file that is open for that; for one thread at a time.

    Raises:
        RunError: when they cannot be written, as on a full disk.
    """
    done = 0
    while done < len(data):
        with _named(file.path, "written"):
            done += file.stream.write(data[done:]) or 0


def open_locked(path: Path) -> File | None:
    """Open a file to read and append, made where there is none, and lock it; ``None`` when another run has it locked.

    The lock ends when the file is closed, at the latest with the process. On a file system that knows no locks the file
    is opened without one.

    Raises:
        OSError: as ``open`` does.
    """
    while True:
        file = open_file(path, "a+b")
        if not _lock(file):
            file.close()
            return None
        # Whoever had it locked before may have removed it since it was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.stream.fileno()), path.lstat()):
                return file
        file.close()


def remove_locked(file: File) -> None:
    """Remove and close a file that is locked; on Windows it stays where another run has opened it meanwhile."""
    if sys.platform == "win32":  # removes no open file
        file.close()
    with suppress(PermissionError):
        file.path.unlink(missing_ok=True)
    file.close()


def count_allowed_files() -> int:
    """Return how many files this process may have open at a time."""
    if sys.platform == "win32":
        return 512
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def advise_sequential(file: File) -> None:
    """Tell the system that the file will be read from its start to its end; does nothing where it takes no advice."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(file.stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)


def start_flush(file: File, offset: int, size_bytes: int) -> None:
    """Let the system begin to write a part of the file to the disk, and not wait; does nothing where it takes no hint.

    Linux does so with what is declared to be of no further use; what has reached the disk may leave the page cache.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(file.stream.fileno(), offset, size_bytes, os.POSIX_FADV_DONTNEED)


def reserve(file: File, size_bytes: int) -> None:
    """Give the file its size and, where the system can, the disk space, so that a full disk shows at once.

    Raises:
        RunError: when there is no room.
    """
    verb = f"reserved at {size_bytes} bytes"
    with _named(file.path, verb):
        file.stream.truncate(size_bytes)
    if size_bytes and hasattr(os, "posix_fallocate"):
        # EBADF is glibc's answer for a file that is appended to, on file systems that cannot.
        with _named(file.path, verb, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF):
            os.posix_fallocate(file.stream.fileno(), 0, size_bytes)


def sync_file(file: File) -> None:
    """Wait until the file's bytes are on the disk.

    Raises:
        RunError: when the system reports that they are not.
    """
    with _named(file.path, "synced"):
        os.fsync(file.stream.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the folder's entries are on the disk; does nothing where folders cannot be synced, as on Windows.

    Raises:
        RunError: when the system reports that they are not.
    """
    if os.name == "nt":
        return
    with _named(path, "synced", errno.EINVAL, errno.ENOTSUP, errno.EBADF):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Rename a file or folder within a file system; a file that is the target is replaced.

    Raises:
        RunError: when the system refuses, as for a folder with content as the target.
    """
    with _named(source, f"renamed to {target}"):
        os.replace(source, target)
    sync_folder(target.absolute().parent)


def find_user_caches() -> Path:
    """Return the folder where this platform's programs keep what they can make again, for this user alone.

    Raises:
        KeyError: on Windows, when the user has none.
        RuntimeError: elsewhere, when the user has no home.
    """
    if sys.platform == "win32":
        return Path(os.environ["LOCALAPPDATA"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    # A relative path is to be ignored, says the XDG specification.
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"


def _open_unless_link(path: str, flags: int) -> int:
    if os.path.islink(path):  # where the system has no such flag
        raise OSError(errno.ELOOP, "is a symbolic link", path)
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _lock(file: File) -> bool:
    try:
        if sys.platform == "win32":
            file.stream.seek(_LOCKED_BYTE)
            msvcrt.locking(file.stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file.stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True


def _as_bytes(buffer: Buffer) -> memoryview:
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(b"")


def _read_once(file: File, view: memoryview, offset: int) -> int:
    if file.lock is None:
        return os.preadv(file.stream.fileno(), [view], offset)
    with file.lock:
        file.stream.seek(offset)
        return file.stream.readinto(view) or 0


def _write_once(file: File, view: memoryview, offset: int) -> int:
    if file.lock is None:
        return os.pwrite(file.stream.fileno(), view, offset)
    with file.lock:
        file.stream.seek(offset)
        return file.stream.write(view) or 0


@contextmanager
def _named(path: Path, verb: str, *tolerated: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in tolerated:
            raise RunError(f"{path}: cannot be {verb}: {error.strerror or error}") from error
