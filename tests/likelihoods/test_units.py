"""Numbers of any size: log p(x) in the units of the data, in float32 as in float64."""

import copy
import math

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.likelihoods import (
    Bernoulli,
    Categorical,
    Laplace,
    LogNormal,
    Mixed,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
)
from pyrovae.likelihoods.units import moments, standard_units
from pyrovae.networks import MLP
from pyrovae.oracles import quadrature
from pyrovae.training.checkpoint import Checkpoint
from tests.support import messy
from tests.support.parts import each, raises_one_sentence

QUIET = {"progress": False, "figures": False}
REALS = [Normal("learned"), Normal("predicted"), Normal("optimal"), Laplace("learned"), StudentT(4.0)]


def vae_for(likelihood, size, seed=0):
    torch.manual_seed(seed)
    return pv.VAE((size,), 1, likelihood=likelihood, encoder=MLP(16), decoder=MLP(16))


# ---------------------------------------------------------------- tables, single against double precision


@pytest.fixture(scope="module", params=messy.NAMES)
def fitted(request):
    """A VAE in float32 that was trained on a messy table, and its data."""
    data = messy.table(request.param)
    vae = vae_for(messy.likelihood(request.param), *data.event_shape)
    run = pv.fit(vae, data, epochs=3, batch_size=64, compile=False, **QUIET)
    return vae.eval(), data, run


def test_messy_tables_have_the_log_px_of_double_precision(fitted):
    """log p(x) of each row, by quadrature over z, with the same weights."""
    vae, data, _ = fitted
    double = copy.deepcopy(vae).double()
    assert data.test.x.dtype == torch.float64
    assert next(vae.parameters()).dtype == torch.float32
    found, wanted = quadrature(vae, data.test.x), quadrature(double, data.test.x)
    assert (found.double() - wanted).abs().max() < 1e-3
    z = torch.linspace(-2, 2, 9)[:, None, None]
    given = vae.decode(z).log_prob(data.test.x)
    assert given.dtype == torch.float32
    exact = double.decode(z.double()).log_prob(data.test.x)
    torch.testing.assert_close(given.double(), exact, rtol=1e-5, atol=1e-3)


def test_messy_tables_are_learned_and_scored(fitted):
    vae, data, run = fitted
    assert run.history["validation"][-1] > run.history["validation"][0]
    evidence = pv.log_evidence(vae, data.test, particles=200)
    exact = quadrature(vae, data.test.x).numpy()
    assert np.abs(evidence.log_px - exact).max() < 8 * evidence.mc_stderr.max() + 1e-3
    assert evidence.units.measure == "mixed" or data.name == "offsets" or data.name == "incomes"
    draws = vae.sample(500)
    assert draws.isfinite().all()
    vae.likelihood.check(draws)


def test_every_value_survives():
    x = 5.4e6 + 0.2 * np.random.default_rng(0).standard_normal((1000, 1))
    assert len(np.unique(x.astype(np.float32))) <= 5
    data = pv.datasets.load(x)
    assert data.train.x.dtype == torch.float64
    parts = torch.cat([data.train.x, data.validation.x, data.test.x])
    np.testing.assert_array_equal(np.sort(parts[:, 0].numpy()), np.sort(x[:, 0]))
    days = messy.values("dates", empty=0.0)
    data = messy.table("dates", empty=0.0)
    parts = torch.cat([data.train.x, data.validation.x, data.test.x])
    np.testing.assert_array_equal(np.sort(parts[:, 0].numpy()), np.sort(days[:, 0]))


# ---------------------------------------------------------------- the identity of units


@each("likelihood", REALS)
@pytest.mark.parametrize(("a", "b"), [(0.2, 5.4e6), (1e9, -3e9), (1e-9, 1e-7)])
def test_log_px_of_moved_data_has_the_jacobian(likelihood, a, b):
    """log p(a x + b) = log p(x) - D log a, with the same weights; both VAEs read the same numbers."""
    x = torch.randn(200, 3, dtype=torch.float64) * torch.tensor([1.0, 0.5, 2.0])
    plain, moved = vae_for(likelihood, 3).double(), vae_for(likelihood, 3).double()
    x = (x - x.mean(0)) / x.std(0, correction=0)
    plain.start_from(x)
    moved.start_from(a * x + b)
    assert torch.equal(plain.likelihood.spread, torch.ones(3))
    found, wanted = quadrature(moved.eval(), a * x + b), quadrature(plain.eval(), x) - 3 * math.log(a)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-5)


@pytest.mark.parametrize("likelihood", [Mixed(["normal", "studentt"]), Mixed()])
def test_a_table_in_other_units_has_the_jacobian(likelihood):
    x = torch.randn(200, 2, dtype=torch.float64)
    a, b = torch.tensor([1e9, 1e-5]).double(), torch.tensor([7e9, 3.0]).double()
    plain, moved = vae_for(likelihood, 2).double(), vae_for(likelihood, 2).double()
    plain.start_from(x)
    moved.start_from(a * x + b)
    found, wanted = quadrature(moved, a * x + b), quadrature(plain, x) - a.log().sum()
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-5)


def test_powers_of_data_have_the_jacobian():
    """log p(c x^a) of a lognormal."""
    x = torch.randn(200, 2, dtype=torch.float64).exp()
    x = ((x.log() - x.log().mean(0)) / x.log().std(0, correction=0)).exp()
    a, c = 0.3, 1e9
    plain, moved = vae_for(LogNormal(), 2).double(), vae_for(LogNormal(), 2).double()
    plain.start_from(x)
    moved.start_from(c * x**a)
    plain.likelihood.reads_log.fill_(True)  # both encoders read the same numbers
    log_jacobian = (math.log(a) + math.log(c) + (a - 1) * x.log()).sum(1)
    found, wanted = quadrature(moved, c * x**a), quadrature(plain, x) - log_jacobian
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-5)


@each("likelihood", [Normal("learned"), Normal("optimal"), StudentT()])
def test_training_does_not_depend_on_the_units(likelihood):
    """A fit of dates in seconds ends like one of the same data standardised by hand."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((600, 1))
    x = np.concatenate([u + 0.3 * rng.standard_normal((600, 1)), u - 0.5 * rng.standard_normal((600, 1))], 1)
    scale, shift = np.array([0.2, 3e4]), np.array([5.4e6, 1.7e9])
    ends = []
    for values in (x, shift + scale * x):
        data = pv.datasets.load(values)
        if values is x:
            m, s = (data.train.x.double().mean(0), data.train.x.double().std(0, correction=0))
            data = pv.datasets.load((values - m.numpy()) / s.numpy())
        vae = vae_for(likelihood, 2)
        run = pv.fit(vae, data, epochs=8, batch_size=64, lr=3e-3, compile=False, **QUIET)
        ends.append(run.history["validation"])
    jacobian = np.log(scale * s.numpy()).sum()
    np.testing.assert_allclose(ends[1], ends[0] - jacobian, atol=0.01)


# ---------------------------------------------------------------- what a scale means


def test_a_fixed_scale_is_in_the_units_of_the_data():
    x = 1000 + 50 * torch.randn(500, 3)
    for part, exact in (
        (Normal(20.0), torch.distributions.Normal),
        (Laplace(20.0), torch.distributions.Laplace),
    ):
        part = part.clone()
        part.attach((3,))
        part.start_from(x)
        u = torch.randn(500, 3)
        p = part(loc=u)
        torch.testing.assert_close(p.base_dist.scale.float(), torch.full((500, 3), 20.0))
        wanted = exact(part.shift + part.spread * u, 20.0).log_prob(x).sum(1)
        torch.testing.assert_close(p.log_prob(x).double(), wanted, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(p.mean, part.shift + part.spread * u)


@pytest.mark.parametrize("spread", [0.03, 1.0, 50.0])
def test_a_learned_scale_starts_at_the_spread_of_the_data(spread):
    x = spread * torch.randn(2000, 3)
    part = Normal("learned")
    part.attach((3,))
    part.start_from(x)
    assert part(loc=torch.zeros(3)).base_dist.scale[0].item() == pytest.approx(spread, rel=0.05)


def test_data_near_a_unit_scale_are_left_as_they_are():
    """Images in [0, 1], and what was standardised by hand."""
    for x, shape in (
        (torch.rand(50, 1, 8, 8), (1, 8, 8)),
        (torch.randn(500, 3), (3,)),
        (torch.rand(50, 64), (64,)),
    ):
        part = Normal()
        part.attach(shape)
        part.start_from(x)
        assert torch.equal(part.shift, torch.zeros_like(part.shift))
        assert torch.equal(part.spread, torch.ones_like(part.spread))
        torch.testing.assert_close(part.inputs(x).float(), x)
        loc = torch.randn(1, *shape)
        wanted = torch.distributions.Normal(loc, 0.1).log_prob(x).sum(tuple(range(1, x.dim())))
        torch.testing.assert_close(part(loc=loc).log_prob(x), wanted)


def test_an_image_has_one_unit_and_a_row_of_numbers_one_for_each():
    x = torch.rand(50, 1, 4, 4) * 4000 - 1000
    m, s, _ = standard_units(x, 3)
    assert m.shape == s.shape == ()
    torch.testing.assert_close((m, s), (x.double().mean(), x.double().std(correction=0)))
    m, s, _ = standard_units(x.flatten(1), 1)
    assert m.shape == s.shape == (16,)
    part = Normal()
    part.attach((1, 4, 4))
    assert part.shift.dtype == torch.float32  # samples of images are too
    assert part(loc=torch.zeros(1, 4, 4)).sample().dtype == torch.float32


def test_moments_leave_out_what_is_missing_and_take_any_size():
    x = torch.tensor([[1e300, math.nan, 5.0, 1e9], [3e300, math.nan, 5.0, 1e9 + 0.5]], dtype=torch.float64)
    mean, spread = moments(x)
    torch.testing.assert_close(mean, torch.tensor([2e300, 0.0, 5.0, 1e9 + 0.25], dtype=torch.float64))
    torch.testing.assert_close(spread, torch.tensor([1e300, 1.0, 1.0, 0.25], dtype=torch.float64))


# ---------------------------------------------------------------- casting and saving


@each("likelihood", [Normal("learned"), Mixed(["normal"])])
def test_units_keep_their_digits_when_a_vae_is_cast(likelihood):
    vae = vae_for(likelihood, 1)
    x = 5.4e6 + 0.2 * torch.randn(100, 1, dtype=torch.float64)
    vae.start_from(x)
    shift = vae.likelihood.shift.clone()
    for cast in (
        vae.double(),
        vae.half(),
        vae.bfloat16(),
        vae.float(),
        copy.deepcopy(vae),
        vae.to(torch.float32),
    ):
        assert cast.likelihood.shift.dtype == torch.float64
        assert torch.equal(cast.likelihood.shift, shift)
    assert next(vae.parameters()).dtype == torch.float32
    assert (shift - x.mean(0)).abs().item() < 1e-6


def test_a_saved_run_has_its_units(tmp_path):
    x = 5.4e6 + 0.2 * torch.randn(200, 1, dtype=torch.float64)
    for likelihood in (Normal("learned"), Mixed()):
        out = tmp_path / type(likelihood).__name__
        vae = vae_for(likelihood, 1)
        pv.fit(vae, x, epochs=1, batch_size=50, out=out, **QUIET)
        loaded = pv.load(out)
        assert torch.equal(loaded.likelihood.shift, vae.likelihood.shift)
        assert next(loaded.parameters()).dtype == torch.float32
        torch.testing.assert_close(quadrature(loaded.eval(), x), quadrature(vae.eval(), x))


def test_a_run_of_an_older_version_has_no_units(tmp_path):
    """Its buffers are missing: location 0 and spread 1."""
    x = torch.randn(200, 3) * 100
    vae = vae_for(Normal("learned"), 3)
    pv.fit(vae, x, epochs=1, batch_size=50, out=tmp_path / "run", **QUIET)
    path = tmp_path / "run" / "best.ckpt"
    saved = Checkpoint.read(path)
    weights = {n: w for n, w in saved.weights.items() if n not in ("likelihood.shift", "likelihood.spread")}
    assert len(weights) == len(saved.weights) - 2
    type(saved)(**(vars(saved) | {"weights": weights})).write(path)
    old = pv.load(tmp_path / "run")
    assert torch.equal(old.likelihood.shift, torch.zeros(3, dtype=torch.float64))
    loc = torch.randn(4, 3)
    scale = old.likelihood.positive_scale(None)
    wanted = torch.distributions.Normal(loc, scale).log_prob(x[:4]).sum(1)
    torch.testing.assert_close(old.likelihood(loc=loc).log_prob(x[:4]), wanted)


# ---------------------------------------------------------------- what log p(x) is


def test_a_likelihood_says_whether_it_is_a_probability():
    wanted = {
        Bernoulli(): "mass",
        Categorical(4): "mass",
        Poisson(): "mass",
        NegativeBinomial(): "mass",
        Normal(): "density",
        LogNormal(): "density",
        pv.likelihoods.Beta(): "density",
        Mixed(["normal", "lognormal"]): "density",
        Mixed(["poisson", "categorical:3"]): "mass",
        Mixed(["normal", "poisson"]): "mixed",
    }
    for part, measure in wanted.items():
        part = part.clone()
        part.attach((2,))
        assert part.measure == measure
    assert part.discrete_places == (False, True)


# ---------------------------------------------------------------- types that methods of a VAE take


def test_methods_of_a_vae_take_doubles_arrays_and_whole_numbers():
    for likelihood in (Normal("learned"), pv.likelihoods.Bernoulli(), Mixed(), Poisson()):
        vae = vae_for(likelihood, 3)
        x = torch.ones(4, 3)
        torch.manual_seed(0)
        wanted = vae.encode(x).mean
        for same in (x.double(), x.numpy(), x.double().numpy(), x.int(), x.long(), x.bool(), x.half()):
            torch.testing.assert_close(vae.encode(same).mean, wanted)
            assert vae.reconstruct(same).shape == (4, 3)
        z = torch.zeros(4, 1)
        for same in (z.double(), z.int(), z.numpy(), z.long().numpy()):
            torch.testing.assert_close(vae.decode(same).log_prob(x), vae.decode(z).log_prob(x))
        rows = torch.utils.data.TensorDataset(x, torch.zeros(4))
        one, other = (pv.log_evidence(vae, data, particles=10).log_px for data in (rows, x))
        np.testing.assert_array_equal(one, other)


def test_programs_of_sixteen_bits_are_refused():
    vae = vae_for(Normal("learned"), 3)
    for small in (vae.bfloat16(), vae.half()):
        raises_one_sentence(
            lambda small=small: pv.log_evidence(small, torch.zeros(4, 3)), "vae.float()", "bf16"
        )
        raises_one_sentence(
            lambda small=small: pv.fit(small, torch.zeros(40, 3), epochs=1, **QUIET), "vae.float()", "bf16"
        )


def test_numbers_that_no_type_holds_are_refused():
    vae = vae_for(Normal("learned"), 1)
    raises_one_sentence(lambda: vae.encode(np.array([[2**60 + 1]])), "64 bits", "identifiers")
    grey = vae_for(pv.likelihoods.ContinuousBernoulli(), 1)
    raises_one_sentence(
        lambda: pv.log_evidence(grey, np.array([[1e39]])), "1e+39", "single precision", "double()"
    )
    assert np.isfinite(pv.log_evidence(vae, np.array([[20_000_001]]), particles=5).log_px).all()


@pytest.mark.parametrize("likelihood", [Mixed(["normal"] * 2), Normal("learned")], ids=["Mixed", "Normal"])
def test_the_encoder_reads_values_far_outside_on_a_logarithmic_scale(likelihood):
    """Values near the training data are read as they are, and the density is that of x in any case."""
    likelihood.attach((2,))
    x = torch.randn(500, 2, dtype=torch.float64) * torch.tensor([2.0, 300.0]) + torch.tensor([0.0, 1e4])
    likelihood.start_from(x)
    scaled = lambda rows: (rows - x.mean(0)) / x.std(0, correction=0)  # noqa: E731
    read = lambda rows: likelihood.inputs(rows)[:, :2].double()  # noqa: E731
    torch.testing.assert_close(read(x), scaled(x), atol=1e-6, rtol=1e-6)
    far = x.mean(0) + x.std(0, correction=0) * torch.tensor([[1e3], [1e6], [-1e6]])
    found = read(far)
    assert (found[1] > found[0]).all()
    assert (found[0] > 5).all()
    assert (found[1] < 50).all()
    torch.testing.assert_close(found[2], -found[1])
