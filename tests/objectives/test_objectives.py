"""The objectives: the order of the bounds, and closed forms.

Gradients are in test_gradients.py, stratified draws in test_strata.py, Pyro's own and refusals in
test_objectives_in_use.py. Seeds are fixed; a comparison of a mean fails by chance in fewer than one of
100,000 runs.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

import pyrovae as pv
from pyrovae.guides import FullRankNormal
from pyrovae.objectives import (
    CIWAE,
    DIP,
    ELBO,
    IWAE,
    MIWAE,
    MMD,
    PIWAE,
    BetaTC,
    Capacity,
    Factor,
    JensenShannon,
    Renyi,
)
from pyrovae.oracles import LinearGaussian
from pyrovae.terms import Latent, Program, Runner, Terms, terms
from pyrovae.training.schedules import kl_weight
from tests.support.captured import QUIET
from tests.support.parts import data_for, prior_for, small_vae
from tests.support.same_runs import binary, small

pytestmark = pytest.mark.usefixtures("float64")

SIGMAS = 5.0


def near(draws, exact, slack=0.0):
    """Independent values have this mean."""
    assert abs(draws.mean() - exact) <= SIGMAS * draws.std() / math.sqrt(len(draws)) + slack


class Sized(Program):
    """A program of which only the size of z is known."""

    def __init__(self, latent_size):
        self.latent_size = latent_size


def drawn(objective, vae=None, rows=6, **how):
    """A small VAE and a pair of traces of it, as the objective wants its draws."""
    vae = vae or small_vae(prior=prior_for(objective))
    given = pv.Rows(*data_for(vae, rows))
    pyro.set_rng_seed(1)
    return vae, Runner(vae).check(given).run(given, **objective.draw_options() | how)


def latent(loc, scale, *, particles=1):
    """Draws of z from a diagonal normal guide (B, D) under a standard normal prior."""
    q = dist.Normal(loc, scale).to_event(1).expand((particles, len(loc)))
    p = dist.Normal(torch.zeros_like(loc), 1.0).to_event(1).expand((particles, len(loc)))
    return Latent("z", q.rsample(), q, p)


# ---------------------------------------------------------------- the order of the bounds


@pytest.fixture(scope="module")
def wrong():
    """Many copies of a row under a guide half as wide again as the posterior, and log p(x)."""
    torch.set_default_dtype(torch.float64)
    oracle = LinearGaussian.random(5, 2, seed=3, guide_scale=1.5)
    x = oracle.sample(1, seed=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = terms(oracle.model, oracle.guide, x.expand(4000, -1), particles=50)
    torch.set_default_dtype(torch.float32)
    return found, oracle.log_px(x)[0]


def test_bounds_of_the_same_draws_are_in_order(wrong):
    """Jensen's inequality holds for every draw, not only on average."""
    found, log_px = wrong
    ten = Terms(*(t[:10] for t in found[:3]))
    rising = [ELBO(10), CIWAE(10, 0.5), IWAE(10)]
    values = torch.stack([objective.bound(ten) for objective in rising])
    assert (values.diff(dim=0) > 0).all()
    groups = torch.stack([MIWAE(m, 10).bound(ten) for m in (10, 5, 2, 1)])
    torch.testing.assert_close(groups[0], ELBO(10).bound(ten))
    torch.testing.assert_close(groups[-1], IWAE(10).bound(ten))
    means = groups.mean(1)
    assert (means.diff() > SIGMAS * groups.diff(dim=0).std(1) / math.sqrt(4000)).all()
    last = torch.stack([means[-1], IWAE(50).bound(found).mean(), log_px])
    assert (last.diff() > 0).all()
    assert last.diff()[-1] < 0.02
    assert torch.equal(PIWAE(2, 10).bound(ten), IWAE(10).bound(ten))
    assert torch.equal(CIWAE(10, 1.0).bound(ten), ELBO(10).bound(ten))
    assert torch.equal(CIWAE(10, 0.0).bound(ten), IWAE(10).bound(ten))


def test_renyis_bound_falls_from_iwae_over_elbo(wrong):
    found, _ = wrong
    orders = (0.0, 0.3, 0.9, 1.0, 1.1, 2.0, 10.0)
    values = torch.stack([Renyi(alpha, 50).bound(found) for alpha in orders])
    assert (values.diff(dim=0) < 0).all()
    torch.testing.assert_close(values[0], IWAE(50).bound(found), rtol=0, atol=1e-12)
    assert torch.equal(values[3], ELBO(50).bound(found))
    assert (values[-1] > found.log_w.min(0).values).all()  # its limit


# ---------------------------------------------------------------- total correlation by weights


@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_equal_weights_of_the_decomposition_are_that_of_the_divergence(weight):
    objective = BetaTC(weight, weight, weight, particles=3)
    objective.begin(1000, Sized(2))
    _, pair = drawn(objective)
    expected = ELBO(3, beta=weight).maximised(pair.terms())
    torch.testing.assert_close(objective.ascended(pair), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
def test_the_aggregated_posterior_is_the_loop_written_by_hand(name):
    objective = BetaTC(**({"alpha": 1.0, "beta": 1.0, "gamma": 1.0} | {name: 3.0}), particles=2)
    objective.begin(100, Sized(3))
    loc, scale = torch.randn(4, 3), 0.5 + torch.rand(4, 3)
    found = latent(loc, scale, particles=2)
    whole, product = objective.aggregated(found)
    for k in range(2):
        for i in range(4):
            of_j = torch.stack([Normal(loc[j], scale[j]).log_prob(found.value[k, i]) for j in range(4)]).exp()
            assert whole[k, i] == pytest.approx((of_j.prod(1).sum() / 400).log().item())
            assert product[k, i] == pytest.approx((of_j.sum(0) / 400).log().sum().item())
    given = Terms(torch.zeros(2, 4), found.p.log_prob(found.value), found.q.log_prob(found.value))
    by_name = {"alpha": given.log_qz - whole, "beta": whole - product, "gamma": product - given.log_pz}
    torch.testing.assert_close(objective.penalty(found, given), 2 * by_name[name].mean(0))


def correlated(rows, r=0.8, s2=0.5):
    """Draws of z whose aggregate is N(0, R + s2 I) with correlation r in R, and the total correlation."""
    cov = torch.tensor([[1.0, r], [r, 1.0]])
    loc = MultivariateNormal(torch.zeros(2), cov).sample((rows,))
    rho = r / (1 + s2)
    return (
        latent(loc, torch.full_like(loc, math.sqrt(s2))),
        cov + s2 * torch.eye(2),
        -0.5 * math.log1p(-(rho**2)),
    )


def test_the_aggregated_posterior_of_normals_against_its_closed_form():
    """log q(z) but for log N, which cancels once in whole - D factors: the total correlation."""
    objective, errors, correlations = BetaTC(), [], []
    objective.begin(50_000, Sized(2))
    for _ in range(30):
        found, cov, exact = correlated(600)
        whole, product = objective.aggregated(found)
        log_q = MultivariateNormal(torch.zeros(2), cov).log_prob(found.value)
        errors.append((whole + math.log(50_000) - log_q).mean())
        correlations.append((whole - product - math.log(50_000)).mean())
    assert exact > 0.16
    near(torch.stack(errors), 0.0, slack=0.01)  # of order 1/B: each row is in its own sum
    near(torch.stack(correlations), exact, slack=0.01)


# ---------------------------------------------------------------- moments and kernels


def test_the_covariance_of_the_aggregated_posterior():
    loc, scale = torch.randn(7, 3), 0.5 + torch.rand(7, 3)
    found = latent(loc, scale, particles=2)
    of_means = torch.from_numpy(np.cov(loc.numpy().T, bias=True))
    whole = of_means + scale.square().mean(0).diag()
    for kind, expected in (("I", of_means), ("II", whole)):
        objective = DIP(kind, off_diagonal=2.0, diagonal=3.0)
        torch.testing.assert_close(objective.covariance(found), expected)
        off = expected - expected.diag().diag()
        by_hand = 2 * off.square().sum() + 3 * (expected.diag() - 1).square().sum()
        torch.testing.assert_close(objective.penalty(found, None), by_hand)
    tril = torch.randn(7, 3, 3).tril() + 3 * torch.eye(3)
    full = found._replace(q=dist.MultivariateNormal(loc, scale_tril=tril).expand((1, 7)))
    torch.testing.assert_close(DIP("II").covariance(full), of_means + (tril @ tril.mT).mean(0))


@pytest.mark.parametrize("bandwidth", [None, 0.7])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.4)])
def test_the_discrepancy_of_two_normals_against_its_closed_form(shift, scale, bandwidth):
    """a - b is normal with some variance v: E k = (h2 / (h2 + v))^(D/2) exp(-|mu|^2 / 2 (h2 + v))."""
    objective, dim = MMD(bandwidth=bandwidth), 3
    h2 = dim if bandwidth is None else bandwidth**2

    def mean_kernel(v, mu2=0.0):
        return (h2 / (h2 + v)) ** (dim / 2) * math.exp(-mu2 / (2 * (h2 + v)))

    exact = mean_kernel(2 * scale**2) + mean_kernel(2) - 2 * mean_kernel(1 + scale**2, dim * shift**2)
    draws = [
        objective.discrepancy(shift + scale * torch.randn(12, dim), torch.randn(9, dim)) for _ in range(2000)
    ]
    assert (exact > 0.01) == (shift > 0)
    near(torch.stack(draws), exact)


def test_the_info_vae_between_its_known_ends():
    reconstruction, elbo = MMD(alpha=1.0, lambda_=0.0), MMD(alpha=0.0, lambda_=1.0)
    _, pair = drawn(elbo)
    found = pair.terms()
    torch.testing.assert_close(reconstruction.ascended(pair), found.log_px_z.mean(0))
    pyro.set_rng_seed(5)
    prior = pair.latent("").p.rsample()
    cost = MMD().discrepancy(pair.latent("").value.flatten(0, 1), prior.flatten(0, 1))
    pyro.set_rng_seed(5)
    torch.testing.assert_close(MMD(0.4, 3.0).ascended(pair), ELBO(beta=0.6).maximised(found) - 2.4 * cost)


# ---------------------------------------------------------------- Jensen-Shannon


def test_the_skewed_divergence_between_its_known_ends():
    vae, pair = drawn(JensenShannon())
    found, q, p = pair.latent(""), pair.latent("").q, pair.latent("").p
    torch.testing.assert_close(JensenShannon(0.0).divergence(found), kl_divergence(q, p))
    torch.testing.assert_close(JensenShannon(1.0).divergence(found), kl_divergence(p, q))
    torch.testing.assert_close(JensenShannon(0.0, dual=True).divergence(found), kl_divergence(p, q))
    torch.testing.assert_close(JensenShannon(1.0, dual=True).divergence(found), kl_divergence(q, p))
    torch.testing.assert_close(JensenShannon(0.0).ascended(pair), ELBO(analytic_kl=True).ascended(pair))
    by_weight = found.value.new_tensor(0.0) + pair.terms().log_px_z.mean(0) - 2 * kl_divergence(q, p).mean(0)
    torch.testing.assert_close(JensenShannon(0.0, weight=2.0).ascended(pair), by_weight)


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_the_skewed_divergence_against_quadrature(alpha, dual):
    loc, scale = torch.tensor([[0.7]]), torch.tensor([[0.4]])
    z = torch.linspace(-12, 12, 48_001)
    step = z[1] - z[0]
    log_q, log_p = Normal(loc[0], scale[0]).log_prob(z), Normal(0.0, 1.0).log_prob(z)
    log_g = alpha * log_q + (1 - alpha) * log_p
    log_g = log_g - torch.logsumexp(log_g, 0) - step.log()

    def kl(a, b):
        return (a.exp() * (a - b)).sum() * step

    pairs = ((log_g, log_q), (log_g, log_p)) if dual else ((log_q, log_g), (log_p, log_g))
    exact = (1 - alpha) * kl(*pairs[0]) + alpha * kl(*pairs[1])
    found = JensenShannon(alpha, dual=dual).divergence(latent(loc, scale))
    torch.testing.assert_close(found, exact.reshape(1, 1), rtol=1e-8, atol=1e-10)


# ---------------------------------------------------------------- the classifier of FactorVAE


class Ratio(nn.Module):
    """log q(z) - sum_d log q(z_d) of a normal of two entries, times a number that should be 1."""

    def __init__(self, cov):
        super().__init__()
        self.precision = torch.linalg.inv(cov) - torch.diag(1 / cov.diagonal())
        self.log_det = torch.logdet(cov) - cov.diagonal().log().sum()
        self.slope, self.offset = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, z):
        ratio = -0.5 * ((z @ self.precision) * z).sum(-1, keepdim=True) - 0.5 * self.log_det
        return self.slope * ratio + self.offset


def test_the_exact_classifier_gives_the_total_correlation_and_stays_where_it_is():
    found, cov, exact = correlated(200_000)
    objective = Factor(gamma=3.0)
    objective.classifier = Ratio(cov)
    penalty = objective.penalty(found, None)
    assert penalty.shape == (200_000,)
    near(penalty.detach(), 3 * exact)
    slopes = []
    for piece in found.value.detach().split(2000, dim=1):
        log_p = objective.log_likelihood(piece)
        slopes.append(torch.stack(torch.autograd.grad(log_p, list(objective.classifier.parameters()))))
    for name in torch.stack(slopes).unbind(1):
        assert name.std() / 10 < 0.005
        near(name, 0.0)  # at the best classifier the gradient of its likelihood is zero


def test_a_classifier_learns_the_total_correlation():
    found, _, exact = correlated(2000, r=0.95, s2=0.1)
    objective = Factor(gamma=1.0, layers=(32, 32))
    objective.begin(2000, Sized(2))
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        (-objective.log_likelihood(found.value.detach())).backward()
        optimizer.step()
    assert objective.penalty(found, None).mean() == pytest.approx(exact, rel=0.25)


def test_the_vae_and_the_classifier_each_get_their_own_gradient():
    objective = Factor(layers=(8,), particles=2)
    objective.begin(100, Sized(2))
    vae, pair = drawn(objective)
    z, found = pair.latent("").value, pair.terms()
    own, theirs = list(objective.parameters()), list(vae.parameters())
    pyro.set_rng_seed(3)
    total = objective.ascended(pair).mean()
    pyro.set_rng_seed(3)
    alone = torch.autograd.grad(objective.log_likelihood(z.detach()), own)
    expected = ELBO(2).bound(found) - 10 * objective.classifier(z).squeeze(-1).mean(0)
    torch.testing.assert_close(total, expected.mean())
    for one, other in (
        (own, alone),
        (theirs, torch.autograd.grad(expected.mean(), theirs, retain_graph=True)),
    ):
        torch.testing.assert_close(torch.autograd.grad(total, one, retain_graph=True), other)


def test_shuffled_draws_keep_their_marginals_and_nothing_else():
    from pyrovae.objectives.factor import _shuffled

    z = correlated(5000, r=0.95, s2=0.1)[0].value.detach().expand(2, -1, -1)
    mixed = _shuffled(z)
    torch.testing.assert_close(mixed.sort(1).values, z.sort(1).values)
    assert not torch.equal(mixed[0], mixed[1])
    for one in mixed:
        assert abs(torch.corrcoef(one.mT)[0, 1]) < SIGMAS / math.sqrt(5000)
    assert torch.corrcoef(z[0].mT)[0, 1] > 0.8


# ---------------------------------------------------------------- what is done to the divergence


def test_a_capacity_by_hand():
    found = Terms(
        *(torch.tensor([[a, b]]) for a, b in ((-3.0, -5.0), (-1.0, -2.0), (0.5, 1.5)))
    )  # KL 1.5, 3.5
    objective = Capacity(capacity=4.0, gamma=10.0)
    torch.testing.assert_close(objective.maximised(found), torch.tensor([[-3.0, -5.0]])[0] - 10 * 1.5)
    torch.testing.assert_close(objective.annealed(found, 0.25), torch.tensor([-3.0, -5.0]) - 10 * 1.5)
    torch.testing.assert_close(objective.annealed(found, 0.0), torch.tensor([-3.0, -5.0]) - 10 * 2.5)
    torch.testing.assert_close(objective.bound(found), torch.tensor([-4.5, -8.5]))
    kl = found.log_qz.clone().requires_grad_()
    for weight, sign in (
        (1.0, 1.0),
        (0.25, -1.0),
    ):  # below the capacity the divergence grows, above it shrinks
        (slope,) = torch.autograd.grad(objective.annealed(found._replace(log_qz=kl), weight).sum(), kl)
        torch.testing.assert_close(slope, torch.full_like(slope, sign * 10.0))


@pytest.mark.parametrize("analytic", [True, False])
def test_free_bits_by_hand(analytic):
    """Two latents, one above its free nats and one below, which then gets no gradient."""
    loc = torch.tensor([[2.5, 0.1], [-2.2, 0.0], [2.0, 0.2]], requires_grad=True)
    found = latent(loc, torch.full((3, 2), 0.8), particles=4)
    given = Terms(torch.zeros(4, 3), found.p.log_prob(found.value), found.q.log_prob(found.value))
    objective = ELBO(4, free_bits=0.4, analytic_kl=analytic)
    kl = objective._kl(found, given)
    each_kl = kl_divergence(found.q.base_dist, found.p.base_dist)
    if not analytic:
        each_kl = found.q.base_dist.log_prob(found.value) - found.p.base_dist.log_prob(found.value)
    means = each_kl.mean((0, 1))
    assert means[0] > 0.4 > means[1]
    torch.testing.assert_close(kl, means[0] + 0.4)
    (gradient,) = torch.autograd.grad(kl, loc, retain_graph=True)
    assert (gradient[:, 1] == 0).all()
    (of_first,) = torch.autograd.grad(means[0], loc)
    torch.testing.assert_close(gradient[:, 0], of_first[:, 0])


def test_free_bits_of_latents_that_hang_together():
    vae, pair = drawn(ELBO(), small_vae(guide=FullRankNormal()))
    found = pair.latent("")
    sampled = (pair.terms().log_qz - pair.terms().log_pz).mean()
    for free in (0.3 * sampled.item(), 0.7 * sampled.item()):  # two latents: twice that is free
        kl = ELBO(free_bits=free)._kl(found, pair.terms())
        torch.testing.assert_close(kl, sampled.clamp(min=2 * free))


def test_the_weight_of_the_divergence_over_epochs():
    assert [kl_weight(4.0, e) for e in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert [kl_weight(0.0, e, "cyclic") for e in (0, 1)] == [1.0, 1.0]
    cyclic = [kl_weight(4.0, e, "cyclic") for e in (0, 1, 3, 4, 7.9, 8, 9, 12)]
    assert cyclic == [0.0, 0.25, 0.75, 1.0, 1.0, 0.0, 0.25, 1.0]
    with_cycles, without = (
        pv.fit(small(), binary(), ELBO(), kl_warmup=1.0, kl_schedule=kind, **QUIET | {"epochs": 3})
        for kind in ("cyclic", "linear")
    )
    assert with_cycles.history["train"][1] == pytest.approx(without.history["train"][1])
    assert with_cycles.history["train"][2] != pytest.approx(without.history["train"][2], rel=1e-6)
