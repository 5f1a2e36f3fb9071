"""Programs whose posterior of the shared variables is known.

regression          x | c, w ~ N(w . c, s^2),  w ~ N(0, I)                  conjugate
Bayesian PCA        x | z, w ~ N(w z, s^2 I),  z ~ N(0, 1),  w ~ N(0, I)    quadrature over w, and NUTS
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal, init_to_value

import pyrovae as pv
from pyrovae.datasets import Rows
from pyrovae.objectives import ELBO, IWAE
from pyrovae.terms import Runner
from tests.support.training_rows import train_on

NOISE = 0.5
QUIET = {"progress": False, "compile": False, "keep": "last", "kl_warmup": 0, "patience": None}


# ---------------------------------------------------------------- regression


def regression(x, context):
    w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    mean = (w * context).sum(-1) if w.dim() == 1 else (w @ context.mT).squeeze(-2)
    with pyro.plate("data", len(context), dim=-1):
        pyro.sample("x", dist.Normal(mean, NOISE), obs=x)


class Conjugate:
    """Rows of the regression, and its exact posterior, evidence and predictive density."""

    def __init__(self, count, seed=0):
        draw = torch.Generator().manual_seed(seed)
        mixing = torch.tensor([[1.0, 0.6, 0.0], [0.0, 0.8, 0.3], [0.0, 0.0, 1.0]])
        c = torch.randn(count, 3, generator=draw) @ mixing
        x = c @ torch.tensor([1.0, -0.5, 0.3]) + NOISE * torch.randn(count, generator=draw)
        self.rows = Rows(x, c)
        c, x = c.double(), x.double()
        self.precision = torch.eye(3, dtype=torch.float64) + c.mT @ c / NOISE**2
        self.covariance = torch.linalg.inv(self.precision)
        self.mean = self.covariance @ c.mT @ x / NOISE**2
        marginal = NOISE**2 * torch.eye(count, dtype=torch.float64) + c @ c.mT
        self.log_evidence = dist.MultivariateNormal(torch.zeros_like(x), marginal).log_prob(x)

    def posterior(self):
        return dist.MultivariateNormal(self.mean, self.covariance)

    def predictive(self, rows):
        c = rows.context.double()
        variance = NOISE**2 + ((c @ self.covariance) * c).sum(-1)
        return dist.Normal(c @ self.mean, variance.sqrt()).log_prob(rows.x.double())

    def guide(self, x, context):
        pyro.sample("w", self.posterior())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weights", ["shared", "own"])
def test_with_the_exact_posterior_every_draw_has_the_evidence_of_the_data_set(weights):
    exact = Conjugate(40)
    rows = Rows(exact.rows.x.double(), exact.rows.context.double())
    runner = Runner((regression, exact.guide)).check(rows)
    terms = runner.run(rows, particles=3, weights=weights).terms()
    total = terms.log_w.sum(-1) + terms.log_global
    torch.testing.assert_close(total, exact.log_evidence.expand(3), rtol=0, atol=1e-8)


@pytest.mark.parametrize("auto", [AutoMultivariateNormal, AutoNormal])
def test_fit_finds_the_posterior_from_minibatches(auto):
    """A product of normals has the posterior's mean, and the precisions of its diagonal."""
    exact = Conjugate(60)
    guide = auto(regression, init_scale=0.1)
    data = train_on(exact.rows)
    pv.fit((regression, guide), data, ELBO(4, weights="own"), epochs=100, lr=0.05, batch_size=15, **QUIET)
    best = auto is AutoMultivariateNormal
    wanted = (exact.covariance.diagonal() if best else 1 / exact.precision.diagonal()).sqrt()
    torch.manual_seed(1)
    with torch.no_grad():
        w = torch.stack([guide(exact.rows.x, exact.rows.context)["w"] for _ in range(3000)]).double()
    # in units of the posterior's standard deviation, with that of 3,000 draws and of the last steps
    assert ((w.mean(0) - exact.mean) / exact.covariance.diagonal().sqrt()).abs().max() < 0.15
    np.testing.assert_allclose(w.std(0), wanted, rtol=0.1)
    if best:
        correlation = np.corrcoef(w.mT)
        sd = exact.covariance.diagonal().sqrt()
        np.testing.assert_allclose(correlation, exact.covariance / sd / sd[:, None], atol=0.1)


@pytest.mark.usefixtures("float64")
def test_the_predictive_density_is_exact_and_nears_that_of_the_mean_as_rows_are_added():
    new, gaps = Conjugate(30, seed=9).rows, []
    new = Rows(new.x.double(), new.context.double())
    for count in (5, 50, 500):
        exact = Conjugate(count)
        pair = regression, exact.guide
        found = pv.log_evidence(pair, new, particles=1, weights=200, compile=False)
        apart = (found.log_px - exact.predictive(new).numpy()) / found.mc_stderr
        assert np.abs(apart).max() < 5
        assert abs(found.mean - exact.predictive(new).mean()) < 0.03
        at_mean = pv.log_evidence(pair, new, particles=1, given="mean", compile=False)
        loc = new.context @ exact.mean
        np.testing.assert_allclose(at_mean.log_px, dist.Normal(loc, NOISE).log_prob(new.x), atol=1e-6)
        gaps.append(np.abs(found.log_px - at_mean.log_px).mean())
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2]  # as 1 / N
    assert gaps[2] < 0.005


# ---------------------------------------------------------------- Bayesian PCA


def pca(x):
    w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.unsqueeze(-1) * w, NOISE).to_event(1), obs=x)


def pca_without_z(x):
    w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", marginal(w), obs=x)


def marginal(w):
    """p(x|w), without z."""
    noise = NOISE**2 * torch.ones(3, dtype=w.dtype)
    return dist.LowRankMultivariateNormal(torch.zeros(3, dtype=w.dtype), w.unsqueeze(-1), noise)


class PCA:
    """50 rows, and sums over a grid of w in place of integrals; w and -w are alike, so w_1 > 0."""

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        z, noise = torch.randn(250, 1, generator=draw), torch.randn(250, 3, generator=draw)
        x = z * torch.tensor([1.0, -0.7, 0.4]) + NOISE * noise
        self.x, self.new = x[:50], x[50:]
        line = torch.linspace(-2.5, 2.5, 61, dtype=torch.float64)
        grid = torch.cartesian_prod(line[line > 0], line, line)
        joint = self.log_px(grid, self.x).sum(-1) + dist.Normal(0.0, 1.0).log_prob(grid).sum(-1)
        self.log_evidence = joint.logsumexp(0) + 3 * (line[1] - line[0]).log() + math.log(2)
        near = joint > joint.max() - 25
        self.grid, self.log_weight = grid[near], joint[near].log_softmax(0)

    @staticmethod
    def log_px(w, x):
        return torch.cat([marginal(some.unsqueeze(1)).log_prob(x.double()) for some in w.split(10_000)])

    def predictive(self, w=None):
        """log p(x | D) of the new rows, from the grid or from draws of w."""
        if w is None:
            return (self.log_px(self.grid, self.new) + self.log_weight.unsqueeze(-1)).logsumexp(0)
        return self.log_px(w.double(), self.new).logsumexp(0) - math.log(len(w))


@pytest.fixture(scope="module")
def known():
    return PCA()


@pytest.mark.parametrize("objective", [ELBO(4, weights="own"), IWAE(10)], ids=repr)
def test_bayesian_pca_has_the_predictive_density_of_the_exact_posterior(known, objective):
    """Within 0.02 nats of quadrature and of NUTS; the bound is below the evidence of the data set.

    q(w) q(z|x) is narrower than the posterior, since w and the z of all rows depend on each other there.
    """
    start = init_to_value(values={"w": torch.tensor([0.5, 0.0, 0.0])})
    of_w = AutoMultivariateNormal(poutine.block(pca, hide=["z"]), init_loc_fn=start, init_scale=0.1)

    def guide(x):
        of_w(x)
        reader, log_sd = pyro.param("reader", torch.zeros(3)), pyro.param("log_sd", torch.zeros(()))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x @ reader, log_sd.exp()))

    data = train_on(Rows(known.x), Rows(known.new))
    run = pv.fit((pca, guide), data, objective, epochs=60, lr=0.03, batch_size=10, **QUIET)
    found = pv.log_evidence((pca, guide), known.new, particles=50, weights=100, compile=False)
    assert abs(found.mean - known.predictive().mean()) < 0.02
    history = run.history
    bound = 50 * (history["train"] - history["global_kl"])[-20:].mean()
    assert known.log_evidence - 5 < bound < known.log_evidence


def test_quadrature_agrees_with_nuts(known):
    start = init_to_value(values={"w": torch.tensor([0.9, -0.7, 0.3])})
    kernel = NUTS(pca_without_z, target_accept_prob=0.7, init_strategy=start)
    chain = MCMC(kernel, num_samples=200, warmup_steps=50, disable_progbar=True)
    chain.run(known.x)
    assert abs(known.predictive(chain.get_samples()["w"]).mean() - known.predictive().mean()) < 0.02


@pytest.mark.usefixtures("float64")
def test_simulated_rows_and_their_sandwich_belong_to_the_mean_of_w():
    """The bounds enclose log p(x|w) at the mean of q(w), and x is drawn from the same distribution."""
    loc = torch.tensor([2.0, -1.4, 0.8])

    def model(x=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", 1 if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(z.unsqueeze(-1) * w, NOISE).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(loc, 0.1).to_event(1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.3 * x[:, 0], 0.5))

    bounds = pv.sandwich((model, guide), count=60, temperatures=(30,), chains=4)
    exact = PCA.log_px(loc.unsqueeze(0), torch.from_numpy(bounds.x).double())[0].numpy()
    assert bounds.lower.mean() < exact.mean() + 0.05
    assert bounds.upper.mean() > exact.mean() - 0.05
    assert abs(bounds.lower.mean() - exact.mean()) < 0.2
    covariance = loc.unsqueeze(-1) * loc + NOISE**2 * torch.eye(3)
    np.testing.assert_allclose(np.cov(bounds.x.T), covariance, atol=1.2)
    x, latents = pv.terms.as_program((model, guide)).simulate(4)
    assert latents.keys() == {"z"}
    assert x.shape == (4, 3)
