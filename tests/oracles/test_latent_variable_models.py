"""Nonlinear latent-variable models: f of a normal z plus noise, its marginal, its posterior, other guides."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import integrate, stats
from scipy.interpolate import CubicSpline
from torch import nn

import pyrovae as pv
from pyrovae.datasets import toys
from pyrovae.errors import InputError
from pyrovae.oracles import Banana, Curve, Fold, LinearGaussian, Ring, posterior_on_grid, quadrature
from pyrovae.plots.bounds import bounds_below, gradient_noise, posterior_density
from pyrovae.terms import Runner

pytestmark = pytest.mark.usefixtures("float64")

MODELS = {"curve": Curve, "fold": Fold, "banana": Banana, "ring": Ring}
each_model = pytest.mark.parametrize("name", MODELS)


def data(name, count=3):
    """Samples of the model; for the fold, points with two separate modes."""
    return torch.tensor([[0.1], [1.0], [4.0]]) if name == "fold" else MODELS[name]().sample(count, seed=1)


def log_weights(target, x, particles=20_000):
    """log w of each row, (particles, B)."""
    return Runner(target).check(pv.Rows(x)).terms(pv.Rows(x), particles=particles).log_w.detach()


# ---------------------------------------------------------------- the posterior on a grid


@each_model
def test_the_posterior_integrates_to_one_and_has_the_shape_of_bayes_rule(name):
    oracle, x = MODELS[name](), data(name)
    found = oracle.posterior(x)
    assert (found.mass - 1).abs().max() < 1e-8
    assert torch.allclose(found.log_px, oracle.log_px(x), atol=1e-12)
    for b in range(3):
        z = found.nodes.z[found.log_density[b] > -20]
        prior = -0.5 * z.square().sum(1)
        noise = -0.5 * ((x[b] - oracle.mean(z)) / oracle.scale).square().sum(1)
        ratio = found.log_density[b][found.log_density[b] > -20] - prior - noise
        assert (ratio - ratio[0]).abs().max() < 1e-9  # p(z) p(x|z) over one number


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_a_linear_models_posterior_on_a_grid_is_the_closed_form(latent_dim):
    oracle = LinearGaussian.random(event_dim=3, latent_dim=latent_dim, seed=2)
    vae = as_vae(oracle)
    x = oracle.sample(4)
    exact, found = oracle.posterior(x), posterior_on_grid(vae, x)
    assert torch.allclose(found.log_density, exact.log_prob(found.nodes.z.unsqueeze(1)).mT, atol=1e-9)
    assert torch.allclose(found.mean, exact.mean, atol=1e-9)
    assert torch.allclose(found.covariance, exact.covariance_matrix, atol=1e-9)
    assert found.density.shape == (4, *found.z.shape[:-1]) == (4, *[(2001, 401)[latent_dim - 1]] * latent_dim)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_kl_on_a_grid_is_the_closed_form_and_the_elbo_of_the_posterior_is_log_px(latent_dim):
    oracle = LinearGaussian.random(event_dim=3, latent_dim=latent_dim, seed=2)
    x = oracle.sample(4)
    exact, found = oracle.posterior(x), posterior_on_grid(as_vae(oracle), x)
    assert torch.allclose(found.elbo(exact), oracle.log_px(x), atol=1e-9)
    q = dist.MultivariateNormal(exact.loc + 0.2, scale_tril=0.8 * exact.scale_tril)
    assert torch.allclose(found.kl(q), torch.distributions.kl_divergence(q, exact), atol=1e-9)


@each_model
def test_the_elbo_on_a_grid_is_the_mean_of_the_programs_log_weights(name):
    oracle, x = MODELS[name](guide_scale=0.9), data(name)
    loc, covariance = oracle.moments(x)
    q = dist.MultivariateNormal(loc, scale_tril=0.9 * torch.linalg.cholesky(covariance))
    log_w = log_weights(oracle, x)
    error = log_w.std(0) / math.sqrt(20_000)
    assert ((oracle.posterior(x).elbo(q) - log_w.mean(0)).abs() / error).max() < 5


def test_the_axes_of_a_posterior_in_two_dimensions_are_not_exchanged():
    oracle, x = Banana(scale=0.1), torch.tensor([[1.0, 3.0]])  # z near (1, 2)
    found = oracle.posterior(x)
    at = divmod(int(found.density[0].argmax()), found.z.shape[1])
    assert (oracle.mean(found.z[at]) - x).abs().max() < 0.1


def test_a_float32_model_and_a_float32_guide_are_evaluated_in_float64():
    rough = Curve().float()
    x = rough.sample(3)
    found = rough.posterior(x)
    assert found.log_density.dtype == torch.float64
    q = dist.Normal(found.mean.float(), 0.3).to_event(1)
    assert torch.allclose(found.kl(q), found.kl(dist.Normal(found.mean, 0.3).to_event(1)), atol=1e-4)


def test_a_grid_that_misses_the_posterior_is_refused():
    x = torch.tensor([[4.0]])
    with pytest.raises(InputError, match="row 0 has mass .* instead of 1: give a larger limit="):
        Fold().posterior(x, limit=1.0)
    with pytest.raises(InputError, match="more points="):
        Fold(scale=0.01).posterior(x, points=101)
    found = Fold().posterior(x)
    with pytest.raises(InputError, match="q of row 0 has mass"):
        found.kl(dist.Normal(torch.zeros(1, 1), 100.0).to_event(1))
    with pytest.raises(InputError, match=r"batch \(1,\) and event \(1,\).*not batch \(\) and event \(2,\)"):
        found.kl(dist.Normal(torch.zeros(2), 1.0).to_event(1))


@each_model
def test_data_of_another_shape_are_refused_in_a_sentence(name):
    oracle = MODELS[name]()
    for wrong in (torch.zeros(3), torch.zeros(4, 5)):
        with pytest.raises(InputError, match=rf"{type(oracle).__name__} needs data of shape \(B, "):
            oracle.log_px(wrong)
        with pytest.raises(InputError, match="needs data of shape"):
            oracle.posterior(wrong)


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": math.nan}, {"guide_scale": -1.0}])
def test_a_width_that_is_not_positive_is_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} of Ring must be a finite number, above 0"):
        Ring(**wrong)


# ---------------------------------------------------------------- marginal and ancestral draws


@pytest.mark.parametrize(("name", "limits"), [("curve", (-1.0, 2.5, -2.5, 2.5)), ("ring", (-2.0, 2.0) * 2)])
def test_the_marginal_integrates_to_one_over_the_plane(name, limits):
    oracle, side = MODELS[name](), 49 if name == "curve" else 81
    first, second = torch.linspace(*limits[:2], side), torch.linspace(*limits[2:], side)
    p = torch.cat([oracle.log_px(x).exp() for x in torch.cartesian_prod(first, second).split(2000)])
    cell = (first[1] - first[0]) * (second[1] - second[0])
    assert abs(p.sum() * cell - 1) < 1e-4


def test_the_marginal_of_the_banana_in_its_first_entry_is_normal():
    # x_1 = z_1 + noise, so that integrating x_2 out leaves N(0, 1 + s^2).
    oracle, x2 = Banana(), torch.linspace(-7.0, 11.0, 121)
    for x1 in (-1.0, 0.5):
        p = oracle.log_px(torch.stack([torch.full_like(x2, x1), x2], 1)).exp()
        assert torch.trapezoid(p, x2) == pytest.approx(stats.norm(0, math.hypot(1, 0.25)).pdf(x1), rel=1e-6)


@each_model
def test_ancestral_draws_follow_the_program(name):
    oracle = MODELS[name]()
    z, x = oracle.ancestral(20_000, seed=3)
    assert torch.equal(x, oracle.sample(20_000, seed=3))
    assert not torch.equal(z, oracle.ancestral(20_000, seed=4).z)
    noise = (x - oracle.mean(z)) / oracle.scale
    for value in (z, noise):  # Kolmogorov's statistic: 1e-6 in each of a few columns
        assert min(stats.kstest(column.numpy(), "norm").pvalue for column in value.mT) > 1e-6
        assert (value.square().mean(0) - 1).abs().max() < 5 * math.sqrt(2 / 20_000)
    assert abs(torch.corrcoef(torch.cat([z, noise], 1).mT).triu(1)).max() < 5 / math.sqrt(20_000)


@each_model
def test_ancestral_draws_follow_the_marginal(name):
    # The distribution function of x_1, from the marginal given z: E_z Phi((x_1 - f_1(z)) / s).
    oracle = MODELS[name]()
    x = oracle.ancestral(5000, seed=5).x[:, 0]
    size = oracle.latent_dim
    axis = torch.linspace(-7, 7, 20_001 if size == 1 else 401)
    nodes = torch.cartesian_prod(*[axis] * size).reshape(-1, size)
    weight = oracle.latents().log_prob(nodes).softmax(0)
    mean = oracle.mean(nodes)[:, 0]
    at = torch.linspace(float(x.min()) - 0.1, float(x.max()) + 0.1, 400)
    below = torch.stack([(weight * torch.special.ndtr((a - mean) / oracle.scale)).sum() for a in at])
    expected = CubicSpline(at.numpy(), below.numpy())(x.numpy())
    assert stats.kstest(expected, "uniform").pvalue > 1e-6


@each_model
def test_the_pyro_program_and_ancestral_draws_have_one_distribution(name):
    oracle = MODELS[name]()
    other = oracle.sample(20_000, seed=6)
    x = poutine.uncondition(oracle.model)(torch.zeros_like(other))
    for column, drawn in zip(x.mT, other.mT, strict=True):
        assert stats.ks_2samp(column.numpy(), drawn.numpy()).pvalue > 1e-6


def test_the_callers_random_state_is_untouched():
    before = torch.get_rng_state()
    oracle = Ring()
    x = oracle.sample(4, seed=1)
    oracle.posterior(x), oracle.log_px(x), oracle.moments(x)
    assert torch.equal(before, torch.get_rng_state())


# ---------------------------------------------------------------- the ring


def test_the_rings_evidence_is_an_integral_in_the_plane():
    oracle = Ring(scale=0.2)
    for x in (torch.tensor([1.1, 0.3]), torch.tensor([0.0, 0.0]), torch.tensor([-0.4, 0.9])):

        def integrand(angle, rho, x=x):
            z = torch.tensor([rho * math.cos(angle), rho * math.sin(angle)])
            f = z / 10 + z / max(rho, 1e-300)
            apart = float((x - f).square().sum())
            return rho * math.exp(-rho * rho / 2 - apart / 0.08) / (2 * math.pi * 2 * math.pi * 0.04)

        rule = {"epsabs": 1e-9, "epsrel": 1e-7}
        found, _ = integrate.dblquad(integrand, 0, 9, 0, 2 * math.pi, **rule)
        assert float(oracle.log_px(x.unsqueeze(0))) == pytest.approx(math.log(found), abs=1e-6)


def test_a_thin_rings_evidence_is_the_closed_form_without_noise():
    # log p of the noiseless ring is smooth away from radius 1: noise s moves it by a term of order s^2.
    x = toys.ring(200, seed=2).x.double()
    x = x[x.norm(dim=1) > 1.05]
    exact = toys.log_prob("ring")(x)
    small, smaller = ((Ring(scale=s).log_px(x) - exact).abs().max() for s in (0.004, 0.002))
    assert smaller < 2e-3
    assert 3.5 < small / smaller < 4.5


def test_the_rings_moments_are_those_of_its_posterior_on_a_grid():
    oracle = Ring()
    x = torch.cat([oracle.sample(4, seed=1), torch.tensor([[0.02, -0.01]])])
    loc, covariance = oracle.moments(x)
    found = oracle.posterior(x)
    assert torch.allclose(loc, found.mean, atol=1e-7)
    assert torch.allclose(covariance, found.covariance, atol=1e-7)
    middle, spread = oracle.moments(torch.zeros(1, 2))
    assert torch.allclose(middle, torch.zeros(1, 2), atol=1e-9)
    assert torch.allclose(spread[0, 0, 0], spread[0, 1, 1])


def test_turning_the_data_turns_the_rings_posterior_and_leaves_its_evidence():
    oracle, x, a = Ring(), Ring().sample(5), torch.tensor(0.7)
    turn = torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]])
    assert torch.allclose(oracle.log_px(x), oracle.log_px(x @ turn.mT), atol=1e-10)
    (loc, covariance), (turned, other) = oracle.moments(x), oracle.moments(x @ turn.mT)
    assert torch.allclose(loc @ turn.mT, turned, atol=1e-10)
    assert torch.allclose(turn @ covariance @ turn.mT, other, atol=1e-10)


def test_importance_sampling_finds_the_rings_evidence():
    oracle = Ring(guide_scale=1.3)
    x = oracle.sample(20)
    found = pv.log_evidence(oracle, x, particles=2000)
    assert (abs(found.log_px - oracle.log_px(x).numpy()) / found.mc_stderr).max() < 5


# ---------------------------------------------------------------- any guide, learned constants


PLAIN = {"lr_schedule": "constant", "kl_warmup": 0, "patience": None, "progress": False, "compile": False}


def guide_of(latent_dim, event_dim):
    return pv.VAE(
        (event_dim,),
        latent_dim,
        likelihood=pv.likelihoods.Normal(),
        guide=pv.guides.FullRankNormal(),
        encoder=pv.networks.MLP(32, activation="tanh"),
    )


@each_model
def test_a_pair_of_the_model_and_a_vaes_guide_is_trained_towards_the_posterior(name):
    oracle, x = MODELS[name](scale=0.5), MODELS[name](scale=0.5).sample(256)
    vae = guide_of(oracle.latent_dim, x.shape[1])
    pair, before = (oracle.model, vae.guide), {k: v.clone() for k, v in vae.state_dict().items()}
    gap = lambda: oracle.posterior(x[:4], points=201).kl(vae.encode(x[:4])).mean()  # noqa: E731
    first = gap()
    pv.fit(pair, x, epochs=30, batch_size=32, lr=5e-3, seed=0, **PLAIN)
    assert gap() < first - 0.1
    log_w = log_weights(pair, x[:4])
    exact = oracle.posterior(x[:4], points=201).elbo(vae.encode(x[:4]))
    assert ((log_w.mean(0) - exact).abs() / (log_w.std(0) / math.sqrt(20_000))).max() < 5
    # Only the guide had something to learn.
    moved = {key.split(".")[0] for key, v in vae.state_dict().items() if not torch.equal(v, before[key])}
    assert moved == {"recognition"}


@pytest.mark.parametrize("as_pair", [False, True])
def test_learned_constants_find_those_of_the_data(as_pair):
    x = Fold().sample(500, seed=7)
    fold = Fold(scale=0.6, learned=True)
    with torch.no_grad():
        fold.bend.fill_(0.5)
    target = (fold.model, fold.guide) if as_pair else fold
    pv.fit(target, x, epochs=20, batch_size=50, lr=1e-2, seed=0, **PLAIN)
    # The guide has one of two modes, so the optimum of the bound differs a little from that of log p(x).
    assert fold.log_px(x).mean() > Fold().log_px(x).mean() - 0.02
    assert abs(fold.bend.detach() - 1) < 0.1
    assert fold.scale.detach() < 0.4


@each_model
def test_learned_constants_start_at_the_fixed_ones_and_have_gradients(name):
    fixed, learned = MODELS[name](), MODELS[name](learned=True)
    z, x = fixed.ancestral(5)
    assert torch.equal(fixed.mean(z), learned.mean(z))
    assert torch.equal(fixed.log_px(x), learned.log_px(x))
    assert not list(fixed.parameters())
    learned.decode(z).log_prob(x).sum().backward()
    names = {key for key, value in learned.named_parameters() if value.grad.abs() > 0}
    assert names == {"log_scale", *learned.constants}


def test_two_learned_models_do_not_share_what_they_learn():
    one, other = Fold(learned=True), Fold(learned=True)
    x = one.sample(5)
    for oracle in (one, other):
        log_weights((oracle.model, oracle.guide), x, particles=1)
    stored = {id(value) for value in pyro.get_param_store()._params.values()}
    assert stored == {id(value) for oracle in (one, other) for value in oracle.parameters()}


def test_learned_constants_can_be_set_and_are_kept_by_the_float64_copy():
    oracle = Fold().float()
    oracle.bend = 0.5  # a plain number where it is not learned
    x = torch.tensor([[2.0]], dtype=torch.float64)
    exact = quadrature(oracle.double_copy(), x)
    assert torch.allclose(oracle.log_px(x), exact)
    assert not torch.allclose(exact, Fold().log_px(x))


# ---------------------------------------------------------------- a trained VAE on a grid


def as_vae(oracle):
    """A VAE with the oracle's p(x, z), its weights set by hand."""
    scale = oracle.scale
    event_dim, latent_dim = oracle.weight.shape

    class Linear(nn.Module):
        def latents(self):
            return dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1)

        def decode(self, z):
            return dist.Normal(z @ oracle.weight.mT + oracle.bias, scale).to_event(1)

    return Linear()


def test_a_trained_vae_has_a_posterior_on_a_grid():
    torch.manual_seed(0)
    x = Curve().sample(400, seed=8)
    vae = pv.VAE(
        (2,),
        1,
        likelihood=pv.likelihoods.Normal(scale=0.3),
        encoder=pv.networks.MLP(32, activation="tanh"),
        decoder=pv.networks.MLP(32, activation="tanh"),
    )
    pv.fit(vae, x, epochs=5, batch_size=50, lr=3e-3, seed=0, progress=False, compile=False)
    found = posterior_on_grid(vae, x[:5])
    assert (found.mass - 1).abs().max() < 1e-6
    log_w = log_weights(vae, x[:5])
    error = log_w.std(0) / math.sqrt(20_000)
    assert ((found.elbo(vae.encode(x[:5])) - log_w.mean(0)).abs() / error).max() < 5
    assert (found.elbo(vae.encode(x[:5])) < found.log_px).all()


# ---------------------------------------------------------------- pictures of bounds and posteriors


def test_contours_hold_their_share_of_the_mass_on_even_and_on_bent_nodes():
    from pyrovae.plots.bounds import SHARES, _areas, _levels

    for oracle in (Banana(), Ring(scale=0.3)):
        found = oracle.posterior(oracle.sample(1, seed=1), points=301)
        p, z = found.density[0].numpy(), found.z.numpy()
        mass = found.nodes.weight.reshape(p.shape).numpy() * p
        for share, level in zip(sorted(SHARES, reverse=True), _levels(p, _areas(z)), strict=True):
            assert abs(mass[p >= level].sum() - share) < 0.02


def test_a_bound_above_what_it_bounds_is_not_drawn():
    at = torch.linspace(-1, 1, 11)
    ax = bounds_below(at, -at.square(), {"q": -2 * at.square()}, steps=[[0.0, -0.5], [0.0, 0.0]])
    assert [len(line.get_xdata()) for line in ax.lines] == [11, 11, 2]
    assert len(bounds_below(at, [0.0, 1.0], {"a": -at.square(), "b": -at.square()}).lines) == 4
    with pytest.raises(InputError, match="q lies 1 nats above log p"):
        bounds_below(at, -2 * at.square(), {"q": -at.square()})
    with pytest.raises(InputError, match="one value for each of 11 places or 1 bounds"):
        bounds_below(at, [0.0, 1.0], {"q": -at.square()})
    with pytest.raises(InputError, match=r"q has shape \(10,\)"):
        bounds_below(at, -at.square(), {"q": at[:10]})


def test_posteriors_in_one_and_two_dimensions_are_drawn_with_their_approximations():
    for oracle in (Curve(), Banana()):
        found = oracle.posterior(oracle.sample(1, seed=1), points=201)
        ax = posterior_density(found.z, found.density[0], {"q": found.density[0], "r": found.density[0]})
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["p(z|x)", "q", "r"]
        (low, high), mean = ax.get_xlim(), float(found.mean[0, 0])
        assert low < mean < high
        with pytest.raises(InputError, match="q has shape"):
            posterior_density(found.z, found.density[0], {"q": found.density[0][:-1]})


def test_gradient_noise_needs_a_spread_for_each_number_of_particles():
    assert len(gradient_noise([1, 2], {"a": [2.0, 1.0], "b": [4.0, 2.0]}).lines) == 2
    assert gradient_noise([1, 2], {"a": [1.0, 0.0]}).lines[0].get_ydata().tolist() == [1.0, 0.0]
    for wrong in ([1.0], [1.0, -1.0]):
        with pytest.raises(InputError, match="a needs one standard deviation of 0 or more for each of 2"):
            gradient_noise([1, 2], {"a": wrong})
    for particles, spread in (([1, 2], {}), ([1, 2], [1.0, 2.0]), ([0, 1], {"a": [1.0, 1.0]})):
        with pytest.raises(InputError, match="particles above 0, and spread as"):
            gradient_noise(particles, spread)
