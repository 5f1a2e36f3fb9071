r"""The real latents of one row, with its context and its class held fixed, and paths among them.

    p(z|c)     over the real entries of z
    E[x|z, c]  of these entries, completed by the one-hot class that the decoder reads

For a program without context and classes, a slice is the whole latent space.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae.exploring.space import Space
from pyrovae.exploring.walks import How, Walk, path_along
from pyrovae.numerics import Array, as_array

__all__ = ["Slice"]

NODES = 32  # components over which a path may go; the search is quadratic in their number


class Slice:
    """p(z) and the decoder as functions of the D real latents.

    Arguments:
        space: the latent space.
        tail: the one-hot class that the decoder reads, (C,); empty without classes.
        context: the context, (1, *context_shape), or None.
    """

    def __init__(self, space: Space, tail: Array, context: Tensor | None) -> None:
        self.space, self.tail, self.context = space, tail, context

    def of_class(self, k: int) -> Slice:
        """The slice of another class."""
        return Slice(self.space, np.eye(len(self.tail))[k], self.context)

    def complete(self, z: Array) -> Array:
        """Latents (..., D) with the class, (..., size)."""
        return np.concatenate([z, np.broadcast_to(self.tail, (*z.shape[:-1], len(self.tail)))], -1)

    def contexts(self, count: int) -> Tensor | None:
        """The context for each of some latents."""
        return None if self.context is None else self.context.expand(count, *self.context.shape[1:])

    def log_prob(self, z: Array) -> Array:
        """log p(z) in nats: (M, D) -> (M,)."""
        return self.space.log_prob(self.complete(z), self.contexts(len(z)))

    def log_density(self, z: Tensor) -> Tensor:
        """log p(z) in nats, differentiable in z: (M, D), double -> (M,)."""
        tail = torch.as_tensor(self.tail).expand(len(z), len(self.tail)).to(z)
        return self.space.log_density(torch.cat([z, tail], -1), self.contexts(len(z))).to(z.device)

    def decoded(self, z: Array) -> NDArray:
        """E[x|z], (..., *event), at latents (..., D)."""
        flat = self.complete(z.reshape(-1, z.shape[-1]))
        return self.space.decoded(flat, self.contexts(len(flat))).reshape(
            *z.shape[:-1], *self.space.vae.event_shape
        )

    def path(self, ends: Array, steps: int, how: How, seed: int = 0) -> Walk:
        """Go from one latent point to another, (2, D), and decode the steps.

        The latents of the result contain the class, if there is one.
        """
        centre, nodes = self._landmarks(ends)
        options: dict[str, Any] = {"nodes": nodes, "centre": centre, "power": 1 / self.space.dim}
        with self.space.quiet(seed):
            z = path_along(self, ends, steps, how, **options)
        return Walk(self.complete(z), self.decoded(z), self.log_prob(z), how)

    def _landmarks(self, ends: Array) -> tuple[Array | float, Array | None]:
        """The centre of p(z), and the means of components near the straight line in a mixture."""
        with self.space.quiet(0):
            prior = self.space.vae.latents(self.context)
            try:
                centre = as_array(prior.mean, float).reshape(-1)[: self.space.dim]
            except (NotImplementedError, AttributeError):
                return 0.0, None
            parts = getattr(prior, "component_distribution", None)
            if parts is None:
                return centre, None
            means = as_array(parts.mean, float).reshape(-1, self.space.dim)
        step = ends[1] - ends[0]
        t = np.clip((means - ends[0]) @ step / max(step @ step, 1e-300), 0, 1)
        distance = np.linalg.norm(means - ends[0] - t[:, None] * step, axis=1)
        return centre, means[np.argsort(distance, kind="stable")[:NODES]]
