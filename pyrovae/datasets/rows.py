"""Rows of data: observations with their context, labels and row numbers.

Every part of a data set is a `Rows`. Every function of data accepts `Rows`, a tensor or an array.

    x         (N, *event)     observations; NaN is a missing entry, if the likelihood's elements are
                              independent given z
    context   (N, *context)   a conditioning input of the program: p(x, z | context)
    y         (N,)            class indices that a program observes; -1 is an unknown label
    index     (N,)            row numbers in the source
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from pyrovae.checks import whole
from pyrovae.datasets.readers.foreign import is_annotated, matrix_of, opened
from pyrovae.datasets.readers.items import read_items
from pyrovae.datasets.readers.memory import dense, is_pair
from pyrovae.errors import InputError

__all__ = ["DOUBLE", "SINGLE", "Rows", "class_indices", "needs_double", "numbers"]

# The largest numbers up to which every whole number is exact in float32 and float64.
SINGLE, DOUBLE = 2**24, 2**53


@dataclass(frozen=True, eq=False)
class Rows:
    """N observations with their context, labels and row numbers; all but x may be None.

    Arguments:
        x: observations, (N, *event).
        context: conditioning inputs, (N, *context_shape).
        y: int64 class indices, (N,), -1 where the label is unknown.
        index: int64 row numbers in the source, (N,).

    Arrays become tensors, and labels of another type int64.

    Raises:
        InputError: when the parts differ in length, or y is not whole numbers.

    Example:
        >>> rows = Rows(torch.eye(3), y=torch.tensor([0, 1, -1]))
        >>> len(rows[1:]), rows[1:].y.tolist()
        (2, [1, -1])
    """

    x: Tensor
    context: Tensor | None = None
    y: Tensor | None = None
    index: Tensor | None = None

    def __post_init__(self) -> None:
        """Turn arrays into tensors, and labels into class indices."""
        for name in ("x", "context", "index"):
            part = getattr(self, name)
            if part is not None and not isinstance(part, Tensor):
                object.__setattr__(self, name, _tensor(name, part))
        if self.y is not None:
            object.__setattr__(self, "y", class_indices(self.y))
        for name, part in (("context", self.context), ("y", self.y), ("index", self.index)):
            if part is not None and self.x.dim() and part.dim() and len(part) != len(self.x):
                raise InputError(f"x has {len(self.x)} rows and {name} {len(part)}: give one for each row")

    @classmethod
    def of(
        cls,
        x: Any,  # noqa: ANN401
        context: Any = None,  # noqa: ANN401
        y: Any = None,  # noqa: ANN401
        *,
        like: Tensor | None = None,
        doubles: bool = False,
    ) -> Rows:
        """Make rows of rows, tensors or arrays, on the device and in the type of `like`.

        Without `like`, floating point numbers keep their type and others get the default type.

        Arguments:
            x, context, y: as the attributes; of a `Dataset` or a pair (X, y), x are the
                observations without their labels.
            like: a tensor with the wanted device and type.
            doubles: keep x in float64, and whole numbers that need it too.

        Raises:
            InputError: for values that are not numbers, or parts that differ in length.
        """
        if isinstance(x, Rows):
            rows = x if context is None else replace(x, context=numbers("context", context, like))
            rows = rows if y is None else replace(rows, y=class_indices(y))
            if like is None:
                return rows
            values = numbers("x", rows.x, like, doubles=doubles)
            return rows.to(like.device, like.dtype).of_values(values)
        return cls(
            numbers("x", x, like, doubles=doubles),
            None if context is None else numbers("context", context, like),
            None if y is None else class_indices(y).to(None if like is None else like.device),
        )

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> Rows:  # noqa: ANN401
        """Select rows by a slice, an index, or indices or a mask as a tensor, array or list.

        Raises:
            IndexError: for a row that does not exist.
        """
        if isinstance(rows, slice) and (rows.step or 1) < 0:  # torch has no negative steps
            rows = list(range(len(self))[rows])
        if not isinstance(rows, slice):
            rows = _positions(rows, len(self)).to(self.x.device)
        return self._each(lambda part: part[rows])

    __iter__ = None  # use `batches`

    def batches(self, size: int) -> Iterator[Rows]:
        """Iterate over the rows in order, `size` at a time."""
        size = whole("the size of a batch", size)
        return (self[start : start + size] for start in range(0, len(self), size))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Rows:
        """Move the rows to a device, and x and context to a floating point type."""
        rows = self if device is None else self._each(lambda part: part.to(device))
        return rows if dtype is None else rows.map(lambda part: part.to(dtype))

    def as_in(self, other: Rows) -> Rows:
        """The rows on the device and with the types of x and context of other rows."""
        moved = self.to(other.x.device)
        context = moved.context
        if context is not None and other.context is not None:
            context = context.to(other.context.dtype)
        return replace(moved, x=moved.x.to(other.x.dtype), context=context)

    def map(self, function: Callable[[Tensor], Tensor]) -> Rows:
        """Apply a function to x and context."""
        context = None if self.context is None else function(self.context)
        return replace(self, x=function(self.x), context=context)

    def of_values(self, x: Tensor) -> Rows:
        """The same rows with another x."""
        return replace(self, x=x)

    def unlabelled(self) -> Rows:
        """The same rows without labels: p(x), not p(x, y)."""
        return replace(self, y=None)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of a program: (x,), (x, context) or (x, context, y)."""
        parts = (self.x, self.context, self.y)
        return parts[: 3 if self.y is not None else 2 if self.context is not None else 1]

    def _each(self, function: Callable[[Tensor], Tensor]) -> Rows:
        parts = (self.x, self.context, self.y, self.index)
        return Rows(*(None if part is None else function(part) for part in parts))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        shapes = (f"{k}={tuple(v.shape)}" for k, v in vars(self).items() if v is not None)
        return f"Rows({', '.join(shapes)})"


def class_indices(labels: Any) -> Tensor:  # noqa: ANN401
    """Convert labels to int64, (N,), with -1 for NaN and negative values.

    Raises:
        InputError: when there is not one whole number for each row.
    """
    y = labels if isinstance(labels, Tensor) else _tensor("y", labels)
    if y.dtype == torch.int64 and y.dim() < 2:  # a compiled step cannot read values
        return y
    if y.is_floating_point():
        y = torch.where(y.isnan(), -1.0, y)
    indices = y.long() if not y.is_complex() else None
    if indices is None or y.dim() > 1 or not bool((indices == y).all()):
        raise InputError(
            f"y must hold one class index for each row, with -1 where none is known, not shape "
            f"{tuple(y.shape)} of {y.dtype}"
        )
    return indices.clamp_min(-1)


def numbers(
    name: str,
    values: Any,  # noqa: ANN401
    like: Tensor | None = None,
    *,
    doubles: bool = False,
) -> Tensor:
    """Convert values to a floating point tensor, in the type and on the device of `like`.

    Arguments:
        name: the name of the values in messages.
        values: a tensor, an array, numbers, or a torch `Dataset`.
        like: a tensor with the wanted device and type; without `like`, integers get the default
            type.
        doubles: keep float64, and whole numbers too large for the type of `like`, in float64.

    Raises:
        InputError: for values that are not real numbers.
    """
    tensor = _tensor(name, _observations(values))
    if tensor.is_complex():
        raise InputError(f"{name} holds complex numbers: give their real and imaginary parts")
    if like is None:
        return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    is_wide = tensor.dtype == torch.float64 or doubles and needs_double(tensor, name)
    dtype = torch.float64 if doubles and is_wide else like.dtype
    moved = tensor.to(device=like.device, dtype=dtype)
    if is_wide and dtype != torch.float64:
        _refuse_overflow(tensor, moved, name)
    return moved


def _observations(values: Any) -> Any:  # noqa: ANN401
    """The observations of a data set, a `DataLoader` or a pair (X, y), without their labels."""
    values = opened(values)[0]
    if isinstance(values, TensorDataset):
        return values.tensors[0]
    if isinstance(values, Dataset):
        return read_items(values)[0]
    if is_annotated(values):
        return matrix_of(values, "the AnnData")
    return values[0] if is_pair(values) else values


def _refuse_overflow(values: Tensor, rounded: Tensor, name: str) -> None:
    overflown = rounded.isinf() & values.isfinite().to(rounded.device)
    if bool(overflown.any()):
        value = values.to(rounded.device)[overflown][0].item()
        raise InputError(
            f"{name} holds {value:g}, which does not fit single precision: divide by a unit, or use a "
            "program in float64 (vae.double())"
        )


def needs_double(values: Tensor, name: str) -> bool:
    """Whether these are integers that float32 would change, beyond 2^24.

    Raises:
        InputError: for integers that float64 would change, beyond 2^53.
    """
    if values.is_floating_point() or values.dtype == torch.bool or not values.numel():
        return False
    if torch.iinfo(values.dtype).max <= SINGLE:
        return False
    largest = values.double().abs().max().item()
    if largest >= DOUBLE:
        raise InputError(
            f"{name} holds whole numbers up to {largest:.0f}, which floating point numbers of 64 bits "
            "round: subtract an offset, or drop them if they are identifiers"
        )
    return largest > SINGLE


def _tensor(name: str, values: Any) -> Tensor:  # noqa: ANN401
    """Convert an array of numbers to a tensor, without a copy where torch can share its memory."""
    if hasattr(values, "test") and hasattr(values, "event_shape"):
        raise InputError(f"{name} must be rows, not a whole data set: give one part of it, as in data.test")
    array = dense(values, name)
    if isinstance(array, Tensor):
        return array
    return torch.as_tensor(array if array.flags.writeable else array.copy())


def _positions(rows: Any, count: int) -> Tensor:  # noqa: ANN401
    """Convert a selection of rows to indices (M,) or a mask (count,)."""
    selection = rows if isinstance(rows, Tensor) else torch.as_tensor(np.asarray(rows))
    if isinstance(rows, (list, tuple)) and not len(rows):
        return torch.zeros(0, dtype=torch.int64)
    if selection.dtype == torch.bool:
        return selection
    if selection.is_floating_point() or selection.is_complex():
        raise IndexError(f"rows are selected by whole numbers or a mask, not {selection.dtype}")
    selection = selection.long()
    if selection.dim():
        return selection
    return torch.tensor([range(count)[int(selection)]])
