"""Measurements of each element on its own: missing entries, noise, flips, rounding, functions."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.distributions import Bernoulli
from pyrovae.distributions.composed import Draw
from pyrovae.errors import InputError
from pyrovae.measurements.base import Measurement
from pyrovae.measurements.families import (
    Finite,
    NoisyBits,
    Smeared,
    as_finite,
    as_normal,
)

__all__ = ["Flip", "Missing", "Noise", "Quantised"]

NOT_BINARY = "Flip measures values of 0 and 1, and these are not: use Noise(sd)"
FAR = -600.0  # below this log-probability, quantiles of a normal distribution are found from logarithms
MOST_LEVELS = 2**16  # of Quantised: for each, a column of a table


class Missing(Measurement):
    """y is x where it is known, and NaN where it is missing.

    Reference:
        Rubin (1976), "Inference and missing data": entries are missing at random.

    Example:
        >>> Missing().guess(torch.tensor([[1.0, torch.nan]]))
        tensor([[1., nan]])
    """

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        return p

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        return dist.Normal(x, 0.0, validate_args=False)

    def back(self, p: Any, y: Tensor, draw: Draw) -> Tensor:  # noqa: ANN401
        x = draw(p)
        return torch.where(y.isnan(), x, y.to(x))

    def moments(self, p: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        known, mean = ~y.isnan(), p.mean
        return torch.where(known, y.to(mean), mean), torch.where(known, 0.0, p.variance.to(mean))


class Noise(Measurement):
    r"""Normal noise, \(y = x + \mathrm{sd}\, e\), \(e \sim \mathcal N(0, 1)\).

    Arguments:
        sd: the standard deviation, in the units of x.

    Raises:
        InputError: if sd is not above 0.

    Reference:
        Vincent et al. (2008), "Extracting and Composing Robust Features with Denoising
        Autoencoders".

    Example:
        >>> Noise(3.0).marginal(dist.Normal(torch.zeros(2), 4.0)).scale
        tensor([5., 5.])
    """

    def __init__(self, sd: float) -> None:
        self.sd = number("sd", sd, above=0)

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        if isinstance(p, dist.Bernoulli):
            return NoisyBits(p.logits.expand(p.batch_shape), self.sd)
        normal, finite = as_normal(p), as_finite(p)
        if normal is not None:
            return dist.Normal(normal.loc, torch.hypot(normal.scale, self._sd(normal.scale)))
        return None if finite is None else Smeared(finite, self._sd(finite.logits))

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        return dist.Normal(x, self.sd)

    def posterior(self, p: Any, y: Tensor) -> Any:  # noqa: ANN401
        normal = as_normal(p)
        if normal is None:
            return self.marginal(p).posterior(y)
        loc, scale = torch.broadcast_tensors(normal.loc, normal.scale)
        total = torch.hypot(scale, self._sd(scale))
        gain = (scale / total).square()
        spread = scale * self.sd / total
        return dist.Normal(loc + gain * (y - loc), spread.clamp(min=torch.finfo(spread.dtype).tiny))

    def _sd(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.sd, dtype=like.dtype, device=like.device)


class Flip(Measurement):
    r"""Flipped binary values: \(y = 1 - x\) with probability p, else \(y = x\).

    Arguments:
        p: the probability of a flip, between 0 and 1.

    Raises:
        InputError: for a p that is not a probability, and for an x that is not binary.

    Example:
        >>> Flip(0.25).marginal(dist.Bernoulli(torch.tensor([0.1, 0.5, 0.9]))).mean
        tensor([0.3000, 0.5000, 0.7000])
    """

    def __init__(self, p: float) -> None:
        self.p = number("p", p, above=0, below=1)

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        logits = self._logits(p)
        # the odds of y = 1 are (e^l (1 - p) + p) / (e^l p + 1 - p)
        flip = torch.full_like(logits, math.log(self.p))
        keep = torch.full_like(logits, math.log1p(-self.p))
        return Bernoulli(logits=torch.logaddexp(logits + keep, flip) - torch.logaddexp(logits + flip, keep))

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        if not bool(((x == 0) | (x == 1)).all()):
            raise InputError(NOT_BINARY)
        return Bernoulli(logits=(2 * x - 1) * self._evidence)

    def posterior(self, p: Any, y: Tensor) -> Any:  # noqa: ANN401
        return Bernoulli(logits=self._logits(p) + (2 * y - 1) * self._evidence)

    @property
    def _evidence(self) -> float:
        """The log-odds that x = y."""
        return math.log1p(-self.p) - math.log(self.p)

    def _logits(self, p: Any) -> Tensor:  # noqa: ANN401
        if isinstance(p, dist.Bernoulli):
            return p.logits.expand(p.batch_shape)
        if isinstance(p, Finite) and p.values.tolist() == [0.0, 1.0]:
            return p.logits[..., 1] - p.logits[..., 0]
        raise InputError(NOT_BINARY)


class Quantised(Measurement):
    """Values rounded to the nearest of a few numbers, evenly spaced from low to high.

    Arguments:
        levels: the number of levels, 2 or more.
        low, high: the lowest and the highest level; values beyond are rounded to these.

    Raises:
        InputError: for fewer than two levels or more than 65,536, or a low that is not below high.

    Example:
        >>> p = Quantised(2).marginal(dist.Normal(torch.tensor([0.5]), 1.0))
        >>> p.mean, p.values
        (tensor([0.5000]), tensor([0., 1.]))
    """

    def __init__(self, levels: int, low: float = 0.0, high: float = 1.0) -> None:
        self.levels = whole("levels", levels, least=2)
        if levels > MOST_LEVELS:
            raise InputError(
                f"levels is {levels}, and a table has one entry for each: give at most {MOST_LEVELS:,}, or "
                "use Noise"
            )
        self.low, self.high = number("low", low), number("high", high, above=low)

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        normal, finite = as_normal(p), as_finite(p)
        if normal is not None:
            return Finite(self._values(normal.loc), _log_masses(normal, self._edges(normal.loc)))
        if finite is None:
            return None
        masks = self._index(finite.values) == torch.arange(self.levels).to(finite.values.device).unsqueeze(-1)
        logits = finite.logits.unsqueeze(-2).masked_fill(~masks, -torch.inf).logsumexp(-1)
        return Finite(self._values(finite.values), logits)

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        at = self._index(x).unsqueeze(-1) == torch.arange(self.levels, device=x.device)
        return Finite(self._values(x), at.to(x.dtype).log())

    def back(self, p: Any, y: Tensor, draw: Draw) -> Tensor:  # noqa: ANN401
        normal, known = as_normal(p), ~y.isnan()
        if normal is None:
            return super().back(p, y, draw)
        edges, at = self._edges(normal.loc), self._index(torch.where(known, y, self.low))
        none = edges.new_tensor([torch.inf])
        low, high = torch.cat([-none, edges])[at], torch.cat([edges, none])[at]
        low, high = torch.where(known, low, -none), torch.where(known, high, none)
        u = draw(dist.Uniform(torch.zeros_like(normal.loc + y.to(normal.loc)), 1.0))
        return _truncated(normal, low, high, u)

    def posterior(self, p: Any, y: Tensor) -> Any:  # noqa: ANN401
        finite = as_finite(p)
        assert finite is not None
        same = self._index(y).unsqueeze(-1) == self._index(finite.values)
        return Finite(finite.values, finite.logits.masked_fill(~same, -torch.inf))

    def moments(self, p: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        return None if as_normal(p) is not None else super().moments(p, y)

    def _values(self, like: Tensor) -> Tensor:
        return torch.linspace(self.low, self.high, self.levels, dtype=like.dtype, device=like.device)

    def _edges(self, like: Tensor) -> Tensor:
        """The limits between levels, (levels - 1,)."""
        values = self._values(like)
        return (values[1:] + values[:-1]) / 2

    def _index(self, x: Tensor) -> Tensor:
        return torch.bucketize(x.contiguous(), self._edges(x), right=True)


def _log_masses(normal: Any, edges: Tensor) -> Tensor:  # noqa: ANN401
    """The log-probabilities of the intervals between edges, (*, levels)."""
    loc, scale = torch.broadcast_tensors(normal.loc.double(), normal.scale.double())
    t = (edges - loc.unsqueeze(-1)) / scale.unsqueeze(-1)  # many levels in one scale lie close together
    below, above = torch.special.log_ndtr(t), torch.special.log_ndtr(-t)
    # log(F(b) - F(a)) from the tail in which both are small
    lower = _log_minus(below[..., 1:], below[..., :-1])
    upper = _log_minus(above[..., :-1], above[..., 1:])
    middle = torch.where(t[..., 1:] + t[..., :-1] < 0, lower, upper)
    return torch.cat([below[..., :1], middle, above[..., -1:]], -1).to(normal.loc)


def _log_minus(a: Tensor, b: Tensor) -> Tensor:
    """log(e^a - e^b) for a > b."""
    return a + torch.log(-torch.expm1((b - a).clamp(max=-torch.finfo(a.dtype).tiny)))


def _truncated(normal: Any, low: Tensor, high: Tensor, u: Tensor) -> Tensor:  # noqa: ANN401
    """Samples of normal distributions between limits, from uniform numbers u."""
    loc, scale = normal.loc.double(), normal.scale.double()
    a, b = (low - loc) / scale, (high - loc) / scale
    flip = a + b > 0  # work in the lower tail, where probabilities keep their digits
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    u, log_fa, log_fb = u.double(), torch.special.log_ndtr(a), torch.special.log_ndtr(b)
    t = _log_ndtri(log_fb + torch.log(u + (1 - u) * torch.exp(log_fa - log_fb)))
    t = torch.minimum(torch.maximum(t, a), b)
    return (loc + scale * torch.where(flip, -t, t)).to(normal.loc)


def _log_ndtri(log_p: Tensor) -> Tensor:
    """t with log F(t) = log_p, for the cumulative distribution function F of N(0, 1); float64."""
    usual = torch.special.ndtri(log_p.exp()).clamp(-40, 40)
    far = log_p.clamp(min=-1e300, max=FAR)
    t = -(-2 * far - math.log(2 * math.pi) - (-2 * far).log()).sqrt()  # F(t) is about N(t; 0, 1) / -t
    for _ in range(3):  # Newton's method; the derivative of log F(t) is nearly -t - 1 / t
        t = t + (torch.special.log_ndtr(t) - far) / (t + 1 / t)
    return torch.where(log_p < FAR, t, usual)
