"""The plain mixture of Gaussians: its numbers against scikit-learn, and its fits against each other."""

import copy
import math
import warnings

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Sklearn

import pyrovae as pv
from pyrovae.mixtures import GaussianMixture
from pyrovae.mixtures.moments import maximised
from pyrovae.terms import terms
from tests.support.parts import raises_one_sentence

pytestmark = pytest.mark.usefixtures("float64")

KINDS = {"spherical": "spherical", "diagonal": "diag", "full": "full"}
each_kind = pytest.mark.parametrize("kind", KINDS)
FLAT = {"concentration": 1.0, "reach": 1e6, "width": 1e6, "eta": 1.0}


def random_mixture(kind, components=3, event_dim=3, seed=0):
    """A mixture with unequal weights, separate means and, where it can, correlations."""
    rng = torch.Generator().manual_seed(seed)
    mixture = GaussianMixture(components, event_dim, kind)
    root = torch.randn(components, event_dim, event_dim, generator=rng)
    mixture.put(
        torch.rand(components, generator=rng) + 0.3,
        2.5 * torch.randn(components, event_dim, generator=rng),
        root @ root.mT / event_dim + 0.3 * torch.eye(event_dim),
    )
    return mixture


def in_sklearn(mixture, **options):
    """Scikit-learn's mixture with the same parameters."""
    kind, covariance = KINDS[mixture.covariance], mixture.covariances.detach().numpy()
    theirs = Sklearn(mixture.components, covariance_type=kind, **options)
    theirs.weights_, theirs.means_ = mixture.weights.detach().numpy(), mixture.means.detach().numpy()
    if kind != "full":
        covariance = covariance.diagonal(axis1=-2, axis2=-1)
        covariance = covariance[:, 0] if kind == "spherical" else covariance
        theirs.precisions_cholesky_ = covariance**-0.5
    else:
        theirs.precisions_cholesky_ = np.linalg.inv(np.linalg.cholesky(covariance)).swapaxes(-1, -2)
    theirs.covariances_ = covariance
    return theirs


# ---------------------------------------------------------------- densities


@each_kind
def test_log_px_and_responsibilities_are_sklearns(kind):
    mixture = random_mixture(kind)
    x = 2 * torch.randn(50, 3)
    theirs = in_sklearn(mixture)
    np.testing.assert_allclose(mixture.log_px(x).detach(), theirs.score_samples(x.numpy()), atol=1e-10)
    np.testing.assert_allclose(
        mixture.responsibilities(x).detach(), theirs.predict_proba(x.numpy()), atol=1e-10
    )
    torch.testing.assert_close(mixture.mixture().log_prob(x), mixture.log_px(x), rtol=0, atol=1e-10)


@each_kind
def test_the_terms_and_the_evidence_are_exact(kind):
    mixture, x = random_mixture(kind), torch.randn(20, 3)
    exact = mixture.log_px(x).detach()
    torch.testing.assert_close(
        terms(mixture.model, mixture.guide, x, particles=2).log_w.detach(), exact.expand(2, 20)
    )
    evidence = pv.log_evidence(mixture, x, particles=3)
    np.testing.assert_allclose(evidence.log_px, exact, rtol=0, atol=1e-10)
    assert evidence.mc_error < 1e-7


@each_kind
def test_pyros_enumeration_agrees(kind):
    mixture, x = random_mixture(kind), torch.randn(20, 3)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    loss = elbo.differentiable_loss(mixture.model, mixture.guide, x)
    torch.testing.assert_close(loss, -mixture.log_px(x).sum(), rtol=0, atol=1e-9)
    marginal = elbo.compute_marginals(mixture.model, mixture.guide, x)["c"]
    torch.testing.assert_close(marginal.probs, mixture.responsibilities(x), rtol=0, atol=1e-10)


@each_kind
def test_the_gradient_is_that_of_a_formula_by_hand(kind):
    mixture, x = random_mixture(kind), torch.randn(15, 3)
    mixture.log_px(x).sum().backward()
    found = {name: p.grad for name, p in mixture.named_parameters()}
    with torch.no_grad():
        q, weights = mixture.responsibilities(x), mixture.weights
        precision = torch.linalg.inv(mixture.covariances)
        apart = x.unsqueeze(1) - mixture.loc
        pull = (precision @ apart.unsqueeze(-1)).squeeze(-1)
        loc = (q.unsqueeze(-1) * pull).sum(0)
        outer = pull.unsqueeze(-1) * pull.unsqueeze(-2) - precision  # 2 d log N / d Sigma
        factor = (q[..., None, None] * outer).sum(0) @ mixture.factor  # Sigma = L L'
        slope = torch.sigmoid(mixture.raw_scale)
        scale = factor.diagonal(dim1=-2, dim2=-1)
        scale = scale.sum(-1, keepdim=True) if kind == "spherical" else scale
    torch.testing.assert_close(found["logits"], (q - weights).sum(0), rtol=0, atol=1e-9)
    torch.testing.assert_close(found["loc"], loc, rtol=0, atol=1e-9)
    torch.testing.assert_close(found["raw_scale"], scale * slope, rtol=0, atol=1e-9)
    if kind == "full":
        torch.testing.assert_close(found["lower"], factor.tril(-1), rtol=0, atol=1e-9)


@each_kind
def test_integrates_to_one(kind):
    mixture = random_mixture(kind, event_dim=2)
    side = torch.linspace(-20, 20, 801)
    grid = torch.cartesian_prod(side, side)
    mass = mixture.log_px(grid).exp().sum() * (side[1] - side[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-6)


@each_kind
def test_samples_follow_the_distribution(kind):
    """Along a direction, the distribution function of the mixture at its draws is uniform."""
    mixture = random_mixture(kind)
    pyro.set_rng_seed(1)
    by_pyro = torch.cat([mixture.model().detach() for _ in range(1500)])
    along = torch.tensor([0.6, -0.5, 0.4])
    loc = (mixture.means @ along).detach()
    spread = (along @ mixture.covariances @ along).sqrt().detach()
    for x in (mixture.sample(200_000, seed=3), by_pyro):
        below = torch.special.ndtr(((x @ along).unsqueeze(-1) - loc) / spread) @ mixture.weights.detach()
        assert stats.kstest(below.numpy(), "uniform").pvalue > 1e-5
    assert torch.equal(mixture.sample(5, seed=3), mixture.sample(5, seed=3))
    assert not torch.equal(mixture.sample(5, seed=3), mixture.sample(5, seed=4))


@each_kind
def test_the_bound_touches_at_the_responsibilities_and_lies_below(kind):
    mixture, x = random_mixture(kind), torch.randn(30, 3)
    log_px, q = mixture.log_px(x), torch.rand(30, 3).softmax(-1)
    exact = mixture.responsibilities(x)
    torch.testing.assert_close(mixture.bound(x, exact), log_px, rtol=0, atol=1e-10)
    gap = (q * (q / exact).log()).sum(-1)
    torch.testing.assert_close(log_px - mixture.bound(x, q), gap, rtol=0, atol=1e-9)
    hard = torch.nn.functional.one_hot(q.argmax(-1), 3).to(x)  # 0 log 0 = 0
    assert (mixture.bound(x, hard) <= log_px).all()


# ---------------------------------------------------------------- parameters


@each_kind
def test_what_is_put_is_there(kind):
    mixture, other = GaussianMixture(3, 3, kind), random_mixture(kind)
    mixture.put(5 * other.weights, other.means, other.covariances)
    torch.testing.assert_close(mixture.weights, other.weights, rtol=0, atol=1e-12)
    torch.testing.assert_close(mixture.means, other.means, rtol=0, atol=0)
    torch.testing.assert_close(mixture.covariances, other.covariances, rtol=0, atol=1e-12)
    mixture.put(torch.tensor([1.0, 0.0, 1.0]), other.means, torch.full((3,), 4.0))
    torch.testing.assert_close(mixture.weights, torch.tensor([0.5, 0.0, 0.5]))
    torch.testing.assert_close(mixture.covariances, 4 * torch.eye(3).expand(3, 3, 3))
    assert mixture.log_px(torch.zeros(2, 3)).isfinite().all()


def test_a_covariance_that_cannot_be_held_is_replaced_by_the_nearest():
    """KL(N(0, S) || N(0, T)) is least at the diagonal of S, or its mean."""
    covariance = random_mixture("full").covariances
    for kind in ("diagonal", "spherical"):
        mixture = GaussianMixture(3, 3, kind)
        mixture.put(torch.ones(3), torch.zeros(3, 3), covariance)
        true = torch.distributions.MultivariateNormal(torch.zeros(3, 3), covariance.detach())
        divergence = torch.distributions.kl_divergence(
            true, torch.distributions.MultivariateNormal(torch.zeros(3, 3), mixture.covariances)
        )
        (slope,) = torch.autograd.grad(divergence.sum(), [mixture.raw_scale])
        assert slope.abs().max() < 1e-10


def test_far_away_data_and_shrunken_components_have_finite_gradients():
    torch.set_default_dtype(torch.float32)
    for kind in KINDS:
        mixture = GaussianMixture(3, 2, kind)
        with torch.no_grad():
            mixture.raw_scale[0] = -60.0
            mixture.logits[1] = -200.0
        x = torch.tensor([[1e4, -1e4], [0.0, 0.0], [30.0, 1e-3]])
        mixture.log_px(x).sum().backward()
        assert all(p.grad.isfinite().all() for p in mixture.parameters())


def test_it_is_declared_copied_and_written_like_a_part():
    mixture = GaussianMixture(4, 2, "diagonal", floor=1e-3)
    assert repr(mixture) == "GaussianMixture(components=4, event_dim=2, covariance='diagonal', floor=0.001)"
    assert GaussianMixture.from_dict(mixture.to_dict()) == mixture
    again = GaussianMixture(4, 2, "diagonal", floor=1e-3)
    again.load_state_dict(mixture.state_dict())
    x = torch.randn(5, 2)
    assert torch.equal(again.log_px(x), mixture.log_px(x))
    assert torch.equal(copy.deepcopy(mixture).log_px(x), mixture.log_px(x))


# ---------------------------------------------------------------- EM


def data(kind="full", count=300, event_dim=3, seed=5):
    return random_mixture(kind, event_dim=event_dim).sample(count, seed=seed)


@each_kind
@pytest.mark.parametrize("reg_covar", [1e-6, 1e-2])
def test_em_ends_where_sklearns_does(kind, reg_covar):
    """From the same k-means, to the same log-likelihood and the same parameters."""
    x = data()
    options = {"tol": 1e-12, "reg_covar": reg_covar}
    theirs = Sklearn(3, covariance_type=KINDS[kind], max_iter=2000, random_state=4, **options).fit(x.numpy())
    mixture = GaussianMixture(3, 3, kind)
    fit = mixture.fit_em(x, seed=4, iterations=2000, **options)
    assert fit.converged
    assert fit.value == pytest.approx(theirs.score(x.numpy()), abs=1e-6)
    assert mixture.log_px(x).mean().item() == pytest.approx(fit.value, abs=1e-10)
    np.testing.assert_allclose(mixture.means.detach(), theirs.means_, atol=1e-4)
    np.testing.assert_allclose(mixture.weights.detach(), theirs.weights_, atol=1e-4)


@each_kind
def test_em_from_given_parameters_takes_sklearns_steps(kind):
    x, start = data(), random_mixture(kind, seed=3)
    theirs = in_sklearn(start)
    precisions = theirs.precisions_cholesky_
    precisions = precisions @ precisions.swapaxes(-1, -2) if kind == "full" else precisions**2
    given = {"weights_init": theirs.weights_, "means_init": theirs.means_, "precisions_init": precisions}
    for steps in (1, 7):
        mixture = copy.deepcopy(start)
        fit = mixture.fit_em(x, start="given", iterations=steps, tol=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            other = Sklearn(3, covariance_type=KINDS[kind], max_iter=steps, tol=0.0, **given).fit(x.numpy())
        assert len(fit.values) == steps + 1
        assert fit.value == pytest.approx(other.score(x.numpy()), abs=1e-9)


@each_kind
@pytest.mark.parametrize("start", ["kmeans", "random"])
def test_em_never_falls(kind, start):
    for seed in range(3):
        fit = GaussianMixture(4, 3, kind).fit_em(data(seed=seed), start=start, reg_covar=0.0, tol=1e-10)
        assert (np.diff(fit.values) > -1e-12).all()
        assert fit.value > fit.values[0] + 1e-3


@each_kind
def test_the_m_step_has_no_better_neighbour(kind):
    x, mixture = data(), random_mixture(kind, seed=2)
    q = torch.rand(len(x), 3).softmax(-1)
    mixture.put(*maximised(x, q, kind, 0.0))
    gradients = torch.autograd.grad(mixture.bound(x, q).mean(), list(mixture.parameters()))
    assert max(g.abs().max() for g in gradients) < 1e-12


def test_restarts_keep_the_best():
    x = random_mixture("full", components=5, event_dim=2).sample(300)
    alone = [GaussianMixture(5, 2).fit_em(x, start="random", seed=seed).value for seed in range(4)]
    best = GaussianMixture(5, 2)
    fit = best.fit_em(x, start="random", restarts=4)
    assert fit.value == max(alone) > min(alone)
    assert best.log_px(x).mean().item() == pytest.approx(fit.value, abs=1e-10)


# ---------------------------------------------------------------- the other ways, and that they agree


@each_kind
def test_em_gradients_and_the_flat_mode_end_at_the_same_top(kind):
    x = data() * torch.tensor([1.0, 20.0, 0.2]) + 100  # in no unit of their own
    fits = {name: GaussianMixture(3, 3, kind) for name in ("em", "gradient", "map")}
    top = fits["em"].fit_em(x, reg_covar=0.0, tol=1e-13, iterations=5000).value
    by_gradient = fits["gradient"].fit_gradient(x, tol=1e-13)
    by_mode = fits["map"].fit_map(x, tol=1e-13, **FLAT)
    assert by_gradient.value == pytest.approx(top, abs=1e-7)
    assert by_gradient.converged
    assert by_mode.converged
    for name in ("gradient", "map"):
        assert fits[name].log_px(x).mean().item() == pytest.approx(top, abs=1e-7)
        torch.testing.assert_close(fits[name].weights, fits["em"].weights, rtol=0, atol=1e-4)
        torch.testing.assert_close(fits[name].covariances, fits["em"].covariances, rtol=1e-3, atol=1e-3)


@each_kind
@pytest.mark.parametrize("compile", [False, "auto"])
def test_pv_fit_climbs_to_the_same_top(kind, compile):
    loaded = pv.datasets.load(data(kind, count=400), validation=100, test=1)
    mixture = GaussianMixture(3, 3, kind)
    top = mixture.fit_em(loaded.train).value  # of Rows
    with torch.no_grad():
        for p in mixture.parameters():
            p += 0.3 * torch.randn_like(p)
    assert mixture.log_px(loaded.train).mean() < top - 0.05
    pv.fit(mixture, loaded, epochs=60, lr=0.02, batch_size=100, progress=False, compile=compile)
    assert top - 0.02 < mixture.log_px(loaded.train).mean() < top


def test_a_captured_fit_is_the_eager_one():
    x = data("diagonal")
    start, found = GaussianMixture(3, 3, "diagonal"), []
    for compile in (False, True):
        mixture = copy.deepcopy(start)
        pv.fit(mixture, x, epochs=5, lr=0.02, batch_size=90, progress=False, compile=compile)
        found.append(mixture.log_px(x))
    torch.testing.assert_close(*found, rtol=0, atol=1e-8)


@each_kind
def test_the_log_posterior_is_that_of_a_formula(kind):
    """Against distributions written out with scipy, in the data's own unit."""
    x = data(event_dim=2)
    squares = (x - x.mean(0)).square().mean(0)
    unit = (squares.mean(0, keepdim=True) if kind == "spherical" else squares).sqrt()
    mixture = GaussianMixture(3, 2, kind)
    fit = mixture.fit_map(x, concentration=2.5, reach=1.5, width=0.7, eta=1.8)
    values = {"weights": mixture.weights.detach().numpy()}
    values["loc"] = ((mixture.means - x.mean(0)) / unit).detach().numpy()
    factor = (mixture.factor - 1e-4 * torch.eye(2)) / unit.unsqueeze(-1)
    width = factor.norm(dim=-1)
    values["scale"] = (width[:, :1] if kind == "spherical" else width).detach().numpy()
    expected = mixture.log_px(x).sum().item() + stats.dirichlet(np.full(3, 2.5)).logpdf(values["weights"])
    expected += stats.norm(0, 1.5).logpdf(values["loc"]).sum()
    expected += stats.halfcauchy(0, 0.7).logpdf(values["scale"]).sum()
    if (
        kind == "full"
    ):  # in two dimensions LKJ has density (1 - r^2)^(eta - 1) / (B(eta, eta) 2^(2 eta - 1)) in r
        r = (factor[:, 1, 0] / width[:, 1]).detach().numpy()
        log_norm = math.lgamma(2 * 1.8) - 2 * math.lgamma(1.8) - (2 * 1.8 - 1) * math.log(2)
        expected += (0.8 * np.log(1 - r**2) + log_norm).sum()
    assert fit.value == pytest.approx(expected / len(x), abs=1e-6)


@each_kind
def test_components_that_the_data_do_not_need_vanish(kind):
    true = GaussianMixture(2, 2, "spherical")
    true.put(torch.tensor([0.6, 0.4]), torch.tensor([[-4.0, 0.0], [4.0, 1.0]]), torch.tensor([1.0, 0.5]))
    x, held_out = true.sample(200), true.sample(500, seed=1)
    mixture = GaussianMixture(5, 2, kind)
    posterior = mixture.fit_posterior(x, steps=200)
    assert (posterior.used() == 2).double().mean() > 0.95
    assert mixture.weights.sort().values[-2:].sum() > 0.98
    plain = GaussianMixture(2, 2, kind)
    plain.fit_em(x)
    assert posterior.log_px(held_out).mean() > plain.log_px(held_out).mean() - 0.02
    assert mixture.log_px(x).mean() > plain.log_px(x).mean() - 0.05


def test_merging_raises_the_bound_and_spares_what_is_apart():
    x = data("diagonal", event_dim=2)
    bounds = []
    for merge in (False, True):
        posterior = GaussianMixture(6, 2, "diagonal").fit_posterior(x, steps=150, draws=50, merge=merge)
        bounds.append(posterior.bound[-50:].mean())
    assert bounds[1] > bounds[0]
    assert (posterior.used() == 3).double().mean() > 0.9


def test_the_posterior_of_one_component_is_known():
    """One normal in one dimension: mu | X has a t distribution, and log p(X) is a double integral."""
    x = 3 + 2 * torch.randn(40, 1)
    posterior = GaussianMixture(1, 1).fit_posterior(x, steps=600, reach=50.0, lr=0.05, draws=4000)
    found = posterior.loc[:, 0, 0]
    assert found.mean().item() == pytest.approx(x.mean().item(), abs=0.05)
    assert found.std().item() == pytest.approx((x.std() / 40**0.5).item(), rel=0.12)
    scale = posterior.covariance[:, 0, 0, 0].sqrt()
    assert scale.log().std().item() == pytest.approx(80**-0.5, rel=0.12)

    unit, centre = x.var(correction=0).sqrt(), x.mean()
    z = (x - centre) / unit
    mu, log_s = torch.linspace(-1.5, 1.5, 400), torch.linspace(-1.2, 1.2, 400)
    mu, log_s = torch.meshgrid(mu, log_s, indexing="ij")
    s = log_s.exp() + 1e-4 / unit
    joint = torch.distributions.Normal(mu, s).log_prob(z[:, None]).sum(0)  # (400, 400)
    joint += torch.distributions.Normal(0.0, 50.0).log_prob(mu)
    joint += torch.distributions.HalfCauchy(1.0).log_prob(log_s.exp()) + log_s
    cell = (mu[1, 0] - mu[0, 0]) * (log_s[0, 1] - log_s[0, 0])
    evidence = (joint.flatten().logsumexp(0) + cell.log() - 40 * unit.log()).item() / 40
    bound = posterior.bound[-200:]
    error = bound.std() / 200**0.5
    assert evidence - 0.01 < bound.mean() < evidence + 5 * error


def test_the_predictive_density_integrates_to_one():
    posterior = GaussianMixture(2, 1).fit_posterior(data(event_dim=1, count=50), steps=5, draws=20)
    line = torch.linspace(-60, 60, 24_001).unsqueeze(-1)
    mass = posterior.log_px(line).exp().sum() * (line[1, 0] - line[0, 0])
    assert mass.item() == pytest.approx(1, abs=1e-4)
    assert posterior.used(0.0).tolist() == [2] * 20


def test_the_same_seed_gives_the_same_fit_and_leaves_the_rest_alone():
    x = data(count=60)
    pyro.param("mine", torch.ones(2))
    results = []
    for _ in range(2):
        state = torch.get_rng_state()
        mixture = GaussianMixture(3, 3)
        torch.set_rng_state(state)
        posterior = mixture.fit_posterior(x, steps=5, draws=3)
        mixture.fit_map(x, iterations=1)
        assert torch.equal(torch.get_rng_state(), state)
        results.append((posterior.loc, mixture.log_px(x)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert list(pyro.get_param_store()) == ["mine"]


def test_rows_and_arrays_of_any_type_are_taken():
    mixture, x = random_mixture("full"), torch.randint(-3, 4, (12, 3))
    exact = mixture.log_px(x.double())
    for given in (x, x.numpy(), x.numpy().astype(np.int8), x.float(), pv.Rows(x), x.tolist()):
        for method in (mixture.log_px, mixture.responsibilities, mixture.log_joint):
            torch.testing.assert_close(method(given), method(x.double()), rtol=0, atol=0)
        np.testing.assert_allclose(pv.log_evidence(mixture, given, particles=2).log_px, exact.detach())
        assert copy.deepcopy(mixture).fit_em(given).value == copy.deepcopy(mixture).fit_em(x.double()).value


def test_single_precision_and_arrays():
    torch.set_default_dtype(torch.float32)
    x = data().float()
    mixture = GaussianMixture(3, 3)
    fit = mixture.fit_em(x.numpy())
    assert mixture.loc.dtype == torch.float32
    assert mixture.log_px(x).mean().item() == pytest.approx(fit.value, abs=1e-4)
    for way in (mixture.fit_gradient, mixture.fit_map):
        assert way(x, start="given").value == pytest.approx(fit.value, abs=0.2)
    assert mixture.fit_posterior(x, steps=3, draws=2).log_px(x).isfinite().all()


def test_a_narrow_covariance_is_put_in_single_precision_too():
    """A correlation that single precision rounds to 1 leaves the second factor sqrt(1 - rho^2)."""
    rho = 1 - 2e-8
    mixture = GaussianMixture(1, 2).float()
    mixture.put([1.0], torch.zeros(1, 2), torch.tensor([[[1.0, rho], [rho, 1.0]]], dtype=torch.float64))
    assert mixture.factor.dtype == torch.float32
    assert mixture.factor[0, 1, 1].item() == pytest.approx(math.sqrt(1 - rho**2), rel=1e-3)


# ---------------------------------------------------------------- data that are hardly any


HARD = {
    "one point, many times": torch.ones(20, 2),
    "two points": torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(10, 1),
    "a line": torch.linspace(0, 1, 20).unsqueeze(-1) * torch.tensor([1.0, 2.0]),
    "a constant column": torch.stack([torch.linspace(-1, 1, 20), torch.full((20,), 7.0)], -1),
    "far away and small": 1e4 + 1e-3 * torch.linspace(-1, 1, 20).unsqueeze(-1) * torch.eye(2)[0],
    "as many as components": torch.tensor([[0.0, 1.0], [2.0, -1.0], [5.0, 5.0]]),
}


@each_kind
@pytest.mark.parametrize("x", HARD.values(), ids=HARD)
def test_hard_data_give_a_mixture_without_nan(kind, x):
    for way, options in (
        ("fit_em", {}),
        ("fit_gradient", {"iterations": 3}),
        ("fit_map", {"iterations": 3}),
        ("fit_posterior", {"steps": 3, "draws": 2}),
    ):
        mixture = GaussianMixture(3, 2, kind)
        fit = getattr(mixture, way)(x, **options)
        assert all(p.isfinite().all() for p in mixture.parameters()), way
        assert mixture.log_px(x).isfinite().all(), way
        assert np.isfinite(fit.bound if way == "fit_posterior" else fit.values).all(), way


@each_kind
def test_one_component_is_the_normal_of_the_moments(kind):
    x = data()
    mixture = GaussianMixture(1, 3, kind)
    mixture.fit_em(x, reg_covar=0.0)
    torch.testing.assert_close(mixture.means[0], x.mean(0), rtol=0, atol=1e-10)
    covariance = torch.cov(x.mT, correction=0)
    expected = {"full": covariance, "diagonal": covariance.diag().diag()}
    expected["spherical"] = covariance.diag().mean() * torch.eye(3)
    torch.testing.assert_close(mixture.covariances[0], expected[kind], rtol=0, atol=1e-10)


X = torch.randn(10, 2)
REFUSED = {
    "no component": (lambda: GaussianMixture(0, 2), ("components", "1 or more")),
    "true": (lambda: GaussianMixture(True, 2), ("components", "not True")),
    "no dimension": (lambda: GaussianMixture(2, 0), ("event_dim", "1 or more")),
    "half a component": (lambda: GaussianMixture(1.5, 2), ("components",)),
    "unknown covariance": (lambda: GaussianMixture(2, 2, "tied"), ("'tied'", "spherical")),
    "floor": (lambda: GaussianMixture(2, 2, floor=-1.0), ("floor", "-1.0")),
    "numbers": (lambda: GaussianMixture(2, 1).fit_em(X[:, 0]), ("(N, 1)", "(10,)")),
    "other size": (lambda: GaussianMixture(2, 3).log_px(X), ("(N, 3)", "(10, 2)")),
    "other size of the program": (lambda: pv.log_evidence(GaussianMixture(2, 3), X), ("(N, 3)",)),
    "more components than data": (lambda: GaussianMixture(11, 2).fit_em(X), ("10 rows", "11 components")),
    "no data": (lambda: GaussianMixture(2, 2).fit_em(X[:0], start="given"), ("0 rows",)),
    "nan": (lambda: GaussianMixture(2, 2).fit_em(X.log()), ("not finite", "row")),
    "start": (lambda: GaussianMixture(2, 2).fit_em(X, start="spread"), ("'spread'", "kmeans")),
    "reg_covar": (lambda: GaussianMixture(2, 2).fit_em(X, reg_covar=-1.0), ("reg_covar", "-1.0")),
    "restarts": (lambda: GaussianMixture(2, 2).fit_em(X, restarts=0), ("restarts", "0")),
    "iterations": (lambda: GaussianMixture(2, 2).fit_gradient(X, iterations=0), ("iterations", "0")),
    "collapse": (lambda: GaussianMixture(2, 2).fit_em(X[:2], reg_covar=0.0), ("narrower", "reg_covar")),
    "mode of a sparse prior": (
        lambda: GaussianMixture(2, 2).fit_map(X, concentration=0.5),
        ("no maximum", "0.5"),
    ),
    "no prior": (lambda: GaussianMixture(2, 2).fit_posterior(X, reach=0.0), ("reach", "above 0")),
    "steps": (lambda: GaussianMixture(2, 2).fit_posterior(X, steps=0), ("steps", "0")),
    "put: shape": (lambda: GaussianMixture(2, 2).put(torch.ones(3), X[:2], torch.ones(2)), ("(2, 2)",)),
    "put: weight": (lambda: GaussianMixture(2, 2).put(-torch.ones(2), X[:2], torch.ones(2)), ("weights",)),
    "put: narrow": (lambda: GaussianMixture(2, 2).put(torch.ones(2), X[:2], torch.zeros(2)), ("floor",)),
}


@pytest.mark.parametrize(("call", "words"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_in_one_sentence(call, words):
    raises_one_sentence(call, *words)
