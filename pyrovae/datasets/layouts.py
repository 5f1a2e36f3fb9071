"""The folders in which torchvision keeps its image sets.

    root/MNIST/raw/train-images-idx3-ubyte[.gz] ...
    root/cifar-10-batches-py or cifar-10-python.tar.gz

`root` is the argument, else the variable PYROVAE_DATA, else `pyrovae` in the user's cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyrovae.files import cache_folder

__all__ = ["LAYOUTS", "Layout", "data_root", "present"]


@dataclass(frozen=True)
class Layout:
    """The files of a set: `files[i]` in `folder` is unpacked from `packed[i]`."""

    class_name: str
    folder: str
    files: tuple[str, ...]
    packed: tuple[str, ...]
    held_out: int = 10_000

    def holds(self, root: Path, names: tuple[str, ...]) -> bool:
        """Whether `root` has all of these files."""
        return all((root / self.folder / name).exists() for name in names)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Each file with the packed one it comes from."""
        return zip(self.files, self.packed, strict=True)


def _idx(class_name: str, *files: str) -> Layout:
    return Layout(class_name, f"{class_name}/raw", files, tuple(f"{name}.gz" for name in files))


_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_QMNIST_FILES = (
    "qmnist-train-images-idx3-ubyte",
    "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte",
    "qmnist-test-labels-idx2-int",
)

LAYOUTS: dict[str, Layout] = {
    "mnist": _idx("MNIST", *_MNIST_FILES),
    "fashion_mnist": _idx("FashionMNIST", *_MNIST_FILES),
    "qmnist": _idx("QMNIST", *_QMNIST_FILES),
    "cifar10": Layout("CIFAR10", "", ("cifar-10-batches-py",), ("cifar-10-python.tar.gz",), held_out=5_000),
}


def data_root(root: str | os.PathLike[str] | None) -> Path:
    """The root folder: the argument, else PYROVAE_DATA, else the cache folder."""
    folder = root if root is not None else os.environ.get("PYROVAE_DATA")
    return Path(folder).expanduser().absolute() if folder else cache_folder()


def present(name: str, root: str | os.PathLike[str] | None = None) -> bool:
    """Whether a set is on this disk, packed or not, so that `load` needs no network."""
    layout = LAYOUTS[name]
    place = data_root(root)
    return layout.holds(cache_folder(), layout.files) or all(
        layout.holds(place, (file,)) or layout.holds(place, (packed,)) for file, packed in layout.pairs()
    )
