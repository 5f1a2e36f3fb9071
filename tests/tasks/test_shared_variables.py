"""Every verb with a Bayesian decoder, over draws of its weights or at their mean."""

import math

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.measurements import Noise
from pyrovae.networks import MLP, Bayesian
from pyrovae.searching.rewards import reward_of
from tests.support.conjugate import Conjugate
from tests.support.parts import raises_one_sentence


def bayesian(**parts):
    options = {"decoder": Bayesian(MLP(6)), "encoder": MLP(6), "seed": 0} | parts
    return pv.VAE((1, 4, 4), 2, **options).eval()


def binary(count=12):
    return (torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load(binary(40), validation=10, test=10)


@pytest.fixture(scope="module")
def run(data):
    return pv.fit(bayesian(), data, epochs=1, batch_size=10, device="cpu", compile=False)


def test_conditioning_averages_over_draws_that_agree_with_y():
    program, y = Conjugate(0.3, 0.8), torch.tensor([[2.0], [-1.0], [0.3]])
    options = {"through": Noise(1.0), "draws": 3000, "particles": 1000, "method": "importance"}
    found = pv.condition(program, y, weights=300, **options)
    variance = 2 + 0.8**2  # of x under q(w)
    gain = variance / (variance + 1)
    expected = (0.3 + gain * (y - 0.3)).double()
    assert torch.allclose(found.mean.double(), expected, atol=0.12)
    assert torch.allclose(found.x.double().mean(0), expected, atol=0.15)
    assert torch.allclose(found.sd.double(), torch.tensor(gain**0.5).double(), rtol=0.06)
    assert torch.allclose(found.x.double().std(0), torch.tensor(gain**0.5).double(), rtol=0.08)
    truth = dist.Normal(0.3, (variance + 1) ** 0.5).log_prob(y[:, 0]).numpy()
    assert (np.abs(found.log_py - truth) < 4 * found.mc_stderr).all()
    assert found.given == "posterior"
    assert "300 samples" in str(found)


def test_samples_come_from_the_draws_that_agree_with_y():
    """With a wide q(w), samples at draws of equal weight would lie .8 nearer to its mean."""
    program, y = Conjugate(0.3, 3.0), torch.tensor([[4.0], [-3.0]])
    options = {"through": Noise(1.0), "draws": 3000, "particles": 500, "method": "importance"}
    found = pv.condition(program, y, weights=200, **options)
    gain = 11 / 12  # 2 + 3^2, and the noise
    expected = (0.3 + gain * (y - 0.3)).double()  # with equal weights (2 y + 0.3) / 3, .8 away
    assert torch.allclose(found.x.double().mean(0), expected, atol=0.25)
    assert torch.allclose(found.x.double().mean(0), found.mean.double(), atol=0.1)


def test_conditioning_at_the_mean_uses_the_mean_everywhere():
    program, y = Conjugate(0.3, 0.8), torch.tensor([[2.0], [-1.0]])
    found = pv.condition(program, y, through=Noise(1.0), draws=50, particles=500, given="mean")
    assert torch.allclose(found.mean.double(), (0.3 + 2 / 3 * (y - 0.3)).double(), atol=0.05)
    vae, x = bayesian(), binary(3)
    x[:, :, 2:] = math.nan
    at_mean = pv.condition(vae, x, draws=20, given="mean")
    with vae.holding(vae.central_globals()):
        held = pv.condition(vae, x, draws=20)
    assert torch.equal(at_mean.x, held.x)
    assert (at_mean.given, held.given) == ("mean", None)
    over = pv.condition(vae, x, draws=20, weights=3)
    assert torch.equal(over.x[:, :, :, :2], x[:, :, :2].expand(20, -1, -1, -1, -1))
    assert (over.sd[:, :, :2] == 0).all()
    order = torch.tensor([2, 0])
    assert torch.equal(pv.condition(vae, x[order], draws=20, weights=3).x, over.x[:, order])
    plain = pv.VAE((1, 4, 4), 2, encoder=MLP(4), decoder=MLP(4))
    raises_one_sentence(lambda: pv.condition(plain, x, weights=3), "leave them out")


def test_simulated_rows_of_a_sandwich_have_the_variables_at_which_they_are_annealed():
    bounds = pv.sandwich(Conjugate(0.3, 3.0, guide_scale=1.5), count=200, temperatures=(60,), chains=8)
    assert abs(bounds.x.mean() - 0.3) < 0.4
    assert abs(bounds.gap.mean()) < 0.05
    assert pv.sandwich(bayesian(), count=5, temperatures=(5,), chains=3).x.shape == (5, 1, 4, 4)


def test_scores_are_those_of_the_predictive_density():
    vae, x = bayesian(), binary()
    scores = pv.score(vae, x, particles=200)
    evidence = pv.log_evidence(vae, x, particles=200)
    assert np.allclose(scores.log_px, evidence.log_px, atol=1e-4)
    assert str(scores).startswith("posterior predictive log p(x | D)")


@pytest.mark.parametrize("kind", ["log_px", "reconstruction", "bound"])
def test_rewards_are_the_same_every_time(run, data, kind):
    first, again = (reward_of(kind, run, data, rows=None, particles=5) for _ in range(2))
    assert first == again


def test_arviz_has_a_draw_for_each_sample():
    vae, name = bayesian(), "decoder.loc.linear.bias"
    name = next(iter(vae.global_variables))
    tree = pv.to_arviz(vae, binary(3), draws=10, shared=[name])
    assert tree["shared"][name].shape[:2] == (2, 10)
    assert float(np.ptp(tree["shared"][name].values, axis=1).min()) > 0
    assert tree["posterior"]["z"].shape == (2, 10, 3, 2)
    raises_one_sentence(lambda: pv.to_arviz(vae, binary(3), shared=["w"]), "give names in shared=")


def test_imputation(data):
    frame = pd.DataFrame({"a": [1.0, 2, 3, 4, None] * 4, "b": ["u", "v", "u", None, "v"] * 4})
    table = pv.datasets.load(frame, validation=4, test=4)
    vae = pv.VAE.suited(table, decoder=Bayesian(MLP(4)), encoder=MLP(4), latent_dim=1)
    vae = pv.fit(vae, table, epochs=1, batch_size=8, device="cpu", compile=False).program
    assert not pv.impute(vae, frame, draws=2).frame.isna().any().any()


VERBS = {
    "gaps": lambda vae, x: pv.gaps(vae, x[:3], steps=3, particles=10, method="importance"),
    "diagnose": lambda vae, x: pv.diagnose(vae, x, particles=5),
    "traverse": lambda vae, x: pv.traverse(vae, x[:2]),
    "interpolate": lambda vae, x: pv.interpolate(vae, x[:1], x[1:2]),
    "attributes": lambda vae, x: pv.attributes(vae, x, torch.arange(len(x)) % 2),
}


@pytest.mark.parametrize("verb", VERBS)
def test_other_verbs_use_the_mean(verb):
    vae, x = bayesian(), binary(60)
    found = VERBS[verb](vae, x)
    with vae.holding(vae.central_globals()):
        assert str(VERBS[verb](vae, x)) == str(found)


def test_exploring_decodes_at_the_mean():
    vae = bayesian(prior=pv.priors.GaussianMixture(3))
    exploration = pv.explore(vae, binary())
    assert np.array_equal(exploration.decode(exploration.z[0]), exploration.decode(exploration.z[0]))
    assert exploration.evidence.given == "posterior"


def test_the_figures_of_a_run(run, data):
    from pyrovae.report import figures

    assert {"samples", "reconstructions", "latents"} <= set(figures(run.program, data))
