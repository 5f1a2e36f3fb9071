"""The VAE that suits a data set: its likelihood follows the values, its networks follow the shape."""

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.likelihoods import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Mixed,
    NegativeBinomial,
    Normal,
    Poisson,
)
from pyrovae.networks import MLP, ConvEncoder, Gated
from pyrovae.vae import likelihood_for

RNG = np.random.default_rng(0)
VALUES = {
    "binary": (RNG.integers(0, 2, (60, 5)), Bernoulli, "0 or 1"),
    "unit": (RNG.uniform(size=(60, 5)), ContinuousBernoulli, "from 0 to 1"),
    "bytes": (RNG.integers(0, 256, (60, 1, 9, 9)).astype(np.uint8), DiscretizedLogistic, "256 levels"),
    "counts": (RNG.negative_binomial(1, 0.1, (60, 5)), NegativeBinomial, "vary more"),
    "even counts": (RNG.binomial(40, 0.5, (60, 5)), Poisson, "counts"),
    "reals": (50 + 9 * RNG.normal(size=(60, 5)), Normal, "real"),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_likelihood_follows_the_values_and_trains(name):
    values, expected, reason = VALUES[name]
    data = pv.datasets.load(values)
    choice = likelihood_for(data)
    assert type(choice.likelihood) is expected
    assert reason in choice.reason
    run = pv.fit(None, data, epochs=2, progress=False)
    assert type(run.program.likelihood) is expected
    assert np.isfinite(run.history["validation"]).all()


def test_a_table_has_a_likelihood_for_each_column(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{x:.3f},{'ab'[k % 2]},{k % 5}" for k, x in enumerate(RNG.normal(size=40))]
    path.write_text("\n".join(["size,word,visits", *rows]))
    vae = pv.VAE.suited(pv.datasets.load(path))
    assert isinstance(vae.likelihood, Mixed)
    assert len(vae.likelihood.columns) == 3


def test_prepared_values_decide():
    grey = pv.datasets.load("digits")
    assert isinstance(likelihood_for(grey).likelihood, DiscretizedLogistic)
    assert likelihood_for(grey).likelihood.levels == 17
    assert isinstance(likelihood_for(pv.datasets.load("digits", binarize="static")).likelihood, Bernoulli)
    dequantised = likelihood_for(pv.datasets.load("digits", dequantize=True))
    assert isinstance(dequantised.likelihood, ContinuousBernoulli)


def test_networks_follow_the_shape():
    sizes = {(1, 28, 28): Gated, (3, 16, 16): ConvEncoder, (1, 64, 64): ConvEncoder, (30,): MLP}
    for shape, encoder in sizes.items():
        data = pv.datasets.load(torch.rand(10, *shape))
        vae = pv.VAE.suited(data)
        assert isinstance(vae.encoder, encoder)
        assert vae.latent_dim == max(2, min(32, int(np.prod(shape)) // 2))


def test_parts_that_are_given_stay():
    data = pv.datasets.load("digits", context="labels")
    vae = pv.VAE.suited(data, latent_dim=3, likelihood=ContinuousBernoulli(), prior=pv.priors.VampPrior(4))
    assert (vae.latent_dim, vae.context_shape) == (3, (10,))
    assert repr(vae.prior) == "VampPrior(components=4)"
    assert isinstance(vae.likelihood, ContinuousBernoulli)


def test_the_weights_come_from_the_seed_and_the_random_state_stays():
    state = torch.get_rng_state()
    runs = [pv.fit(None, VALUES["unit"][0], epochs=1, seed=s, progress=False) for s in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    first, second, third = ([*run.program.state_dict().values()] for run in runs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, third, strict=True))


def test_the_first_command_works_and_says_what_it_chose(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--epochs", "1", "--lr_schedule", "constant"]) == 0
    said = capsys.readouterr().out
    assert "likelihood DiscretizedLogistic(levels=17" in said
    assert "because values are 17 levels (--likelihood names another)" in said
    assert main(["fit", "--out", "runs/digits-1", "--resume", "--epochs", "2"]) == 0
    assert "because" not in capsys.readouterr().out


def test_a_batch_has_all_rows_of_a_small_set(capsys):
    run = pv.fit(None, VALUES["reals"][0][:20], epochs=1, progress=False)
    assert len(run.history["epoch"]) == 1
    assert capsys.readouterr().out == ""


def test_fit_says_which_likelihood_it_chose(capsys):
    pv.fit(None, VALUES["reals"][0][:20], epochs=1)
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "likelihood Normal(scale='learned'), because values are real numbers"


def test_rows_that_were_not_loaded_are_refused():
    with pytest.raises(pv.InputError, match=r"not to Tensor: give pyrovae\.datasets\.load\(rows\)"):
        pv.VAE.suited(torch.zeros(5, 3))
