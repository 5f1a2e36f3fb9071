r"""`attributes`: directions in latent space that change an attribute of an observation.

    z = E[z|x],   z' = z + by * sd * v,   x' = E[x|z']

v is the unit vector of the attribute's direction, and sd the standard deviation of the encodings
along it. So an attribute is changed in an encoding, and the result is decoded (resynthesis).

References:
    Prince (2023), "Understanding Deep Learning", section 17.6.2 and figure 17.15; White (2016),
    "Sampling Generative Networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from pyrovae.checks import flags, number, one_of, whole
from pyrovae.datasets import Data, Rows
from pyrovae.errors import InputError
from pyrovae.exploring.space import Space
from pyrovae.numerics import Array
from pyrovae.tasks.attribute_directions import DirectionKind, directions_of, orthogonal_to, residuals
from pyrovae.tasks.attribute_result import Attributes, both_limits
from pyrovae.tasks.attribute_values import AttributeValues, columns_of
from pyrovae.tasks.separation import auroc
from pyrovae.vae import VAE

__all__ = ["attributes"]

STARTS = 200  # training rows from which the limits are measured
FEWEST = 2  # rows with and without an attribute, for fitting and held out


def attributes(
    vae: VAE,
    rows: Any,  # noqa: ANN401
    y: Any,  # noqa: ANN401
    names: Sequence[str] | None = None,
    *,
    method: DirectionKind = "difference",
    given: Any = None,  # noqa: ANN401
    orthogonal: bool = False,
    held_out: float = 0.25,
    quantile: float = 0.01,
    context: Any = None,  # noqa: ANN401
    seed: int = 0,
) -> Attributes:
    r"""Find the direction in latent space that changes each attribute of an observation.

    \[v_a = \frac{\mathrm{Cov}(E[z|x], a)}{\mathrm{Var}(a)}\]

    For a 0/1 attribute this is the difference of the mean encodings with and without it. A real
    attribute, such as a measured width, is used as it is. The AUC is measured on rows that were
    held out. The limits say how far one may go before log p(z) falls below the 1 % quantile of log
    p(z) of the encodings.

    Arguments:
        vae: a trained VAE with real latents.
        rows: observations (N, *event), as rows, an array or a table.
        y: labels (N,) as words or whole numbers (an attribute for each class), or columns: an array
            (N, A), a DataFrame or a dict. A column of 0 and 1 is a 0/1 attribute, other numbers are
            a real one. NaN, None and the label -1 are unknown.
        names: names for the classes of labels in ascending order, or for the columns of an array.
        method: "difference", or "logistic" for the normal of a logistic regression (of a linear
            regression, for a real attribute).
        given: labels or columns, as y, that are held fixed by a linear regression: with the classes
            as `given`, a direction is that within the classes. Rows with an unknown value are left
            out.
        orthogonal: take the directions of the other attributes out of each direction, so that a
            step along it does not move along the others.
        held_out: the share of the rows for the AUC.
        quantile: the quantile of log p(z) below which a latent is not typical.
        context: (N, *context_shape) for a conditional VAE.
        seed: seed of the split.

    Raises:
        InputError: for latents that are not real vectors, an attribute that is the same in nearly
            all rows, or values that cannot be read.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.15; Larsen et al. (2016),
        "Autoencoding beyond pixels using a learned similarity metric".

    Example:
        >>> import torch, pyrovae as pv
        >>> x, side = torch.randn(200, 4), torch.arange(200) % 2
        >>> x = x + 3 * side[:, None]
        >>> vae = pv.VAE((4,), 2, likelihood=pv.likelihoods.Normal(), seed=0)
        >>> found = attributes(vae, x, {"shifted": side})
        >>> found.apply(x[:5], "shifted", by=[[-1.0], [1.0]]).shape
        (2, 5, 4)
    """
    one_of("method", method, get_args(DirectionKind))
    flags(orthogonal=orthogonal)
    held_out = number("held_out", held_out, above=0, below=1)
    quantile, seed = number("quantile", quantile, least=0, below=1), whole("seed", seed, 0)
    if isinstance(rows, Data):
        raise InputError("attributes needs rows, not a whole data set: give data.train and its labels")
    space = Space(vae, "attributes")
    observed = space.rows(rows, context)
    columns = columns_of(y, len(observed), names)
    is_test = np.random.default_rng(seed).permutation(len(observed)) < round(held_out * len(observed))
    _check_enough(columns, is_test)
    z = space.encode(observed, seed)
    train = ~is_test
    others = _given(given, len(observed))
    train &= ~np.isnan(others.values).any(1)
    fixed, fitted = others.values[train], z if method == "difference" else space.sample(observed, seed)
    values = columns.values[train]
    direction = directions_of(fitted[train, : space.dim], values, columns.names, method, fixed)
    if orthogonal:
        direction = orthogonal_to(direction, columns.group, columns.names)
    direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    place = z[:, : space.dim] @ direction.T
    mean, sd = place[train].mean(0), residuals(place[train], fixed).std(0)
    auc_of, errors = _separations(place, columns, is_test)
    typical, reach = _reach(space, observed[train], z[train], sd[:, None] * direction, quantile)
    return Attributes(
        vae=vae,
        names=columns.names,
        direction=direction,
        mean=mean,
        sd=sd,
        distance=_distance(place[train] / sd, values, columns.is_binary, fixed),
        auc=auc_of,
        auc_stderr=errors,
        lower=reach[:, 0],
        upper=reach[:, 1],
        typical=typical,
        rows=int(train.sum()),
        held_out=int(is_test.sum()),
        method=method,
        orthogonal=orthogonal,
        given=others.names,
    )


def _given(given: Any, rows: int) -> AttributeValues:  # noqa: ANN401
    """The attributes that are held fixed; none by default."""
    if given is None:
        return AttributeValues((), np.empty((rows, 0)), np.empty(0, int))
    try:
        return columns_of(given, rows)
    except InputError as error:
        raise InputError(f"given: {error}") from None


def _check_enough(columns: AttributeValues, is_test: np.ndarray) -> None:
    """Refuse an attribute that has too few rows on one side, for the direction or for its AUC."""
    for name, a in zip(columns.names, columns.values.T, strict=True):
        for part in (~is_test, is_test):
            side = _is_on(a[part])
            if min(side.sum(), (~side).sum()) < FEWEST:
                count = int((~np.isnan(a)).sum())
                raise InputError(
                    f"the attribute {name!r} is known for {count} rows and is nearly the same in all of "
                    "them: give more rows, or leave it out"
                )


def _is_on(a: Array) -> np.ndarray:
    """Which rows with a known value have the attribute; a real one is split at its median."""
    a = a[~np.isnan(a)]
    if not len(a):
        return np.zeros(0, bool)
    middle = 0.5 if np.isin(a, (0.0, 1.0)).all() else np.median(a)
    return a > middle if (a > middle).any() else a >= middle


def _separations(place: Array, columns: AttributeValues, is_test: np.ndarray) -> tuple[Array, Array]:
    """The AUC of each attribute and its standard error, (A,)."""
    results = []
    for along, a in zip(place[is_test].T, columns.values[is_test].T, strict=True):
        known, is_on = along[~np.isnan(a)], _is_on(a)
        results.append(auroc(known[~is_on], known[is_on]))
    return np.array([r.value for r in results]), np.array([r.stderr for r in results])


def _distance(place: Array, values: Array, is_binary: np.ndarray, given: Array) -> Array:
    """The change along each direction with the attribute, (A,), for places (N, A) in sd."""
    result = []
    for along, a, binary in zip(place.T, values.T, is_binary, strict=True):
        known = ~np.isnan(a)
        left = residuals(a[known, None], given[known])[:, 0]
        slope = left @ along[known] / (left @ left)
        result.append(slope * (1.0 if binary else left.std()))
    return np.array(result)


def _reach(space: Space, rows: Rows, z: Array, steps: Array, quantile: float) -> tuple[float, Array]:
    """The least typical log p(z), and the median limits of encodings for each step, (A, 2)."""
    log_pz = space.log_prob(z, rows.context)
    typical = float(np.quantile(log_pz, quantile))
    starts = np.flatnonzero(log_pz >= typical)[:STARTS]
    context = rows[starts].context
    steps = np.pad(steps, ((0, 0), (0, space.classes)))
    each = [np.median(both_limits(space, z[starts], context, step, typical), 0) for step in steps]
    return typical, np.stack(each)
