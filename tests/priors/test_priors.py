"""Properties of priors: densities integrate to one, samples follow them, special cases are right.

Statistical tests have a fixed seed and would fail by chance in fewer than one of 100,000 runs. What priors
and guides have in common is tested here on both.
"""

import copy
import math
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from scipy.stats import chisquare
from torch.autograd.functional import jacobian

import pyrovae as pv
from pyrovae import guides, priors
from pyrovae.numerics import positive
from pyrovae.objectives import ELBO
from pyrovae.priors import GaussianMixture
from tests.support.latent_properties import (
    APPROXIMATE,
    DISCRETE_GUIDES,
    DISCRETE_PRIORS,
    GUIDES,
    ROUND_GUIDES,
    ROUND_PRIORS,
    SMALL,
    connect,
    distribution_of,
)
from tests.support.parts import (
    attached,
    data_for,
    each,
    raises_one_sentence,
    small_vae,
)

pytestmark = pytest.mark.usefixtures("float64")

RARE = 1e-6


def size_of(part) -> int:
    """A size of z that every part can have."""
    classes = getattr(part, "classes", 1)
    return 2 * classes if classes > 1 else 4


# ---------------------------------------------------------------- densities and draws


@pytest.mark.parametrize("flow", APPROXIMATE)
def test_flows_that_are_inverted_by_iteration_are_distributions_too(flow):
    """Both have the mass between two points that their normal noise has between the images; both invert."""
    ends = torch.tensor([[-2.0], [1.5]])
    z = torch.linspace(-2.0, 1.5, 2001).unsqueeze(-1)
    prior = distribution_of(priors.Flow(flow, **SMALL), 1)
    mass = torch.trapezoid(prior.log_prob(z).exp(), z[:, 0])
    below, above = torch.special.ndtr(prior.pull(ends)[0][:, 0])
    torch.testing.assert_close(mass, above - below, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior.push(prior.pull(z)[0])[0], z, rtol=1e-4, atol=1e-4)

    guide = distribution_of(guides.Flow(flow, **SMALL), 1)
    e = guide.base.base_dist.loc + guide.base.base_dist.scale * ends
    (low, high), _ = guide.push(e)
    z = torch.linspace(low.item(), high.item(), 2001).unsqueeze(-1)
    mass = torch.trapezoid(guide.log_prob(z).exp(), z[:, 0])
    below, above = torch.special.ndtr(ends[:, 0])
    torch.testing.assert_close(mass, above - below, rtol=1e-4, atol=1e-4)
    z = guide.expand((20,)).rsample()
    near = guide.pull(z)[0].abs().max(-1).values < 9
    torch.testing.assert_close(
        guide.log_prob(z)[near], guide.log_prob(z.detach().clone())[near], rtol=1e-3, atol=1e-3
    )


@each("part", [*ROUND_PRIORS, *ROUND_GUIDES])
def test_densities_on_spheres_of_many_dimensions_integrate_to_one(part):
    """Both are symmetric about an axis: over its angle, times the sphere across it."""
    for dim in (4, 20, 200):
        distribution = distribution_of(part, dim)
        axis = getattr(distribution, "loc", torch.eye(dim)[0])
        pole, other = torch.linalg.qr(torch.stack([axis, torch.randn(dim)], -1)).Q.unbind(-1)
        angle = torch.linspace(0, math.pi, 20_001)
        z = angle.cos()[:, None] * pole + angle.sin()[:, None] * other
        around = math.log(2) + (dim - 1) / 2 * math.log(math.pi) - math.lgamma((dim - 1) / 2)
        log_p = distribution.log_prob(z) + (dim - 2) * angle.sin().abs().clamp_min(1e-300).log() + around
        assert torch.trapezoid(log_p.exp(), angle) == pytest.approx(1, abs=1e-8)


@each("part", [*DISCRETE_PRIORS, *DISCRETE_GUIDES])
def test_a_vector_with_two_ones_in_a_piece_is_no_sample(part):
    assert not distribution_of(part, 6).support.check(torch.tensor([1.0, 0, 0, 1, 1, 0]))


# ---------------------------------------------------------------- contexts


def test_a_prior_of_contexts_asks_for_one():
    raises_one_sentence(lambda: priors.Conditional().attach(2), "context_shape", "Normal")
    vae = small_vae(prior=priors.Conditional((4,)), context_shape=(3,))
    assert pv.log_evidence(vae, *data_for(vae, 2), particles=5).log_px.shape == (2,)


# ---------------------------------------------------------------- special cases


def test_fresh_priors_begin_as_the_standard_normal():
    z = torch.randn(6, 3)
    expected = dist.Normal(torch.zeros(3), 1.0).to_event(1).log_prob(z)
    fresh = [priors.Normal(), priors.Autoregressive((8,))]
    fresh += [priors.Flow(name, 2, (8,)) for name in ("NSF", "MAF", "NICE", "RealNVP", "BPF", "CNF")]
    fresh += [priors.Hierarchical(())]
    for prior in fresh:
        for context_dim in (0, 2):
            part = prior.clone()
            part.attach(3, context_dim=context_dim)
            distribution = part(torch.randn(6, 2) if context_dim else None)
            torch.testing.assert_close(distribution.log_prob(z), expected, rtol=1e-6, atol=1e-6)
            assert distribution.expand((4, 6)).sample().isfinite().all()
    layered = attached(priors.Hierarchical(()), 3)
    torch.testing.assert_close(layered().log_prob(z), expected)  # whatever its parameters


def test_a_fresh_flow_learns():
    """It begins as the identity, which must be no point where the gradient is zero."""
    for name in ("NSF", "MAF", "RealNVP", "UNAF", "GF", "CNF"):
        prior = priors.Flow(name, 2, (8,))
        prior.attach(2)
        z = 0.5 + 0.3 * torch.randn(64, 2)
        adam = torch.optim.Adam(prior.parameters(), lr=0.02)
        before = -prior().log_prob(z).mean()
        for _ in range(8):
            adam.zero_grad()
            (-prior().log_prob(z).mean()).backward()
            adam.step()
        assert -prior().log_prob(z).mean() < before - 0.05, name


def test_a_students_t_with_many_degrees_of_freedom_is_normal():
    z = torch.randn(6, 3)
    wide, normal = attached(priors.StudentT(1e9), 3), attached(priors.Normal(), 3)
    normal.load_state_dict(wide.state_dict())
    torch.testing.assert_close(wide().log_prob(z), normal().log_prob(z), rtol=1e-5, atol=1e-5)
    by_hand = torch.distributions.Normal(normal.loc, positive(normal.raw_scale)).log_prob(z).sum(-1)
    torch.testing.assert_close(normal().log_prob(z), by_hand)


def test_an_autoregressive_prior_sees_the_latents_before_and_no_others():
    prior = attached(priors.Autoregressive((7, 5)), 4)
    loc, scale = jacobian(prior.place, torch.randn(4))
    for found in (loc, scale):
        assert (found.triu() == 0).all()
        assert (found.tril(-1) != 0).sum() == 6


def test_a_hierarchical_prior_is_the_product_of_its_conditionals():
    prior = attached(priors.Hierarchical((3, 1), (5,)), 2)
    assert (prior.size, prior.visible) == (6, 2)
    z = torch.randn(4, 6)
    first, second, third = z.split((2, 3, 1), -1)
    one, two = prior.nets[0](second), prior.nets[1](third)
    shift = pv.numerics.inverse_positive(1.0)
    by_hand = (
        dist.Normal(one["loc"], positive(one["raw_scale"] + shift)).log_prob(first).sum(-1)
        + dist.Normal(two["loc"], positive(two["raw_scale"] + shift)).log_prob(second).sum(-1)
        + dist.Normal(0.0, 1.0).log_prob(third).sum(-1)
    )
    torch.testing.assert_close(prior().log_prob(z), by_hand)
    vae = small_vae((5,), 2, prior=priors.Hierarchical((3,), (4,)), guide=guides.Hierarchical((3,), (4,)))
    assert vae.decode(torch.randn(7, 5)).batch_shape == (7,)
    decoded = jacobian(lambda z: vae.decode(z).mean, torch.randn(5))
    assert (decoded[:, 2:] == 0).all()  # the decoder reads the first layer
    assert (decoded[:, :2] != 0).all()


@each("top", [priors.Normal(), priors.GaussianMixture(2), priors.Conditional((4,))])
def test_the_top_of_a_hierarchy_follows_the_context_too(top):
    prior = attached(priors.Hierarchical((3,), (5,), top=top), 2, context_dim=2)
    z, c = torch.randn(4, 5), torch.randn(4, 2)
    first, second = z.split((2, 3), -1)
    below = prior.nets[0](second, c)
    scale = positive(below["raw_scale"] + pv.numerics.inverse_positive(1.0))
    by_hand = dist.Normal(below["loc"], scale).log_prob(first).sum(-1) + prior.top(c).log_prob(second)
    torch.testing.assert_close(prior(c).log_prob(z), by_hand)
    assert (prior.top(c).log_prob(second) - prior.top(c.flip(0)).log_prob(second)).abs().max() > 1e-3


def test_the_largest_entry_of_a_relaxed_draw_follows_the_discrete_prior():
    """At any temperature: it is the maximum of Gumbel noise and logits."""
    soft, hard = attached(priors.Categorical(4, 0.5), 1), attached(priors.Categorical(4), 1)
    hard.load_state_dict(soft.state_dict())
    draws = soft().expand((20_000,)).sample().argmax(-1)
    mass = hard().log_prob(torch.eye(4)).exp().detach()
    assert chisquare(torch.bincount(draws, minlength=4), 20_000 * mass).pvalue > RARE


def test_a_prior_and_a_guide_on_other_spaces_are_refused_at_the_declaration():
    cases = [
        (priors.HypersphericalUniform(), guides.DiagonalNormal(), "ProjectedNormal"),
        (priors.Categorical(3), guides.DiagonalNormal(), "Categorical(classes=3, temperature=None)"),
        (priors.Categorical(3), guides.Categorical(3, 0.5), "Categorical(classes=3, temperature=None)"),
        (priors.StandardNormal(), guides.ProjectedNormal(), "different supports"),
        (priors.StandardNormal(), guides.Hierarchical((4,)), "Hierarchical"),
        (priors.StandardNormal(), guides.Categorical(3), "classes=3"),
    ]
    for prior, guide, word in cases:
        raises_one_sentence(lambda prior=prior, guide=guide: pv.VAE((4,), 2, prior=prior, guide=guide), word)
    raises_one_sentence(lambda: pv.VAE((4,), 1, prior=priors.HypersphericalUniform()), "2 or more")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (GaussianMixture(0), ("components", "not 0")),
        (GaussianMixture(2, "round"), ("covariance", "round", "full")),
        (GaussianMixture(2, start="far"), ("start", "far", "spread")),
        (priors.VampPrior(0), ("VampPrior", "components")),
        (priors.VampPrior(2, "none"), ("pseudo_inputs", "none")),
        (priors.StudentT(0.0), ("df", "0.0")),
        (priors.StudentT(math.nan), ("df", "nan")),
        (priors.Flow("NCSF"), ("NCSF", "NSF")),
        (priors.Flow(transforms=0), ("transforms", "not 0")),
        (priors.Flow(hidden=(4, 0)), ("hidden of Flow", "not 0")),
        (priors.Autoregressive((0,)), ("hidden of Autoregressive", "not 0")),
        (priors.Hierarchical((2, 0)), ("layers of Hierarchical", "not 0")),
        (priors.Hierarchical((2,), ()), ("size",)),
        (priors.Categorical(1), ("classes", "not 1")),
        (priors.Categorical(3, 0.0), ("temperature", "0.0")),
    ],
    ids=repr,
)
def test_hyperparameters_of_priors_out_of_range_are_refused(wrong, words):
    raises_one_sentence(lambda: wrong.attach(2), *words)


def test_the_first_flow_of_a_process_changes_nothing_in_torch():
    """The package that it comes from switches the validation of all distributions off when it is imported."""
    code = (
        "import sys, torch, pyrovae; before = dict(vars(torch.distributions.Distribution));"
        "assert 'zuko' not in sys.modules;"
        "pyrovae.priors.Flow().attach(2); after = vars(torch.distributions.Distribution);"
        "assert 'zuko' in sys.modules; assert all(after[name] is value for name, value in before.items())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- mixtures


def test_a_mixture_is_the_sum_of_its_components():
    prior = attached(GaussianMixture(3), 2, context_dim=2)
    z, c = torch.randn(5, 2), torch.randn(5, 2)
    pi = torch.softmax(prior.logits + c @ prior.gate.weight.mT, -1)
    normal = torch.distributions.Normal(prior.loc, positive(prior.raw_scale))
    by_hand = (pi * normal.log_prob(z[:, None]).sum(-1).exp()).sum(-1).log()
    torch.testing.assert_close(prior(c).log_prob(z), by_hand)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_mixture_of_one_is_a_normal(covariance):
    prior = attached(GaussianMixture(1, covariance), 3)
    factor = positive(prior.raw_scale[0]).diag_embed()
    if covariance == "full":
        factor = torch.linalg.inv(torch.eye(3) + prior.regression[0].tril(-1)) @ factor
    normal = dist.MultivariateNormal(prior.loc[0], factor @ factor.mT)
    z = torch.randn(7, 3)
    torch.testing.assert_close(prior().log_prob(z), normal.log_prob(z))


def test_a_mixture_begins_with_equal_weights_and_unit_scales():
    prior = GaussianMixture(4)
    prior.attach(2, context_dim=3)
    distribution = prior(torch.randn(5, 3))
    torch.testing.assert_close(distribution.mixture_distribution.probs, torch.full((5, 4), 0.25))
    torch.testing.assert_close(distribution.component_distribution.stddev, torch.ones(5, 4, 2))
    assert prior.loc.std() > 0  # equal components would stay equal for ever
    assert list(prior.state_dict()) == [
        "logits",
        "loc",
        "raw_scale",
        "gate.weight",
    ]  # as older runs have them


@pytest.mark.parametrize(("components", "dim"), [(10, 2), (7, 1), (4, 3), (10, 16), (40, 5)])
def test_spread_means_are_far_apart(components, dim):
    prior = GaussianMixture(components, start="spread", learned=False)
    prior.attach(dim)
    apart = torch.cdist(prior.loc, prior.loc) + 1e9 * torch.eye(components)
    assert apart.min() == pytest.approx(4.0)
    assert prior.loc.mean(0).abs().max() < 0.3
    if dim > 1:
        radius = prior.loc.norm(dim=-1)
        torch.testing.assert_close(radius, radius[:1].expand(components))
    if dim >= components - 1 and dim > 1:  # the corners of a simplex
        assert apart.min(1).values.max() == pytest.approx(4.0, rel=1e-3)
    again = prior.clone()
    again.attach(dim)
    assert torch.equal(again.loc, prior.loc)
    assert not list(prior.parameters())
    assert not prior.state_dict()


def test_a_mixture_that_is_not_learned_keeps_what_was_drawn():
    prior = GaussianMixture(3, learned=False)
    prior.attach(2, context_dim=2)
    assert [name for name, _ in prior.named_parameters()] == ["gate.weight"]
    other = prior.clone()
    other.attach(2, context_dim=2)
    assert not torch.equal(other.loc, prior.loc)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other.loc, prior.loc)


def test_a_mixture_collapsed_equals_the_same_enumerated():
    """An explicit c, summed out by Pyro, on the same draws of z; and Pyro's q(c|z) is Bayes' theorem."""
    vae = _mixture_vae()
    (x,) = (torch.bernoulli(torch.full((6, 4), 0.5)),)
    prior = vae.prior

    def explicit(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=prior.logits), infer={"enumerate": "parallel"})
            scale = positive(prior.raw_scale)
            z = pyro.sample("z", dist.Normal(prior.loc[c], scale[c]).to_event(1))
            pyro.sample("x", vae.decode(z), obs=x)

    enumerated = TraceEnum_ELBO(max_plate_nesting=1)
    pyro.set_rng_seed(3)
    expected = enumerated.loss(explicit, vae.guide, x) / 6
    pyro.set_rng_seed(3)
    assert ELBO().loss(vae.model, vae.guide, x) == pytest.approx(expected, rel=1e-12)

    z = poutine.trace(vae.guide).get_trace(x).nodes["z"]["value"].detach()
    fixed = poutine.condition(explicit, data={"z": z})
    q = enumerated.compute_marginals(fixed, lambda x: None, x)["c"]
    components = dist.Normal(prior.loc, positive(prior.raw_scale)).to_event(1)
    bayes = torch.softmax(torch.log_softmax(prior.logits, -1) + components.log_prob(z[:, None]), -1)
    torch.testing.assert_close(q.probs, bayes)
    torch.testing.assert_close(bayes.sum(-1), torch.ones(6))


def _mixture_vae():
    vae = pv.VAE((4,), 2, prior=GaussianMixture(3), encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8))
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return vae


# ---------------------------------------------------------------- the VampPrior


@each("guide", GUIDES)
def test_a_vamp_prior_with_one_pseudo_input_is_the_guide_there(guide):
    prior = attached(priors.VampPrior(1), size_of(guide))
    connect(prior, guide)
    recognition, q = prior._sources
    x = torch.rand(3)
    with torch.no_grad():
        prior.u[0] = x
    there = q(**recognition(x))
    z = there.expand((5, 2)).sample()
    torch.testing.assert_close(prior().expand((5, 2)).log_prob(z), there.log_prob(z), rtol=1e-8, atol=1e-8)


@each("guide", GUIDES)
def test_a_vamp_prior_is_the_mean_of_the_guides_distributions(guide):
    prior = attached(priors.VampPrior(4), size_of(guide))
    connect(prior, guide)
    recognition, q = prior._sources
    components = [q(**recognition(u.clamp(0, 1))) for u in prior.u]
    z = torch.stack([component.sample() for component in components])
    log_p = torch.stack([component.log_prob(z) for component in components])
    by_hand = torch.logsumexp(log_p, 0) - math.log(4)
    torch.testing.assert_close(prior().log_prob(z), by_hand, rtol=1e-8, atol=1e-8)
    assert prior().has_rsample == components[0].has_rsample


@pytest.mark.parametrize("context_shape", [None, (3,)])
def test_a_vamp_prior_learns_through_the_encoder(context_shape):
    vae = small_vae(prior=priors.VampPrior(6), guide=guides.Flow("iaf", **SMALL), context_shape=context_shape)
    x, *c = data_for(vae, 4)
    gradients = torch.autograd.grad(
        vae.latents(*c).log_prob(torch.randn(4, 2)).sum(), [*vae.recognition.parameters(), vae.prior.u]
    )
    assert all((g != 0).any() for g in gradients)
    assert sum(p.numel() for p in vae.prior.parameters()) == 6 * 5  # the encoder is counted once
    assert len(list(vae.parameters())) == len({id(p) for p in vae.parameters()})
    assert pv.log_evidence(vae, x, *c, particles=20).log_px.shape == (4,)


def test_a_copied_vae_has_a_vamp_prior_of_its_own_encoder():
    vae = small_vae(prior=priors.VampPrior(6))
    twin, z = copy.deepcopy(vae), torch.randn(3, 2)
    assert twin.prior._sources[0] is twin.recognition
    assert twin.prior._sources[1] is twin.q
    before = vae.latents().log_prob(z)
    with torch.no_grad():
        for p in twin.recognition.parameters():
            p.add_(1.0)
    assert torch.equal(vae.latents().log_prob(z), before)
    assert (twin.latents().log_prob(z) - before).abs().max() > 1e-3
    again = pv.VAE.from_dict(vae.to_dict())
    again.load_state_dict(vae.state_dict())
    torch.testing.assert_close(again.latents().log_prob(z), before)


def test_pseudo_inputs_start_at_the_data():
    x = torch.rand(20, 5)
    kept = small_vae(prior=priors.VampPrior(8, "data"))
    assert not list(kept.prior.parameters())
    before = torch.get_rng_state()
    kept.prior.start_from(x)
    assert torch.equal(torch.get_rng_state(), before)
    rows = (kept.prior.u[:, None] == x).all(-1)
    assert (rows.sum(1) == 1).all()
    assert rows.any(0).sum() == 8  # different ones
    assert "prior.u" in kept.state_dict()
    many = small_vae(prior=priors.VampPrior(50, "data"))
    many.prior.start_from(x)
    assert (many.prior.u[:, None] == x).all(-1).any(0).all()
    learned = small_vae(prior=priors.VampPrior(8))
    u = learned.prior.u.clone()
    learned.prior.start_from(x)  # in [0, 1]: the paper's start
    assert torch.equal(learned.prior.u, u)
    learned.prior.start_from(10 * x - 5)
    assert (learned.prior.u[:, None] == 10 * x - 5).all(-1).any(1).all()
    z = torch.randn(3, 2)
    loc, scale = learned.prior(None).components.base_dist.loc, learned.encode(learned.prior.u).base_dist.loc
    torch.testing.assert_close(loc, scale)  # no longer clamped
    assert learned.latents().log_prob(z).isfinite().all()
    raises_one_sentence(lambda: kept.prior.start_from(torch.rand(4, 3)), "(5)", "(N, 3)")


def test_pseudo_inputs_are_what_the_encoder_reads_of_rows():
    """Standardised numbers, zeros for missing entries, and which are missing: the guide at u is that at x."""
    x = torch.tensor([[20.0, 3.0, math.nan], [-4.0, math.nan, 1.0], [8.0, 5.0, 2.0], [1.0, 1.0, 1.0]])
    vae = small_vae((3,), 2, prior=priors.VampPrior(4, "data"), likelihood=pv.likelihoods.Mixed())
    vae.start_from(x)
    z = torch.randn(5, 2)
    each_row = torch.stack([vae.encode(row).log_prob(z) for row in x])
    torch.testing.assert_close(vae.latents().log_prob(z), each_row.logsumexp(0) - math.log(4))


def test_learned_pseudo_inputs_are_clamped_to_the_unit_interval():
    vae = small_vae(prior=priors.VampPrior(3))
    with torch.no_grad():
        vae.prior.u[:] = torch.tensor([-3.0, 0.5, 4.0, 0.2, 1.0])
    inside = torch.tensor([0.0, 0.5, 1.0, 0.2, 1.0])
    z = torch.randn(4, 2)
    torch.testing.assert_close(vae.latents().log_prob(z), vae.encode(inside).log_prob(z))


def test_a_vamp_prior_alone_says_what_it_needs():
    prior = priors.VampPrior(3)
    prior.attach(2)
    raises_one_sentence(lambda: prior(), "VampPrior", "VAE")
