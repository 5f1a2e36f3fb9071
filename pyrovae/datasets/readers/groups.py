"""Tables on disk that are stored in groups of rows: .parquet (row groups), .feather and .arrow.

A group of rows can be read as a whole, and so can a column over all groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.extras import require

if TYPE_CHECKING:
    import pandas

__all__ = ["Groups", "groups_of"]


class Groups:
    """The groups of a table on disk.

    Attributes:
        schema: the columns and their types, a pyarrow schema.
        sizes: the number of rows of each group.
        kind: the format.
    """

    schema: Any
    sizes: list[int]
    kind: str

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.schema.names)

    def group(self, number: int, names: Sequence[str]) -> Any:  # noqa: ANN401
        """Some columns of a group, as a pyarrow table."""
        raise NotImplementedError

    def __getitem__(self, name: str) -> pandas.Series:
        """A column over all groups."""
        raise NotImplementedError

    def columns(self, names: Sequence[str]) -> pandas.DataFrame:
        """Some columns over all groups."""
        import pandas

        return pandas.DataFrame({name: self[name] for name in names})


class _Parquet(Groups):
    kind = "parquet"

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self.path = path
        with pq.ParquetFile(path) as file:
            self.metadata = file.metadata
            self.schema = file.schema_arrow
        groups = range(self.metadata.num_row_groups)
        self.sizes = [self.metadata.row_group(number).num_rows for number in groups]

    def _file(self) -> Any:  # noqa: ANN401
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.path, metadata=self.metadata, pre_buffer=True)

    def group(self, number: int, names: Sequence[str]) -> Any:  # noqa: ANN401
        with self._file() as file:
            return file.read_row_group(number, columns=list(names), use_threads=False)

    def __getitem__(self, name: str) -> pandas.Series:
        with self._file() as file:
            return file.read(columns=[name], use_threads=False).to_pandas()[name]


class _Feather(Groups):
    kind = "feather"

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._source() as source:
            file = self._file(source)
            self.schema = file.schema
            self.sizes = [file.get_batch(number).num_rows for number in range(file.num_record_batches)]

    def _source(self) -> Any:  # noqa: ANN401
        import pyarrow

        return pyarrow.memory_map(str(self.path))

    def _file(self, source: Any, names: Sequence[str] | None = None) -> Any:  # noqa: ANN401
        import pyarrow

        places = None if names is None else [self.schema.get_field_index(name) for name in names]
        options = pyarrow.ipc.IpcReadOptions(included_fields=places, use_threads=False)
        return pyarrow.ipc.open_file(source, options=options)

    def group(self, number: int, names: Sequence[str]) -> Any:  # noqa: ANN401
        import pyarrow

        with self._source() as source:
            return pyarrow.Table.from_batches([self._file(source, names).get_batch(number)])

    def __getitem__(self, name: str) -> pandas.Series:
        with self._source() as source:
            return self._file(source, [name]).read_all().to_pandas()[name]


def groups_of(path: Path) -> Groups | None:
    """The groups of a table on disk; None for other formats, or for unusual column names.

    Names are unusual if they are empty, occur twice, are not strings, or start or end with a space.

    Raises:
        InputError: if pyarrow is not installed.
    """
    ending = path.suffix.lower()
    if ending not in (".parquet", ".feather", ".arrow"):
        return None
    pyarrow = require("pyarrow", "parquet", f"reading {path}")
    try:
        groups = _Parquet(path) if ending == ".parquet" else _Feather(path)
        frame = groups.schema.empty_table().to_pandas()
    except pyarrow.ArrowInvalid:  # the reader of whole files explains it
        return None
    names = [str(name) for name in frame.columns]
    is_plain = names == groups.names and len(set(names)) == len(names)
    return groups if is_plain and all(name and name == name.strip() for name in names) else None
