r"""Paths between two observations, and analogies, in latent space.

    interpolate   z(t) from E[z|x1] to E[z|x2], decoded
    analogy       E[x|z] at z = z_c + z_b - z_a:   c is to the result as a is to b

`exploring.walks` and `exploring.slices` define the paths.

References:
    White (2016), "Sampling Generative Networks" (spherical paths); Mikolov, Yih & Zweig (2013),
    "Linguistic Regularities in Continuous Space Word Representations" (analogies).
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from pyrovae.checks import count_of, one_of
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.exploring.slices import Slice
from pyrovae.exploring.space import Space
from pyrovae.exploring.walks import How, Walk
from pyrovae.numerics import Array
from pyrovae.vae import VAE

__all__ = ["analogy", "interpolate"]


def interpolate(
    vae: VAE,
    x1: Any,  # noqa: ANN401
    x2: Any,  # noqa: ANN401
    steps: int = 9,
    how: How = "straight",
    *,
    context: Any = None,  # noqa: ANN401
    seed: int = 0,
) -> Walk:
    """Go from one observation to another in latent space, and decode the steps.

    Arguments:
        vae: a trained VAE with real latents.
        x1, x2: two observations, (*event) or (1, *event).
        steps: the number of steps, with both ends.
        how: "straight"; "spherical", in which the direction from the centre of p(z) turns at a
            constant speed; or "density", which stays where log p(z) is high. Its minimum of log
            p(z) is never below that of the straight path.
        context: the context of a conditional VAE, one for both observations, (*context_shape).
        seed: seed of the samples, for a guide without a known mean.

    Raises:
        InputError: for several rows, latents that are not real vectors, or observations of two
            classes if the decoder reads the class.

    Reference:
        Prince (2023), "Understanding Deep Learning", section 17.6; White (2016), "Sampling
        Generative Networks".

    Example:
        >>> import pyrovae as pv
        >>> vae = pv.VAE((4,), 2, seed=0)
        >>> walk = interpolate(vae, [0.0, 0, 1, 1], [1.0, 1, 0, 0], steps=5, how="spherical")
        >>> walk.x.shape, walk.log_pz.shape
        ((5, 4), (5,))
    """
    steps = count_of("steps", steps, 2)
    one_of("how", how, get_args(How))
    space = Space(vae, "interpolate")
    z1, rows = _one(space, x1, "x1", context, seed)
    z2, other = _one(space, x2, "x2", context, seed)
    if rows.context is not None and not torch.equal(rows.context, other.context):  # type: ignore[arg-type]
        raise InputError("x1 and x2 have different contexts, and a path has one: give it by context=")
    if not np.array_equal(z1[space.dim :], z2[space.dim :]):
        raise InputError(
            "x1 and x2 belong to different classes, which the decoder reads, and there is no path between "
            "classes: give two observations of one class"
        )
    ends = np.stack([z1, z2])[:, : space.dim]
    return Slice(space, z1[space.dim :], rows.context).path(ends, steps, how, seed)


def _one(space: Space, x: Any, name: str, context: Any, seed: int) -> tuple[Array, Rows]:  # noqa: ANN401
    """The encoding (size,) of a single observation, and its row."""
    rows = space.rows(x, context)
    if len(rows) != 1:
        raise InputError(f"{name} has {len(rows)} rows, and a path has one at each end: give one of them")
    return space.encode(rows, seed)[0], rows


def analogy(
    vae: VAE,
    a: Any,  # noqa: ANN401
    b: Any,  # noqa: ANN401
    c: Any,  # noqa: ANN401
    *,
    context: Any = None,  # noqa: ANN401
    seed: int = 0,
) -> NDArray:
    r"""Complete "a is to b as c is to ...": E[x|z] at z_c + z_b - z_a, (N, *event).

    The step is the difference of the mean encodings of a and b, so several examples of each make it
    more precise.

    Arguments:
        vae: a trained VAE with real latents.
        a, b: observations (M, *event) without and with a property, or a single one of each.
        c: observations (N, *event) to change, or a single one.
        context: the context of a conditional VAE, one for all observations, (*context_shape).
        seed: seed of the samples, for a guide without a known mean.

    Raises:
        InputError: for latents that are not real vectors.

    Example:
        >>> import pyrovae as pv
        >>> vae = pv.VAE((4,), 2, seed=0)
        >>> analogy(vae, [0.0, 0, 0, 0], [1.0, 0, 0, 0], [[0.0, 1, 1, 1], [0, 0, 1, 1]]).shape
        (2, 4)
    """
    space = Space(vae, "analogy")
    without, with_it, start = (space.rows(x, context) for x in (a, b, c))
    step = space.encode(with_it, seed).mean(0) - space.encode(without, seed).mean(0)
    step[space.dim :] = 0.0  # the class of c stays
    return space.decoded(space.encode(start, seed) + step, start.context)
