r"""V independent categorical variables of C classes as V one-hot pieces, and their relaxation.

OneHots    P(z) = prod_v pi_v,c(v)
Concrete   z_v = softmax((logits_v + Gumbel noise) / temperature), each on a simplex:
           p(z_v) = (C-1)! t^(C-1)  prod_c pi_c z_c^(-t-1)  /  (sum_c pi_c z_c^-t)^C

The density of `Concrete` is over the first C - 1 entries of each piece.

Reference:
    Maddison, Mnih & Teh (2017), "The Concrete Distribution"; Jang, Gu & Poole (2017), "Categorical
    Reparameterization with Gumbel-Softmax".
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import biject_to, constraints, transforms

from pyrovae.checks import number
from pyrovae.distributions.composed import Composed, Draw, alike, draw_index, one_hot
from pyrovae.errors import InputError

__all__ = [
    "Concrete",
    "OneHots",
    "check_temperature",
    "one_hot_pieces",
    "refuse_many_states",
    "within_reach",
]

MOST_STATES = 4096
LOWEST = 0.3  # the lowest temperature at which single precision leaves room for logits


def check_temperature(part: Any) -> None:  # noqa: ANN401
    """Check the temperature of a part (None for one-hot vectors) and store it as a plain float.

    Raises:
        InputError: if it is below 0.3, where single precision is not enough for the density.
    """
    if part.temperature is not None:
        part.temperature = number(f"temperature of {type(part).__name__}", part.temperature, least=LOWEST)


def one_hot_pieces(logits: Tensor, temperature: float | None) -> OneHots | Concrete:
    """One-hot pieces with logits (*, V, C), or their relaxation at a temperature."""
    return (
        OneHots(logits) if temperature is None else Concrete(temperature, within_reach(logits, temperature))
    )


class OneHot(constraints.Constraint):
    """Vectors of pieces, each one-hot."""

    is_discrete = True
    event_dim = 1

    def __init__(self, variables: int, classes: int) -> None:
        self.variables, self.classes = variables, classes

    def check(self, value: Tensor) -> Tensor:
        pieces = value.unflatten(-1, (self.variables, self.classes))
        return (((pieces == 0) | (pieces == 1)).all(-1) & (pieces.sum(-1) == 1)).all(-1)


class _Simplices(constraints.Constraint):
    """Vectors of pieces, each positive with a sum of 1."""

    event_dim = 1

    def __init__(self, variables: int, classes: int) -> None:
        self.variables, self.classes = variables, classes

    def check(self, value: Tensor) -> Tensor:
        pieces = value.unflatten(-1, (self.variables, self.classes))
        # torch's tolerance would refuse float32 samples of many classes.
        one = (pieces.sum(-1) - 1).abs() < 1e-5
        return ((pieces >= 0).all(-1) & one).all(-1)


@biject_to.register(_Simplices)
def _stick_breaking(support: Any) -> transforms.Transform:  # noqa: ANN401
    variables, classes = support.variables, support.classes
    apart = transforms.ReshapeTransform(Size((variables * (classes - 1),)), Size((variables, classes - 1)))
    joined = transforms.ReshapeTransform(Size((variables, classes)), Size((variables * classes,)))
    return transforms.ComposeTransform([apart, transforms.StickBreakingTransform(), joined])


class _Pieces(Composed):
    """The common part of both distributions.

    Arguments:
        logits: (*, V, C).
    """

    arg_constraints = {"logits": constraints.independent(constraints.real, 2)}

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = torch.log_softmax(logits, -1)
        variables, classes = logits.shape[-2:]
        super().__init__(logits.shape[:-2], torch.Size((variables * classes,)), validate_args=validate_args)

    def _pieces(self, value: Tensor) -> Tensor:
        return value.unflatten(-1, self.logits.shape[-2:])


def refuse_many_states(count: int, what: str) -> None:
    """Refuse a sum over more than 4096 states of `what`.

    Raises:
        InputError: with what to do.
    """
    if count > MOST_STATES:
        raise InputError(
            f"{what} have more than {MOST_STATES} states to sum over: use fewer variables or classes, or an "
            "objective that samples them, such as ScoreFunction"
        )


class OneHots(_Pieces):
    """V categorical variables of C classes as V one-hot pieces; all states can be enumerated.

    Arguments:
        logits: (*, V, C).

    Example:
        >>> one_hots = OneHots(torch.zeros(2, 3))
        >>> states, log_v = one_hots.expand((one_hots.strata,)).stratified()
        >>> states.shape, log_v.exp().mean()
        (torch.Size([9, 6]), tensor(1.))
    """

    has_rsample = False

    @property
    def support(self) -> Any:  # noqa: ANN401
        return OneHot(*self.logits.shape[-2:])

    @property
    def strata(self) -> int:
        """The number of states, C^V."""
        variables, classes = self.logits.shape[-2:]
        return classes**variables

    def states(self) -> Tensor:
        """All states, (C^V, V C).

        Raises:
            InputError: if there are more than 4096.
        """
        variables, classes = self.logits.shape[-2:]
        refuse_many_states(self.strata, f"{variables} variables of {classes} classes")
        index = torch.arange(self.strata, device=self.logits.device).unsqueeze(-1)
        place = classes ** torch.arange(variables, device=self.logits.device)
        digit = index // place % classes
        return one_hot(digit, classes, self.logits.dtype).flatten(-2)

    def stratified(self) -> tuple[Tensor, Tensor]:
        """State i mod M for row i of the leading batch axis, and log(M P(state)) for this state."""
        states = self.states()
        rows, *rest = self.batch_shape
        states = states.repeat(rows // self.strata, 1)
        value = states.reshape(rows, *[1] * len(rest), -1).expand(*self.batch_shape, -1)
        return value, self.log_prob(value) + math.log(self.strata)

    def compose(self, draw: Draw) -> Tensor:
        index = draw_index(draw, self.logits)
        return one_hot(index, self.logits.shape[-1], self.logits.dtype).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return (self._pieces(value) * self.logits).sum((-1, -2))

    @property
    def mean(self) -> Tensor:
        return self.logits.exp().flatten(-2)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def expand(self, batch_shape: Any, _instance: Any = None) -> OneHots:  # noqa: ANN401
        return alike(OneHots(self.logits.expand(*batch_shape, -1, -1), validate_args=False), self)


class Concrete(_Pieces):
    """The relaxation of `OneHots` at a temperature above 0; reparameterised.

    Arguments:
        temperature: near 0 the samples are near the corners.
        logits: (*, V, C).

    Example:
        >>> Concrete(0.5, torch.zeros(2, 3)).rsample().reshape(2, 3).sum(-1)
        tensor([1., 1.])
    """

    def __init__(self, temperature: float, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.temperature = temperature
        super().__init__(logits, validate_args=validate_args)

    @property
    def support(self) -> Any:  # noqa: ANN401
        return _Simplices(*self.logits.shape[-2:])

    def compose(self, draw: Draw) -> Tensor:
        tiny = torch.finfo(self.logits.dtype).tiny
        uniform = draw(dist.Uniform(torch.zeros_like(self.logits), 1.0)).clamp_min(tiny)
        gumbel = -torch.log(-uniform.log())
        pieces = torch.softmax((self.logits + gumbel) / self.temperature, -1)
        return pieces.clamp_min(tiny).flatten(-2)  # the density is not defined at 0

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        t, classes = self.temperature, self.logits.shape[-1]
        log_z = self._pieces(value).clamp_min(torch.finfo(value.dtype).tiny).log()
        normaliser = classes * torch.logsumexp(self.logits - t * log_z, -1)
        log_p = (self.logits - (t + 1) * log_z).sum(-1) - normaliser
        return (log_p + math.lgamma(classes) + (classes - 1) * math.log(t)).sum(-1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Concrete:  # noqa: ANN401
        logits = self.logits.expand(*batch_shape, -1, -1)
        return alike(Concrete(self.temperature, logits, validate_args=False), self)


def within_reach(logits: Tensor, temperature: float) -> Tensor:
    """Clamp logits (*, C) so that relaxed samples stay above the smallest floating point number.

    log z lies within (2 room + the range of the noise) / t of 0. Below that number the density
    would be wrong.
    """
    info = torch.finfo(logits.dtype)
    noise = -math.log(info.eps) + math.log(-math.log(info.tiny))
    room = max((0.9 * -math.log(info.tiny) * temperature - noise) / 2, 0.0)
    return (logits - logits.mean(-1, keepdim=True)).clamp(-room, room)
