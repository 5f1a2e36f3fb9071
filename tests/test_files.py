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
from pyrovae.files import cache_folder, new_folder, open_owned, reason_of, write_whole
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


def test_a_file_has_the_rights_that_the_user_gives_to_new_files(path):
    before = os.umask(0o027)
    try:
        write_whole(path, lambda file: file.write(b"new"))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_temporary_file_is_new_and_its_name_is_not_known_before(path, monkeypatch):
    names = set()
    for _ in range(3):
        write_whole(path, lambda file: names.add(os.readlink(f"/proc/self/fd/{file.fileno()}")))
    assert len(names) == 3
    path.write_bytes(b"old")
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    (path.parent / ".out.guessed.tmp").symlink_to(path)
    with pytest.raises(InputError, match="cannot write .*out: file exists"):
        write_whole(path.parent / "out", lambda file: file.write(b"new"))
    assert path.read_bytes() == b"old"


def test_what_is_no_regular_file_is_not_replaced(path):
    other = path.parent / "pipe"
    os.mkfifo(other)
    with pytest.raises(InputError, match="is not a regular file, so it is not replaced"):
        write_whole(other, lambda file: file.write(b"new"))
    assert other.is_fifo()
    assert sorted(path.parent.iterdir()) == [path, other]


def test_a_file_is_on_the_disk_before_it_has_its_name(path, monkeypatch):
    done = []
    flush, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("flushed"), flush(file)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("renamed"), rename(*names)))
    write_whole(path, lambda file: file.write(b"new"))
    assert done == ["flushed", "renamed"]


def test_a_long_name_is_written(tmp_path):
    write_whole(tmp_path / ("n" * 255), lambda file: file.write(b"new"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["n" * 255]


def test_a_file_that_is_kept_open_keeps_its_content(path):
    with open_owned(path) as file:
        file.write(b"er")
        assert file.tell() == 5
    assert path.read_bytes() == b"older"
    open_owned(path.parent / "another").close()
    assert (path.parent / "another").read_bytes() == b""


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe"])
def test_no_file_is_kept_open_through_a_link(path, kind):
    other = path.parent / ".lock"
    if kind == "pipe":
        os.mkfifo(other)
    else:
        other.symlink_to(path if kind == "link" else path.parent / "nothing")
    with pytest.raises(
        InputError, match="is a link or a device, but PyroVAE needs a regular file .*: remove it"
    ):
        open_owned(other)
    assert path.read_bytes() == b"old"
    assert not (path.parent / "nothing").exists()


def test_processes_at_the_same_time_get_different_new_folders(tmp_path, monkeypatch):
    (tmp_path / "runs" / "x-2").mkdir(parents=True)
    found, start = [], threading.Barrier(8)

    def make():
        start.wait()
        found.append(new_folder(tmp_path / "runs", "x").name)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["x-1", *(f"x-{n}" for n in range(3, 10))]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file: remove it, or give another folder"):
        new_folder(tmp_path / "file", "x")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(
        InputError, match="cannot create the folder runs/x-1: no such file or directory; choose"
    ):
        new_folder(Path("runs"), "x")
    with pytest.raises(InputError, match="cannot create the folder .*: not a directory; choose another"):
        new_folder(tmp_path / "file" / "below", "x")


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
