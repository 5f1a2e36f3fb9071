"""What must hold for every bound and every estimate of log p(x), against models whose evidence is known.

Statistical tests have a fixed seed and would fail by chance in fewer than one of 100,000 runs.
"""

import math
import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import chi2
from torch.distributions import kl_divergence

import pyrovae as pv
from pyrovae.objectives import ELBO, IWAE
from pyrovae.oracles import LinearGaussian, quadrature
from pyrovae.terms import Runner, Terms, terms
from tests.support.cells import cell_name, cover, declared, partner, space
from tests.support.parts import (
    GUIDES,
    PAIRS,
    PRIORS,
    data_for,
    perturb,
    small_vae,
)

pytestmark = pytest.mark.usefixtures("float64")

SIGMAS = 5.0  # one tail of a normal beyond it: 3e-7


def wide(scale: float, *, rows: int = 8, event_dim: int = 5, latent_dim: int = 2):
    """An oracle whose guide is `scale` times as wide as the posterior, and data."""
    oracle = LinearGaussian.random(event_dim, latent_dim, seed=3, guide_scale=scale)
    return oracle, oracle.sample(rows, seed=4)


# ---------------------------------------------------------------- 1: the exact posterior as guide


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("particles", [1, 7, 300])
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_with_the_exact_posterior_every_weight_is_px(particles, latent_dim, seed):
    oracle = LinearGaussian.random(6, latent_dim, seed=seed)
    x = oracle.sample(9, seed=seed)
    exact = oracle.log_px(x)
    pyro.set_rng_seed(seed)
    log_w = terms(oracle.model, oracle.guide, x, particles=particles).log_w
    assert log_w.shape == (particles, 9)
    assert (log_w - exact).abs().max() < 1e-10
    evidence = pv.log_evidence(oracle, x, particles=particles, seed=seed)
    np.testing.assert_allclose(evidence.log_px, exact, rtol=0, atol=1e-10)
    np.testing.assert_allclose(evidence.ess, particles, rtol=1e-9)
    if particles > 1:
        assert evidence.mc_stderr.max() < 1e-6  # the square root of rounding


def test_the_oracle_itself_against_quadrature():
    """Bayes' theorem and a numerical integral, neither of which the oracle uses."""
    oracle, x = wide(1.0, latent_dim=1)
    z = torch.linspace(-12, 12, 4001).unsqueeze(-1)
    log_px_z = dist.Normal(z @ oracle.weight.mT + oracle.bias, oracle.scale).to_event(1)
    joint = log_px_z.expand((4001,)).log_prob(x.unsqueeze(1)) + dist.Normal(0.0, 1.0).log_prob(z[:, 0])
    integral = torch.logsumexp(joint, 1) + math.log(24 / 4000)
    torch.testing.assert_close(oracle.log_px(x), integral, rtol=0, atol=1e-10)
    posterior = oracle.posterior(x).log_prob(z.unsqueeze(1)).mT
    torch.testing.assert_close(posterior, joint - integral.unsqueeze(1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_quadrature_of_the_oracle_is_its_evidence(latent_dim):
    oracle, x = wide(1.0, event_dim=3, latent_dim=latent_dim)

    class Parts:
        def __init__(self):
            self.latent_dim = latent_dim

        def latents(self):
            return dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1)

        def decode(self, z):
            return dist.Normal(z @ oracle.weight.mT + oracle.bias, oracle.scale).to_event(1)

    torch.testing.assert_close(quadrature(Parts(), x), oracle.log_px(x), rtol=0, atol=1e-10)


def test_float32_is_right_to_its_own_precision():
    oracle = LinearGaussian.random(6, 3).float()
    x = oracle.sample(9)
    assert x.dtype == torch.float32
    evidence = pv.log_evidence(oracle, x, particles=100)
    np.testing.assert_allclose(evidence.log_px, oracle.double().log_px(x.double()), rtol=0, atol=2e-5)


# ---------------------------------------------------------------- 2: the gap of the ELBO


@pytest.mark.parametrize("scale", [0.6, 0.9, 1.5])
def test_elbo_is_log_px_minus_the_divergence_from_the_posterior(scale):
    oracle, x = wide(scale)
    posterior = oracle.posterior(x)
    guide = torch.distributions.MultivariateNormal(posterior.loc, scale_tril=scale * posterior.scale_tril)
    expected = oracle.log_px(x) - kl_divergence(guide, posterior)
    log_w = terms(oracle.model, oracle.guide, x, particles=20_000).log_w
    error = log_w.std(0) / math.sqrt(len(log_w))
    assert ((log_w.mean(0) - expected) / error).abs().max() < SIGMAS
    assert (error < 0.011).all()


def test_reconstruction_and_kl_of_a_vae_against_closed_forms():
    """log_px_z, log_pz and log_qz each, not only their sum: E_q[log q - log p] is the KL of two normals."""
    vae = small_vae()
    (x,) = data_for(vae, 6)
    found = Runner(vae).terms(pv.Rows(x), particles=20_000)
    q = vae.encode(x).base_dist
    exact = kl_divergence(q, torch.distributions.Normal(torch.zeros(2), torch.ones(2))).sum(-1)
    draws = found.log_qz - found.log_pz
    assert ((draws.mean(0) - exact) / (draws.std(0) / math.sqrt(20_000))).abs().max() < SIGMAS


# ---------------------------------------------------------------- 3: order of the bounds


@pytest.mark.parametrize("scale", [0.8, 1.5])
def test_bounds_grow_with_particles_and_stay_below_the_evidence(scale):
    oracle, x = wide(scale)
    curve = pv.iwae_bound(oracle, x, particles=(1, 2, 5, 20, 100, 4000))
    exact, bound, error = oracle.log_px(x).numpy(), curve.bound[:-1], curve.mc_stderr[:-1]
    assert (bound <= exact + SIGMAS * error).all()
    rise = np.diff(bound, axis=0)
    assert (rise > -SIGMAS * np.hypot(error[1:], error[:-1])).all()
    assert rise[0].mean() > SIGMAS * np.hypot(error[1], error[0]).mean() / math.sqrt(8)  # one is no two
    np.testing.assert_allclose(curve.bound[-1], exact, atol=0.1)


def test_bounds_of_the_same_draws():
    oracle, x = wide(1.5)
    one = terms(oracle.model, oracle.guide, x, particles=1)
    five = terms(oracle.model, oracle.guide, x, particles=5)
    assert torch.equal(IWAE(1).bound(one), ELBO().bound(one))
    assert torch.equal(ELBO(5, beta=0.3).bound(five), ELBO(5).bound(five))
    torch.testing.assert_close(ELBO(5, beta=1.0).maximised(five), ELBO(5).bound(five), rtol=0, atol=1e-12)
    assert (IWAE(5).bound(five) > ELBO(5).bound(five)).all()  # Jensen
    by_hand = (five.log_w.exp().mean(0)).log()
    torch.testing.assert_close(IWAE(5).bound(five), by_hand, rtol=0, atol=1e-12)


def test_beta_weighs_the_divergence():
    found = Terms(*(torch.tensor([[a], [b]]) for a, b in ((-3.0, -5.0), (-1.0, -2.0), (0.5, 1.5))))
    assert ELBO(2, beta=0.5).maximised(found).item() == pytest.approx((-3.0 - 0.75 - 5.0 - 1.75) / 2)
    assert ELBO(2, beta=0.0).maximised(found).item() == pytest.approx(-4.0)


# ---------------------------------------------------------------- 4: pieces, rows and order


@pytest.fixture(scope="module")
def programs():
    torch.set_default_dtype(torch.float64)
    try:
        vaes = [
            small_vae((9,), guide=guide, prior=partner(guide), context_shape=c)
            for guide in GUIDES
            for c in (None, (3,))
        ]
        return [(vae, *_different(vae)) for vae in vaes]
    finally:
        torch.set_default_dtype(torch.float32)


def _different(vae):
    """Seven data that differ: the draws of equal ones follow their order."""
    drawn = (data_for(vae, 7, seed=seed) for seed in range(20))
    return next(given for given in drawn if len(given[0].unique(dim=0)) == 7)


@pytest.mark.parametrize("chunk", [1, 10, 613, 1000, 1800, 10_000])
def test_chunks_change_nothing(programs, chunk):
    for program in programs:
        whole = pv.log_evidence(*program, particles=613)
        pieces = pv.log_evidence(*program, particles=613, chunk=chunk)
        for name in ("log_px", "mc_stderr", "ess"):
            np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), rtol=1e-10, err_msg=name)
        curve = pv.iwae_bound(*program, particles=(1, 4, 613), chunk=chunk)
        np.testing.assert_allclose(curve.bound[-1], whole.log_px, rtol=1e-10)
        np.testing.assert_allclose(
            curve.bound, pv.iwae_bound(*program, particles=(1, 4, 613)).bound, rtol=1e-10
        )


def test_the_order_of_the_data_and_the_other_rows_change_nothing(programs):
    order = torch.tensor([4, 2, 6, 0, 1, 5, 3])
    for vae, *given in programs:
        whole = pv.log_evidence(vae, *given, particles=300)
        mixed = pv.log_evidence(vae, *(t[order] for t in given), particles=300)
        np.testing.assert_allclose(mixed.log_px, whole.log_px[order], rtol=1e-12)
        alone = [pv.log_evidence(vae, *(t[i : i + 1] for t in given), particles=300).log_px for i in range(7)]
        np.testing.assert_allclose(np.concatenate(alone), whole.log_px, rtol=1e-12)


def test_another_seed_gives_other_draws_and_the_same_seed_the_same(programs):
    for program in programs:
        first = pv.log_evidence(*program, particles=50, seed=1).log_px
        assert np.array_equal(first, pv.log_evidence(*program, particles=50, seed=1).log_px)
        assert (first != pv.log_evidence(*program, particles=50, seed=2).log_px).all()


@pytest.mark.parametrize("cell", cover(1), ids=cell_name)
def test_rows_do_not_see_each_other(cell):
    vae = declared(cell._replace(context=(3,)), image=(2, 6, 5)).eval()
    every = pv.Rows(*data_for(vae, 4))
    z = vae.latents(every.context, every.y).expand((3, 4)).sample()

    def log_densities(which: slice):
        rows, at = every[which], z[:, which]
        q, p = vae.encode(rows), vae.latents(rows.context, rows.y)
        px = vae.decode(at, rows.context)
        return torch.stack([q.log_prob(at), p.log_prob(at), px.log_prob(rows.x)])

    together = log_densities(slice(0, 4))
    for i in range(4):
        torch.testing.assert_close(
            log_densities(slice(i, i + 1)), together[..., i : i + 1], rtol=1e-10, atol=1e-10
        )
    # and every particle stands alone: leading dimensions pass through the networks
    one = vae.decode(z[1], every.context).log_prob(every.x)
    torch.testing.assert_close(one, together[2, 1], rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- 7: gradients against a hand derivation

W, S = 1.3, 0.7  # x | z ~ N(W z, S)


def line(x):
    w = pyro.param("w", torch.tensor(W))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(w * z, S), obs=x)


def line_guide(x):
    m, raw = pyro.param("m", torch.tensor(0.4)), pyro.param("raw", torch.tensor(-0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(m * x, raw.exp()))


@pytest.mark.parametrize("objective", [ELBO(), ELBO(6), ELBO(6, beta=0.3), IWAE(1), IWAE(6)], ids=repr)
def test_gradients_equal_a_hand_derivation_for_the_same_draws(objective):
    r"""With z = m x + sigma e: d log w/dz along it is -z + W (x - W z)/S^2; -log q gives 1/sigma."""
    x = torch.tensor([0.9, -0.2, 1.7])
    pyro.set_rng_seed(5)
    e = (
        Runner((line, line_guide))
        .run(pv.Rows(x), particles=objective.particles)
        .guide.nodes["z"]["value"]
        .detach()
    )
    sigma = math.exp(-0.5)
    e = (e - 0.4 * x) / sigma
    pyro.set_rng_seed(5)
    objective.differentiable_loss(line, line_guide, x).backward()

    z = 0.4 * x + sigma * e
    log_w = (
        dist.Normal(0, 1).log_prob(z)
        + dist.Normal(W * z, S).log_prob(x)
        - dist.Normal(0, sigma).log_prob(sigma * e)
    )
    weight = torch.softmax(log_w, 0) if isinstance(objective, IWAE) else torch.full_like(z, 1 / len(z))
    beta = getattr(objective, "beta", 1.0)
    pull = W * (x - W * z) / S**2 - beta * z
    by_hand = {
        "w": z * (x - W * z) / S**2,
        "m": pull * x,
        "raw": pull * e * sigma + beta,  # d/d(log sigma) of z and of -beta log q
    }
    for name, gradient in by_hand.items():
        expected = -(weight * gradient).sum(0).mean()
        found = pyro.get_param_store()._params[name].grad
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12, msg=name)


# ---------------------------------------------------------------- errors and effective sample sizes


@pytest.mark.parametrize(("latent_dim", "r"), [(1, 0.8), (1, 2.0), (2, 1.5), (4, 1.3)])
def test_effective_sample_size_of_a_guide_of_another_width(latent_dim, r):
    """ESS / K = (sqrt(2 r - 1) / r)^D for a guide with r times the posterior's covariance."""
    oracle, x = wide(math.sqrt(r), rows=40, latent_dim=latent_dim)
    ess = pv.log_evidence(oracle, x, particles=4000).ess / 4000
    expected = (math.sqrt(2 * r - 1) / r) ** latent_dim
    error = ess.std(ddof=1) / math.sqrt(40)
    assert abs(ess.mean() - expected) < SIGMAS * error + 1e-3  # the ratio S1^2 / S2 has a bias of order 1/K
    assert error < 0.01


def test_the_monte_carlo_error_is_the_spread_of_the_estimate():
    oracle, x = wide(math.sqrt(1.5), rows=500)
    evidence = pv.log_evidence(oracle, x, particles=1000)
    z = (evidence.log_px - oracle.log_px(x).numpy()) / evidence.mc_stderr
    low, high = chi2.ppf([5e-6, 1 - 5e-6], df=500)
    assert low < (z**2).sum() < high
    assert abs(evidence.mean - oracle.log_px(x).mean()) < SIGMAS * evidence.mc_error
    assert evidence.mc_error == pytest.approx(evidence.mc_stderr.mean() / math.sqrt(500), rel=0.05)
    assert evidence.stderr == pytest.approx(evidence.log_px.std(ddof=1) / math.sqrt(500))


PLAIN = (pv.priors.StandardNormal(), pv.likelihoods.Bernoulli())
ON_A_LINE = [
    part
    for part in PRIORS
    if space(part) == "real" and not isinstance(part, pv.priors.Conditional) and not part.labels
]


# ---------------------------------------------------------------- looking changes nothing


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_evaluation_leaves_everything_as_it_was(dtype):
    vae = small_vae((1, 7, 6), networks=PAIRS[-1]).to(dtype)
    (x,) = data_for(vae, 5)
    vae.train()
    vae.recognition.eval()  # a mixture of modes must come back as a mixture
    pyro.param("mine", torch.ones(2))
    before, state, x_before = everything(vae), dict(pyro.get_param_store().items()), x.clone()
    evidence = pv.log_evidence(vae, x, particles=20)
    curve = pv.iwae_bound(vae, x, particles=(1, 3))
    after = everything(vae)
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if isinstance(value, torch.Tensor) else value == after[name]
        assert same, name
    assert list(pyro.get_param_store().items()) == list(state.items())
    assert torch.equal(x, x_before)
    assert all(p.grad is None for p in vae.parameters())
    assert evidence.log_px.dtype == curve.bound.dtype == np.float64


def everything(vae):
    """Weights, buffers, modes and random states."""
    weights = {name: t.clone() for name, t in (*vae.named_parameters(), *vae.named_buffers())}
    modes = {f"mode of {name}": m.training for name, m in vae.named_modules()}
    numpy_state = tuple(map(str, np.random.get_state()))
    rng = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": numpy_state}
    needs = {f"requires_grad of {name}": p.requires_grad for name, p in vae.named_parameters()}
    return weights | modes | rng | needs


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_evidence_on_a_gpu_is_the_one_on_the_cpu():
    vae = small_vae((1, 7, 6), networks=PAIRS[-1])
    (x,) = data_for(vae, 5)
    here = pv.log_evidence(vae, x, particles=300)
    state = torch.cuda.get_rng_state()
    there = pv.log_evidence(vae.to("cuda"), x, particles=300)
    np.testing.assert_allclose(there.log_px, here.log_px, rtol=1e-9)
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_a_perturbed_model_has_another_evidence():
    """The table's properties hold for an estimator that ignores the model; this one would not."""
    vae = small_vae()
    (x,) = data_for(vae, 5)
    before = pv.log_evidence(vae, x, particles=500).log_px
    perturb(vae.generation, 1.0)
    assert np.abs(pv.log_evidence(vae, x, particles=500).log_px - before).max() > 0.3
