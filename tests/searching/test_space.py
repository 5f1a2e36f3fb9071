"""Spaces: what words and files mean, which points a space has, and what is refused."""

import random
import sys

import numpy as np
import pytest
import yaml

import pyrovae as pv
from pyrovae import networks, objectives, priors
from pyrovae.choices import OneOf, Real, Whole
from pyrovae.searching import Space
from tests.support.parts import raises_one_sentence


class Scripted:
    """A trial that answers from a list of numbers, and notes what it was asked."""

    def __init__(self, seed=0):
        self.draw, self.asked = random.Random(seed), {}

    def suggest_float(self, name, low, high, *, log):
        self.asked[name] = (low, high, log)
        return self.draw.uniform(low, high)

    def suggest_int(self, name, low, high, *, log):
        self.asked[name] = (low, high, log)
        return self.draw.randint(low, high)

    def suggest_categorical(self, name, choices):
        self.asked[name] = tuple(choices)
        return self.draw.choice(choices)


WORDS = """lr=1e-4..1e-2:log latent_dim=2..64 batch_size=32,64,128 prior=StandardNormal,GaussianMixture
prior.components=2..50 decoder=MLP,Gated decoder.sizes=[200],[500,500] missing=zeros""".split()


def test_words_are_ranges_lists_and_parts():
    values = Space.of(WORDS).values
    assert values["lr"] == Real(1e-4, 1e-2, log=True)
    assert values["latent_dim"] == Whole(2, 64)
    assert values["batch_size"] == OneOf(32, 64, 128)
    assert values["decoder.sizes"] == OneOf([200], [500, 500])
    assert values["missing"] == "zeros"
    assert Space.of(["lr=1e-3"]).values == {"lr": 1e-3}
    assert Space.of(["lr=1..2.5"]).values == {"lr": Real(1.0, 2.5)}
    assert Space.of(["clip=null,1.5", "latent-dim=3"]).values == {"clip": OneOf(None, 1.5), "latent_dim": 3}


def test_an_option_exists_where_its_part_is_chosen():
    space = Space.of(WORDS)
    priors_of = {}
    for seed in range(20):
        trial = Scripted(seed)
        point = space.suggest(trial)
        assert set(point.values) == set(trial.asked)
        is_mixture = isinstance(point.options["prior"], priors.GaussianMixture)
        assert ("prior.components" in point.values) == is_mixture
        if is_mixture:
            assert point.options["prior"].components == point.values["prior.components"]
        assert str(list(point.options["decoder"].sizes)) == point.values["decoder.sizes"]
        priors_of[type(point.options["prior"])] = True
    assert len(priors_of) == 2
    assert trial.asked["lr"] == (1e-4, 1e-2, True)


def test_a_part_may_hold_choices():
    mixture = priors.GaussianMixture(components=Whole(2, 4), covariance=OneOf("diagonal", "full"))
    space = Space({"prior": OneOf(priors.StandardNormal(), mixture), "latent_dim": 2})
    points = space.grid()
    assert len(points) == 1 + 3 * 2
    assert points[0].options == {"prior": priors.StandardNormal(), "latent_dim": 2}
    assert points[-1].options["prior"] == priors.GaussianMixture(components=4, covariance="full")
    assert points[-1].values["prior.GaussianMixture.components"] == 4
    assert len({point.name for point in points}) == len(points)


def test_a_grid_has_each_combination_once():
    space = Space({"latent_dim": [2, 5, 10], "lr": OneOf(1e-3, 1e-2), "epochs": 3})
    found = [(p.options["latent_dim"], p.options["lr"], p.options["epochs"]) for p in space.grid()]
    assert found == [(d, lr, 3) for d in (2, 5, 10) for lr in (1e-3, 1e-2)]
    iwae = {"class_path": "IWAE", "init_args": {"particles": OneOf(5, 50)}}  # checks its arguments
    nested = Space({"objective": OneOf(objectives.ELBO(), iwae)})
    assert [p.options["objective"] for p in nested.grid()] == [
        objectives.ELBO(),
        objectives.IWAE(5),
        objectives.IWAE(50),
    ]


def test_points_of_the_same_name_are_told_apart():
    several = OneOf(networks.MLP(OneOf(8, 9)), networks.MLP(OneOf(10, 11), activation="tanh"))
    names = [point.values["encoder"] for point in Space({"encoder": several}).grid()]
    assert names == ["MLP", "MLP", "MLP 2", "MLP 2"]


def test_a_file_says_what_python_says(tmp_path):
    text = """
    latent_dim: 2..64
    lr: {low: 1.0e-4, high: 1.0e-2, log: true}
    batch_size: [32, 64]
    prior:
      - StandardNormal
      - class_path: GaussianMixture
        init_args: {components: 2..50:log, covariance: {choose: [diagonal, full]}}
    encoder: {class_path: MLP, init_args: {sizes: [300, 300]}}
    encoder.activation: relu,tanh
    """
    (tmp_path / "space.yaml").write_text(text)
    space = Space.read(tmp_path / "space.yaml", {"epochs": 7, "latent_dim": 3})
    trial = Scripted(1)
    point = space.suggest(trial)
    assert trial.asked["latent_dim"] == (2, 64, False)
    assert trial.asked["batch_size"] == (32, 64)
    assert trial.asked["prior.GaussianMixture.components"] == (2, 50, True)
    assert point.options["epochs"] == 7
    assert point.options["encoder"].sizes == (300, 300)
    assert point.options["encoder"].activation in ("relu", "tanh")


def test_the_file_of_the_documentation_is_a_space(project, tmp_path):
    text = (project / "docs/search.md").read_text(encoding="utf-8")
    (tmp_path / "space.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    space = Space.read(tmp_path / "space.yaml")
    names = {name for seed in range(20) for name in space.suggest(Scripted(seed)).values}
    assert {"latent_dim", "lr", "batch_size", "prior", "prior.GaussianMixture.covariance"} <= names
    assert "encoder.sizes" in names
    assert space.values["encoder"]["init_args"]["sizes"] == OneOf([200], [500, 500])


@pytest.mark.parametrize(
    "space",
    [
        Space.of(WORDS),
        Space({"prior": OneOf(priors.StandardNormal(), priors.VampPrior(components=Whole(2, 9, log=True)))}),
        Space({"encoder": networks.MLP(OneOf(3, 4), 5), "kl_warmup": Real(0, 3)}),
    ],
    ids=["words", "parts", "sizes"],
)
def test_a_space_is_written_and_read(space):
    again = Space(yaml.safe_load(yaml.safe_dump(space.to_dict(), sort_keys=False)))
    assert again == space
    assert [again.suggest(Scripted(s)).name for s in range(9)] == [
        space.suggest(Scripted(s)).name for s in range(9)
    ]


def test_a_point_is_found_by_its_values():
    space = Space.of(["latent_dim=2,5", "prior=StandardNormal,GaussianMixture", "prior.components=3,4"])
    for point in space.grid():
        again = space.at(point.values)
        assert (again.name, again.options) == (point.name, point.options)
    raises_one_sentence(lambda: space.at({"latent_dim": 2}), "prior has no value")
    raises_one_sentence(lambda: space.at({"latent_dim": 3}), "latent_dim cannot be 3: choose one of [2, 5]")


def test_the_points_declare_programs():
    data = pv.datasets.load("digits", binarize="threshold", count=60)
    for point in Space.of(["prior=StandardNormal,VampPrior", "decoder=MLP,Gated"]).grid():
        vae = pv.VAE.suited(data, **point.options)
        assert type(vae.prior) is type(point.options["prior"])
        assert type(vae.decoder) is type(point.options["decoder"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "'lr' is not of the form name=values"),
        (["lr="], "'lr=' is not of the form name=values"),
        (["lrr=1,2"], "did you mean lr?"),
        (["lr=1,2", "lr=3"], "lr is varied twice"),
        (["binarize=static,dynamic"], "binarize changes the data"),
        (["seed=1,2"], "say how many seeds"),
        (["lr=3..1"], "the first number must be below the second"),
        (["lr=0..1.0:log"], "numbers are above 0"),
        (["latent_dim=5..5"], "must be below"),
        (["lr=1,1"], "1 occurs twice"),
        (["prior=Standrad"], "did you mean StandardNormal?"),
        (["prior=MLP,StandardNormal"], "there is no prior 'MLP'"),
        (["prior=5,6"], "prior must be a Prior, not 5"),
        (["prior.components=1,2"], "prior.components is an option of the prior, which is not named"),
        (["prior=StandardNormal", "prior.components=1,2"], "has the option 'components'"),
        (["prior=GaussianMixture", "prior.componets=1,2"], "did you mean components?"),
        (["lr=[1"], "is not a value"),
        (["lr=1e-4..1e-2:lgo"], "'1e-4..1e-2:lgo' in lr is not a range: write it as in 2..64"),
        (["lr=1e-4...1e-2"], "is not a range"),  # not 1e-4 to .1e-2
        (["lr=0..inf,2"], "'0..inf' in lr is not a range"),
        (["lr=1,1.0"], "1.0 occurs twice in OneOf(1, 1.0)"),
        (["lr.low=1"], "a space has no 'lr.low'"),
    ],
)
def test_words_that_mean_nothing_are_refused(words, said):
    raises_one_sentence(lambda: Space.of(words).grid(), said)


def test_other_faults_are_refused(tmp_path):
    raises_one_sentence(lambda: Space([1]), "a space is a mapping")
    raises_one_sentence(lambda: OneOf(), "at least one value")
    raises_one_sentence(lambda: Real("a", 2), "low of Real")
    raises_one_sentence(lambda: Whole(1.5, 2), "low of Whole")
    raises_one_sentence(lambda: Space.of(["lr=0.1..0.2"]).grid(), "no finite list of values")
    raises_one_sentence(lambda: Space.of(["epochs=1..100000"]).grid(), "more than 10,000 values")
    raises_one_sentence(lambda: Space({"lr": {"choose": 3}}), "choose in lr must be a list")
    raises_one_sentence(lambda: Space({"prior": {"class_path": "os.system"}}).grid(), "os.system")
    raises_one_sentence(lambda: Space.read(tmp_path / "none.yaml"), "cannot be read")
    raises_one_sentence(lambda: Space({"clip": object()}).to_dict(), "cannot be written to a file")
    raises_one_sentence(lambda: OneOf(0, False), "False occurs twice")  # one label of optuna
    raises_one_sentence(lambda: OneOf(None, "None"), "'None' occurs twice")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"class_path": "GaussianMixture", "components": 3}, "prior has components next to class_path"),
        ({"choose": ["StandardNormal", "VampPrior"], "log": True}, "prior has log next to choose"),
        ({"low": 3}, "a range in prior needs low and high"),
        ({"low": 3, "high": 4, "lgo": True}, "a range in prior needs low and high"),
        ({"class_path": "VampPrior", "init_args": [3]}, "init_args of VampPrior must be a mapping"),
    ],
)
def test_a_mapping_that_is_almost_a_choice_is_refused(value, said):
    raises_one_sentence(lambda: Space({"prior": value}), said)


def test_numbers_of_yaml_and_numpy_are_numbers(tmp_path):
    """YAML reads 1e-3 as a word."""
    path = tmp_path / "space.yaml"
    path.write_text("lr: [1e-3, 0.01]\nkl_warmup: {choose: [1e1, 5]}\n")
    assert Space.read(path).values == {"lr": OneOf(0.001, 0.01), "kl_warmup": OneOf(10.0, 5)}
    sizes = OneOf(*np.array([[3, 4], [5, 6]]))
    space = Space({"batch_size": OneOf(*np.array([32, 64])), "decoder": "MLP", "decoder.sizes": sizes})
    assert space.to_dict()["batch_size"] == {"choose": [32, 64]}
    assert space.grid()[-1].name == "batch_size=64 decoder.sizes=[5, 6]"
    assert Space.of(["lr=1e-4 .. 1e-2 :log"]).values == {"lr": Real(1e-4, 1e-2, log=True)}


def test_points_have_different_names():
    """A sweep has a folder for each name."""
    names = [point.name for point in Space({"lr": OneOf(0.12341, 0.12342, 1e-3)}).grid()]
    assert names == ["lr=0.12341", "lr=0.12342", "lr=0.001"]


def test_parts_of_the_user_are_named_by_import_path(tmp_path, monkeypatch):
    """Words on the command line need no trust; a file does, before any trial."""
    (tmp_path / "own_nets_19.py").write_text(
        "from pyrovae.networks import MLP\nclass Mine(MLP):\n    'Mine.'\nclass Other:\n    'None.'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "space.yaml"
    path.write_text("decoder: [own_nets_19.Mine, {class_path: MLP, init_args: {sizes: [8]}}]\n")
    raises_one_sentence(lambda: Space.read(path), "if you trust it, add trust=['own_nets_19']")
    raises_one_sentence(lambda: Space({"decoder": "own_nets_19.Mine"}), "add trust=['own_nets_19']")
    assert "own_nets_19" not in sys.modules
    first, second = Space.read(path, trust="own_nets_19").grid()
    assert type(first.options["decoder"]).__name__ == "Mine"
    assert second.options["decoder"] == networks.MLP(8)
    points = Space.of(["decoder=own_nets_19.Mine,MLP", "decoder.sizes=[8],[9]"]).grid()
    assert [type(point.options["decoder"]).__name__ for point in points] == ["Mine", "Mine", "MLP", "MLP"]
    raises_one_sentence(lambda: Space.of(["decoder=own_nets_19.Other"]), "is not a Declared")
    raises_one_sentence(lambda: Space.of(["decoder=no_nets_19.Other"]), "cannot be imported")
    sys.modules.pop("own_nets_19")
