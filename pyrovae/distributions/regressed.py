r"""The normal law with any covariance, as a regression of each entry on those before it.

    z_i = mu_i - sum_{j<i} W_ij (z_j - mu_j) + s_i e_i,   e ~ N(0, I)
    log p(z) = log N((I + W)(z - mu); 0, diag s^2),       Sigma = (I + W)^-1 diag(s^2) (I + W)^-T

The density is a product of matrices and asks for no triangular system, which compiled code does not solve.
s are the diagonal entries of the Cholesky factor of Sigma.

Reference:
    Pourahmadi (1999), "Joint Mean-Covariance Models with Applications to Longitudinal Data".
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.composed import Composed, Draw

__all__ = ["RegressedNormal"]


class RegressedNormal(Composed):
    """A normal law over (D,) with a full covariance.

    Arguments:
        loc: the mean, (*, D).
        regression: W, of which the part below the diagonal counts, (*, D, D).
        scale: s, (*, D).

    Example:
        >>> law = RegressedNormal(torch.zeros(2), torch.tensor([[0.0, 0.0], [-3.0, 0.0]]), torch.ones(2))
        >>> law.covariance_matrix
        tensor([[ 1.,  3.],
                [ 3., 10.]])
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "regression": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector

    def __init__(
        self, loc: Tensor, regression: Tensor, scale: Tensor, *, validate_args: bool | None = None
    ) -> None:
        self.loc, self.regression, self.scale = loc, regression, scale
        batch = torch.broadcast_shapes(loc.shape[:-1], regression.shape[:-2], scale.shape[:-1])
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)

    @property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance, (*, D, D)."""
        unit = self.regression.tril(-1)
        return torch.linalg.solve_triangular(unit, self.scale.diag_embed(), upper=False, unitriangular=True)

    @property
    def covariance_matrix(self) -> Tensor:
        """Sigma, (*, D, D)."""
        return self.scale_tril @ self.scale_tril.mT

    def compose(self, draw: Draw) -> Tensor:
        zero = torch.zeros_like(self.scale).expand(*self.batch_shape, *self.event_shape)
        eps = draw(dist.Normal(zero, 1.0).to_event(1))
        return self.loc + (self.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        apart = value - self.loc
        left = apart + (self.regression.tril(-1) @ apart.unsqueeze(-1)).squeeze(-1)
        zero = torch.zeros_like(self.scale)
        return dist.Normal(zero, self.scale, validate_args=False).log_prob(left).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.loc.expand((*self.batch_shape, *self.event_shape))

    @property
    def variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1).expand((*self.batch_shape, *self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> RegressedNormal:  # noqa: ANN401
        batch, size = torch.Size(batch_shape), self.event_shape[0]
        kept = (self.loc.expand(*batch, -1), self.regression.expand(*batch, size, size))
        new = RegressedNormal(*kept, self.scale.expand(*batch, -1), validate_args=False)
        new._validate_args = self._validate_args
        return new
