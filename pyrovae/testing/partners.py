"""A guide on the space of a prior, and a prior on the space of a guide."""

from __future__ import annotations

from typing import Any

from pyro.distributions import constraints

from pyrovae import guides, priors
from pyrovae.distributions import Classed, Concrete, OneHots
from pyrovae.testing.failures import refuse
from pyrovae.testing.spaces import unwrapped
from pyrovae.testing.subjects import GuideSubject, PriorSubject

__all__ = ["guide_for", "prior_for"]


def guide_for(subject: PriorSubject) -> guides.Guide:
    """The author's guide, or a guide of this package on the space of the prior."""
    if subject.options.guide is not None:
        return subject.options.guide
    distribution = subject.distribution(subject.size)
    if _is_sphere(distribution):
        return guides.ProjectedNormal()
    if isinstance(distribution, Classed):
        return guides.Classes(distribution.classes.strata)
    if isinstance(distribution, (OneHots, Concrete)):
        return guides.Categorical(distribution.logits.shape[-1], getattr(distribution, "temperature", None))
    _check_real(subject, distribution, "guide")
    return guides.DiagonalNormal()


def prior_for(subject: GuideSubject, size: int) -> tuple[priors.Prior, int]:
    """The author's prior, or one of this package on the space of the guide, and its latent_dim."""
    if subject.options.prior is not None:
        return subject.options.prior, size
    distribution = subject.distribution(size)
    if _is_sphere(distribution):
        return priors.HypersphericalUniform(), size
    if isinstance(distribution, Classed):
        classes = distribution.classes.strata
        return priors.Classes(classes), size - classes
    if isinstance(distribution, (OneHots, Concrete)):
        variables, classes = distribution.logits.shape[-2:]
        return priors.Categorical(classes, getattr(distribution, "temperature", None)), variables
    if subject.part.states is not None:
        return priors.GaussianMixture(subject.part.states, explicit=True), size
    _check_real(subject, distribution, "prior")
    return priors.StandardNormal(), size


def _is_sphere(distribution: Any) -> bool:  # noqa: ANN401
    return isinstance(unwrapped(distribution.support), type(constraints.sphere))


def _check_real(subject: Any, distribution: Any, role: str) -> None:  # noqa: ANN401
    support = unwrapped(distribution.support)
    if support is not unwrapped(constraints.real_vector):
        name = type(support).__name__.strip("_").lower()
        refuse(
            f"{subject.name} lives on {name}, where no {role} is known: give check_part {role}=, one of yours"
        )
