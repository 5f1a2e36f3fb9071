r"""Tables: each column with its own kind of distribution, and missing entries.

    log p(x|z) = sum over the present columns i of log p_i(x_i|z)        NaN: missing

The columns are independent given z, so missing entries are integrated out by leaving them out, and
the ELBO is that of the present entries. The encoder reads zeros in place of missing entries, and
flags that mark them.

Columns differ in scale, and a network works best with numbers near 1. So the network gives
locations and scales in units of the training data's mean and spread, and means of counts in units
of the counts' mean,

    x = m + s u,   log p(x) = log p_u((x - m) / s) - log s

which is the density of x in the units of the table. m and s are in float64, and x may be too: then
(x - m) / s keeps all digits, and the rest is computed in the type of the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.checks import words_of
from pyrovae.distributions import Columns
from pyrovae.distributions.columns import select
from pyrovae.errors import InputError
from pyrovae.likelihoods.base import Likelihood, Measure, Shape
from pyrovae.likelihoods.column_kinds import ColumnKind, kind_of
from pyrovae.likelihoods.units import limited, moments

if TYPE_CHECKING:
    from pyrovae.datasets import Column, Data

__all__ = ["Mixed"]

Group = tuple[str, Any, ColumnKind]


class Mixed(Likelihood):
    r"""Columns of several kinds, \(p(x|z) = \prod_{i \text{ present}} p_i(x_i|z)\); NaN is missing.

    Arguments:
        columns: the kind of each column: "normal", "laplace", "studentt", "lognormal", "poisson",
            "negativebinomial", "zeroinflatednegativebinomial", "bernoulli" or "categorical:5"
            (codes 0 to 4). With None, `suited(data)` takes them from a table. Without a table,
            every element is normal, and events may have any shape.

    Raises:
        InputError: if a kind is unknown, or the data have another number of columns.

    Reference:
        Nazabal, Olmos, Ghahramani & Valera (2020), "Handling incomplete heterogeneous data using
        VAEs"; Mattei & Frellsen (2019), "MIWAE: deep generative modelling and imputation of
        incomplete data sets".

    Example:
        >>> likelihood = Mixed(columns=["normal", "categorical:3"])
        >>> likelihood.attach((2,))
        >>> {name: tuple(shape) for name, shape in likelihood.param_shapes.items()}
        {'normal_loc': (1,), 'normal_raw_scale': (1,), 'categorical3_logits': (3, 1)}
        >>> p = likelihood(**{n: torch.zeros(1, *s) for n, s in likelihood.param_shapes.items()})
        >>> p.log_prob(torch.tensor([[torch.nan, 2.0]])).exp()  # only the class is present
        tensor([0.3333])
    """

    advice = (
        "every column must hold values of its kind (numbers, counts from 0, 0 and 1, or codes from 0), or be "
        "missing"
    )

    takes_doubles = True
    flags_missing = True
    in_double = ("shift", "spread", "input_shift", "input_spread")
    shift: Tensor
    spread: Tensor
    input_shift: Tensor
    input_spread: Tensor

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        super().__init__()
        self.columns = None if columns is None else words_of("columns", columns)

    # ---------------------------------------------------------------- kinds

    def suited(self, data: Data) -> Likelihood:
        if self.columns is None and data.columns is not None:
            return type(self)(columns=[column.kind for column in data.columns])
        return super().suited(data)

    def check_columns(self, columns: Sequence[Column] | None) -> None:
        self.column_names = None if columns is None else tuple(column.name for column in columns)
        kinds = None if columns is None else tuple(column.kind for column in columns)
        own = self.columns or ("normal",) * len(kinds or ())
        if kinds is not None and kinds != own:
            raise InputError(
                f"{self!r} was declared for other columns than those of the data ({', '.join(kinds)}): "
                "declare it as Mixed().suited(data)"
            )

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        if self.columns is not None and self.event_shape != (len(self.columns),):
            raise InputError(
                f"Mixed was given {len(self.columns)} columns, and data have the shape {self.event_shape}: "
                "give a kind for each column, or None"
            )
        self.laws = nn.ModuleDict()  # the likelihood of each kind; its name is part of saved weights
        for word in self._words():
            places = [i for i, other in enumerate(self.columns or ()) if other == word]
            name = word.replace(":", "")
            self.register_buffer(f"places_{name}", torch.tensor(places, dtype=torch.long), persistent=False)
            self.laws[name] = kind_of(word).likelihood()
            self.laws[name].attach((len(places),) if places else self.event_shape)  # type: ignore[operator]
        for name, value in (("shift", 0.0), ("spread", 1.0)):
            self.register_buffer(name, torch.full(self.event_shape, value, dtype=torch.float64))
            self.register_buffer(f"input_{name}", torch.full(self.event_shape, value, dtype=torch.float64))

    @property
    def measure(self) -> Measure:
        words = {part.measure for part in self.laws.values()}
        return words.pop() if len(words) == 1 else "mixed"  # type: ignore[return-value]

    @property
    def discrete_places(self) -> tuple[bool, ...] | None:
        if self.measure != "mixed":
            return None
        measures = {
            word: part.measure for word, (_, part, _) in zip(self._words(), self._groups(), strict=True)
        }
        return tuple(measures[word] == "mass" for word in self.columns or ())

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {
            f"{name}_{param}": shape
            for name, part, _ in self._groups()
            for param, shape in part.param_shapes.items()
        }

    def forward(self, **params: Tensor) -> dist.TorchDistribution:
        groups = []
        for name, part, kind in self._groups():
            index = self._places(name)
            own = {param: params[f"{name}_{param}"] for param in part.param_shapes}
            shift, spread = (select(t, index) for t in (self.shift, self.spread))
            groups.append((index, kind.in_units(part(**own).base_dist, shift, spread), kind.fill(shift)))
        return Columns(groups).to_event(len(self.event_shape))

    # ---------------------------------------------------------------- the encoder's input

    @property
    def input_shape(self) -> Shape:
        first, *rest = self.event_shape
        more = (max(kind.levels - 1, 0) * part.event_shape[0] for _, part, kind in self._groups())
        return (2 * first + sum(more), *rest)

    def inputs(self, x: Tensor) -> Tensor:
        """Standardised numbers, one-hot classes, zeros for missing entries, and their flags."""
        read = [self._read(name, kind, select(x, self._places(name))) for name, _, kind in self._groups()]
        return torch.cat([*read, x.isnan().to(x.dtype)], dim=-len(self.event_shape))

    def missing_inputs(self, x: Tensor) -> Tensor:
        """Which entries of `inputs` are of missing elements: numbers and classes, but no flag."""
        missing = x.isnan()
        parts = [
            select(missing, self._places(name)).repeat_interleave(max(kind.levels, 1), -1)
            for name, _, kind in self._groups()
        ]
        return torch.cat([*parts, torch.zeros_like(missing)], dim=-len(self.event_shape))

    def _read(self, name: str, kind: ColumnKind, x: Tensor) -> Tensor:
        if kind.levels:
            codes = torch.arange(kind.levels, dtype=x.dtype, device=x.device)
            return (x.unsqueeze(-1) == codes).to(x.dtype).flatten(-2)  # NaN is not equal to any code
        index = self._places(name)
        shift, spread = (select(t, index) for t in (self.input_shift, self.input_spread))
        missing = x.isnan()
        safe = torch.where(missing, kind.fill(shift), x)
        return torch.where(missing, x.new_zeros(()), limited((kind.read(safe) - shift) / spread))

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Set mean and spread of each column of numbers or counts, from the present entries."""
        for name, _, kind in self._groups():
            if not kind.has_units:
                continue
            index = self._places(name)
            values = select(x, index).double()
            read = moments(kind.read(values), ~values.isnan())
            shift, spread = kind.units(read, moments(values))
            for buffer, value in (
                (self.input_shift, read[0]),
                (self.input_spread, read[1]),
                (self.shift, shift),
                (self.spread, spread),
            ):
                _put(buffer, index, value)

    # ---------------------------------------------------------------- pieces

    def _words(self) -> list[str]:
        return list(dict.fromkeys(self.columns or ("normal",)))

    def _groups(self) -> list[Group]:
        """The name, likelihood and kind of each group of columns of one kind."""
        return [(*item, kind_of(word)) for word, item in zip(self._words(), self.laws.items(), strict=True)]

    def _places(self, name: str) -> Tensor | None:
        """The indices of the columns of a group; None if all elements are of one kind."""
        return None if self.columns is None else getattr(self, f"places_{name}")


def _put(buffer: Tensor, index: Tensor | None, values: Tensor) -> None:
    if index is None:
        buffer.copy_(values)
    else:
        buffer[index] = values.to(buffer.dtype)
