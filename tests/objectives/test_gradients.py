r"""The gradient that an objective follows, against the gradient of its expectation.

    z ~ N(a, 1),   x | z ~ N(w z + BEND z^2, S^2),   q(z|x) = N(m + LEAN x, e^raw)

with separate parameters for each of many copies of one observation, so that one backward pass gives
the same number of independent gradients. Their mean is compared with quadrature over the samples,
differentiated by autograd.
Seeds are fixed; each comparison would fail by chance once in two million runs.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrovae.numerics import log_mean_exp
from pyrovae.objectives import (
    CIWAE,
    ELBO,
    IWAE,
    MIWAE,
    PIWAE,
    DReG,
    JensenShannon,
    Objective,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    StickingTheLanding,
)
from pyrovae.terms import Terms, run
from tests.support.curved_line import (
    BEND,
    GUIDE,
    LEAN,
    MODEL,
    OBSERVED,
    ROWS,
    SIGMAS,
    START,
    Line,
    S,
    agrees,
    ascended,
    log_n,
    nodes,
)

pytestmark = pytest.mark.usefixtures("float64")


# ---------------------------------------------------------------- the exact expectations


def at(p: dict[str, torch.Tensor], z: torch.Tensor) -> Terms:
    log_px_z = log_n(torch.tensor(OBSERVED), p["w"] * z + BEND * z**2, S)
    return Terms(log_px_z, log_n(z, p["a"], 1.0), log_n(z, p["m"] + LEAN * OBSERVED, p["raw"].exp()))


def elbo(live: Terms, apart: Terms) -> torch.Tensor:
    return live.log_w.mean(0)


def iwae(live: Terms, apart: Terms) -> torch.Tensor:
    return log_mean_exp(live.log_w, 0)


def wake(live: Terms, apart: Terms) -> torch.Tensor:
    """Its gradient is that of the wake phase."""
    return (torch.softmax(apart.log_w, 0).detach() * apart.log_qz).sum(0)


def weighing(beta: float) -> Callable:
    return lambda live, apart: (live.log_px_z - beta * (live.log_qz - live.log_pz)).mean(0)


def renyi(alpha: float) -> Callable:
    return lambda live, apart: log_mean_exp((1 - alpha) * live.log_w, 0) / (1 - alpha)


def both(beta: float) -> Callable:
    return lambda live, apart: beta * elbo(live, apart) + (1 - beta) * iwae(live, apart)


def exactly(expectation: Callable, kl_weight: float | None = None) -> tuple[Any, dict[str, torch.Tensor]]:
    """An expectation over two draws, and its gradient."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in START.items()}
    e, weight = nodes(2)
    z = p["m"] + LEAN * OBSERVED + p["raw"].exp() * e
    live = at(p, z)
    value = expectation(live, at(p, z.detach()))
    if kl_weight is not None:
        value = kl_weight * value + (1 - kl_weight) * live.log_px_z.mean(0)
    total = (weight * value).sum()
    grads = torch.autograd.grad(total, list(p.values()), allow_unused=True)
    found = zip(p, grads, strict=True)
    return total.detach(), {name: torch.zeros(()) if g is None else g for name, g in found}


class Case(NamedTuple):
    """An objective, and what its gradients are those of: for the model, and for the guide if another."""

    objective: Objective
    model: Callable
    guide: Callable | None = None


CASES = [
    Case(ELBO(), elbo),
    Case(ELBO(2), elbo),
    Case(ELBO(beta=0.3), weighing(0.3)),
    Case(ELBO(2, beta=0.3, analytic_kl=True), weighing(0.3)),
    Case(StickingTheLanding(), elbo),
    Case(StickingTheLanding(3), elbo),
    Case(ScoreFunction(3, "particles"), elbo),
    Case(ScoreFunction(1, "batch"), elbo),
    Case(ScoreFunction(2, "batch"), elbo),
    Case(ScoreFunction(2, "none"), elbo),
    Case(IWAE(2), iwae),
    Case(DReG(2), iwae),
    Case(DReG(1), elbo),
    Case(Renyi(0.5, 2), renyi(0.5)),
    Case(Renyi(2.0, 2), renyi(2.0)),
    Case(MIWAE(2, 4), iwae),
    Case(PIWAE(2, 2), iwae, elbo),
    Case(CIWAE(2, 0.3), both(0.3)),
    Case(ReweightedWakeSleep(2), iwae, wake),
]
WEIGHED = [(case, c) for case in CASES for c in (None, 0.6) if c is None or case.objective.anneals]


@pytest.mark.parametrize(("case", "kl_weight"), WEIGHED, ids=lambda v: repr(getattr(v, "objective", v)))
def test_the_gradient_is_that_of_the_expectation(case, kl_weight):
    found, grads = ascended(Line(ROWS), case.objective, kl_weight)
    value, of_model = exactly(case.model, kl_weight)
    of_guide = exactly(case.guide or case.model, kl_weight)[1]
    agrees(found, value)
    for name, rows in grads.items():
        exact = (of_model if name in MODEL else of_guide)[name]
        assert abs(exact) > 0.1, "a gradient of zero would hide a mistake"
        agrees(rows[:, 0], exact)


@pytest.mark.parametrize("kl_weight", [None, 0.6])
def test_the_gradient_of_a_jensen_shannon_divergence_from_the_prior(kl_weight):
    """For skew 1 it is KL(p || q), whose gradient is the score's under the prior."""

    def reverse(live, apart):
        return live.log_px_z.mean(0)

    value, exact = exactly(reverse)
    p = {name: torch.tensor(v, requires_grad=True) for name, v in START.items()}
    q = torch.distributions.Normal(p["m"] + LEAN * OBSERVED, p["raw"].exp())
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(p["a"], 1.0), q)
    of_kl = torch.autograd.grad(kl, list(p.values()), allow_unused=True)
    c = 1.0 if kl_weight is None else kl_weight
    found, grads = ascended(Line(ROWS), JensenShannon(1.0), kl_weight)
    agrees(found, value - c * kl.detach())
    for name, g in zip(p, of_kl, strict=True):
        agrees(grads[name][:, 0], exact[name] - (0.0 if g is None else c * g))


def expected_dream() -> dict[str, torch.Tensor]:
    """The gradient of E_p(x,z)[log q(z|x)] for the guide."""
    p = {name: torch.tensor(START[name], requires_grad=True) for name in GUIDE}
    (e, noise), weight = nodes(2)
    z = START["a"] + e
    x = START["w"] * z + BEND * z**2 + S * noise
    value = (weight * log_n(z, p["m"] + LEAN * x, p["raw"].exp())).sum()
    return dict(zip(p, torch.autograd.grad(value, list(p.values())), strict=True))


@pytest.mark.parametrize("insomnia", [0.0, 0.3])
def test_the_sleep_phase_learns_from_what_the_model_draws(insomnia):
    found, grads = ascended(Line(ROWS), ReweightedWakeSleep(2, insomnia))
    value, of_model = exactly(iwae)
    awake, asleep = exactly(wake)[1], expected_dream()
    agrees(found, value)
    for name in MODEL:
        agrees(grads[name][:, 0], of_model[name])
    for name in GUIDE:
        agrees(grads[name][:, 0], insomnia * awake[name] + (1 - insomnia) * asleep[name])


def test_a_dream_keeps_a_row_with_its_context():
    """Contexts are ten apart and densities narrow, each with its own width: another order would show."""
    x, c = torch.zeros(5, 1), 10.0 * torch.arange(5).unsqueeze(-1)

    def model(x, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(c, 0.1).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.1).to_event(1), obs=x)

    def guide(x, c):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + c) / 2, 0.1 * (1 + c)).to_event(1))

    found = run(model, guide, x, c, particles=3, draws="detached").dreamt()
    peak = log_n(0.0, 0.0, 0.1 * (1 + c.squeeze(-1)))
    assert found.shape == (3, 5)
    assert (found <= peak).all()
    assert (found > peak - 20).all()


# ---------------------------------------------------------------- the same draws, other gradients


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        (StickingTheLanding(3), ELBO(3), MODEL),
        (DReG(4), IWAE(4), MODEL),
        (PIWAE(2, 4), IWAE(4), MODEL),
        (PIWAE(2, 4), MIWAE(2, 4), GUIDE),
        (PIWAE(1, 4), IWAE(4), GUIDE),
        (ReweightedWakeSleep(4), IWAE(4), MODEL),
        (ScoreFunction(4), ELBO(4), MODEL),
    ],
    ids=repr,
)
def test_gradients_that_are_equal_for_the_same_draws(one, other, names):
    first, second = ascended(Line(50), one)[1], ascended(Line(50), other)[1]
    for name in names:
        torch.testing.assert_close(first[name], second[name], rtol=1e-11, atol=1e-12)
    for name in {*MODEL, *GUIDE} - {*names}:
        assert (first[name] - second[name]).abs().max() > 1e-3 or one.groups == 1


# ---------------------------------------------------------------- variances


def exact_guide() -> dict[str, float]:
    """Where the guide is the posterior of the program without a bend."""
    precision = 1 + (START["w"] / S) ** 2
    loc = (START["a"] + START["w"] * OBSERVED / S**2) / precision
    return {"m": loc - LEAN * OBSERVED, "raw": -0.5 * math.log(precision)}


@pytest.mark.parametrize("objective", [StickingTheLanding(), StickingTheLanding(4), DReG(4)], ids=repr)
def test_at_the_exact_posterior_every_draw_has_the_gradient_zero(objective):
    found, still = ascended(Line(200, bend=0.0, **exact_guide()), objective)
    _, plain = ascended(Line(200, bend=0.0, **exact_guide()), IWAE(objective.particles))
    assert found.std() < 1e-12
    for name in GUIDE:
        assert still[name].abs().max() < 1e-12
        assert plain[name].std() > 0.1


def spread(objective: Objective, name: str = "m", rows: int = 4000) -> tuple[float, float]:
    """The standard deviation of a gradient and its signal-to-noise ratio."""
    g = ascended(Line(rows, bend=0.0), objective)[1][name]
    return g.std().item(), (g.mean().abs() / g.std()).item()


@pytest.mark.parametrize("name", GUIDE)
def test_the_signal_of_the_guide_fades_with_particles_but_not_doubly_reparameterised(name):
    iwae_1, iwae_64 = spread(IWAE(1), name), spread(IWAE(64), name)
    dreg_1, dreg_64 = spread(DReG(1), name), spread(DReG(64), name)
    assert dreg_64[0] < 0.3 * iwae_64[0]
    assert iwae_64[1] < 0.5 * iwae_1[1]
    assert dreg_64[1] > 2 * dreg_1[1]


@pytest.mark.parametrize("name", GUIDE)
def test_a_score_is_noisier_than_a_path_and_a_baseline_helps(name):
    path = spread(ELBO(4), name)[0]
    bare, by_batch, by_particles = (
        spread(ScoreFunction(4, kind), name)[0] for kind in ("none", "batch", "particles")
    )
    assert bare > 1.5 * path
    assert by_particles > 1.1 * path
    assert by_batch < 0.8 * bare
    assert by_particles < 0.8 * bare


# ---------------------------------------------------------------- several sites


class Chain:
    """u ~ N(a, 1), v | u ~ N(u, 1), x | v ~ N(w v, S); the guide is one of two dependent sites."""

    def __init__(self, rows: int, *, shift: float) -> None:
        precision = torch.tensor([[2.0, -1.0], [-1.0, 1 + (START["w"] / S) ** 2]])
        covariance = torch.linalg.inv(precision)
        loc = covariance @ torch.tensor([START["a"], START["w"] * OBSERVED / S**2])
        gain = covariance[0, 1] / covariance[0, 0]
        start = {
            "a": START["a"],
            "w": START["w"],
            "m": loc[0] + shift,
            "raw": covariance[0, 0].sqrt().log(),
            "gain": gain,
            "b": loc[1] - gain * loc[0] - shift,
            "raw2": (covariance[1, 1] - gain * covariance[0, 1]).sqrt().log() + shift,
        }
        self.leaf = {n: torch.full((rows,), float(v), requires_grad=True) for n, v in start.items()}
        self.x = torch.full((rows,), OBSERVED)

    def model(self, x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(self.leaf["a"], 1.0))
            v = pyro.sample("v", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(self.leaf["w"] * v, S), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(self.leaf["m"], self.leaf["raw"].exp()))
            pyro.sample("v", dist.Normal(self.leaf["gain"] * u + self.leaf["b"], self.leaf["raw2"].exp()))


@pytest.mark.parametrize("objective", [StickingTheLanding(2), DReG(3)], ids=repr)
def test_at_the_exact_posterior_of_two_sites_the_gradient_is_zero(objective):
    program = Chain(100, shift=0.0)
    grads = ascended(program, objective)[1]
    for name in ("m", "raw", "gain", "b", "raw2"):
        assert grads[name].abs().max() < 1e-12


@pytest.mark.parametrize(
    ("one", "plain"), [(StickingTheLanding(2), ELBO(2)), (DReG(3), IWAE(3)), (ScoreFunction(2), ELBO(2))]
)
def test_the_gradients_of_two_sites_have_the_mean_of_the_plain_ones(one, plain):
    _, found = ascended(Chain(ROWS, shift=0.4), one, seed=1)
    _, wanted = ascended(Chain(ROWS, shift=0.4), plain, seed=2)
    for name in found:
        error = (found[name].var() + wanted[name].var()).sqrt() / math.sqrt(ROWS)
        assert error < 0.05
        assert abs(found[name].mean() - wanted[name].mean()) < SIGMAS * error
