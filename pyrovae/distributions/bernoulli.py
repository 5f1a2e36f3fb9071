r"""The Bernoulli distribution from logits, faster than torch's.

    log Bernoulli(x; l) = x l - softplus(l)         l the logit

torch computes the same number through `binary_cross_entropy_with_logits`, which takes several passes over
memory and is not vectorised on a CPU; for images this took as long as the decoder's products.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["Bernoulli"]


class Bernoulli(dist.Bernoulli):
    """Bernoulli from logits, whose log-density is two vectorised passes.

    Example:
        >>> Bernoulli(logits=torch.zeros(2)).log_prob(torch.ones(2))
        tensor([-0.6931, -0.6931])
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), elementwise, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        # Above the threshold torch takes softplus(l) = l: at 40 that is exact in float64 too.
        normaliser = softplus(self.logits, threshold=40.0)
        fits = torch.broadcast_shapes(normaliser.shape, value.shape) == normaliser.shape
        if torch.is_grad_enabled() or not fits:
            return value * self.logits - normaliser
        return normaliser.neg_().addcmul_(value, self.logits)  # saves a pass over memory
