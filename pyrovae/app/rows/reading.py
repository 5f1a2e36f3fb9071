"""Rows from what a user uploads: an image, a table, an array, or a line of values.

Everything goes through the schema of the model, as new data for `score` do. An image gets the size
and the channels of the training images, by the same filter as `datasets.load(..., resize=)`, and
the levels of the schema.
"""

from __future__ import annotations

import csv
import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.app.rows.browser import LIMIT
from pyrovae.datasets import Rows, Schema
from pyrovae.datasets.images import FORMATS
from pyrovae.datasets.incoming import incoming
from pyrovae.datasets.readers.arrays import channels_first
from pyrovae.errors import InputError
from pyrovae.report import is_image

__all__ = ["MOST", "Upload", "kinds_of", "read_file", "read_text"]

MOST = 1000  # rows of a file that can be chosen
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".feather")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Upload:
    """Rows that were uploaded.

    Attributes:
        name: the name of the file.
        rows: its first rows.
        code: Python that reads the same rows as `x`, next to its imports.
        notes: remarks.
    """

    name: str
    rows: Rows
    code: tuple[str, ...]
    notes: tuple[str, ...] = ()


def kinds_of(vae: Any) -> tuple[str, ...]:  # noqa: ANN401
    """The endings of the files that a model can read."""
    if vae.schema is not None and vae.schema.columns is not None:
        return (*TABLES, ".npy")
    return (*IMAGES, ".npy") if is_image(vae.event_shape) else (".npy",)


def read_file(vae: Any, name: str, content: bytes, *, is_binary: bool = False) -> Upload:  # noqa: ANN401
    """The rows of a file.

    Arguments:
        vae: the VAE.
        name: the name of the file.
        content: its bytes.
        is_binary: whether all values of the training data are 0 or 1.

    Raises:
        InputError: for a file that is too large, of another kind, broken, or of other data.
    """
    ending, kinds = Path(name).suffix.lower(), kinds_of(vae)
    if len(content) > LIMIT * 10**6:
        raise too_large(name, len(content))
    if ending not in kinds:
        raise InputError(f"{name} is not a file of this model's data: give {', '.join(kinds)}")
    has_columns = vae.schema is not None and vae.schema.columns is not None
    if vae.context_shape is not None and not has_columns and getattr(vae.schema, "derived", None) is None:
        raise InputError(
            f"the model is conditional, and {name} has no context: use pv.score(vae, pv.Rows(x, context)) in "
            "Python"
        )
    if ending in IMAGES:
        return _image(vae, name, content, is_binary=is_binary)
    return _array(vae, name, content) if ending == ".npy" else _table(vae, name, content)


def _array(vae: Any, name: str, content: bytes) -> Upload:  # noqa: ANN401
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise InputError(f"{name} cannot be read as .npy: save it again with numpy.save") from None
    shape = tuple(vae.event_shape)
    one_channel = is_image(shape) and shape[0] == 1 and values.shape[-2:] == shape[1:]
    is_bare = values.shape == shape or (one_channel and values.ndim in (2, 3) and values.shape[1:] != shape)
    reshaped = f".reshape({(-1, *shape)})" if is_bare else ""
    try:
        rows, notes = _rows(vae.schema, values.reshape(-1, *shape) if is_bare else _with_channels(values))
    except InputError as error:
        raise InputError(str(error).replace("the data ", f"{name} ")) from None
    read = f"x = np.load({name!r}){reshaped}"
    return Upload(name, _checked(vae, rows), ("import numpy as np", read), notes)


def _with_channels(values: NDArray) -> NDArray:
    """An array of rows, with the channels of images first, as in a file of training data."""
    if not values.ndim:
        raise InputError("the data is a single number: give rows, of shape (N, ...)")
    return channels_first(values)[0]


def _table(vae: Any, name: str, content: bytes) -> Upload:  # noqa: ANN401
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table{Path(name).suffix.lower()}"
        path.write_bytes(content)
        try:
            rows, notes = _rows(vae.schema, path)
        except InputError as error:  # names the file as the user does
            said = str(error).replace(str(path), name).replace(path.name, name)
            raise InputError(said) from None
    return Upload(
        name, _checked(vae, rows), (f"x = {name!r}",), tuple(n.replace(path.name, name) for n in notes)
    )


def read_text(vae: Any, text: str) -> Upload:  # noqa: ANN401
    """The rows of some lines of a table, with or without a line of names.

    Raises:
        InputError: for lines that the model cannot read.
    """
    lines = [one for one in text.strip().splitlines() if one.strip()]
    if not lines:
        raise InputError("there is no row: write the values of the columns, separated by commas")
    names = [column.name for column in vae.schema.columns]
    mark = next((one for one in "\t;," if one in lines[0]), ",")
    cells = [cell.strip() for cell in next(csv.reader(lines[:1], delimiter=mark, skipinitialspace=True))]
    if not set(names) & set(cells):
        if len(cells) != len(names):
            raise InputError(
                f"the row has {len(cells)} values, and the model has {len(names)} columns: give those of "
                f"{', '.join(names)}"
            )
        lines.insert(0, mark.join(f'"{name}"' if mark in name else name for name in names))
    table = "\n".join(lines) + "\n"
    try:
        upload = read_file(vae, "the row.csv", table.encode())
    except InputError as error:
        raise InputError(str(error).replace("the row.csv", "the row")) from None
    read = f"x = pd.read_csv(io.StringIO({table!r}), sep={mark!r}, dtype=str, skipinitialspace=True)"
    code = ("import io", "import pandas as pd", read)
    return Upload("the row", upload.rows, code, upload.notes)


def too_large(name: str, size: int) -> InputError:
    """The refusal of a file of this number of bytes."""
    return InputError(f"{name} has {size / 1e6:.1f} MB, and the page takes up to {LIMIT} MB: give fewer rows")


def _rows(schema: Schema | None, data: Any) -> tuple[Rows, tuple[str, ...]]:  # noqa: ANN401
    new = incoming(schema, data)
    return new.first(MOST).rows, tuple(new.notes)


def _checked(vae: Any, rows: Rows) -> Rows:  # noqa: ANN401
    """Rows of the shape of the model.

    Raises:
        InputError: for rows that the model cannot take.
    """
    from pyrovae.exploring.space import Space

    index = rows.index if rows.index is not None else torch.arange(len(rows))
    checked = Space(vae).rows(rows)
    return Rows(checked.x, checked.context, index=index)


def _image(vae: Any, name: str, content: bytes, *, is_binary: bool) -> Upload:  # noqa: ANN401
    channels, height, width = vae.event_shape
    mode, schema = MODES[channels], vae.schema
    pixels = _pixels(name, content, mode, (width, height))
    levels = None if schema is None else schema.levels
    values, how = _values(pixels, levels, is_binary=is_binary)
    rows, notes = _rows(schema, values[None])
    shape = "pixels[None, None]" if channels == 1 else "pixels.transpose(2, 0, 1)[None]"
    code = (
        "import numpy as np",
        "from PIL import Image",
        f"image = Image.open({name!r}).convert({mode!r})",
        f"pixels = np.asarray(image.resize(({width}, {height}), Image.Resampling.LANCZOS))",
        f"pixels = {shape}",
        f"x = {how}",
    )
    return Upload(name, _checked(vae, rows), code, notes)


def _values(pixels: NDArray, levels: int | None, *, is_binary: bool) -> tuple[NDArray, str]:
    """Bytes on the scale of the training data, and the code that does the same."""
    if levels == 256:
        return pixels, "pixels"
    if levels is not None:
        top = levels - 1
        return np.rint(pixels / 255 * top).astype(int), f"np.rint(pixels / 255 * {top}).astype(int)"
    if is_binary:
        return (pixels > 127).astype("float32"), '(pixels > 127).astype("float32")'
    return (pixels / 255).astype("float32"), '(pixels / 255).astype("float32")'


def _pixels(name: str, content: bytes, mode: str, size: tuple[int, int]) -> NDArray:
    """The pixels of an image in this mode and size, (channels, height, width)."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                plain = image.convert(mode).resize(size, Image.Resampling.LANCZOS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(f"{name} has too many pixels: give a smaller image") from None
    except (OSError, SyntaxError, EOFError, ValueError):
        raise InputError(f"{name} cannot be read as an image (broken or cut off): save it again") from None
    pixels = np.asarray(plain)
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
