r"""Tables: each column with a law of its own kind, and entries that are missing.

    log p(x|z) = sum over the columns i that are there of log p_i(x_i|z)        NaN: not there

What is missing is summed out, because the columns are independent given z: the ELBO is one of the entries
that are there. The encoder reads zeros in their place, and which they are.

Columns come in all sizes, and a network likes numbers near 1. So the laws of numbers are given places and
scales in units of the training data's own mean and spread, and those of counts in units of their mean,

    x = m + s u,   log p(x) = log p_u((x - m) / s) - log s

which is the density of x in the units of the table all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import Columns, ZeroInflated
from pyrovae.errors import InputError
from pyrovae.likelihoods.above import LogNormal
from pyrovae.likelihoods.base import Likelihood, Shape
from pyrovae.likelihoods.binary import Bernoulli
from pyrovae.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from pyrovae.likelihoods.levels import Categorical
from pyrovae.likelihoods.real import Laplace, Normal, StudentT

if TYPE_CHECKING:
    from pyrovae.datasets import Column, Data

__all__ = ["Mixed"]

_NUMBERS: dict[str, Callable[[], Likelihood]] = {
    "normal": lambda: Normal("predicted"),
    "laplace": lambda: Laplace("predicted"),
    "studentt": lambda: StudentT("learned", "predicted"),
    "lognormal": lambda: LogNormal("predicted"),
}
_COUNTS: dict[str, Callable[[], Likelihood]] = {
    "poisson": Poisson,
    "negativebinomial": NegativeBinomial,
    "zeroinflatednegativebinomial": ZeroInflatedNegativeBinomial,
}


class Mixed(Likelihood):
    r"""Columns of several kinds, \(p(x|z) = \prod_{i \text{ there}} p_i(x_i|z)\); NaN is missing.

    Arguments:
        columns: a word for each column: "normal", "laplace", "studentt", "lognormal", "poisson",
            "negativebinomial", "zeroinflatednegativebinomial", "bernoulli" or "categorical:5" (codes 0 to 4).
            With None `suited(data)` takes them from a table; without a table every element is normal, and
            events may have any shape.

    Raises:
        InputError: for an unknown word, or another number of columns than data have.

    Reference:
        Nazabal, Olmos, Ghahramani & Valera (2020), "Handling incomplete heterogeneous data using VAEs";
        Mattei & Frellsen (2019), "MIWAE: deep generative modelling and imputation of incomplete data sets".

    Example:
        >>> likelihood = Mixed(columns=["normal", "categorical:3"])
        >>> likelihood.attach((2,))
        >>> {name: tuple(shape) for name, shape in likelihood.param_shapes.items()}
        {'normal_loc': (1,), 'normal_raw_scale': (1,), 'categorical3_logits': (3, 1)}
        >>> law = likelihood(**{n: torch.zeros(1, *s) for n, s in likelihood.param_shapes.items()})
        >>> law.log_prob(torch.tensor([[torch.nan, 2.0]])).exp()  # only the class is there
        tensor([0.3333])
    """

    advice = (
        "every column must hold values of its kind (numbers, counts from 0, 0 and 1, or codes from 0), or be "
        "missing"
    )

    shift: Tensor
    spread: Tensor
    input_shift: Tensor
    input_spread: Tensor

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        super().__init__()
        self.columns = None if columns is None else tuple(columns)

    # ---------------------------------------------------------------- kinds

    def suited(self, data: Data) -> Likelihood:
        if self.columns is None and data.columns is not None:
            return type(self)(columns=[column.kind for column in data.columns])
        return super().suited(data)

    def check_columns(self, columns: Sequence[Column] | None) -> None:
        kinds = None if columns is None else tuple(column.kind for column in columns)
        own = self.columns or ("normal",) * len(kinds or ())
        if kinds is not None and kinds != own:
            raise InputError(
                f"{self!r} was declared for other columns than the data's ({', '.join(kinds)}): declare it "
                "as Mixed().suited(data)"
            )

    def attach(self, event_shape: Shape) -> None:
        super().attach(event_shape)
        if self.columns is not None and self.event_shape != (len(self.columns),):
            raise InputError(
                f"Mixed was given {len(self.columns)} columns, and data have the shape {self.event_shape}: "
                "give a kind for each column, or None"
            )
        self.laws = nn.ModuleDict()
        for kind in dict.fromkeys(self.columns or ("normal",)):
            places = [i for i, other in enumerate(self.columns or ()) if other == kind]
            name = kind.replace(":", "")
            self.register_buffer(f"places_{name}", torch.tensor(places, dtype=torch.long), persistent=False)
            law = _law(kind)
            law.attach((len(places),) if places else self.event_shape)
            self.laws[name] = law
        for name, value in (("shift", 0.0), ("spread", 1.0)):
            self.register_buffer(name, torch.full(self.event_shape, value))
            self.register_buffer(f"input_{name}", torch.full(self.event_shape, value))

    @property
    def param_shapes(self) -> dict[str, Shape]:
        return {
            f"{name}_{param}": shape
            for name, part in self._parts()
            for param, shape in part.param_shapes.items()
        }

    def forward(self, **params: Tensor) -> dist.TorchDistribution:
        groups = []
        for name, part in self._parts():
            index = self._places(name)
            own = {param: params[f"{name}_{param}"] for param in part.param_shapes}
            shift, spread = (_taken(t, index) for t in (self.shift, self.spread))
            law = _in_units(part(**own).base_dist, shift, spread)
            groups.append((index, law, _inside(part, shift)))
        return self.over_event(Columns(groups))

    # ---------------------------------------------------------------- what the encoder reads

    @property
    def input_shape(self) -> Shape:
        first, *rest = self.event_shape
        more = [(p.classes - 1) * p.event_shape[0] for _, p in self._parts() if isinstance(p, Categorical)]
        return (2 * first + sum(more), *rest)

    def inputs(self, x: Tensor) -> Tensor:
        """Numbers standardised, classes as one-hot entries, zeros for what is missing, and what that is."""
        read = [self._read(name, part, _taken(x, self._places(name))) for name, part in self._parts()]
        return torch.cat([*read, x.isnan().to(x.dtype)], dim=-len(self.event_shape))

    def _read(self, name: str, part: Likelihood, x: Tensor) -> Tensor:
        if isinstance(part, Categorical):
            codes = torch.arange(part.classes, dtype=x.dtype, device=x.device)
            return (x.unsqueeze(-1) == codes).to(x.dtype).flatten(-2)  # NaN equals nothing
        index = self._places(name)
        shift, spread = (_taken(t, index) for t in (self.input_shift, self.input_spread))
        missing = x.isnan()
        safe = torch.where(missing, _inside(part, shift), x)
        return torch.where(missing, x.new_zeros(()), (_as_read(part, safe) - shift) / spread)

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Take mean and spread of each column of numbers or counts, over the entries that are there."""
        for name, part in self._parts():
            if isinstance(part, (Bernoulli, Categorical)):
                continue
            index = self._places(name)
            taken = _taken(x, index).double()
            mean, spread = _moments(taken, _as_read(part, taken))
            _put(self.input_shift, index, mean)
            _put(self.input_spread, index, spread)
            if isinstance(part, (Poisson, NegativeBinomial)):
                mean, spread = torch.zeros_like(mean), _moments(taken, taken)[0].clamp(min=0.1)
            _put(self.shift, index, mean)
            _put(self.spread, index, spread)

    # ---------------------------------------------------------------- pieces

    def _parts(self) -> list[tuple[str, Likelihood]]:
        return list(self.laws.items())  # type: ignore[arg-type]

    def _places(self, name: str) -> Tensor | None:
        """Where the columns of a group stand; None when every element is of one kind."""
        return None if self.columns is None else getattr(self, f"places_{name}")


def _law(kind: str) -> Likelihood:
    word, _, count = kind.partition(":")
    known = _NUMBERS | _COUNTS | {"bernoulli": Bernoulli}
    if word == "categorical" and count.isdecimal() and int(count) >= 2:
        return Categorical(int(count), grey=False)
    if kind not in known:
        raise InputError(
            f"Mixed knows no columns of kind {kind!r}: use one of {', '.join(known)} or categorical:N, with "
            "N classes, 2 or more"
        )
    return known[kind]()


def _as_read(part: Likelihood, x: Tensor) -> Tensor:
    """A scale on which values are evenly spread."""
    if isinstance(part, LogNormal):
        return x.log()
    return x.log1p() if isinstance(part, (Poisson, NegativeBinomial)) else x


def _inside(part: Likelihood, shift: Tensor) -> Tensor:
    """Values inside the support, and not far out, to stand where one is missing."""
    if isinstance(part, (Normal, Laplace, StudentT)):
        return shift
    return shift.exp() if isinstance(part, LogNormal) else torch.ones_like(shift)


def _in_units(law: dist.TorchDistribution, shift: Tensor, spread: Tensor) -> dist.TorchDistribution:
    """The law of shift + spread u, or of counts with a mean `spread` times as large."""
    if isinstance(law, dist.StudentT):
        return dist.StudentT(law.df, shift + spread * law.loc, spread * law.scale)
    if isinstance(law, (dist.Normal, dist.Laplace, dist.LogNormal)):
        return type(law)(shift + spread * law.loc, spread * law.scale)
    if isinstance(law, dist.Poisson):
        return dist.Poisson(spread * law.rate)
    if isinstance(law, dist.NegativeBinomial):
        return dist.NegativeBinomial(law.total_count, logits=law.logits + spread.log())
    if isinstance(law, ZeroInflated):
        counts = _in_units(law.base_dist, shift, spread)
        return ZeroInflated(counts, gate_logits=law.gate_logits)
    return law


def _moments(x: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of each column of `read` over the rows where x is there; 0 and 1 where none is."""
    there = ~x.isnan()
    count = there.sum(0).clamp(min=1)
    mean = torch.where(there, read, 0.0).sum(0) / count
    spread = (torch.where(there, read - mean, 0.0).square().sum(0) / count).sqrt()
    return mean, torch.where(spread > 1e-6 * mean.abs(), spread, 1.0)


def _taken(x: Tensor, index: Tensor | None) -> Tensor:
    return x if index is None else x.index_select(-1, index)


def _put(buffer: Tensor, index: Tensor | None, values: Tensor) -> None:
    if index is None:
        buffer.copy_(values)
    else:
        buffer[index] = values.to(buffer.dtype)
