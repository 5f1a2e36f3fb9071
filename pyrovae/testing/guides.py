"""Checks of guides: distributions over latents, gradients of samples, strata, and a VAE."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrovae.likelihoods import Normal
from pyrovae.testing import latents, programs
from pyrovae.testing.attaching import params
from pyrovae.testing.declarations import MODULE_CHECKS, Check
from pyrovae.testing.failures import require
from pyrovae.testing.partners import prior_for
from pyrovae.testing.spaces import Rule, log_density, rule_of
from pyrovae.testing.statistics import SIGMAS
from pyrovae.testing.subjects import GuideSubject
from pyrovae.vae import VAE

__all__ = ["CHECKS", "captured", "gradients_agree"]

NOTHING = -30.0  # the logarithm of a mass that has no influence
Function = Callable[[Tensor], Tensor]
# By the number of entries of z.
FUNCTIONS: dict[int, tuple[Function, ...]] = {
    1: (lambda z: z[..., 0] * z[..., 0].tanh(), lambda z: z[..., 0].sin()),
    2: (lambda z: (z[..., 0] + 2 * z[..., 1]).sin(), lambda z: z[..., 0].tanh() * z[..., 1].cos()),
}


def samples_have_the_gradient_of_the_density(subject: GuideSubject) -> None:
    """The mean gradient of f(z) through samples, against the derivative of the integral of f q."""
    for measured in subject.measured:
        size = measured.distribution.event_shape[0]
        if measured.distribution.has_rsample and size in FUNCTIONS:
            guide = subject.of(size)
            inputs = {name: p.requires_grad_() for name, p in params(guide.param_shapes).items()}
            gradients_agree(subject.name, guide, inputs, **_accuracy(guide(**inputs), size))


def _accuracy(distribution: Any, size: int) -> dict[str, Any]:  # noqa: ANN401
    # The gradient of a spline's density jumps at its knots. A Laplace density has corners that are
    # not aligned with the grid.
    rule = rule_of(distribution, line_points=60_001, plane_points=561)
    assert rule is not None
    if rule.space == "the circle":
        return {"rule": rule, "samples": 40_000, "slack": 1e-8}
    if len(rule.axes) == 2:
        return {"rule": rule, "samples": 20_000, "slack": 2e-3}
    return {"rule": rule, "samples": 40_000, "slack": 1e-4}


def gradients_agree(
    name: str,
    guide: Any,  # noqa: ANN401
    inputs: dict[str, Tensor],
    *,
    rule: Rule,
    samples: int,
    slack: float,  # noqa: ANN401
) -> None:
    """Gradients through samples of q agree with those by quadrature.

    Arguments:
        name: the name of the guide in the message.
        guide: an attached guide.
        inputs: the parameters of q, with gradients.
        rule: a quadrature rule whose nodes cover q.
        samples: the number of samples.
        slack: the error that the rule may have.
    """
    keep = log_density(guide(**inputs), rule.z) + rule.log_weight > NOTHING
    nodes, log_weight = rule.z[keep], rule.log_weight[keep]
    mass = (guide(**inputs).log_prob(nodes) + log_weight).exp()
    many = {n: p.detach().expand(samples, *p.shape).clone().requires_grad_() for n, p in inputs.items()}
    z = guide(**many).rsample()
    for f in FUNCTIONS[rule.z.shape[-1]]:
        exact = torch.autograd.grad((mass * f(nodes)).sum(), list(inputs.values()), retain_graph=True)
        rows = torch.autograd.grad(f(z).sum(), list(many.values()), retain_graph=True, allow_unused=True)
        for param, one, row in zip(inputs, exact, rows, strict=True):
            row = torch.zeros_like(many[param]) if row is None else row
            apart = (row.mean(0) - one).abs() / (SIGMAS * row.std(0) / math.sqrt(samples) + slack)
            worst = apart.flatten().argmax()
            require(
                apart.max() < 1,
                f"samples of {name} have a mean gradient of {row.mean(0).flatten()[worst]:.3g} in {param}, "
                f"and its density has {one.flatten()[worst]:.3g}: rsample must be a differentiable function "
                "of the parameters",
            )


def strata_give_the_same_mean(subject: GuideSubject) -> None:
    """Weighted samples from all strata have the same mean as plain samples."""
    guide = subject.attach()
    distribution = guide(**params(guide.param_shapes))
    strata = getattr(distribution, "strata", 1)
    if strata == 1 or strata > 1000:
        return
    groups = 20_000 // strata
    with torch.no_grad():
        z, log_v = distribution.expand((groups * strata,)).stratified()
        plain = distribution.expand((groups * strata,)).sample()
    weight = log_v.exp().reshape(groups, strata)
    total = weight.mean(1)
    require(
        (total - 1).abs().max() < 1e-6,
        f"the weights of the strata of {subject.name} have mean {total[0].item():.4g}, not 1",
    )
    for f in (lambda z: z.tanh(), lambda z: (z.sum(-1, keepdim=True) + 1).cos()):
        found = (weight.unsqueeze(-1) * f(z).reshape(groups, strata, -1)).mean(1)
        wanted = f(plain)
        error = SIGMAS * (found.var(0) / groups + wanted.var(0) / len(wanted)).sqrt() + 1e-9
        require(
            ((found.mean(0) - wanted.mean(0)).abs() < error).all(),
            f"samples of {subject.name} from its strata have mean {found.mean(0).tolist()} as weighted, "
            f"and plain samples {wanted.mean(0).tolist()}: give stratum c its probability as weight",
        )


# ---------------------------------------------------------------- in a VAE


def _size(subject: GuideSubject) -> int:
    """Two latents if possible, since one latent cannot be correlated with another."""
    return 2 if 2 in subject.latent_dims else min(subject.latent_dims)


def vae_with(subject: GuideSubject, size: int, **parts: Any) -> VAE:  # noqa: ANN401
    """A small VAE with the guide and a prior on the same space."""
    prior, latent_dim = prior_for(subject, size)
    plain = {"likelihood": Normal(0.5), "context_shape": subject.options.context_shape}
    return programs.small_vae((3,), latent_dim, prior=prior, guide=subject.part, **plain | parts)


def it_serves_in_a_vae(subject: GuideSubject) -> None:
    """log p(x) of each row is finite and independent of other rows, without and with a context."""
    size = _size(subject)
    for context_shape in (None, (2,)):
        programs.pieces_change_nothing(subject.name, vae_with(subject, size, context_shape=context_shape))


def log_px_agrees_with_quadrature(subject: GuideSubject) -> None:
    """log p(x) with the guide as proposal agrees with the integral over the latents."""
    for measured in subject.measured[:2][-1:]:
        vae = vae_with(subject, measured.distribution.event_shape[0])
        programs.agrees_with_quadrature(subject.name, vae)


def it_trains_and_is_saved(subject: GuideSubject) -> None:
    """A small VAE trains for ten steps, and is saved and loaded."""
    size = _size(subject)
    idle = [name for name, shape in subject.of(size).param_shapes.items() if math.prod(shape) == 1]
    programs.trains(subject.name, lambda: vae_with(subject, size), idle=idle)


def captured(subject: GuideSubject) -> None:
    """Capture the training step.

    Raises:
        Uncapturable: with the reason, if it cannot be captured.
    """
    programs.captured(vae_with(subject, _size(subject)), name=subject.name)


def the_step_is_captured_or_refused(subject: GuideSubject) -> None:
    """The captured step gives the results of Python, or it is refused with a reason."""
    programs.captured_or_refused(subject.name, vae_with(subject, _size(subject)))


CHECKS: tuple[Check, ...] = (
    *MODULE_CHECKS,
    *latents.CHECKS,
    samples_have_the_gradient_of_the_density,
    strata_give_the_same_mean,
    it_serves_in_a_vae,
    log_px_agrees_with_quadrature,
    it_trains_and_is_saved,
    the_step_is_captured_or_refused,
)
