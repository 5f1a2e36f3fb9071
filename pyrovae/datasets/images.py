"""A folder of images as one tensor, (N, channels, height, width) in [0, 1].

Files are read from the folder and its subfolders, sorted by path. If all images are in subfolders,
and there are at least two of these, the subfolders are the classes:

    photos/cat/001.png, photos/dog/001.png   ->   labels 0, 1

All images must have the same size and number of channels; nothing is cropped or resized.
Black-and-white images are read as grey, palettes as RGB.
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
        InputError: for a folder without images, images of different size or mode, or a broken file.
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
        pixels, other_kind = _read_image(path)
        if other_kind != kind:
            raise InputError(
                f"{paths[0].relative_to(folder)} is {kind} and {path.relative_to(folder)} is {other_kind} in "
                f"{folder}: give images of the same size and mode"
            )
        x[row] = pixels
    labels = _classes(folder, paths)
    return as_source(folder.resolve().name, x, labels, levels=256)


def _read_image(path: Path) -> tuple[np.ndarray, str]:
    """Pixels (channels, height, width), and a description of their size and mode."""
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
            f"{path} cannot be read as an image (broken or cut off): replace it or remove it"
        ) from None
    height, width = pixels.shape[:2]
    return pixels.reshape(height, width, -1).transpose(2, 0, 1), f"{width}x{height} {mode}"


def _classes(folder: Path, paths: list[Path]) -> list[int] | None:
    """The index of each image's subfolder, or None when images are not sorted into subfolders."""
    parts = [path.relative_to(folder).parts for path in paths]
    if any(len(part) == 1 for part in parts):
        return None
    names = sorted({part[0] for part in parts})
    return [names.index(part[0]) for part in parts] if len(names) > 1 else None
