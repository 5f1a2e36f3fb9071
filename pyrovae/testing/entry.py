"""`check_part` and `part_checks`: all checks for a part of any kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pyrovae.errors import InputError
from pyrovae.guides import Guide
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Network
from pyrovae.objectives import Objective
from pyrovae.part import Declared
from pyrovae.priors import Prior
from pyrovae.testing import guides, likelihoods, networks, objectives, priors
from pyrovae.testing.attaching import Options, Shape
from pyrovae.testing.declarations import Check
from pyrovae.testing.failures import performed
from pyrovae.testing.subjects import GuideSubject, LikelihoodSubject, PriorSubject, Subject

__all__ = ["check_part", "part_checks", "subject_of"]

KINDS: tuple[tuple[type, type[Subject], tuple[Check, ...]], ...] = (
    (Prior, PriorSubject, priors.CHECKS),
    (Guide, GuideSubject, guides.CHECKS),
    (Likelihood, LikelihoodSubject, likelihoods.CHECKS),
    (Network, networks.NetworkSubject, networks.CHECKS),
    (Objective, objectives.ObjectiveSubject, objectives.CHECKS),
)


def check_part(
    part: Declared,
    *,
    latent_dim: int | None = None,
    event_shape: Shape | None = None,
    context_shape: Shape | None = None,
    prior: Prior | None = None,
    guide: Guide | None = None,
) -> None:
    r"""Check that a prior, likelihood, guide, network or objective has the properties of its kind.

    The part is copied, attached on small sizes with random parameters, and used. The
    density must satisfy \(\int p(z)\, dz = 1\) by quadrature, and samples must follow the density.
    Rows must not influence each other. log p(x) of a small VAE with the part must agree with
    \(\log \int p(x|z)\, p(z)\, dz\). The checks take a few seconds. Seeds are fixed, and the
    caller's random state does not change.

    Arguments:
        part: the declared part, with hyperparameters that make it small.
        latent_dim: the size of z, for a part that is made for one size.
        event_shape: the shape of one observation, for a part that is made for one shape.
        context_shape: the shape of a context c, as in a VAE of p(x|c); the part must then use it.
        prior: for a guide, a prior on the same space; for an objective, the prior that it needs.
        guide: for a prior, a guide on the same space; for an objective, the guide that it needs.

    Raises:
        AssertionError: for the first property that does not hold. One sentence says which, by how
            much, and what to do.
        InputError: for anything that is not a part.

    Reference:
        scikit-learn's `check_estimator`: Buitinck et al. (2013), "API design for machine learning
        software".

    Example:
        >>> from pyrovae.priors import Laplace
        >>> check_part(Laplace())
    """
    checks = part_checks(
        part,
        latent_dim=latent_dim,
        event_shape=event_shape,
        context_shape=context_shape,
        prior=prior,
        guide=guide,
    )
    for _, check in checks:
        check()


def part_checks(part: Declared, **options: Any) -> list[tuple[str, Callable[[], None]]]:  # noqa: ANN401
    """The checks of `check_part` one by one, so that a test framework can report each.

    Arguments:
        part: as for `check_part`.
        options: the keyword arguments of `check_part`.

    Returns:
        The name of each property, and a function that raises an AssertionError when the property
        does not hold.

    Raises:
        InputError: for anything that is not a part.

    Example:
        >>> from pyrovae.objectives import IWAE
        >>> checks = part_checks(IWAE(particles=2))
        >>> [name for name, _ in checks if "bound" in name]
        ['with_the_exact_posterior_the_bound_is_log_px', 'the_bound_stays_below_log_px']
        >>> dict(checks)["the_bound_stays_below_log_px"]()
    """
    subject, checks = subject_of(part, **options)
    return [(check.__name__, partial(performed, check, subject)) for check in checks]


def subject_of(part: Any, **options: Any) -> tuple[Any, tuple[Check, ...]]:  # noqa: ANN401
    """Return the subject for a part, with the author's options, and the checks of this kind.

    Raises:
        InputError: for anything that is not a part.
    """
    for kind, subject, checks in KINDS:
        if isinstance(part, kind):
            return subject(part, Options(**options)), checks
    is_class = isinstance(part, type) and issubclass(part, Declared)
    cure = (
        f"give an instance, {part.__name__}(...)"
        if is_class
        else "give a prior, likelihood, guide, network or objective"
    )
    raise InputError(f"{part!r} is not a part that can be checked: {cure}")
