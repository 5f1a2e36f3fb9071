"""Variables that all rows share, from the command line: a Bayesian decoder, a random scale, a mixture."""

from pathlib import Path

import pandas
import pytest
import yaml

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.networks import MLP, Bayesian
from tests.support.same_runs import assert_same_runs, checkpoint, same

DATA = "--data digits --count 120 --encoder MLP --encoder.sizes [8] --latent_dim 2".split()
QUICK = "--epochs 2 --lr_schedule constant --batch_size 40 --compile false --figures false".split()
DECODER = "--decoder Bayesian --decoder.network MLP --decoder.network.sizes [8,7]".split()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fit(*words):
    assert main(["fit", *DATA, *QUICK, *words]) == 0


CASES = {
    "decoder": ([*DECODER, "--decoder.scale", "learned"], "decoder", Bayesian(MLP(8, 7), "learned")),
    "posterior": (
        [*DECODER, "--decoder.posterior", "lowrank", "--decoder.rank", "2"],
        "decoder",
        Bayesian(MLP(8, 7), posterior="lowrank", rank=2),
    ),
    "plain decoder": (["--decoder", "Bayesian"], "decoder", Bayesian()),
    "scale": (
        ["--likelihood", "Normal", "--likelihood.scale", "bayesian"],
        "likelihood",
        pv.likelihoods.Normal("bayesian"),
    ),
    "mixture": (
        ["--prior", "GaussianMixture", "--prior.weights", "dirichlet", "--prior.concentration", "0.5"],
        "prior",
        pv.priors.GaussianMixture(weights="dirichlet", concentration=0.5),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_declared_stored_and_made_again_from_its_config(case, capsys):
    words, role, part = CASES[case]
    fit(*words, "--out", "r")
    assert " ~ " in capsys.readouterr().out
    vae = pv.load("r")
    assert getattr(vae, role) == part
    assert vae.global_variables
    assert yaml.safe_load(Path("r/config.yaml").read_text())[role]["class_path"].endswith(type(part).__name__)
    assert main(["fit", "--config", "r/config.yaml", "--figures", "false", "--out", "again"]) == 0
    assert_same_runs(Path("r"), Path("again"))
    assert main(["fit", "--out", "r", "--resume", "true", "--epochs", "3", "--figures", "false"]) == 0
    fit(*words, "--epochs", "3", "--out", "longer")
    assert same(checkpoint("r")["weights"], checkpoint("longer")["weights"])


def test_what_cannot_be_declared_is_one_sentence(capsys):
    for words, cure in (
        ([*DECODER, "--decoder.posterior", "exact"], "lowrank"),
        ([*DECODER, "--decoder.posterior", "laplace", "--decoder.scale", "learned"], "give a number"),
        (["--likelihood", "Normal", "--likelihood.scale", "bayes"], "bayesian"),
        (["--prior", "GaussianMixture", "--prior.weights", "bayes"], "dirichlet"),
        (["--prior", "GaussianMixture", "--prior.weights", "dirichlet", "--prior.prune", "0.01"], "leave"),
        (["--encoder", "Bayesian"], "use its network"),
    ):
        capsys.readouterr()
        assert main(["fit", *DATA, *QUICK, *words, "--out", "r"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert line.startswith("pyrovae: ")
        assert cure in line
        assert not Path("r").exists()


def test_a_grid_of_point_and_bayesian_decoders():
    words = [*DATA, *QUICK[:-2], "--binarize", "threshold", "--seeds", "1", "--particles", "3"]
    assert main(["sweep", *words, "--out", "a", "--grid", "decoder=MLP,Bayesian"]) == 0
    table = pandas.read_csv("a/table.csv", index_col="name")
    assert list(table.index) == ["decoder=MLP", "decoder=Bayesian"]
    grid = ["--grid", "decoder.scale=0.5,learned"]
    assert main(["sweep", *words, *DECODER, "--out", "b", *grid]) == 0
    scales = [pv.load(f"b/decoder.scale={s}/seed-0").decoder.scale for s in ("0.5", "learned")]
    assert scales == [0.5, "learned"]


def test_a_part_is_named_as_the_decoder(capsys):
    assert main(["parts", "Bayesian"]) == 0
    shown = capsys.readouterr().out
    assert "decoder=pv.networks.Bayesian(" in shown
    assert "pyrovae fit --decoder Bayesian" in shown
