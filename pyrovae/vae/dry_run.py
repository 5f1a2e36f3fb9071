"""A dry run of a declared VAE, which finds parts that do not fit.

Custom networks are also run on batches that differ in one row, to see that rows do not influence
each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.memory import is_exhausted
from pyrovae.networks import Headed
from pyrovae.networks.coupling import coupling, cure
from pyrovae.networks.modes import tried_in_mode
from pyrovae.networks.wrapped import is_custom
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

    Random state, modes and buffers do not change.

    Raises:
        InputError: for a part that does not fit, with its name; for a custom network in which the
            rows of a batch influence each other.
    """
    first = next(vae.parameters())  # type: ignore[attr-defined]
    lead: dict[str, Any] = {"dtype": first.dtype, "device": first.device}
    context = None if vae.context_shape is None else torch.zeros(2, *vae.context_shape, **lead)
    devices = [first.device] if first.is_cuda else []
    with torch.random.fork_rng(devices=devices), tried_in_mode(vae, training=False):  # type: ignore[arg-type]
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
        _check_rows(vae, x.to(first.dtype), z)


@contextmanager
def naming(role: str, *parts: Part) -> Iterator[None]:
    """Add the names of the parts to an error of any kind."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        shown = " ".join(" with ".join(map(repr, parts)).split())
        if is_exhausted(error):
            raise InputError(
                f"the {role} {shown} needs more memory than this machine has free: use smaller sizes"
            ) from None
        reason = " ".join(str(error).split())
        raise InputError(f"the {role} {shown} cannot be used here: {reason}") from error


def _check_rows(vae: PartsProgram, x: Tensor, z: Tensor) -> None:
    """Refuse a custom network whose rows influence each other, in evaluation or training mode."""
    custom = [
        (role, headed)
        for role, headed in (("encoder", vae.recognition), ("decoder", vae.generation))
        if is_custom(headed.network)
    ]
    if not custom:
        return
    read = _of_three(vae, x, z)
    for role, headed in custom:
        with naming(role, headed.network):
            for training in (False, True):
                _refuse_coupling(role, headed, read[role], training=training)


def _of_three(vae: PartsProgram, x: Tensor, z: Tensor) -> dict[str, Rows]:
    """The inputs of the networks for three observations, two of which are given."""
    pair = None if vae.context_shape is None else x.new_zeros(2, *vae.context_shape)
    another_z = _two_draws(vae.latents(pair), (vae.prior.size,))
    another_x = _two_draws(vae.decode(another_z, pair), vae.event_shape)
    x, z = torch.cat([x, another_x[:1].to(x.dtype)]), torch.cat([z, another_z[:1]])
    context = None
    if pair is not None:
        context = vae._flat(torch.cat([pair[:1], pair[:1] + 1, pair[:1]]))
    return {"encoder": Rows(vae.inputs(x), context), "decoder": Rows(z[:, : vae.prior.visible], context)}


def _refuse_coupling(role: str, headed: Headed, three: Rows, *, training: bool) -> None:
    def run(rows: list[int]) -> list[Tensor]:
        return list(headed(*three[torch.tensor(rows, device=three.x.device)].arguments).values())

    with tried_in_mode(headed, training=training):
        way = coupling(run)
    if way is not None:
        mode = " in training mode" if training else ""
        raise InputError(
            f"the {role} {headed.network!r} lets the rows of a batch influence each other{mode} ({way}): "
            f"{cure(headed, training=training)}"
        )


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
