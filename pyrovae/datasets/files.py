"""Tables and arrays on disk: .npy, .npz, .csv and .parquet.

    .npy      an array, (N, ...)
    .npz      "x" (or the only array) and optional "y" or "labels"; or "x_train", "x_test",
              "y_train", "y_test"
    .csv      columns of numbers or words, with or without a header
    .parquet  columns of numbers or words

In a table the column "label", "target" or "y" holds class numbers or class names; a column "y" of
fractions is part of the data. `columns` encodes the other columns.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.datasets.columns import coded, is_number
from pyrovae.datasets.source import Source, as_source
from pyrovae.errors import InputError
from pyrovae.extras import require

if TYPE_CHECKING:
    import pandas

__all__ = ["READERS", "read_file"]

_LABELS = ("label", "labels", "target", "y")


def read_file(path: Path, kinds: Mapping[str, str] | None = None) -> Source:
    """Read a file by the suffix of its name; `kinds` are the kinds of some columns of a table.

    Raises:
        InputError: for a file that cannot be read or does not hold rows of numbers.
    """
    ending = path.suffix.lower()
    if kinds and ending not in _TABLES:
        raise InputError(f"kinds describe the columns of a table, and {path} is not a table: leave kinds out")
    try:
        return partial(_TABLES[ending], kinds=kinds)(path) if ending in _TABLES else READERS[ending](path)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, ImportError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read as {path.suffix.lower()} ({_first_sentence(error)}): write it "
            "again or give another file"
        ) from None


def _read_npy(path: Path) -> Source:
    return as_source(path.name, np.load(path, allow_pickle=False))


def _read_npz(path: Path) -> Source:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(f"{path} is a .npy file by its contents: rename it")
    with archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    if "x_train" in arrays and "x_test" in arrays:
        labels, tests = arrays.get("y_train"), arrays.get("y_test")
        return as_source(path.name, arrays["x_train"], labels, test_x=arrays["x_test"], test_labels=tests)
    if "x" not in arrays and len(arrays) != 1:
        names = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(
            f"{path} holds {names}: name its rows 'x' (and its labels 'y'), or 'x_train' and 'x_test'"
        )
    x = arrays["x"] if "x" in arrays else next(iter(arrays.values()))
    return as_source(path.name, x, arrays.get("y", arrays.get("labels")))


def _read_csv(path: Path, kinds: Mapping[str, str] | None = None) -> Source:
    import pandas

    with path.open(encoding="utf-8-sig") as lines:
        first = lines.readline().strip()
    if not first:
        raise InputError(f"{path} is empty: give at least three rows of numbers")
    header = None if all(is_number(cell) for cell in first.split(",")) else 0
    # pandas also reads "None" and "NA" as missing, but they may be classes.
    gaps = ["", "nan", "NaN"]
    table = pandas.read_csv(path, header=header, skipinitialspace=True, keep_default_na=False, na_values=gaps)
    return _from_table(path, table, kinds)


def _read_parquet(path: Path, kinds: Mapping[str, str] | None = None) -> Source:
    import pandas

    require("pyarrow", "parquet", f"reading {path}")
    return _from_table(path, pandas.read_parquet(path), kinds)


def _from_table(path: Path, table: pandas.DataFrame, kinds: Mapping[str, str] | None) -> Source:
    label = next((column for column in table.columns if _is_label(table, column)), None)
    columns = [column for column in table.columns if column != label]
    if not columns or len(table) == 0:
        raise InputError(f"{path} is empty: give at least three rows and one column of numbers")
    x, encoded = coded(table[columns], kinds, path)
    labels = None if label is None else _class_numbers(path, table[label])
    return as_source(path.name, x, labels, columns=encoded)


def _is_label(table: pandas.DataFrame, column: object) -> bool:
    name = str(column).strip().lower()
    if name not in _LABELS:
        return False
    values = table[column]
    fractions = values.dtype.kind == "f" and bool((values.dropna() % 1 != 0).any())
    return name != "y" or not fractions


def _class_numbers(path: Path, column: pandas.Series) -> np.ndarray:
    if bool(column.isna().any()):
        raise InputError(
            f"the label column {str(column.name)!r} of {path} has {int(column.isna().sum())} empty cells: "
            "fill them in or remove those rows"
        )
    if column.dtype.kind in "biuf":
        return column.to_numpy()
    names = column.astype(str)
    return np.searchsorted(np.array(sorted(set(names))), names.to_numpy(dtype=str))


def _first_sentence(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(". ")


_TABLES: dict[str, Callable[..., Source]] = {".csv": _read_csv, ".parquet": _read_parquet}
READERS: dict[str, Callable[[Path], Source]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    **_TABLES,
}
