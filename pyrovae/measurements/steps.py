"""A measurement as steps of a program: what is observed, what is drawn, and the way back to x.

forward   p(x|z) -> p(y1|z) -> ... -> p(y|z)       a step without a closed form draws its input
back      y -> ... -> y1 -> x                      a sample of x given z and y
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import Columns, Elements
from pyrovae.distributions.composed import Draw
from pyrovae.errors import InputError
from pyrovae.measurements.base import Measurement, Shape
from pyrovae.measurements.elementwise import Missing
from pyrovae.measurements.families import Finite, elements_of
from pyrovae.measurements.pooling import Pooled

__all__ = ["Steps"]

Latent = Callable[[int, Any], Tensor]  # draws the input of a step from its distribution


class Steps:
    """A measurement of x of one shape.

    Attributes:
        shape: the shape of y.
        is_missing: whether y is x itself, with missing entries.

    Arguments:
        measurement: one measurement or a chain.
        event_shape: the shape of x.

    Raises:
        InputError: for an x that cannot be measured.
    """

    def __init__(self, measurement: Measurement, event_shape: Shape) -> None:
        self.measurement, self.event_shape = measurement, tuple(event_shape)
        self.parts: list[Measurement] = []
        for part in measurement.parts:
            self.parts.append(part.attached(event_shape))
            event_shape = self.parts[-1].shape(event_shape)
        self.shape = event_shape
        self.is_missing = all(isinstance(part, Missing) for part in self.parts)

    def guess(self, y: Tensor) -> Tensor:
        """A rough x for the encoder, (N, *event); NaN where y says nothing."""
        for part in reversed(self.parts):
            y = part.guess(y)
        return y

    def forward(self, px: Any, latent: Latent) -> list[Any]:  # noqa: ANN401
        """The elementwise distributions of x, y1, ..., y; `latent` draws the input of a step."""
        p, _ = elements_of(px)
        chain = [p]
        for number, part in enumerate(self.parts):
            q = part.marginal(p)
            if q is None:
                q = part.given(latent(number, p))
            chain.append(q)
            p = q
        return chain

    def observed(self, px: Any, latent: Latent) -> Any:  # noqa: ANN401
        """p(y|z), batch (*), event `shape`; NaN in y is a missing entry.

        Raises:
            InputError: if y is a function of x without noise, and has no closed form.
        """
        if self.is_missing:
            return _with_missing(px)
        q = self.forward(px, latent)[-1]
        if isinstance(q, dist.Normal) and bool((q.scale == 0).any()):
            raise InputError(
                f"{self.measurement!r} has no density for this likelihood, since y is a function of x: add "
                f"noise, as in {self.measurement!r} >> Noise(0.05)"
            )
        if len(q.event_shape):
            return q
        fill = q.values[0] if isinstance(q, Finite) else q.low if isinstance(q, Pooled) else 0.0  # inside
        return Elements(q, len(self.shape), fill)

    def back(self, px: Any, y: Tensor, values: dict[int, Tensor], draw: Draw) -> Tensor:  # noqa: ANN401
        """A sample of p(x|z, y), (*, *event), with noise from `draw`.

        Arguments:
            px: p(x|z).
            y: the measurement.
            values: inputs of steps that are latent variables, by the number of the step.
            draw: draws from an elementwise distribution.
        """
        chain = self.forward(px, lambda number, _: values[number])
        for number in reversed(range(len(self.parts))):
            part, p = self.parts[number], chain[number]
            y = values[number] if number in values else part.back(p, y, draw)
        return y

    def moments(self, px: Any, y: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
        """The mean and the variance of p(x|z, y), or None if they are not known."""
        p, _ = elements_of(px)
        parts = [part for part in self.parts if not isinstance(part, Missing)] or self.parts[:1]
        if len(parts) > 1 or parts[0].marginal(p) is None:
            return None
        try:
            return parts[0].moments(p, y)
        except (NotImplementedError, AttributeError):
            return None


def _with_missing(px: Any) -> Any:  # noqa: ANN401
    """The distribution, in which NaN is a missing element if the elements are independent."""
    p, dims = elements_of(px)
    if isinstance(px, Elements) or isinstance(p, Columns) or p.event_shape:
        return px
    is_open = bool(p.support.check(torch.tensor(2.0)).all())
    return Elements(p, dims, 1.0 if is_open or p.support.is_discrete else 0.5)
