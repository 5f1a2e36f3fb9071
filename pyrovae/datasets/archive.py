"""Download and unpacking of torchvision's image sets, in the folders of `layouts`.

A read-only root may hold packed files only: these are unpacked into the cache folder, under a name
that is a hash of their source. Every file is written under a temporary name and then renamed, so
that another process never sees half a file; torchvision's own unpacking does not guarantee this.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import tarfile
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae.datasets.images import resized
from pyrovae.datasets.layouts import LAYOUTS, Layout, data_root
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError
from pyrovae.files import cache_folder, temporary_path

__all__ = ["LAYOUTS", "read_known"]


def read_known(name: str, root: str | os.PathLike[str] | None = None, resize: int | None = None) -> Source:
    """Read a set through torchvision; download and unpack it first if necessary.

    With `resize`, its images get this height and width.

    Raises:
        InputError: when it is missing and cannot be downloaded, or a file of it is broken.
    """
    layout = LAYOUTS[name]
    where = _provide(name, layout, data_root(root))
    kind = _torchvision_class(layout)
    try:
        train, test = kind(where, train=True), kind(where, train=False)
    except (RuntimeError, AssertionError, TypeError, ValueError, OSError, EOFError):
        raise InputError(
            f"the files of {name} in {where / layout.folder} are broken or cut off: remove them and load "
            "again"
        ) from None
    (x, labels), (test_x, test_labels) = _arrays(train), _arrays(test)
    if resize is not None:
        x, test_x = (torch.from_numpy(resized(images.numpy(), resize)) for images in (x, test_x))
    return as_source(
        name, x, labels, test_x=test_x, test_labels=test_labels, levels=256, held_out=layout.held_out
    )


def _arrays(part: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
    """Images, (N, C, H, W) uint8, and labels, (N,), of a torchvision set."""
    images = torch.as_tensor(part.data)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    labels = torch.as_tensor(np.asarray(part.targets))
    return images, labels[:, 0] if labels.ndim == 2 else labels  # QMNIST: the class is the first of eight


def _provide(name: str, layout: Layout, root: Path) -> Path:
    """A folder from which torchvision can read the set; missing files are created."""
    for place in (root, cache_folder()):
        # the cache is not used when the root has some of the files
        if layout.holds(place, layout.files) and (place == root or not _any_of(root, layout)):
            return place
    target = root
    if not _writable(root / layout.folder):
        unpacked = cache_folder() / "unpacked" / _key(root, layout)
        target = unpacked if _any_of(root, layout) else cache_folder()
    try:
        (target / layout.folder).mkdir(parents=True, exist_ok=True)
        for file, packed in layout.pairs():
            _provide_one(name, layout, (root, target), file, packed)
    except OSError as error:
        raise InputError(
            f"{name} cannot be written to {target} ({error.strerror or error}): choose another folder with "
            "root= or the variable PYROVAE_DATA, or set XDG_CACHE_HOME"
        ) from None
    return target


def _provide_one(name: str, layout: Layout, places: tuple[Path, Path], file: str, packed: str) -> None:
    root, target = (place / layout.folder for place in places)
    if (target / file).exists():
        return
    if (root / file).is_file():
        with _whole(target / file) as part:
            shutil.copyfile(root / file, part)
        return
    archive = root / packed if (root / packed).exists() else target / packed
    if not archive.exists():
        _fetch(name, layout, archive)
    _unpack(archive, target / file)


def _unpack(archive: Path, target: Path) -> None:
    try:
        with _whole(target) as part:
            if archive.name.endswith(".tar.gz"):
                _unpack_tar(archive, target.name, part)
            else:
                with gzip.open(archive) as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError):
        raise InputError(
            f"{archive} is broken or cut off: remove it or download it again, then load again"
        ) from None


def _unpack_tar(archive: Path, folder: str, target: Path) -> None:
    """Write the plain files directly in `folder` of the archive to `target`."""
    target.mkdir()
    with tarfile.open(archive) as packed:
        for member in packed:
            stream = packed.extractfile(member) if Path(member.name).parent == Path(folder) else None
            if stream is not None:
                with (target / Path(member.name).name).open("wb") as file:
                    shutil.copyfileobj(stream, file)


def _fetch(name: str, layout: Layout, target: Path) -> None:
    """Download one packed file and verify torchvision's checksum."""
    urls, checksum = _downloads(layout)[target.name]
    reason = "no address is known"
    for url in urls:
        try:
            with _whole(target) as part:
                sys.stderr.write(f"downloading {url}\n")
                _copy_checked(url, part, checksum)
        except (OSError, ValueError) as error:  # URLError is an OSError
            reason = str(getattr(error, "reason", error)).splitlines()[0].rstrip(". ")
        else:
            return
    missing = [
        packed for file, packed in layout.pairs() if not layout.holds(target.parents[_depth(layout)], (file,))
    ]
    raise InputError(
        f"{name} is not on this disk and cannot be downloaded ({reason}): connect to a network, or put "
        f"{', '.join(missing)} into {target.parent}, or set root= or the variable PYROVAE_DATA to a folder "
        f"that holds {layout.folder or missing[0]}"
    )


def _copy_checked(url: str, target: Path, checksum: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "pyrovae"})
    with urllib.request.urlopen(request, timeout=30) as answer, target.open("wb") as file:
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != checksum:
        raise ValueError("the checksum of the file is wrong")


def _downloads(layout: Layout) -> dict[str, tuple[list[str], str]]:
    """Addresses and MD5 of each packed file, from torchvision."""
    kind = _torchvision_class(layout)
    if layout.class_name == "CIFAR10":
        return {kind.filename: ([kind.url], kind.tgz_md5)}
    if layout.class_name == "QMNIST":
        files = kind.resources["train"] + kind.resources["test"]
        return {url.rsplit("/", 1)[-1]: ([url], md5) for url, md5 in files}
    return {file: ([mirror + file for mirror in kind.mirrors], md5) for file, md5 in kind.resources}


def _torchvision_class(layout: Layout) -> Any:  # noqa: ANN401
    try:
        import torchvision
    except ImportError:
        raise InputError(
            f"{layout.class_name} is read through torchvision, which is not installed: run `pip install "
            "torchvision`"
        ) from None
    return getattr(torchvision.datasets, layout.class_name)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A temporary path, renamed to `target` at the end and removed after an error."""
    part = temporary_path(target, "part")
    try:
        yield part
        try:
            part.replace(target)
        except OSError:  # another process was first, and its folder has the same content
            if not target.is_dir():
                raise
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _any_of(root: Path, layout: Layout) -> bool:
    return any((root / layout.folder / file).exists() for file in (*layout.packed, *layout.files))


def _writable(folder: Path) -> bool:
    """Whether files can be created in a folder, which may not exist yet.

    The mode bits are read in addition to `os.access`, which is always true for an administrator.
    """
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def _key(root: Path, layout: Layout) -> str:
    """A hash of the files in a read-only root."""
    paths = [root / layout.folder / file for file in (*layout.packed, *layout.files)]
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.exists()]
    return hashlib.sha256(repr((str(root), stats)).encode()).hexdigest()[:16]


def _depth(layout: Layout) -> int:
    return len(Path(layout.folder).parts)
