r"""Directions of attributes in latent space, and how far one may go along them.

    difference    v = Cov(z, a) / Var(a),  for a 0/1 attribute  E[z|a = 1] - E[z|a = 0]
    logistic      the normal of a logistic regression of a on z; for a real attribute, of a linear
                  regression. It is fitted to samples z ~ q(z|x), since means of q(z|x) vary
                  little in a collapsed latent, and a regression would go far along it
    given g       the same with g held fixed: z and a are replaced by their residuals in a linear
                  regression on g, so v is the slope in a regression of z on both a and g
    orthogonal    v minus its projection on the directions of the other attributes

The limits of a direction come from log p(z). A latent is typical if log p(z) is not below a
quantile of the encodings of training rows, and the limit of an encoding is the step at which it
would first be less typical than this.

References:
    Larsen, Sonderby, Larochelle & Winther (2016), "Autoencoding beyond pixels using a learned
    similarity metric" (differences of means); Shen, Gu, Tang & Zhou (2020), "Interpreting the
    Latent Space of GANs for Semantic Face Editing" (normals, and conditioning one attribute on
    others); Frisch & Waugh (1933), "Partial Time Regressions as Compared with Individual Trends".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from pyrovae.errors import InputError
from pyrovae.numerics import Array

__all__ = ["FARTHEST", "DirectionKind", "directions_of", "limits", "orthogonal_to", "residuals"]

DirectionKind = Literal["difference", "logistic"]

FARTHEST = 10.0  # standard deviations
STEP, HALVINGS = 0.25, 12
DEPENDENT = 1e-6  # the share of a direction's length that is not rounding


def directions_of(
    z: Array, values: Array, names: tuple[str, ...], method: DirectionKind, given: Array
) -> Array:
    """The direction of each attribute, (A, D), not normalised.

    Arguments:
        z: encodings, or samples z ~ q(z|x) for "logistic", (N, D).
        values: (N, A), NaN where unknown.
        names: the names of the attributes, for messages.
        method: see the top of this file.
        given: values that are held fixed, (N, G).
    """
    of = _difference if method == "difference" else _normal
    rows = []
    for name, a in zip(names, values.T, strict=True):
        known = ~np.isnan(a)
        if given.shape[1] and residuals(a[known, None], given[known]).std() <= DEPENDENT * a[known].std():
            raise InputError(f"{name!r} is determined by what is given: hold other attributes fixed")
        direction = of(z[known], a[known], given[known])
        if not np.linalg.norm(direction) > 0:
            raise InputError(
                f"the encodings do not change with {name!r}, so it has no direction: train the VAE for "
                "longer, or with a KL warm-up if its latents have collapsed"
            )
        rows.append(direction)
    return np.stack(rows)


def residuals(values: Array, given: Array) -> Array:
    """What is left of values (N, C) after a linear regression on a constant and given (N, G)."""
    design = np.column_stack([np.ones(len(values)), given])
    return values - design @ np.linalg.lstsq(design, values)[0]


def _difference(z: Array, a: Array, given: Array) -> Array:
    left = residuals(a[:, None], given)[:, 0]
    return left @ residuals(z, given) / (left @ left)


def _normal(z: Array, a: Array, given: Array) -> Array:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    scale = np.sqrt(z.var(0).mean()) or 1.0  # one for all, so that the penalty fits any prior
    inputs = np.column_stack([z / scale, given])
    is_binary = np.isin(a, (0.0, 1.0)).all()
    model = LogisticRegression(max_iter=1000) if is_binary else LinearRegression()
    return np.ravel(model.fit(inputs, a).coef_)[: z.shape[1]]


def orthogonal_to(direction: Array, group: np.ndarray, names: tuple[str, ...]) -> Array:
    """Directions (A, D) without their projections on those of other groups.

    The classes of one label exclude each other, and their directions depend on each other, so only
    the directions of other groups are taken out.

    Raises:
        InputError: if there is a single group, or nothing is left of a direction.
    """
    if len(set(group.tolist())) < 2:
        raise InputError(
            "orthogonal=True takes out the directions of other attributes, and all of these are from one "
            "label or column: give several columns, or leave it out"
        )
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    result = np.empty_like(unit)
    for i, own in enumerate(unit):
        _, size, basis = np.linalg.svd(unit[group != group[i]], full_matrices=False)
        basis = basis[size > DEPENDENT * size[0]]
        result[i] = own - basis.T @ (basis @ own)
        if np.linalg.norm(result[i]) < DEPENDENT:
            raise InputError(
                f"the direction of {names[i]!r} is a combination of those of the other attributes: leave "
                "some attributes out, or use orthogonal=False"
            )
    return result


def limits(log_prob: Callable[[Array], Array], z: Array, step: Array, least: float) -> Array:
    """How often `step` may be added to each latent before log p(z) is below `least`, (N,).

    At most `FARTHEST` times; 0 for a latent that is below it at the start.

    Arguments:
        log_prob: log p(z) of latents (..., N, D), in nats.
        z: (N, D).
        step: (D,).
        least: log p(z) of the least typical latents.
    """
    grid = np.arange(0, FARTHEST + STEP / 2, STEP)
    outside = log_prob(z + grid[:, None, None] * step) < least  # (T, N)
    first = np.where(outside.any(0), outside.argmax(0), len(grid))
    low = np.where(first > 0, grid[np.maximum(first, 1) - 1], 0.0)
    high = np.where((first > 0) & (first < len(grid)), grid[np.minimum(first, len(grid) - 1)], low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        beyond = log_prob(z + middle[:, None] * step) < least
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return low
