"""Discrete latents in estimates of log p(x): many equal weights, and weights of 0."""

import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv


def categorical():
    """The guide often draws a state that the model does not have."""

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.5, 0.5, 0.0])))
            pyro.sample("x", dist.Normal(c.float(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(torch.tensor([0.1, 0.2, 0.7])))

    return (model, guide), torch.linspace(-1, 2, 6)


def one_hots():
    vae = pv.VAE((5,), latent_dim=1, prior=pv.priors.Categorical(2), guide=pv.guides.Categorical(2))
    return vae, torch.ones(6, 5)


def classes():
    vae = pv.VAE((5,), latent_dim=2, prior=pv.priors.Classes(3), guide=pv.guides.Classes(3))
    return vae, torch.ones(6, 5)


@pytest.mark.parametrize("program", [categorical, one_hots, classes])
@pytest.mark.parametrize("method", ["importance", "psis"])
def test_no_warning_of_numpy_reaches_the_user(program, method):
    target, x = program()
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        for particles in (1, 2, 30, 200):
            evidence = pv.log_evidence(target, x, particles=particles, method=method)
            assert str(evidence)
            assert np.isfinite(evidence.corrected) or particles == 1
        assert str(pv.iwae_bound(target, x, particles=(1, 2, 30)))
