"""Fewer bits, equal rows, and options that do not exist."""

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae import cli
from pyrovae.evidence import AIS
from pyrovae.oracles import LinearGaussian
from pyrovae.sharing import agreed


@pytest.fixture
def vae():
    torch.manual_seed(0)
    mlp = pv.networks.MLP(64)
    return pv.VAE((20,), latent_dim=3, encoder=mlp, decoder=mlp)


def test_bfloat16_is_for_the_networks_alone(vae):
    x = torch.bernoulli(torch.full((8, 20), 0.5))
    exact = pv.log_evidence(vae, x, particles=200)
    coarse = pv.log_evidence(vae, x, particles=200, precision="bf16")
    assert coarse.settings["precision"] == "bf16"
    difference = np.abs(coarse.log_px - exact.log_px)
    assert 0 < difference.max() < 0.1
    assert vae.decode(torch.zeros(1, 3)).log_prob(x[:1]).dtype == torch.float32
    with torch.no_grad():  # and the next call is exact again
        np.testing.assert_array_equal(pv.log_evidence(vae, x, particles=200).log_px, exact.log_px)


def test_auto_says_what_it_measured(vae):
    x = torch.bernoulli(torch.full((8, 20), 0.5))
    said = pv.log_evidence(vae, x, particles=200, precision="auto").settings["precision"]
    assert said.startswith(("float32 (bf16 moves", "bf16 (bf16 moves"))
    assert agreed(said) == said


def test_what_cannot_be_cast_is_refused(vae):
    oracle = LinearGaussian.random(event_dim=4, latent_dim=2)
    with pytest.raises(pv.InputError, match="needs a VAE"):
        pv.log_evidence(oracle, oracle.sample(2), particles=2, precision="bf16")
    with pytest.raises(pv.InputError, match="precision must be .* not 'half'"):
        pv.log_evidence(vae, torch.zeros(2, 20), particles=2, precision="half")
    with pytest.raises(pv.InputError, match="data.test"):
        pv.log_evidence(vae, pv.datasets.load("digits"), particles=2)


@pytest.mark.parametrize("given", [{"start": "Prior"}, {"start": "posterior"}, {"schedule": "cosine"}])
def test_a_misspelt_start_or_schedule_is_refused_and_never_guessed(given):
    with pytest.raises(pv.InputError, match="^(start|schedule) must be '"):
        AIS(10, **given)
    with pytest.raises(pv.InputError, match="^(start|schedule) must be '"):
        pv.sandwich(LinearGaussian.random(event_dim=4, latent_dim=2), count=2, **given)


def test_equal_rows_have_their_own_samples(float64):
    oracle = LinearGaussian.random(event_dim=4, latent_dim=2, guide_scale=1.5)
    x = oracle.sample(1).expand(400, -1)
    evidence = pv.log_evidence(oracle, x, particles=100)
    truth = oracle.log_px(x[:1]).item()
    assert len(set(evidence.log_px.tolist())) == 400
    assert abs(evidence.mean - truth) < 5 * evidence.mc_error + 0.5 * np.mean(evidence.mc_stderr**2)
    spread = (evidence.log_px - truth).std() / evidence.mc_stderr.mean()
    assert 0.8 < spread < 1.2


def test_an_interrupted_evaluation_writes_what_is_done(tmp_path, monkeypatch, capsys):
    run = str(tmp_path / "run")
    assert cli.main(f"fit --data digits --binarize threshold --epochs 1 --out {run}".split()) == 0
    monkeypatch.setattr("pyrovae.evidence.run.CELLS", 2**14)
    from pyrovae.evidence.methods import Importance

    real, calls = Importance.summary, []

    def interrupted(self, *given):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(Importance, "summary", interrupted)
    assert cli.main(f"evaluate {run} --particles 30 --bounds [1,5]".split()) == 130
    assert "partial" in capsys.readouterr().err
    assert '"partial": true' in (tmp_path / "run/evidence.partial.json").read_text()
