"""The package's own parts have the properties that `check_part` asks of anybody's.

Statistical tests have a fixed seed and would fail by chance in fewer than one of 100,000 runs. What only
some parts have is tested in the folders of their kinds. Every part is trained, saved, loaded and captured in
many combinations in test_grid.py, so that those checks are left out here.
"""

import pytest

from pyrovae import guides, likelihoods, networks, objectives, priors, testing
from pyrovae.part import public_path
from pyrovae.testing import declarations, part_checks
from pyrovae.testing.entry import subject_of
from tests.support.latent_properties import GUIDES, PRIORS
from tests.support.more_likelihoods import LIKELIHOODS
from tests.support.parts import DECODERS, ENCODERS, NETWORKS, OBJECTIVES, classes, each, prior_for
from tests.support.parts import GUIDES as MORE_GUIDES
from tests.support.parts import PRIORS as MORE_PRIORS

IN_THE_GRID = {"it_trains_and_is_saved", "it_trains", "the_step_is_captured_or_refused"}
# The sizes of images and contexts that networks must take.
SHAPES = [(1, 8, 8), (3, 9, 13), (1, 28, 28), (1, 64, 64), (2, 5, 7), (1, 4, 6)]


def distinct(parts):
    """The first of equal parts."""
    return list({repr(part): part for part in parts}.values())


ALL = [*PRIORS, *GUIDES, *distinct(LIKELIHOODS), *NETWORKS, *OBJECTIVES]


@each("part", ALL)
def test_a_part_has_the_properties_of_its_kind(part):
    options = {"prior": prior_for(part)} if isinstance(part, objectives.Objective) else {}
    for name, check in part_checks(part, **options):
        if name not in IN_THE_GRID:
            check()


@each("part", [*MORE_PRIORS, *MORE_GUIDES])
def test_other_hyperparameters_are_declared_too(part):
    checks = dict(part_checks(part))
    for check in declarations.MODULE_CHECKS:
        checks[check.__name__]()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each("network", NETWORKS)
def test_networks_take_images_of_any_sides(network, shape):
    checks = dict(part_checks(network, event_shape=shape, context_shape=(3,)))
    for name in (
        "outputs_have_the_declared_shape",
        "rows_are_kept_apart",
        "all_of_the_input_is_used",
        "one_context_serves_all_particles",
    ):
        checks[name]()


@each("network", NETWORKS)
def test_networks_are_checked_in_each_of_their_roles(network):
    subject, _ = subject_of(network, event_shape=(2, 8, 9))
    roles = {"encoder" if output is None else "decoder" for _, output in subject.roles}
    assert ("encoder" in roles) == (network in ENCODERS)
    assert ("decoder" in roles) == (network in DECODERS or isinstance(network, networks.Bayesian))


@each("prior", [priors.VampPrior(3), priors.VampPrior(4, "data")])
def test_a_prior_that_is_made_of_the_encoder_uses_the_context(prior):
    dict(part_checks(prior, context_shape=(3,)))["a_context_is_used_row_by_row"]()


def is_compiled(part):
    """Draws of a Dirichlet are not: tests/priors/test_random_components.py."""
    return isinstance(part, (priors.Prior, guides.Guide)) and getattr(part, "weights", "") != "dirichlet"


@each("part", [part for part in ALL if is_compiled(part)])
def test_a_step_with_a_prior_or_a_guide_is_captured(part, float64):
    """The check accepts a refusal with a reason; these parts have none."""
    kind = testing.priors if isinstance(part, priors.Prior) else testing.guides
    kind.captured(subject_of(part)[0])


def test_every_public_part_is_tested_here():
    kinds = {
        priors: priors.Prior,
        guides: guides.Guide,
        likelihoods: likelihoods.Likelihood,
        networks: networks.Network,
        objectives: objectives.Objective,
    }
    tested = {type(part) for part in ALL}
    for module, base in kinds.items():
        assert set(classes(base)) <= tested
        public = {getattr(module, name) for name in module.__all__}
        ours = {c for c in public if isinstance(c, type) and issubclass(c, base)} - {base}
        assert ours <= tested
        assert all(public_path(cls) == f"{module.__name__}.{cls.__name__}" for cls in ours)
