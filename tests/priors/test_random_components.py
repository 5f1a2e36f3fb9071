"""Mixture priors whose weights and means are random variables."""

import copy
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyrovae as pv
from pyrovae import variables
from pyrovae.distributions import RegressedNormal
from pyrovae.guides import GaussianMixture as MixtureGuide
from pyrovae.networks import MLP, Bayesian
from pyrovae.numerics import positive
from pyrovae.priors import GaussianMixture, Hierarchical
from pyrovae.priors.random_components import RandomMeans, RandomWeights
from pyrovae.priors.starts import FROM_DATA
from pyrovae.terms import DATA, Runner, check_own_weights
from pyrovae.variables import Variable
from tests.support.captured import willing
from tests.support.groups import CENTRES, blobs
from tests.support.interrupted import fit_in_pieces
from tests.support.parts import perturb, raises_one_sentence
from tests.support.same_runs import assert_same_runs, binary, small

QUIET = {"progress": False, "figures": False, "batch_size": 8, "compile": False}
COVARIANCES = ("spherical", "diagonal", "full")
SITES = ["prior.random_weights", "prior.random_means"]


def mixture(components=3, **options):
    return GaussianMixture(components, weights="dirichlet", **({"concentration": 0.7} | options))


def attached(components=3, dim=3, **options):
    prior = mixture(components, **options)
    prior.attach(dim)
    return prior


def vae_of(prior, **parts):
    return perturb(small(prior=prior, **parts).double(), 0.3)


def rows_of(vae, count=4):
    context = None if vae.context_shape is None else torch.randn(count, *vae.context_shape).double()
    y = torch.tensor([0, 1, -1, 2])[:count] if vae.prior.labels else None
    return pv.Rows(binary(count).double(), context, y)


# ---------------------------------------------------------------- p and q


@pytest.mark.parametrize("kind", ["weights", "means"])
def test_the_divergence_is_that_of_draws(kind, float64):
    variable = RandomWeights(4, 0.5) if kind == "weights" else RandomMeans(torch.randn(3, 2), 2.0)
    with torch.no_grad():
        if kind == "weights":
            variable.log_concentration.copy_(torch.tensor([3.0, 1.0, 0.5, 2.0]))
        else:
            variable.log_width.copy_(torch.randn(3, 2))
        q, p = variable.posterior(), variable.prior()
        value = q.sample((100_000,))
        ratio = q.log_prob(value) - p.log_prob(value)
        assert abs(ratio.mean() - variable.divergence()) < 4 * ratio.std() / len(value) ** 0.5
        error = value.std(0) / len(value) ** 0.5
        assert ((value.mean(0) - variable.centre()).abs() < 4.5 * error).all()


def test_the_prior_is_that_of_its_formula(float64):
    prior = attached(4, 2, concentration=0.2, reach=5.0)
    weights, means = prior.random_weights, prior.random_means
    assert torch.equal(weights.prior().concentration, torch.full((4,), 0.2))
    assert torch.equal(means.prior().base_dist.stddev, torch.full((4, 2), 5.0))
    assert (weights.words(), means.words()) == ("Dirichlet(0.2)", "N(0, 5^2)")


def test_a_vanishing_component_gives_finite_numbers():
    prior = attached(3, 2)
    z = torch.randn(5, 2)
    with torch.no_grad():
        prior.random_weights.log_concentration.copy_(torch.tensor([5.0, -5.0, -100.0]))
    for _ in range(50):
        value = prior.random_weights.posterior().rsample()
        with variables.holding({prior.random_weights: value}):
            log_p = prior().log_prob(z).sum() + prior.random_weights.prior().log_prob(value)
        log_p.backward()
        assert log_p.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in prior.parameters())


# ---------------------------------------------------------------- the program


def written(vae):
    """The program of a mixture prior by hand, with the VAE's networks and posterior."""
    prior = vae.prior

    def model(x, context=None, y=None):
        one = torch.ones((), dtype=x.dtype)
        count, dim = prior.components, vae.latent_dim
        pi = pyro.sample("pi", dist.Dirichlet(one.expand(count) * prior.concentration))
        mu = pyro.sample("mu", dist.Normal(0 * one, prior.reach).expand([count, dim]).to_event(2))
        logits = pi.log() if context is None else pi.log() + prior.gate(context)
        regression = prior.regression if prior.covariance == "full" else None
        with pyro.plate(DATA, len(x)):
            components = RegressedNormal(mu, positive(prior.raw_scale), regression)
            components = components.expand(logits.shape)
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(logits=logits), components))
            pyro.sample("x", vae.decode(z, context), obs=x)

    def guide(x, context=None, y=None):
        concentration = prior.random_weights.log_concentration.exp()
        pyro.sample("pi", dist.Dirichlet(concentration))
        means = prior.random_means
        pyro.sample("mu", dist.Normal(means.loc, means.log_width.exp()).to_event(2))
        with pyro.plate(DATA, len(x)):
            pyro.sample("z", vae.encode(x, context))

    return model, guide


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("context", [None, (2,)], ids=["", "context"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("weights", ["shared", "own"])
def test_the_bound_is_that_of_the_program_written_by_hand(weights, covariance, context, explicit):
    """A component that is a site and summed out is the mixture as one distribution."""
    vae = vae_of(mixture(covariance=covariance, explicit=explicit), context_shape=context)
    rows, found = rows_of(vae), []
    for target in (vae, written(vae)):
        torch.manual_seed(3)
        found.append(Runner(target).check(rows).run(rows, particles=3, weights=weights).terms())
    torch.testing.assert_close(found[0].log_w, found[1].log_w)
    torch.testing.assert_close(found[0].log_global, found[1].log_global)
    assert found[0].log_global.shape == ((3,) if weights == "own" else (1,))


PROGRAMS = {
    "one distribution": lambda: vae_of(mixture()),
    "full": lambda: vae_of(mixture(covariance="full")),
    "explicit": lambda: vae_of(mixture(explicit=True, covariance="full")),
    "drawn": lambda: vae_of(mixture(explicit=True), guide=MixtureGuide(3, explicit=True)),
    "labels": lambda: vae_of(mixture(labels=True)),
    "labels drawn": lambda: vae_of(mixture(labels=True), guide=MixtureGuide(3, explicit=True)),
    "context": lambda: vae_of(mixture(), context_shape=(2,)),
    "start": lambda: vae_of(mixture(start="kmeans", start_epoch=1)),
    "top": lambda: vae_of(Hierarchical((3,), (4,), top=mixture())),
    "scale": lambda: vae_of(mixture(), likelihood=pv.likelihoods.Normal("bayesian")),
    "weights": lambda: vae_of(mixture(), decoder=Bayesian(MLP(5))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_particle_may_have_weights_and_means_of_its_own(name):
    vae = PROGRAMS[name]()
    rows = rows_of(vae)
    runner = Runner(vae).check(rows)
    check_own_weights(runner, rows)
    pair = runner.run(rows, particles=3, weights="own")
    assert pair.terms().log_w.shape == (3, 4)
    values = {name: site["value"] for name, site in pair.global_guide.nodes.items() if "value" in site}
    pi = next(value for name, value in values.items() if name.endswith("random_weights"))
    assert pi.shape == (3, 1, 3)


@pytest.mark.parametrize("name", ["one distribution", "explicit", "labels", "top"])
def test_outside_a_program_they_are_their_means(name):
    vae, z = PROGRAMS[name](), torch.randn(5, 2).double()
    highest = vae.prior.highest if name == "top" else vae.prior
    mixed = highest.mixture()
    concentration = highest.random_weights.log_concentration.exp()
    torch.testing.assert_close(mixed.mixture_distribution.probs, concentration / concentration.sum())
    assert mixed.component_distribution.mean.equal(highest.random_means.loc)
    before = mixed.log_prob(z) if name != "top" else None
    with vae.holding(vae.draw_globals()):
        assert before is None or not highest.mixture().log_prob(z).equal(before)


@pytest.mark.parametrize("name", ["one distribution", "explicit", "context"])
def test_the_model_draws_them_from_the_prior(name):
    vae = PROGRAMS[name]()
    context = torch.zeros(1, 2).double() if vae.context_shape else None
    with torch.no_grad():
        traces = [poutine.trace(vae.model).get_trace(context=context) for _ in range(100)]
    pi = torch.stack([trace.nodes[SITES[0]]["value"] for trace in traces])
    assert (pi.sum(-1) - 1).abs().max() < 1e-6
    assert ((pi.mean(0) - 1 / 3).abs() < 4 * pi.std(0) / 10).all()


# ---------------------------------------------------------------- put, and starts from the data


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_what_is_put_is_the_centre(covariance, float64):
    prior = attached(covariance=covariance, start="kmeans")
    weights, loc = torch.tensor([0.5, 0.3, 0.2]), torch.randn(3, 3)
    sigma = torch.tensor([1.0, 4.0, 0.25]).diag().expand(3, 3, 3)
    total = prior.random_weights.log_concentration.exp().sum()
    prior.put(3 * weights, loc, sigma)
    assert prior.begun
    mixed = prior.mixture()
    torch.testing.assert_close(mixed.mixture_distribution.probs, weights)
    torch.testing.assert_close(mixed.component_distribution.mean, loc)
    torch.testing.assert_close(prior.random_weights.log_concentration.exp().sum(), total)
    precision = 100 * weights[:, None] / torch.tensor([1.0, 4.0, 0.25]) + 1 / 9
    torch.testing.assert_close(prior.random_means.log_width.exp(), precision.rsqrt())
    prior.put(torch.tensor([1.0, 0.0, 0.0]), loc, sigma)
    assert prior().log_prob(loc).isfinite().all()
    assert prior.random_means.log_width[1].exp().allclose(torch.tensor(3.0))  # without rows, its prior


@pytest.mark.parametrize("start", FROM_DATA)
def test_components_start_on_the_groups_that_are_there(start, float64):
    z = blobs()[0].double()
    prior = attached(start=start)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    with variables.holding({v: v.posterior().sample() for v in prior.modules() if isinstance(v, Variable)}):
        torch.testing.assert_close(prior().log_prob(z), normal)  # before its start
    assert prior.begin_epoch(0, lambda: z)
    mixed = prior.mixture()
    order = torch.cdist(mixed.component_distribution.mean, CENTRES.double()).argmin(0)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(mixed.mixture_distribution.probs[order], torch.tensor([0.5, 0.25, 0.25]))


def test_components_that_are_not_needed_lose_their_weight():
    """Eight components for three groups, at fixed z: the bound on log p(z) is maximised."""
    z = blobs(300)[0]
    torch.manual_seed(0)
    prior = GaussianMixture(8, weights="dirichlet")
    prior.attach(3)
    shared = [module for module in prior.modules() if isinstance(module, Variable)]
    optimiser = torch.optim.Adam(prior.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1200)
    for _ in range(1200):
        optimiser.zero_grad()
        drawn = {v: v.posterior().rsample() for v in shared}
        ratio = sum(v.prior().log_prob(w) - v.posterior().log_prob(w) for v, w in drawn.items())
        with variables.holding(drawn):
            (-(prior().log_prob(z).sum() + ratio) / len(z)).backward()
        optimiser.step()
        schedule.step()
    mixed = prior.mixture()
    weights, order = mixed.mixture_distribution.probs.sort(descending=True)
    assert weights[3:].sum() < 0.005
    torch.testing.assert_close(weights[:3], torch.tensor([0.5, 0.25, 0.25]), atol=0.02, rtol=0)
    loc = mixed.component_distribution.mean[order]
    assert torch.cdist(CENTRES, loc[:3]).min(1).values.max() < 0.15
    # A mean without data returns to its prior, N(0, 3^2); the others are known to 0.3 / sqrt(75) or better.
    widths = prior.random_means.log_width.exp()[order].mean(1)
    assert widths[:3].max() < 0.05
    assert abs(widths[3:].median() - 3) < 0.3


# ---------------------------------------------------------------- declarations, refusals, runs


def test_a_declaration_is_written_read_and_copied():
    prior = mixture(concentration=1, reach=2)
    vae = small(prior=prior)
    again = pv.VAE.from_dict(vae.to_dict())
    assert again == vae == vae.clone()
    assert vae.prior.concentration == 1.0
    assert again != small(prior=mixture(concentration=1, reach=3))
    again.load_state_dict(vae.state_dict())
    for twin in (again, copy.deepcopy(vae), pickle.loads(pickle.dumps(vae))):
        assert list(twin.global_variables) == SITES
        torch.manual_seed(1)
        one = vae.draw_globals()
        torch.manual_seed(1)
        assert all(value.equal(one[name]) for name, value in twin.draw_globals().items())
    assert {v.dtype for v in vae.double().draw_globals().values()} == {torch.float64}


def test_options_that_exclude_each_other_are_refused_with_a_cure():
    for options, words in (
        ({"components": 1}, ("one component", "more components")),
        ({"floor": 0.1}, ("leave floor out", "concentration")),
        ({"prune": 0.1}, ("leave prune out", "concentration")),
        ({"learned": False}, ("leave out learned=False",)),
        ({"concentration": 0.0}, ("concentration of GaussianMixture",)),
        ({"reach": -1.0}, ("reach of GaussianMixture",)),
    ):
        raises_one_sentence(lambda options=options: attached(**options), *words)
    prior = GaussianMixture(3, weights="bayesian")
    raises_one_sentence(lambda: prior.attach(2), "weights of GaussianMixture", "'dirichlet'")


def test_the_default_has_the_parameters_of_older_versions():
    prior = GaussianMixture(3)
    prior.attach(2)
    assert [name for name, _ in prior.named_parameters()] == ["logits", "loc", "raw_scale"]
    older = {"class_path": "pyrovae.priors.GaussianMixture", "init_args": {"components": 3}}
    assert GaussianMixture.from_dict(older) == prior


def test_a_draw_of_weights_is_not_compiled(monkeypatch, capsys):
    """It cannot be compiled for a CPU; `auto` does not wait for the compiler to fail."""
    data, settings = pv.datasets.load(binary(58), validation=10, test=10), QUIET | {"epochs": 2}
    raises_one_sentence(
        lambda: pv.fit(small(prior=mixture()), data, **settings | {"compile": True}),
        "Dirichlet",
        "compile='auto'",
    )
    willing(monkeypatch)
    pv.fit(small(prior=mixture()), data, **settings | {"compile": "auto", "progress": True, "epochs": 12})
    assert "Dirichlet" in "".join(capsys.readouterr())


def test_a_run_that_is_interrupted_ends_as_one_that_is_not(tmp_path):
    data = pv.datasets.load(binary(58), validation=10, test=10)
    settings = QUIET | {"checkpoint_seconds": 0, "epochs": 3}

    def make():
        return small(prior=mixture(start="fit", start_epoch=1))

    pv.fit(make(), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(make, data, tmp_path / "pieces", (4, 7), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


def test_an_objective_of_local_sites_refuses_them():
    data = pv.datasets.load(binary(58), validation=10, test=10)
    objective = pv.objectives.ReweightedWakeSleep(2)
    raises_one_sentence(
        lambda: pv.fit(small(prior=mixture()), data, objective, epochs=1, **QUIET), "use ELBO"
    )
