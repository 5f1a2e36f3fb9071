r"""Laws with a class c in 0 .. C-1: the class itself, its label, and the law of z and c together.

    Classes     P(c) = pi_c
    Label       P(y|c) = 1 where y is c or unknown, else 0
    Classed     p(z, c) = P(c) p(z|c), c one-hot behind z

A label that is known leaves its class alone possible. An impossible state has the log-probability `LOWER`,
which no sum of probabilities tells from minus infinity, and whose product with 0 is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.composed import Composed, Draw
from pyrovae.distributions.onehot import OneHot

__all__ = ["LOWER", "Classed", "Classes", "Label", "log_shares", "pick", "restricted"]

LOWER = -1e4


def restricted(logits: Tensor, known: Tensor | None) -> Tensor:
    """Log-probabilities (*, C), of the known class alone where it is known.

    Arguments:
        logits: of the classes, (*, C).
        known: one-hot rows (*, C), of zeros where nothing is known; None knows nothing.
    """
    free = torch.log_softmax(logits, -1)
    if known is None:
        return free
    return torch.where(known.sum(-1, keepdim=True) > 0, LOWER * (1 - known), free)


def log_shares(law: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    """Bayes' rule in a mixture: log p(c|z), (*, C), of z (*, D)."""
    joint = law.component_distribution.log_prob(z.unsqueeze(-2)) + law.mixture_distribution.logits
    return torch.log_softmax(joint, -1)


def pick(table: Tensor, c: Tensor) -> Tensor:
    """Rows of a table (*, C, D) at classes c (*), their leading dimensions broadcast: (*, D)."""
    if table.dim() == 2:
        return torch.nn.functional.embedding(c, table)
    lead = torch.broadcast_shapes(c.shape, table.shape[:-2])
    at = c.expand(lead)[..., None, None].expand(*lead, 1, table.shape[-1])
    return table.expand(*lead, *table.shape[-2:]).gather(-2, at).squeeze(-2)


class Classes(Composed):
    """A class c, a whole number from 0; enumerable, by Pyro and in strata.

    Arguments:
        logits: (*, C).
        known: one-hot rows (*, C), of zeros where the class is not known, or None.

    Attributes:
        free: the log-probabilities that know of no label, (*, C).

    Example:
        >>> law = Classes(torch.zeros(2, 3), known=torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
        >>> law.probs[0], law.strata
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
        """Row i of the leading batch axis of class i mod C, and log(C P(c)) of it."""
        c = torch.arange(self.batch_shape[0], device=self.logits.device) % self.strata
        c = c.reshape(-1, *[1] * (len(self.batch_shape) - 1)).expand(self.batch_shape)
        return c, self.log_prob(c) + math.log(self.strata)

    def compose(self, draw: Draw) -> Tensor:
        uniform = draw(dist.Uniform(torch.zeros_like(self.logits[..., 0]), 1.0))
        above = self.probs.cumsum(-1)[..., :-1]
        return (uniform.unsqueeze(-1) >= above).sum(-1)  # so that a zero draws no class of probability zero

    def rsample(self, sample_shape: Any = ()) -> Tensor:  # noqa: ANN401
        raise NotImplementedError("classes are not differentiable in their logits")

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(value), (*), in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return pick(self.logits.unsqueeze(-1), value.long()).squeeze(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:  # noqa: FBT001, FBT002 - Pyro's signature
        """All classes, in a new dimension on the left."""
        c = torch.arange(self.strata, device=self.logits.device)
        c = c.reshape(-1, *[1] * len(self.batch_shape))
        return c.expand(-1, *self.batch_shape) if expand else c

    def expand(self, batch_shape: Any, _instance: Any = None) -> Classes:  # noqa: ANN401
        known = None if self.known is None else self.known.expand(*batch_shape, -1)
        new = Classes(self.free.expand(*batch_shape, -1), known, validate_args=False)
        new._validate_args = self._validate_args
        return new


class Label(dist.TorchDistribution):
    """What is known of a class c: one-hot, or zeros where nothing is known, which every class allows.

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
        """0 where the label allows c, else `LOWER`, (*)."""
        meant = (value * one_hot(self.c, self.classes, value.dtype)).sum(-1)
        return LOWER * (value.sum(-1) - meant)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Label:  # noqa: ANN401
        return Label(self.c.expand(batch_shape), self.classes, validate_args=False)


class _RealAndOneHot(constraints.Constraint):
    """Real vectors with a one-hot piece behind."""

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
        law: of the class.
        given: the law of z for classes (*), event (D,).
        dim: D.

    Example:
        >>> law = Classed(Classes(torch.zeros(3)), lambda c: dist.Normal(torch.zeros(2), 1.0).to_event(1), 2)
        >>> law.sample().shape, round(float(law.log_prob(torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0]))), 4)
        (torch.Size([5]), -2.9365)
    """

    has_rsample = False

    def __init__(self, law: Classes, given: Callable[[Tensor], Any], dim: int) -> None:
        self.law, self.given, self.dim = law, given, dim
        super().__init__(law.batch_shape, torch.Size((dim + law.strata,)), validate_args=False)

    @property
    def support(self) -> Any:  # noqa: ANN401
        return _RealAndOneHot(self.law.strata)

    def compose(self, draw: Draw) -> Tensor:
        c = draw(self.law)
        return self.joined(draw(self.given(c).expand(self.batch_shape)), c)

    def joined(self, z: Tensor, c: Tensor) -> Tensor:
        """The vector of z (*, D) and c (*), their leading dimensions broadcast."""
        lead = torch.broadcast_shapes(z.shape[:-1], c.shape)
        piece = one_hot(c, self.law.strata, z.dtype).expand(*lead, -1)
        return torch.cat([z.expand(*lead, -1), piece], -1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:  # noqa: ANN401
        raise NotImplementedError("a class is not differentiable in its logits")

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z, c), (*), in nats."""
        z, c = value[..., : self.dim], value[..., self.dim :].argmax(-1)
        return self.law.log_prob(c) + self.given(c).log_prob(z)

    @property
    def mean(self) -> Tensor:
        """E[z] and the probabilities of the classes."""
        every = self.law.enumerate_support()
        each = self.given(every).expand(every.shape).mean
        z = (self.law.probs.movedim(-1, 0).unsqueeze(-1) * each).sum(0)
        return torch.cat([z, self.law.probs], -1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Classed:  # noqa: ANN401
        return Classed(self.law.expand(batch_shape), self.given, self.dim)


def one_hot(index: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Classes (*) as one-hot vectors (*, C)."""
    return (index.unsqueeze(-1) == torch.arange(classes, device=index.device)).to(dtype)
