r"""One-dimensional marginals of laws over latents, for a KL divergence of each latent.

    KL_j = KL(q_j(z_j|x) || p_j(z_j))

Where guide and prior are products over the latents these add up to KL(q || p). A product, a normal with
full covariance and a mixture of products have marginals that are known; any other law (a flow) has none
that could be written down, and then the answer is "not known", never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import RegressedNormal

__all__ = ["MarginalKL", "kl_of_marginals", "means"]


class MarginalKL(NamedTuple):
    """KL of each datum and latent, (N, D); how it was found; whether it sums to the KL over the latents."""

    kl: Tensor
    method: str
    factorised: bool


def kl_of_marginals(q: Any, p: Any, z: Tensor) -> MarginalKL:  # noqa: ANN401
    """The KL divergence between the marginals of q(z|x) and p(z).

    Arguments:
        q: the law of N data, batch (N,), event (D,).
        p: the prior, batch () or (N,).
        z: draws from q, (S, N, D), for what has no closed form.

    Example:
        >>> q = dist.Normal(torch.ones(3, 2), 1.0).to_event(1)
        >>> p = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        >>> found = kl_of_marginals(q, p, q.sample((5,)))
        >>> found.kl[0].tolist(), found.method
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
    log_q, log_p = _log_marginals(q), _log_marginals(p)
    if log_q is None or log_p is None:
        return MarginalKL(torch.full(z.shape[1:], math.nan, dtype=torch.float64), "", factorised)
    return MarginalKL((log_q(z).double() - log_p(z).double()).mean(0), "draws", factorised)


def means(law: Any) -> Tensor | None:  # noqa: ANN401
    """E[z], (N, D), where the law knows it."""
    try:
        mean = law.mean
    except NotImplementedError:
        return None
    return mean if bool(torch.isfinite(mean).all()) else None


def _factors(law: Any) -> Any:  # noqa: ANN401
    """The laws of the single latents, batch (*, D), when the law is their product."""
    if not isinstance(law, torch.distributions.Independent) or law.reinterpreted_batch_ndims != 1:
        return None
    return law.base_dist if not law.base_dist.event_shape else None


def _univariate(law: Any) -> Any:  # noqa: ANN401
    """The marginals as one distribution of batch (*, D), where they are of one kind."""
    if isinstance(law, (torch.distributions.MultivariateNormal, RegressedNormal)):
        return dist.Normal(law.mean, law.variance.sqrt())
    return _factors(law)


def _log_marginals(law: Any) -> Callable[[Tensor], Tensor] | None:  # noqa: ANN401
    """The function from z (*, D) to the log-densities of the marginals at it, (*, D)."""
    one = _univariate(law)
    if one is not None:
        return one.log_prob
    if not isinstance(law, torch.distributions.MixtureSameFamily):
        return None
    inner = _log_marginals(law.component_distribution)
    if inner is None:
        return None
    log_weights = torch.log_softmax(law.mixture_distribution.logits, -1).unsqueeze(-1)
    return lambda z: torch.logsumexp(inner(z.unsqueeze(-2)) + log_weights, -2)
