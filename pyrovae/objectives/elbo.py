r"""The evidence lower bound and modifications of its KL divergence.

L = E_q[log p(x|z)] - KL(q(z|x) || p(z)) <= log p(x)

beta            a weight of the divergence
free bits       a number of nats per latent without cost
capacity        a target for the divergence, which grows during training
JensenShannon   another divergence instead
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from pyrovae.checks import number, one_of
from pyrovae.errors import InputError
from pyrovae.objectives.base import Objective, weighted
from pyrovae.terms import Latent, Terms, TracePair, Weights, distribution_name

__all__ = ["ELBO", "Capacity", "JensenShannon", "is_product", "per_latent"]


class ELBO(Objective):
    r"""The evidence lower bound, with the estimator of Pyro's `Trace_ELBO`.

    \[\mathcal L = \mathbb E_{q(z|x)}[\log p(x|z) + \log p(z) - \log q(z|x)] \le \log p(x)\]

    With \(\beta \ne 1\) training maximises
    \(\mathbb E_q[\log p(x|z)] - \beta\, \mathrm{KL}(q \| p)\), and with free bits \(\lambda\) it
    maximises \(\mathbb E_q[\log p(x|z)] - \beta \sum_d \max(\lambda, \overline{\mathrm{KL}}_d)\),
    with the mean divergence of each latent over the batch. Neither is a bound on log p(x), and
    `bound` is still the plain ELBO. Latents that depend on each other are one group with
    \(D \lambda\) nats.

    Arguments:
        particles: K, samples for each row, averaged.
        beta: the weight of the KL divergence.
        free_bits: \(\lambda\), the number of nats per latent without cost.
        analytic_kl: compute the divergence from its formula instead of samples; the reported bound
            uses samples in both cases.
        weights: how particles sample variables that all rows share, such as the weights of a
            Bayesian decoder: "shared" uses one sample for all particles; "own" one for each; "auto"
            samples the activations of linear layers (local reparameterisation), and shares the
            other variables.

    Raises:
        InputError: if `particles` is below 1, `beta` or `free_bits` is negative, or `weights` is
            unknown; by `fit`, for distributions whose divergence has no known formula, and for
            weights="own" if the program does not broadcast over particles.

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Higgins et al. (2017),
        "beta-VAE"; Kingma et al. (2016), "Improved Variational Inference with Inverse
        Autoregressive Flow" (free bits).

    Example:
        >>> ones = torch.ones(2, 3)
        >>> ELBO().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    takes_globals = True

    def __init__(
        self,
        particles: int = 1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        *,
        analytic_kl: bool = False,
        weights: Weights = "auto",
    ) -> None:
        super().__init__(particles)
        self.weights = one_of("weights", weights, get_args(Weights))
        self.beta = number("beta", beta, least=0)
        self.free_bits = number("free_bits", free_bits, least=0)
        self.analytic_kl = analytic_kl
        self.of_batch = self.free_bits > 0

    @property
    def chosen_by_bound(self) -> bool:
        own = type(self)
        is_plain = all(getattr(own, name) is getattr(ELBO, name) for name in ("maximised", "ascended"))
        return is_plain and self.beta == 1 and not self.free_bits

    def maximised(self, terms: Terms) -> Tensor:
        return terms.mean(terms.log_px_z - self.beta * (terms.log_qz - terms.log_pz))

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        if not self.free_bits and not self.analytic_kl:
            return super().ascended(pair, kl_weight)
        terms = pair.terms()
        kl = self._kl(pair.latent("an analytic KL or free bits"), terms)
        return weighted(terms.mean(terms.log_px_z) - self.beta * kl, terms, kl_weight)

    def _kl(self, latent: Latent, terms: Terms) -> Tensor:
        """The divergence of each row, (B,), or of the batch with free bits, ()."""
        if self.analytic_kl:
            kls = analytic_kl(latent, by_latent=bool(self.free_bits))
        else:
            q, p = per_latent(latent.q, latent.value), per_latent(latent.p, latent.value)
            both = q.shape[-1] == p.shape[-1]
            kls = q - p if both else (terms.log_qz - terms.log_pz).unsqueeze(-1)
        if not self.free_bits:
            return kls.sum(-1).mean(0)
        weights = torch.ones_like(terms.log_qz) if terms.log_v is None else terms.log_v.exp()
        means = (kls * weights.unsqueeze(-1)).mean((0, 1))
        free = self.free_bits * latent.value.shape[-1] / len(means)
        return means.clamp(min=free).sum()


class Capacity(Objective):
    r"""An objective that pushes the KL divergence towards a target, which grows during training.

    \[\mathbb E_q[\log p(x|z)] - \gamma\, \big|\overline{\mathrm{KL}} - C\big|\]

    with the mean divergence over the batch. C is `capacity` times the KL weight of the schedule:
    with `kl_warmup=E` it grows from 0 to `capacity` over E epochs. `bound` is the plain ELBO.

    Arguments:
        capacity: the final number of nats.
        gamma: the weight of the difference.
        particles: K, samples for each row.

    Raises:
        InputError: if `particles` is below 1, or a number is negative.

    Reference:
        Burgess et al. (2018), "Understanding disentangling in beta-VAE".

    Example:
        >>> ones = torch.ones(1, 3)
        >>> Capacity(capacity=2.0, gamma=10.0).maximised(Terms(-3 * ones, -ones, ones))
        tensor([-3., -3., -3.])
    """

    of_batch = True
    takes_globals = True
    weights: Weights = "auto"

    def __init__(self, capacity: float = 25.0, gamma: float = 100.0, particles: int = 1) -> None:
        super().__init__(particles)
        self.capacity = number("capacity", capacity, least=0)
        self.gamma = number("gamma", gamma, least=0)

    def maximised(self, terms: Terms) -> Tensor:
        return self.annealed(terms, 1.0)

    def annealed(self, terms: Terms, kl_weight: Tensor | float = 1.0) -> Tensor:
        kl = terms.mean(terms.log_qz - terms.log_pz).mean()
        return terms.mean(terms.log_px_z) - self.gamma * (kl - self.capacity * kl_weight).abs()


class JensenShannon(Objective):
    r"""The skew-geometric Jensen-Shannon divergence in place of the KL divergence.

    \[\mathbb E_q[\log p(x|z)] - \lambda \big[(1 - \alpha)\, \mathrm{KL}(q \| g)
    + \alpha\, \mathrm{KL}(p \| g)\big], \qquad g \propto q^{\alpha} p^{1 - \alpha}\]

    For \(\alpha = 0\) the divergence is KL(q || p), as in the ELBO; for \(\alpha = 1\) it is KL(p
    || q). With `dual`, the divergences are taken from g:
    \((1 - \alpha)\, \mathrm{KL}(g \| q) + \alpha\, \mathrm{KL}(g \| p)\).

    Arguments:
        alpha: the skew, from 0 to 1.
        weight: \(\lambda\).
        dual: whether the divergences are taken from g.
        particles: K, samples for each row.

    Raises:
        InputError: for an `alpha` outside [0, 1] or a negative weight; by `fit`, for distributions
            other than normals with independent latents, for which no formula is known.

    Reference:
        Deasy, Simidjievski & Lio (2020), "Constraining Variational Inference with Geometric
        Jensen-Shannon Divergence"; Nielsen (2019), "On the Jensen-Shannon Symmetrization of
        Distances Relying on Abstract Means".

    Example:
        >>> import torch
        >>> ones = torch.ones(2, 3)
        >>> JensenShannon().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    takes_globals = True
    weights: Weights = "auto"

    def __init__(
        self, alpha: float = 0.5, weight: float = 1.0, *, dual: bool = False, particles: int = 1
    ) -> None:
        super().__init__(particles)
        self.alpha = number("alpha", alpha, least=0, most=1)
        self.weight = number("weight", weight, least=0)
        self.dual = dual

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms = pair.terms()
        divergence = self.divergence(pair.latent("JensenShannon")).mean(0)
        return weighted(terms.mean(terms.log_px_z) - self.weight * divergence, terms, kl_weight)

    def divergence(self, latent: Latent) -> Tensor:
        """The divergence of each row, (K, B), from the formulas for normals.

        Raises:
            InputError: for distributions other than normals with independent latents.
        """
        q, p = (one.base_dist if is_product(one) else one for one in (latent.q, latent.p))
        if not (isinstance(q, Normal) and isinstance(p, Normal)):
            raise InputError(
                "JensenShannon is known only between normals with independent latents, not between "
                f"{distribution_name(latent.q)} and {distribution_name(latent.p)}: use DiagonalNormal with "
                "StandardNormal, Normal or Conditional"
            )
        precision = self.alpha / q.variance + (1 - self.alpha) / p.variance
        loc = (self.alpha * q.loc / q.variance + (1 - self.alpha) * p.loc / p.variance) / precision
        g = Normal(loc, precision.rsqrt(), validate_args=False)
        from_q = kl_divergence(g, q) if self.dual else kl_divergence(q, g)
        from_p = kl_divergence(g, p) if self.dual else kl_divergence(p, g)
        return ((1 - self.alpha) * from_q + self.alpha * from_p).sum(-1).expand(latent.value.shape[:2])


def analytic_kl(latent: Latent, *, by_latent: bool = False) -> Tensor:
    """KL(q(z|x) || p(z)) from its formula, (K, B, 1), or of each latent if they are independent.

    Raises:
        InputError: if torch has no formula for the two distributions.
    """
    q, p = latent.q, latent.p
    try:
        if by_latent and is_product(q) and is_product(p):
            return kl_divergence(q.base_dist, p.base_dist).expand(latent.value.shape)
        return kl_divergence(q, p).unsqueeze(-1).expand(*latent.value.shape[:2], 1)
    except NotImplementedError:
        raise InputError(
            f"no formula is known for the KL divergence from {distribution_name(q)} to "
            f"{distribution_name(p)}: leave analytic_kl out, so that it is estimated from samples"
        ) from None


def per_latent(p: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    """The log-density of each latent, (K, B, D), or of all together if they are dependent."""
    return p.base_dist.log_prob(z) if is_product(p) else p.log_prob(z).unsqueeze(-1)


def is_product(p: Any) -> bool:  # noqa: ANN401
    """Whether the entries of a distribution over vectors are independent."""
    return isinstance(p, Independent) and not p.base_dist.event_shape
