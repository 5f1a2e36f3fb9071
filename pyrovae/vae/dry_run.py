"""The dry run of a declaration: two observations through every part, so that a misfit is named at once."""

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
    """Draw two observations through every part of a VAE.

    Raises:
        InputError: for a part that does not fit, by name.
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
                f"the guide {vae.q!r} and the prior {vae.prior!r} live on different spaces "
                f"({_space(q)} and {_space(prior)}): {vae.prior.advice}"
            )


@contextmanager
def naming(role: str, *parts: Part) -> Iterator[None]:
    """Say of an error of any kind which parts raised it."""
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
            "components that are gone: leave prune out, or use a guide over z alone"
        )
    if states is not None and states != prior.states:
        raise InputError(
            f"the guide {vae.q!r} draws {states} classes and the prior {prior!r} has "
            f"{prior.states or 'none'}: use GaussianMixture(explicit=True), or Classes, for both"
        )


def _two_draws(law: dist.TorchDistribution, event_shape: tuple[int, ...]) -> Tensor:
    """Two draws of a distribution, which must give them a density."""
    if tuple(law.event_shape) != event_shape:
        raise ValueError(f"its distribution has event shape {tuple(law.event_shape)}, expected {event_shape}")
    draws = _of_two(law).sample()
    _of_two(law).log_prob(draws)
    return draws


def _of_two(law: dist.TorchDistribution) -> dist.TorchDistribution:
    return law if tuple(law.batch_shape) == (2,) else law.expand((2,))


def _covers(law: dist.TorchDistribution, other: dist.TorchDistribution) -> bool:
    """Whether draws of the other distribution have a density under this one."""
    draws = _of_two(other).sample()
    try:
        support = law.support
    except NotImplementedError:
        return True
    return support is None or bool(support.check(draws).all())


def _space(law: dist.TorchDistribution) -> str:
    """The space of a distribution in words, as far as its support says."""
    support = law.support
    name = type(getattr(support, "base_constraint", support)).__name__.strip("_")
    return _SPACES.get(name, name.lower())
