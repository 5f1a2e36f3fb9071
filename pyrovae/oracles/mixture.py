r"""A linear decoder with a mixture of Gaussians in z: p(x) and p(z|x) are mixtures too.

    c ~ Categorical(pi),   z|c ~ N(m_c, diag(t_c^2))
    x = W z + b + noise,   noise ~ N(0, diag(s^2))
    p(x)   = sum_c pi_c N(x; W m_c + b, W diag(t_c^2) W' + diag(s^2))
    p(c|x) = r_c,  proportional to the terms of p(x)
    p(z|x) = sum_c r_c N(S_c (m_c / t_c^2 + W' diag(1/s^2) (x - b)), S_c),
             S_c = (diag(1/t_c^2) + W' diag(1/s^2) W)^-1

Reference:
    Ghahramani & Hinton (1996), "The EM Algorithm for Mixtures of Factor Analyzers".
"""

from __future__ import annotations

from typing import Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.oracles.given import normal_given
from pyrovae.oracles.linear import LinearDecoder
from pyrovae.seeds import generator_of
from pyrovae.terms import DATA

__all__ = ["LinearGaussianMixture"]


class LinearGaussianMixture(LinearDecoder):
    """A mixture of Gaussians in z with a linear decoder, and its exact posterior as guide.

    Arguments:
        weight, bias, scale, guide_scale: as for `LinearDecoder`.
        logits: logits of the components, (C,).
        loc: m, the means of the components, (C, D).
        spread: t, their standard deviations, (C, D).
        collapsed: whether the model's prior is the mixture itself; otherwise it has a discrete site
            "c" that is summed out by enumeration. Both have the same log p(x).

    Example:
        >>> oracle = LinearGaussianMixture.random(event_dim=4, latent_dim=2, components=3)
        >>> x = oracle.sample(5)
        >>> oracle.log_px(x).shape, oracle.responsibilities(x).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    logits: Tensor
    loc: Tensor
    spread: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        logits: Tensor,
        loc: Tensor,
        spread: Tensor,
        *,
        collapsed: bool = True,
        guide_scale: float = 1.0,
    ) -> None:
        super().__init__(weight, bias, scale, guide_scale=guide_scale)
        self.register_buffer("logits", logits.log_softmax(0))
        self.register_buffer("loc", loc)
        self.register_buffer("spread", spread)
        self.collapsed = collapsed

    @classmethod
    def random(
        cls, event_dim: int, latent_dim: int, components: int, *, seed: int = 0, collapsed: bool = True
    ) -> Self:
        """A model with separate components of unequal weight, drawn from a seed."""
        rng = generator_of(seed)
        return cls(
            torch.randn(event_dim, latent_dim, generator=rng),
            torch.randn(event_dim, generator=rng),
            0.5 + torch.rand(event_dim, generator=rng),
            torch.randn(components, generator=rng),
            2 * torch.randn(components, latent_dim, generator=rng),
            0.5 + torch.rand(components, latent_dim, generator=rng),
            collapsed=collapsed,
        )

    def model(self, x: Tensor | None = None) -> Tensor:
        """The generative program; x (B, E) is observed if given."""
        classes = dist.Categorical(logits=self.logits)
        with pyro.plate(DATA, 1 if x is None else len(x), dim=-1):
            if self.collapsed:
                parts = dist.Normal(self.loc, self.spread).to_event(1)
                z = pyro.sample("z", dist.MixtureSameFamily(classes, parts))
            else:
                c = pyro.sample("c", classes, infer={"enumerate": "parallel"})
                z = pyro.sample("z", dist.Normal(self.loc[c], self.spread[c]).to_event(1))
            return pyro.sample("x", self.decode(z), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        """The exact posterior of z, with standard deviations multiplied by `guide_scale`."""
        with pyro.plate(DATA, len(x), dim=-1):
            return pyro.sample("z", self.posterior(x, scale=self.guide_scale))

    def posterior(self, x: Tensor, *, scale: float = 1.0) -> dist.MixtureSameFamily:
        """p(z|x): x (B, E) -> batch (B,), event (D,)."""
        weighted = self._weighted()
        precision = (self.spread**-2).diag_embed() + self.weight.mT @ weighted  # (C, D, D)
        covariance = torch.linalg.inv(precision)
        pull = self.loc / self.spread.square() + ((x - self.bias) @ weighted).unsqueeze(1)  # (B, C, D)
        loc = (covariance @ pull.unsqueeze(-1)).squeeze(-1)
        tril = (scale * torch.linalg.cholesky(covariance)).expand(*loc.shape, -1)
        return dist.MixtureSameFamily(
            dist.Categorical(logits=self._joint(x)), dist.MultivariateNormal(loc, scale_tril=tril)
        )

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(c|x): x (B, E) -> (B, C)."""
        return self._joint(x).softmax(-1)

    def log_px(self, x: Tensor) -> Tensor:
        """The exact log p(x) in nats: x (B, E) -> (B,)."""
        return self._joint(x).logsumexp(-1)

    def given(
        self, y: Tensor, matrix: Tensor | None = None, sd: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The exact log p(y) (B,), and mean (B, E) and covariance (B, E, E) of p(x|y).

        p(x|y) is a mixture with the weights p(c|y); its covariance includes that of the means.

        Arguments:
            y, matrix, sd: as for `LinearGaussian.given`.
        """
        parts = []
        for loc, spread in zip(self.loc, self.spread, strict=True):
            covariance = (self.weight * spread.square()) @ self.weight.mT + self.scale.square().diag()
            parts.append(normal_given(self.weight @ loc + self.bias, covariance, y, matrix, sd))
        log_py, means, covariances = (torch.stack(part, 1) for part in zip(*parts, strict=True))
        joint = self.logits + log_py
        share = joint.softmax(-1)
        mean = (share.unsqueeze(-1) * means).sum(1)
        away = means - mean.unsqueeze(1)
        covariance = covariances + away.unsqueeze(-1) * away.unsqueeze(-2)
        return joint.logsumexp(-1), mean, (share[..., None, None] * covariance).sum(1)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Observations (count, E) drawn from the model."""
        rng = generator_of(seed)
        c = torch.multinomial(self.logits.exp().cpu(), count, replacement=True, generator=rng)
        eps = torch.randn(count, self.loc.shape[1], generator=rng, dtype=self.loc.dtype)
        return self._observations(self.loc.cpu()[c] + self.spread.cpu()[c] * eps, rng)

    def _joint(self, x: Tensor) -> Tensor:
        """log p(x, c), (B, C)."""
        spread = (self.weight * self.spread.square().unsqueeze(1)) @ self.weight.mT
        loc = self.loc @ self.weight.mT + self.bias
        p = dist.MultivariateNormal(loc, spread + self.scale.square().diag())
        return self.logits + p.log_prob(x.unsqueeze(1))
