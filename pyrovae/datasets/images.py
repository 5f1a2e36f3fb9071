"""A folder of images as one tensor, (N, channels, height, width) in [0, 1].

Files are read from the folder and its subfolders, sorted by path; hidden files are skipped. Folders
named train, test and val (or valid, validation) are the split. If all images of a folder are in two
or more subfolders, the subfolders are the classes:

    photos/cat/001.png, photos/dog/001.png               labels 0, 1
    photos/train/cat/001.png, photos/test/cat/002.png    the same, with a split

All images must have the same size and number of channels, unless `resize` is given. Black-and-white
images are read as grey, palettes as RGB. Masks, whose pixels are all 0 or 1, keep these values.
16-bit grey images have 65,536 levels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.cures import cure
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "read_folder", "resized"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLITS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")

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
_WIDE = ("I;16", "I;16B", "I;16L", "I")


def read_folder(folder: Path, options: ReadOptions | None = None) -> Source:
    """Read every image below `folder`.

    Raises:
        InputError: for a folder without images, images of different size or mode, or a broken file.
    """
    resize = None if options is None else options.resize
    paths = sorted(path for path in folder.rglob("*") if _is_image(path, folder))
    if not paths:
        raise InputError(
            f"the folder {folder} holds no images: put {', '.join(s[1:] for s in IMAGE_SUFFIXES)} files there"
        )
    x = _pixels(paths, folder, resize)
    split, parts = _split(folder, paths)
    numbers, names = _classes(parts)
    notes = (
        [] if split is None else [f"the split is that of the folders {', '.join(_folders(folder, paths))}"]
    )
    levels: int | None = 65_536 if x.dtype == np.uint16 else 256
    if x.max() == 1:
        x, levels = x.astype(np.float32), None
        notes.append("masks: pixels are 0 and 1")
    elif levels == 65_536:
        notes.append("16-bit pixels, 65,536 levels")
        x = x.astype(np.float32)
    if resize is not None:
        notes.append(f"resized to {resize}x{resize}")
    source = as_source(folder.resolve().name, x, numbers, levels=levels)
    return replace(source, class_names=names, split=split, reading={"notes": notes, "images": len(paths)})


def resized(images: np.ndarray, size: int, levels: int = 256) -> np.ndarray:
    """Images (N, C, H, W) with these levels, in height and width `size`.

    Example:
        >>> grey = np.full((2, 3, 28, 28), 7, dtype=np.uint8)
        >>> small = resized(grey, 32)
        >>> small.shape, small.dtype, int(small.min()), int(small.max())
        ((2, 3, 32, 32), dtype('uint8'), 7, 7)
    """
    from PIL import Image

    small = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    for row, image in enumerate(images.astype(np.uint8)):
        for channel, pixels in enumerate(image):
            one = Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS)
            small[row, channel] = np.minimum(np.asarray(one), levels - 1)
    return small


def _is_image(path: Path, folder: Path) -> bool:
    """Whether a path is an image file that is not hidden ("._x.png") and not in "__MACOSX"."""
    parts = path.relative_to(folder).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


# -------------------------------------------------------------------- pixels


def _pixels(paths: Sequence[Path], folder: Path, resize: int | None) -> np.ndarray:
    """All images in one array, (N, channels, height, width)."""
    first, kind = _read_image(paths[0], resize)
    x = np.empty((len(paths), *first.shape), dtype=first.dtype)
    for row, path in enumerate(paths):
        pixels, other_kind = _read_image(path, resize)
        if other_kind != kind:
            sizes = pixels.shape[1:] != first.shape[1:]
            resized = f", or {cure('resize=32', '--resize 32')}" if sizes else ""
            raise InputError(
                f"{paths[0].relative_to(folder)} is {kind} and {path.relative_to(folder)} is {other_kind} in "
                f"{folder}: give images of the same size and mode{resized}"
            )
        x[row] = pixels
    return x


def _read_image(path: Path, resize: int | None) -> tuple[np.ndarray, str]:
    """Pixels (channels, height, width), and a description of their size and mode."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                pixels, mode = _converted(image, path, resize)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels: give a smaller image"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be read as an image (broken or cut off): replace it or remove it"
        ) from None
    height, width = pixels.shape[:2]
    return pixels.reshape(height, width, -1).transpose(2, 0, 1), f"{width}x{height} {mode}"


def _converted(image: Any, path: Path, resize: int | None) -> tuple[np.ndarray, str]:  # noqa: ANN401
    from PIL import Image

    size = None if resize is None else (resize, resize)
    if image.mode in _WIDE:
        wide = image.convert("I")
        low, high = wide.getextrema()
        if low < 0 or high > 65_535:
            raise InputError(
                f"{path} has pixels of mode {image.mode} beyond 16 bits: save it with 16 bits or 8"
            )
        pixels = np.asarray(wide, dtype=np.float32)
        if size is not None:
            small = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
            pixels = np.asarray(small).round().clip(0, 65_535)
        return pixels.astype(np.uint16), "I;16"
    mode = _MODES.get(image.mode)
    if mode is None:
        raise InputError(f"{path} has pixels of mode {image.mode}: save it with 8 bits a channel")
    plain = image.convert(mode)
    return np.asarray(plain if size is None else plain.resize(size, Image.Resampling.LANCZOS)), mode


# -------------------------------------------------------------------- split and classes


def _folders(folder: Path, paths: Sequence[Path]) -> list[str]:
    return sorted({path.relative_to(folder).parts[0] for path in paths})


def _split(folder: Path, paths: Sequence[Path]) -> tuple[np.ndarray | None, list[tuple[str, ...]]]:
    """The part (train, validation, test) of each image, if folders name parts, and its path."""
    parts = [path.relative_to(folder).parts for path in paths]
    tops = {part[0].lower() if len(part) > 1 else "" for part in parts}
    found = {SPLITS.get(top) for top in tops}
    if not {"train", "test"} <= found and not {"train", "validation"} <= found:
        return None, parts
    if None in found:
        strangers = sorted(top or "images" for top in tops if top not in SPLITS)
        raise InputError(
            f"{folder} has {strangers[0]} next to its folders of training and test images: move every image "
            "into train, val or test"
        )
    return np.array([SPLITS[part[0].lower()] for part in parts]), [part[1:] for part in parts]


def _classes(parts: Sequence[tuple[str, ...]]) -> tuple[list[int] | None, tuple[str, ...] | None]:
    """The index of each image's subfolder, and their names, or None without subfolders."""
    if any(len(part) == 1 for part in parts):
        return None, None
    names = sorted({part[0] for part in parts})
    return ([names.index(part[0]) for part in parts], tuple(names)) if len(names) > 1 else (None, None)
