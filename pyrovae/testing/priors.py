"""Checks of priors: distributions over latents, contexts, and a VAE with the prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.likelihoods import Normal
from pyrovae.objectives import ELBO
from pyrovae.priors import Prior
from pyrovae.testing import latents, programs
from pyrovae.testing.declarations import MODULE_CHECKS, Check
from pyrovae.testing.failures import refuse, require, same
from pyrovae.testing.partners import guide_for
from pyrovae.testing.spaces import Rule, log_density, rule_of
from pyrovae.testing.statistics import means_apart
from pyrovae.testing.subjects import PriorSubject
from pyrovae.vae import VAE

__all__ = ["CHECKS", "captured"]

CONTEXT = 3


def a_context_is_used_row_by_row(subject: PriorSubject) -> None:
    """p(z|c) of a row uses the context of this row, if the prior has parameters for a context."""
    try:
        prior = subject.of(subject.size, CONTEXT)
    except InputError as error:
        require(
            subject.options.context_shape is None,
            f"{subject.name} refuses a context, and check_part was given context_shape: {error}",
        )
        return
    c = torch.randn(4, CONTEXT)
    z = prior(c).expand((4,)).sample()
    together = prior(c).expand((4,)).log_prob(z)
    cure = "its distribution must have the batch of the context, or ()"
    for i in range(4):
        alone = prior(c[i]).log_prob(z[i])
        same(alone, together[i], f"p(z|c) of {subject.name} for a row alone differs from among others", cure)
    deep = prior(c).expand((5, 4)).log_prob(z.expand(5, 4, -1))
    same(
        deep,
        together.expand(5, 4),
        f"p(z|c) of {subject.name} for 5 particles differs from that of one",
        cure,
    )
    apart = (together - prior(c.flip(0)).expand((4,)).log_prob(z)).abs().max().item()
    require(
        apart > 1e-3 or not _declares_a_context(subject),
        f"{subject.name} ignores its context, as p(z|c) moves by {apart:.1g} when rows exchange theirs: use "
        "it in forward, or create no parameters for it in attach",
    )


def _declares_a_context(subject: PriorSubject) -> bool:
    if subject.options.context_shape is not None or subject.needs_context:
        return True
    without, given = (sum(p.numel() for p in subject.of(subject.size, n).parameters()) for n in (0, CONTEXT))
    return given > without


def samples_given_a_context_follow_the_density(subject: PriorSubject) -> None:
    """Means of samples given two contexts agree with quadrature."""
    size = min(subject.latent_dims)
    try:
        prior = subject.of(size, 2)
    except InputError:
        return
    c = torch.tensor([[1.0, -2.0], [-1.0, 0.5]])
    rules = [rule_of(prior(row), line_points=4001, plane_points=1) for row in c]
    if any(rule is None or rule.z.shape[-1] != 1 for rule in rules):
        return
    samples = prior(c).expand((20_000, 2)).sample().detach()[..., 0]
    for name, f in (("tanh z", torch.tanh), ("cos z", torch.cos)):
        exact = torch.stack([_mean(prior, row, rule, f) for row, rule in zip(c, rules, strict=True)])
        require(
            means_apart(f(samples), exact, 1e-5) < 1,
            f"samples of {subject.name} given a context have a mean of {name} of "
            f"{f(samples).mean(0).tolist()}, and its density has {exact.tolist()}: use the context in both",
        )


def _mean(prior: Prior, context: Tensor, rule: Rule | None, f: Callable[[Tensor], Tensor]) -> Tensor:
    assert rule is not None
    log_mass = log_density(prior(context), rule.z) + rule.log_weight
    return (log_mass.exp() * f(rule.z[:, 0])).sum()


# ---------------------------------------------------------------- in a VAE


def vae_with(subject: PriorSubject, latent_dim: int, **parts: Any) -> VAE:  # noqa: ANN401
    """A small VAE with the prior and a guide on the same space."""
    context_shape = subject.options.context_shape or ((2,) if subject.needs_context else None)
    plain: dict[str, Any] = {
        "likelihood": Normal(0.5),
        "guide": guide_for(subject),
        "context_shape": context_shape,
    }
    return programs.small_vae((3,), latent_dim, prior=subject.part, **plain | parts)


def _latent_dim(subject: PriorSubject) -> int:
    """Two if possible, since one latent cannot be correlated with another."""
    possible = subject.latent_dims.values()
    return 2 if 2 in possible else min(possible)


def it_serves_in_a_vae(subject: PriorSubject) -> None:
    """log p(x) of each row is finite and independent of other rows.

    The gradient of the loss for the prior is finite.
    """
    vae = vae_with(subject, _latent_dim(subject))
    programs.pieces_change_nothing(subject.name, vae)
    rows = programs.drawn(vae, 5)
    wanted = list(vae.prior.parameters())
    if not wanted or not vae.encode(rows).has_rsample:
        return
    objective = ELBO(2)
    objective.begin(len(rows), vae)
    loss = objective.differentiable_loss(vae.model, vae.guide, *rows.arguments)
    for gradient in torch.autograd.grad(loss, wanted, allow_unused=True):
        if gradient is None or not gradient.isfinite().all():
            refuse(f"the ELBO of a VAE with {subject.name} has no finite gradient for it: check log_prob")


def log_px_agrees_with_quadrature(subject: PriorSubject) -> None:
    """log p(x) of a VAE with one or two latents agrees with the integral over the latents."""
    if subject.part.labels:
        return
    for measured in subject.measured[:2]:
        size = measured.distribution.event_shape[0]
        programs.agrees_with_quadrature(subject.name, vae_with(subject, subject.latent_dims[size]))


def it_trains_and_is_saved(subject: PriorSubject) -> None:
    """A small VAE trains for ten steps, and is saved and loaded."""
    programs.trains(subject.name, lambda: vae_with(subject, _latent_dim(subject)))


def captured(subject: PriorSubject) -> None:
    """Capture the training step.

    Raises:
        Uncapturable: with the reason, if it cannot be captured.
    """
    programs.captured(vae_with(subject, _latent_dim(subject)), name=subject.name)


def the_step_is_captured_or_refused(subject: PriorSubject) -> None:
    """The captured step gives the results of Python, or it is refused with a reason."""
    programs.captured_or_refused(subject.name, vae_with(subject, _latent_dim(subject)))


CHECKS: tuple[Check, ...] = (
    *MODULE_CHECKS,
    *latents.CHECKS,
    a_context_is_used_row_by_row,
    samples_given_a_context_follow_the_density,
    it_serves_in_a_vae,
    log_px_agrees_with_quadrature,
    it_trains_and_is_saved,
    the_step_is_captured_or_refused,
)
