"""The ELBO taken apart: exact identities, closed forms on the linear VAE, and what collapse looks like."""

import math
from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

import pyrovae as pv
from pyrovae.evidence.diagnose import _variance_of_means
from pyrovae.evidence.marginals import kl_of_marginals, log_marginals_of
from pyrovae.oracles import LinearGaussian
from pyrovae.priors import GaussianMixture
from tests.support.identity import identity_vae
from tests.support.linear import collapse, labelled_vae, linear_vae, rows_for, same_state, set_head, state
from tests.support.parts import LaplaceGuide, LaplacePrior, attached, raises_one_sentence, small_vae

pytestmark = pytest.mark.usefixtures("float64")
SQUARE = [[1, 1], [1, -1], [-1, 1], [-1, -1]]


def test_surgery_adds_up_exactly_and_information_stays_below_log_n():
    for N in (2, 7, 60):
        for vae, _ in (linear_vae(), linear_vae("correlated", prior=GaussianMixture(3), widen=0.05)):
            found = pv.diagnose(vae, rows_for(vae, N), particles=3)
            np.testing.assert_allclose(found.mutual_information + found.marginal_kl, found.kl, atol=1e-9)
            assert found.mutual_information.max() <= math.log(N) + 1e-9
    # Narrow q(z|x) do not overlap, so the mutual information is near its upper limit.
    assert found.mutual_information.mean() > math.log(N) - 0.5
    assert found.marginal_kl.mean() > 0


def test_elbo_is_log_px_minus_kl_to_the_posterior():
    vae, oracle = linear_vae(shift=0.4, widen=1.3)
    x = oracle.sample(50)
    found = pv.diagnose(vae, x, particles=2000)
    truth = (oracle.log_px(x) - kl_divergence(full(vae.encode(x)), oracle.posterior(x))).detach().numpy()
    assert np.abs(found.elbo - truth).max() < 0.15
    assert abs(found.elbo.mean() - truth.mean()) < 0.02
    assert found.elbo.mean() == pytest.approx(-(found.rate + found.distortion))


def test_the_same_bound_as_iwae_bound():
    vae = small_vae()
    x = rows_for(vae, 9)
    np.testing.assert_allclose(
        pv.diagnose(vae, x, particles=20).elbo, pv.iwae_bound(vae, x, particles=(1, 20)).bound[0], atol=1e-9
    )


def test_kl_of_the_latents_sums_to_the_kl_of_a_product():
    vae, oracle = linear_vae(shift=0.4, widen=0.8)
    x = oracle.sample(80)
    found = pv.diagnose(vae, x, particles=500)
    q, p = vae.encode(x), vae.latents().expand((80,))
    assert found.factorised
    assert found.kl_method == "closed form"
    truth = float(kl_divergence(q, p).mean().detach())
    assert found.kl_per_dim.sum() == pytest.approx(truth, abs=1e-12)
    assert abs(found.kl_per_dim.sum() - found.rate) < 0.03


def test_kl_of_the_latents_by_samples_agrees_with_the_closed_form():
    q = dist.Normal(torch.randn(3, 2), 0.7).to_event(1)
    one = dist.Normal(torch.zeros(2), 1.3).to_event(1)
    mixture = dist.MixtureSameFamily(
        dist.Categorical(logits=torch.tensor([0.3, -1.0])),
        dist.Normal(torch.zeros(2, 2), 1.3).to_event(1),  # two components with the same distribution
    )
    z = q.sample((20_000,))
    exact, drawn = kl_of_marginals(q, one, z), kl_of_marginals(q, mixture, z)
    assert (exact.method, exact.factorised) == ("closed form", True)
    assert (drawn.method, drawn.factorised) == ("samples", False)
    torch.testing.assert_close(drawn.kl, exact.kl, atol=0.05, rtol=0)


def test_marginals_of_a_mixture_have_the_mass_and_the_mean_of_its_draws():
    prior = attached(GaussianMixture(3), 2)
    draws = prior().sample((100_000,))
    grid = torch.linspace(-12, 12, 4001).unsqueeze(-1)
    density = log_marginals_of(prior())(grid.expand(-1, 2)).exp().detach()
    for power, truth in enumerate((torch.ones(2), draws.mean(0), draws.square().mean(0))):
        moment = torch.trapezoid(density * grid**power, grid[:, 0], dim=0)
        torch.testing.assert_close(moment, truth, atol=0.05, rtol=0)


def test_marginals_of_a_full_covariance_are_normal():
    tril = torch.tensor([[1.0, 0.0], [0.9, 0.4]])
    q = dist.MultivariateNormal(torch.ones(1, 2), scale_tril=tril)
    p = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    found = kl_of_marginals(q, p, q.sample((5,)))
    sd = torch.tensor([1.0, math.hypot(0.9, 0.4)])
    torch.testing.assert_close(found.kl[0], 0.5 * (sd**2 + 1 - 1 - 2 * sd.log()))
    assert not found.factorised


def test_a_distribution_without_marginals_has_none():
    flow = dist.TransformedDistribution(
        dist.Normal(torch.zeros(4, 2), 1.0).to_event(1), [dist.transforms.Householder(2)]
    )
    p = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    found = kl_of_marginals(flow, p, flow.sample((5,)))
    assert found.method == ""
    assert found.kl.isnan().all()


def test_information_of_two_far_clusters_is_log_two():
    # q(z|x) depends on the sign of x only and the two distributions do not overlap.
    vae, _ = linear_vae()
    with torch.no_grad():
        set_head(vae.recognition.heads["loc"].linear, 40 * torch.eye(2, 4), torch.zeros(2))
        set_head(vae.recognition.heads["raw_scale"].linear, torch.zeros(2, 4), torch.zeros(2))
    x = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]).repeat(20, 1)
    found = pv.diagnose(vae, x, particles=5)
    np.testing.assert_allclose(found.mutual_information, math.log(2), atol=1e-6)
    assert found.active_units == 1


@pytest.mark.parametrize(("signs", "truth"), [([[1, 1], [-1, -1]], math.log(2)), (SQUARE, 0.0)], ids=str)
def test_total_correlation_of_far_clusters(signs, truth):
    # Two clusters on a diagonal: each latent tells the other. Four in a square: it does not.
    vae = two_latents(spread=40.0)
    x = torch.tensor(signs, dtype=torch.float64).repeat(40 // len(signs), 1)
    found = pv.diagnose(vae, x, particles=5)
    np.testing.assert_allclose(found.total_correlation, truth, atol=1e-6)
    np.testing.assert_allclose(found.total_correlation + found.dimension_kl, found.marginal_kl, atol=1e-9)


def test_dimension_wise_kl_is_that_of_the_aggregated_marginals():
    vae = two_latents(spread=1.0)
    x = torch.tensor([[1.0, 0.5], [-1.0, 0.2], [0.3, -0.7]])
    found = pv.diagnose(vae, x, particles=20_000)
    grid = torch.linspace(-12, 12, 4001).unsqueeze(-1)
    q, prior = vae.encode(x).base_dist, dist.Normal(0.0, 1.0)
    log_q = torch.logsumexp(q.log_prob(grid.unsqueeze(-1)), 1) - math.log(3)  # (grid, 2)
    truth = torch.trapezoid(log_q.exp() * (log_q - prior.log_prob(grid)), grid[:, 0], dim=0).sum()
    assert found.dimension_kl.mean() == pytest.approx(float(truth.detach()), abs=0.02)


def test_total_correlation_is_not_known_with_labels_or_without_marginals():
    vae, oracle = linear_vae()
    x = oracle.sample(20)
    assert np.isfinite(pv.diagnose(vae, x).total_correlation).all()
    flow = small_vae(guide=pv.guides.Flow("iaf"))
    assert np.isnan(pv.diagnose(flow, rows_for(flow, 20)).total_correlation).all()
    labelled, _ = labelled_vae()
    assert np.isnan(pv.diagnose(labelled, rows_for(labelled, 20)).total_correlation).all()


def two_latents(spread):
    """A VAE with q(z|x) = N(spread x, 1)."""
    vae = identity_vae(2, sd=1.0)
    with torch.no_grad():
        set_head(vae.recognition.heads["loc"].linear, spread * torch.eye(2), torch.zeros(2))
    return vae


def test_activity_is_the_variance_of_the_posterior_means():
    vae, oracle = linear_vae()
    x = oracle.sample(300)
    found = pv.diagnose(vae, x)
    means = oracle.posterior(x).loc
    np.testing.assert_allclose(found.activity, means.var(0).numpy(), rtol=1e-5)
    assert found.active_units == 2


def test_activity_from_samples_excludes_the_variance_of_q():
    class Unknown:
        @property
        def mean(self):
            raise NotImplementedError

    loc = torch.randn(2000, 1) * 0.05  # far below the draws' own variance over S, 1/4
    z = loc + torch.randn(4, 2000, 1)
    assert float(_variance_of_means(Unknown(), z)) < 0.06


def test_a_collapsed_posterior_is_named():
    vae, oracle = linear_vae()
    x = oracle.sample(40)
    assert not pv.diagnose(vae, x).collapsed
    assert "has not collapsed" in str(pv.diagnose(vae, x))
    found = pv.diagnose(collapse(vae), x)
    for values in (found.kl, found.mutual_information, found.marginal_kl, found.kl_per_dim, found.activity):
        np.testing.assert_allclose(values, 0, atol=1e-9)
    assert found.collapsed
    assert found.active_units == 0
    assert "the posterior has collapsed" in str(found)
    assert "q(z|x) is the same for every x" in found.verdict
    moving = replace(found, activity=np.full_like(found.activity, 0.02))  # means that vary a little
    assert "q(z|x) is nearly the same for every x" in moving.verdict


def test_one_idle_latent_is_counted():
    vae, oracle = linear_vae()
    with torch.no_grad():
        vae.recognition.heads["loc"].linear.weight[1] = 0
    found = pv.diagnose(vae, oracle.sample(40))
    assert found.active_units == 1
    assert "1 of 2 latents are active; the other 1" in str(found)


def test_train_test_gap_is_the_difference_of_two_diagnoses():
    data = pv.datasets.load("digits", binarize="threshold")
    vae = pv.VAE(data.event_shape, 3, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8)).double()
    found = pv.diagnose(vae, data, rows=10_000, particles=2)
    gap, error = found.train_test_gap
    train = pv.diagnose(vae, data.train, rows=10_000, particles=2)
    assert gap == pytest.approx(train.elbo.mean() - found.elbo.mean())
    assert 0 < error < 1
    assert len(found) == len(data.test)
    assert "train - test gap" in str(found)
    assert len(pv.diagnose(vae, data, rows=50, particles=1).train_elbo) == 50


def test_labels_of_the_training_set_do_not_enter_the_gap():
    # The test set has none, so both bounds are on log p(x).
    data = pv.datasets.load("digits", binarize="threshold", known=50, count=300)
    vae = small_vae(data.event_shape, prior=GaussianMixture(10, labels=True))
    assert data.train.y is not None
    found = pv.diagnose(vae, data, particles=2)
    train = pv.diagnose(vae, data.train.unlabelled(), rows=10_000, particles=2)
    np.testing.assert_allclose(np.sort(found.train_elbo), np.sort(train.elbo), atol=1e-9)
    assert np.isfinite(found.mutual_information).all()


def test_with_labels_it_is_the_elbo_of_the_joint():
    vae, _ = labelled_vae()
    rows = rows_for(vae, 12)
    found = pv.diagnose(vae, rows, particles=20)
    bound = pv.iwae_bound(vae, rows, particles=(1, 20)).bound[0]
    np.testing.assert_allclose(found.elbo, bound, atol=1e-9)
    assert np.isnan(found.mutual_information).all()
    assert (found.elbo != pv.diagnose(vae, rows.unlabelled(), particles=20).elbo).all()


def test_a_conditional_vae_has_no_surgery_but_the_rest():
    vae = small_vae(context_shape=(3,), prior=LaplacePrior(), guide=LaplaceGuide())
    found = pv.diagnose(vae, rows_for(vae, 20), particles=3)
    assert np.isnan(found.mutual_information).all()
    assert np.isfinite(found.elbo).all()
    assert np.isfinite(found.kl_per_dim).all()
    assert "not given c or y" in str(found)


def test_pieces_and_order_change_nothing():
    vae = small_vae()
    x = rows_for(vae, 13).x.unique(dim=0)  # equal rows may exchange their samples
    whole, pieces = pv.diagnose(vae, x, particles=7), pv.diagnose(vae, x.flip(0), particles=7, chunk=11)
    np.testing.assert_allclose(pieces.elbo[::-1], whole.elbo, atol=1e-9)
    np.testing.assert_allclose(pieces.mutual_information[::-1], whole.mutual_information, atol=1e-9)


def test_nothing_is_touched():
    vae = small_vae()
    vae.decoder.eval()  # a mode of its own
    x = rows_for(vae, 5).x
    before = state(vae)
    pv.diagnose(vae, x, seed=3)
    assert same_state(before, state(vae))


def test_bad_input_is_refused_in_one_sentence():
    vae = small_vae()
    x = rows_for(vae, 5).x
    raises_one_sentence(lambda: pv.diagnose(LinearGaussian.random(3, 2), x), "LinearGaussian", "VAE")
    raises_one_sentence(lambda: pv.diagnose(vae, x[:1]), "two")
    raises_one_sentence(lambda: pv.diagnose(vae, x, rows=0), "rows")
    raises_one_sentence(lambda: pv.diagnose(vae, x, particles=0), "particles")
    raises_one_sentence(lambda: pv.diagnose(vae, x[:, :2]), "shape")


def test_figure_shows_latents_in_order_and_the_two_parts():
    vae, oracle = linear_vae()
    found = pv.diagnose(vae, oracle.sample(30))
    parts = found.mutual_information.mean(), found.marginal_kl.mean()
    ax = pv.plots.latent_kl(found.kl_per_dim, found.activity, *parts)
    left, right = ax.child_axes
    heights = [bar.get_height() for bar in left.patches]
    assert heights == sorted(found.kl_per_dim, reverse=True)
    assert [bar.get_height() for bar in right.patches] == pytest.approx(parts)
    assert "I(x; z)" in [text.get_text() for text in right.texts]


def full(q):
    return dist.MultivariateNormal(q.mean, scale_tril=q.stddev.diag_embed())
