"""Rows X of scikit-learn as rows of a model, and back.

    array (N, F)       numbers, NaN where missing; reshaped to (N, *event_shape)
    DataFrame          columns of numbers, counts and words, read as by `datasets.load`

Levels of 8-bit images are divided by 255 inside the model, and multiplied again in results. A model
of a DataFrame also takes arrays with the same columns, and gives DataFrames.
"""
# ruff: noqa: ANN401, N803 - X is the name of rows in scikit-learn

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils.validation import _check_sample_weight, validate_data
from torch import Tensor

from pyrovae import datasets
from pyrovae.datasets import Data, Rows, Schema
from pyrovae.datasets.incoming import incoming
from pyrovae.datasets.readers.memory import is_table
from pyrovae.errors import InputError
from pyrovae.sklearn.weights import weighted

__all__ = [
    "array_of",
    "distinct",
    "frame_of",
    "in_units",
    "log_scales",
    "new_rows",
    "training_data",
    "weights_of",
]

FEWEST = 3  # rows for training, for validation and for testing


def is_frame(X: Any) -> bool:
    """Whether X is a DataFrame, whose columns have names."""
    return hasattr(X, "columns") and is_table(X)


def training_data(estimator: Any, X: Any, weights: NDArray | None, seed: int) -> Data:
    """Rows X, split into training and validation rows; sets what `fit` knows of X.

    Arguments:
        estimator: has the parameters `event_shape`, `kinds` and `validation_fraction`.
        X: rows.
        weights: the weights of the rows, or None.
        seed: seed of the split.

    Raises:
        ValueError: for rows that cannot be used.
    """
    source = _read_first(estimator, X)
    if weights is not None:  # a row without weight is as if it were not there
        used = weights > 0
        source, weights = _safe_indexing(source, np.flatnonzero(used)), weights[used]
    if len(source) < FEWEST:
        raise InputError(
            f"n_samples = {len(source)}, and {FEWEST} rows are needed to split them: give more rows"
        )
    share, kinds = estimator.validation_fraction, estimator.kinds
    data = datasets.load(source, validation=share, test=1, split_seed=seed, kinds=kinds)
    data = _training_on_test_rows(data)
    return data if weights is None else weighted(data, torch.from_numpy(weights))


def _read_first(estimator: Any, X: Any) -> Any:
    option, other = ("event_shape", "an array") if is_frame(X) else ("kinds", "a DataFrame")
    if getattr(estimator, option) is not None:
        raise InputError(f"{option} is for {other}, and X is a {type(X).__name__}: leave {option} out")
    if is_frame(X):
        validate_data(estimator, X, skip_check_array=True)
        return X
    x = validate_data(estimator, X, ensure_all_finite="allow-nan", ensure_min_samples=FEWEST)
    return _events(estimator, x)


def _events(estimator: Any, x: NDArray) -> NDArray:
    """Rows (N, F) as observations (N, *event_shape)."""
    shape = estimator.event_shape
    if shape is None:
        return x
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if math.prod(shape) != x.shape[1]:
        raise InputError(
            f"X has {x.shape[1]} features, and event_shape {shape} has {math.prod(shape)} elements: give a "
            "shape with as many elements as features"
        )
    return x.reshape(len(x), *shape)


def _training_on_test_rows(data: Data) -> Data:
    """The same data with the test rows, which a split needs and nobody evaluates, in training."""
    assert isinstance(data.train, Rows)
    parts = data.train, data.test
    x = torch.cat([part.x for part in parts])
    index = torch.cat([part.index for part in parts if part.index is not None])
    return dataclasses.replace(data, train=Rows(x, index=index))


# -------------------------------------------------------------------- new rows


def array_of(estimator: Any, X: Any) -> NDArray:
    """New rows of numbers (N, F), checked against those of `fit`."""
    return validate_data(estimator, X, reset=False, ensure_all_finite="allow-nan")


def new_rows(estimator: Any, X: Any) -> Rows:
    """New rows, as the model reads them.

    Raises:
        ValueError: for rows with other features than those of `fit`.
    """
    schema: Schema = estimator.vae_.schema
    if schema.columns is not None:
        return incoming(schema, frame_of(estimator, X)).all_rows()
    return _of_array(schema, _events(estimator, array_of(estimator, X)))


def frame_of(estimator: Any, X: Any) -> Any:
    """New rows of a model of a DataFrame as one."""
    import pandas

    validate_data(estimator, X, reset=False, skip_check_array=True)
    if is_frame(X):
        return X
    cells = check_array(X, dtype=None, ensure_all_finite=False)
    names = [column.name for column in estimator.vae_.schema.columns]
    return pandas.DataFrame(cells, columns=list(getattr(estimator, "feature_names_in_", names)))


def _of_array(schema: Schema, x: NDArray) -> Rows:
    """Rows in float64: whether single precision holds them would depend on the other rows."""
    values = torch.from_numpy(x.astype(np.float64) + 0.0)  # -0.0 is 0.0, and has the same noise
    if schema.levels is None:
        return Rows(values)
    top = schema.levels - 1
    is_level = values.isnan() | (values % 1 == 0) & (values >= 0) & (values <= top)
    if not bool(is_level.all()):
        raise InputError(
            f"X holds {values[~is_level][0]:g}, and the estimator was fitted on integer levels 0 to {top}: "
            "give such levels"
        )
    return Rows(values / top)


# -------------------------------------------------------------------- results


def in_units(estimator: Any, x: Tensor) -> Any:
    """Values of the model (N, *event) as rows of X: an array (N, F), or a DataFrame."""
    schema: Schema = estimator.vae_.schema
    if schema.columns is not None:
        return schema.frame(x.cpu())
    unit = 1 if schema.levels is None else schema.levels - 1
    return x.double().flatten(1).cpu().numpy() * unit


def log_scales(estimator: Any, rows: Rows) -> NDArray | float:
    """What log p(x) of the model is above that of X: levels are divided by the largest, (N,).

    A density of these numbers is as many times that of the levels, for each known entry.
    """
    vae = estimator.vae_
    if vae.schema.levels is None or vae.measure != "density":
        return 0.0
    return math.log(vae.schema.levels - 1) * (~rows.x.isnan()).flatten(1).sum(1).numpy()


def distinct(rows: Rows) -> tuple[Rows, NDArray]:
    """Rows without repetitions, and the place of each row among them, (N,).

    The samples of equal rows differ in the functions of PyroVAE. The results of an estimator do not
    depend on the other rows.
    """
    values = np.ascontiguousarray(rows.x.cpu().numpy()).reshape(len(rows), -1)
    keys = values.view(np.dtype((np.void, values.dtype.itemsize * values.shape[1])))[:, 0]
    _, first, places = np.unique(keys, return_index=True, return_inverse=True)
    return rows[torch.from_numpy(first)], places.reshape(-1)


def weights_of(sample_weight: ArrayLike | None, X: Any) -> NDArray | None:
    """Checked weights of rows, (N,) float64; None for equal weights.

    Raises:
        ValueError: for weights of another shape, negative ones, or only zeros.
    """
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if (weights < 0).any():
        raise InputError(f"sample_weight holds {weights.min():g}: give weights of 0 or more")
    if not weights.any():
        raise InputError("the weights in sample_weight are all zero: give at least three rows a weight")
    return None if (weights == weights[0]).all() else weights
