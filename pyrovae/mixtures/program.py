r"""A mixture of Gaussians as a Pyro program: one discrete latent, summed out.

    c ~ Categorical(pi),   x | c ~ N(mu_c, Sigma_c)
    p(x)   = sum_c pi_c N(x; mu_c, Sigma_c)
    p(c|x) = pi_c N(x; mu_c, Sigma_c) / p(x)                       the responsibilities
    log p(x) = E_q[log p(x, c) - log q(c)] + KL(q || p(c|x))       for any q(c)

Sigma_c = L_c L_c' with a positive diagonal of L_c, so every value of the parameters gives a
mixture. Spherical and diagonal mixtures have only the diagonal.

Reference:
    Pearson (1894), "Contributions to the Mathematical Theory of Evolution".
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrovae.checks import number, one_of, whole
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.numerics import inverse_softplus
from pyrovae.part import Declared
from pyrovae.seeds import generator_of
from pyrovae.terms import DATA, Program

__all__ = ["COVARIANCES", "MixtureProgram"]

COVARIANCES = ("spherical", "diagonal", "full")
TINY = 1e-37  # a nonzero number in every precision


class MixtureProgram(Program, Declared, nn.Module):
    """The program and its densities; `GaussianMixture` declares it and adds the ways to fit it.

    Every method takes `Rows`, a tensor or an array of any numeric type.
    """

    components: int
    event_dim: int
    covariance: str
    floor: float
    floors: float | Tensor  # one for each dimension, if a fit standardises the data

    def attach(self) -> None:
        """Create the parameters: equal weights, random means, standard deviations of 1."""
        self.components = whole("components of a mixture", self.components)
        self.event_dim = whole("event_dim of a mixture", self.event_dim)
        one_of("covariance", self.covariance, COVARIANCES)
        self.floor = self.floors = number("floor", self.floor, least=0, below=1)
        count, size = self.components, self.event_dim
        self.logits = nn.Parameter(torch.zeros(count))
        self.loc = nn.Parameter(torch.randn(count, size))
        ones = torch.ones(count, 1 if self.covariance == "spherical" else size)
        self.raw_scale = nn.Parameter(inverse_softplus(ones * (1.0 - self.floor)))
        self.lower = nn.Parameter(torch.zeros(count, size, size)) if self.covariance == "full" else None

    # ---------------------------------------------------------------- the program

    def model(self, x: Tensor | None = None) -> Tensor:
        """The generative program with the sites "c" and "x"; x (B, D) is observed if given."""
        x = None if x is None else self._checked(x)
        with pyro.plate(DATA, 1 if x is None else len(x), dim=-1):
            c = pyro.sample("c", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            return pyro.sample("x", self.conditional(c), obs=x)

    def guide(self, x: Tensor | None = None) -> None:
        """The guide has no site, since the only latent is summed out of the model."""

    @property
    def event_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape (D,) of one observation."""
        return (self.event_dim,)

    def check_rows(self, rows: Rows, what: str) -> None:
        if tuple(rows.x.shape[1:]) != self.event_shape:
            raise InputError(
                f"a mixture in {self.event_dim} dimensions needs {what} of shape (N, {self.event_dim}), not "
                f"{tuple(rows.x.shape)}"
            )

    def _checked(self, x: Any) -> Tensor:  # noqa: ANN401
        rows = Rows.of(x, like=self.loc)
        self.check_rows(rows, "x")
        return rows.x

    def conditional(self, c: Tensor | slice = slice(None)) -> dist.TorchDistribution:
        """p(x|c) for all components, batch (C,), or for the given ones; event (D,)."""
        loc, scale = self.loc[c], self.scale[c]
        if self.lower is None:
            return dist.Normal(loc, scale).to_event(1)
        return dist.MultivariateNormal(loc, scale_tril=self.factor[c])

    def mixture(self) -> dist.MixtureSameFamily:
        """p(x) as one distribution, batch (), event (D,)."""
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), self.conditional())

    # ---------------------------------------------------------------- the parameters

    @property
    def scale(self) -> Tensor:
        """The diagonal of the components' Cholesky factors, (C, D); spherical (C, 1)."""
        return softplus(self.raw_scale) + self.floors

    @property
    def factor(self) -> Tensor:
        """The components' lower Cholesky factors, (C, D, D)."""
        diagonal = self.scale.expand(-1, self.event_dim).diag_embed()
        return diagonal if self.lower is None else self.lower.tril(-1) + diagonal

    @property
    def weights(self) -> Tensor:
        """pi, (C,)."""
        return self.logits.softmax(-1)

    @property
    def means(self) -> Tensor:
        """mu, (C, D)."""
        return self.loc

    @property
    def covariances(self) -> Tensor:
        """Sigma, (C, D, D)."""
        factor = self.factor
        return factor @ factor.mT

    @torch.no_grad()
    def put(self, weights: Tensor, loc: Tensor, covariance: Tensor) -> None:
        """Set the parameters.

        Arguments:
            weights: (C,), up to a factor; 0 is replaced by a tiny number.
            loc: means, (C, D).
            covariance: (C, D, D), or variances (C, D), or (C,). If the mixture's form is simpler,
                it gets the nearest covariances (in KL): the diagonal, or its mean.

        Raises:
            InputError: for wrong shapes, invalid parameters, or a component narrower than the
                floor.
        """
        # In double precision, since single precision fails to factorise narrow covariances.
        like = self.loc.new_empty(0, dtype=torch.float64)
        weights, loc, covariance = (torch.as_tensor(t).to(like) for t in (weights, loc, covariance))
        shape = (self.components, self.event_dim)
        covariance = _square(covariance, self.event_dim)
        if weights.shape != shape[:1] or loc.shape != shape or covariance.shape != (*shape, shape[1]):
            raise InputError(
                f"this mixture has {shape[0]} components in {shape[1]} dimensions: give weights {shape[:1]}, "
                f"means {shape} and covariances {(*shape, shape[1])}"
            )
        finite = all(t.isfinite().all() for t in (weights, loc, covariance))
        if not (finite and (weights >= 0).all() and weights.sum() > 0):
            raise InputError(
                "the parameters of a mixture must be finite, and its weights 0 or more and not all 0"
            )
        scale, factor = self._factors(covariance)
        share = weights / weights.sum()
        self.logits.copy_(share.clamp_min(TINY).log())
        self.loc.copy_(loc)
        self.raw_scale.copy_(inverse_softplus((scale - self.floors).clamp_min(TINY)))
        if self.lower is not None:
            self.lower.copy_(factor.tril(-1))

    def _factors(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """The diagonal of Cholesky factors in this mixture's shape, and the factors themselves."""
        factor, info = torch.linalg.cholesky_ex(covariance)
        scale = factor.diagonal(dim1=-2, dim2=-1)
        if self.lower is None:
            variance = covariance.diagonal(dim1=-2, dim2=-1)
            variance = variance.mean(-1, keepdim=True) if self.covariance == "spherical" else variance
            info, scale = torch.zeros_like(info), variance.sqrt()
        thin = (info > 0) | ~((scale > 0) & (scale > 0.999 * self.floors)).all(-1)  # up to rounding
        if thin.any():
            raise InputError(
                f"component {int(thin.nonzero()[0])} is narrower than the mixture's floor of {self.floor:g}: "
                "raise reg_covar, rescale the data, or declare a smaller floor"
            )
        return scale, factor

    # ---------------------------------------------------------------- the densities

    def log_joint(self, x: Any) -> Tensor:  # noqa: ANN401
        """log p(x, c): x (B, D) -> (B, C)."""
        return self.logits.log_softmax(-1) + self.conditional().log_prob(self._checked(x).unsqueeze(-2))

    def log_px(self, x: Any) -> Tensor:  # noqa: ANN401
        """The exact log p(x) in nats: x (B, D) -> (B,)."""
        return self.log_joint(x).logsumexp(-1)

    def responsibilities(self, x: Any) -> Tensor:  # noqa: ANN401
        """p(c|x): x (B, D) -> (B, C)."""
        return self.log_joint(x).softmax(-1)

    def bound(self, x: Any, q: Tensor) -> Tensor:  # noqa: ANN401
        r"""The ELBO of any q(c), (B, C) -> (B,); it is log p(x) if q are the responsibilities.

        \[\sum_c q_c \left(\log p(x, c) - \log q_c\right) =
        \log p(x) - \mathrm{KL}(q \,\|\, p(c|x))\]
        """
        return (q * self.log_joint(x)).sum(-1) - torch.xlogy(q, q).sum(-1)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Observations (count, D) drawn from the mixture."""
        rng = generator_of(seed)
        with torch.no_grad():
            c = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=rng)
            eps = torch.randn(count, self.event_dim, generator=rng, dtype=self.loc.dtype)
            x = self.loc.cpu()[c] + (self.factor.cpu()[c] @ eps.unsqueeze(-1)).squeeze(-1)
        return x.to(self.loc.device)


def _square(covariance: Tensor, size: int) -> Tensor:
    """Convert covariances (C, D, D), or variances (C, D) or (C,), to covariances (C, D, D)."""
    if covariance.dim() == 1:
        covariance = covariance.unsqueeze(-1).expand(-1, size)
    return covariance.diag_embed() if covariance.dim() == 2 else covariance
