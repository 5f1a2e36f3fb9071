r"""Ordered classes: a location on the line, and cutpoints between the classes.

    P(x <= k | z) = sigmoid(c_k - loc),  c_0 < c_1 < ... < c_(K-2)

The decoder gives loc; the cutpoints are learned parameters.

Reference:
    McCullagh (1980), "Regression models for ordinal data".
"""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from pyrovae import distributions
from pyrovae.likelihoods.base import Likelihood, Shape

__all__: list[str] = []  # a kind of column of `Mixed`


class _Ordinal(Likelihood):
    r"""Ordered classes of each element, \(P(x_i \le k | z) = \mathrm{sigmoid}(c_{ik} - \eta_i)\).

    The decoder gives one location \(\eta_i\) for each element; the K - 1 cutpoints \(c_{i0} <
    c_{i1} < ...\) are learned parameters of the element. A higher location moves probability to
    higher classes. Values are 0 .. K - 1.

    Arguments:
        classes: the number K of classes, 2 or more.

    Raises:
        InputError: for fewer than two classes.

    Reference:
        McCullagh (1980), "Regression models for ordinal data".

    Example:
        >>> likelihood = _Ordinal(classes=4)
        >>> likelihood.attach((1,))
        >>> p = likelihood(loc=torch.zeros(5, 1))
        >>> p.log_prob(torch.full((5, 1), 3.0)).exp()
        tensor([0.2500, 0.2500, 0.2500, 0.2500, 0.2500], grad_fn=<ExpBackward0>)
    """

    elementwise = ("loc",)

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.classes = classes

    @property
    def advice(self) -> str:  # type: ignore[override]
        """What to do with other values."""
        return f"every value must be a whole number from 0 to {self.classes - 1}: number the classes so"

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        self.check_whole("classes", least=2)
        count = self.classes
        even = torch.tensor([math.log(k / (count - k)) for k in range(1, count)])  # classes alike at loc 0
        first, steps = even[:1], even.diff()
        raw = torch.cat([first, steps.expm1().log()]) if count > 2 else first
        shape = (count - 1, *self.event_shape)
        self.raw_cutpoints = nn.Parameter(raw.view(-1, *(1 for _ in self.event_shape)).expand(shape).clone())

    @property
    def cutpoints(self) -> Tensor:
        """The cutpoints of each element, ascending, (K - 1, *event)."""
        return torch.cat([self.raw_cutpoints[:1], softplus(self.raw_cutpoints[1:])]).cumsum(0)

    def forward(self, loc: Tensor) -> dist.TorchDistribution:
        cuts = self.cutpoints.movedim(0, -1) - loc.unsqueeze(-1)
        return self.over_event(distributions.Levels(_log_probs(cuts), grey=False))


def _log_probs(cuts: Tensor) -> Tensor:
    r"""Log-probabilities of the K intervals between cuts (*, K - 1) of a logistic variable, (*, K).

    Nothing cancels in sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)).
    """
    below, above = cuts[..., :-1], cuts[..., 1:]
    between = logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(below - above))
    return torch.cat([logsigmoid(cuts[..., :1]), between, logsigmoid(-cuts[..., -1:])], -1)
