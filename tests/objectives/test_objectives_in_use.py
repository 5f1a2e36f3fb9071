"""What becomes of an objective in use: Pyro's own, Pyro's SVI, what is refused, and the captured step."""

import copy
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer

import pyrovae as pv
from pyrovae.guides import FullRankNormal, GaussianMixture
from pyrovae.objectives import (
    CIWAE,
    DIP,
    ELBO,
    IWAE,
    MIWAE,
    MMD,
    PIWAE,
    Balanced,
    BetaTC,
    DReG,
    Factor,
    JensenShannon,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    StickingTheLanding,
    as_objective,
)
from tests.support.captured import QUIET, alike, interpreted
from tests.support.parts import OBJECTIVES, data_for, each, prior_for, raises_one_sentence, small_vae
from tests.support.same_runs import binary, same, small, untimed

pytestmark = pytest.mark.usefixtures("float64")


# ---------------------------------------------------------------- Pyro's


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (infer.Trace_ELBO(), ELBO()),
        (infer.Trace_ELBO(num_particles=4), ELBO(4)),
        (infer.JitTrace_ELBO(num_particles=2), ELBO(2)),
        (infer.TraceEnum_ELBO(num_particles=3), ELBO(3)),
        (infer.TraceMeanField_ELBO(num_particles=2), ELBO(2, analytic_kl=True)),
        (infer.RenyiELBO(alpha=0, num_particles=5), IWAE(5)),
        (infer.RenyiELBO(alpha=0.5, num_particles=5), Renyi(0.5, 5)),
        (infer.TraceGraph_ELBO(num_particles=6), ScoreFunction(6)),
        (infer.TraceGraph_ELBO(), ScoreFunction(2)),
        (IWAE(7), IWAE(7)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_pyros_objectives_are_read(given, expected):
    assert as_objective(given) == expected


class Own(infer.Trace_ELBO):
    """Somebody's own, which may do anything."""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (infer.ReweightedWakeSleep(), ["one weight for the whole batch", "ReweightedWakeSleep()"]),
        (object.__new__(infer.Trace_MMD), ["InfoVAE", "MMD()"]),
        (infer.TraceTailAdaptive_ELBO(), ["ranks", "IWAE()"]),
        (infer.EnergyDistance(), ["no likelihood", "ELBO()"]),
        (infer.RenyiELBO(alpha=-1.0), ["alpha must", "0 or more"]),
        (Own(), ["Objective", "ELBO()"]),
        (type("Trace_ELBO", (infer.Trace_ELBO,), {})(), ["Objective", "ELBO()"]),
        (ELBO, ["Objective"]),
        ("ELBO", ["Objective"]),
    ],
    ids=lambda v: getattr(v, "__name__", type(v).__name__),
)
def test_what_is_wrong_for_a_batch_is_refused_with_the_reason(given, words):
    raises_one_sentence(lambda: as_objective(given), *words)


@pytest.mark.parametrize(
    ("ours", "pyros"),
    [
        (ELBO(analytic_kl=True), infer.TraceMeanField_ELBO()),
        (Renyi(0.5, 4), infer.RenyiELBO(0.5, num_particles=4, vectorize_particles=True, max_plate_nesting=1)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_the_loss_and_gradient_are_pyros(ours, pyros):
    vae, found = small_vae(), []
    (x,) = data_for(vae, 6)
    for objective, rows in ((pyros, 6), (ours, 1)):
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        vae.zero_grad()
        loss = objective.loss_and_grads(vae.model, vae.guide, x) / rows
        found.append((loss, [p.grad / rows for p in vae.parameters()]))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-10)
    for mine, theirs in zip(found[1][1], found[0][1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


def test_a_run_with_pyros_elbo_is_the_run_with_ours():
    torch.set_default_dtype(torch.float32)
    one, other = (pv.fit(small(), binary(), o, **QUIET) for o in (infer.Trace_ELBO(), ELBO()))
    assert same(one.program.state_dict(), other.program.state_dict())
    assert untimed(one.history) == untimed(other.history)


def test_svi_trains_the_classifier_of_factor_too():
    vae, objective = small_vae(), Factor(layers=(8,))
    (x,) = data_for(vae, 12)
    svi = infer.SVI(vae.model, vae.guide, pyro.optim.SGD({"lr": 0.01}), objective)
    raises_one_sentence(lambda: svi.step(x), "begin(rows, program)")
    objective.begin(12, vae)
    before = copy.deepcopy(objective.state_dict())
    assert math.isfinite(svi.step(x))
    assert all((before[name] != p).any() for name, p in objective.named_parameters())


def test_a_new_pair_is_checked_and_measured_again():
    """An objective that has seen one program refuses another one that it cannot train."""
    torch.set_default_dtype(torch.float32)
    objective, x = ELBO(), torch.zeros(4, 5)
    first = small_vae((5,), guide=GaussianMixture(3))
    objective.loss_and_grads(first.model, first.guide, x)
    model, guide = discrete()
    raises_one_sentence(lambda: objective.loss_and_grads(model, guide, torch.randn(4)), "'z'", "Bernoulli")
    raises_one_sentence(lambda: objective.loss_and_grads(model, guide, torch.randn(4)), "'z'", "Bernoulli")
    second = small_vae((5,))
    assert objective._pair(second.model, second.guide, (x,), {}).shape == (1, 4)
    assert objective._pair(first.model, first.guide, (x,), {}).shape == (3, 4)


def test_beta_tc_needs_the_number_of_rows_outside_fit():
    vae, objective = small_vae(), BetaTC()
    (x,) = data_for(vae, 6)
    raises_one_sentence(lambda: objective.loss(vae.model, vae.guide, x), "number of training rows", "begin")
    objective.begin(6, vae)
    of_six = objective.loss(vae.model, vae.guide, x)
    objective.begin(600, vae)
    assert of_six != objective.loss(vae.model, vae.guide, x)


def test_a_reward_that_starts_before_the_components_is_refused():
    vae = small(prior=pv.priors.GaussianMixture(3, start="kmeans", start_epoch=4))
    raises_one_sentence(lambda: Balanced(start=3).begin(40, vae), "before the prior", "start=4")
    Balanced(start=4).begin(40, vae)
    raises_one_sentence(
        lambda: pv.fit(vae, binary(), Balanced(), **QUIET | {"epochs": 6}), "before the prior", "start=4"
    )


# ---------------------------------------------------------------- refusals


def fitted(objective, **parts):
    return lambda: pv.fit(small(**parts), binary(), objective, **QUIET)


def discrete():
    """A pair whose guide draws a coin, from a distribution without strata."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((), 0.5)))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        logit = pyro.param("logit", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logit))

    return model, guide


def two_sites():
    def model(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(torch.zeros(()), 1.0))
            z = pyro.sample("z", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("u", dist.Normal(loc, 1.0))
            pyro.sample("z", dist.Normal(x, 1.0))

    return model, guide


@pytest.mark.parametrize("objective", [ELBO(), IWAE(), DReG(), StickingTheLanding(), PIWAE()], ids=repr)
def test_a_path_through_a_discrete_draw_is_refused(objective):
    said = ["'z'", "Bernoulli", "ScoreFunction"]
    raises_one_sentence(lambda: pv.fit(discrete(), torch.randn(40), objective, **QUIET), *said)


@pytest.mark.parametrize(
    "objective", [ScoreFunction(), ReweightedWakeSleep(), ReweightedWakeSleep(5, 0.9)], ids=repr
)
def test_what_needs_no_path_trains_a_discrete_guide(objective):
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)
    pv.fit(discrete(), 1 + torch.randn(400), objective, **QUIET | {"lr": 0.05})
    assert pyro.param("logit") > 0.15  # the coin shows its head


@pytest.mark.parametrize(
    "objective",
    [BetaTC(), DIP(), MMD(), Factor(), JensenShannon(), ELBO(analytic_kl=True), ELBO(free_bits=0.1)],
    ids=repr,
)
def test_what_needs_one_vector_of_latents_says_so(objective, tmp_path):
    raises_one_sentence(
        lambda: pv.fit(two_sites(), torch.randn(40), objective, out=tmp_path / "run", **QUIET),
        "one latent vector z",
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            fitted(ELBO(analytic_kl=True), prior=pv.priors.GaussianMixture(2)),
            ["no formula", "leave analytic_kl out"],
        ),
        (
            fitted(JensenShannon(), prior=pv.priors.GaussianMixture(2)),
            ["independent latents", "StandardNormal"],
        ),
        (fitted(JensenShannon(), guide=FullRankNormal()), ["independent latents", "DiagonalNormal"]),
        (fitted(BetaTC(), guide=FullRankNormal()), ["independent latents", "DiagonalNormal"]),
        (fitted(BetaTC(), guide=GaussianMixture(2)), ["independent latents", "DiagonalNormal"]),
        (fitted(DIP("II"), guide=GaussianMixture(2)), ["mean and covariance", "FullRankNormal"]),
        (lambda: PIWAE(3, 16), ["multiple", "16 particles in 3 groups"]),
        (lambda: MIWAE(5, 4), ["multiple"]),
        (lambda: ScoreFunction(1), ["2 or more particles", "baseline='batch'"]),
        (lambda: ScoreFunction(4, "mean"), ["baseline", "'particles', 'batch' or 'none'"]),
        (lambda: IWAE(0), ["particles", "whole number"]),
        (lambda: IWAE(True), ["particles", "whole number"]),
        (lambda: IWAE("many"), ["particles", "whole number"]),
        (lambda: IWAE(math.inf), ["particles", "whole number"]),
        (lambda: ELBO(beta=-1.0), ["beta must", "0 or more"]),
        (lambda: ELBO(beta=math.nan), ["beta must", "0 or more"]),
        (lambda: ELBO(free_bits="a"), ["free_bits must", "0 or more"]),
        (lambda: Renyi(-0.5), ["alpha must", "0 or more"]),
        (lambda: CIWAE(4, 1.5), ["beta must", "from 0 to 1"]),
        (lambda: JensenShannon(2.0), ["alpha must", "from 0 to 1"]),
        (lambda: ReweightedWakeSleep(5, -0.1), ["insomnia must", "from 0 to 1"]),
        (lambda: DIP("III"), ["'I' or 'II'"]),
        (lambda: MMD(0.1, 0.2), ["alpha + lambda_"]),
        (lambda: MMD(bandwidth=0.0), ["bandwidth must", "above 0"]),
        (lambda: Factor(layers=(8, 0)), ["layers", "whole number"]),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_sentence(call, words):
    raises_one_sentence(call, *words)


def test_a_mean_is_enough_for_the_first_kind_of_dip():
    run = pv.fit(small(guide=GaussianMixture(2)), binary(), DIP("I"), **QUIET)
    assert np.isfinite(run.history["train"]).all()


@each("objective", [o for o in OBJECTIVES if not o.anneals])
def test_a_warmup_without_a_divergence_is_refused(objective):
    said = [type(objective).__name__, "kl_warmup"]
    raises_one_sentence(lambda: pv.fit(small(), binary(), objective, kl_warmup=2.0, **QUIET), *said)


def test_a_sleep_phase_needs_what_the_guide_reads(tmp_path):
    objective = ReweightedWakeSleep(2, 0.5)
    said = ["one observed site", "insomnia=1"]
    _, guide = two_sites()

    def model(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(torch.zeros(()), 1.0))
            z = pyro.sample("z", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Normal(z, 1.0), obs=x)

    out = tmp_path / "run"
    raises_one_sentence(lambda: pv.fit((model, guide), torch.randn(40), objective, out=out, **QUIET), *said)
    assert not out.exists()


# ---------------------------------------------------------------- the captured step


@each("objective", OBJECTIVES)
def test_the_captured_step_is_the_eager_one(objective, monkeypatch):
    code = interpreted(monkeypatch)
    prior = prior_for(objective)
    labelled = torch.utils.data.TensorDataset(binary(58), torch.arange(58) % 3)
    labels = {"known": 9} if prior is not None and prior.labels else {}
    data = pv.datasets.load(labelled, validation=10, test=10, **labels)
    warmup = 2.0 if objective.anneals else 0.0
    alike(lambda: small(prior=prior).double(), data, objective, apart=1e-9, kl_warmup=warmup)
    assert code.calls == 3 * 4 - 1
