"""Tables and arrays on disk, by the suffix of their name.

    .npy .npz                     arrays, see `readers.arrays`; dSprites, see `readers.dsprites`
    .csv .tsv .txt                columns of numbers or words, may be packed (.csv.gz .bz2 .xz .zip)
    .parquet .feather .arrow      with the extra `parquet`
    .xlsx                         one sheet, with the extra `excel`
    .json .jsonl                  records

In a table, the column "label", "target" or "y" holds class numbers or class names. But a column "y"
of fractions is part of the data. `labels="species"` names another column. The module `columns`
encodes the other columns.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import replace
from lzma import LZMAError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.datasets.columns import encode
from pyrovae.datasets.readers.arrays import ARRAYS
from pyrovae.datasets.readers.dsprites import is_dsprites, read_dsprites
from pyrovae.datasets.readers.groups import Groups
from pyrovae.datasets.readers.options import ReadOptions
from pyrovae.datasets.readers.tables import TABLES, Table, named, without_row_numbers
from pyrovae.datasets.readers.text import PACKED, ending_of
from pyrovae.datasets.reading import facts_of
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = [
    "READERS",
    "class_numbers_of",
    "is_label",
    "is_readable",
    "read_file",
    "raw_table",
    "read_frame",
    "refuse_empty",
    "table_of",
]

READERS = (*ARRAYS, *TABLES)
_LABELS = ("label", "labels", "target", "y")
_MANY_CLASSES = 50


def is_readable(path: Path) -> bool:
    """Whether the suffix of a file is one that is read."""
    try:
        return ending_of(path) in READERS
    except (OSError, zipfile.BadZipFile):
        return False


def read_file(path: Path, options: ReadOptions | None = None, count: int | None = None) -> Source:
    """Read a file by the suffix of its name; `count` rows of dSprites are chosen at random.

    Raises:
        InputError: for a file that cannot be read or does not hold rows of numbers.
    """
    options = options or ReadOptions()
    ending = _checked(path, ending_of, path)
    if ending not in TABLES:
        options.refuse_for(str(path))
        if ending == ".npz" and _checked(path, is_dsprites, path):
            return _checked(path, read_dsprites, path, count)
        return _checked(path, ARRAYS[ending], path)
    options.refuse_resize_for(str(path))
    return table_source(table_of(path, options), path.name, path, options)


def table_of(path: Path, options: ReadOptions) -> Table:
    """Read a file as a table of cells, without a first column that numbers the rows."""
    return without_row_numbers(raw_table(path, options), options)


def raw_table(path: Path, options: ReadOptions) -> Table:
    """Read a file as a table of cells.

    Raises:
        InputError: for a file that is not a table.
    """
    ending = _checked(path, ending_of, path)
    if ending not in TABLES:
        raise InputError(f"{path} is not a table: give a file of columns, as a .csv file")
    return _checked(path, TABLES[ending], path, options)


def read_frame(frame: pandas.DataFrame, name: str, options: ReadOptions | None = None) -> Source:
    """Read a DataFrame in the same way as a file.

    Raises:
        InputError: for a column that cannot be read, or two columns of one name.
    """
    options = options or ReadOptions()
    names = [str(column) for column in frame.columns]
    again = next((column for column in names if names.count(column) > 1), None)
    if again is not None:
        raise InputError(
            f"{name} has the column {again!r} more than once: give each column a name of its own"
        )
    table = Table(frame.set_axis(names, axis=1), {"format": "DataFrame"})
    return table_source(without_row_numbers(table, options), name, name, options)


def table_source(table: Table, name: str, where: object, options: ReadOptions) -> Source:
    """A table as rows, labels and context.

    Raises:
        InputError: for a column that cannot be read, or options that name unknown columns.
    """
    named(table, options, where)
    frame = table.frame[[column for column in table.frame.columns if column not in options.drop]]
    table.dropped |= {column: "as asked" for column in options.drop if column in table.frame.columns}
    names = [c for c in frame.columns if c not in options.context]
    found = next((c for c in names if is_label(frame, c, options)), None) if len(names) > 1 else None
    label = options.labels or found
    columns = [column for column in names if column != label]
    refuse_empty(columns, table, len(frame), where)
    common: dict[str, Any] = {"kinds": options.kinds, "na": options.na, "decimal": table.decimal}
    encoded = encode(frame[columns], where, **common)
    context = encode(frame[list(options.context)], where, keep=True, **common) if options.context else None
    labels, classes = (None, None) if label is None else class_numbers_of(where, frame[label], options)
    table.dropped |= encoded.dropped
    source = as_source(name, encoded.values, labels, columns=encoded.columns)
    return replace(
        source,
        class_names=classes,
        context=context.values if context else None,
        context_columns=context.columns if context else None,
        reading=facts_of(table, encoded, context, label),
    )


def refuse_empty(columns: Collection[str], table: Table, rows: int, where: object) -> None:
    """Refuse a table without rows, or without columns to model."""
    if len(table.frame.columns) == 0 or rows == 0:
        raise InputError(f"{where} is empty: give at least three rows and one column of numbers")
    if not columns:
        every = ", ".join(map(repr, table.frame.columns))
        raise InputError(
            f"{where} has no column left to model, as its columns ({every}) are left out, labels or context: "
            "leave out fewer"
        )


def is_label(table: pandas.DataFrame | Groups, column: str, options: ReadOptions) -> bool:
    """Whether a column holds labels, by its name; fractions are data and not labels."""
    name = str(column).strip().lower()
    if name not in _LABELS or column in options.kinds or column in options.context:
        return False
    values = _as_numbers(table[column])
    if values is None or name in ("label", "labels"):
        return True
    present = values[~np.isnan(values)]
    return not (present % 1 != 0).any() and len(np.unique(present)) <= max(_MANY_CLASSES, len(values) / 10)


def class_numbers_of(
    where: object, column: pandas.Series, options: ReadOptions
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Labels as class numbers, and the names of the classes if the labels are words.

    Raises:
        InputError: for empty cells.
    """
    words = column.astype(object).where(column.notna(), "").map(lambda cell: str(cell).strip())
    empty = (words == "") | words.isin(list(options.na))
    if bool(empty.any()):
        raise InputError(
            f"the label column {str(column.name)!r} of {where} has {int(empty.sum())} empty cells, the "
            "first in "
            f"row {int(empty.to_numpy().argmax())}: fill them in, remove those rows, or drop the column"
        )
    numbers = _as_numbers(column)
    if numbers is not None:
        return numbers, None
    names = sorted(set(words))
    return np.searchsorted(np.array(names), words.to_numpy(dtype=str)), tuple(names)


def _as_numbers(column: pandas.Series) -> np.ndarray | None:
    """A column of plain numbers as float64; None for words."""
    if column.dtype.kind in "biuf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    try:
        return np.array([float(cell) if str(cell).strip() else np.nan for cell in column.fillna("")])
    except (TypeError, ValueError):
        return None


def _checked(path: Path, read: Any, *arguments: object) -> Any:  # noqa: ANN401
    """Read, and refuse a broken file in one sentence."""
    try:
        return read(*arguments)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} does not fit into memory: give a part of it") from None
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        ImportError,
        TypeError,
        zipfile.BadZipFile,
        LZMAError,
        zlib.error,
        IndexError,  # this and the following: damaged headers
        NotImplementedError,
        OverflowError,
        SyntaxError,
        struct.error,
        tokenize.TokenError,
    ) as error:
        suffix = path.suffix.lower() if path.suffix.lower() not in PACKED else "".join(path.suffixes[-2:])
        raise InputError(
            f"{path} cannot be read as {suffix} ({_first_sentence(error)}): save it again or give another "
            "file"
        ) from None


def _first_sentence(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(". ")
