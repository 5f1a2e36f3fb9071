"""What every likelihood is."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.part import Part

if TYPE_CHECKING:
    from pyrovae.datasets import Column, Data

__all__ = ["Likelihood", "Shape"]

Shape = tuple[int, ...]


class Likelihood(Part):
    """Base class of likelihoods: `forward(**params)` gives a distribution with the event shape of x.

    A subclass names its parameters in `elementwise`, or in `param_shapes` when a shape is not the event's,
    and says in `advice` what to do with values outside its support.
    """

    event_shape: Shape
    elementwise: tuple[str, ...] = ()
    column_names: tuple[str, ...] | None = None  # of a table, for messages
    advice: str = "choose a likelihood whose support holds the data"

    def attach(self, event_shape: Shape) -> None:
        """Create parameters and buffers for data of shape `event_shape`; extend it in a subclass."""
        self.event_shape = tuple(event_shape)

    @property
    def input_shape(self) -> Shape:
        """The shape of what the encoder reads of one row."""
        return self.event_shape

    def inputs(self, x: Tensor) -> Tensor:
        """What the encoder reads of data (*, *event): the data themselves unless a subclass changes it."""
        return x

    def suited(self, data: Data) -> Likelihood:
        """The likelihood to declare for some data: this one, unless it takes its columns from them.

        Raises:
            InputError: for columns that it cannot score.
        """
        self.check_columns(data.columns)
        return self

    def check_columns(self, columns: Sequence[Column] | None) -> None:
        """Refuse columns whose numbers stand for words; None is for data that are not a table.

        Raises:
            InputError: with the name of the first such column.
        """
        self.column_names = None if columns is None else tuple(column.name for column in columns)
        for column in columns or ():
            if column.levels is not None and column.kind != "bernoulli":
                raise InputError(
                    f"column {column.name!r} holds words ({column.levels[0]!r} ...), which "
                    f"{type(self).__name__} cannot score: use Mixed (--likelihood Mixed), or drop the column"
                )

    @property
    def param_shapes(self) -> dict[str, Shape]:
        """The parameters that the decoder computes, by name, with the shape of each for one row."""
        return dict.fromkeys(self.elementwise, self.event_shape)

    @abstractmethod
    def forward(self, *args: Any, **params: Any) -> dist.TorchDistribution:  # noqa: ANN401
        """The distribution p(x|z) for parameters of shape (*, *shape)."""

    def over_event(self, elements: dist.TorchDistribution) -> dist.TorchDistribution:
        """Independent elements as one event: batch (*, *event) becomes batch (*)."""
        return elements.to_event(len(self.event_shape))

    @property
    def of_batch(self) -> bool:
        """Whether its density in training couples the rows of a batch."""
        return False

    def check(self, x: Tensor, name: str = "the data") -> None:
        """Refuse values outside the support, in one sentence that says how many there are and where.

        Raises:
            InputError: when a value of x (N, *event) lies outside the support.
        """
        support = self._support()
        for start in range(0, len(x), 1024):
            rows = x[start : start + 1024].to(self._device(x))
            if not support.check(rows).all():
                self._refuse(x.to(rows.device), support, name)

    def _support(self) -> torch.distributions.constraints.Constraint:
        device = self._device(torch.empty(0))
        zeros = {n: torch.zeros(1, *s, dtype=_dtype(self)) for n, s in self.param_shapes.items()}
        support = self(**{n: p.to(device) for n, p in zeros.items()}).support
        return getattr(support, "base_constraint", support)

    def _device(self, x: Tensor) -> torch.device:
        """The device of its parameters; that of x when it has none."""
        return next((t.device for t in (*self.parameters(), *self.buffers())), x.device)

    def _refuse(self, x: Tensor, support: torch.distributions.constraints.Constraint, name: str) -> None:
        outside = ~support.check(x)
        what = "values" if outside.shape == x.shape else "rows"  # some supports are of a whole event
        row = int(outside.flatten(1).any(1).nonzero()[0] if outside.dim() > 1 else outside.nonzero()[0])
        suspects = x[row][outside[row]] if what == "values" else x[row][x[row].isnan()]
        value = suspects.flatten()[0].item() if suspects.numel() else None
        where = f"row {row}{self._column(x[row], outside[row])}"
        missing = "fill in what is missing, or use Mixed, which leaves it out"
        first = where if value is None else f"{value:g}, in {where}"
        raise InputError(
            f"{type(self).__name__} cannot give {name} a density: {int(outside.sum())} {what} are outside "
            f"its support (the first is {first}); "
            f"{missing if value is not None and math.isnan(value) else self.advice}"
        )

    def _column(self, x: Tensor, outside: Tensor) -> str:
        """Where the first value outside the support is, in a row (C,) of a table or array of columns."""
        if x.dim() != 1 or len(x) < 2 or outside.shape != x.shape:
            return ""
        place = int(outside.nonzero()[0])
        names = self.column_names
        return f" of column {names[place]!r}" if names and len(names) == len(x) else f" at position {place}"


def _dtype(module: nn.Module) -> torch.dtype:
    floating = (t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    return next(floating, torch.get_default_dtype())
