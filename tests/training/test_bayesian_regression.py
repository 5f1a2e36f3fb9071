"""Pyro's tutorial on Bayesian regression as a program: `fit` and `SVI` find one posterior.

The response is x, the covariates are the context. The tutorial (pyro.ai/examples/bayesian_regression.html)
regresses the GDP of nations on their ruggedness, being in Africa, and the product of both.
"""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal, AutoLaplaceApproximation
from pyro.nn import PyroModule, PyroSample

import pyrovae as pv
from pyrovae.datasets import Rows
from tests.support.training_rows import train_on

QUIET = {"progress": False, "compile": False, "keep": "last", "kl_warmup": 0, "patience": None}
NOISE = 0.4


class BayesianRegression(PyroModule):
    """The tutorial's model, with its arguments in the order of rows."""

    def __init__(self, sigma=None):
        super().__init__()
        self.sigma = sigma
        self.linear = PyroModule[torch.nn.Linear](3, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 10.0).expand([1]).to_event(1))

    def forward(self, x, context):
        sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0)) if self.sigma is None else self.sigma
        mean = self.linear(context).squeeze(-1)
        with pyro.plate("data", len(context)):
            pyro.sample("obs", dist.Normal(mean, sigma), obs=x)
        return mean


@pytest.fixture(scope="module")
def nations():
    """170 nations: in Africa or not, ruggedness, their product, and the logarithm of the GDP; centred."""
    draw = torch.Generator().manual_seed(0)
    africa = (torch.rand(170, generator=draw) < 0.3).float()
    rugged = torch.randn(170, generator=draw)
    covariates = torch.stack([africa, rugged, africa * rugged], -1)
    gdp = 0.5 + covariates @ torch.tensor([-1.8, -0.2, 0.4]) + NOISE * torch.randn(170, generator=draw)
    return Rows(gdp, covariates)


def moments(guide, rows, count=2000):
    """The mean and standard deviation of each coefficient, and of sigma if it is learned."""
    torch.manual_seed(1)
    draws = Predictive(guide, num_samples=count)(rows.x, rows.context)
    names = [name for name in ("linear.weight", "linear.bias", "sigma") if name in draws]
    flat = torch.cat([draws[name].detach().reshape(count, -1) for name in names], -1)
    return flat.mean(0), flat.std(0)


def by_svi(regression, guide, rows, steps=1000):
    optimiser = pyro.optim.ClippedAdam({"lr": 0.03, "lrd": 0.02 ** (1 / steps)})
    svi = SVI(regression, guide, optimiser, Trace_ELBO())
    pyro.set_rng_seed(0)
    for _ in range(steps):
        svi.step(rows.x, rows.context)


def fitted(regression, guide, rows, **options):
    settings = QUIET | {"epochs": 100, "lr": 0.03, "batch_size": 17} | options
    return pv.fit((regression, guide), train_on(rows), **settings)


@pytest.mark.slow
def test_fit_and_svi_have_the_posterior_of_the_tutorial(nations):
    found = {}
    for way in (fitted, by_svi):
        pyro.clear_param_store()
        torch.manual_seed(2)
        regression = BayesianRegression()
        guide = AutoDiagonalNormal(regression, init_scale=0.04)
        way(regression, guide, nations)
        found[way] = moments(guide, nations)
    (ours, sds), (theirs, others) = found[fitted], found[by_svi]
    assert ((ours - theirs) / others).abs().max() < 0.35  # in standard deviations of the posterior
    np.testing.assert_allclose(sds, others, rtol=0.25)
    assert abs(ours[-1] - NOISE) < 3 * sds[-1]


def exact(rows):
    """The posterior of the coefficients for a known noise, and the best product of normals.

    Returns its mean, its standard deviations, and those of the product, which has the same mean.
    """
    design = torch.cat([rows.context, torch.ones(len(rows), 1)], -1).double()
    precision = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.01]).double()) + design.mT @ design / NOISE**2
    covariance = torch.linalg.inv(precision)
    mean = covariance @ design.mT @ rows.x.double() / NOISE**2
    return mean, covariance.diagonal().sqrt(), precision.diagonal().rsqrt()


def test_with_known_noise_fit_has_the_exact_posterior(nations):
    regression = BayesianRegression(NOISE)
    guide = AutoDiagonalNormal(regression, init_scale=0.04)
    fitted(regression, guide, nations)
    (loc, sds), (mean, whole, wanted) = moments(guide, nations), exact(nations)
    assert ((loc - mean) / whole).abs().max() < 0.35
    np.testing.assert_allclose(sds, wanted, rtol=0.2)


def test_pyros_laplace_approximation_after_fit_is_exact_for_known_noise(nations):
    """The posterior is normal, so its mode and curvature are its mean and covariance."""
    regression = BayesianRegression(NOISE)
    guide = AutoLaplaceApproximation(regression)
    fitted(regression, guide, nations, epochs=50)
    laplace = guide.laplace_approximation(nations.x, nations.context)
    mean, wanted, _ = exact(nations)
    normal = laplace.get_posterior()
    np.testing.assert_allclose(normal.covariance_matrix.diagonal().sqrt().detach(), wanted, rtol=1e-2)
    assert ((normal.mean.detach() - mean) / wanted).abs().max() < 0.05
    new = nations[:20]
    evidence = pv.log_evidence((regression, laplace), new, particles=1, weights=200, compile=False)
    design = torch.cat([new.context, torch.ones(20, 1)], -1).double()
    scale_tril = normal.scale_tril.detach().double()
    variance = NOISE**2 + (design @ scale_tril).square().sum(-1)
    wanted = dist.Normal(design @ normal.mean.detach().double(), variance.sqrt()).log_prob(new.x.double())
    assert abs(evidence.mean - wanted.mean().item()) < 0.01
