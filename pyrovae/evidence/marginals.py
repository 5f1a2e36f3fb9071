r"""One-dimensional marginals of distributions over latents, for the KL divergence of each latent.

    KL_j = KL(q_j(z_j|x) || p_j(z_j))

If guide and prior are products over the latents, these add up to KL(q || p). A product, a normal
with full covariance and a mixture of products have known marginals. For any other distribution
(such as a flow) the result is "not known".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import RegressedNormal

__all__ = ["MarginalKL", "kl_of_marginals", "log_marginals_of", "means"]


class MarginalKL(NamedTuple):
    """KL of each row and latent, (N, D); how it was computed; whether it adds up to the KL."""

    kl: Tensor
    method: str
    factorised: bool


def kl_of_marginals(q: Any, p: Any, z: Tensor) -> MarginalKL:  # noqa: ANN401
    """The KL divergence between the marginals of q(z|x) and p(z).

    Arguments:
        q: the guide's distribution for N rows, batch (N,), event (D,).
        p: the prior, batch () or (N,).
        z: samples of q, (S, N, D), used if there is no closed form.

    Example:
        >>> q = dist.Normal(torch.ones(3, 2), 1.0).to_event(1)
        >>> p = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        >>> marginals = kl_of_marginals(q, p, q.sample((5,)))
        >>> marginals.kl[0].tolist(), marginals.method
        ([0.5, 0.5], 'closed form')
    """
    factorised = _factors(q) is not None and _factors(p) is not None
    one_q, one_p = _univariate(q), _univariate(p)
    if one_q is not None and one_p is not None:
        try:
            kl = torch.distributions.kl_divergence(one_q, one_p)
            return MarginalKL(kl.double().expand(z.shape[1:]), "closed form", factorised)
        except NotImplementedError:
            pass
    log_q, log_p = log_marginals_of(q), log_marginals_of(p)
    if log_q is None or log_p is None:
        return MarginalKL(torch.full(z.shape[1:], math.nan, dtype=torch.float64), "", factorised)
    return MarginalKL((log_q(z).double() - log_p(z).double()).mean(0), "samples", factorised)


def means(q: Any) -> Tensor | None:  # noqa: ANN401
    """E[z], (N, D), or None if the distribution does not know it."""
    try:
        mean = q.mean
    except NotImplementedError:
        return None
    return mean if bool(torch.isfinite(mean).all()) else None


def _factors(q: Any) -> Any:  # noqa: ANN401
    """The distributions of the single latents, batch (*, D), if q is their product."""
    if not isinstance(q, torch.distributions.Independent) or q.reinterpreted_batch_ndims != 1:
        return None
    return q.base_dist if not q.base_dist.event_shape else None


def _univariate(q: Any) -> Any:  # noqa: ANN401
    """The marginals as one distribution of batch (*, D), if they are of one kind."""
    if isinstance(q, (torch.distributions.MultivariateNormal, RegressedNormal)):
        return dist.Normal(q.mean, q.variance.sqrt())
    return _factors(q)


def log_marginals_of(q: Any) -> Callable[[Tensor], Tensor] | None:  # noqa: ANN401
    """The function from z (*, D) to the log-densities of the marginals at it, (*, D)."""
    one = _univariate(q)
    if one is not None:
        return one.log_prob
    if not isinstance(q, torch.distributions.MixtureSameFamily):
        return None
    inner = log_marginals_of(q.component_distribution)
    if inner is None:
        return None
    log_weights = torch.log_softmax(q.mixture_distribution.logits, -1).unsqueeze(-1)
    return lambda z: torch.logsumexp(inner(z.unsqueeze(-2)) + log_weights, -2)
