"""Every test runs the system's positional calls and the fallback for systems without them."""

import os
import threading

import numpy as np
import pytest

from smelt.errors import RunError
from smelt.tensors import platform
from smelt.tensors.platform import open_file, read_at, rename, reserve, sync_file, sync_folder, write_at


@pytest.fixture(params=[True, False], ids=["positional", "fallback"])
def positional(request):
    return request.param


def test_what_is_written_at_a_position_is_read_there(tmp_path, positional):
    with open_file(tmp_path / "f", "xb", positional) as file:
        reserve(file, 10)
        write_at(file, b"worl", 6)
        write_at(file, np.frombuffer(b"hello", np.uint8), 0)
        sync_file(file)
        assert file.size_bytes == 10
    assert (tmp_path / "f").read_bytes() == b"hello\0worl"
    buffer = np.zeros(3, np.uint8)
    with open_file(tmp_path / "f", "rb", positional) as file:
        read_at(file, buffer, 7)
        read_at(file, np.zeros(0, np.uint8), 99)
    assert buffer.tobytes() == b"orl"


def test_an_existing_file_can_be_written_into(tmp_path, positional):
    (tmp_path / "f").write_bytes(b"abcd")
    with open_file(tmp_path / "f", "r+b", positional) as file:
        write_at(file, b"X", 2)
    assert (tmp_path / "f").read_bytes() == b"abXd"
    with pytest.raises(FileExistsError):
        open_file(tmp_path / "f", "xb", positional)


def test_short_reads_and_writes_are_continued(tmp_path, positional, monkeypatch):
    monkeypatch.setattr(platform, "_CALL_LIMIT_BYTES", 3)
    content = bytes(range(20))
    with open_file(tmp_path / "f", "xb", positional) as file:
        write_at(file, content, 1)
    buffer = bytearray(20)
    with open_file(tmp_path / "f", "rb", positional) as file:
        read_at(file, buffer, 1)
    assert buffer == content


def test_the_end_of_the_file_inside_a_read_is_an_error_that_says_what_was_needed(tmp_path, positional):
    (tmp_path / "f").write_bytes(b"abcd")
    with open_file(tmp_path / "f", "rb", positional) as file:
        with pytest.raises(RunError, match=r"f: truncated: bytes 2 to 8 are needed, the file ends at 4$"):
            read_at(file, bytearray(6), 2)
        with pytest.raises(RunError, match=r"ends at 9$"):  # nothing at all there
            read_at(file, bytearray(1), 9)


def test_many_threads_read_one_file(tmp_path, positional):
    content = np.random.default_rng(0).integers(0, 256, 40_000, dtype=np.uint8)
    (tmp_path / "f").write_bytes(content.tobytes())
    wrong = []

    def read_everything(seed):
        offsets = np.random.default_rng(seed).integers(0, 39_000, 300)
        buffer = np.zeros(1000, np.uint8)
        for offset in offsets.tolist():
            read_at(file, buffer, offset)
            if not np.array_equal(buffer, content[offset : offset + 1000]):
                wrong.append(offset)

    with open_file(tmp_path / "f", "rb", positional) as file:
        threads = [threading.Thread(target=read_everything, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_full_disk_is_an_error_that_names_the_file(positional):
    with (
        open_file("/dev/full", "r+b", positional) as file,
        pytest.raises(RunError, match="/dev/full: cannot be written: No space left"),
    ):
        write_at(file, b"x", 0)


def test_reserving_works_where_the_file_system_cannot_allocate(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(platform.errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with open_file(tmp_path / "f", "xb") as file:
        reserve(file, 1000)
        assert file.size_bytes == 1000
    monkeypatch.delattr(os, "posix_fallocate")
    with open_file(tmp_path / "g", "xb") as file:
        reserve(file, 0)
        assert file.size_bytes == 0


def test_rename_moves_folders_and_replaces_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    rename(tmp_path / "a", tmp_path / "b")
    (tmp_path / "y").write_text("2")
    rename(tmp_path / "y", tmp_path / "b" / "x")
    sync_folder(tmp_path / "b")
    assert (tmp_path / "b" / "x").read_text() == "2"
    assert not (tmp_path / "a").exists()
    with pytest.raises(RunError, match="cannot be renamed to"):
        rename(tmp_path / "missing", tmp_path / "c")


def test_a_folder_that_is_not_there_cannot_be_synced(tmp_path):
    with pytest.raises(RunError, match="nowhere: cannot be synced"):
        sync_folder(tmp_path / "nowhere")
