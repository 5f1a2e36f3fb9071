r"""A linear function of independent normal elements, plus noise.

    y = A x + sd e,   x ~ N(m, diag(v)),   e ~ N(0, I)
    y ~ N(A m, C),    C = A diag(v) A' + sd^2 I
    E[x | y] = m + diag(v) A' C^-1 (y - A m)

The matrix C is factorised once if all rows have the same variances, else for one row at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.types import _size

from pyrovae.distributions.composed import Composed, Draw

__all__ = ["Correlated"]


class Correlated(Composed):
    """The distribution of y, batch (*), event of the shape of x.

    Arguments:
        loc, scale: of x, (*, *event), where the event has the shape (C, H, W) or (H, W).
        function: the linear function A, from x to y, of the same shape.
        sd: the standard deviation of the noise.
        dims: the number of dimensions of the event.

    Example:
        >>> y = Correlated(torch.zeros(5, 1, 1), torch.ones(5, 1, 1), lambda x: 3 * x, 4.0, 2)
        >>> y.log_prob(torch.zeros(1, 1))[0], dist.Normal(0.0, 5.0).log_prob(torch.tensor(0.0))
        (tensor(-2.5284), tensor(-2.5284))
    """

    def __init__(
        self, loc: Tensor, scale: Tensor, function: Callable[[Tensor], Tensor], sd: float, dims: int
    ) -> None:
        self.loc_x, self.scale_x, self.function, self.sd = loc, scale, function, sd
        self.dims = dims
        cut = loc.dim() - dims
        super().__init__(loc.shape[:cut], loc.shape[cut:], validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> constraints.Constraint:
        """Finite numbers."""
        return constraints.independent(constraints.real, self.dims)

    @property
    def mean(self) -> Tensor:
        """A m."""
        return self.function(self.loc_x)

    @cached_property
    def matrix(self) -> Tensor:
        """A, (E, E)."""
        size = math.prod(self.event_shape)
        eye = torch.eye(size, dtype=self.loc_x.dtype, device=self.loc_x.device)
        return self.function(eye.reshape(size, *self.event_shape)).reshape(size, size).mT

    @cached_property
    def _variances(self) -> Tensor:
        """v of each row, (R, E), or (1, E) if all are the same."""
        v = self.scale_x.square().reshape(-1, math.prod(self.event_shape))
        return v[:1] if bool((v == v[:1]).all()) else v

    def _factors(self, rows: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows, their variances, and the Cholesky factor of their C."""
        v = self._variances
        for i in range(len(v)):
            c = (self.matrix * v[i]) @ self.matrix.mT
            c = c + self.sd**2 * torch.eye(len(c), dtype=c.dtype, device=c.device)
            yield (slice(i, i + 1) if len(v) > 1 else slice(0, rows)), v[i], torch.linalg.cholesky(c)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(y), (*), in nats."""
        away = value - self.mean
        flat = away.reshape(-1, math.prod(self.event_shape))
        parts = []
        for rows, _, factor in self._factors(len(flat)):
            t = torch.linalg.solve_triangular(factor, flat[rows].mT, upper=False)
            log_det = 2 * factor.diagonal().log().sum()
            parts.append(-0.5 * (t.square().sum(0) + log_det + len(factor) * math.log(2 * math.pi)))
        return torch.cat(parts).reshape(away.shape[: away.dim() - self.dims])

    def pulled(self, away: Tensor) -> Tensor:
        """diag(v) A' C^-1 applied to differences (*, *event)."""
        flat = away.reshape(-1, math.prod(self.event_shape))
        parts = [
            v * (torch.cholesky_solve(flat[rows].mT, factor).mT @ self.matrix)
            for rows, v, factor in self._factors(len(flat))
        ]
        return torch.cat(parts).reshape(away.shape)

    def left(self) -> Tensor:
        """The variances of x given y, (*, *event)."""
        size, shape = math.prod(self.event_shape), self.loc_x.shape
        parts = []
        for _, v, factor in self._factors(1):
            root = torch.linalg.solve_triangular(factor, self.matrix * v, upper=False)
            parts.append(v - root.square().sum(0))
        return torch.stack(parts).expand(shape.numel() // size, size).reshape(shape)

    def compose(self, draw: Draw) -> Tensor:
        """One y for each entry of the batch."""
        x = draw(dist.Normal(self.loc_x, self.scale_x))
        return self.function(x) + draw(dist.Normal(torch.zeros_like(x), self.sd))

    def expand(self, batch_shape: _size, _instance: Any = None) -> Correlated:  # noqa: ANN401
        shape = (*batch_shape, *self.event_shape)
        loc, scale = self.loc_x.expand(shape), self.scale_x.expand(shape)
        return Correlated(loc, scale, self.function, self.sd, self.dims)
