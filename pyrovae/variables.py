r"""Variables that all rows share: a tensor w with a prior p(w) and a posterior q(w).

    log p(D) >= sum_n E_q(w)[ log p(x_n | w) ] - KL(q(w) || p(w))

A part with such variables (the layers of a Bayesian decoder, the scale of a likelihood) reads their
`value`: in a running program the sample, and elsewhere the centre of q(w). The program samples each
variable as a site outside the plate "data".

Reference:
    Kingma & Welling (2014), "Auto-Encoding Variational Bayes", appendix F; Blundell et al. (2015),
    "Weight Uncertainty in Neural Networks".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["Variable", "holding", "is_layerwise", "layerwise"]

# By the identity of the variable, since modules are compared by their declarations.
_HELD: ContextVar[Mapping[int, Tensor] | None] = ContextVar("held", default=None)
_LAYERWISE: ContextVar[bool] = ContextVar("layerwise", default=False)


class Variable(nn.Module, ABC):
    """Base class: a tensor with a prior and a posterior, each one event.

    Attributes:
        is_layerwise: whether its layer can sample activations instead of it (`layerwise`).
    """

    is_layerwise: bool = False

    @abstractmethod
    def prior(self) -> dist.TorchDistribution:
        """p(w)."""

    @abstractmethod
    def posterior(self) -> dist.TorchDistribution:
        """q(w)."""

    @abstractmethod
    def centre(self) -> Tensor:
        """The value outside a program: the mean of q(w), or its median."""

    @abstractmethod
    def words(self) -> str:
        """p(w) in mathematical notation, as in "N(0, 1/200)"."""

    @property
    def value(self) -> Tensor:
        """The sample of the running program, or the centre."""
        held = _held().get(id(self))
        return self.centre() if held is None else held

    @property
    def is_held(self) -> bool:
        """Whether it has a value that was sampled or given."""
        return id(self) in _held()

    def divergence(self) -> Tensor:
        """KL(q(w) || p(w)) from its formula, ()."""
        return torch.distributions.kl_divergence(self.posterior(), self.prior())

    def forward(self, *_: Any) -> Any:  # noqa: ANN401
        raise NotImplementedError("a variable cannot be called: read its value")


def _held() -> Mapping[int, Tensor]:
    return _HELD.get() or {}


@contextmanager
def holding(values: Mapping[Variable, Tensor]) -> Iterator[None]:
    """Give variables these values in the context, for this thread."""
    token = _HELD.set({**_held(), **{id(variable): value for variable, value in values.items()}})
    try:
        yield
    finally:
        _HELD.reset(token)


@contextmanager
def layerwise() -> Iterator[None]:
    """Let layers sample activations instead of weights where they can, for this thread."""
    token = _LAYERWISE.set(True)
    try:
        yield
    finally:
        _LAYERWISE.reset(token)


def is_layerwise() -> bool:
    """Whether layers sample activations now."""
    return _LAYERWISE.get()
