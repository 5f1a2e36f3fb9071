"""Torch `Dataset`s: read into one tensor when they fit into memory, else streamed row by row.

    rows * values per row * 4 bytes < 2 GB  ->  a tensor;   else a stream

An item is a tensor or a pair (tensor, label). Validation and test rows of a stream are read once
and kept; its training rows are a `Stream`: a `Dataset` of grey rows. `Data.collate`
prepares them, except that "static" binarisation is a function of the split seed and the row.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from pyrovae.datasets.preparation import Preparation, generator_of
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.source import as_labels, as_rows, refuse_not_finite
from pyrovae.errors import InputError

__all__ = ["Stream", "gather", "is_large", "length", "stored_labels"]

LARGE = 2 * 10**9


class Stream(Dataset[Any]):
    """The training rows of a torch `Dataset`, read one by one.

    Arguments:
        dataset: the data set.
        index: row numbers, (N,).
        event_shape: the shape that every row must have.
        divisor: the divisor of integer levels, or 1.
        dtype: the type of the rows, float32 or float64.
        context: (N, C), or None.
        y: class indices (N,), or None.
        static_seed: binarise each row with this seed and its number; None leaves it grey.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        index: Tensor,
        event_shape: tuple[int, ...],
        *,
        divisor: int = 1,
        dtype: torch.dtype = torch.float32,
        context: Tensor | None = None,
        y: Tensor | None = None,
        static_seed: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.index = index
        self.event_shape = event_shape
        self.divisor, self.dtype = divisor, dtype
        self.context, self.y = context, y
        self.static_seed = static_seed

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> Tensor:
        """One row, (*event)."""
        number = int(self.index[row])
        x = item(self.dataset, number, self.event_shape)[0].to(self.dtype) / self.divisor
        refuse_not_finite(x[None], "the streamed set", first_row=number)
        if self.static_seed is not None:
            x = Preparation("static").apply(x, generator_of("static row", self.static_seed, number))
        return x

    def rows(self, x: Tensor, numbers: list[int]) -> Rows:
        """Rows with the values x that were read at `numbers`, their context and labels."""
        context = None if self.context is None else self.context[numbers].to(x)
        y = None if self.y is None else self.y[numbers].to(x.device)
        return Rows(x, context, y, self.index[numbers].to(x.device))


def length(dataset: Dataset[Any]) -> int:
    """The number of rows; InputError for a set that cannot be indexed."""
    if not isinstance(dataset, Sized) or isinstance(dataset, IterableDataset):
        raise InputError(
            f"{type(dataset).__name__} has no length or cannot be indexed: give a torch Dataset with __len__ "
            "and __getitem__"
        )
    if len(dataset) == 0:
        raise InputError(f"{type(dataset).__name__} is empty: give at least three rows of data")
    return len(dataset)


def is_large(dataset: Dataset[Any]) -> bool:
    """Whether all rows would take 2 GB or more as float32."""
    return length(dataset) * item(dataset, 0)[0].numel() * 4 >= LARGE


def gather(dataset: Dataset[Any], index: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Read rows into one tensor of their type, (N, *event), with labels if items have them.

    Raises:
        InputError: for items that are not tensors or that differ in shape.
    """
    name = type(dataset).__name__
    numbers = range(length(dataset)) if index is None else index.tolist()
    first, label = item(dataset, numbers[0])
    x = torch.empty((len(numbers), *first.shape), dtype=first.dtype)
    labels = []
    for row, number in enumerate(numbers):
        x[row], label = item(dataset, number, tuple(first.shape))
        if index is not None:  # the message has the number in the whole set
            refuse_not_finite(x[row][None], name, first_row=number)
        labels.append(label)
    rows = as_rows(x, name)
    if any(label is None for label in labels):
        return rows, None
    return rows, as_labels(_numbers(labels, name), len(rows), name)


def stored_labels(dataset: Dataset[Any]) -> Tensor | None:
    """Labels of all rows from the attribute `targets`, as in torchvision, without reading rows."""
    targets = getattr(dataset, "targets", None)
    return None if targets is None else as_labels(targets, length(dataset), type(dataset).__name__)


def item(dataset: Dataset[Any], number: int, shape: tuple[int, ...] | None = None) -> tuple[Tensor, Any]:
    """Read one row and its label (or None), and check them."""
    content = dataset[number]
    x, label = (*content, None)[:2] if isinstance(content, (tuple, list)) and content else (content, None)
    if isinstance(x, (np.ndarray, float, int)):
        x = torch.as_tensor(x)
    if not isinstance(x, Tensor):
        raise InputError(
            f"item {number} of {type(dataset).__name__} is a {type(x).__name__}: its items must be tensors "
            "or (tensor, label) pairs; for images, set transform=torchvision.transforms.ToTensor()"
        )
    if shape is not None and tuple(x.shape) not in (shape, shape[:-1] if shape == (1,) else shape):
        raise InputError(
            f"item {number} of {type(dataset).__name__} has shape {tuple(x.shape)} and the first has "
            f"{shape}: give all items the same shape"
        )
    return x.detach().cpu().reshape(x.shape if shape is None else shape), label


def _numbers(labels: list[Any], name: str) -> Tensor:
    try:
        return torch.tensor([float(label) for label in labels], dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{name} has labels that are not single numbers: let its items be tensors or pairs of a tensor "
            "and a class number"
        ) from None
