"""Running a program on rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.terms.draws import Draws, strata_of
from pyrovae.terms.global_checks import check_global_sites
from pyrovae.terms.global_sites import Fixed, ParticlePlate, Weights, global_names, held
from pyrovae.terms.program import as_program
from pyrovae.terms.sites import (
    check_sites,
    depth,
    is_enumerated,
    refuse_undeclared_event,
    sites_of,
)
from pyrovae.terms.trace import Terms, TracePair, run
from pyrovae.threads import alone

__all__ = ["Runner", "trace_once"]


class Runner:
    """Runs a program under a plate of particles.

    Attributes:
        target: the argument.
        program: the target as a `Program`.
        max_plate_nesting: the depth of the program's own plates.
        strata: the number of strata of the guide's samples, or 1.
        global_sites: the names of the sites that all rows share, after `check`.

    Arguments:
        target: a `Program` (a VAE), an object with `.model` and `.guide` (an oracle), or a pair of
            Pyro callables.

    Raises:
        InputError: for any other target.
    """

    def __init__(self, target: Any) -> None:  # noqa: ANN401
        self.target = target
        self.program = as_program(target)
        self.model, self.guide = self.program.model, self.program.guide
        self.module = self.program.module
        self.max_plate_nesting = 1
        self.strata = 1
        self.global_sites: tuple[str, ...] = ()

    @property
    def parameter(self) -> Tensor | None:
        """A floating point tensor of the module, which has its device and type, or None."""
        if self.module is None:
            return None
        tensors = (*self.module.parameters(), *self.module.buffers())
        return next((tensor for tensor in tensors if tensor.is_floating_point()), None)

    def refuse_few_digits(self) -> None:
        """Refuse programs in 16 bits, whose log-densities would have three digits or fewer.

        Raises:
            InputError: with what to do instead.
        """
        dtype = None if self.parameter is None else self.parameter.dtype
        if dtype in (torch.bfloat16, torch.float16):
            raise InputError(
                f"log p(x) needs more digits than {str(dtype).removeprefix('torch.')} has: use vae.float(), "
                "with precision='bf16' for fast products"
            )

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Restore Pyro's parameter store afterwards, if a module owns the program's parameters."""
        if self.module is None:
            yield
            return
        with pyro.get_param_store().scope():
            yield

    def check(self, rows: Rows) -> Runner:
        """Run the program once on two rows, check its sites, and store its plate depth and strata.

        Raises:
            InputError: for a site outside the plate "data" that depends on the rows, a site that
                the guide or the model lacks, or a parameter in Pyro's store that the program's
                module does not own.
        """
        with alone, self.isolated():
            try:
                model, guide, nesting, strata = trace_once(self.model, self.guide, *rows[:2].arguments)
            except InputError:
                raise
            except ValueError as error:
                refuse_undeclared_event(error)
                raise
            check_sites(model, guide)
            self._check_owned()
            if names := global_names(guide, model):
                check_global_sites(self.model, self.guide, rows[:2])
        self.max_plate_nesting, self.strata, self.global_sites = nesting, strata, tuple(names)
        return self

    @contextmanager
    def held(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Hold the global sites at given values: the program then has local sites only."""
        before = self.model, self.guide, self.global_sites
        self.model = held(self.model, values, self.global_sites)
        self.guide = held(self.guide, values, self.global_sites)
        self.global_sites = ()
        try:
            yield
        finally:
            self.model, self.guide, self.global_sites = before

    def _check_owned(self) -> None:
        """Refuse parameters in the store of `isolated`, which would be lost with it."""
        if self.module is None:
            return
        own = {id(p) for p in self.module.parameters()}
        # `items()` gives constrained values; the store's own tensors are the parameters themselves.
        for name, value in pyro.get_param_store()._params.items():
            if id(value) not in own:
                raise InputError(
                    f"the parameter {name!r} is in Pyro's store, not in the {type(self.target).__name__}, "
                    "and would be lost: register it as an nn.Parameter, or give a pair (model, guide)"
                )

    def run(
        self,
        rows: Rows,
        *,
        particles: int = 1,
        draws: Draws = "reparameterised",
        stratified: bool = False,
        weights: Weights = "shared",
    ) -> TracePair:
        """`terms.run` of this program's model and guide on rows.

        With `weights="auto"`, layers sample activations instead of weights where the program can do
        this (`Program.by_layer`). Elsewhere the particles share the weights.
        """
        by_layer = self.program.by_layer() if weights == "auto" and self.global_sites else None
        model, guide = by_layer or (self.model, self.guide)
        return run(
            model,
            guide,
            *rows.arguments,
            particles=particles,
            max_plate_nesting=self.max_plate_nesting,
            draws=draws,
            stratified=stratified,
            weights=weights,
        )

    def terms(self, rows: Rows, *, particles: int = 1) -> Terms:
        """The terms of this program for B rows."""
        return self.run(rows, particles=particles).terms()

    def terms_at(self, values: Mapping[str, Tensor], rows: Rows, *, particles: int) -> Terms:
        """The terms at given values of the latent sites, each (K, B, *shape)."""
        with alone, Fixed(values):
            return self.terms(rows, particles=particles)

    def joint_at(self, values: Mapping[str, Tensor], rows: Rows, *, particles: int) -> Terms:
        """The model's terms at given values; the guide does not run, and log q(z|x) is zero."""
        args, nesting = rows.arguments, self.max_plate_nesting
        with alone, Fixed(values):
            return run(self.model, _no_guide, *args, particles=particles, max_plate_nesting=nesting).terms()

    def prior_draws(self, rows: Rows, *, particles: int) -> dict[str, Tensor]:
        """Values of the guide's sites drawn from the model's prior, each (K, B, *shape)."""
        with alone, ParticlePlate(particles, -1 - self.max_plate_nesting):
            model = poutine.trace(self.model).get_trace(*rows.arguments)
        return {
            name: site["value"]
            for name, site in sites_of(model)
            if not site["is_observed"] and not is_enumerated(site)
        }


def _no_guide(*_: Any) -> None:  # noqa: ANN401
    """A guide without sites."""


@alone
@torch.no_grad()
def trace_once(
    model: Callable,
    guide: Callable,
    *args: Any,  # noqa: ANN401
    **kwargs: Any,  # noqa: ANN401
) -> tuple[poutine.Trace, poutine.Trace, int, int]:
    """Trace a model and its guide; returns both traces, the plate depth and the guide's strata.

    The random state does not change.
    """
    devices = {part.device for part in args if isinstance(part, Tensor) and part.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        replayed = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args, **kwargs)
    nesting = max(1, *(depth(site) for trace in (replayed, drawn) for _, site in sites_of(trace)))
    return replayed, drawn, nesting, strata_of(drawn)
