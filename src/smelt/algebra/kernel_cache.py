"""From the text of a kernel to machine code, compiled once per machine.

Numba does not notice that a helper has changed, so a kernel is one self-contained text, and the file that keeps its
machine code is named by the hash of all that decides it: the text, the signature, smelt's numerics version, the
versions of Python, NumPy, Numba and llvmlite, and the processor. Whatever goes wrong with such a file means that the
kernel is compiled without it.

Numba's ``cache=True`` is not used: it needs a source file beside a folder that the environment may move, keeps an index
apart from its data, and unpickles what it finds there unseen. ``Entry`` takes the place of Numba's own cache in the
dispatcher (``load_overload``, ``save_overload``), and ``CompileResult`` packs and unpacks as it does for Numba; what is
ours is the file. It is one file, so no index can disagree with it; it carries a checksum, because damaged machine code
does not raise but crashes or computes something else; and it replaces its predecessor by a rename. If a later Numba
changes this inner interface, kernels are compiled in every process; nothing else breaks.

The linker knows functions by name only, and Numba's names repeat from process to process. So every function bears in
its name a hash of all that it consists of, those included that it calls, and a kernel into which Numba has linked
further functions that stayed functions (``numpy.round``, say) is not kept: two kernels might hold different ones of one
name. By the same hash a function that several kernels share is compiled once in a process.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import pickle
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smelt.errors import SmeltError
from smelt.tensors.platform import find_user_caches

Kernel = Callable[..., Any]

KEPT_SECONDS = 90 * 24 * 3600  # that a kernel stays on the disk without being used


class KernelUnavailable(SmeltError):  # noqa: N818 - it says what is so; the interpreter runs instead
    """Numba is missing, switched off or cannot compile this; the interpreter computes the same bits."""


@dataclass
class Slot:
    """The place of one kernel in this process; its lock is held while the kernel is being compiled."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    kernel: Kernel | None = None


# Machine code cannot be unloaded and depends on its key alone: a second copy would only cost memory and time.
_SLOTS: dict[str, Slot] = {}
# One at a time: compiling sets the warnings of the process aside, and two threads at once would not put them back.
_COMPILING = threading.Lock()
# The functions that kernels call, by the hash of what decides them; used while compiling alone.
_CALLED: dict[str, Any] = {}


def load_kernel(source: str, function: str, signature: Any, *, version: int, folder: Path | None = None) -> Kernel:
    """Return one function of a text as machine code, from this process, from the cache or compiled now.

    Args:
        source: the text of a module of plain functions, which may call each other and need nothing but its imports.
        function: the name of the function wanted.
        signature: its Numba signature, as text, as a signature or as a tuple of argument types.
        version: smelt's numerics version.
        folder: where machine code is kept; by default a folder of the user's. It must be the user's own, writable by
            nobody else and no link, or it is not used.

    Returns:
        A Numba function for this signature only, also as an argument of another kernel (``types.FunctionType``). It
        releases the interpreter's lock, checks no bounds, divides as NumPy does and reorders nothing.

    Raises:
        KernelUnavailable: there is no working Numba, or it cannot compile this text.
    """
    try:
        digest = name_kernel(source, function, signature, version)
        slot = _SLOTS.setdefault(digest, Slot())
        with slot.lock:
            if slot.kernel is None:
                with _COMPILING:
                    slot.kernel = _compile(source, function, signature, digest, _locate(digest, folder))
            return slot.kernel
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "no reason given")
        found = f"{type(error).__name__}: {reason}"
        raise KernelUnavailable(f"kernel {function}: Numba cannot compile it ({found})") from error


def name_kernel(source: str, function: str, signature: Any, version: int) -> str:
    """Return the sha256, in hexadecimal, of everything that decides a kernel's machine code."""
    import llvmlite
    import numba
    import numpy as np
    from numba.core.registry import cpu_target
    from numba.core.sigutils import normalize_signature

    arguments, result = normalize_signature(signature)
    machine = cpu_target.target_context.codegen().magic_tuple()
    versions = (version, numba.__version__, llvmlite.__version__, np.__version__, sys.version)
    parts = (source, function, str(arguments), str(result), *versions, *machine)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _compile(source: str, function: str, signature: Any, digest: str, cache_path: Path | None) -> Any:
    import numba

    if numba.config.DISABLE_JIT:
        raise RuntimeError("compilation is switched off by NUMBA_DISABLE_JIT")
    # Unpickling an entry imports the module that its functions say they are of, so they are of this one.
    namespace: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, f"<kernel {digest}>", "exec", dont_inherit=True), namespace)
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": False}
    hashes = _hash_functions(source, function, digest)
    for name, own in hashes.items():
        value = _CALLED.get(own)
        if value is None:
            namespace[name].__qualname__ = f"{name}_{own}"
            # Nothing but the kernel is called from outside, and ways to do so take a fifth of the time.
            inner = name != function
            value = numba.njit(**options, no_cpython_wrapper=inner, no_cfunc_wrapper=inner)(namespace[name])
            if inner:
                _CALLED[own] = value
        namespace[name] = value
    kernel = namespace[function]
    kernel._cache = Entry(digest, cache_path, frozenset(hashes.values()))
    kernel.compile(signature)
    kernel.disable_compile()
    return kernel


def _hash_functions(source: str, kernel: str, digest: str) -> dict[str, str]:
    """Return for each plain function of a text the hash of it, of all that it may call and of what is no function.

    The kernel itself has the digest; it serves one signature only, so what calls it belongs to it alone.
    """
    module = ast.parse(source)
    functions = {n.name: n for n in module.body if isinstance(n, ast.FunctionDef) and not n.decorator_list}
    others = [node for node in module.body if node not in functions.values()]
    rest = [ast.dump(node) for node in others]
    texts = {name: ast.dump(node) for name, node in functions.items()} | {kernel: digest}
    calls = {name: (_names_in([node]) | _names_in(others)) & set(functions) for name, node in functions.items()}
    hashes = {}
    for name in functions:
        reached, todo = {name}, [name]
        while todo:
            new = calls[todo.pop()] - reached
            reached |= new
            todo += new
        parts = (name, rest, [texts[other] for other in sorted(reached)])
        hashes[name] = hashlib.sha256(repr(parts).encode()).hexdigest()
    return hashes | {kernel: digest}


def _names_in(nodes: Sequence[ast.AST]) -> set[str]:
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}


@dataclass(frozen=True)
class Entry:
    """A kernel's place on disk, to Numba the cache of one function.

    Args:
        digest: the name of the kernel.
        cache_path: its file, whether it exists or not; None where the user has no folder for such things.
        hashes: of all functions of its text.
    """

    digest: str
    cache_path: Path | None
    hashes: frozenset[str]

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compile result that the file holds, or None if for any reason it cannot be had."""
        from numba.core.compiler import CompileResult

        with contextlib.suppress(Exception):
            if self.cache_path is not None:
                packed = _unframe(_read(self.cache_path), self.digest)
                with contextlib.suppress(OSError):
                    os.utime(self.cache_path)  # says when it was last of use
                target_context.refresh()
                return CompileResult._rebuild(target_context, *pickle.loads(packed))
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Write a compile result to the file, if that can be done."""
        from numba.core.serialize import dumps

        with contextlib.suppress(Exception):
            if self.cache_path is not None and self._is_self_contained(result.library):
                _write(self.cache_path, _frame(dumps(result._reduce()), self.digest))
                _prune(self.cache_path.parent)

    def _is_self_contained(self, library: Any) -> bool:
        # NRT_… is Numba's reference counting, the same code in every process.
        names = [defined.name for defined in library.get_defined_functions()]
        known = (n.startswith("NRT_") or any(own in n for own in self.hashes) for n in names)
        return not library.has_dynamic_globals and all(known)


def _frame(packed: bytes, digest: str) -> bytes:
    return hashlib.sha256(digest.encode() + packed).digest() + packed


def _unframe(data: bytes, digest: str) -> bytes:
    packed = data[hashlib.sha256().digest_size :]
    if _frame(packed, digest) != data:
        raise ValueError("a damaged file, or another kernel's")
    return packed


def _read(path: Path) -> bytes:
    _refuse_shared(path.parent.lstat(), stat.S_IFDIR)
    with path.open("rb") as file:
        # Looked at once more through the open file, which nobody can exchange any longer.
        _refuse_shared(os.fstat(file.fileno()), stat.S_IFREG)
        return file.read()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_shared(path.parent.lstat(), stat.S_IFDIR)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _prune(folder: Path) -> None:
    """Delete what has not been of use for long: kernels of other versions, and what a killed process left behind."""
    oldest = time.time() - KEPT_SECONDS
    for path in list(folder.iterdir()):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < oldest:
                path.unlink()


def _refuse_shared(status: os.stat_result, kind: int) -> None:
    """Refuse what somebody else could have written: entries are pickles, and a pickle can run anything."""
    if stat.S_IFMT(status.st_mode) != kind:
        raise PermissionError("a link, or not what it should be")
    if sys.platform != "win32" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise PermissionError("not the user's alone")


def _locate(digest: str, folder: Path | None) -> Path | None:
    with contextlib.suppress(Exception):
        return (folder or find_user_caches() / "smelt" / "kernels") / f"{digest}.kernel"
    return None
