"""A scale that is a random variable: its prior, its posterior, and the program that draws it."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyrovae as pv
from pyrovae.distributions import LogRescaled, Rescaled
from pyrovae.likelihoods import Laplace, LogNormal, Mixed, Normal, StudentT
from pyrovae.likelihoods.random_scale import RandomScale
from pyrovae.networks import MLP, Bayesian
from pyrovae.numerics import SCALE_FLOOR
from pyrovae.objectives import ELBO
from pyrovae.terms import DATA, Runner, check_own_weights
from tests.support.captured import alike, interpreted
from tests.support.parts import each, perturb, raises_one_sentence

SCALED = [Normal("bayesian"), Laplace("bayesian"), StudentT(4.0, "bayesian"), LogNormal("bayesian")]
SITE = "likelihood.random_scale"


def vae_of(likelihood, shape=(3,), **parts):
    torch.manual_seed(0)
    decoder = parts.pop("decoder", MLP(5))
    return perturb(
        pv.VAE(shape, 2, likelihood=likelihood, encoder=MLP(5), decoder=decoder, **parts).double(), 0.2
    )


def rows_of(likelihood, count=4, shape=(3,)):
    x = torch.randn(count, *shape, dtype=torch.float64)
    return pv.Rows(x.exp() if isinstance(likelihood, LogNormal) else x)


def placed(loc, width):
    scale = RandomScale().double()
    with torch.no_grad():
        scale.loc.fill_(loc)
        scale.log_width.fill_(math.log(width))
    return scale


# ---------------------------------------------------------------- p(s) and q(s)


@pytest.mark.parametrize(("loc", "width"), [(-2.0, 0.05), (0.0, 0.5), (-0.7, 0.1), (0.5, 0.01)])
def test_the_divergence_is_that_of_draws(loc, width):
    scale = placed(loc, width)
    q, p = scale.posterior(), scale.prior()
    s = q.sample((200_000,))
    ratio = q.log_prob(s) - p.log_prob(s)
    error = ratio.std() / len(s) ** 0.5
    assert abs(ratio.mean() - scale.divergence()) < 4 * error + 1e-9


def test_the_centre_is_the_median_of_the_posterior():
    scale = placed(-1.3, 0.4)
    assert float(scale.posterior().cdf(scale.centre()).detach()) == pytest.approx(0.5)
    assert scale.words() == "HalfNormal(1)"
    assert float(scale.prior().log_prob(torch.tensor(0.3))) == pytest.approx(
        0.5 * math.log(2 / math.pi) - 0.045
    )


@each("likelihood", SCALED)
def test_it_starts_from_the_data_as_a_learned_scale_does(likelihood):
    x = 5.0 + 40 * rows_of(Normal(), 50).x
    x = x.exp().clamp(1e-3, 1e3) if isinstance(likelihood, LogNormal) else x
    x[0, 0] = torch.nan
    vae = vae_of(likelihood)
    learned = vae_of(type(likelihood)(scale="learned"))
    for each_vae in (vae, learned):
        each_vae.start_from(x)
    p, other = (v.decode(torch.zeros(1, 2)).base_dist.scale for v in (vae, learned))
    torch.testing.assert_close(p, other, rtol=1e-3, atol=0)
    width = vae.likelihood.random_scale.log_width.exp()
    assert float(width.detach()) == pytest.approx(1 / math.sqrt(2 * 149))
    few = vae_of(likelihood)
    few.start_from(x[1:2])
    assert float(few.likelihood.random_scale.log_width.exp().detach()) == pytest.approx(0.1)


# ---------------------------------------------------------------- the program


def written(vae):
    """The same program by hand, with the same networks."""
    likelihood, spread, shift = vae.likelihood, vae.likelihood.spread, vae.likelihood.shift
    kinds = {"Normal": dist.Normal, "LogNormal": dist.Normal, "Laplace": dist.Laplace}

    def model(x):
        s = pyro.sample("s", dist.HalfNormal(torch.tensor(1.0, dtype=x.dtype)))
        with pyro.plate(DATA, len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=x.dtype), 1.0).to_event(1))
            loc = vae.generation(z)["loc"]
            wide = s.reshape(*s.shape, *(1,) * len(vae.event_shape))
            name = type(likelihood).__name__
            base = dist.StudentT(4.0, loc, wide) if name == "StudentT" else kinds[name](loc, wide)
            p = (LogRescaled if name == "LogNormal" else Rescaled)(base, shift, spread)
            pyro.sample("x", p.to_event(len(vae.event_shape)), obs=x)

    def guide(x):
        scale = likelihood.random_scale
        pyro.sample("s", dist.LogNormal(scale.loc, scale.log_width.exp()))
        with pyro.plate(DATA, len(x)):
            pyro.sample("z", vae.encode(x))

    return model, guide


@pytest.mark.parametrize("weights", ["shared", "own", "auto"])
@pytest.mark.parametrize("shape", [(3,), (1, 2, 2)], ids=str)
@each("likelihood", SCALED)
def test_the_bound_is_that_of_the_program_written_by_hand(likelihood, shape, weights):
    vae, rows = vae_of(likelihood, shape), rows_of(likelihood, 4, shape)
    vae.start_from(rows.x)
    found = []
    for target in (vae, written(vae)):
        torch.manual_seed(3)
        found.append(Runner(target).check(rows).run(rows, particles=3, weights=weights).terms())
    torch.testing.assert_close(found[0].log_w, found[1].log_w)
    torch.testing.assert_close(found[0].log_global, found[1].log_global)
    assert found[0].log_w.shape == (3, 4)
    assert found[0].log_global.shape == ((3,) if weights == "own" else (1,))


@each("likelihood", SCALED)
def test_each_particle_may_have_a_scale_of_its_own(likelihood):
    vae, rows = vae_of(likelihood), rows_of(likelihood)
    runner = Runner(vae).check(rows)
    check_own_weights(runner, rows)
    pair = runner.run(rows, particles=3, weights="own")
    s, z = pair.global_guide.nodes[SITE]["value"], pair.guide.nodes["z"]["value"]
    assert s.shape == (3, 1)
    assert len(s.unique()) == 3
    for k in range(3):
        with vae.holding({SITE: s[k, 0]}):
            torch.testing.assert_close(vae.decode(z[k]).log_prob(rows.x), pair.terms().log_px_z[k])


@each("likelihood", SCALED)
def test_outside_a_program_it_is_the_centre(likelihood):
    vae, z = vae_of(likelihood), torch.zeros(2, 2)
    x = rows_of(likelihood, 2).x
    at_centre = vae.decode(z).log_prob(x)
    with vae.holding({SITE: vae.likelihood.random_scale.loc.exp()}):
        assert vae.decode(z).log_prob(x).equal(at_centre)
    with vae.holding({SITE: torch.tensor(2.0)}):
        assert not vae.decode(z).log_prob(x).equal(at_centre)
    with vae.holding({SITE: torch.tensor(0.0)}):  # limited, as a learned one is
        assert vae.decode(z).log_prob(x).isfinite().all()
        assert vae.decode(z).base_dist.base.scale.min() == SCALE_FLOOR


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_the_posterior_is_the_exact_one(factor):
    """Every location at zero, a guide that is the prior: p(s|D) on a grid."""
    vae = vae_of(Normal("bayesian"))
    with torch.no_grad():
        for head in (vae.generation.heads["loc"].linear, vae.recognition.heads["loc"].linear):
            head.weight.zero_()
            head.bias.zero_()
    x = 0.3 * factor * torch.randn(40, 3, dtype=torch.float64)
    vae.start_from(x)
    u = (x - vae.likelihood.shift) / vae.likelihood.spread
    scale, rows = vae.likelihood.random_scale, pv.Rows(x)
    optimiser = torch.optim.Adam(scale.parameters(), 0.05)
    runner = Runner(vae).check(rows)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 300)
    for _ in range(300):
        optimiser.zero_grad()
        terms = runner.run(rows, particles=20, weights="own").terms()
        (-terms.log_px_z.sum(-1).mean() - terms.log_global.mean()).backward()
        optimiser.step()
        schedule.step()
    grid = torch.linspace(-4, 2, 4001, dtype=torch.float64)
    log_p = -0.5 * u.square().sum() * (-2 * grid).exp() - u.numel() * grid - 0.5 * (2 * grid).exp() + grid
    p = (log_p - log_p.max()).softmax(0)
    mean = (p * grid).sum()
    sd = (p * (grid - mean).square()).sum().sqrt()
    assert abs(scale.loc - mean) < 0.15 * sd
    assert float(scale.log_width.detach().exp() / sd) == pytest.approx(1, abs=0.1)


# ---------------------------------------------------------------- declarations and runs


@each("likelihood", SCALED)
def test_a_vae_is_declared_copied_and_loaded_with_it(likelihood):
    vae = vae_of(likelihood)
    again = pv.VAE.from_dict(vae.to_dict()).double()
    assert again == vae == vae.clone()
    again.load_state_dict(vae.state_dict())
    for twin in (again, copy.deepcopy(vae)):
        assert list(twin.global_variables) == [SITE]
        torch.manual_seed(1)
        one = vae.draw_globals()[SITE]
        torch.manual_seed(1)
        assert twin.draw_globals()[SITE].equal(one)
    assert one.dtype == torch.float64
    assert vae.float().draw_globals()[SITE].dtype == torch.float32


def test_an_unknown_word_is_refused():
    for cls in (Normal, Laplace, StudentT, LogNormal):
        raises_one_sentence(lambda cls=cls: vae_of(cls(scale="bayes")), "'bayesian'", "scale of")
    assert "bayesian" not in repr(Mixed())


@pytest.mark.parametrize("decoder", [MLP(5), Bayesian(MLP(5))], ids=["point", "random"])
def test_the_captured_run_is_the_eager_one(decoder, monkeypatch, float64):
    code, x = interpreted(monkeypatch), rows_of(Normal(), 48).x
    data = pv.datasets.load(x, validation=8, test=8)
    alike(lambda: vae_of(Normal("bayesian"), decoder=decoder), data, ELBO(2), apart=1e-8, epochs=2)
    assert code.calls


def test_a_site_of_the_model_is_drawn_from_the_prior():
    vae = vae_of(Normal("bayesian"))
    with torch.no_grad():
        drawn = [poutine.trace(vae.model).get_trace().nodes[SITE]["value"] for _ in range(500)]
    s = torch.stack(drawn)
    assert abs(s.square().mean() - 1) < 4 * s.square().std() / len(s) ** 0.5
