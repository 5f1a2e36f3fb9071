"""The meaning of a data set's values, stored in a run to read new data in the same way.

columns   name, kind and levels of each column of a table
levels    the number of integer levels v = 0 .. levels - 1 behind values x = v / (levels - 1)
classes   the labels that the class indices 0 .. C - 1 stand for
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from pyrovae.datasets.columns import Column
from pyrovae.errors import InputError

if TYPE_CHECKING:
    from pyrovae.datasets.preparation import Preparation
    from pyrovae.datasets.source import Source

__all__ = ["Schema"]


@dataclass(frozen=True)
class Schema:
    """How rows were read, scaled and encoded.

    Attributes:
        event_shape: the shape of one observation.
        columns: the columns of a table, or None.
        levels: the number of integer levels behind the values, or None.
        scaling: the scaling in words.
        binarize, dequantize: the preparation (see `datasets.load`).
        classes: the labels that class indices stand for, or None.
        context: the kind of context, "labels" or None.

    Example:
        >>> from pyrovae import datasets
        >>> schema = datasets.load("digits", binarize="threshold").schema
        >>> schema.levels, schema.classes == tuple(range(10))
        (17, True)
        >>> Schema.from_dict(schema.to_dict()) == schema
        True
    """

    event_shape: tuple[int, ...]
    columns: tuple[Column, ...] | None = None
    levels: int | None = None
    scaling: str = "values as given"
    binarize: str | None = None
    dequantize: bool = False
    classes: tuple[int, ...] | None = None
    context: str | None = None

    @classmethod
    def of(cls, source: Source, preparation: Preparation, context: str | None) -> Self:
        """The schema of a source after its preparation."""
        return cls(
            tuple(source.x.shape[1:]),
            source.columns,
            source.levels,
            source.scaling,
            preparation.binarize,
            preparation.dequantize,
            source.classes,
            context,
        )

    def to_dict(self) -> dict[str, Any]:
        """The schema as plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """The schema from the result of `to_dict`."""
        columns = saved["columns"]
        classes = None if saved["classes"] is None else tuple(saved["classes"])
        lists = {"event_shape": tuple(saved["event_shape"]), "classes": classes}
        read = None if columns is None else tuple(_column(column) for column in columns)
        return cls(**(dict(saved) | lists | {"columns": read}))

    def check_same(self, other: Schema, name: str) -> None:
        """Refuse data whose values have another meaning.

        Raises:
            InputError: for a different shape, or columns with other names, words or order.
        """
        if other.event_shape != self.event_shape and self.columns is None:
            raise InputError(
                f"{name} has rows of shape {other.event_shape}, and the model was trained on "
                f"{self.event_shape}: give rows of that shape"
            )
        mine, theirs = self.columns or (), other.columns or ()
        names, other_names = [c.name for c in mine], [c.name for c in theirs]
        if names != other_names:
            raise InputError(
                f"{name} has the columns {', '.join(other_names) or 'of no table'}, and the model was "
                f"trained on {', '.join(names) or 'no table'}: give the same columns in the same order"
            )
        for one, two in zip(mine, theirs, strict=True):
            if one.levels != two.levels:
                raise InputError(
                    f"column {one.name!r} of {name} has the words {_words(two)}, and the model was "
                    f"trained on {_words(one)}: give data with the same words"
                )


def _column(saved: Mapping[str, Any]) -> Column:
    return Column(saved["name"], saved["kind"], saved["levels"] and tuple(saved["levels"]))


def _words(column: Column) -> str:
    levels = column.levels or ()
    return ", ".join(levels[:5]) + (", ..." if len(levels) > 5 else "") if levels else "none"
