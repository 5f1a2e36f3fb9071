r"""Likelihoods of counts.

    Poisson            log p = x log m - m - log x!                         Var = m
    NegativeBinomial   a Poisson whose rate is Gamma                        Var = m + a m^2
    ZeroInflated...    p(0) = g + (1 - g) NB(0),  p(x) = (1 - g) NB(x)      additional zeros
    Multinomial        log p = log n! - sum log x_i! + sum x_i log p_i      shares, given a total

Rates are `positive` of the decoder's output: it grows linearly and does not overflow. All four
use the saddle-point form (`pyrovae.distributions.counts`), accurate to single precision for counts
of any size. Give counts above 16,777,216 in float64, as float32 would round them.
"""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import distributions
from pyrovae.likelihoods.base import Likelihood, Shape
from pyrovae.numerics import inverse_positive, positive

__all__ = ["Multinomial", "NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial"]

_COUNTS = "every value must be a whole number of 0 or more: round the data, or use Normal"
# With a smaller dispersion, the distribution is practically Poisson.
DISPERSION_FLOOR = 1e-3


class Poisson(Likelihood):
    r"""Independent counts, \(p(x|z) = \prod_i e^{-m_i} m_i^{x_i} / x_i!\).

    The decoder gives the rates \(m_i\).

    Reference:
        Gopalan, Hofman & Blei (2015), "Scalable recommendation with hierarchical Poisson
        factorization".

    Example:
        >>> likelihood = Poisson()
        >>> likelihood.attach((4,))
        >>> likelihood(raw_rate=torch.zeros(5, 4)).log_prob(torch.ones(5, 4)).shape
        torch.Size([5])
    """

    advice = _COUNTS
    elementwise = ("raw_rate",)
    takes_doubles = True

    def forward(self, raw_rate: Tensor) -> dist.TorchDistribution:
        return self.over_event(distributions.Poisson(positive(raw_rate)))


class NegativeBinomial(Likelihood):
    r"""Independent counts with means \(m_i\) and variances \(m_i + a_i m_i^2\), above Poisson's.

    \[p(x) = \frac{\Gamma(x + r)}{\Gamma(r)\, x!} \Big(\frac{r}{r + m}\Big)^r
      \Big(\frac{m}{r + m}\Big)^x, \qquad r = 1 / a\]

    Arguments:
        dispersion: "learned", one \(a_i\) for each element; or "predicted", from the decoder. It is
            at least 0.001, where the distribution is practically a Poisson distribution.

    Raises:
        InputError: for an unknown `dispersion`.

    Reference:
        Lopez et al. (2018), "Deep generative modeling for single-cell transcriptomics".

    Example:
        >>> likelihood = NegativeBinomial()
        >>> likelihood.attach((4,))
        >>> likelihood(raw_mean=torch.zeros(5, 4)).log_prob(torch.ones(5, 4)).shape
        torch.Size([5])
    """

    advice = _COUNTS
    takes_doubles = True

    def __init__(self, dispersion: Literal["learned", "predicted"] = "learned") -> None:
        super().__init__()
        self.dispersion = dispersion

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        self.check_one_of("dispersion", ("learned", "predicted"))
        if self.dispersion == "learned":
            self.raw_dispersion = nn.Parameter(torch.full(self.event_shape, inverse_positive(1.0)))

    @property
    def param_shapes(self) -> dict[str, Shape]:
        names = ["raw_mean", *(["raw_dispersion"] if self.dispersion == "predicted" else [])]
        return dict.fromkeys(names, self.event_shape)

    def forward(self, raw_mean: Tensor, raw_dispersion: Tensor | None = None) -> dist.TorchDistribution:
        return self.over_event(self.counts(raw_mean, raw_dispersion))

    def counts(self, raw_mean: Tensor, raw_dispersion: Tensor | None) -> distributions.NegativeBinomial:
        """The distribution of each element, from r and m."""
        raw = self.raw_dispersion if raw_dispersion is None else raw_dispersion
        return distributions.NegativeBinomial(
            positive(raw, DISPERSION_FLOOR).reciprocal(), positive(raw_mean)
        )


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    r"""Independent counts, zero with additional probability \(g_i\), else negative binomial.

    \[p(0) = g + (1 - g)\, \mathrm{NB}(0), \qquad p(x) = (1 - g)\, \mathrm{NB}(x) \quad (x > 0)\]

    Arguments:
        dispersion: as for `NegativeBinomial`.

    Raises:
        InputError: for an unknown `dispersion`.

    Reference:
        Greene (1994), "Accounting for excess zeros and sample selection in Poisson and negative
        binomial regression models"; Lopez et al. (2018), "Deep generative modeling for single-cell
        transcriptomics".

    Example:
        >>> likelihood = ZeroInflatedNegativeBinomial()
        >>> likelihood.attach((4,))
        >>> zeros = torch.zeros(5, 4)
        >>> likelihood(raw_mean=zeros, gate_logits=zeros).log_prob(zeros).shape
        torch.Size([5])
    """

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return super().param_shapes | {"gate_logits": self.event_shape}

    def forward(  # type: ignore[override]
        self, raw_mean: Tensor, gate_logits: Tensor, raw_dispersion: Tensor | None = None
    ) -> dist.TorchDistribution:
        counts = self.counts(raw_mean, raw_dispersion)
        return self.over_event(distributions.ZeroInflated(counts, gate_logits=gate_logits))


class Multinomial(Likelihood):
    r"""The counts of an event given their total n, \(p(x|z, n) = n! \prod_i p_i^{x_i} / x_i!\).

    Each row has its own total. So for a document, log p(x) is the probability of the shares of its
    words, not of their number. The decoder gives the logits of the shares \(p_i\).

    Arguments:
        total: the total that every row must have. With None each row has its own, and a sample has
            the mean total of the training data (1 before training).

    Raises:
        InputError: for a total below 1.

    Reference:
        Miao, Yu & Blunsom (2016), "Neural variational inference for text processing"; Liang et al.
        (2018), "Variational autoencoders for collaborative filtering".

    Example:
        >>> likelihood = Multinomial()
        >>> likelihood.attach((2,))
        >>> likelihood(logits=torch.zeros(1, 2)).log_prob(torch.tensor([[1.0, 1.0]])).exp()
        tensor([0.5000])
    """

    elementwise = ("logits",)
    takes_doubles = True
    takes_missing = False
    drawn: Tensor

    def __init__(self, total: int | None = None) -> None:
        super().__init__()
        self.total = total

    @property
    def advice(self) -> str:  # type: ignore[override]
        """What to do about values outside the support."""
        return _COUNTS if self.total is None else f"every row must be counts with the sum {self.total}"

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        if self.total is not None:
            self.check_whole("total")
        self.register_buffer("drawn", torch.tensor(float(self.total or 1)))

    def start_from(self, x: Tensor) -> None:
        if self.total is None:
            self.drawn.copy_(x.flatten(1).sum(1).mean().round().clamp(min=1))

    def forward(self, logits: Tensor) -> dist.TorchDistribution:
        return distributions.Multinomial(logits, len(self.event_shape), self.drawn, self.total)
