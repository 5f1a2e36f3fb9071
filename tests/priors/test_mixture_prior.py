"""The mixture prior in use: where its components start, die and are put, and what holds them.

`test_classes.py` tests the mixture as a program, `test_priors.py` as a density. Seeds are fixed.
"""

import itertools
import math

import pytest
import torch

import pyrovae as pv
from pyrovae import sharing
from pyrovae.guides import Classes as ClassGuide
from pyrovae.guides import GaussianMixture as MixtureGuide
from pyrovae.objectives import ELBO, IWAE, Balanced
from pyrovae.priors import Classes, GaussianMixture, Hierarchical
from pyrovae.priors.starts import FROM_DATA, from_encodings
from pyrovae.terms import Runner
from tests.support.captured import alike, interpreted
from tests.support.groups import CENTRES, blobs
from tests.support.interrupted import fit_in_pieces
from tests.support.parts import perturb, raises_one_sentence
from tests.support.same_runs import assert_same_runs, binary, checkpoint, same, small

QUIET = {"progress": False, "figures": False, "batch_size": 8, "compile": False}
PLAIN = {"lr_schedule": "constant", "kl_warmup": 0, "patience": None}
COVARIANCES = ("spherical", "diagonal", "full")


def fixed(components=3, dim=3, **given):
    prior = GaussianMixture(components, **given)
    prior.attach(dim)
    return prior


# ---------------------------------------------------------------- where components start


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("start", FROM_DATA)
def test_components_start_on_the_groups_that_are_there(start, covariance, float64):
    z, label = blobs()
    z = z.double()
    prior = fixed(covariance=covariance, start=start)
    assert prior.begin_epoch(0, lambda: z)
    assert not prior.begin_epoch(1, lambda: pytest.fail("once is enough"))
    mixture = prior.mixture()
    order = torch.cdist(mixture.component_distribution.mean, CENTRES.double()).argmin(0)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(mixture.mixture_distribution.probs[order], torch.tensor([0.5, 0.25, 0.25]))
    for k, component in enumerate(order.tolist()):
        own = z[label == k]
        found = mixture.component_distribution.mean[component]
        torch.testing.assert_close(found, own.mean(0), atol=1e-4, rtol=0)
        variance = own.var(0, correction=0) if covariance != "spherical" else own.var(0, correction=0).mean()
        found = mixture.component_distribution.variance[component]
        torch.testing.assert_close(found, variance.expand(3), atol=0.02, rtol=0.02)
    twin = fixed(covariance=covariance, start=start)
    twin.begin_epoch(0, lambda: z)
    assert all(map(torch.equal, prior.parameters(), twin.parameters()))


def test_a_graph_finds_groups_that_are_no_balls():
    """Two long parallel strips: k-means cuts across them, neighbours go along them."""
    rng = torch.Generator().manual_seed(0)
    along = 6 * torch.rand(400, generator=rng)
    label = torch.arange(400) % 2
    z = torch.stack([along, 2.0 * label + 0.1 * torch.randn(400, generator=rng)], -1)
    for start, right in (("graph", True), ("kmeans", False), ("fit", False)):
        found = from_encodings(start, z, 2)
        assert bool((found.loc[:, 1].sort().values - torch.tensor([0.0, 2.0])).abs().max() < 0.3) == right


@pytest.mark.parametrize("start", FROM_DATA)
def test_a_start_takes_what_data_there_are(start):
    for z, components in ((torch.randn(5, 2), 5), (torch.randn(40, 1), 7), (torch.zeros(9, 2), 1)):
        prior = fixed(components, z.shape[1], start=start, covariance="full")
        prior.begin_epoch(0, lambda z=z: z)
        assert prior().log_prob(z).isfinite().all()
    few = torch.randn(4, 2).repeat(10, 1)
    raises_one_sentence(lambda: from_encodings(start, few, 5), "4 different encodings", "5 components")


@pytest.mark.parametrize("explicit", [False, True])
def test_before_its_start_a_prior_is_the_standard_normal_and_learns_nothing(explicit, float64):
    for covariance in COVARIANCES:
        prior = GaussianMixture(
            3, covariance, "kmeans", start_epoch=2, explicit=explicit, floor=0.1, prune=0.1 * explicit
        )
        vae = small(prior=prior, context_shape=None if explicit else (2,))
        with torch.no_grad():
            for p in vae.prior.parameters():
                p.normal_()
        z, given = torch.randn(50, 2), (binary(6).double(), *(() if explicit else (torch.randn(6, 2),)))
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        torch.testing.assert_close(vae.prior().log_prob(z), normal)
        ELBO().differentiable_loss(vae.model, vae.guide, *given).backward()
        assert all(p.grad is None or p.grad.abs().max() < 1e-12 for p in vae.prior.parameters())
        assert not vae.begin_epoch(1, lambda: pytest.fail("it waits"))
        assert vae.begin_epoch(2, lambda given=given: pv.Rows(*given))
        assert (vae.prior().log_prob(z) - normal).abs().max() > 0.1


def test_the_top_of_a_hierarchy_starts_from_its_own_layer(float64):
    z = torch.cat([torch.randn(120, 2), blobs()[0]], -1)
    prior = Hierarchical((3,), (4,), top=GaussianMixture(3, start="kmeans"))
    prior.attach(2)
    assert prior.begin_epoch(0, lambda: z.double())
    means = prior.highest.mixture().component_distribution.mean
    assert torch.cdist(CENTRES.double(), means).min(0).values.max() < 0.2
    assert prior.mixture() is None


# ---------------------------------------------------------------- in a run


def late(start="kmeans", **more):
    return small(prior=GaussianMixture(3, start=start, start_epoch=2, **more))


@pytest.mark.parametrize("crashes", [(8, 10), (11, 16)], ids=["before and at", "after"])
def test_a_run_crosses_its_start_like_one_that_never_stopped(crashes, tmp_path):
    data, settings = (
        pv.datasets.load(binary(58), validation=10, test=10),
        {"checkpoint_seconds": 0, "epochs": 4},
    )
    for start, prune in (("kmeans", 0.0), ("fit", 0.05)):
        make, folder = (lambda start=start, prune=prune: late(start, prune=prune)), tmp_path / start
        run = pv.fit(make(), data, out=folder / "whole", **QUIET | settings)
        fit_in_pieces(make, data, folder / "pieces", crashes, **QUIET | settings)
        assert_same_runs(folder / "whole", folder / "pieces")
        assert run.program.prior.begun


def test_the_best_weights_are_never_from_before_the_start(tmp_path):
    """A prior that starts badly: earlier bounds were higher, and are of another program."""
    data = pv.datasets.load(binary(58), validation=10, test=10)
    vae, begin = late(), GaussianMixture.begin_epoch

    def badly(prior, *given):
        began = begin(prior, *given)
        if began:
            with torch.no_grad():
                prior.loc.add_(30.0)
        return began

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GaussianMixture, "begin_epoch", badly)
        run = pv.fit(vae, data, out=tmp_path, **QUIET | {"epochs": 4, "lr": 1e-5})
    validation = run.history["validation"]
    assert validation[1] > validation[3] + 10
    assert run.best_epoch > 2
    assert checkpoint(tmp_path, "best")["weights"]["prior.begun"]


def test_patience_waits_for_the_start():
    """A bound that no longer rises before the components are there ends nothing."""
    data = pv.datasets.load(binary(58), validation=10, test=10)
    run = pv.fit(
        small(prior=GaussianMixture(3, start="kmeans", start_epoch=6)),
        data,
        patience=2,
        epochs=9,
        lr=1e-9,
        **QUIET,
    )
    assert run.program.prior.begun
    assert len(run.history["epoch"]) >= 7


def test_a_run_that_ends_before_the_start_is_refused(tmp_path):
    raises_one_sentence(
        lambda: pv.fit(late(), binary(58), out=tmp_path / "r", **QUIET | {"epochs": 2}),
        "start_epoch",
        "2 epochs",
    )
    assert not (tmp_path / "r").exists()


CAPTURED = {
    "start": lambda: (late(), ELBO()),
    "prune": lambda: (late("graph", prune=0.3, covariance="full", explicit=True), IWAE(2)),
    "balanced": lambda: (late("fit", floor=0.2), Balanced(5.0, 3, start=2)),
    "gmvae": lambda: (
        small(prior=GaussianMixture(3, explicit=True), guide=MixtureGuide(3, explicit=True)),
        ELBO(),
    ),
    "m2": lambda: (small(prior=Classes(3), guide=ClassGuide(3)), Balanced(2.0, 2)),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_the_captured_run_is_the_eager_one(name, monkeypatch, float64):
    code, data = interpreted(monkeypatch), pv.datasets.load(binary(58), validation=10, test=10)
    alike(lambda: CAPTURED[name]()[0].double(), data, CAPTURED[name]()[1], apart=1e-8, epochs=4)
    assert code.calls == 4 * 4 - 1


def started(out):
    """A run in which the processes find clusters that differ a little, as sums in another order do."""
    data = pv.datasets.load(binary(58), validation=10, test=10)

    def found(*given):
        moments = from_encodings(*given)
        return moments._replace(loc=moments.loc + 1e-3 * sharing.rank())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrovae.priors.mixture.from_encodings", found)
        run = pv.fit(late("kmeans", prune=0.05), data, out=out, **QUIET | {"epochs": 4})
    return run.program.state_dict(), run.best_epoch


def test_two_processes_start_alike(pair, tmp_path):
    (one, best), (two, too) = pair(started, tmp_path / "r")
    assert same(one, two)
    assert best == too > 2
    assert one["prior.begun"]
    assert checkpoint(tmp_path / "r")["weights"].keys() == one.keys()


# ---------------------------------------------------------------- put


@pytest.mark.parametrize("floor", [0.0, 0.4])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_what_is_put_is_what_is_there(covariance, floor):
    rng = torch.Generator().manual_seed(1)
    factor = torch.randn(3, 4, 4, generator=rng).tril() + torch.eye(4)
    sigma = factor @ factor.mT + 0.1 * torch.eye(4)
    weights, loc = torch.tensor([0.5, 0.3, 0.2]), 5 * torch.randn(3, 4, generator=rng)
    kept = {
        "full": sigma,
        "diagonal": sigma.diagonal(dim1=1, dim2=2).diag_embed(),
        "spherical": sigma.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None] * torch.eye(4),
    }
    prior = fixed(3, 4, covariance=covariance, floor=floor, start="kmeans", prune=0.1)
    prior.alive[1] = False
    prior.put(3 * weights, loc, sigma)
    mixture = prior.mixture()
    parts = mixture.component_distribution
    found = parts.covariance_matrix if covariance == "full" else parts.variance.diag_embed()
    torch.testing.assert_close(mixture.mixture_distribution.probs, weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(parts.mean, loc)
    torch.testing.assert_close(
        found, kept[covariance], rtol=1e-6 if covariance != "full" else 1e-5, atol=1e-5
    )
    assert prior.alive.all()
    assert prior.begun


def test_what_is_no_mixture_is_not_put():
    prior, eye = fixed(3, 2), torch.eye(2).expand(3, 2, 2)
    good = (torch.ones(3) / 3, torch.zeros(3, 2), eye)
    before = [p.detach().clone() for p in prior.parameters()]
    for at, value, word in (
        (0, torch.ones(2), "weights"),
        (0, torch.ones(1), "weights"),
        (0, torch.tensor([1.0, -0.5, 0.5]), "weights"),
        (0, torch.zeros(3), "weights"),
        (0, torch.tensor([1.0, math.nan, 1.0]), "weights"),
        (1, torch.zeros(2, 2), "(2, 2)"),
        (1, torch.full((3, 2), math.inf), "finite"),
        (2, torch.eye(2), "covariances"),
        (2, -eye, "positive definite"),
        (2, math.nan * eye, "positive definite"),
    ):
        given = list(good)
        given[at] = value
        raises_one_sentence(lambda given=given: prior.put(*given), word)
    assert all(map(torch.equal, before, prior.parameters()))


# ---------------------------------------------------------------- floor, prune


def test_no_weight_is_below_the_floor():
    for floor, prune in itertools.product((0.2, 0.9), (0.0, 0.01)):
        prior = fixed(5, 2, floor=floor, prune=prune)
        with torch.no_grad():
            prior.logits.copy_(torch.tensor([30.0, 0.0, -5.0, -30.0, -80.0]))
        probs = prior.mixture().mixture_distribution.probs
        assert abs(probs.sum() - 1) < 1e-6
        assert (probs >= floor / 5 - 1e-7).all()
        probs.sum().backward()
        prior.mixture().mixture_distribution.logits.sum().backward()
        assert prior.logits.grad.isfinite().all()
        if prune:
            prior.alive[:2] = False
            probs = prior.mixture().mixture_distribution.probs
            assert (probs[:2] == 0).all()
            assert abs(probs.sum() - 1) < 1e-6
            assert (probs[2:] >= floor / 5 - 1e-7).all()


def test_a_component_without_data_is_switched_off_and_stays_off():
    z = blobs()[0]
    prior = fixed(4, 3, start="kmeans", prune=0.02)
    loc = torch.cat([CENTRES, torch.full((1, 3), 40.0)])
    prior.put(torch.tensor([0.5, 0.25, 0.245, 0.005]), loc, 0.2 * torch.eye(3).expand(4, 3, 3))
    before = prior().log_prob(z)
    assert not prior.begin_epoch(0, lambda: pytest.fail("a run begins with what it was given"))
    assert prior.begin_epoch(1, lambda: z)
    assert prior.alive.tolist() == [True, True, True, False]
    after = prior().log_prob(z)
    assert ((after - before > 0) & (after - before < 0.006)).all()
    with torch.no_grad():
        prior.logits[3] = 50.0
    assert not prior.begin_epoch(2, lambda: z)
    assert prior.mixture().mixture_distribution.probs[3] == 0
    torch.testing.assert_close(prior().log_prob(z).detach(), after.detach())
    for explicit in (False, True):
        vae = small(latent_dim=3, prior=GaussianMixture(4, prune=0.1, explicit=explicit))
        vae.prior.alive[3] = False
        ELBO().differentiable_loss(vae.model, vae.guide, binary(5)).backward()
        assert all(p.grad.isfinite().all() for p in vae.parameters())
        assert not vae.prior.logits.grad[3].any()
        assert not vae.prior.loc.grad[3].any()


def test_never_are_all_components_switched_off():
    z = torch.randn(60, 2)
    prior = fixed(30, 2, prune=0.033)
    for _ in range(4):
        prior.begin_epoch(1, lambda: z)
        assert prior.alive.any()
        assert prior().log_prob(z).isfinite().all()
    assert prior.alive.sum() < 30


# ---------------------------------------------------------------- Balanced


def test_the_reward_falls_by_the_epoch_and_is_the_entropy(float64):
    objective = Balanced(8.0, epochs=4, start=2)
    weights = []
    for epoch in range(8):
        objective.begin_epoch(epoch)
        weights.append(float(objective.now))
    assert weights == [0, 0, 8, 6, 4, 2, 0, 0]
    vae = perturb(small(prior=GaussianMixture(3)).double())
    x = binary(10).double()
    traces = Runner(vae).check(pv.Rows(x)).run(pv.Rows(x), particles=2)
    assert torch.equal(objective.ascended(traces), ELBO(2).ascended(traces))
    objective.begin_epoch(3)
    parts = vae.prior.mixture()
    z = traces.guide.nodes["z"]["value"].unsqueeze(-2)
    q = (parts.component_distribution.log_prob(z) + vae.prior.logits).softmax(-1).mean((0, 1))
    torch.testing.assert_close(
        objective.ascended(traces) - ELBO(2).ascended(traces), -6 * (q * q.log()).sum().expand(10)
    )
    assert torch.equal(objective.bound(traces.terms()), ELBO(2).bound(traces.terms()))


def test_the_reward_keeps_components_that_the_elbo_gives_up():
    """One component begins among the data, the others far away."""
    data, used = pv.datasets.load(binary(200), validation=20, test=20), {}
    for name, objective in (("ELBO", ELBO()), ("Balanced", Balanced(30.0, 8)), ("none", Balanced(0.0, 8))):
        vae = small(prior=GaussianMixture(4))
        vae.prior.put(
            torch.ones(4), torch.tensor([[0.0, 0], [7, 0], [0, 7], [-7, 0]]), torch.eye(2).expand(4, 2, 2)
        )
        torch.manual_seed(0)
        pv.fit(vae, data, objective, epochs=12, lr=5e-3, **QUIET | {"batch_size": 32} | PLAIN)
        share = vae.responsibilities(data.test, particles=20).mean((0, 1)).detach()
        used[name] = float((-(share * share.clamp_min(1e-9).log()).sum()).exp())
        if name == "ELBO":
            plain = vae.state_dict()
    assert used["ELBO"] < 1.2
    assert used["Balanced"] > 2
    assert same(plain, vae.state_dict())  # a weight of zero is the ELBO
