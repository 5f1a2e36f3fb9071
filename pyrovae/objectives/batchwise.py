r"""Objectives that look at the aggregated posterior q(z) = (1/N) sum_n q(z|x_n), through the batch.

    KL(q(z|x) || p(z)) averaged over the data = I_q(x; z) + TC(z) + sum_d KL(q(z_d) || p(z_d))

    BetaTC   weighs the three terms          Factor   finds TC by a classifier
    DIP      wants the covariance of q(z) to be I      MMD   compares draws of q(z) with draws of p(z)

What a datum is worth here depends on its batch, so none of these is a bound on log p(x); `bound` stays the
ELBO.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.objectives.base import Objective, at_least_one, not_negative, weighted
from pyrovae.objectives.elbo import is_product, per_latent
from pyrovae.terms import Latent, Terms, TracePair

__all__ = ["DIP", "MMD", "BetaTC", "Batchwise"]


class Batchwise(Objective):
    """Base class: the ELBO minus a penalty that a batch has as a whole."""

    stratified = False
    of_batch = True

    def bound(self, terms: Terms) -> Tensor:
        return terms.mean(terms.log_w)

    @abstractmethod
    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        """What is taken off the ELBO, () or (B,)."""

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        terms = pair.terms()
        found = self.bound(terms) - self.penalty(pair.latent(type(self).__name__), terms)
        return weighted(found, terms, kl_weight)

    def check(self, pair: TracePair) -> None:
        super().check(pair)
        with torch.no_grad():
            self.penalty(pair.latent(type(self).__name__), pair.terms())


class BetaTC(Batchwise):
    r"""The ELBO with weights on mutual information, total correlation and dimension-wise divergence.

    \[\mathbb E_q[\log p(x|z)] - \alpha\, I_q(x; z) - \beta\, \mathrm{KL}\Big(q(z) \Big\| \prod_d q(z_d)\Big)
    - \gamma \sum_d \mathrm{KL}(q(z_d) \| p(z_d))\]

    q(z) is estimated from the batch by minibatch-weighted sampling,
    \(\log q(z_i) \approx \log \frac1{NB} \sum_j q(z_i|x_j)\) with N training data.

    Arguments:
        beta: of the total correlation.
        alpha: of the mutual information.
        gamma: of the dimension-wise divergence.
        particles: K, draws for each datum.

    Raises:
        InputError: when `particles` is below 1 or a weight negative; by `fit`, for a guide whose latents
            depend on each other.

    Reference:
        Chen, Li, Grosse & Duvenaud (2018), "Isolating Sources of Disentanglement in Variational
        Autoencoders".

    Example:
        >>> ones = torch.ones(2, 3)
        >>> BetaTC().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    def __init__(self, beta: float = 6.0, alpha: float = 1.0, gamma: float = 1.0, particles: int = 1) -> None:
        self.beta = not_negative("BetaTC", "beta", beta)
        self.alpha = not_negative("BetaTC", "alpha", alpha)
        self.gamma = not_negative("BetaTC", "gamma", gamma)
        self.particles = at_least_one(particles)

    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        whole, product = self.aggregated(latent)
        information = terms.log_qz - whole
        correlation = whole - product
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
                f"{type(self).__name__} needs a guide with independent latents, as DiagonalNormal: that of "
                "this program ties them together"
            )
        z = latent.value.transpose(0, 1).unsqueeze(-2)  # (B, K, 1, D), under laws of batch (K, B)
        of_pairs = per_latent(latent.q, z)  # (B, K, B, D): the draws of datum i under the law of datum j
        count = of_pairs.shape[-2]
        scale = math.log(count * self.rows)
        whole = torch.logsumexp(of_pairs.sum(-1), -1) - scale
        product = (torch.logsumexp(of_pairs, -2) - scale).sum(-1)
        return whole.mT, product.mT


class DIP(Batchwise):
    r"""The ELBO, and a covariance of the aggregated posterior that shall be the identity.

    \[\mathrm{ELBO} - \lambda_{od} \sum_{i \ne j} C_{ij}^2 - \lambda_d \sum_i (C_{ii} - 1)^2\]

    C is \(\mathrm{Cov}_x[\mu(x)]\) for kind "I", and with \(\mathbb E_x[\Sigma(x)]\) added, the whole
    covariance of q(z), for kind "II".

    Arguments:
        kind: "I" or "II".
        off_diagonal: \(\lambda_{od}\).
        diagonal: \(\lambda_d\).
        particles: K, draws for each datum.

    Raises:
        InputError: for another kind or a negative weight; by `fit`, for a guide whose mean, or for kind
            "II" covariance, is not known.

    Reference:
        Kumar, Sattigeri & Balakrishnan (2018), "Variational Inference of Disentangled Latent Concepts from
        Unlabeled Observations".

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
        self.kind = kind
        self.off_diagonal = not_negative("DIP", "off_diagonal", off_diagonal)
        self.diagonal = not_negative("DIP", "diagonal", diagonal)
        self.particles = at_least_one(particles)
        if kind not in ("I", "II"):
            raise InputError(f"DIP is of kind 'I' or 'II', not {kind!r}")

    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        covariance = self.covariance(latent)
        diagonal = torch.diagonal(covariance)
        off = covariance.square().sum() - diagonal.square().sum()
        return self.off_diagonal * off + self.diagonal * (diagonal - 1).square().sum()

    def covariance(self, latent: Latent) -> Tensor:
        """C, (D, D).

        Raises:
            InputError: for a guide that knows no mean, or for kind "II" no covariance.
        """
        try:
            mean = latent.q.mean[0]
            inside = 0.0 if self.kind == "I" else _covariance(latent.q)[0].mean(0)
        except NotImplementedError:
            raise InputError(
                "DIP needs a guide with a known mean and covariance, as DiagonalNormal or FullRankNormal"
            ) from None
        centred = mean - mean.mean(0)
        return centred.mT @ centred / len(mean) + inside


class MMD(Batchwise):
    r"""The InfoVAE: the aggregated posterior is compared with the prior by maximum mean discrepancy.

    \[\mathbb E_q[\log p(x|z)] - (1 - \alpha)\, \mathrm{KL}(q(z|x) \| p(z))
    - (\alpha + \lambda - 1)\, \mathrm{MMD}^2(q(z), p(z))\]

    with the kernel \(\exp(-\|a - b\|^2 / 2h^2)\) and the unbiased estimate over the draws of the batch. A
    learned prior whose draws are not reparameterised (a mixture) is not moved by the discrepancy.

    Arguments:
        alpha: how much of the divergence is left out; 1 leaves none of it.
        lambda_: \(\lambda\).
        bandwidth: h; the square root of the size of z unless given.
        particles: K, draws for each datum.

    Raises:
        InputError: when `particles` is below 1, a number is negative, or the weight of the discrepancy is.

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
        self.alpha = not_negative("MMD", "alpha", alpha)
        self.lambda_ = not_negative("MMD", "lambda_", lambda_)
        self.bandwidth = bandwidth
        self.particles = at_least_one(particles)
        if alpha + lambda_ < 1:
            raise InputError(f"MMD needs alpha + lambda_ of 1 or more, not {alpha} + {lambda_}")
        if bandwidth is not None and not bandwidth > 0:
            raise InputError(f"MMD needs a bandwidth above 0, not {bandwidth}")

    def penalty(self, latent: Latent, terms: Terms) -> Tensor:
        kl = terms.mean(terms.log_qz - terms.log_pz)
        drawn = latent.p.rsample() if latent.p.has_rsample else latent.p.sample()
        discrepancy = self.discrepancy(latent.value.flatten(0, 1), drawn.flatten(0, 1))
        return (self.alpha + self.lambda_ - 1) * discrepancy - self.alpha * kl

    def discrepancy(self, a: Tensor, b: Tensor) -> Tensor:
        """The unbiased estimate of MMD^2 from draws (m, D) and (n, D), which may be below zero.

        A single draw, as in a last batch of one datum, says nothing of a spread: zero then.
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


def _covariance(law: Any) -> Tensor:  # noqa: ANN401
    """The covariance of each row, (K, B, D, D)."""
    if is_product(law):
        return torch.diag_embed(law.variance)
    full = getattr(law, "covariance_matrix", None)
    if full is None:  # the variances of a law whose entries hang together are not its covariance
        raise NotImplementedError
    return full
