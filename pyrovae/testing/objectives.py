"""Checks of objectives: the bound on log p(x), the quantity that is maximised, and training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.objectives import Objective
from pyrovae.oracles import LinearGaussian
from pyrovae.priors import Prior
from pyrovae.terms import Runner, Terms, terms
from pyrovae.testing import programs
from pyrovae.testing.declarations import CHECKS as DECLARED
from pyrovae.testing.declarations import Check
from pyrovae.testing.failures import require, same
from pyrovae.testing.statistics import SIGMAS
from pyrovae.testing.subjects import Subject
from pyrovae.vae import VAE

__all__ = ["CHECKS", "ObjectiveSubject"]

ROWS = 4000


class ObjectiveSubject(Subject):
    """An objective."""

    part: Objective

    def attach(self) -> Objective:
        return self.part.clone()

    def use(self, part: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # noqa: ANN401
        found = self.random_terms()
        return {}, {"bound": part.bound(found), "maximised": part.maximised(found)}

    def random_terms(self) -> Terms:
        """Terms of six rows."""
        rng = torch.Generator().manual_seed(0)
        return Terms(*torch.randn(3, self.part.particles, 6, generator=rng))

    def vae(self) -> VAE:
        """A small VAE that the objective can train."""
        prior: Prior | None = self.options.prior
        parts: dict[str, Any] = {
            "prior": prior,
            "guide": self.options.guide,
            "context_shape": self.options.context_shape,
        }
        return programs.small_vae((5,), 2, **parts)

    def begun(self, vae: VAE, rows: int) -> Objective:
        """A copy that has begun to train a program on this number of rows."""
        objective = self.part.clone()
        objective.begin(rows, vae)
        return objective


def exact(scale: float) -> tuple[LinearGaussian, Tensor]:
    """A linear Gaussian model with a guide `scale` times as wide as the posterior, and 8 rows."""
    oracle = LinearGaussian.random(5, 2, seed=3, guide_scale=scale)
    return oracle, oracle.sample(8, seed=4)


def with_the_exact_posterior_the_bound_is_log_px(subject: ObjectiveSubject) -> None:
    """With the exact posterior as guide, all weights are p(x) and the bound is log p(x)."""
    oracle, x = exact(1.0)
    found = subject.part.bound(terms(oracle.model, oracle.guide, x, particles=subject.part.particles))
    require(
        tuple(found.shape) == (8,),
        f"the bound of {subject.name} has shape {tuple(found.shape)} for 8 rows, not (8,): average over the "
        "particles, the first dimension",
    )
    apart = (found - oracle.log_px(x)).abs().max().item()
    require(
        apart < 1e-10,
        f"with the exact posterior as guide the bound of {subject.name} is {apart:.3g} nats from log p(x): "
        "`bound` must be a lower bound on log p(x), and what is ascended instead belongs in `maximised`",
    )


def the_bound_stays_below_log_px(subject: ObjectiveSubject) -> None:
    """The expected bound is at most log p(x), with a guide 1.5 times as wide as the posterior."""
    oracle, x = exact(1.5)
    x = x[:1]
    found = terms(oracle.model, oracle.guide, x.expand(ROWS, -1), particles=subject.part.particles)
    bound = subject.part.bound(found)
    gap, allowed = (bound - oracle.log_px(x)).mean().item(), SIGMAS * bound.std().item() / math.sqrt(ROWS)
    require(
        gap < allowed,
        f"the bound of {subject.name} is on average {gap:.3g} nats above log p(x): `bound` must be a lower "
        "bound, and what is ascended instead belongs in `maximised`",
    )


def the_order_of_the_particles_does_not_matter(subject: ObjectiveSubject) -> None:
    """Reversing the order of the particles changes nothing."""
    found = subject.random_terms()
    backwards = Terms(*(t.flip(0) for t in found[:3]))  # type: ignore[union-attr]
    for name in ("bound", "maximised"):
        one, other = (getattr(subject.part, name)(t) for t in (found, backwards))
        what = f"{name} of {subject.name} changes with the order of the particles"
        same(one, other, what, "treat all particles alike, they are independent samples")


def rows_are_kept_apart(subject: ObjectiveSubject) -> None:
    """The bound and the maximised quantity of a row do not depend on the other rows."""
    found = subject.random_terms()
    names = ("bound",) if subject.part.of_batch else ("bound", "maximised")
    for name in names:
        one = torch.cat(
            [getattr(subject.part, name)(Terms(*(t[:, b : b + 1] for t in found[:3]))) for b in range(6)]
        )  # type: ignore[index]
        what = f"{name} of {subject.name} for a row alone differs from that among others"
        same(getattr(subject.part, name)(found), one, what, "keep rows apart, or set of_batch = True")


def the_weight_of_the_divergence_stands_outside(subject: ObjectiveSubject) -> None:
    """The maximised quantity is linear in the KL weight, and E_q[log p(x|z)] at weight 0.

    An objective that overrides `annealed` is not checked.
    """
    if type(subject.part).annealed is not Objective.annealed or not subject.part.anneals:
        return
    part, found = subject.part, subject.random_terms()
    whole, nothing = part.maximised(found), found.log_px_z.mean(0)
    cure = "leave `annealed` to the base class"
    for weight, wanted in ((1.0, whole), (0.0, nothing), (0.5, (whole + nothing) / 2)):
        what = f"with a KL weight of {weight} what {subject.name} ascends is off"
        same(part.annealed(found, weight), wanted, what, cure)


def gradients_reach_model_and_guide(subject: ObjectiveSubject) -> None:
    """The maximised quantity is finite, with finite gradients for model and guide.

    This holds for six rows and for one.
    """
    for count in (6, 1):
        vae = subject.vae()
        objective = subject.begun(vae, 100)
        pair = _pair(objective, vae, programs.drawn(vae, count))
        ascended = objective.ascended(pair)
        require(
            tuple(ascended.shape) in ((count,), ()) and ascended.isfinite().all(),
            f"{subject.name} ascends {ascended.detach().tolist()} for {count} rows: give finite numbers",
        )
        cure = "compute with the terms, without detach or numbers"
        require(ascended.requires_grad, f"what {subject.name} ascends has no gradient: {cure}")
        named = dict(vae.named_parameters())
        gradients = torch.autograd.grad(ascended.mean(), list(named.values()), allow_unused=True)
        for role in ("generation", "recognition"):
            every = [g for n, g in zip(named, gradients, strict=True) if n.startswith(role) and g is not None]
            finite = all(g.isfinite().all() for g in every)
            reached = any((g != 0).any() for g in every)
            require(
                finite and reached,
                f"{subject.name} gives the {'model' if role == 'generation' else 'guide'} no finite gradient "
                f"on {count} rows: {cure}",
            )


def _pair(objective: Objective, vae: VAE, rows: Rows) -> Any:  # noqa: ANN401
    runner = Runner(vae).check(rows)
    return runner.run(rows, **objective.draw_options(runner.strata))


def it_trains(subject: ObjectiveSubject) -> None:
    """A small VAE trains for ten steps, and is saved and loaded."""
    programs.trains(subject.name, subject.vae, subject.part)


def the_step_is_captured_or_refused(subject: ObjectiveSubject) -> None:
    """The captured step gives the results of Python, or it is refused with a reason."""
    vae = subject.vae()
    programs.captured_or_refused(subject.name, vae, subject.begun(vae, 100))


CHECKS: tuple[Check, ...] = (
    *DECLARED,
    with_the_exact_posterior_the_bound_is_log_px,
    the_bound_stays_below_log_px,
    the_order_of_the_particles_does_not_matter,
    rows_are_kept_apart,
    the_weight_of_the_divergence_stands_outside,
    gradients_reach_model_and_guide,
    it_trains,
    the_step_is_captured_or_refused,
)
