"""The program of a measurement y of x: p(z) p(y|z), derived from any program p(z) p(x|z).

    model   the model of the program, in which the site "x" is replaced by p(y|z), observed at y
    guide   the guide of the program, which reads a rough x that is computed from y

If p(y|z) has no closed form, x is a latent site too: both draw it from p(x|z), so its density
cancels in the importance weight. Everything that takes a program takes this one: log p(y) with its
diagnostics is `log_evidence` of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import constraints

from pyrovae.datasets import Rows
from pyrovae.errors import InputError, sizes
from pyrovae.measurements.base import Custom, Measurement
from pyrovae.measurements.families import elements_of
from pyrovae.measurements.steps import Steps
from pyrovae.terms import DATA, PARTICLES, Program, Runner
from pyrovae.terms.global_posterior import holding
from pyrovae.terms.sites import sites_of
from pyrovae.terms.trace import Fixed
from pyrovae.threads import alone

__all__ = ["Measured"]

SITE = "x"
LATENT = "x before step {}"  # the name of a latent input of a step


class Measured(Program):
    """A program whose observations are measurements of those of another.

    Arguments:
        target: a `Program`, an object with a Pyro model and guide, or a pair of these.
        measurement: how y comes from x.
        event_shape: the shape of x, if the program does not declare it.

    Raises:
        InputError: for an x that cannot be measured.
    """

    checks_support = True

    def __init__(self, target: Any, measurement: Measurement, event_shape: tuple[int, ...]) -> None:  # noqa: ANN401
        self.runner = Runner(target)
        self.inner = self.runner.program
        self.steps = Steps(measurement, event_shape)
        self.event_shape = self.steps.shape  # type: ignore[assignment]
        self.takes_doubles = self.inner.takes_doubles
        mechanism = getattr(self.inner, "mechanism", None)
        if mechanism is not None and not self.steps.is_missing:
            raise InputError(
                f"{mechanism!r} says why entries of x are missing, and {measurement!r} gives no entries of "
                "x: use Missing(), or a model without a mechanism"
            )

    @property
    def module(self) -> torch.nn.Module | None:
        return self.inner.module

    @property
    def has_globals(self) -> bool:  # type: ignore[override]
        """Whether the program declares variables that all rows share."""
        return self.inner.has_globals

    def central_globals(self) -> dict[str, Tensor] | None:
        return self.inner.central_globals()

    @contextmanager
    def holding(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Hold the variables that all rows share, here and in the program of x."""
        self.runner.global_sites = tuple(values)
        with holding(self.runner, values):
            yield

    def model(self, y: Tensor, context: Tensor | None = None, labels: Tensor | None = None) -> Any:  # noqa: ANN401
        """The Pyro model p(z) p(y|z) of rows y (N, *shape)."""
        with _Measuring(self.steps, y):
            return self.runner.model(*self._arguments(y, context, labels))

    def guide(self, y: Tensor, context: Tensor | None = None, labels: Tensor | None = None) -> Any:  # noqa: ANN401
        """The Pyro guide q(z | x), with a rough x computed from y; draws x if it is a latent."""
        arguments = self._arguments(y, context, labels)
        if self.steps.is_missing:
            return self.runner.guide(*arguments)
        trace = poutine.trace(self.runner.guide).get_trace(*arguments)
        with poutine.block():
            replayed = poutine.trace(poutine.replay(self.runner.model, trace=trace)).get_trace(*arguments)
        with poutine.block(hide=[DATA]):  # the trace has the plate of the inner guide already
            plate = pyro.plate(DATA, len(y), dim=-1)
        with plate:
            self.steps.observed(_observed(replayed), _latent_site(self.steps))
        return None

    def check_rows(self, rows: Rows, what: str) -> None:
        if tuple(rows.x.shape[1:]) != self.event_shape:
            raise InputError(
                f"y must have shape (N, {sizes(self.event_shape or ())}) for {self.steps.measurement!r} of x "
                f"{self.steps.event_shape}, not {tuple(rows.x.shape)}"
            )
        if self.steps.is_missing:
            self.inner.check_rows(rows, "y")
            return
        missing = rows.x.isnan().reshape(len(rows), -1).any(1)
        if missing.any() and not all(part.takes_missing for part in self.steps.parts):
            raise InputError(
                f"{self.steps.measurement!r} needs every entry of y, and row {int(missing.nonzero()[0])} has "
                "missing ones: fill them in"
            )
        self._check_support(rows)

    def _check_support(self, rows: Rows) -> None:
        with alone, self.runner.isolated(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            model = poutine.trace(self.model).get_trace(*rows[:1].arguments)
        fn, outside = _observed(model), rows.x.isinf().reshape(len(rows), -1).any(1)
        self._check_shape(tuple(fn.batch_shape + fn.event_shape))
        element, _ = elements_of(fn)
        is_of_row = constraints.is_dependent(type(element).support)  # may depend on parameters of the row
        if not (is_of_row and any(isinstance(part, Custom) for part in self.steps.parts)):
            outside = outside | ~fn.support.check(rows.x)
        if outside.any():
            row = int(outside.nonzero()[0])
            raise InputError(
                f"row {row} of y is not a result of {self.steps.measurement!r}: give values that it can "
                "have, and NaN where one is missing"
            )

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse a function whose y for one row, (1, *shape), is not of the declared shape."""
        own = shape[1:]
        if own != self.steps.shape:
            raise InputError(
                f"the function in through= gives a y of shape {own} for each x, and y has the shape "
                f"{self.steps.shape}: give its own shape, as in Custom(function, y_shape={own})"
            )

    def likelihood(self, values: Mapping[str, Tensor], rows: Rows) -> Any:  # noqa: ANN401
        """p(x|z) at values of the latent sites, each (K, B, *shape); batch (K, B)."""
        particles = len(next(iter(values.values())))
        nesting = self.runner.max_plate_nesting
        arguments = self._arguments(*rows.arguments)
        with alone, Fixed(values), pyro.plate(PARTICLES, particles, dim=-1 - nesting):
            trace = poutine.trace(self.runner.model).get_trace(*arguments)
        return _observed(trace)

    def guide_knows(self, rows: Rows) -> Tensor:
        """Whether the guide was trained on what it reads, (B,).

        Otherwise it may be narrow in a wrong place, which its own weights do not show.
        """
        if not self.steps.is_missing:
            return torch.zeros(len(rows), dtype=torch.bool, device=rows.x.device)
        missing = rows.x.isnan()
        if self._given is not None:  # it never sees these
            missing = missing & ~self._given.to(missing.device)
        return ~missing.reshape(len(rows), -1).any(1) | self.inner.reads_missing

    def with_context(self, x: Tensor, rows: Rows) -> Tensor:
        """x (*, B, *event) with the entries that the context gives, if it is a part of x."""
        given = self._given
        if given is None or rows.context is None:
            return x
        assert self.inner.schema is not None
        nothing = x.new_zeros(len(rows), *self.steps.event_shape)
        known = self.inner.schema.derived.completed(nothing, rows.context)  # type: ignore[union-attr]
        return torch.where(given.to(x.device), known, x)

    def without_given(self, sd: Tensor) -> Tensor:
        """Standard deviations (B, *event), 0 where the context gives x."""
        return sd if self._given is None else torch.where(self._given.to(sd.device), 0.0, sd)

    @property
    def _given(self) -> Tensor | None:
        """The entries of x that the context gives, (*event)."""
        derived = None if self.inner.schema is None else self.inner.schema.derived
        return None if derived is None else derived.given(self.steps.event_shape)

    def drawn(self, values: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """The latent inputs of steps among site values, by the number of the step."""
        every = {number: LATENT.format(number) for number in range(len(self.steps.parts))}
        return {number: values[name] for number, name in every.items() if name in values}

    def _arguments(self, y: Tensor, context: Tensor | None = None, labels: Tensor | None = None) -> tuple:
        """The arguments of the inner program, with a rough x in place of y."""
        x = self.inner.readable(self.steps.guess(y))
        return Rows(x, context, labels).arguments


class _Measuring(Messenger):
    """Replaces the observed site of a model by the measurement."""

    def __init__(self, steps: Steps, y: Tensor) -> None:
        super().__init__()
        self.steps, self.y = steps, y

    def _pyro_sample(self, msg: Any) -> None:  # noqa: ANN401
        if msg["name"] == SITE and msg["is_observed"]:
            msg["fn"] = self.steps.observed(msg["fn"], _latent_site(self.steps))
            msg["value"] = self.y


def _latent_site(steps: Steps) -> Any:  # noqa: ANN401
    """Draws the input of a step as a latent site of the running program."""

    def draw(number: int, p: Any) -> Tensor:  # noqa: ANN401
        shape = steps.event_shape if number == 0 else steps.parts[number].event_shape
        return pyro.sample(LATENT.format(number), p.to_event(len(shape) - len(p.event_shape)))

    return draw


def _observed(trace: Any) -> Any:  # noqa: ANN401
    """The distribution of the observed site.

    Raises:
        InputError: for a model without an observed site "x".
    """
    sites = {name: site for name, site in sites_of(trace) if site["is_observed"]}
    if SITE not in sites:
        raise InputError(
            f"condition needs a model that observes a site 'x', and this one observes {sorted(sites)}: "
            "rename its site"
        )
    return sites[SITE]["fn"]
