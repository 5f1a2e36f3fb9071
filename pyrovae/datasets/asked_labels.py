"""Labels that a user asks for, as in `vae.sample(5, context=7)`, as indices or one-hot contexts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import shown
from pyrovae.datasets.rows import Rows
from pyrovae.datasets.schema import Schema
from pyrovae.errors import InputError
from pyrovae.names import meant_by

__all__ = ["class_index", "contexts_of", "one_hot_of"]

SHOWN = 12


def class_index(schema: Schema | None, label: Any) -> int:  # noqa: ANN401
    """The class index of a label: a word or a number of the classes of a schema.

    Raises:
        InputError: for an unknown label, with the known ones.

    Example:
        >>> schema = Schema((2,), classes=(0, 1), class_names=("cat", "dog"))
        >>> class_index(schema, "dog"), class_index(schema, 0)
        (1, 0)
    """
    classes = () if schema is None else schema.classes or ()
    names = [*(() if schema is None else schema.class_names or map(str, classes))]
    if isinstance(label, str) and label.strip() in names:
        return names.index(label.strip())
    number = _number(label)
    if number is not None and number in classes:
        return classes.index(int(number))
    if not names:
        raise InputError("the model does not know the labels of its data: give a context or y as numbers")
    meant = meant_by(str(label), names)
    every = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    raise InputError(f"there is no label {shown(label)}: {meant}the model was trained with {every}")


def one_hot_of(schema: Schema | None, context: Any, count: int | None = None) -> Any:  # noqa: ANN401
    """Labels as one-hot contexts, if a model is conditioned on labels; other contexts as they are.

    A number or a word is one label (the result is one vector), and whole numbers (N,) or words are
    N labels. Floating point numbers and tables (N, C) are vectors already.

    Arguments:
        schema: the schema of the model.
        context: labels, or vectors.
        count: the number of observations that are asked for, if it is known.

    Raises:
        InputError: for an unknown label, and for whole numbers that may be a vector or labels.

    Example:
        >>> schema = Schema((2,), classes=(3, 5), context="labels")
        >>> one_hot_of(schema, 5), one_hot_of(schema, [5, 3, 3])[0]
        (tensor([0., 1.]), tensor([0., 1.]))
    """
    if schema is None or schema.context != "labels" or context is None:
        return context
    if isinstance(context, Tensor) and context.is_floating_point() and context.dim():
        return context
    labels = _labels(context)
    if labels is None or labels.ndim > 1:
        return context
    C = len(schema.classes or ())
    if labels.dtype.kind != "O" and labels.shape == (C,) and set(labels.tolist()) <= {0, 1}:
        if count not in (None, C) or labels.sum() != 1:
            return context if labels.sum() == 1 else _one_hot(schema, labels, C)
        raise InputError(
            f"context={labels.tolist()} may be one vector or {C} labels: give a vector as floating point "
            "numbers, and labels as words, as in ['0', '1']"
        )
    return _one_hot(schema, labels, C)


def contexts_of(model: Any, context: Any, rows: Rows) -> Any:  # noqa: ANN401
    """The contexts (N, *context_shape) of rows: labels become one-hot, and one for all is repeated.

    Arguments:
        model: the model, of which `schema` and `context_shape` are read.
        context: a context or label for each row, or one for all rows; or None.
        rows: the N rows.

    Raises:
        InputError: for an unknown label, and for whole numbers that may be a vector or labels.

    Example:
        >>> from types import SimpleNamespace
        >>> schema = Schema((2,), classes=(3, 5), context="labels")
        >>> model = SimpleNamespace(schema=schema, context_shape=(2,))
        >>> contexts_of(model, 5, Rows(torch.zeros(3, 2))).tolist()
        [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    if context is None or not rows.x.dim():
        return context
    context = one_hot_of(model.schema, context, len(rows))
    shape = getattr(model, "context_shape", None)
    if shape is None or _shape_of(context) != tuple(shape):
        return context
    return torch.as_tensor(context).expand(len(rows), *shape)


def _shape_of(values: Any) -> tuple[int, ...] | None:  # noqa: ANN401
    """The shape of an array, a tensor or a list of numbers; None for anything else."""
    try:
        return tuple(values.shape) if hasattr(values, "shape") else np.shape(values)
    except (TypeError, ValueError):  # not an array, or lists of different lengths
        return None


def _one_hot(schema: Schema, labels: np.ndarray, classes: int) -> Tensor:
    indices = torch.tensor([class_index(schema, label) for label in labels.reshape(-1).tolist()])
    rows = (indices[:, None] == torch.arange(classes)).to(torch.get_default_dtype())
    return rows if labels.ndim else rows[0]


def _labels(context: Any) -> np.ndarray | None:  # noqa: ANN401
    """Whole numbers or words as an array; None for floating point numbers."""
    if isinstance(context, Tensor):
        context = context.detach().cpu().numpy()
    try:
        labels = np.asarray(context)
    except ValueError:  # rows of different lengths, refused later
        return None
    if labels.dtype.kind in "US" or (labels.dtype.kind == "O" and labels.ndim < 2):
        return labels.astype(object)
    is_whole = labels.dtype.kind in "iu" or (labels.ndim == 0 and labels.dtype.kind == "f")
    return labels if is_whole else None


def _number(label: Any) -> float | None:  # noqa: ANN401
    try:
        number = float(label)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number.is_integer() else None
