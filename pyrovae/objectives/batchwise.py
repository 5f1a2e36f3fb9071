r"""Objectives with the aggregated posterior q(z) = (1/N) sum_n q(z|x_n), estimated per batch.

    KL(q(z|x) || p(z)) averaged over the data = I_q(x; z) + TC(z) + sum_d KL(q(z_d) || p(z_d))

    BetaTC   a weight for each of the three terms
    DIP      the covariance of q(z) is pushed towards I
    MMD      samples of q(z) are compared with samples of p(z)
    Factor   TC is estimated by a classifier (see `factor`)

They couple the rows of a batch, so none of them is a bound on log p(x); `bound` is the ELBO.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from pyrovae.checks import number, one_of
from pyrovae.errors import InputError
from pyrovae.objectives.base import Objective, weighted
from pyrovae.objectives.elbo import is_product, per_latent
from pyrovae.terms import Latent, Terms, TracePair

__all__ = ["DIP", "MMD", "Batchwise", "BetaTC"]


class Batchwise(Objective):
    """Base class: the ELBO minus a penalty on the batch as a whole."""

    stratified = False
    of_batch = True

    @abstractmethod
    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        """The penalty to subtract from the ELBO, () or (B,)."""

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms = pair.terms()
        penalised = self.bound(terms) - self.penalty(pair.latent(type(self).__name__), terms)
        return weighted(penalised, terms, kl_weight)


class BetaTC(Batchwise):
    r"""The ELBO with weights on mutual information, total correlation and dimension-wise KL.

    \[\mathbb E_q[\log p(x|z)] - \alpha\, I_q(x; z)
    - \beta\, \mathrm{KL}\Big(q(z) \Big\| \prod_d q(z_d)\Big)
    - \gamma \sum_d \mathrm{KL}(q(z_d) \| p(z_d))\]

    q(z) is estimated from the batch by minibatch-weighted sampling,
    \(\log q(z_i) \approx \log \frac1{NB} \sum_j q(z_i|x_j)\) with N training rows.

    Arguments:
        beta: the weight of the total correlation.
        alpha: the weight of the mutual information.
        gamma: the weight of the dimension-wise divergence.
        particles: K, samples for each row.

    Raises:
        InputError: if `particles` is below 1 or a weight is negative; by `fit`, for a guide whose
            latents depend on each other. Outside `fit`, call `begin` first to set N.

    Reference:
        Chen, Li, Grosse & Duvenaud (2018), "Isolating Sources of Disentanglement in Variational
        Autoencoders".

    Example:
        >>> ones = torch.ones(2, 3)
        >>> BetaTC().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    def __init__(self, beta: float = 6.0, alpha: float = 1.0, gamma: float = 1.0, particles: int = 1) -> None:
        super().__init__(particles)
        self.beta = number("beta", beta, least=0)
        self.alpha = number("alpha", alpha, least=0)
        self.gamma = number("gamma", gamma, least=0)

    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        joint, product = self.aggregated(latent)
        information = terms.log_qz - joint
        correlation = joint - product
        dimensions = product - terms.log_pz
        off = (self.alpha - 1) * information + (self.beta - 1) * correlation
        return terms.mean(off + (self.gamma - 1) * dimensions)

    def aggregated(self, latent: Latent) -> tuple[Tensor, Tensor]:
        """log q(z) and sum_d log q(z_d) at each sample, both (K, B).

        Raises:
            InputError: before `begin`, and for a guide whose latents depend on each other.
        """
        if self.rows is None:
            raise InputError(
                f"{type(self).__name__} needs the number of training rows: call its begin(rows, program), or "
                "train with pv.fit"
            )
        if not is_product(latent.q):
            raise InputError(
                f"{type(self).__name__} needs a guide with independent latents, such as DiagonalNormal: "
                "those of this program depend on each other"
            )
        z = latent.value.transpose(0, 1).unsqueeze(-2)  # (B, K, 1, D), under distributions of batch (K, B)
        of_pairs = per_latent(latent.q, z)  # (B, K, B, D): the samples of row i under q(z|x) of row j
        scale = math.log(of_pairs.shape[-2] * self.rows)
        joint = torch.logsumexp(of_pairs.sum(-1), -1) - scale
        product = (torch.logsumexp(of_pairs, -2) - scale).sum(-1)
        return joint.mT, product.mT


class DIP(Batchwise):
    r"""The ELBO, with the covariance of the aggregated posterior pushed towards the identity.

    \[\mathrm{ELBO} - \lambda_{od} \sum_{i \ne j} C_{ij}^2 - \lambda_d \sum_i (C_{ii} - 1)^2\]

    C is \(\mathrm{Cov}_x[\mu(x)]\) for kind "I"; for kind "II" \(\mathbb E_x[\Sigma(x)]\) is added,
    so that it is the covariance of q(z).

    Arguments:
        kind: "I" or "II".
        off_diagonal: \(\lambda_{od}\).
        diagonal: \(\lambda_d\).
        particles: K, samples for each row.

    Raises:
        InputError: for an unknown kind or a negative weight; by `fit`, for a guide whose mean (or,
            for kind "II", covariance) is not known.

    Reference:
        Kumar, Sattigeri & Balakrishnan (2018), "Variational Inference of Disentangled Latent
        Concepts from Unlabeled Observations".

    Example:
        >>> ones = torch.ones(2, 3)
        >>> DIP("II").bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    def __init__(
        self,
        kind: Literal["I", "II"] = "I",
        off_diagonal: float = 10.0,
        diagonal: float = 5.0,
        particles: int = 1,
    ) -> None:
        super().__init__(particles)
        self.kind = one_of("kind", kind, ("I", "II"))
        self.off_diagonal = number("off_diagonal", off_diagonal, least=0)
        self.diagonal = number("diagonal", diagonal, least=0)

    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        covariance = self.covariance(latent)
        diagonal = torch.diagonal(covariance)
        off = covariance.square().sum() - diagonal.square().sum()
        return self.off_diagonal * off + self.diagonal * (diagonal - 1).square().sum()

    def covariance(self, latent: Latent) -> Tensor:
        """C, (D, D).

        Raises:
            InputError: for a guide without a known mean (or, for kind "II", covariance).
        """
        try:
            mean = latent.q.mean[0]
            inside = 0.0 if self.kind == "I" else _covariance(latent.q)[0].mean(0)
        except NotImplementedError:
            raise InputError(
                "DIP needs a guide with a known mean and covariance, such as DiagonalNormal or FullRankNormal"
            ) from None
        centred = mean - mean.mean(0)
        return centred.mT @ centred / len(mean) + inside


class MMD(Batchwise):
    r"""The InfoVAE: maximum mean discrepancy between the aggregated posterior and the prior.

    \[\mathbb E_q[\log p(x|z)] - (1 - \alpha)\, \mathrm{KL}(q(z|x) \| p(z))
    - (\alpha + \lambda - 1)\, \mathrm{MMD}^2(q(z), p(z))\]

    with the kernel \(\exp(-\|a - b\|^2 / 2h^2)\) and the unbiased estimate over the samples of the
    batch. The discrepancy does not train a prior whose samples are not reparameterised (a mixture).

    Arguments:
        alpha: the share of the KL divergence that is left out; with 1 it is left out completely.
        lambda_: \(\lambda\).
        bandwidth: h; by default the square root of the size of z.
        particles: K, samples for each row.

    Raises:
        InputError: if `particles` is below 1, or an option or the weight of the discrepancy is
            negative.

    Reference:
        Zhao, Song & Ermon (2019), "InfoVAE"; Gretton et al. (2012), "A Kernel Two-Sample Test".

    Example:
        >>> far = torch.tensor([[0.0], [0.0], [9.0], [9.0]])
        >>> MMD().discrepancy(far[:2], far[2:])
        tensor(2.)
    """

    def __init__(
        self,
        alpha: float = 0.0,
        lambda_: float = 10.0,
        bandwidth: float | None = None,
        particles: int = 1,
    ) -> None:
        super().__init__(particles)
        self.alpha = number("alpha", alpha, least=0)
        self.lambda_ = number("lambda_", lambda_, least=0)
        self.bandwidth = None if bandwidth is None else number("bandwidth", bandwidth, above=0, most=1e100)
        if alpha + lambda_ < 1:
            raise InputError(f"MMD needs alpha + lambda_ of 1 or more, not {alpha} + {lambda_}")

    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        kl = terms.mean(terms.log_qz - terms.log_pz)
        prior = latent.p.rsample() if latent.p.has_rsample else latent.p.sample()
        discrepancy = self.discrepancy(latent.value.flatten(0, 1), prior.flatten(0, 1))
        return (self.alpha + self.lambda_ - 1) * discrepancy - self.alpha * kl

    def discrepancy(self, a: Tensor, b: Tensor) -> Tensor:
        """The unbiased estimate of MMD^2 from samples (m, D) and (n, D), which may be below zero.

        It is zero for a single sample, as in a last batch of one row.
        """
        if min(len(a), len(b)) < 2:
            return a.new_zeros(())
        h2 = a.shape[-1] if self.bandwidth is None else self.bandwidth**2

        def kernel(u: Tensor, v: Tensor) -> Tensor:
            distance = u.square().sum(-1).unsqueeze(-1) + v.square().sum(-1) - 2 * u @ v.mT
            return torch.exp(-distance / (2 * h2))

        def own(u: Tensor) -> Tensor:
            return (kernel(u, u).sum() - len(u)) / (len(u) * (len(u) - 1))

        return own(a) + own(b) - 2 * kernel(a, b).mean()


def _covariance(q: Any) -> Tensor:  # noqa: ANN401
    """The covariance of each row, (K, B, D, D)."""
    if is_product(q):
        return torch.diag_embed(q.variance)
    full = getattr(q, "covariance_matrix", None)
    if full is None:  # the variances of dependent entries are not the covariance
        raise NotImplementedError
    return full
