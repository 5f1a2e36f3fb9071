"""The sets that are known by name, and where any other name leads.

    known()      name -> one line, for a person who asks what there is
    find(name)   a known name, a file or a folder of images -> its rows

A known name wins over a file of the same name in the working folder; write `./digits` for the file.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from pyrovae.checks import whole
from pyrovae.datasets.archive import LAYOUTS, present, read_known
from pyrovae.datasets.files import READERS, read_file
from pyrovae.datasets.images import read_folder
from pyrovae.datasets.source import Source, as_source
from pyrovae.datasets.toys import TOYS
from pyrovae.errors import InputError

__all__ = ["NAMES", "canonical", "find", "known"]

NAMES: dict[str, str] = {
    "digits": "1,797 handwritten digits of 8x8 grey pixels, 10 classes (comes with scikit-learn)",
    "mnist": "70,000 handwritten digits of 28x28 grey pixels, 10 classes",
    "fashion_mnist": "70,000 pieces of clothing of 28x28 grey pixels, 10 classes",
    "qmnist": "120,000 handwritten digits of 28x28 grey pixels, 10 classes (MNIST with its lost test set)",
    "cifar10": "60,000 photographs of 32x32 RGB pixels, 10 classes",
    "mixture_1d": "toy: a mixture of three Gaussians on the line, exact density",
    "ring": "toy: Doersch's ring z/10 + z/||z|| in the plane, exact density",
    "pinwheel": "toy: five arms in the plane, labelled",
    "linear_gaussian": "toy: x = W z + b + noise in 8 dimensions, exact density",
}


def known(root: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Each known name with one line of description, and whether the set lies on this disk.

    Example:
        >>> print(known()["ring"])
        toy: Doersch's ring z/10 + z/||z|| in the plane, exact density
    """
    return {name: line + _presence(name, root) for name, line in NAMES.items()}


def canonical(name: str) -> str | None:
    """The known name that `name` means ("Fashion-MNIST" means "fashion_mnist"), or None."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain if plain in NAMES else None


def find(
    name: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, count: int | None = None
) -> Source:
    """Rows of a known set, a file or a folder of images; `count` says how many rows a toy draws.

    Raises:
        InputError: for a name that leads nowhere, with the names that do.
    """
    word = canonical(name) if isinstance(name, str) else None
    if word == "digits":
        return _digits()
    if word in TOYS:
        toy = TOYS[word](5000 if count is None else whole("count", count, 3))
        return as_source(word, toy.x, toy.labels)
    if word is not None:
        return read_known(word, root)
    path = Path(name).expanduser()
    if path.is_dir():
        return read_folder(path)
    if path.is_file() and path.suffix.lower() in READERS:
        return read_file(path)
    raise InputError(_nowhere(name, path))


def _digits() -> Source:
    from sklearn.datasets import load_digits

    found = load_digits()
    return as_source("digits", found.images[:, None], found.target, levels=17)


def _presence(name: str, root: str | os.PathLike[str] | None) -> str:
    if name not in LAYOUTS:
        return ""
    if present(name, root):
        return " (on this disk)"
    return " (downloaded at first use)"


def _nowhere(name: str | os.PathLike[str], path: Path) -> str:
    kinds = f"a file ({', '.join(READERS)}) or a folder of images"
    text = os.fspath(name)
    if path.is_file():
        return f"{text} is a file of an unknown kind: give one of {', '.join(NAMES)}, {kinds}"
    near = difflib.get_close_matches(str(text).lower().replace("-", "_"), NAMES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}, or " if near else "use "
    return (
        f"{text!r} is no known data set and no file or folder that exists: {hint}one of {', '.join(NAMES)}, "
        f"{kinds}"
    )
