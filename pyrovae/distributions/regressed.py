r"""Multivariate normal distributions, with a regression of each entry on those before it.

    z_i = mu_i - sum_{j<i} W_ij (z_j - mu_j) + s_i e_i,   e ~ N(0, I)
    log p(z) = log N((I + W)(z - mu); 0, diag s^2),       Sigma = (I + W)^-1 diag(s^2) (I + W)^-T

Every covariance has this form. The density is a product of matrices and needs no triangular solve,
which compiled code does not support. s are the diagonal entries of the Cholesky factor of Sigma.
Logarithms and quotients are taken of s alone, so the densities of B rows under K components cost B
K D products and sums.

Reference:
    Pourahmadi (1999), "Joint Mean-Covariance Models with Applications to Longitudinal Data".
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.composed import Composed, Draw, alike

__all__ = ["RegressedNormal"]


class RegressedNormal(Composed):
    """A normal distribution over (D,) with a full covariance.

    Arguments:
        loc: the mean, (*, D).
        scale: s, (*, D).
        regression: W, (*, D, D), of which only the part below the diagonal is used; None for
            independent entries.

    Example:
        >>> regression = torch.tensor([[0.0, 0.0], [-3.0, 0.0]])
        >>> RegressedNormal(torch.zeros(2), torch.ones(2), regression).covariance_matrix
        tensor([[ 1.,  3.],
                [ 3., 10.]])
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        regression: Tensor | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self.regression = loc, scale.expand_as(loc), regression
        self._own = self.loc, self.scale, None if regression is None else regression.tril(-1)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    @property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance, (*, D, D)."""
        return self._factor().expand(*self.batch_shape, -1, -1)

    def _factor(self) -> Tensor:
        _, scale, below = self._own
        if below is None:
            return scale.diag_embed()
        return torch.linalg.solve_triangular(below, scale.diag_embed(), upper=False, unitriangular=True)

    @property
    def covariance_matrix(self) -> Tensor:
        """Sigma, (*, D, D)."""
        return self.scale_tril @ self.scale_tril.mT

    def compose(self, draw: Draw) -> Tensor:
        eps = draw(dist.Normal(torch.zeros_like(self.loc), 1.0).to_event(1))
        return self.loc + (self.scale * eps if self.regression is None else _product(self._factor(), eps))

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        loc, scale, below = self._own
        apart = value - loc
        if below is not None:
            apart = apart + _product(below, apart)
        log_factor = -scale.log().sum(-1) - 0.5 * math.log(2 * math.pi) * self.event_shape[0]
        log_p = log_factor - 0.5 * (apart * scale.reciprocal()).square().sum(-1)
        return log_p.expand(torch.broadcast_shapes(log_p.shape, self.batch_shape))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        variance = self.scale.square() if self.regression is None else self._factor().square().sum(-1)
        return variance.expand(*self.batch_shape, -1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> RegressedNormal:  # noqa: ANN401
        batch = torch.Size(batch_shape)
        new = RegressedNormal.__new__(RegressedNormal)
        new.loc, new.scale = self.loc.expand(*batch, -1), self.scale.expand(*batch, -1)
        new.regression = None if self.regression is None else self.regression.expand(*batch, -1, -1)
        new._own = self._own  # copying the parameters for each row would make the density expensive
        super(RegressedNormal, new).__init__(batch, self.event_shape, validate_args=False)
        return alike(new, self)


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    """The product of matrices (*, D, D) and vectors (*, D), without copies of the matrices."""
    return torch.einsum("...ij,...j->...i", matrix, vector)
