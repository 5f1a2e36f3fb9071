"""The dry run of a declaration, which finds parts that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.part import Part

if TYPE_CHECKING:
    from pyrovae.vae.program import PartsProgram

__all__ = ["dry_run", "naming"]

_SPACES = {
    "Real": "the reals",
    "IntegerGreaterThan": "whole numbers",
    "Sphere": "the sphere",
    "OneHot": "one-hot vectors",
    "RealAndOneHot": "the reals with a class",
}


@torch.no_grad()
def dry_run(vae: PartsProgram) -> None:
    """Pass two observations through every part of a VAE.

    Raises:
        InputError: for a part that does not fit, with its name.
    """
    first = next(vae.parameters())  # type: ignore[attr-defined]
    lead: dict[str, Any] = {"dtype": first.dtype, "device": first.device}
    context = None if vae.context_shape is None else torch.zeros(2, *vae.context_shape, **lead)
    with torch.random.fork_rng(devices=[]):
        with naming("prior", vae.prior):
            prior = vae.latents(context)
            z = _two_draws(prior, (vae.prior.size,))
        with naming("decoder and likelihood", vae.decoder, vae.likelihood):
            x = _two_draws(vae.decode(z, context), vae.event_shape)
        _check_classes(vae)
        with naming("encoder and guide", vae.encoder, vae.q):
            q = vae.encode(x.to(first.dtype), context)
            _two_draws(q, (vae.prior.size,))
        if not (_covers(prior, q) and _covers(q, prior)):
            raise InputError(
                f"the guide {vae.q!r} and the prior {vae.prior!r} have different supports "
                f"({_space(q)} and {_space(prior)}): {vae.prior.advice}"
            )


@contextmanager
def naming(role: str, *parts: Part) -> Iterator[None]:
    """Add the names of the parts to an error of any kind."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        shown = " with ".join(map(repr, parts))
        reason = " ".join(str(error).split())
        raise InputError(f"the {role} {shown} cannot be used here: {reason}") from error


def _check_classes(vae: PartsProgram) -> None:
    prior, states = vae.prior, vae.q.states
    if states is not None and getattr(prior, "prune", False):
        raise InputError(
            f"the prior {prior!r} is pruned by p(c|z), and the guide {vae.q!r} would still draw the "
            "removed components: leave prune out, or use a guide over z alone"
        )
    if states is not None and states != prior.states:
        raise InputError(
            f"the guide {vae.q!r} draws {states} classes and the prior {prior!r} has "
            f"{prior.states or 'none'}: use GaussianMixture(explicit=True), or Classes, for both"
        )


def _two_draws(distribution: dist.TorchDistribution, event_shape: tuple[int, ...]) -> Tensor:
    """Draw two samples and score them."""
    shape = tuple(distribution.event_shape)
    if shape != event_shape:
        raise ValueError(f"its distribution has event shape {shape}, expected {event_shape}")
    draws = _of_two(distribution).sample()
    _of_two(distribution).log_prob(draws)
    return draws


def _of_two(distribution: dist.TorchDistribution) -> dist.TorchDistribution:
    return distribution if tuple(distribution.batch_shape) == (2,) else distribution.expand((2,))


def _covers(distribution: dist.TorchDistribution, other: dist.TorchDistribution) -> bool:
    """Whether samples of the other distribution are in the support of this one."""
    draws = _of_two(other).sample()
    try:
        support = distribution.support
    except NotImplementedError:
        return True
    return support is None or bool(support.check(draws).all())


def _space(distribution: dist.TorchDistribution) -> str:
    """The support of a distribution in words."""
    support = distribution.support
    name = type(getattr(support, "base_constraint", support)).__name__.strip("_")
    return _SPACES.get(name, name.lower())
