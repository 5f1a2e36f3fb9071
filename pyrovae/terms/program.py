"""A program: a model and a guide that belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.terms.draws import Draws, strata_of
from pyrovae.terms.sites import PARTICLES, check_sites, depth, is_enumerated, sites_of
from pyrovae.terms.trace import Fixed, Terms, TracePair, run

__all__ = ["Program", "arguments"]


class Program:
    """A model and a guide, with what must be known of them before they run under particles.

    Attributes:
        max_plate_nesting: the depth of the program's own plates.
        strata: of the guide's draws; 1 when its laws have none.

    Arguments:
        target: an object with `.model` and `.guide` (a VAE, an oracle), or a pair of Pyro callables
            whose local sites stand inside one plate named "data".

    Raises:
        InputError: when it is neither.
    """

    def __init__(self, target: Any) -> None:  # noqa: ANN401
        self.target = target
        self.max_plate_nesting = 1
        self.strata = 1
        if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
            self.model, self.guide = target
        elif callable(getattr(target, "model", None)) and callable(getattr(target, "guide", None)):
            self.model, self.guide = target.model, target.guide
        else:
            raise InputError(
                f"{type(target).__name__} is no probabilistic program: give a VAE, or a pair (model, guide) "
                "of Pyro functions with their local sites in a plate named 'data'"
            )

    @property
    def module(self) -> torch.nn.Module | None:
        """The module that owns all parameters, or None when they live in Pyro's parameter store."""
        return self.target if isinstance(self.target, torch.nn.Module) else None

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Leave Pyro's parameter store as it was, when the program owns its parameters itself."""
        if self.module is None:
            yield
            return
        with pyro.get_param_store().scope():
            yield

    def check(self, x: Tensor, context: Tensor | None = None) -> Program:
        """Run the program once on two data, refuse what cannot be weighed, and note its plates and strata.

        Arguments:
            x: data (N, *event), of which two are looked at.
            context: theirs.

        Raises:
            InputError: for a local site outside the plate "data", a site that the guide lacks or that
                the model lacks; for a module, a parameter in Pyro's store that is not its own.
        """
        args = arguments(x[:2], None if context is None else context[:2])
        with self.isolated(), torch.random.fork_rng(devices=_devices(x)), torch.no_grad():
            try:
                guide = poutine.trace(self.guide).get_trace(*args)
                model = poutine.trace(poutine.replay(self.model, trace=guide)).get_trace(*args)
            except InputError as error:  # Pyro appends the shapes of a trace to it
                raise InputError(str(error).splitlines()[0]) from None
            check_sites(model, guide)
            self._check_owned()
        self.max_plate_nesting = max(1, *(depth(site) for t in (model, guide) for _, site in sites_of(t)))
        self.strata = strata_of(guide)
        return self

    def _check_owned(self) -> None:
        """Refuse what a module keeps in the store of `isolated`, which is thrown away with it."""
        if self.module is None:
            return
        own = {id(p) for p in self.module.parameters()}
        # `items()` gives constrained values; the store's own tensors are the parameters themselves.
        for name, value in pyro.get_param_store()._params.items():
            if id(value) not in own:
                raise InputError(
                    f"the parameter {name!r} lives in Pyro's store, not in the {type(self.target).__name__} "
                    "and would be lost: register it as an nn.Parameter, or give a pair (model, guide)"
                )

    def run(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        particles: int = 1,
        draws: Draws = "reparameterised",
        stratified: bool = False,
    ) -> TracePair:
        """`run` on this program's model and guide."""
        return run(
            self.model,
            self.guide,
            *arguments(x, context),
            particles=particles,
            max_plate_nesting=self.max_plate_nesting,
            draws=draws,
            stratified=stratified,
        )

    def terms(self, x: Tensor, context: Tensor | None = None, *, particles: int = 1) -> Terms:
        """`terms` of this program for data x of shape (B, *event)."""
        return self.run(x, context, particles=particles).terms()

    def terms_at(
        self, values: Mapping[str, Tensor], x: Tensor, context: Tensor | None = None, *, particles: int
    ) -> Terms:
        """The terms at given values of the latent sites, each (K, B, *shape)."""
        with Fixed(values):
            return self.terms(x, context, particles=particles)

    def joint_at(
        self, values: Mapping[str, Tensor], x: Tensor, context: Tensor | None = None, *, particles: int
    ) -> Terms:
        """The model's terms at given values; the guide does not run, and log q(z|x) is zero."""
        with Fixed(values):
            return run(
                self.model,
                _no_guide,
                *arguments(x, context),
                particles=particles,
                max_plate_nesting=self.max_plate_nesting,
            ).terms()

    def prior_draws(self, x: Tensor, context: Tensor | None = None, *, particles: int) -> dict[str, Tensor]:
        """Values of the guide's sites drawn from the model's prior, each (K, B, *shape)."""
        plate = pyro.plate(PARTICLES, particles, dim=-1 - self.max_plate_nesting)
        with plate:
            model = poutine.trace(self.model).get_trace(*arguments(x, context))
        return {
            name: site["value"]
            for name, site in sites_of(model)
            if not site["is_observed"] and not is_enumerated(site)
        }


def arguments(x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
    """The positional arguments of a model: (x,) or (x, context)."""
    return (x,) if context is None else (x, context)


def _no_guide(*_: Any) -> None:  # noqa: ANN401
    """The guide of a model whose latents are all given."""


def _devices(x: Tensor) -> list[torch.device]:
    return [x.device] if x.device.type == "cuda" else []
