r"""Other divergences between q(z|x) and p(z) than the Kullback-Leibler one."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pyrovae.checks import number
from pyrovae.errors import InputError
from pyrovae.objectives.base import Objective, weighted
from pyrovae.objectives.elbo import is_product
from pyrovae.terms import Latent, TracePair, distribution_name

__all__ = ["JensenShannon"]


class JensenShannon(Objective):
    r"""The skew-geometric Jensen-Shannon divergence in place of the KL divergence.

    \[\mathbb E_q[\log p(x|z)] - \lambda \big[(1 - \alpha)\, \mathrm{KL}(q \| g)
    + \alpha\, \mathrm{KL}(p \| g)\big], \qquad g \propto q^{\alpha} p^{1 - \alpha}\]

    For \(\alpha = 0\) it is KL(q || p), the ELBO's; for \(\alpha = 1\) it is KL(p || q). With `dual` each
    divergence is taken from g instead: \((1 - \alpha)\, \mathrm{KL}(g \| q) + \alpha\, \mathrm{KL}(g \| p)\).

    Arguments:
        alpha: the skew, from 0 to 1.
        weight: \(\lambda\).
        dual: whether the divergences start from g.
        particles: K, samples for each row.

    Raises:
        InputError: for an `alpha` outside [0, 1] or a negative weight; by `fit`, for distributions that are
            not normal with independent latents, where no formula is known.

    Reference:
        Deasy, Simidjievski & Lio (2020), "Constraining Variational Inference with Geometric Jensen-Shannon
        Divergence"; Nielsen (2019), "On the Jensen-Shannon Symmetrization of Distances Relying on Abstract
        Means".

    Example:
        >>> import torch
        >>> ones = torch.ones(2, 3)
        >>> JensenShannon().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

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

    def check(self, pair: TracePair) -> None:
        super().check(pair)
        self.divergence(pair.latent("JensenShannon"))

    def divergence(self, latent: Latent) -> Tensor:
        """The divergence of each row, (K, B), from the formulas for normals.

        Raises:
            InputError: for distributions that are not normal with independent latents.
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
