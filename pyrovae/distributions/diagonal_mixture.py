r"""A mixture of diagonal normals whose samples are differentiable in all parameters.

    q(z) = sum_k pi_k prod_d N(z_d; mu_kd, sigma_kd^2)

Its conditional distribution functions F_d(z_d | z_<d) map a sample to uniform noise, S(z) = u. For
a fixed u the sample's derivative is dz = -(dS/dz)^-1 dS/dphi, where dS/dz is triangular. If w_dk
are the weights of the components given z_<d,

    dF_d/dz_d = sum_k w_dk N(z_d; k)
    dF_d/dz_e = sum_k w_dk (Phi_dk - F_d) dlog N(z_e; k)/dz_e,    e < d

Stratified samples take each component in turn, with weight K pi_k.

Reference:
    Figurnov, Mohamed & Mnih (2018), "Implicit Reparameterization Gradients"; Morningstar et al.
    (2021), "Automatic Differentiation Variational Inference with Mixtures".
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.composed import Composed, Draw, alike, draw_index, stratum_index

__all__ = ["DiagonalMixture"]


class DiagonalMixture(Composed):
    """A reparameterised mixture of K diagonal normals over (D,).

    Arguments:
        logits: logits of the weights, (*, K).
        loc: means, (*, K, D).
        scale: standard deviations, (*, K, D).

    Example:
        >>> mixture = DiagonalMixture(torch.zeros(3), torch.randn(3, 2), torch.ones(3, 2))
        >>> value, log_v = mixture.expand((6,)).stratified()
        >>> value.shape, log_v
        (torch.Size([6, 2]), tensor([0., 0., 0., 0., 0., 0.]))
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support = constraints.real_vector

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None
    ) -> None:
        self.logits, self.loc, self.scale = torch.log_softmax(logits, -1), loc, scale
        super().__init__(logits.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    @property
    def strata(self) -> int:
        """K."""
        return self.logits.shape[-1]

    def stratified(self) -> tuple[Tensor, Tensor]:
        """Samples of component i mod K for row i of the leading batch axis, and log(K pi)."""
        index = stratum_index(self.batch_shape, self.strata, self.loc)
        log_v = self.logits.gather(-1, index.unsqueeze(-1)).squeeze(-1) + math.log(self.strata)
        return self._within(index, torch.randn_like(self.loc[..., 0, :])), log_v

    def compose(self, draw: Draw) -> Tensor:
        index = draw_index(draw, self.logits)
        z = self._within(index, draw(dist.Normal(torch.zeros_like(self.loc[..., 0, :]), 1.0))).detach()
        return self._differentiable(z) if torch.is_grad_enabled() else z

    def _within(self, index: Tensor, eps: Tensor) -> Tensor:
        at = index[..., None, None].expand(*index.shape, 1, self.event_shape[0])
        return self.loc.gather(-2, at).squeeze(-2) + self.scale.gather(-2, at).squeeze(-2) * eps

    def _differentiable(self, z: Tensor) -> Tensor:
        uniform, jacobian = self._noise(z)
        moved = torch.linalg.solve_triangular(
            jacobian, (uniform - uniform.detach()).unsqueeze(-1), upper=False
        )
        return z - moved.squeeze(-1)  # moved is zero, but has a gradient

    def _noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """S(z), differentiable in the parameters, (*, D), and dS/dz, (*, D, D), which is not."""
        t = (z.unsqueeze(-2) - self.loc) / self.scale
        log_n = -0.5 * t.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        before = self.logits.unsqueeze(-1) + log_n.cumsum(-1) - log_n  # given z_<d, not normalised
        weight = torch.softmax(before, -2)
        phi = torch.special.ndtr(t)
        uniform = (weight * phi).sum(-2)
        with torch.no_grad():
            slope = -t / self.scale
            moved = weight * (phi - uniform.unsqueeze(-2))
            lower = torch.einsum("...kd,...ke->...de", moved, slope).tril(-1)
            density = (weight * log_n.exp()).sum(-2).clamp_min(torch.finfo(z.dtype).tiny)
        return uniform, lower + density.diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(value), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_n = dist.Normal(self.loc, self.scale, validate_args=False).log_prob(value.unsqueeze(-2)).sum(-1)
        return torch.logsumexp(self.logits + log_n, -1)

    @property
    def mean(self) -> Tensor:
        return (self.logits.exp().unsqueeze(-1) * self.loc).sum(-2)

    @property
    def variance(self) -> Tensor:
        weight, apart = self.logits.exp().unsqueeze(-1), self.loc - self.mean.unsqueeze(-2)
        return (weight * (self.scale.square() + apart.square())).sum(-2)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiagonalMixture:  # noqa: ANN401
        loc, scale = (table.expand(*batch_shape, -1, -1) for table in (self.loc, self.scale))
        logits = self.logits.expand(*batch_shape, -1)
        return alike(DiagonalMixture(logits, loc, scale, validate_args=False), self)
