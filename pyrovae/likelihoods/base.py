"""The base class of likelihoods."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.cures import cure
from pyrovae.distributions import Elements
from pyrovae.errors import InputError
from pyrovae.part import Part

if TYPE_CHECKING:
    from pyrovae.datasets import Column, Data

__all__ = ["Likelihood", "Measure", "Shape"]

Shape = tuple[int, ...]
Measure = Literal["mass", "density", "mixed"]


class Likelihood(Part):
    """Base class of likelihoods: `forward(**params)` returns a distribution with the shape of x.

    A subclass names its parameters in `elementwise`, or in `param_shapes` if a shape differs from
    that of the event. `advice` and `missing_advice` say what to do about
    values outside the support, and about missing ones if it does not take them.

    Attributes:
        takes_doubles: whether x may be in float64 when the parameters are in float32. If so, the
            density subtracts locations or takes logarithms in float64 and then casts to float32.
            If not, x is cast to float32 first.
        in_double: buffers that stay in float64 when the module is cast, such as locations.
        takes_missing: whether NaN is a missing element, which `over_event` leaves out of
            log p(x|z).
        flags_missing: whether `inputs` has a flag for each missing element.
        added: buffers that older versions did not store. They keep their initial values when an
            older checkpoint is loaded.
    """

    event_shape: Shape
    elementwise: tuple[str, ...] = ()
    column_names: tuple[str, ...] | None = None  # of a table, for messages
    advice: str = "choose a likelihood whose support holds the data"
    missing_advice: str = "fill in what is missing, or use a likelihood with independent elements"
    takes_doubles: bool = False
    takes_missing: bool = True
    flags_missing: bool = False
    in_double: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def attach(self, event_shape: Shape) -> None:
        """Create parameters and buffers for events of a shape; a subclass extends this method."""
        self.event_shape = tuple(event_shape)

    @property
    def input_shape(self) -> Shape:
        """The shape of the encoder's input for one row."""
        return self.event_shape

    def inputs(self, x: Tensor) -> Tensor:
        """The encoder's input for data (*, *event): the data themselves by default."""
        return x

    def missing_inputs(self, x: Tensor) -> Tensor:
        """Which entries of `inputs(x)` belong to missing elements, with its shape."""
        return x.isnan()

    def suited(self, data: Data) -> Likelihood:
        """The likelihood to declare for a data set: this one, or a copy with the data's columns.

        Raises:
            InputError: for columns that it cannot score.
        """
        self.check_columns(data.columns)
        return self

    def check_columns(self, columns: Sequence[Column] | None) -> None:
        """Refuse columns of words encoded as numbers; None means that the data are not a table.

        Raises:
            InputError: with the name of the first such column.
        """
        self.column_names = None if columns is None else tuple(column.name for column in columns)
        for column in columns or ():
            if column.levels is not None and column.kind != "bernoulli":
                raise InputError(
                    f"column {column.name!r} holds words ({column.levels[0]!r} ...), which "
                    f"{type(self).__name__} cannot score: use {cure('Mixed', '--likelihood Mixed')}, or drop "
                    "the column"
                )

    @property
    def param_shapes(self) -> dict[str, Shape]:
        """The parameters that the decoder computes, by name, with the shape of each for one row."""
        return dict.fromkeys(self.elementwise, self.event_shape)

    @abstractmethod
    def forward(self, *args: Any, **params: Any) -> dist.TorchDistribution:  # noqa: ANN401
        """The distribution p(x|z) for parameters of shape (*, *shape)."""

    def over_event(self, elements: dist.TorchDistribution) -> dist.TorchDistribution:
        """Independent elements as one event: batch (*, *event) becomes batch (*).

        NaN is then a missing element. It is integrated out: its log-density is 0.
        """
        dims = len(self.event_shape)
        return Elements(elements, dims, self.fill) if self.takes_missing else elements.to_event(dims)

    @property
    def fill(self) -> float | Tensor:
        """A value inside the support, to replace a missing element; its density is not used."""
        return 1.0

    @property
    def measure(self) -> Measure:
        """Whether p(x|z) is a probability ("mass"), a density in the units of x, or "mixed".

        Example:
            >>> from pyrovae.likelihoods import Bernoulli
            >>> likelihood = Bernoulli()
            >>> likelihood.attach((4,))
            >>> likelihood.measure
            'mass'
        """
        return "mass" if self._support().is_discrete else "density"

    @property
    def discrete_places(self) -> tuple[bool, ...] | None:
        """Which elements are discrete, if some elements are discrete and others real; else None."""
        return None

    @property
    def of_batch(self) -> bool:
        """Whether the density couples the rows of a batch in training."""
        return False

    def _apply(self, fn: Any, recurse: bool = True) -> Self:  # noqa: ANN401, FBT001, FBT002
        """Keep the buffers `in_double` in float64 when the module is cast; they move with it."""
        exact = {name: self._buffers[name] for name in self.in_double if name in self._buffers}
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            moved = self._buffers[name]
            if buffer is not None and moved is not None and not moved.is_meta:
                self._buffers[name] = buffer.to(moved.device)
        return self

    def check(self, x: Tensor, name: str = "the data") -> None:
        """Refuse values outside the support; the message says how many there are and where.

        Raises:
            InputError: if a value of x (N, *event) lies outside the support.
        """
        support = self._support()
        for start in range(0, len(x), 1024):
            rows = x[start : start + 1024].to(self._device(x))
            if not support.check(rows).all() or bool(rows.isinf().any()):
                self._refuse(x.to(rows.device), support, name)

    def contains(self, x: Tensor) -> Tensor:
        """Whether each element of x (*, *event) is in the support; each row, if coupled."""
        return self._support().check(x)

    def _support(self) -> torch.distributions.constraints.Constraint:
        device = self._device(torch.empty(0))
        zeros = {n: torch.zeros(1, *s, dtype=_dtype(self)) for n, s in self.param_shapes.items()}
        support = self(**{n: p.to(device) for n, p in zeros.items()}).support
        return getattr(support, "base_constraint", support)

    def _device(self, x: Tensor) -> torch.device:
        """The device of the parameters, or of x if there are none."""
        return next((t.device for t in (*self.parameters(), *self.buffers())), x.device)

    def _refuse(self, x: Tensor, support: torch.distributions.constraints.Constraint, name: str) -> None:
        outside = ~support.check(x)
        outside = outside | (x.isinf() if outside.shape == x.shape else x.isinf().flatten(1).any(1))
        what = "values" if outside.shape == x.shape else "rows"  # some supports are defined for whole events
        row = int(outside.flatten(1).any(1).nonzero()[0] if outside.dim() > 1 else outside.nonzero()[0])
        suspects = x[row][outside[row]] if what == "values" else x[row][x[row].isnan()]
        value = suspects.flatten()[0].item() if suspects.numel() else None
        where = f"row {row}{self._column(x[row], outside[row])}"
        first = where if value is None else f"{value:g}, in {where}"
        raise InputError(
            f"{type(self).__name__} cannot give {name} a density: {int(outside.sum())} {what} are outside "
            f"its support (the first is {first}); "
            f"{self.missing_advice if value is not None and math.isnan(value) else self.advice}"
        )

    def _column(self, x: Tensor, outside: Tensor) -> str:
        """The column of the first value outside the support, in a row (C,) of a table or array."""
        if x.dim() != 1 or len(x) < 2 or outside.shape != x.shape:
            return ""
        place = int(outside.nonzero()[0])
        names = self.column_names
        return f" of column {names[place]!r}" if names and len(names) == len(x) else f" at position {place}"


def _dtype(module: nn.Module) -> torch.dtype:
    floating = (t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    return next(floating, torch.get_default_dtype())
