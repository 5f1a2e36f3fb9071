"""Entries missing not at random: log p(x_observed, s), imputations, and what is learned without bias."""

import math

import numpy as np
import pyro
import pytest
import torch
from torch.nn.functional import logsigmoid

import pyrovae as pv
from pyrovae.distributions import NormalGivenEvent, log_mean_sigmoid
from pyrovae.likelihoods import Bernoulli, Normal, SelfMasking, StudentT
from pyrovae.networks import MLP
from tests.support.captured import interpreted
from tests.support.linear import Same
from tests.support.parts import perturb, raises_one_sentence

QUIET = {"progress": False, "figures": False}
NODES = torch.linspace(-9, 9, 1201, dtype=torch.float64)
LOG_MASS = torch.distributions.Normal(0.0, 1.0).log_prob(NODES) + math.log(18 / 1200)


def small(direction="high", shape=(2,), latents=1, likelihood=None, **options):
    vae = pv.VAE(
        shape,
        latents,
        likelihood=likelihood or Normal("learned"),
        encoder=MLP(8),
        decoder=MLP(8, activation="tanh"),
        mechanism=SelfMasking(direction),
        seed=0,
        **options,
    )
    torch.manual_seed(0)
    perturb(vae, 0.3)
    with torch.no_grad():  # a guide that is wider than the posteriors
        vae.recognition.heads["raw_scale"].linear.bias.add_(1.5)
    return vae


def rows(vae, count, seed=0):
    """Rows with holes from the model itself."""
    torch.manual_seed(seed)
    return vae.simulate(count)[0]


# ---------------------------------------------------------------- the logistic function


@pytest.mark.parametrize(
    ("m", "v"), [(0.0, 1.0), (2.0, 3.0), (-8.0, 1.0), (-5.0, 20.0), (1.0, 1e-3), (4.0, 0.0)]
)
def test_the_mean_of_a_logistic_function_is_the_integral(m, v):
    t = m + v * NODES
    truth = (LOG_MASS + logsigmoid(t)).logsumexp(0)
    loc, scale = (torch.tensor(value, dtype=torch.float64) for value in (m, v))
    assert log_mean_sigmoid(loc, scale).item() == pytest.approx(truth.item(), abs=1e-6)
    other = log_mean_sigmoid(-loc, scale)
    assert (log_mean_sigmoid(loc, scale).exp() + other.exp()).item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("slope", [1.0, -3.0, 0.0, 20.0])
@pytest.mark.parametrize(("loc", "scale", "offset"), [(0.0, 1.0, 0.0), (-1.0, 0.5, -3.0), (2.0, 3.0, 1.0)])
def test_a_normal_given_an_event_has_the_density_and_moments_of_the_integral(loc, scale, offset, slope):
    torch.manual_seed(0)
    p = NormalGivenEvent(*(torch.tensor(value, dtype=torch.float64) for value in (loc, scale, slope, offset)))
    u = loc + scale * NODES
    log_mass = LOG_MASS + logsigmoid(slope * u + offset)
    weights = log_mass.softmax(0)
    density = weights / (scale * 18 / 1200)
    torch.testing.assert_close(p.log_prob(u), density.log(), rtol=0, atol=1e-5)
    mean = (weights * u).sum()
    variance = (weights * (u - mean).square()).sum()
    torch.testing.assert_close(
        torch.stack([p.mean, p.variance]), torch.stack([mean, variance]), rtol=1e-4, atol=1e-5
    )
    drawn = p.expand((40_000,)).sample()
    assert abs(drawn.mean() - mean) < 5 * variance.sqrt() / 200
    assert drawn.std() == pytest.approx(variance.sqrt().item(), rel=0.03)
    quantiles = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    of_density = u[torch.searchsorted(weights.cumsum(0), quantiles)]
    assert ((drawn.quantile(quantiles) - of_density).abs() < 0.03 * scale + 0.015 * scale).all()


def test_rare_events_are_drawn_too():
    many = torch.zeros(40_000, dtype=torch.float64)
    p = NormalGivenEvent(many, many + 1, many + 1, many - 20)  # the event has probability exp(-19.5)
    torch.manual_seed(0)
    assert p.sample().mean() == pytest.approx(1, abs=0.03)
    far = NormalGivenEvent(many, many + 1, many + 30, many - 300)  # u above 10
    drawn = far.sample()
    assert drawn.isfinite().all()
    assert drawn.mean() == pytest.approx(far.mean[0].item(), rel=1e-2)


# ---------------------------------------------------------------- log p(x_observed, s)


def exact(vae, x):
    """log p(x_observed, s) of rows (N, 2) by quadrature over z and over each missing entry."""
    z = NODES[::6].unsqueeze(-1)
    log_z = LOG_MASS[::6] + math.log(6)
    base = vae.decode(z).base_dist
    loc, scale = base.loc, base.scale.expand_as(base.loc)
    slope, offset = vae.mechanism.slope, vae.mechanism.offset
    total = []
    for row in x:
        log_p = log_z
        for d, value in enumerate(row):
            if value.isnan():
                of_x = loc[:, d : d + 1] + scale[:, d : d + 1] * NODES
                inside = logsigmoid(slope[d] * of_x + offset[d])
                log_p = log_p + (LOG_MASS + inside).logsumexp(1)
            else:
                present = torch.distributions.Normal(loc[:, d], scale[:, d]).log_prob(value)
                log_p = log_p + present + logsigmoid(-(slope[d] * value + offset[d]))
        total.append(log_p.logsumexp(0))
    return torch.stack(total).detach()


@pytest.mark.parametrize("direction", ["high", "low", "either"])
@pytest.mark.parametrize("scale", [0.7, "predicted"])
def test_log_px_is_that_of_the_present_entries_and_of_what_is_missing(direction, scale):
    vae = small(direction, likelihood=Normal(scale)).double()
    x = rows(vae, 30)
    assert 5 < x.isnan().sum() < 55
    truth = exact(vae, x).numpy()
    found = pv.log_evidence(vae, x, particles=4000, compile=False)
    assert (np.abs(found.log_px - truth) < 5 * found.mc_stderr + 1e-5).all()
    bounds = pv.iwae_bound(vae, x, particles=(1, 5, 50)).mean
    assert bounds[0] < bounds[1] < bounds[2] < truth.mean() + 0.05


def test_the_units_of_the_data_change_nothing_but_the_density():
    """log p(x, s) in other units differs by log s for each present entry."""
    vae = small().double()
    x = rows(vae, 40)
    other = vae.clone().double()
    other.load_state_dict(vae.state_dict())
    with torch.no_grad():
        other.likelihood.shift.fill_(100.0)
        other.likelihood.spread.fill_(7.0)
    z = torch.randn(40, 1, dtype=torch.float64)
    logs = []
    for program, values in ((vae, x), (other, 100 + 7 * x)):
        p, s = program.decode(z), values.isnan().double()
        of_s, of_x = program.mechanism.marginal(p), program.mechanism.given(p, s)
        logs.append(of_x.log_prob(values) + of_s.log_prob(s))
    torch.testing.assert_close(logs[1], logs[0] - (~x.isnan()).sum(1) * math.log(7))


def test_with_a_slope_of_zero_the_values_do_not_matter():
    """Missing at random: log p(x, s) = log p(x_observed) + log p(s)."""
    vae = small("either").double()
    with torch.no_grad():
        vae.mechanism.raw_slope.zero_()
    x = rows(vae, 20)
    plain = pv.VAE((2,), 1, likelihood=Normal("learned"), encoder=MLP(8), decoder=MLP(8, activation="tanh"))
    plain.double().load_state_dict({n: w for n, w in vae.state_dict().items() if "mechanism" not in n})
    z = torch.randn(20, 1, dtype=torch.float64)
    with_s, alone = (pyro.poutine.trace(pyro.condition(v.model, {"z": z})).get_trace(x) for v in (vae, plain))
    rate = vae.mechanism.offset.sigmoid()
    s = x.isnan()
    of_s = torch.where(s, rate, 1 - rate).log().sum()
    assert (with_s.log_prob_sum() - alone.log_prob_sum()).item() == pytest.approx(of_s.item(), abs=1e-6)


def test_gradients_are_finite_far_out():
    for size in (-50.0, 0.0, 50.0):
        vae = small("either")
        with torch.no_grad():
            vae.mechanism.raw_slope.fill_(size)
        p = vae.likelihood(loc=torch.full((3, 2), size, requires_grad=True))
        x = torch.tensor([[math.nan, 1e5], [-1e5, math.nan], [math.nan, math.nan]])
        s = x.isnan().float()
        total = vae.mechanism.marginal(p).log_prob(s) + vae.mechanism.given(p, s).log_prob(x)
        assert total.isfinite().all()
        total.sum().backward()
        for parameter in (vae.mechanism.raw_slope, vae.mechanism.offset):
            assert parameter.grad.isfinite().all()


# ---------------------------------------------------------------- samples


def test_missing_entries_are_drawn_given_that_they_are_missing():
    """`condition` draws from p(x_missing | x_observed, s), which quadrature gives too."""
    vae = small("high", likelihood=Normal(0.7)).double()
    with torch.no_grad():
        vae.mechanism.raw_slope.fill_(3.0)
        vae.mechanism.offset.fill_(-2.0)
    y = torch.tensor([[math.nan, 0.3], [math.nan, math.nan], [0.1, -0.4]], dtype=torch.float64)
    completion = pv.condition(vae, y, draws=4000, particles=4000, seed=0)
    assert (completion.x[:, 2] == y[2]).all()
    assert (completion.x[:, 0, 1] == 0.3).all()
    np.testing.assert_allclose(completion.log_py, exact(vae, y).numpy(), atol=0.02)
    for row in (0, 1):
        mean, spread = imputed(vae, y[row])
        assert completion.mean[row, 0] == pytest.approx(mean, abs=0.05)
        assert completion.sd[row, 0] == pytest.approx(spread, abs=0.05)
        assert completion.x[:, row, 0].mean().item() == pytest.approx(mean, abs=0.08)
    plain = vae.decode(torch.zeros(1, 1, dtype=torch.float64)).mean[0, 0].item()
    assert completion.mean[1, 0] > plain + 0.2


def imputed(vae, row):
    """Mean and standard deviation of the first entry, which is missing: quadrature of log p(x, s)."""
    values = torch.linspace(-8, 8, 161, dtype=torch.float64)
    filled = torch.stack([values, row[1].expand(161)], 1)
    # p(x_1, s_1 = 1) is p(x_1, s_1 = 0) times the odds of s_1
    log_p = exact(vae, filled) + vae.mechanism.slope[0] * values + vae.mechanism.offset[0]
    weights = log_p.detach().softmax(0)
    mean = (weights * values).sum()
    return mean.item(), (weights * (values - mean).square()).sum().sqrt().item()


def test_samples_are_complete_and_simulated_rows_have_holes():
    vae = small("high")
    assert not vae.sample(50, seed=0).isnan().any()
    x = rows(vae, 4000)
    share = x.isnan().float().mean(0)
    expected = vae.mechanism.marginal(vae.decode(torch.randn(4000, 1))).mean.mean(0)
    assert torch.allclose(share, expected, atol=0.04)
    trace = pyro.poutine.trace(vae.model).get_trace()
    assert trace.nodes["s"]["value"].shape == (1, 2)
    assert trace.nodes["x"]["value"].isfinite().all()
    complete = pyro.poutine.trace(vae.model).get_trace(context=None, y=None)
    assert complete.nodes["x"]["value"].shape == (1, 2)


# ---------------------------------------------------------------- training


def not_at_random(count=1500):
    """Two correlated columns of mean 0; the first is missing more often if it is large."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 1)) + 0.7 * rng.normal(size=(count, 2))
    gone = rng.random(count) < 1 / (1 + np.exp(-3 * x[:, 0]))
    return np.where(np.stack([gone, np.zeros_like(gone)], 1), np.nan, x), x


@pytest.mark.slow
def test_a_mechanism_removes_the_bias_of_the_present_entries():
    y, x = not_at_random(1000)
    means = {}
    for mechanism in (None, SelfMasking("high")):
        parts = {"encoder": MLP(16), "decoder": Same(), "missing": "flags", "mechanism": mechanism}
        vae = pv.VAE((2,), 1, likelihood=Normal("learned"), seed=0, **parts)
        options = {"epochs": 25, "batch_size": 50, "lr": 2e-2, "patience": None, "compile": False, **QUIET}
        pv.fit(vae, y, pv.objectives.IWAE(5), **options)
        means[mechanism is not None] = float(vae.sample(20_000, seed=0)[:, 0].mean())
    assert np.nanmean(y[:, 0]) < -0.8
    assert means[False] < -0.5  # the other column corrects a part of it
    assert abs(means[True] - x[:, 0].mean()) < 0.15
    assert 2 < vae.mechanism.slope[0].item() < 4


def test_a_mechanism_is_declared_saved_and_resumed(tmp_path):
    y, _ = not_at_random(100)
    vae = small("low", missing="flags")
    run = pv.fit(vae, y, epochs=1, out=tmp_path / "run", lr_schedule="constant", **QUIET)
    loaded = pv.load(tmp_path / "run")
    assert loaded == run.program
    assert loaded.clone() == loaded
    assert loaded != pv.VAE((2,), 1, likelihood=Normal("learned"), encoder=MLP(8), decoder=MLP(8))
    assert "s | x ~ SelfMasking(direction='low')" in " ".join(repr(loaded).split())
    assert pv.log_evidence(loaded, y[:5], particles=9).mean == pv.log_evidence(vae, y[:5], particles=9).mean
    again = small("low", missing="flags")
    options = {"lr_schedule": "constant", "out": tmp_path / "run", "resume": True, **QUIET}
    pv.fit(again, y, epochs=2, **options)
    assert (again.mechanism.offset[0] > again.mechanism.offset[1]).all()


def test_the_command_line_takes_a_mechanism(tmp_path):
    from pyrovae.cli import main

    np.save(tmp_path / "y.npy", not_at_random(60)[0])
    words = f"--data {tmp_path}/y.npy --out {tmp_path}/run --figures false --epochs 1 --latent_dim 1"
    words += " --mechanism SelfMasking --mechanism.direction high --likelihood Normal"
    assert main(["fit", *words.split(), "--likelihood.scale", "learned", "--lr_schedule", "constant"]) == 0
    assert pv.load(tmp_path / "run").mechanism == SelfMasking("high")
    assert main(["fit", "--out", f"{tmp_path}/run", "--resume", "true", "--epochs", "2"]) == 0


@pytest.mark.slow
def test_a_captured_step_gives_the_eager_weights(monkeypatch):
    code, weights = interpreted(monkeypatch), []
    for option in (False, True):
        vae = small("high")
        y = torch.tensor(not_at_random(60)[0]).float()
        pv.fit(vae, y, pv.objectives.IWAE(3), epochs=2, batch_size=12, compile=option, **QUIET)
        weights.append(vae.state_dict())
    assert code.calls > 0
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("likelihood", [StudentT(), Bernoulli(), Normal("optimal")], ids=repr)
def test_entries_that_are_not_normal_are_refused(likelihood):
    raises_one_sentence(
        lambda: pv.VAE((2,), 1, likelihood=likelihood, mechanism=SelfMasking()), "SelfMasking", "use Normal("
    )


def test_another_direction_is_refused():
    raises_one_sentence(lambda: small("up"), "direction of SelfMasking", "'high', 'low' or 'either'")


def test_pixels_that_a_context_gives_are_not_missing_because_of_their_value():
    data = pv.datasets.load("digits", context="left half")
    likelihood, parts = Normal("learned"), {"encoder": MLP(8), "decoder": MLP(8)}
    mechanism = SelfMasking()
    vae = pv.VAE.suited(data, latent_dim=2, likelihood=likelihood, mechanism=mechanism, **parts)
    raises_one_sentence(lambda: pv.fit(vae, data, epochs=1, **QUIET), "left half", "leave mechanism out")
