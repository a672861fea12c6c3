import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from smelt.algebra import kernel_cache
from smelt.algebra.kernel_cache import KernelUnavailable, load_kernel, name_kernel

SOURCE = """
import numpy as np

THIRD = np.float32(1) / np.float32(3)

def scaled(x):
    return x * THIRD

def run(values, out):
    for i in range(values.size):
        out[i] = scaled(values[i]) - np.float32(1) / values[i]
"""
SIGNATURE = "void(float32[::1], float32[::1])"
VALUES = np.array([0.0, -0.0, 0.1, -7.3, 3e38, 1e-45, np.inf], np.float32)

# What a second process does: wait for a word, load, apply the operation to the values, tell.
PROCESS = """
import json, sys
import numpy as np
from pathlib import Path
from numba import types
from numba.core import event
from smelt.algebra.kernel_cache import load_kernel

operation, apply, values, folder = json.loads(sys.stdin.readline())
f4 = types.float32
takes_function = (types.FunctionType(f4(f4, f4)), f4[::1], f4[::1])
with event.install_recorder("numba:compile") as recorder:
    load = lambda *kernel: load_kernel(*kernel, version=1, folder=Path(folder))
    inner, outer = load(operation, "run", "f4(f4, f4)"), load(apply, "run", takes_function)
values = np.array(values, np.float32)
out = np.empty_like(values)
outer(inner, values, out)
hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in (inner, outer))
print(json.dumps([sum(e.is_start for _, e in recorder.buffer), hits, out.tobytes().hex()]))
"""
ADD = "def run(x, y):\n    return x + y\n"
MULTIPLY = "def run(x, y):\n    return x * y\n"
APPLY = "def run(f, values, out):\n    for i in range(values.size):\n        out[i] = f(values[i], values[0])\n"
FIRST_CLASS_VALUES = [3.0, 0.1, -7.3]


def start(operation, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return process, json.dumps([operation, APPLY, FIRST_CLASS_VALUES, str(folder)]).encode()


def finish(process, words):
    answer, complaints = process.communicate(words, timeout=100)
    assert (process.returncode, complaints) == (0, b"")
    return json.loads(answer)


@pytest.fixture(scope="module")
def used_by_processes(tmp_path_factory):
    """Two processes at once over an empty folder, then one with another operation, then one of each again."""
    folder = tmp_path_factory.mktemp("user") / "kernels"
    both = [start(ADD, folder), start(ADD, folder)]
    answers = [finish(*one) for one in both]
    answers += [finish(*start(operation, folder)) for operation in (MULTIPLY, ADD, MULTIPLY)]
    return folder, answers


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch):
    forget(monkeypatch)


def forget(monkeypatch):
    """Make this process as new, as far as kernels go."""
    monkeypatch.setattr(kernel_cache, "_SLOTS", {})
    monkeypatch.setattr(kernel_cache, "_CALLED", {})


def load(folder, source=SOURCE):
    """Load, check what the kernel computes, and return how many functions were compiled for it."""
    from numba.core import event

    with event.install_recorder("numba:compile") as recorder:
        kernel = load_kernel(source, "run", SIGNATURE, version=1, folder=folder)
    out = np.empty_like(VALUES)
    kernel(VALUES, out)
    with np.errstate(all="ignore"):
        third = np.float32(1) / np.float32(3)
        expected = VALUES * third - np.float32(1) / VALUES
    assert out.tobytes() == expected.tobytes()
    return sum(e.is_start for _, e in recorder.buffer)


def entries(folder):
    return sorted(folder.glob("*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An entry as it was written."""
    folder = tmp_path_factory.mktemp("user") / "smelt" / "kernels"
    assert load(folder) == 2
    (path,) = entries(folder)
    return path


@pytest.fixture
def folder(whole, tmp_path):
    """A cache folder with one entry, of which this process knows nothing."""
    return Path(shutil.copytree(whole.parent, tmp_path / "kernels"))


def test_what_was_of_no_use_for_long_goes_when_a_new_kernel_comes(folder):
    (kept,) = entries(folder)
    leftover, stale = folder / "tmp-of-a-killed-process", folder / "0.kernel"
    for path in (leftover, stale):
        path.write_bytes(b"")
        os.utime(path, (0, 0))
    os.utime(kept, (0, 0))
    assert load(folder) == 0  # of use again
    load(folder, SOURCE.replace("float32(3)", "float32(3.0)"))
    assert kept in entries(folder)
    assert not leftover.exists()
    assert not stale.exists()


# Processes


def test_a_second_process_compiles_nothing(used_by_processes):
    _, answers = used_by_processes
    assert [a[:2] for a in answers[3:]] == [[0, 2], [0, 2]]


def test_two_first_processes_at_once_leave_whole_entries(used_by_processes):
    folder, answers = used_by_processes
    assert all(compiled in (0, 1, 2) for compiled, _, _ in answers[:2])
    assert [path.suffix for path in entries(folder)] == [".kernel"] * 3


def test_a_kernel_handed_to_a_kernel_gives_the_same_bits_compiled_and_cached(used_by_processes):
    _, answers = used_by_processes
    values = np.array(FIRST_CLASS_VALUES, np.float32)
    added, multiplied = ((values + values[0]).tobytes().hex(), (values * values[0]).tobytes().hex())
    assert [bits for _, _, bits in answers] == [added, added, multiplied, added, multiplied]


def test_kernels_of_one_name_made_by_different_processes_are_told_apart(used_by_processes):
    from numba import types

    folder, _ = used_by_processes
    f4 = types.float32
    takes_function = (types.FunctionType(f4(f4, f4)), f4[::1], f4[::1])
    add, multiply = (load_kernel(s, "run", "f4(f4, f4)", version=1, folder=folder) for s in (ADD, MULTIPLY))
    apply = load_kernel(APPLY, "run", takes_function, version=1, folder=folder)
    assert [sum(kernel.stats.cache_hits.values()) for kernel in (add, multiply, apply)] == [1, 1, 1]
    values, out = np.array([3, 5], np.float32), np.empty((2, 2), np.float32)
    # An address is looked up by name when a kernel is handed over, after both are there.
    for kernel, row in zip((add, multiply), out, strict=True):
        apply(kernel, values, row)
    assert out.tolist() == [[6, 8], [9, 15]]
    assert (add(3, 5), multiply(3, 5)) == (8, 15)


# One process


def test_a_kernel_is_kept_in_memory(folder):
    assert [load(folder), load(folder)] == [0, 0]
    first, second = (load_kernel(SOURCE, "run", SIGNATURE, version=1, folder=folder) for _ in range(2))
    assert first is second


def test_threads_that_ask_at_once_compile_once(tmp_path):
    from numba.core import event

    barrier, kernels = threading.Barrier(4), []

    def ask():
        barrier.wait()
        kernels.append(load_kernel(ADD, "run", "f4(f4, f4)", version=1, folder=tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    with event.install_recorder("numba:compile") as recorder:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(e.is_start for _, e in recorder.buffer) == 1
    assert len(kernels) == 4
    assert all(k is kernels[0] for k in kernels)


def compile_and_run(source, folder, function="run", argument=1.0):
    """Return what a kernel gives, and how many functions were compiled for it."""
    from numba.core import event

    with event.install_recorder("numba:compile") as recorder:
        kernel = load_kernel(source, function, "f8(f8)", version=1, folder=folder)
    return kernel(argument), sum(e.is_start for _, e in recorder.buffer)


MIDDLE = "def middle(x):\n    return last(x) * 2.0\n\n"
LAST = "def last(x):\n    return x + 1.0\n\n"
RUN = "def run(x):\n    return middle(x)\n"


def test_what_kernels_share_is_compiled_once_and_kept_with_each(tmp_path, monkeypatch):
    first, second = f"{MIDDLE}{LAST}{RUN}", f"{LAST}# again\n\n{MIDDLE}def run(x):\n    return -middle(x)\n"
    assert compile_and_run(first, tmp_path) == (4.0, 3)
    assert compile_and_run(second, tmp_path) == (-4.0, 1)
    forget(monkeypatch)
    assert compile_and_run(second, tmp_path) == (-4.0, 0)  # what it shares is in its entry as well
    assert compile_and_run(first, tmp_path) == (4.0, 0)


def test_a_kernel_from_the_disk_stands_beside_one_that_shares_with_it(tmp_path, monkeypatch):
    first, second = (f"{MIDDLE}{LAST}def run(x):\n    return {sign}middle(x)\n" for sign in "+-")
    assert compile_and_run(first, tmp_path) == (4.0, 3)
    forget(monkeypatch)
    assert compile_and_run(first, tmp_path) == (4.0, 0)
    assert compile_and_run(second, tmp_path) == (-4.0, 3)


CHAINS = {
    "what it calls": MIDDLE + "def last(x):\n    return x + {}\n" + RUN,
    "a constant": "K = {}\ndef middle(x):\n    return (x + K) * 2.0\n" + RUN,
    "a constant that is worked out": "def make():\n    return {}\nK = make()\n"
    "def middle(x):\n    return (x + K) * 2.0\n" + RUN,
    "what a function that is compiled already calls": "import numba\ndef inmost(x):\n    return x + {}\n"
    "@numba.njit\ndef last(x):\n    return inmost(x)\n" + MIDDLE + RUN,
}


@pytest.mark.parametrize("chain", CHAINS)
def test_functions_of_one_text_are_told_apart_by_all_that_they_need(tmp_path, chain):
    assert [compile_and_run(CHAINS[chain].format(number), tmp_path)[0] for number in (1.0, 2.0)] == [4.0, 6.0]


def test_functions_that_call_each_other_are_told_apart_by_all_of_them():
    texts = [f"def f(n):\n    return g(n)\n\ndef g(n):\n    return f(n - {step})\n" for step in (1, 2)]
    hashes = [kernel_cache._hash_functions(text, "run", "0") for text in texts]
    assert len({found for own in hashes for found in own.values()} - {"0"}) == 4


def test_what_calls_a_kernel_is_not_shared(tmp_path):
    """A kernel serves one signature, and would round what it is given to it."""
    chain = "def run(x):\n    return x + x\ndef middle(x):\n    return run(x)\ndef outer(x):\n    return middle(x)\n"
    load_kernel(chain, "run", "f4(f4)", version=1, folder=tmp_path)
    assert compile_and_run(chain, tmp_path, "outer", 0.1) == (0.2, 3)


def test_a_kernel_serves_its_signature_only(folder):
    kernel = load_kernel(SOURCE, "run", SIGNATURE, version=1, folder=folder)
    with pytest.raises(TypeError, match="No matching definition"):
        kernel(VALUES.astype(np.float64), VALUES.astype(np.float64))


def test_a_kernel_that_holds_functions_of_other_names_is_not_kept(tmp_path):
    recursive = "@numba.njit\ndef fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n"
    source = f"import numba\n{recursive}def run(n):\n    return fibonacci(n)\n"
    kernel = load_kernel(source, "run", "int64(int64)", version=1, folder=tmp_path)
    assert kernel(10) == 55
    assert entries(tmp_path) == []


# Names


def test_whatever_decides_the_machine_code_decides_the_name(monkeypatch):
    import llvmlite
    import numba

    name = name_kernel(SOURCE, "run", SIGNATURE, 1)
    names = [
        name_kernel(SOURCE.replace("x * THIRD", "THIRD * x"), "run", SIGNATURE, 1),
        name_kernel(SOURCE, "scaled", SIGNATURE, 1),
        name_kernel(SOURCE, "run", SIGNATURE.replace("32", "64"), 1),
        name_kernel(SOURCE, "run", SIGNATURE, 2),
    ]
    for module in (numba, llvmlite, np):
        with monkeypatch.context() as context:
            context.setattr(module, "__version__", "1!0")
            names.append(name_kernel(SOURCE, "run", SIGNATURE, 1))
    with monkeypatch.context() as context:
        context.setattr("numba.core.codegen.JITCPUCodegen._get_host_cpu_name", lambda codegen: "pentium")
        names.append(name_kernel(SOURCE, "run", SIGNATURE, 1))
    with monkeypatch.context() as context:
        codegen = numba.core.registry.cpu_target.target_context.codegen()
        context.setattr(codegen, "_tm_features", "+mmx")
        names.append(name_kernel(SOURCE, "run", SIGNATURE, 1))
    assert len({name, *names}) == 1 + len(names) == 10


def test_one_signature_has_one_name_however_it_is_written():
    from numba import types

    array = types.float32[::1]
    texts = {name_kernel(SOURCE, "run", s, 1) for s in (SIGNATURE, "void(f4[::1],f4[::1])", types.void(array, array))}
    assert len(texts) == 1
    assert len({name_kernel(SOURCE, "run", s, 1) for s in ("(f4[::1],f4[::1])", (array, array))}) == 1


def test_another_processor_and_another_text_get_entries_of_their_own(folder, monkeypatch):
    assert load(folder, SOURCE + "# the same again\n") == 2
    forget(monkeypatch)  # another processor is another process
    monkeypatch.setattr("numba.core.codegen.JITCPUCodegen._get_host_cpu_name", lambda codegen: "pentium")
    assert load(folder) == 2
    assert len(entries(folder)) == 3


# Damage


def framed(data, path):
    return kernel_cache._frame(data, path.stem)


DAMAGES = {
    "empty": lambda data, path: b"",
    "short": lambda data, path: data[:20],
    "truncated": lambda data, path: data[:-1],
    "longer": lambda data, path: data + b"\0",
    "a bit flipped": lambda data, path: data[:9000] + bytes([data[9000] ^ 4]) + data[9001:],
    "random": lambda data, path: np.random.default_rng(1).bytes(len(data)),
    "a pickle": lambda data, path: pickle.dumps({"a": 1}),
    "a framed pickle of something else": lambda data, path: framed(pickle.dumps([1, 2]), path),
    "a framed pickle of a missing class": lambda data, path: framed(b"cmissing\nThing\n.", path),
    "framed garbage": lambda data, path: framed(b"garbage", path),
    "another kernel": lambda data, path: kernel_cache._frame(data[32:], "0" * 64),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_replaced(folder, monkeypatch, damage):
    (path,) = entries(folder)
    path.write_bytes(DAMAGES[damage](path.read_bytes(), path))
    assert load(folder) == 2
    forget(monkeypatch)
    assert load(folder) == 0
    assert entries(folder) == [path]


def test_a_folder_in_the_place_of_an_entry_does_no_harm(folder):
    (path,) = entries(folder)
    path.unlink()
    path.mkdir()
    assert load(folder) == 2
    assert entries(folder) == [path]


# Folders


def test_the_folder_is_the_users_own(whole):
    assert [path.stat().st_mode & 0o777 for path in (whole.parent, whole)] == [0o700, 0o600]


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write_is_not_used(folder, mode):
    folder.chmod(mode)
    assert load(folder) == 2


def test_nothing_is_written_to_a_folder_that_others_can_write(tmp_path):
    tmp_path.chmod(0o777)
    assert load(tmp_path) == 2
    assert entries(tmp_path) == []


def test_an_entry_that_others_can_write_is_replaced(folder):
    (path,) = entries(folder)
    path.chmod(0o660)
    assert load(folder) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_of_somebody_else_is_not_used(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert load(folder) == 2


def test_a_link_to_a_folder_is_not_used(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    entries(folder)[0].rename(folder / "elsewhere")
    assert load(link) == 2
    assert [path.name for path in entries(folder)] == ["elsewhere"]


def test_a_file_in_the_place_of_the_folder_does_no_harm(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"mine")
    assert load(file) == 2
    forget(monkeypatch)
    assert load(file / "kernels") == 2
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch, code):
    def refuse(*args, **keywords):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert load(tmp_path / "kernels") == 2


def test_a_read_only_folder_is_read(folder):
    folder.chmod(0o500)
    assert load(folder) == 0


def test_a_home_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    def refuse(*args, **keywords):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert load(None) == 2


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        assert load(tmp_path / "kernels") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert entries(tmp_path / "kernels") == []


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", "xdg"), ("darwin", "home/Library/Caches"), ("win32", "local")],
)
def test_the_default_folder_is_the_platforms(tmp_path, monkeypatch, platform, expected):
    for name, place in (("XDG_CACHE_HOME", "xdg"), ("HOME", "home"), ("LOCALAPPDATA", "local")):
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setattr(sys, "platform", platform)
    assert kernel_cache._locate("abc", None) == tmp_path / expected / "smelt" / "kernels" / "abc.kernel"


def test_a_relative_cache_home_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert kernel_cache._locate("abc", None) == tmp_path / ".cache" / "smelt" / "kernels" / "abc.kernel"


def test_a_user_without_a_home_does_without_a_cache(monkeypatch):
    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", refuse)
    assert load(None) == 2


# Without Numba


def test_without_numba_the_caller_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(KernelUnavailable, match=r"^kernel run: Numba cannot compile it \(ModuleNotFoundError: .*numba"):
        load_kernel(SOURCE, "run", SIGNATURE, version=1, folder=tmp_path)


def test_with_compilation_switched_off_the_caller_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    with pytest.raises(KernelUnavailable, match="NUMBA_DISABLE_JIT"):
        load_kernel(SOURCE, "run", SIGNATURE, version=1, folder=tmp_path)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def run(values, out):\n    out[0] = missing(values)\n", "TypingError: "),
        ("def run(", "SyntaxError: "),
        ("def walk(values, out):\n    pass\n", "KeyError: 'run'"),
    ],
)
def test_what_numba_cannot_compile_is_said_in_one_line(tmp_path, source, found):
    with pytest.raises(KernelUnavailable, match=found) as caught:
        load_kernel(source, "run", SIGNATURE, version=1, folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert entries(tmp_path) == []
