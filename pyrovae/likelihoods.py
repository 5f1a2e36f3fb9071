r"""Likelihoods p(x|z): the law of one datum, given the parameters that a decoder computes.

A likelihood declares the parameters it needs and their shapes; the program puts one head for each behind
the decoder and calls `forward` with them by name. It returns a distribution with the event shape of x:

    Bernoulli:  param_shapes {"logits": event}      forward(logits) -> Bernoulli over events

Discrete likelihoods give probabilities, continuous ones densities: log p(x) of one is not comparable with
log p(x) of the other. Grey pixels are not 0 or 1, and a Bernoulli on them is no density at all; so every
value is checked against the likelihood's support before anything is trained.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae import distributions
from pyrovae.errors import InputError
from pyrovae.numerics import inverse_positive, positive
from pyrovae.part import Part

__all__ = ["Bernoulli", "ContinuousBernoulli", "Likelihood", "Normal"]

Shape = tuple[int, ...]


class Likelihood(Part):
    """Base class of likelihoods: `forward(**params)` gives a distribution with the event shape of x.

    A subclass names its parameters in `param_shapes` and says in `advice` what to do with values outside
    its support.
    """

    event_shape: Shape
    advice: str = "choose a likelihood whose support holds the data"

    def attach(self, event_shape: Shape) -> None:
        """Create parameters and buffers for data of shape `event_shape`; extend it in a subclass."""
        self.event_shape = tuple(event_shape)

    @property
    @abstractmethod
    def param_shapes(self) -> dict[str, Shape]:
        """The parameters wanted from the decoder, by name, with the shape of each for one datum."""

    @abstractmethod
    def forward(self, *args: Any, **params: Any) -> dist.TorchDistribution:  # noqa: ANN401
        """The distribution p(x|z) for parameters of shape (*, *shape)."""

    def over_event(self, law: dist.TorchDistribution) -> dist.TorchDistribution:
        """Independent elements as one event: batch (*, *event) becomes batch (*)."""
        return law.to_event(len(self.event_shape))

    def check(self, x: Tensor, name: str = "the data") -> None:
        """Refuse values outside the support, in one sentence that says how many and where.

        Raises:
            InputError: when a value of x (N, *event) lies outside the support.
        """
        support = self._support()
        for start in range(0, len(x), 1024):
            inside = support.check(x[start : start + 1024])
            if not inside.all():
                self._refuse(x, support, name)

    def _support(self) -> torch.distributions.constraints.Constraint:
        zeros = {n: torch.zeros(1, *s, dtype=_dtype(self)) for n, s in self.param_shapes.items()}
        device = next((t.device for t in (*self.parameters(), *self.buffers())), torch.device("cpu"))
        support = self(**{n: p.to(device) for n, p in zeros.items()}).support
        return getattr(support, "base_constraint", support)

    def _refuse(self, x: Tensor, support: torch.distributions.constraints.Constraint, name: str) -> None:
        outside = ~support.check(x)
        row = int(outside.flatten(1).any(1).nonzero()[0] if outside.dim() > 1 else outside.nonzero()[0])
        value = x[row][outside[row]].flatten()[0].item() if outside.dim() > 1 else x[row].flatten()[0].item()
        raise InputError(
            f"{type(self).__name__} cannot give {name} a density: {int(outside.sum())} values are outside "
            f"its support (the first is {value:g}, in row {row}); {self.advice}"
        )


class Bernoulli(Likelihood):
    r"""Independent binary elements, \(p(x|z) = \prod_i p_i^{x_i} (1 - p_i)^{1 - x_i}\).

    Arguments: none. The decoder gives the logits of \(p_i\).

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes", appendix C.1.

    Example:
        >>> likelihood = Bernoulli()
        >>> likelihood.attach((1, 8, 8))
        >>> likelihood(logits=torch.zeros(5, 1, 8, 8)).log_prob(torch.ones(5, 1, 8, 8)).shape
        torch.Size([5])
    """

    advice = "every value must be 0 or 1: binarise them (binarize='threshold') or use ContinuousBernoulli"

    def __init__(self) -> None:
        super().__init__()

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {"logits": self.event_shape}

    def forward(self, logits: Tensor) -> dist.TorchDistribution:
        return self.over_event(distributions.Bernoulli(logits=logits))


class ContinuousBernoulli(Likelihood):
    r"""Independent elements in [0, 1], density \(C(\lambda_i) \lambda_i^{x_i} (1 - \lambda_i)^{1 - x_i}\).

    The normalising constant \(C\) is what a Bernoulli on grey pixels leaves out. The decoder gives the
    logits of \(\lambda_i\).

    Reference:
        Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli".

    Example:
        >>> likelihood = ContinuousBernoulli()
        >>> likelihood.attach((4,))
        >>> likelihood(logits=torch.zeros(5, 4)).log_prob(torch.full((5, 4), 0.3))
        tensor([0., 0., 0., 0., 0.])
    """

    advice = "every value must lie in [0, 1]: scale the data, or use Normal"

    def __init__(self) -> None:
        super().__init__()

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {"logits": self.event_shape}

    def forward(self, logits: Tensor) -> dist.TorchDistribution:
        return self.over_event(dist.ContinuousBernoulli(logits=logits))


class Normal(Likelihood):
    r"""Independent real elements, \(p(x|z) = \prod_i \mathcal N(x_i; \mu_i, \sigma_i^2)\).

    Arguments:
        scale: a number, the fixed \(\sigma\); "learned", one \(\sigma\) for all elements and data; or
            "predicted", a \(\sigma_i\) from the decoder for each element.

    Raises:
        InputError: when `scale` is neither a positive number nor one of the two words.

    Reference:
        Rybkin et al. (2021), "Simple and effective VAE training with calibrated decoders".

    Example:
        >>> likelihood = Normal(scale=0.1)
        >>> likelihood.attach((4,))
        >>> likelihood(loc=torch.zeros(5, 4)).log_prob(torch.zeros(5, 4)).shape
        torch.Size([5])
    """

    advice = "every value must be a finite number: drop or fill the missing ones"

    fixed_scale: Tensor

    def __init__(self, scale: float | Literal["learned", "predicted"] = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        if self.scale not in ("learned", "predicted"):
            if isinstance(self.scale, str) or not 0 < self.scale < float("inf"):
                raise InputError(
                    f"Normal needs a scale above 0, 'learned' or 'predicted', not {self.scale!r}"
                )
            self.register_buffer("fixed_scale", torch.tensor(float(self.scale)), persistent=False)
        if self.scale == "learned":
            self.raw_scale = nn.Parameter(torch.tensor(inverse_positive(0.5)))

    @property
    def param_shapes(self) -> dict[str, Shape]:
        shapes = {"loc": self.event_shape}
        return shapes | {"raw_scale": self.event_shape} if self.scale == "predicted" else shapes

    def forward(self, loc: Tensor, raw_scale: Tensor | None = None) -> dist.TorchDistribution:
        if raw_scale is None:
            scale = positive(self.raw_scale) if self.scale == "learned" else self.fixed_scale
        else:
            scale = positive(raw_scale)
        return self.over_event(dist.Normal(loc, scale))


def _dtype(module: nn.Module) -> torch.dtype:
    floating = (t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    return next(floating, torch.get_default_dtype())
