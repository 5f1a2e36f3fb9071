"""Laws of single parts, on every part there is: hyperparameters and declarations."""

import copy
import inspect
import math

import pytest
import yaml
from parts import (
    GUIDES,
    LIKELIHOODS,
    NETWORKS,
    OBJECTIVES,
    PRIORS,
    LaplacePrior,
    each,
    raises_one_sentence,
    table,
)

import pyrovae as pv
from pyrovae.guides import DiagonalNormal
from pyrovae.likelihoods import Normal
from pyrovae.objectives import ELBO
from pyrovae.part import Declared
from pyrovae.priors import GaussianMixture, Prior, StandardNormal

pytestmark = pytest.mark.usefixtures("float64")

ALL = [*PRIORS, *LIKELIHOODS, *GUIDES, *NETWORKS, *OBJECTIVES]


# ---------------------------------------------------------------- hyperparameters


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: GaussianMixture(0).attach(2), ("components", "not 0")),
        (lambda: ELBO(particles=0), ("particles", "not 0")),
        (lambda: ELBO(beta=-1.0), ("beta", "-1.0")),
        (lambda: ELBO(beta=math.nan), ("beta", "nan")),
        (lambda: pv.objectives.IWAE(2.5), ("particles", "2.5")),
    ],
)
def test_hyperparameters_out_of_range_are_told(given, words):
    raises_one_sentence(given, *words)


# ---------------------------------------------------------------- 9: every part is its declaration


@each("part", ALL)
def test_a_part_is_its_declaration(part):
    written = part.to_dict()
    assert yaml.safe_load(yaml.safe_dump(written)) == written
    again = Declared.from_dict(written)
    twin = part.clone()
    deep = copy.deepcopy(part)
    assert again == twin == deep == part
    assert again is not part
    assert hash(again) != hash(part)
    assert len({again, twin, deep, part}) == 4  # equal, and still four objects
    assert repr(again) == repr(part)
    assert type(part).__name__ in repr(part)
    defaults = {name: p.default for name, p in inspect.signature(type(part)).parameters.items()}
    for name, value in part.hyperparameters().items():
        if value != defaults.get(name):
            assert str(value).strip("(,)") in repr(part)


def test_other_hyperparameters_are_another_declaration():
    assert GaussianMixture(3) != GaussianMixture(4)
    assert StandardNormal() != GaussianMixture(1)
    assert pv.networks.MLP(8) != pv.networks.MLP(8, activation="tanh")
    assert pv.networks.MLP(8, 9) == pv.networks.MLP(sizes=(8, 9))
    assert ELBO(3) != pv.objectives.IWAE(3)
    assert Normal(0.1) != Normal("learned")
    assert DiagonalNormal() != object()


def test_a_users_part_is_found_by_its_import_path():
    written = {"class_path": "parts.LaplacePrior", "init_args": {"rate": 3.0}}
    assert Prior.from_dict(written) == LaplacePrior(3.0)
    assert LaplacePrior(3.0).to_dict() == written


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"class_path": "parts.Missing"}, ("parts.Missing", "import path")),
        ({"class_path": "nowhere.Prior"}, ("nowhere.Prior", "import path")),
        ({"class_path": "GaussianMixture"}, ("GaussianMixture", "import path")),
        ({"class_path": "parts.LaplaceGuide"}, ("parts.LaplaceGuide", "not a Prior")),
        ({"class_path": "parts.LaplacePrior", "init_args": {"speed": 1}}, ("parts.LaplacePrior", "speed")),
        ({"class_path": "pyrovae.priors.Prior"}, ("pyrovae.priors.Prior", "abstract")),
    ],
)
def test_a_declaration_that_cannot_be_built_says_why(written, words):
    raises_one_sentence(lambda: Prior.from_dict(written), *words)


def test_a_part_that_hides_its_hyperparameter_is_told_to_store_it():
    class Hiding(StandardNormal):
        def __init__(self, size: int = 3) -> None:
            super().__init__()

    raises_one_sentence(lambda: repr(Hiding()), "Hiding", "self.size = size")


def test_a_new_part_joins_the_table_by_existing():
    assert LaplacePrior in {type(part) for part in table(Prior)}
    public = {getattr(pv.priors, name) for name in pv.priors.__all__} - {Prior}
    assert public <= {type(part) for part in table(Prior)}
