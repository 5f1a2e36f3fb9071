"""The folder of compiled code is private, cleaned up, and checked before its code runs."""

import contextlib
import os
import platform
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pyrovae.compiling import cache_folder, storage
from pyrovae.compiling.storage import add, building, find, folder_to_read, folder_to_write


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "code"))
    monkeypatch.setattr(storage, "_TEMPORARY", {})
    return tmp_path / "code"


def test_where_code_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("PYROVAE_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("PYROVAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pyrovae" / "compiled"


def test_code_of_former_versions_goes(monkeypatch, tmp_path):
    monkeypatch.delenv("PYROVAE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old = tmp_path / "pyrovae"
    (old / ".build-abc").mkdir(parents=True)
    for name in (f"{'0f' * 16}.so", "mine.so", "seconds"):
        (old / name).touch()
    assert folder_to_write() == old / "compiled"
    assert sorted(path.name for path in old.iterdir()) == ["compiled", "mine.so"]


def test_a_new_folder_is_its_owners_alone(folder):
    assert folder_to_read() is None
    before = os.umask(0o000)
    try:
        assert folder_to_write() == folder_to_read() == folder
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def a_file(folder, monkeypatch):
    folder.touch()


def below_a_file(folder, monkeypatch):
    folder.parent.joinpath("file").touch()
    monkeypatch.setenv("PYROVAE_CACHE", str(folder.parent / "file" / "code"))


def a_long_name(folder, monkeypatch):
    monkeypatch.setenv("PYROVAE_CACHE", str(folder.parent / ("x" * 300)))


def writable_by_the_group(folder, monkeypatch):
    folder.mkdir()
    folder.chmod(0o770)


def writable_by_all(folder, monkeypatch):
    folder.mkdir()
    folder.chmod(0o777)


def of_another_user(folder, monkeypatch):
    folder.mkdir(0o700)
    monkeypatch.setattr("os.getuid", lambda: 12_345)


def not_writable(folder, monkeypatch):
    folder.mkdir(0o500)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # also for root


REFUSED = {
    a_file: "cannot be created (file exists)",
    below_a_file: "cannot be created (not a directory)",
    a_long_name: "cannot be created (file name too long)",
    writable_by_the_group: "can be written by other users",
    writable_by_all: "can be written by other users",
    of_another_user: "belongs to another user",
    not_writable: "cannot be written (permission denied)",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_folder_that_cannot_be_trusted_is_not_used_and_that_is_said_once(folder, make, monkeypatch, capsys):
    make(folder, monkeypatch)
    if folder.is_dir() and make is not not_writable:  # what another user has put there
        folder.joinpath(f"key-{storage._digest(b'evil')}.so").write_bytes(b"evil")
        assert folder_to_read() is None
    where = folder_to_write()
    assert where == folder_to_write() != folder
    if make is not not_writable:
        assert folder_to_read() == where
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    assert capsys.readouterr().err == (
        f"compiled code is not kept, because the folder {cache_folder()} {REFUSED[make]}: "
        "set PYROVAE_CACHE to a folder that only you can write\n"
    )


def test_files_that_vanish_and_what_is_no_file_stop_nothing(folder):
    where = folder_to_write()
    (where / "one-0.so").mkdir()
    (where / "two-0.so").symlink_to("vanished")  # as of a file that another process removes
    assert find(where, "one") is None
    assert find(where, "two") is None
    assert find(where, "three") is None
    assert add(where, "three", b"code") == find(where, "three")


def test_the_folder_that_is_used_instead_goes_with_the_process(folder):
    folder.touch()
    code = "from pyrovae.compiling.storage import folder_to_write; print(folder_to_write())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not Path(done.stdout.strip()).exists()
    assert done.stderr.startswith("compiled code is not kept")


@pytest.mark.parametrize("damage", [lambda code: code[:-1], lambda code: b"", lambda code: b"\1" + code[1:]])
def test_damaged_code_is_not_found_and_goes(folder, damage):
    folder = folder_to_write()
    path = add(folder, "key", b"\0machine code")
    assert find(folder, "key") == path
    assert find(folder, "other") is None
    path.write_bytes(damage(b"\0machine code"))
    assert find(folder, "key") is None
    assert not path.exists()
    assert find(folder, "key", check=False) is None


def test_the_oldest_code_goes(folder, monkeypatch):
    folder = folder_to_write()
    monkeypatch.setattr(storage, "STORED", 3)
    for age in range(5):
        os.utime(add(folder, f"{age}", b"code"), (time.time() - 1000 * age,) * 2)
    newest = add(folder, "new", b"code")
    names = {path.name.partition("-")[0] for path in folder.iterdir()}
    assert names == {"0", "1", "new"}
    assert newest.exists()


def test_what_killed_compilations_left_is_swept(folder):
    folder = folder_to_write()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    host, minute = storage._host(), 60
    kept = {
        f".build-{host}-{os.getpid()}-a": 60 * minute,
        f".build-{host}-{process.pid}-young": minute,
        f".build-elsewhere{host}-{process.pid}-b": 60 * minute,
        ".build-old": 60 * minute,
        ".young.tmp": minute,
        "tools/header": 24 * 60 * minute,
    }
    swept = {
        f".build-{host}-{process.pid}-c": 11 * minute,
        f".build-elsewhere{host}-{os.getpid()}-d": 25 * 60 * minute,
        f".build-{host}-{os.getpid()}-e": 25 * 60 * minute,
        ".build-oldest": 25 * 60 * minute,
        ".x.tmp": 25 * 60 * minute,
        "tools/former": 61 * 24 * 60 * minute,
    }
    for name, age in (kept | swept).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if name.startswith(".build"):
            path.mkdir()
            path.joinpath("file").touch()
        else:
            path.touch()
        os.utime(path, (time.time() - age,) * 2)
    with building(folder) as build:
        assert build.parent == folder
        assert build.name.startswith(f".build-{host}-{os.getpid()}-")
        assert stat.S_IMODE(build.stat().st_mode) == 0o700
    left = {str(path.relative_to(folder)) for path in [*folder.glob(".*"), *folder.glob("tools/*")]}
    assert left == set(kept)
    assert platform.node() == "" or storage._host() != ""


def test_a_build_is_removed_though_a_compiler_still_writes(tmp_path):
    build = tmp_path / f".build-{storage._host()}-7-x"
    build.mkdir()
    for number in range(500):
        (build / f"{number}").touch()

    def write():
        with contextlib.suppress(FileNotFoundError):
            for number in range(500, 1500):
                (build / f"{number}").touch()

    compiler = threading.Thread(target=write)
    compiler.start()
    storage.remove_builds(tmp_path, 7)
    compiler.join()
    assert not build.exists()
