r"""Bounds from several importance weights.

IWAE_K = log (1/K) sum_k w_k            Renyi_a = 1/(1-a) log (1/K) sum_k w_k^(1-a)
MIWAE  = the mean of M IWAEs of K       CIWAE = b ELBO + (1 - b) IWAE
PIWAE:   IWAE for the decoder, MIWAE for the encoder

ELBO <= MIWAE <= IWAE <= log p(x)       the tighter the bound, the noisier the guide's gradient
"""

from __future__ import annotations

from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.errors import InputError
from pyrovae.numerics import log_mean_exp
from pyrovae.objectives.base import Objective, in_place_of, weighted
from pyrovae.terms import Terms, TracePair

__all__ = ["CIWAE", "IWAE", "MIWAE", "PIWAE", "Renyi"]


class IWAE(Objective):
    r"""The importance-weighted bound, which grows with the number of particles towards log p(x).

    \[\mathcal L_K = \mathbb E_{z_1..z_K \sim q}
    \Big[\log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}\Big] \le \log p(x)\]

    Arguments:
        particles: K.

    Raises:
        InputError: if `particles` is below 1.

    Reference:
        Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders".

    Example:
        >>> import torch
        >>> zeros = torch.zeros(2, 1)
        >>> IWAE(particles=2).bound(Terms(torch.tensor([[0.0], [-100.0]]), zeros, zeros))
        tensor([-0.6931])
    """

    is_exact_when_summed_out = True

    def __init__(self, particles: int = 5) -> None:
        super().__init__(particles)

    def bound(self, terms: Terms) -> Tensor:
        return terms.log_mean_w()


class Renyi(Objective):
    r"""The variational Renyi bound, which falls as \(\alpha\) grows.

    \[\mathcal L_\alpha = \frac1{1-\alpha} \log \frac1K \sum_{k=1}^K w_k^{1-\alpha}\]

    \(\alpha = 1\) is the ELBO and \(\alpha = 0\) the importance-weighted bound. For values of 0 or
    more, it is a lower bound on log p(x) for every K. Negative values are refused, since this need
    not hold for them.

    Arguments:
        alpha: the order, 0 or more.
        particles: K.

    Raises:
        InputError: if `particles` is below 1 or `alpha` is negative.

    Reference:
        Li & Turner (2016), "Renyi Divergence Variational Inference".

    Example:
        >>> import torch
        >>> zeros = torch.zeros(2, 1)
        >>> terms = Terms(torch.tensor([[0.0], [-2.0]]), zeros, zeros)
        >>> [round(Renyi(alpha, 2).bound(terms).item(), 3) for alpha in (0.0, 0.5, 1.0)]
        [-0.566, -0.76, -1.0]
    """

    def __init__(self, alpha: float = 0.5, particles: int = 5) -> None:
        super().__init__(particles)
        self.alpha = number("alpha", alpha, least=0)  # below 0 it is not a lower bound
        self.is_exact_when_summed_out = alpha == 0

    def bound(self, terms: Terms) -> Tensor:
        if self.alpha == 1:
            return terms.mean(terms.log_w)
        power = (1 - self.alpha) * terms.log_w
        power = power if terms.log_v is None else power + terms.log_v
        return log_mean_exp(power, 0) / (1 - self.alpha)


class _Grouped(Objective):
    """Base class of objectives with M groups of particles."""

    is_exact_when_summed_out = True

    def __init__(self, groups: int = 4, particles: int = 16) -> None:
        super().__init__(particles)
        self.groups = whole("groups", groups)
        if self.particles % self.groups:
            raise InputError(
                f"{type(self).__name__} needs particles that are a multiple of groups, not {particles} "
                f"particles in {groups} groups"
            )

    def of_groups(self, log_w: Tensor) -> Tensor:
        """The mean of the groups' importance-weighted bounds, (K, B) -> (B,)."""
        return log_mean_exp(log_w.unflatten(0, (self.groups, -1)), 1).mean(0)


class MIWAE(_Grouped):
    r"""The mean of M importance-weighted bounds of K particles each, on M K samples.

    \[\frac1M \sum_{m=1}^M \log \frac1K \sum_{k=1}^K w_{mk}\]

    Arguments:
        groups: M.
        particles: M K, the total number of samples for each row; a multiple of `groups`.

    Raises:
        InputError: if a number is below 1 or `particles` is not a multiple of `groups`.

    Reference:
        Rainforth et al. (2018), "Tighter Variational Bounds are Not Necessarily Better".

    Example:
        >>> import torch
        >>> zeros = torch.zeros(4, 1)
        >>> MIWAE(groups=2, particles=4).bound(Terms(zeros - 3, zeros, zeros))
        tensor([-3.])
    """

    def bound(self, terms: Terms) -> Tensor:
        return self.of_groups(terms.log_weights())


class PIWAE(_Grouped):
    r"""The decoder maximises IWAE with all M K particles, the encoder MIWAE with M groups of K.

    A tighter bound is better for the model's parameters, while the signal-to-noise ratio of the
    guide's gradient falls as K grows. So each gets the bound that is better for it. The
    objective's value and `bound` are those of IWAE; only the gradient differs.

    Arguments:
        groups: M.
        particles: M K, the total number of samples for each row; a multiple of `groups`.

    Raises:
        InputError: as for `MIWAE`.

    Reference:
        Rainforth et al. (2018), "Tighter Variational Bounds are Not Necessarily Better".
    """

    def bound(self, terms: Terms) -> Tensor:
        return terms.log_mean_w()

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms, joint = pair.terms(), pair.joint_apart()
        log_v = 0.0 if terms.log_v is None else terms.log_v
        # `joint` has the gradient of the model only; the rest of log w has that of the guide only.
        of_model = log_mean_exp(joint + (log_v - terms.log_qz).detach(), 0)
        of_guide = self.of_groups(terms.log_w - joint + joint.detach() + log_v)
        return weighted(in_place_of(self.bound(terms), of_model + of_guide), terms, kl_weight)


class CIWAE(Objective):
    r"""A weighted mean of two bounds, \(\beta\, \mathrm{ELBO} + (1 - \beta)\, \mathrm{IWAE}\).

    Arguments:
        particles: K, for both.
        beta: the share of the ELBO, from 0 to 1.

    Raises:
        InputError: if `particles` is below 1 or `beta` is outside [0, 1].

    Reference:
        Rainforth et al. (2018), "Tighter Variational Bounds are Not Necessarily Better".

    Example:
        >>> import torch
        >>> zeros = torch.zeros(2, 1)
        >>> CIWAE(particles=2, beta=1.0).bound(Terms(torch.tensor([[0.0], [-2.0]]), zeros, zeros))
        tensor([-1.])
    """

    def __init__(self, particles: int = 16, beta: float = 0.05) -> None:
        super().__init__(particles)
        self.beta = number("beta", beta, least=0, most=1)
        self.is_exact_when_summed_out = beta == 0

    def bound(self, terms: Terms) -> Tensor:
        return self.beta * terms.mean(terms.log_w) + (1 - self.beta) * terms.log_mean_w()
