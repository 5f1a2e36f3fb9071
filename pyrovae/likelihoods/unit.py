"""Likelihoods of elements in the unit interval: binary and grey pixels, fractions.

Bernoulli             p(x) = p^x (1 - p)^(1 - x)                      0 and 1
ContinuousBernoulli   p(x) = C(l) l^x (1 - l)^(1 - x)                 on [0, 1]
Beta                  p(x) = x^(a - 1) (1 - x)^(b - 1) / B(a, b)      on (0, 1)
"""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyrovae import distributions
from pyrovae.likelihoods.base import Likelihood
from pyrovae.numerics import SCALE_FLOOR, inverse_positive, positive

__all__ = ["Bernoulli", "Beta", "ContinuousBernoulli"]

# Two pseudo-counts: with a mean of 1/2 this is the uniform distribution.
UNIFORM = inverse_positive(2.0)


class Bernoulli(Likelihood):
    r"""Independent binary elements, \(p(x|z) = \prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}\).

    The decoder gives the logits of \(p_i\).

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes", appendix C.1.

    Example:
        >>> import torch
        >>> likelihood = Bernoulli()
        >>> likelihood.attach((1, 8, 8))
        >>> likelihood(logits=torch.zeros(5, 1, 8, 8)).log_prob(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5])
    """

    advice = "every value must be 0 or 1: binarise them (binarize='threshold') or use ContinuousBernoulli"
    elementwise = ("logits",)

    def forward(self, logits: Tensor) -> dist.TorchDistribution:
        return self.over_event(distributions.Bernoulli(logits=logits))


class ContinuousBernoulli(Likelihood):
    r"""Independent elements in [0, 1].

    \[p(x|z) = \prod_i C(\lambda_i) \lambda_i^{x_i} (1 - \lambda_i)^{1 - x_i}\]

    The normalising constant \(C\) is missing from a Bernoulli likelihood on grey pixels. The
    decoder gives the logits of \(\lambda_i\), of any size: the density is computed from them
    directly (`pyrovae.distributions.ContinuousBernoulli`).

    At exactly 0 and 1 the density is unbounded: it grows with the size of the logit. If many
    values are 0 or 1, as in grey images, log p(x) keeps growing during training and is dominated
    by these values. Use `DiscretizedLogistic` for integer levels, or load the images with
    dequantize=True.

    Reference:
        Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli".

    Example:
        >>> import torch
        >>> likelihood = ContinuousBernoulli()
        >>> likelihood.attach((4,))
        >>> likelihood(logits=torch.zeros(5, 4)).log_prob(torch.full((5, 4), 0.3))
        tensor([0., 0., 0., 0., 0.])
    """

    advice = "every value must lie in [0, 1]: scale the data, or use Normal"
    elementwise = ("logits",)
    fill = 0.5

    def forward(self, logits: Tensor) -> dist.TorchDistribution:
        return self.over_event(distributions.ContinuousBernoulli(logits))


class Beta(Likelihood):
    r"""Independent elements in (0, 1), \(p(x_i|z) = \mathrm{Beta}(m_i c_i, (1 - m_i) c_i)\).

    The decoder gives the logits of the means \(m_i\), and the concentrations \(c_i\). If both
    outputs are zero, the distribution is uniform. At 0 or 1 the density may be infinite, so these
    values are refused.

    Reference:
        Ferrari & Cribari-Neto (2004), "Beta regression for modelling rates and proportions".

    Example:
        >>> import torch
        >>> likelihood = Beta()
        >>> likelihood.attach((4,))
        >>> beta = likelihood(logits=torch.zeros(5, 4), raw_concentration=torch.zeros(5, 4))
        >>> beta.log_prob(torch.full((5, 4), 0.3)).abs().max() < 0.01
        tensor(True)
    """

    advice = (
        "every value must be above 0 and below 1: load 8-bit images with dequantize=True, use "
        "ContinuousBernoulli, or move N values inwards by (x (N - 1) + 1/2) / N"
    )
    elementwise = ("logits", "raw_concentration")
    takes_doubles = True
    fill = 0.5

    def forward(self, logits: Tensor, raw_concentration: Tensor) -> dist.TorchDistribution:
        concentration = positive(raw_concentration + UNIFORM)
        # From both ends, since 1 - sigmoid loses small numbers, as does the derivative of sigmoid
        # (that of logsigmoid does not). The floor keeps both above 0.
        a, b = (concentration * logsigmoid(side).exp() + SCALE_FLOOR for side in (logits, -logits))
        return self.over_event(distributions.Beta(a, b))
