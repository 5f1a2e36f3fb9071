r"""Bounds from several importance weights.

IWAE_K = log (1/K) sum_k w_k            Renyi_a = 1/(1-a) log (1/K) sum_k w_k^(1-a)
MIWAE  = the mean of M IWAEs of K       CIWAE = b ELBO + (1 - b) IWAE
PIWAE:   IWAE for the decoder, MIWAE for the encoder

ELBO <= MIWAE <= IWAE <= log p(x)       the tighter the bound, the noisier the guide's gradient

If the guide has strata (the S components of a mixture), IWAE, CIWAE and Renyi take K samples from
each, and the bound is that of S K stratified samples. For S strata with weights pi_c and the
Laplace transforms f_c of their importance weights, exp(-t mean w) has the expectations

    plain        (sum_c pi_c f_c(t / K))^K
    stratified   prod_c f_c(pi_c t / K)^K  <=  prod_c f_c(t / K)^(pi_c K)  <=  the plain one

So the stratified bound lies between L_K and log p(x). MIWAE and PIWAE give the guide a looser bound
on purpose. They take plain samples, so each group is that of their definitions.

Reference:
    Morningstar, Vikram, Ham, Gallagher & Dillon (2021), "Automatic Differentiation Variational
    Inference with Mixtures" (the stratified bound).
"""

from __future__ import annotations

from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.errors import InputError
from pyrovae.numerics import log_mean_exp
from pyrovae.objectives.base import Objective, in_place_of, weighted
from pyrovae.terms import Terms, TracePair

__all__ = ["CIWAE", "IWAE", "MIWAE", "PIWAE", "Renyi"]


class _Averaged(Objective):
    """Base class of bounds with the logarithm of a mean over particles."""

    takes_globals = True

    def note(self, strata: int) -> str:
        if strata == 1:
            return ""
        return (
            f"{self!r} takes {self.particles} samples from each of the {strata} strata of the guide: its "
            f"bound is that of {self.particles * strata} stratified samples, which is at least as close to "
            f"its limit as that of {self.particles} plain ones"
        )


class IWAE(_Averaged):
    r"""The importance-weighted bound, which grows with the number of particles towards log p(x).

    \[\mathcal L_K = \mathbb E_{z_1..z_K \sim q}
    \Big[\log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}\Big] \le \log p(x)\]

    If the guide has strata, K samples are taken from each, and the bound lies between
    \(\mathcal L_K\) and log p(x).

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


class Renyi(_Averaged):
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
    """Base class of objectives with M groups of particles.

    Samples are plain: a group of stratified particles would contain only some of the strata, or
    not have K particles.
    """

    stratified = False

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

    def refuse_strata(self, terms: Terms) -> None:
        """Refuse stratified samples, whose weights are not those of a group.

        Raises:
            InputError: if the samples are stratified.
        """
        if terms.log_v is not None:
            raise InputError(
                f"{type(self).__name__} needs plain samples, and these are stratified: run the guide with "
                "stratified=False"
            )


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

    takes_globals = True

    def bound(self, terms: Terms) -> Tensor:
        self.refuse_strata(terms)
        return self.of_groups(terms.log_w)


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

    chosen_by_bound = True  # only the gradient differs

    def bound(self, terms: Terms) -> Tensor:
        self.refuse_strata(terms)
        return terms.log_mean_w()

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms, joint = pair.terms(), pair.joint_apart()
        # `joint` has the gradient of the model only; the rest of log w has that of the guide only.
        of_model = log_mean_exp(joint - terms.log_qz.detach(), 0)
        of_guide = self.of_groups(terms.log_w - joint + joint.detach())
        return weighted(in_place_of(self.bound(terms), of_model + of_guide), terms, kl_weight)


class CIWAE(_Averaged):
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
