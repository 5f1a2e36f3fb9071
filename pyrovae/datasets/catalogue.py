"""The names of the known data sets."""

from __future__ import annotations

import os
import re

from pyrovae.checks import path_of
from pyrovae.datasets.drawing import DRAWN, Drawing, titled
from pyrovae.datasets.layouts import LAYOUTS, present
from pyrovae.errors import InputError

__all__ = ["NAMES", "canonical", "is_present", "known"]

NAMES: dict[str, str] = {
    "digits": "1,797 handwritten digits of 8x8 grey pixels, 10 classes (comes with scikit-learn)",
    "mnist": "70,000 handwritten digits of 28x28 grey pixels, 10 classes",
    "fashion_mnist": "70,000 pieces of clothing of 28x28 grey pixels, 10 classes",
    "qmnist": "120,000 handwritten digits of 28x28 grey pixels, 10 classes (MNIST with its lost test set)",
    "cifar10": "60,000 photographs of 32x32 RGB pixels, 10 classes",
    "sprites": "drawn: a square, ellipse or heart of known scale, rotation, x and y, 64x64 grey pixels",
    "faces": "drawn: faces of known smile, gaze, brow, width, eyes, hair, glasses, light, 48x48 grey pixels",
    "mixture_1d": "toy: a mixture of three Gaussians on the line, exact density",
    "ring": "toy: Doersch's ring z/10 + z/||z|| in the plane, exact density",
    "pinwheel": "toy: five arms in the plane, labelled",
    "linear_gaussian": "toy: x = W z + b + noise in 8 dimensions, exact density",
}

_SHORT = {
    "fashion": "fashion_mnist",
    "fashionmnist": "fashion_mnist",
    "cifar": "cifar10",
    "cifar_10": "cifar10",
}


def known(root: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Each known name with a one-line description, and whether the set is on this disk.

    Example:
        >>> print(known()["ring"])
        toy: Doersch's ring z/10 + z/||z|| in the plane, exact density
    """
    return {name: line + _presence(name, root) for name, line in NAMES.items()}


def is_present(name: str, root: str | os.PathLike[str] | None = None) -> bool:
    """Whether a known set can be loaded without a download.

    Arguments:
        name: a known name, such as "mnist".
        root: the folder of the image sets, as in `load`.

    Raises:
        InputError: for a name that is not known, or a root that is not a path.

    Example:
        >>> is_present("digits")  # comes with scikit-learn
        True
    """
    word = canonical(name) if isinstance(name, str) else None
    if word is None:
        raise InputError(f"{name!r} is not a known data set: use one of {', '.join(NAMES)}")
    return word not in LAYOUTS or present(word, None if root is None else path_of("root", root))


def canonical(name: str) -> str | None:
    """The known name that `name` means ("Fashion-MNIST" or "fashion"), or None.

    The name of a drawn set may have options, which are written in one way.

    Raises:
        InputError: for options of a drawn set that cannot be read.

    Example:
        >>> canonical("Sprites: size 64, noise .1"), canonical("people.csv")
        ('sprites noise 0.1', None)
    """
    word, *options = re.split(r"[\s:,]+", name.strip(), maxsplit=1)
    if word.lower() in DRAWN and not (options and os.path.exists(name)):
        drawing = Drawing.of("".join(options))
        return titled(word.lower(), drawing)
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain if plain in NAMES else _SHORT.get(plain)


def _presence(name: str, root: str | os.PathLike[str] | None) -> str:
    if name not in LAYOUTS:
        return ""
    if present(name, root):
        return " (on this disk)"
    return " (downloaded at first use)"
