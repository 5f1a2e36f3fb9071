"""Objects that wrap data: a DataLoader, an AnnData, a data set of Hugging Face.

They are recognised by their attributes, so that their libraries are not imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pyrovae.datasets.readers.memory import dense
from pyrovae.errors import InputError

__all__ = ["is_annotated", "matrix_of", "opened"]

TITLE = "the Hugging Face data set"


def opened(data: Any) -> tuple[Any, str | None]:  # noqa: ANN401
    """The data that an object wraps, as a torch `Dataset` or as they are, and a note on them.

    Raises:
        InputError: for several data sets in one object.
    """
    if isinstance(data, DataLoader):
        name = type(data.dataset).__name__
        return data.dataset, f"the dataset {name} of a DataLoader; its batches and sampler are not used"
    if _is_hugging_face(data):
        return (_HuggingFace(data) if hasattr(data, "__len__") else _HuggingFaceStream(data)), None
    if isinstance(data, Mapping) and data and all(map(_is_hugging_face, data.values())):
        first = next(iter(data))
        raise InputError(
            f"the data hold the sets {', '.join(map(repr, data))}: give one of them, as in data[{first!r}]"
        )
    return data, None


def is_annotated(data: Any) -> bool:  # noqa: ANN401
    """Whether data are an AnnData."""
    return all(hasattr(data, name) for name in ("X", "obs", "var_names", "layers"))


def matrix_of(data: Any, name: str, layer: str | None = None) -> Any:  # noqa: ANN401
    """The matrix X or a layer of an AnnData, read into memory.

    Raises:
        InputError: for a layer that it does not have.
    """
    if layer is not None and layer not in data.layers:
        layers = ", ".join(map(repr, data.layers)) or "none"
        raise InputError(f"{name} has no layer {layer!r}: its layers are {layers}")
    matrix = data.X if layer is None else data.layers[layer]
    if matrix is None:
        raise InputError(f"{name} has no matrix X: name a layer with layer=")
    if callable(getattr(matrix, "to_memory", None)):
        return matrix.to_memory()
    is_on_disk = not isinstance(matrix, (np.ndarray, Tensor)) and not hasattr(matrix, "toarray")
    return matrix[:] if is_on_disk else matrix


def _is_hugging_face(data: Any) -> bool:  # noqa: ANN401
    return all(hasattr(data, name) for name in ("features", "column_names", "with_format"))


class _HuggingFace(Dataset[Any]):
    """A `datasets.Dataset` as a torch `Dataset`, read without its format, which rounds numbers."""

    title = TITLE

    def __init__(self, data: Any) -> None:  # noqa: ANN401
        is_custom = (getattr(data, "format", None) or {}).get("type") == "custom"  # a transform of the user
        self.data = data if is_custom else data.with_format(None)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Any:  # noqa: ANN401
        return _entries(self.data[row])

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes, if the label is a `ClassLabel`."""
        for name in self.data.column_names or ():
            names = getattr(self.data.features[name], "names", None)
            if names is not None:
                return tuple(names)
        return None


class _HuggingFaceStream(IterableDataset[Any]):
    """A streamed data set, which has no length."""

    title = TITLE

    def __init__(self, data: Any) -> None:  # noqa: ANN401
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return map(_entries, iter(self.data.with_format(None)))


def _entries(row: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a row, lists of numbers as tensors, so that they are not taken for pairs."""
    return {
        name: torch.as_tensor(dense(value, f"entry {name!r}")) if isinstance(value, list) else value
        for name, value in row.items()
    }
