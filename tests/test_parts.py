"""Properties of single parts, of every part: hyperparameters and declarations."""

import math

import numpy as np
import pytest
import yaml

import pyrovae as pv
from pyrovae.guides import DiagonalNormal
from pyrovae.likelihoods import Normal
from pyrovae.objectives import ELBO
from pyrovae.part import Declared
from pyrovae.priors import GaussianMixture, Prior, StandardNormal
from tests.support.parts import (
    GUIDES,
    LIKELIHOODS,
    NETWORKS,
    OBJECTIVES,
    PRIORS,
    LaplacePrior,
    raises_one_sentence,
    table,
)

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
def test_hyperparameters_out_of_range_are_refused(given, words):
    raises_one_sentence(given, *words)


@pytest.mark.parametrize("three", [3, 3.0, np.int64(3), np.float32(3), np.array(3)], ids=lambda v: repr(v))
@pytest.mark.parametrize(
    ("part", "name", "sizes"),
    [
        (lambda n: GaussianMixture(components=n), "components", (2,)),
        (lambda n: GaussianMixture(2, start="fit", start_epoch=n), "start_epoch", (2,)),
        (lambda n: pv.priors.Categorical(classes=n), "classes", (2,)),
        (lambda n: pv.guides.LowRankNormal(rank=n), "rank", (2,)),
        (lambda n: pv.likelihoods.DiscretizedLogistic(levels=n), "levels", ((4,),)),
        (lambda n: pv.networks.ResidualEncoder((2,), blocks=n), "blocks", ((1, 4, 4),)),
        (lambda n: pv.networks.MLP(n), "sizes", ((4,),)),
        (lambda n: pv.priors.Flow(transforms=2, hidden=(n,)), "hidden", (2,)),
        (lambda n: pv.objectives.MIWAE(3, n), "particles", None),
        (lambda n: pv.objectives.Factor(layers=[n]), "layers", None),
    ],
    ids=[
        "components",
        "start_epoch",
        "classes",
        "rank",
        "levels",
        "blocks",
        "MLP",
        "Flow",
        "MIWAE",
        "Factor",
    ],
)
def test_a_whole_number_of_any_type_is_stored_as_a_plain_one(part, name, sizes, three):
    part = part(three)
    if sizes is not None:
        part.attach(*sizes)
    stored = part.hyperparameters()[name]
    stored = stored[0] if isinstance(stored, tuple) else stored
    assert type(stored) is int
    assert stored == 3
    assert yaml.safe_load(yaml.safe_dump(part.to_dict())) == part.to_dict()
    assert type(part).from_dict(part.to_dict()) == part


@pytest.mark.parametrize("one", [1, np.float64(1), np.array(1.0)], ids=lambda v: repr(v))
def test_a_number_of_any_type_is_stored_as_a_float(one):
    for part, name, sizes in (
        (Normal(one), "scale", ((3,),)),
        (pv.priors.StudentT(one), "df", (2,)),
        (pv.guides.Categorical(2, one), "temperature", (4,)),
        (ELBO(beta=one), "beta", None),
        (pv.objectives.MMD(bandwidth=one), "bandwidth", None),
    ):
        if sizes is not None:
            part.attach(*sizes)
        assert type(getattr(part, name)) is float
        assert type(part).from_dict(part.to_dict()) == part


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianMixture(True).attach(2), ("components of GaussianMixture", "not True")),
        (lambda: GaussianMixture(2.5).attach(2), ("components of GaussianMixture", "2.5")),
        (lambda: GaussianMixture(2, "tied").attach(2), ("covariance of GaussianMixture", "'full'", "'tied'")),
        (lambda: GaussianMixture(4, prune=0.25).attach(2), ("prune of GaussianMixture", "below 0.25")),
        (lambda: Normal(True).attach((3,)), ("scale of Normal", "'optimal'", "above 0", "True")),
        (lambda: Normal("wide").attach((3,)), ("scale of Normal", "'learned'", "'wide'")),
        (lambda: pv.likelihoods.StudentT(1.0).attach((3,)), ("df of StudentT", "above 1")),
        (lambda: pv.priors.Hierarchical((2,), hidden=()).attach(2), ("hidden of Hierarchical", "at least 1")),
        (lambda: ELBO(True), ("particles", "True")),
    ],
)
def test_what_is_not_such_a_number_is_refused(make, words):
    raises_one_sentence(make, *words)


# ---------------------------------------------------------------- 9: every part is its declaration


def test_other_hyperparameters_are_another_declaration():
    assert GaussianMixture(3) != GaussianMixture(4)
    assert StandardNormal() != GaussianMixture(1)
    assert pv.networks.MLP(8) != pv.networks.MLP(8, activation="tanh")
    assert pv.networks.MLP(8, 9) == pv.networks.MLP(sizes=(8, 9))
    assert ELBO(3) != pv.objectives.IWAE(3)
    assert Normal(0.1) != Normal("learned")
    assert DiagonalNormal() != object()


def test_a_users_part_is_found_by_its_import_path():
    written = {"class_path": "tests.support.parts.LaplacePrior", "init_args": {"rate": 3.0}}
    assert Prior.from_dict(written) == LaplacePrior(3.0)
    assert LaplacePrior(3.0).to_dict() == written


@pytest.mark.parametrize(
    "path",
    [
        "pyrovae.priors.mixture.GaussianMixture",
        "pyrovae.priors.normal.StandardNormal",
        "pyrovae.priors.classes.Classes",
        "pyrovae.guides.classes.Classes",
        "pyrovae.likelihoods.binary.Bernoulli",
        "pyrovae.likelihoods.above.LogNormal",
        "pyrovae.networks.residual.ResidualEncoder",
        "pyrovae.objectives.classes.Balanced",
    ],
)
def test_a_declaration_of_a_file_that_has_moved_is_read(path):
    part = Declared.from_dict({"class_path": path, "init_args": {}})
    _, room, _, name = path.split(".")
    assert part.to_dict()["class_path"] == f"pyrovae.{room}.{name}"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"class_path": "pyrovae.priors.mixture.Missing"}, ("pyrovae.priors.mixture.Missing", "import path")),
        ({"class_path": "tests.support.parts.Missing"}, ("tests.support.parts.Missing", "import path")),
        ({"class_path": "nowhere.Prior"}, ("nowhere.Prior", "import path")),
        ({"class_path": "GaussianMixture"}, ("GaussianMixture", "import path")),
        (
            {"class_path": "tests.support.parts.LaplaceGuide"},
            ("tests.support.parts.LaplaceGuide", "not a Prior"),
        ),
        (
            {"class_path": "tests.support.parts.LaplacePrior", "init_args": {"speed": 1}},
            ("tests.support.parts.LaplacePrior", "speed"),
        ),
        ({"class_path": "pyrovae.priors.Prior"}, ("pyrovae.priors.Prior", "abstract")),
    ],
)
def test_a_declaration_that_cannot_be_built_says_why(written, words):
    raises_one_sentence(lambda: Prior.from_dict(written), *words)


def test_a_part_that_hides_its_hyperparameter_is_refused():
    class Hiding(StandardNormal):
        def __init__(self, size: int = 3) -> None:
            super().__init__()

    raises_one_sentence(lambda: repr(Hiding()), "Hiding", "self.size = size")


def test_a_new_part_joins_the_table_by_existing():
    assert LaplacePrior in {type(part) for part in table(Prior)}
    public = {getattr(pv.priors, name) for name in pv.priors.__all__} - {Prior}
    assert public <= {type(part) for part in table(Prior)}
