"""Files are written whole or not at all, and what went wrong is said in the words of the system."""

import errno
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from pyrovae.errors import InputError
from pyrovae.files import cache_folder, reason_of, write_whole
from tests.support.interrupted import file_limit


@pytest.fixture
def path(tmp_path):
    """A file with something in it."""
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    return path


def only_the_old(path):
    return path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


def test_a_file_is_replaced_by_one_with_all_of_the_new(path):
    looks = []

    def write(file):
        file.write(b"new")
        file.flush()
        looks.append(path.read_bytes())

    write_whole(path, write)
    assert looks == [b"old"]
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "write", [lambda f: f.write(b"x" * 10_000), lambda f: torch.save({"x": torch.ones(9999)}, f)]
)
def test_a_full_disk_keeps_the_old_file(path, write):
    with file_limit(2000), pytest.raises(InputError) as caught:
        write_whole(path, write)
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert str(caught.value).endswith("; free space or choose another folder")
    assert "\n" not in str(caught.value)
    assert only_the_old(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_what_ends_the_writing_keeps_the_old_file_and_goes_on(path, error):
    def write(file):
        file.write(b"half")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        write_whole(path, write)
    assert only_the_old(path)


def test_ctrl_c_in_the_middle_keeps_the_old_file(path):
    """A signal between two pieces of the new file, as a terminal sends it."""

    def write(file):
        for _ in range(200):
            file.write(b"part")
            file.flush()
            time.sleep(0.01)

    send = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    send.start()
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, write)
    send.join()
    assert only_the_old(path)


def test_a_folder_that_is_not_there_or_cannot_be_written_is_said(path):
    with pytest.raises(InputError, match="cannot write .*no such file or directory; free space"):
        write_whole(path.parent / "none" / "file", lambda file: None)
    with pytest.raises(InputError, match="cannot write .*: is a directory"):
        write_whole(path.parent, lambda file: file.write(b"x"))


def test_reasons_are_those_of_the_system():
    assert reason_of(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) == "no space left on device"
    wrapped = RuntimeError("unexpected pos 64 vs 0")
    assert reason_of(wrapped) == "the disk may be full"
    wrapped.__cause__ = OSError(errno.EFBIG, "File too large")
    assert reason_of(wrapped) == "file too large"
    assert reason_of(OSError("something else")) == "something else"


def test_the_cache_is_where_the_system_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pyrovae"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == Path(tmp_path / "home" / ".cache" / "pyrovae")
