r"""The base class of measurements, and chains of them.

    z ~ p(z),   x ~ p(x|z),   y ~ p(y|x)

For the posterior of z, p(y|z) is needed, and for x its distribution given z and y:

    p(y|z)    = int p(y|x) p(x|z) dx              `marginal`
    p(x|z, y) = p(y|x) p(x|z) / p(y|z)            `back`, and its mean and variance in `moments`

A measurement knows these for distributions of independent normal or finite elements (`families`).
For others `marginal` is None, and x is a latent variable of the program, like z.
"""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.distributions.composed import Draw
from pyrovae.errors import InputError
from pyrovae.measurements.families import elements_of
from pyrovae.part import Declared
from pyrovae.seeds import Seed, seeded

__all__ = ["Chain", "Custom", "Measurement", "Shape", "as_measurement"]

Shape = tuple[int, ...]
Function = Callable[[Tensor], Any]


class Measurement(Declared, ABC):
    """Base class of measurements y of x.

    Distributions are elementwise: batch (*, *event), event ().

    Attributes:
        event_shape: the shape of x, of an attached measurement.
        takes_missing: whether NaN in y is a missing entry.
        is_elementwise: whether each entry of y is a measurement of the same entry of x.
    """

    event_shape: Shape
    takes_missing: bool = True
    is_elementwise: bool = True

    def shape(self, event_shape: Shape) -> Shape:
        """The shape of y for one x.

        Raises:
            InputError: for an x that cannot be measured.
        """
        return event_shape

    def marginal(self, p: Any) -> Any:  # noqa: ANN401
        """p(y|z) for p(x|z), or None if it has no closed form."""
        return None

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        """p(y|x); a scale of 0 if y is a function of x."""
        raise InputError(f"{self!r} cannot measure this kind of x: use Custom with a function of x")

    def posterior(self, p: Any, y: Tensor) -> Any:  # noqa: ANN401
        """p(x|z, y), where `marginal` is known; y has no missing entries."""
        raise NotImplementedError

    def back(self, p: Any, y: Tensor, draw: Draw) -> Tensor:  # noqa: ANN401
        """A sample of p(x|z, y), with noise from `draw`; NaN in y is a missing entry."""
        known = ~y.isnan()
        x = draw(self.posterior(p, torch.where(known, y, 0.0)))
        return x if known.all() else torch.where(known, x, draw(p).to(x))

    def moments(self, p: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        """The mean and the variance of p(x|z, y), or None if they are not known."""
        known = ~y.isnan()
        q = self.posterior(p, torch.where(known, y, 0.0))
        if known.all():
            return q.mean, q.variance
        return torch.where(known, q.mean, p.mean), torch.where(known, q.variance, p.variance)

    def guess(self, y: Tensor) -> Tensor:
        """A rough x (N, *event) for the encoder; NaN where y says nothing."""
        return y

    def attached(self, event_shape: Shape) -> Self:
        """A copy for x of a shape, with the attribute `event_shape`.

        Raises:
            InputError: as from `shape`.
        """
        other = copy.copy(self)
        other.event_shape = tuple(event_shape)
        other.shape(other.event_shape)
        return other

    @torch.no_grad()
    def sample(self, x: Any, *, seed: Seed = None) -> Tensor:  # noqa: ANN401
        """Draw y for each row of x (N, *event), (N, *shape).

        Arguments:
            x: observations, a tensor or an array; what depends on a missing entry (NaN) is missing.
            seed: a seed or a `torch.Generator`; by default torch's random state.

        Raises:
            InputError: for an x that cannot be measured.
        """
        x = Rows.of(x).x
        with seeded(seed):
            for part in self.parts:
                x = part.attached(tuple(x.shape[1:]))._drawn(x)
        return x

    def _drawn(self, x: Tensor) -> Tensor:
        missing = x.isnan()
        if not self.is_elementwise or not missing.any():
            return self.given(x).sample()
        y = self.given(torch.where(missing, 0.0, x)).sample()
        return torch.where(missing, torch.nan, y.to(x))

    @property
    def parts(self) -> tuple[Measurement, ...]:
        """The measurements that are made one after another."""
        return (self,)

    def __rshift__(self, other: Any) -> Chain:  # noqa: ANN401
        return Chain([*self.parts, *as_measurement(other).parts])


class Chain(Measurement):
    """Measurements one after another: the result of one is the x of the next (`steps.Steps`).

    Arguments:
        steps: the measurements.

    Raises:
        InputError: for no measurements, or something else among them.

    Example:
        >>> from pyrovae.measurements import Downsample, Noise
        >>> (Downsample(2) >> Noise(0.1)).sample(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 1, 4, 4])
    """

    def __init__(self, steps: Sequence[Measurement]) -> None:
        self.steps = [as_measurement(step) for step in steps]
        if not self.steps:
            raise InputError("a chain needs one measurement or more: use Missing() if y is x itself")

    @property
    def parts(self) -> tuple[Measurement, ...]:
        """The measurements."""
        return tuple(self.steps)

    def shape(self, event_shape: Shape) -> Shape:
        for part in self.parts:
            event_shape = part.shape(event_shape)
        return event_shape

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self.parts))


class Custom(Measurement):
    """Any Pyro distribution of y given x.

    Arguments:
        function: from x (*, *event) to a distribution of y, batch (*), or of its elements.
        y_shape: the shape of y for one x; by default that of x.

    Raises:
        InputError: when used, for a function that does not return a distribution; when sampled, for
            missing entries of x, of which any entry of y may be a function.

    Example:
        >>> import pyro.distributions as dist
        >>> Custom(lambda x: dist.Poisson(100 * x)).given(torch.ones(3)).mean
        tensor([100., 100., 100.])
    """

    def __init__(self, function: Function, y_shape: Shape | None = None) -> None:
        self.function, self.y_shape = function, y_shape

    def shape(self, event_shape: Shape) -> Shape:
        return event_shape if self.y_shape is None else tuple(self.y_shape)

    def given(self, x: Tensor) -> Any:  # noqa: ANN401
        p = elements_of(self.function(x))[0]
        if not isinstance(p, torch.distributions.Distribution):
            raise InputError(
                f"the function in through= must return a Pyro distribution of y, as in "
                f"dist.Normal(x, 0.1), not a {type(p).__name__}"
            )
        return p

    def _drawn(self, x: Tensor) -> Tensor:
        missing = x.isnan().reshape(len(x), -1).any(1)
        if missing.any():
            raise InputError(
                f"a function in through= needs every entry of x, and row {int(missing.nonzero()[0])} has "
                "missing ones: fill them in"
            )
        return self.given(x).sample()

    def guess(self, y: Tensor) -> Tensor:
        same = tuple(y.shape[1:]) == self.event_shape
        return y if same else y.new_full((len(y), *self.event_shape), torch.nan)


def as_measurement(through: Any) -> Measurement:  # noqa: ANN401
    """A measurement as it is, or a function of x as `Custom`.

    Raises:
        InputError: for anything else.
    """
    if isinstance(through, Measurement):
        return through
    if callable(through) and not isinstance(through, type):
        return Custom(through)
    raise InputError(
        "through must be a measurement, as in Noise(0.1), or a function from x to a Pyro distribution "
        f"of y, not {through!r}"
    )
