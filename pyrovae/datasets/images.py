"""A folder of images as one tensor, (N, channels, height, width) in [0, 1].

Files are taken from the folder and everything below it, in the order of their paths. When at least two
folders directly below hold images, and none lie outside them, those folders are the classes:

    photos/cat/001.png, photos/dog/001.png   ->   labels 0, 1

All images must have one size and one number of channels; nothing is cropped or resized behind one's back.
Black-and-white images count as grey ones, palettes as RGB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "read_folder"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")

_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "P": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
}


def read_folder(folder: Path) -> Source:
    """Read every image below `folder`.

    Raises:
        InputError: for a folder without images, images that differ in size or mode, or a broken file.
    """
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not paths:
        raise InputError(
            f"the folder {folder} holds no images: put {', '.join(s[1:] for s in IMAGE_SUFFIXES)} files there"
        )
    first, kind = _read_image(paths[0])
    x = np.empty((len(paths), *first.shape), dtype=np.uint8)
    for row, path in enumerate(paths):
        pixels, found = _read_image(path)
        if found != kind:
            raise InputError(
                f"{paths[0].relative_to(folder)} is {kind} and {path.relative_to(folder)} is {found} in "
                f"{folder}: give images of one size and one mode"
            )
        x[row] = pixels
    labels = _classes(folder, paths)
    return as_source(folder.resolve().name, x, labels, levels=256)


def _read_image(path: Path) -> tuple[np.ndarray, str]:
    """Pixels, (channels, height, width), and size and mode in words."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            mode = _MODES.get(image.mode)
            if mode is None:
                raise InputError(f"{path} has pixels of mode {image.mode}: save it with 8 bits a channel")
            pixels = np.asarray(image.convert(mode))
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is no image that can be read (broken or cut off): replace it or remove it"
        ) from None
    height, width = pixels.shape[:2]
    return pixels.reshape(height, width, -1).transpose(2, 0, 1), f"{width}x{height} {mode}"


def _classes(folder: Path, paths: list[Path]) -> list[int] | None:
    """The number of the sub-folder that each image lies in, or None when they are not sorted so."""
    parts = [path.relative_to(folder).parts for path in paths]
    if any(len(part) == 1 for part in parts):
        return None
    names = sorted({part[0] for part in parts})
    return [names.index(part[0]) for part in parts] if len(names) > 1 else None
