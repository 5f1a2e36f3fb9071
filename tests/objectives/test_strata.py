"""Stratified draws: each component of a mixture, each state of a discrete guide, in turn.

They give the same expectations as plain draws, and for point strata without any noise. Seeds are fixed.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyrovae as pv
from pyrovae.datasets import Rows
from pyrovae.distributions import DiagonalMixture, OneHots
from pyrovae.errors import InputError
from pyrovae.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    Objective,
    Renyi,
    ScoreFunction,
    StickingTheLanding,
)
from pyrovae.terms import Runner
from tests.support.curved_line import OBSERVED, ROWS, SIGMAS, Line, S, agrees, ascended, log_n
from tests.support.parts import raises_one_sentence

pytestmark = pytest.mark.usefixtures("float64")


class Strata:
    """A program whose guide has strata; its leaves are the guide's parameters and w."""

    def __init__(self, rows: int, **start: Tensor) -> None:
        self.leaf = {n: v.expand(rows, *v.shape).clone().requires_grad_() for n, v in start.items()}
        self.x = torch.full((rows, 1), OBSERVED)

    def run(self, objective: Objective, *, stratified: bool, particles: int, seed: int = 0):
        return ascended(self, objective, seed=seed, particles=particles, stratified=stratified)


class Mixture(Strata):
    """z ~ N(0, 1), x | z ~ N(w z^2, S): two modes, and a mixture of three as guide."""

    def __init__(self, rows: int, **start: Tensor) -> None:
        usual = {
            "w": torch.tensor([0.8]),
            "logits": torch.tensor([0.4, -0.3, 0.1]),
            "loc": torch.tensor([[-1.2], [0.3], [1.0]]),
            "raw": torch.tensor([[-0.7], [-0.2], [-0.5]]),
        }
        super().__init__(rows, **(usual | start))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.leaf["w"] * z**2, S).to_event(1), obs=x)

    def guide(self, x):
        mixture = DiagonalMixture(self.leaf["logits"], self.leaf["loc"], self.leaf["raw"].exp())
        with pyro.plate("data", len(x)):
            pyro.sample("z", mixture)

    def elbo(self) -> tuple[Tensor, dict[str, Tensor]]:
        """By quadrature along the line."""
        p = {n: leaf[0].detach().clone().requires_grad_() for n, leaf in self.leaf.items()}
        z = torch.linspace(-12, 12, 12_001)
        log_pi = torch.log_softmax(p["logits"], 0)[:, None]
        log_q = torch.logsumexp(log_pi + log_n(z, p["loc"], p["raw"].exp()), 0)
        log_w = log_n(z, 0.0, 1.0) + log_n(torch.tensor(OBSERVED), p["w"] * z**2, S) - log_q
        total = (log_q.exp() * log_w).sum() * (z[1] - z[0])
        grads = torch.autograd.grad(total, list(p.values()))
        return total.detach(), dict(zip(p, grads, strict=True))


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("objective", [ELBO(), StickingTheLanding()], ids=repr)
def test_a_mixture_guide_has_the_gradient_of_its_expectation(objective, stratified):
    program = Mixture(ROWS)
    value, exact = program.elbo()
    found, grads = program.run(objective, stratified=stratified, particles=3)
    agrees(found, value)
    for name, rows in grads.items():
        agrees(rows, exact[name].flatten())


def test_strata_lower_the_variance():
    """Equal weights, and narrow components of which the outer two miss the posterior, here the prior."""
    loc, raw = torch.tensor([[-2.0], [0.0], [2.0]]), torch.full((3, 1), -2.0)
    program = Mixture(4000, w=torch.zeros(1), logits=torch.zeros(3), loc=loc, raw=raw)
    strata, plain = (program.run(ELBO(), stratified=how, particles=6)[0] for how in (True, False))
    error = (strata.var() + plain.var()).sqrt() / math.sqrt(4000)
    assert abs(strata.mean() - plain.mean()) < SIGMAS * error
    assert strata.std() < 0.7 * plain.std()


def test_a_stratified_bound_of_several_particles_stays_below_the_evidence():
    program = Mixture(4000)
    z = torch.linspace(-12, 12, 12_001)
    log_joint = log_n(z, 0.0, 1.0) + log_n(torch.tensor(OBSERVED), 0.8 * z**2, S)
    exact = (log_joint.exp().sum() * (z[1] - z[0])).log()
    found = [program.run(IWAE(), stratified=True, particles=k)[0] for k in (3, 6, 90)]
    means = torch.stack([bound.mean() for bound in found])
    assert (means.diff() > 0).all()
    assert (means < exact).all()
    assert exact - means[-1] < 0.01


class Classes(Strata):
    """Two one-hot variables of three classes; x | z ~ N(w . z, S)."""

    def __init__(self, rows: int) -> None:
        rng = torch.Generator().manual_seed(0)
        super().__init__(
            rows,
            w=torch.randn(6, generator=rng),
            logits=torch.randn(2, 3, generator=rng),
            prior=torch.zeros(2, 3),
        )

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", OneHots(self.leaf["prior"]))
            loc = (self.leaf["w"] * z).sum(-1, keepdim=True)
            pyro.sample("x", dist.Normal(loc, S).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", OneHots(self.leaf["logits"]))

    def exact(self, expectation: str) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum over all nine states, and its gradient."""
        p = {n: leaf[0].detach().clone().requires_grad_() for n, leaf in self.leaf.items()}
        first, second = torch.cartesian_prod(torch.arange(3), torch.arange(3)).unbind(-1)
        log_q, log_p = (
            torch.log_softmax(p[name], -1)[0, first] + torch.log_softmax(p[name], -1)[1, second]
            for name in ("logits", "prior")
        )
        joint = log_p + log_n(torch.tensor(OBSERVED), p["w"][first] + p["w"][3 + second], S)
        total = (log_q.exp() * (joint - log_q)).sum() if expectation == "elbo" else torch.logsumexp(joint, 0)
        grads = torch.autograd.grad(total, list(p.values()), allow_unused=True)
        return total.detach(), {
            n: torch.zeros_like(p[n]) if g is None else g for n, g in zip(p, grads, strict=True)
        }


@pytest.mark.parametrize(
    ("objective", "expectation"),
    [(ELBO(), "elbo"), (StickingTheLanding(), "elbo"), (IWAE(1), "log_px"), (CIWAE(1, 0.0), "log_px")],
    ids=repr,
)
@pytest.mark.parametrize("particles", [9, 18])
def test_all_states_of_a_discrete_guide_give_the_exact_value_and_gradient(objective, expectation, particles):
    program = Classes(4)
    value, exact = program.exact(expectation)
    found, grads = program.run(objective, stratified=True, particles=particles)
    torch.testing.assert_close(found, value.expand(4), rtol=0, atol=1e-12)
    for name, rows in grads.items():
        torch.testing.assert_close(rows, exact[name].flatten().expand_as(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize("objective", [ScoreFunction(2), ScoreFunction(2, "batch")], ids=repr)
def test_a_score_trains_a_discrete_guide_from_few_draws(objective):
    program = Classes(ROWS)
    value, exact = program.exact("elbo")
    found, grads = ascended(program, objective)
    agrees(found, value)
    for name, rows in grads.items():
        agrees(rows, exact[name].flatten())


def test_a_program_notes_its_strata_and_only_where_a_particle_has_one_draw():
    for program, strata in ((Classes(2), 9), (Mixture(2), 3), (Line(2), 1)):
        assert Runner((program.model, program.guide)).check(Rows(program.x)).strata == strata

    def model(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("own", 3, dim=-1):
            z = pyro.sample("z", OneHots(torch.zeros(1, 2)))
            pyro.sample("x", dist.Normal(z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2), pyro.plate("own", 3, dim=-1):
            pyro.sample("z", OneHots(torch.ones(1, 2)))

    rows = Rows(torch.zeros(4, 3))
    runner = Runner((model, guide)).check(rows)
    assert runner.strata == 1
    assert runner.run(rows, particles=2, stratified=True).terms().log_v is None


@pytest.mark.parametrize("objective", [ELBO(2), IWAE(1), StickingTheLanding(2)], ids=repr)
def test_pyros_protocol_draws_as_a_run_does(objective):
    """One place says how an objective draws: the loss of `SVI` is that of `fit`, for each pair in turn."""
    for program in (Mixture(2), Line(2), Classes(2), Mixture(2)):
        runner = Runner((program.model, program.guide)).check(Rows(program.x))
        options = objective.draw_options(runner.strata)
        assert options["particles"] == objective.particles * runner.strata
        if objective.is_exact_when_summed_out and runner.strata == 9:
            continue
        objective.loss(program.model, program.guide, program.x)
        pyro.set_rng_seed(3)
        expected = -objective.ascended(runner.run(Rows(program.x), **options)).mean()
        pyro.set_rng_seed(3)
        loss = objective.differentiable_loss(program.model, program.guide, program.x)
        assert loss.item() == expected.item()


def test_a_group_is_what_its_definition_says_with_a_guide_of_several_components():
    """With groups of one sample, MIWAE is the ELBO, and so is the encoder's gradient of PIWAE.

    Both took a sample from each component in each group, so MIWAE was close to log p(x), and the
    weights of the components had almost no gradient.
    """
    of_guide = ("logits", "loc", "raw")
    program = Mixture(ROWS)
    value, exact = program.elbo()
    for objective in (MIWAE(2, 2), PIWAE(2, 2)):
        options = objective.draw_options(3)
        assert (options["particles"], options["stratified"]) == (2, False)
        loss = objective.differentiable_loss(program.model, program.guide, program.x)
        leaves = [program.leaf[name] for name in of_guide]
        for name, gradient in zip(of_guide, torch.autograd.grad(loss, leaves), strict=True):
            agrees(-ROWS * gradient.flatten(1), exact[name].flatten())
        found, _ = program.run(objective, **{name: options[name] for name in ("particles", "stratified")})
        if isinstance(objective, MIWAE):
            agrees(found, value)


def test_groups_refuse_stratified_samples():
    program = Mixture(2)
    for objective in (MIWAE(2, 6), PIWAE(2, 6)):
        with pytest.raises(InputError, match="stratified=False"):
            program.run(objective, stratified=True, particles=6)


def test_a_stratified_bound_lies_between_that_of_plain_samples_and_the_evidence():
    program = Mixture(ROWS)
    for k in (1, 2, 5):
        bounds = [
            program.run(IWAE(k), stratified=how, particles=n)[0] for how, n in ((False, k), (True, 3 * k))
        ]
        plain, strata = (bound.mean() for bound in bounds)
        error = sum(bound.var() / ROWS for bound in bounds).sqrt()
        assert strata > plain + SIGMAS * error


def test_a_run_says_that_its_bound_is_stratified(capsys):
    data = torch.rand(40, 3)
    vae = pv.VAE((3,), latent_dim=1, likelihood=pv.likelihoods.Normal(), guide=pv.guides.GaussianMixture(3))
    for objective, said in ((IWAE(5), True), (CIWAE(5), True), (Renyi(0.5, 5), True), (ELBO(), False),
                            (MIWAE(2, 4), False)):  # fmt: skip
        pv.fit(vae, data, objective, epochs=1, figures=False, compile=False)
        text = capsys.readouterr().out
        assert ("15 stratified samples" in text) == said
        assert objective.note(1) == ""


@pytest.mark.parametrize("variables", [4, 32, 400])
def test_too_many_states_are_refused_with_an_objective_that_samples_them(variables):
    """10^4 states are more than the limit, and 10^32 more than an integer of 64 bits."""
    data = pv.datasets.load("digits", binarize="threshold", count=40)
    networks = {"encoder": pv.networks.MLP(4), "decoder": pv.networks.MLP(4)}
    parts = networks | {"prior": pv.priors.Categorical(), "guide": pv.guides.Categorical()}
    vae = pv.VAE(data.event_shape, variables, **parts)
    few = {"epochs": 1, "progress": False, "compile": False}
    raises_one_sentence(lambda: pv.fit(vae, data, **few), "more than 4096 states", "such as ScoreFunction")
    run = pv.fit(vae, data, pv.objectives.ScoreFunction(), **few)
    assert math.isfinite(run.history["validation"][0])
