"""Properties of guides: gradients, strata, inverses, special cases. `test_priors` has what both share.

Statistical tests have a fixed seed and would fail by chance in fewer than one of 100,000 runs.
"""

import itertools
import math

import pyro.distributions as dist
import pytest
import torch
from torch.autograd import gradcheck

import pyrovae as pv
from pyrovae import distributions, guides, priors
from pyrovae.distributions import DiagonalMixture, OneHots, Planar, ProjectedNormal
from pyrovae.errors import Uncapturable
from pyrovae.numerics import positive
from pyrovae.objectives import ELBO
from pyrovae.testing.programs import captured
from tests.support.latent_properties import (
    APPROXIMATE,
    GUIDES,
    RELAXED_GUIDES,
    SMALL,
    real_line,
)
from tests.support.parts import attached, data_for, each, params, raises_one_sentence, small_vae

pytestmark = pytest.mark.usefixtures("float64")


def given_to(guide, size, *lead, seed=1):
    """The guide attached, and parameters with gradients."""
    guide = attached(guide, size)
    return guide, {
        name: p.requires_grad_() for name, p in params(guide.param_shapes, *lead, seed=seed).items()
    }


# ---------------------------------------------------------------- samples


def test_a_mixtures_draws_have_the_gradient_of_the_holder_of_noise():
    """Moving the parameters a little while the conditional distribution functions stay."""
    guide, given = given_to(guides.GaussianMixture(3), 3)
    distribution = guide(**given)
    z = distribution.rsample()
    weights = torch.randn(3)
    found = torch.autograd.grad(weights @ z, list(given.values()))
    uniform = distribution._noise(z.detach())[0].detach()
    step, moved = 1e-5, []
    for name, gradient in zip(given, found, strict=True):
        direction = torch.randn_like(given[name])
        for sign in (1, -1):
            other = guide(**given | {name: given[name].detach() + sign * step * direction})
            at = z.detach().clone()
            for _ in range(20):  # Newton
                noise, jacobian = other._noise(at)
                at = at - torch.linalg.solve(jacobian, noise - uniform)
            moved.append(weights @ at)
        slope = (moved[-2] - moved[-1]) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------- strata


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("equal", [True, False])
def test_strata_of_a_mixture_give_the_same_mean(size, equal):
    """With less variance where the components have equal weights."""
    guide, given = given_to(guides.GaussianMixture(3), size, 2)
    distribution, rows = guide(**given | ({"logits": torch.zeros(2, 3)} if equal else {})), 30_000
    assert distribution.strata == 3
    f = lambda z: (z.sum(-1) + 1).square() + z[..., 0].sin()  # noqa: E731
    with torch.no_grad():
        z, log_v = distribution.expand((rows, 2)).stratified()
        plain = f(distribution.expand((rows, 2)).sample())
        groups = (log_v.exp() * f(z)).reshape(rows // 3, 3, 2).mean(1)
        triples = plain.reshape(rows // 3, 3, 2).mean(1)
    error = (groups.var(0) / len(groups) + triples.var(0) / len(triples)).sqrt()
    assert ((groups.mean(0) - triples.mean(0)).abs() < 5 * error).all()
    assert not equal or (groups.var(0) < triples.var(0)).all()
    torch.testing.assert_close(log_v[:3].exp(), 3 * distribution.logits.exp().mT)
    assert torch.equal(log_v[3:6], log_v[:3])
    near = torch.distributions.Normal(distribution.loc, distribution.scale).log_prob(z[:, :, None]).sum(-1)
    own = near.gather(-1, (torch.arange(rows) % 3)[:, None, None].expand(-1, 2, 1))
    assert (own.mean(0) > near.mean(0) - 1e-9).all()  # row i comes from component i mod 3


def test_gradients_through_strata_equal_the_derivative_of_the_integral():
    guide, given = given_to(guides.GaussianMixture(3), 1)
    z, log_weight = real_line()
    f = lambda z: z[..., 0].square() + z[..., 0].sin()  # noqa: E731
    mass = (guide(**given).log_prob(z.unsqueeze(-1)) + log_weight).exp()
    exact = torch.autograd.grad((mass * f(z.unsqueeze(-1))).sum(), list(given.values()))
    many = {name: p.detach().expand(60_000, *p.shape).clone().requires_grad_() for name, p in given.items()}
    drawn, log_v = guide(**many).stratified()
    sampled = torch.autograd.grad((log_v.exp() * f(drawn)).sum(), list(many.values()))
    for one, rows in zip(exact, sampled, strict=True):
        rows = rows.reshape(-1, 3, *rows.shape[1:]).mean(1)
        assert ((rows.mean(0) - one).abs() < 5 * rows.std(0) / math.sqrt(len(rows)) + 1e-4).all()


def test_strata_of_a_discrete_guide_are_the_exact_sum():
    guide, given = given_to(guides.Categorical(3), 6, 4)
    distribution = guide(**given)
    f = lambda z: (z * torch.arange(6.0)).sum(-1).sin()  # noqa: E731
    pieces = torch.eye(3)
    exact = sum(
        torch.softmax(given["logits"], -1)[:, 0, i] * torch.softmax(given["logits"], -1)[:, 1, j]
        * f(torch.cat([pieces[i], pieces[j]]))
        for i, j in itertools.product(range(3), range(3))
    )  # fmt: skip
    assert distribution.strata == 9
    for rows in (9, 18):
        z, log_v = distribution.expand((rows, 4)).stratified()
        found = (log_v.exp() * f(z)).mean(0)
        torch.testing.assert_close(found, exact)
        gradients = [
            torch.autograd.grad(s.sum(), given["logits"], retain_graph=True)[0] for s in (found, exact)
        ]
        torch.testing.assert_close(*gradients)
    assert distribution.support.check(z).all()
    huge = OneHots(torch.zeros(20, 10))
    assert huge.strata == 10**20
    assert huge.sample().sum() == 20
    raises_one_sentence(huge.stratified, "4096", "20 variables")


def test_an_elbo_over_all_states_is_exact():
    prior, guide = priors.Categorical(3), guides.Categorical(3)
    vae = small_vae((4,), 2, prior=prior, guide=guide)
    (x,) = data_for(vae, 5)
    distribution = vae.encode(x)
    z = distribution.states()
    log_q = distribution.log_prob(z[:, None])
    log_w = vae.latents().log_prob(z)[:, None] + vae.decode(z[:, None].expand(-1, 5, -1)).log_prob(x) - log_q
    exact = (log_q.exp() * log_w).sum(0).mean()
    assert -ELBO(9).loss(vae.model, vae.guide, x) == pytest.approx(exact.item())
    evidence = torch.logsumexp(log_w + log_q, 0)
    found = pv.log_evidence(vae, x, particles=4000)
    assert abs(torch.as_tensor(found.log_px) - evidence).max() < 5 * found.mc_stderr.max() + 1e-6


# ---------------------------------------------------------------- flows


@pytest.mark.parametrize("flow", ["planar", "iaf", "NSF"])
def test_a_density_away_from_the_draws_has_the_right_gradients(flow):
    guide, given = given_to(guides.Flow(flow, **SMALL), 3)
    with torch.no_grad():
        for name in ("u", "w"):
            given.get(name, torch.zeros(1)).mul_(3.0)  # a planar map near the edge of invertibility
    z = guide(**given).sample() + torch.randn(3)
    names = list(given)
    density = lambda z, *values: guide(**dict(zip(names, values, strict=True))).log_prob(z)  # noqa: E731
    assert gradcheck(density, (z.requires_grad_(), *given.values()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("flow", ["planar", "iaf", "NSF", "RealNVP", "NICE", "MAF"])
def test_the_determinant_of_a_flow_is_that_of_its_jacobian(flow):
    guide, given = given_to(guides.Flow(flow, **SMALL), 4)
    distribution = guide(**given)
    eps = torch.randn(4)
    z, log_det = distribution.push(eps)
    jacobian = torch.autograd.functional.jacobian(lambda e: distribution.push(e)[0], eps)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian).logabsdet)
    back, log_back = distribution.pull(z)
    torch.testing.assert_close(back, eps)
    torch.testing.assert_close(log_back, -log_det)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_planar_maps_are_inverted_wherever_they_are(scale):
    maps = Planar(scale * torch.randn(200, 4, 3), torch.randn(200, 4, 3), torch.randn(200, 4))
    eps = 10 * torch.randn(200, 3)
    z, log_det = maps.push(eps)
    back, log_back = maps.pull(z)
    torch.testing.assert_close(back, eps, rtol=1e-8, atol=1e-7)
    torch.testing.assert_close(log_back, -log_det, rtol=1e-5, atol=1e-5)
    assert (maps.along > -1).all()
    still = Planar(torch.zeros(4, 3), torch.randn(4, 3), torch.randn(4))
    torch.testing.assert_close(still.push(eps)[0], eps)
    flat = Planar(torch.randn(4, 3), torch.zeros(4, 3), torch.randn(4))  # w = 0: a shift
    assert flat.push(eps)[0].isfinite().all()


@pytest.mark.parametrize("flow", ["iaf", "NSF", "MAF", "NICE", "RealNVP"])
def test_a_fresh_flow_is_its_base(flow):
    guide = guides.Flow(flow, **SMALL)
    guide.attach(3)
    given, z = params(guide.param_shapes, 6), torch.randn(6, 3)
    plain = dist.Normal(given["loc"], positive(given["raw_scale"])).to_event(1)
    torch.testing.assert_close(guide(**given).log_prob(z), plain.log_prob(z), rtol=1e-10, atol=1e-10)


def test_an_inverse_autoregressive_flow_is_one_pass_of_shifts_and_scales():
    """z_d depends on the noise up to d in the first map, and the Jacobian is triangular."""
    guide, given = given_to(guides.Flow("iaf", transforms=1, hidden=(8,)), 4)
    distribution = guide(**given)
    jacobian = torch.autograd.functional.jacobian(lambda e: distribution.push(e)[0], torch.randn(4))
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.tril() != 0).sum() == 10


def test_a_flow_remembers_its_last_draw_only():
    guide, given = given_to(guides.Flow("iaf", **SMALL), 3, 5)
    distribution = guide(**given)
    inverted = []
    pull, distribution.pull = distribution.pull, lambda z: inverted.append(z) or pull(z)
    wide = distribution.expand((2, 5))
    first, second = wide.rsample(), wide.rsample()
    assert distribution.log_prob(second).shape == (2, 5)
    assert not inverted
    wide.log_prob(first)
    wide.log_prob(second.detach())
    assert len(inverted) == 2
    wide.log_prob(wide.sample())  # drawn without gradients: its density needs some
    assert len(inverted) == 3


# ---------------------------------------------------------------- special cases


def test_guides_of_one_kind_are_the_normal():
    plain = attached(guides.DiagonalNormal(), 3)
    given, z = params(plain.param_shapes, 4), torch.randn(4, 3)
    expected = plain(**given).log_prob(z)
    for guide in (guides.Hierarchical(()), guides.Hierarchical((), (5,), "ladder")):
        guide.attach(3)
        torch.testing.assert_close(guide(**given).log_prob(z), expected)
    one = attached(guides.GaussianMixture(1), 3)
    single = {name: p.unsqueeze(1) for name, p in given.items()} | {"logits": torch.randn(4, 1)}
    torch.testing.assert_close(one(**single).log_prob(z), expected)
    full, low = attached(guides.FullRankNormal(), 3), attached(guides.LowRankNormal(2), 3)
    torch.testing.assert_close(full(**given, lower=torch.ones(4, 3, 3).triu()).log_prob(z), expected)
    torch.testing.assert_close(low(**given, factors=torch.zeros(4, 2, 3)).log_prob(z), expected)


def test_covariances_are_what_they_are_named_after():
    full, given = given_to(guides.FullRankNormal(), 3)
    factor = given["lower"].tril(-1) + positive(given["raw_scale"]).diag_embed()
    torch.testing.assert_close(full(**given).covariance_matrix, factor @ factor.mT)
    low, given = given_to(guides.LowRankNormal(2), 3)
    scale = positive(given["raw_scale"])
    factor = scale.unsqueeze(-2) * 100 * torch.tanh(given["factors"] / 100)
    expected = factor.mT @ factor + scale.square().diag_embed()
    torch.testing.assert_close(low(**given).covariance_matrix, expected)
    far = {name: 1e6 * p.float() for name, p in given.items()}  # what an encoder gives of data far away
    assert low(**far).log_prob(far["loc"]).isfinite().all()
    guide, given = given_to(guides.GaussianMixture(3), 2)
    q = guide(**given)
    z = q.expand((100_000,)).sample()
    assert ((z.mean(0) - q.mean).abs() < 5 * z.std(0) / math.sqrt(len(z))).all()
    assert ((z.var(0) - q.variance).abs() < 5 * (z - z.mean(0)).square().std(0) / math.sqrt(len(z))).all()


@pytest.mark.parametrize("dim", [2, 3])
def test_a_projected_normal_is_pyros_where_pyro_has_one(dim):
    loc = torch.cat([torch.randn(50, dim) * scale for scale in (0.0, 0.1, 1.0, 5.0, 20.0)])
    z = torch.nn.functional.normalize(torch.randn(250, dim), dim=-1)
    expected = dist.ProjectedNormal(loc).log_prob(z)
    fine = expected > -30  # Pyro's loses its digits below
    torch.testing.assert_close(ProjectedNormal(loc).log_prob(z)[fine], expected[fine], rtol=1e-8, atol=1e-8)
    assert gradcheck(lambda loc, z: ProjectedNormal(loc, validate_args=False).log_prob(z), (
        loc[-100:-90].requires_grad_(), z[-100:-90].requires_grad_()))  # fmt: skip


@pytest.mark.parametrize("dim", [2, 5, 50, 400])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_projected_normal_is_finite_and_ordered_for_long_means(dim, dtype):
    for length in (0.0, 1e-3, 1.0, 30.0, 1000.0):
        loc = torch.zeros(dim, dtype=dtype)
        loc[0] = length
        loc.requires_grad_()
        distribution = ProjectedNormal(loc)
        along = distribution.log_prob(torch.eye(dim, dtype=dtype)[:2])
        against = distribution.log_prob(-torch.eye(dim, dtype=dtype)[:1])
        assert along.isfinite().all()
        assert against.isfinite().all()
        assert along[0] >= along[1] >= against[0]
        (gradient,) = torch.autograd.grad(along.sum() + against.sum(), loc)
        assert gradient.isfinite().all()
        uniform = -(math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2))
        if length == 0:
            torch.testing.assert_close(along, torch.full_like(along, uniform), rtol=1e-4, atol=1e-4)


def test_layers_of_a_guide_see_each_other_in_their_order():
    for order, seen in (("bottom-up", {0: [], 1: [0]}), ("ladder", {0: [1], 1: []})):
        guide, given = given_to(guides.Hierarchical((2,), (5,), order), 5)
        steps = dict(guide(**given).steps)
        parts = {0: torch.randn(3, requires_grad=True), 1: torch.randn(2, requires_grad=True)}
        for i, others in seen.items():
            total = steps[i](parts).base_dist.loc.sum()
            found = torch.autograd.grad(total, list(parts.values()), allow_unused=True)
            assert [j for j, g in enumerate(found) if g is not None and (g != 0).any()] == others
            reads = torch.autograd.grad(steps[i](parts).base_dist.loc.sum(), given["loc"], allow_unused=True)[
                0
            ]
            assert (reads is not None) == (order == "ladder" or i == 0)  # the row


def test_a_relaxed_guide_approaches_the_discrete_one():
    _, given = given_to(guides.Categorical(4, 1.0), 4)
    z = distributions.Concrete(1e-3, given["logits"]).expand((50_000,)).sample()
    mass = torch.softmax(given["logits"], -1)[0]
    assert ((z.mean(0) - mass).abs() < 5 * (mass * (1 - mass) / 50_000).sqrt() + 1e-3).all()
    assert (z.max(-1).values > 0.99).double().mean() > 0.9


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (guides.LowRankNormal(0), ("rank", "not 0")),
        (guides.GaussianMixture(0), ("components", "not 0")),
        (guides.Flow("maf"), ("maf", "iaf", "planar")),
        (guides.Flow(transforms=0), ("transforms", "not 0")),
        (guides.Flow(hidden=()), ("hidden", "at least 1 size")),
        (guides.Flow(hidden=(3, 0)), ("hidden of Flow", "not 0")),
        (guides.Hierarchical((4,)), ("[4]", "4 latents")),
        (guides.Hierarchical((1,), order="upward"), ("upward", "ladder")),
        (guides.Hierarchical((1, 0)), ("layers of Hierarchical", "not 0")),
        (guides.Categorical(1), ("classes", "not 1")),
        (guides.Categorical(3), ("3 classes", "4 latents")),
        (guides.Categorical(2, -1.0), ("temperature", "-1.0")),
    ],
    ids=repr,
)
def test_hyperparameters_of_guides_out_of_range_are_refused(wrong, words):
    raises_one_sentence(lambda: wrong.attach(4), *words)
    raises_one_sentence(lambda: guides.ProjectedNormal().attach(1), "ProjectedNormal", "2 or more")


# ---------------------------------------------------------------- in a VAE


@each(
    "prior",
    [
        *(priors.Flow(name, **SMALL) for name in APPROXIMATE if name != "CNF"),
        priors.GaussianMixture(3, "spherical", "fit", labels=True, floor=0.1),
    ],
)
def test_a_loss_with_a_prior_is_captured_into_a_graph(prior):
    captured(small_vae((5,), 2, prior=prior))


def test_a_flow_that_solves_an_equation_in_time_says_why_it_has_no_graph():
    with pytest.raises(Uncapturable, match="a number out of a tensor"):
        captured(small_vae((5,), 2, prior=priors.Flow("CNF", **SMALL)))


def test_exact_sums_are_captured_into_a_graph():
    captured(small_vae((5,), 2, prior=priors.Categorical(3), guide=guides.Categorical(3)), ELBO(9))
    captured(small_vae((5,), 2, guide=guides.GaussianMixture(3)), ELBO(6))
    for prior in (priors.GaussianMixture(3, "full", explicit=True), priors.GaussianMixture(3, labels=True)):
        captured(small_vae((5,), 2, prior=prior, guide=guides.GaussianMixture(3, explicit=True)), ELBO(3))
    for labels in (False, True):
        prior = priors.Classes(3, labels=labels)
        captured(small_vae((5,), 2, prior=prior, guide=guides.Classes(3)), ELBO(6))


def test_all_guides_are_named_once():
    assert len({repr(guide) for guide in GUIDES}) == len(GUIDES)
    assert [g for g in RELAXED_GUIDES if g.temperature]
    assert DiagonalMixture.has_rsample


def test_a_relaxed_density_is_right_in_single_precision_too():
    """Logits that would send draws below the smallest number are kept within reach."""
    torch.manual_seed(0)
    for temperature in (0.3, 0.5, 0.67):
        guide = guides.Categorical(10, temperature)
        guide.attach(10)
        logits = 20 * torch.randn(2000, 1, 10)
        single = guide(logits.float())
        z = single.rsample()
        double = distributions.Concrete(temperature, single.logits.double())
        torch.testing.assert_close(
            single.log_prob(z).double(), double.log_prob(z.double()), rtol=1e-3, atol=0.05
        )
        assert (z > torch.finfo(torch.float32).tiny).all()
    raises_one_sentence(lambda: guides.Categorical(3, 0.1).attach(3), "0.3", "0.1")
