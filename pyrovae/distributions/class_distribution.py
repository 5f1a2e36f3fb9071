r"""Distributions of a class c in 0 .. C-1, of its label, and of z and c together.

    ClassDistribution   P(c) = pi_c
    Label               P(y|c) = 1 where y is c or unknown, else 0
    Classed             p(z, c) = P(c) p(z|c), c one-hot after z

With a known label, only its class is possible. An impossible class has the log-probability `LOWER`.
In a sum of probabilities it acts like minus infinity, but its product with 0 is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.composed import Composed, Draw, alike, draw_index, every, one_hot, stratum_index
from pyrovae.distributions.onehot import OneHot

__all__ = [
    "LOWER",
    "ClassDistribution",
    "Classed",
    "Label",
    "log_shares",
    "pick",
    "restricted",
    "with_one_hot",
]

LOWER = -1e4


def restricted(logits: Tensor, known: Tensor | None) -> Tensor:
    """Log-probabilities (*, C) of the classes; if a class is known, only that class is possible.

    Arguments:
        logits: logits of the classes, (*, C).
        known: one-hot rows (*, C), zeros where the class is unknown; None if all are unknown.
    """
    free = torch.log_softmax(logits, -1)
    if known is None:
        return free
    return torch.where(known.sum(-1, keepdim=True) > 0, LOWER * (1 - known), free)


def log_shares(mixture: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    """log p(c|z), (*, C), of a mixture at z (*, D), by Bayes' rule."""
    joint = mixture.component_distribution.log_prob(z.unsqueeze(-2)) + mixture.mixture_distribution.logits
    return torch.log_softmax(joint, -1)


def pick(table: Tensor, c: Tensor) -> Tensor:
    """The rows (*, D) of a table (*, C, D) for classes c (*), with broadcast leading dimensions."""
    if table.dim() == 2:
        return torch.nn.functional.embedding(c, table)
    lead = torch.broadcast_shapes(c.shape, table.shape[:-2])
    at = c.expand(lead)[..., None, None].expand(*lead, 1, table.shape[-1])
    return table.expand(*lead, *table.shape[-2:]).gather(-2, at).squeeze(-2)


class ClassDistribution(Composed):
    """The distribution of a class index c; it can be enumerated, by Pyro and as strata.

    Arguments:
        logits: (*, C).
        known: one-hot rows (*, C), zeros where the class is not known, or None.

    Attributes:
        free: the log-probabilities without any label, (*, C).

    Example:
        >>> known = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        >>> classes = ClassDistribution(torch.zeros(2, 3), known)
        >>> classes.probs[0], classes.strata
        (tensor([0., 1., 0.]), 3)
    """

    has_rsample = False
    has_enumerate_support = True

    def __init__(
        self, logits: Tensor, known: Tensor | None = None, *, validate_args: bool | None = None
    ) -> None:
        self.free = torch.log_softmax(logits, -1)
        self.known = known
        self.logits = restricted(logits, known)
        super().__init__(self.logits.shape[:-1], torch.Size(), validate_args=validate_args)

    @property
    def support(self) -> Any:  # noqa: ANN401
        return constraints.integer_interval(0, self.strata - 1)

    @property
    def probs(self) -> Tensor:
        """The probability of each class, (*, C)."""
        return self.logits.exp()

    @property
    def strata(self) -> int:
        """C."""
        return self.logits.shape[-1]

    def stratified(self) -> tuple[Tensor, Tensor]:
        """Class i mod C for row i of the leading batch axis, and log(C P(c)) for this class."""
        c = stratum_index(self.batch_shape, self.strata, self.logits)
        return c, self.log_prob(c) + math.log(self.strata)

    def compose(self, draw: Draw) -> Tensor:
        return draw_index(draw, self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return pick(self.logits.unsqueeze(-1), value.long()).squeeze(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:  # noqa: FBT001, FBT002 - Pyro's signature
        """All classes, in a new dimension on the left."""
        return every(torch.arange(self.strata, device=self.logits.device), self.batch_shape, expand=expand)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ClassDistribution:  # noqa: ANN401
        known = None if self.known is None else self.known.expand(*batch_shape, -1)
        free = self.free.expand(*batch_shape, -1)
        return alike(ClassDistribution(free, known, validate_args=False), self)


class Label(dist.TorchDistribution):
    """The label of a class c: one-hot, or zeros where it is unknown (possible for every class).

    Arguments:
        c: classes (*).
        classes: C.

    Example:
        >>> Label(torch.tensor([0, 1]), 2).log_prob(torch.tensor([[1.0, 0.0], [1.0, 0.0]])).exp()
        tensor([1., 0.])
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.real_vector

    def __init__(self, c: Tensor, classes: int, *, validate_args: bool | None = None) -> None:
        self.c, self.classes = c, classes
        super().__init__(c.shape, torch.Size((classes,)), validate_args=validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:  # noqa: ANN401
        """The label of c."""
        c = self.c.expand(torch.Size(sample_shape) + self.batch_shape)
        return one_hot(c, self.classes, torch.get_default_dtype())

    def log_prob(self, value: Tensor) -> Tensor:
        """0 if c can have this label, else `LOWER`, (*)."""
        meant = (value * one_hot(self.c, self.classes, value.dtype)).sum(-1)
        return LOWER * (value.sum(-1) - meant)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Label:  # noqa: ANN401
        return Label(self.c.expand(batch_shape), self.classes, validate_args=False)


class _RealAndOneHot(constraints.Constraint):
    """Real vectors followed by a one-hot piece."""

    is_discrete = True
    event_dim = 1

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def check(self, value: Tensor) -> Tensor:
        if value.shape[-1] <= self.classes:
            return torch.zeros(value.shape[:-1], dtype=torch.bool)
        z, c = value[..., : -self.classes], value[..., -self.classes :]
        return constraints.real_vector.check(z) & OneHot(1, self.classes).check(c)


class Classed(Composed):
    """z and its class in one vector (z, one-hot c): p(z, c) = P(c) p(z|c).

    Arguments:
        classes: the distribution of the class.
        given: the function from classes (*) to the distribution of z, event (D,).
        dim: D.

    Example:
        >>> style = lambda c: dist.Normal(torch.zeros(2), 1.0).to_event(1)
        >>> joint = Classed(ClassDistribution(torch.zeros(3)), style, 2)
        >>> log_p = joint.log_prob(torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0]))
        >>> joint.sample().shape, round(float(log_p), 4)
        (torch.Size([5]), -2.9365)
    """

    has_rsample = False

    def __init__(self, classes: ClassDistribution, given: Callable[[Tensor], Any], dim: int) -> None:
        self.classes, self.given, self.dim = classes, given, dim
        super().__init__(classes.batch_shape, torch.Size((dim + classes.strata,)), validate_args=False)

    @property
    def support(self) -> Any:  # noqa: ANN401
        return _RealAndOneHot(self.classes.strata)

    def compose(self, draw: Draw) -> Tensor:
        c = draw(self.classes)
        return with_one_hot(draw(self.given(c).expand(self.batch_shape)), c, self.classes.strata)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z, c), (*), in nats."""
        z, c = value[..., : self.dim], value[..., self.dim :].argmax(-1)
        return self.classes.log_prob(c) + self.given(c).log_prob(z)

    @property
    def mean(self) -> Tensor:
        """E[z] and the probabilities of the classes."""
        c = self.classes.enumerate_support()
        each = self.given(c).expand(c.shape).mean
        z = (self.classes.probs.movedim(-1, 0).unsqueeze(-1) * each).sum(0)
        return torch.cat([z, self.classes.probs], -1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Classed:  # noqa: ANN401
        return Classed(self.classes.expand(batch_shape), self.given, self.dim)


def with_one_hot(z: Tensor, c: Tensor, classes: int) -> Tensor:
    """The vector (z, one-hot c) of z (*, D) and c (*), with broadcast leading dimensions."""
    lead = torch.broadcast_shapes(z.shape[:-1], c.shape)
    piece = one_hot(c, classes, z.dtype).expand(*lead, -1)
    return torch.cat([z.expand(*lead, -1), piece], -1)
