"""`condition` against exact conditionals: log p(y), moments, coverage and simulation-based calibration."""

import math
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.measurements import Blur, Crop, Custom, Downsample, Flip, Missing, Noise, Quantised
from pyrovae.oracles import LinearGaussian, LinearGaussianMixture
from pyrovae.tasks.measured import Measured

ROWS = 20
POOL = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
ORACLES = {
    "linear": LinearGaussian.random(event_dim=4, latent_dim=2),
    "mixture": LinearGaussianMixture.random(event_dim=4, latent_dim=2, components=3),
}


def measured_by(name, x, rng):
    """y of x (N, 4), the measurement, and its matrix and noise."""
    if name == "missing":
        y = x.clone()
        y[torch.rand(x.shape, generator=rng) < 0.4] = math.nan
        return y, Missing(), None, 0.0
    noise = torch.randn(x.shape, generator=rng)
    if name == "noise":
        return x + 0.7 * noise, Noise(0.7), None, 0.7
    if name == "function":
        return x + 0.7 * noise, lambda v: dist.Normal(v, 0.7), None, 0.7
    if name == "pooled":
        return x @ POOL.mT, Downsample(2), POOL, 0.0
    return x @ POOL.mT + 0.3 * noise[:, :2], Downsample(2) >> Noise(0.3), POOL, 0.3


MEASURES = ("missing", "noise", "function", "pooled", "pooled and noisy")


CELLS = [(oracle, name, "laplace") for oracle in ORACLES for name in MEASURES]
CELLS += [("mixture", name, "auto") for name in ("missing", "pooled")]
CELLS += [("linear", "noise", method) for method in ("importance", "ais")]


@pytest.mark.parametrize(("oracle", "name", "method"), CELLS)
def test_it_is_the_exact_conditional(oracle, name, method):
    oracle = ORACLES[oracle]
    y, through, matrix, sd = measured_by(name, oracle.sample(ROWS, seed=3), torch.Generator().manual_seed(4))
    log_py, mean, covariance = oracle.given(y, matrix, sd)
    particles = {"importance": 20_000, "ais": 60}.get(method, 1000)
    got = pv.condition(oracle, y, through=through, draws=200, method=method, particles=particles)
    assert set(got.method) <= {
        "importance sampling", "Laplace importance sampling", "annealed importance sampling"
    }  # fmt: skip
    good = got.trusted
    assert good.mean() > (0 if method == "importance" else 0.95)  # the guide reads zeros or a rough x
    error = np.abs(got.log_py - log_py.numpy())[good]
    assert (error < 5 * got.mc_stderr[good] + 0.01).all()
    spread = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    good, away = torch.from_numpy(good), (got.mean - mean).abs()
    some = 5 * spread / math.sqrt(60)  # of 60 independent samples, or more
    assert (away <= some + 0.01)[good].all()
    assert ((got.sd - spread).abs() <= some + 0.01)[good].all()
    ends = got.x - got.x.mean(0)
    own = torch.einsum("sni,snj->nij", ends, ends) / 199
    scale = spread.unsqueeze(-1) * spread.unsqueeze(-2)
    assert (((own - covariance).abs() / scale.clamp(min=1e-2)).mean((1, 2)) < 0.6)[good].all()
    assert ((own - covariance)[good].mean(0).abs() < 0.15 * scale.mean(0) + 0.01).all()


@pytest.mark.parametrize("name", MEASURES)
def test_intervals_cover(name):
    """A 90 % interval has the truth in 90 % of 300 repetitions, for every entry that is not known."""
    oracle = ORACLES["linear"]
    x = oracle.sample(300, seed=5)
    y, through, _, _ = measured_by(name, x, torch.Generator().manual_seed(6))
    low, high = pv.condition(oracle, y, through=through, draws=200, method="laplace", seed=1).interval(0.9)
    unknown = y.isnan() if name == "missing" else torch.ones_like(x, dtype=torch.bool)
    inside = ((x >= low) & (x <= high))[unknown]
    rows = 300 if name == "missing" else 300 / 2  # entries of one row are dependent
    assert abs(inside.float().mean() - 0.9) < 3.5 * math.sqrt(0.9 * 0.1 / rows)


def curved():
    """A VAE whose decoder is far from linear, with an encoder that knows nothing."""
    torch.manual_seed(0)
    networks = {"encoder": pv.networks.MLP(8), "decoder": pv.networks.MLP(16, activation="tanh")}
    vae = pv.VAE((8,), 5, likelihood=pv.likelihoods.Normal(0.4), **networks)
    with torch.no_grad():
        for parameter in vae.generation.parameters():
            parameter.mul_(1.5)
    return vae.eval()


@pytest.mark.parametrize("through", [Missing(), Downsample(2) >> Noise(0.1)], ids=repr)
def test_samples_of_z_are_calibrated(through):
    """For (z, x, y) from the model, the rank of z among samples given y is uniform (Talts et al., 2018)."""
    vae, draws, rows = curved(), 99, 500 if isinstance(through, Missing) else 200
    torch.manual_seed(1)
    x, latents = vae.simulate(rows)
    y, z = through.sample(x), latents["z"][0]
    if isinstance(through, Missing):
        y[torch.rand(y.shape) < 0.5] = math.nan
    method = pv.evidence.Laplace(rounds=0)  # cheaper than "auto"
    got = pv.condition(vae, y, through=through, draws=draws, method=method, particles=500, seed=2)
    ranks = (got.z < z).sum(0).numpy()  # (N, 5), 0 to 99
    for j in range(5):
        counts = np.histogram(ranks[:, j], bins=10, range=(0, 100))[0]
        assert stats.chisquare(counts).pvalue > 1e-3, (j, counts)


@pytest.fixture(scope="module")
def vae():
    """A VAE of images with one latent."""
    torch.manual_seed(0)
    networks = {"encoder": pv.networks.MLP(16), "decoder": pv.networks.MLP(16)}
    vae = pv.VAE((1, 4, 4), 1, **networks)
    with torch.no_grad():
        for parameter in vae.generation.parameters():
            parameter.mul_(4.0)
    return vae.eval()


class TestImages:
    def grid(self, vae):
        """p(z) on a grid, and p(x_i = 1 | z)."""
        z = torch.linspace(-7, 7, 2001).unsqueeze(-1)
        with torch.no_grad():
            p = vae.decode(z).mean.flatten(1)
        return dist.Normal(0.0, 1.0).log_prob(z[:, 0]) + math.log(14 / 2000), p

    @pytest.mark.parametrize("through", [Missing(), Flip(0.2), Downsample(2), Noise(0.5)], ids=repr)
    def test_binary_pixels_by_quadrature(self, vae, through):
        log_pz, p = self.grid(vae)
        torch.manual_seed(2)
        x, _ = vae.simulate(20)
        if isinstance(through, Missing):
            y = torch.where(torch.rand(x.shape) < 0.5, math.nan, x)
            each = dist.Bernoulli(p[:, None]).log_prob(y.flatten(1).nan_to_num(0.0))
            log_each = torch.where(y.flatten(1).isnan(), 0.0, each).sum(2)
        elif isinstance(through, Flip):
            y = torch.where(torch.rand(x.shape) < 0.2, 1 - x, x)
            log_each = dist.Bernoulli(0.2 + 0.6 * p[:, None]).log_prob(y.flatten(1)).sum(2)
        elif isinstance(through, Noise):
            y = x + 0.5 * torch.randn(x.shape)
            normal = [dist.Normal(v, 0.5).log_prob(y.flatten(1)).exp() for v in (0.0, 1.0)]
            log_each = ((1 - p[:, None]) * normal[0] + p[:, None] * normal[1]).log().sum(2)
        else:
            y = torch.nn.functional.avg_pool2d(x, 2)
            blocks = p.reshape(-1, 2, 2, 2, 2).transpose(2, 3).reshape(-1, 4, 4)  # 4 blocks of 4 pixels
            masses = torch.stack([_poisson_binomial(blocks[:, i]) for i in range(4)], 1)
            count = (4 * y.flatten(1)).round().long()
            log_each = (
                masses[:, None]
                .expand(-1, 20, -1, -1)
                .gather(3, count[None, :, :, None].expand(len(p), -1, -1, 1))
                .squeeze(-1)
                .log()
                .sum(2)
            )
        exact = (log_pz[:, None] + log_each).logsumexp(0)
        got = pv.condition(vae, y, through=through, draws=50, method="laplace")
        assert got.trusted.all()
        assert (np.abs(got.log_py - exact.numpy()) < 4 * got.mc_stderr + 0.02).all()
        if isinstance(through, Missing):
            known = ~y.isnan()
            assert (got.x[:, known] == y[known]).all()
            share = (log_pz[:, None] + log_each).softmax(0)
            mean = torch.where(known, y, torch.einsum("gn,gi->ni", share, p).reshape(y.shape))
            assert (got.mean - mean).abs().max() < 0.06
            assert (got.mode[~known] == (got.mean > 0.5).float()[~known]).all()
        elif isinstance(through, Downsample):  # every sample has the counts that were measured
            again = torch.nn.functional.avg_pool2d(got.x.flatten(0, 1), 2)
            assert torch.allclose(again.reshape(50, *y.shape), y.expand(50, *y.shape))

    def test_a_window_is_the_same_as_missing_pixels(self, vae):
        torch.manual_seed(3)
        x, _ = vae.simulate(6)
        y = torch.full_like(x, math.nan)
        y[..., 1:3, 0:3] = x[..., 1:3, 0:3]
        one = pv.condition(vae, y, draws=10, method="laplace")
        other = pv.condition(vae, x[..., 1:3, 0:3], through=Crop(2, 3, top=1), draws=10, method="laplace")
        assert np.abs(one.log_py - other.log_py).max() < 0.05
        assert (other.x[..., 1:3, 0:3] == x[..., 1:3, 0:3]).all()


def _poisson_binomial(p):
    """The distribution of the sum of independent bits with probabilities (G, n), (G, n + 1)."""
    mass = torch.ones(len(p), 1)
    for q in p.unbind(1):
        mass = torch.cat([mass * (1 - q[:, None]), torch.zeros(len(p), 1)], 1) + torch.cat(
            [torch.zeros(len(p), 1), mass * q[:, None]], 1
        )
    return mass


class TestRows:
    """A row's result depends on the seed and its own values only."""

    def test_pieces_and_order_change_nothing(self):
        vae = curved()
        torch.manual_seed(4)
        y = torch.where(torch.rand(9, 8) < 0.3, math.nan, vae.simulate(9)[0])
        order = torch.tensor([4, 2, 0, 8, 6, 1, 3, 5, 7])
        for method in ("importance", "laplace"):
            whole = pv.condition(vae, y, draws=5, method=method)
            mixed = pv.condition(vae, y[order], draws=5, method=method, chunk=500)
            one = pv.condition(vae, y[3:4], draws=5, method=method)
            for rows, other in ((order, mixed), (slice(3, 4), one)):
                assert torch.allclose(whole.x[:, rows], other.x, atol=2e-3)
                assert torch.allclose(whole.mean[rows], other.mean, atol=2e-5)
                assert torch.allclose(whole.sd[rows], other.sd, atol=2e-5)
                assert np.allclose(whole.log_py[rows], other.log_py, atol=1e-4)

    def test_the_seed_changes_samples(self):
        vae, y = curved(), torch.full((2, 8), math.nan)
        first, again, other = (pv.condition(vae, y, draws=3, seed=s) for s in (0, 0, 1))
        assert torch.equal(first.x, again.x)
        assert not torch.allclose(first.x, other.x)

    def test_it_has_no_side_effects(self):
        vae = curved().train()
        before, state = {k: v.clone() for k, v in vae.state_dict().items()}, torch.get_rng_state()
        pv.condition(vae, torch.full((2, 8), math.nan), draws=3)
        assert vae.training
        assert torch.equal(state, torch.get_rng_state())
        assert all(torch.equal(before[k], v) for k, v in vae.state_dict().items())

    def test_nothing_known_gives_the_prior_predictive(self):
        vae = curved()
        got = pv.condition(vae, torch.full((1, 8), math.nan), draws=4000, particles=4000)
        assert abs(got.log_py[0]) < 0.1
        torch.manual_seed(0)
        x = vae.sample(20_000)
        assert (got.x[:, 0].mean(0) - x.mean(0)).abs().max() < 0.12
        assert (got.x[:, 0].std(0) - x.std(0)).abs().max() < 0.12

    def test_everything_known_gives_itself(self):
        vae = curved()
        x, _ = vae.simulate(3)
        got = pv.condition(vae, x, draws=4)
        assert (got.x == x).all()
        assert (got.sd == 0).all()
        exact = pv.log_evidence(vae, x, method="laplace", particles=4000)
        assert np.abs(got.log_py - exact.log_px).max() < 0.2


class TestPrograms:
    def test_discrete_latents(self):
        torch.manual_seed(0)
        prior, guide = pv.priors.Categorical(4), pv.guides.Categorical(4)
        networks = {"encoder": pv.networks.MLP(8), "decoder": pv.networks.MLP(8)}
        vae = pv.VAE((6,), 1, prior=prior, guide=guide, **networks).eval()
        y = torch.tensor([[1.0, 0.0, math.nan, math.nan, 1.0, 0.0]])
        got = pv.condition(vae, y, draws=20)
        z = torch.eye(4)
        with torch.no_grad():
            p = vae.decode(z).mean
        known = ~y[0].isnan()
        each = dist.Bernoulli(p[:, known]).log_prob(y[0, known]).sum(1)
        exact = (each + math.log(0.25)).logsumexp(0)
        assert got.log_py[0] == pytest.approx(exact.item(), abs=0.05)
        assert set(got.method) == {"importance sampling"}

    def test_a_context_and_labels(self):
        torch.manual_seed(0)
        vae = pv.VAE(
            (6,), 2, context_shape=(3,), encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8)
        ).eval()
        y = torch.full((2, 6), math.nan)
        y[:, 0] = 1.0
        context = torch.eye(3)[:2]
        got = pv.condition(vae, y, context, draws=5)
        assert got.x.shape == (5, 2, 6)
        with pytest.raises(InputError, match="needs a context"):
            pv.condition(vae, y, draws=5)

    def test_a_part_of_the_image_as_context(self):
        """The given half of x is that of the context; log p(y) is that of the rest."""
        data = pv.datasets.load("digits", binarize="threshold", context="left half")
        torch.manual_seed(0)
        networks = {"encoder": pv.networks.MLP(16), "decoder": pv.networks.MLP(16)}
        vae = pv.VAE.suited(data, latent_dim=2, **networks)
        vae.schema = data.schema
        rows = data.test[:4]
        got = pv.condition(vae.eval(), rows, draws=5, method="laplace")
        left = rows.context[..., :4]
        assert (got.x[..., :4] == left).all()
        assert (got.mean[..., :4] == left).all()
        assert (got.sd[..., :4] == 0).all()
        assert np.abs(got.log_py - pv.log_evidence(vae, rows, method="laplace").log_px).max() < 0.05

    def test_a_pair_of_functions(self):
        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z.unsqueeze(-1).expand(*z.shape, 2), 1.0).to_event(1), obs=x)

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x.mean(-1), 1.0))

        got = pv.condition((model, guide), torch.tensor([[1.0, math.nan]]), draws=2000)
        assert got.x[:, 0, 1].mean().item() == pytest.approx(0.5, abs=0.1)
        assert got.x[:, 0, 1].var().item() == pytest.approx(1.5, abs=0.2)
        assert got.log_py[0] == pytest.approx(
            dist.Normal(0.0, 2**0.5).log_prob(torch.tensor(1.0)).item(), abs=0.05
        )

    def test_log_evidence_of_a_measurement(self):
        oracle = ORACLES["linear"]
        y, through, _, sd = measured_by("noise", oracle.sample(5, seed=1), torch.Generator().manual_seed(2))
        program = Measured(oracle, through, (4,))
        evidence = pv.log_evidence(program, y, method="laplace")
        assert np.abs(evidence.log_px - oracle.given(y, None, sd)[0].numpy()).max() < 0.01


@pytest.fixture(scope="module")
def run():
    """A VAE of a small table, and the table."""
    import pandas

    rng = np.random.default_rng(0)
    size = rng.normal(10, 2, 300)
    frame = pandas.DataFrame(
        {
            "size": size,
            "colour": np.where(size + rng.normal(0, 1, 300) > 10, "red", "blue"),
            "count": rng.poisson(size),
        }
    )
    data = pv.datasets.load(frame)
    torch.manual_seed(0)
    networks = {"encoder": pv.networks.MLP(16), "decoder": pv.networks.MLP(16)}
    vae = pv.VAE.suited(data, latent_dim=2, **networks)
    pv.fit(vae, data, epochs=30, figures=False, progress=False, compile=False)
    vae.schema = data.schema
    return vae, frame


class TestTables:
    def test_words_counts_and_numbers(self, run):
        vae, frame = run
        some = frame[:30].astype({"count": "float64"}).copy()
        some.loc[::3, "size"] = np.nan
        some.loc[1::3, "colour"] = None
        some.loc[2::3, "count"] = np.nan
        got = pv.condition(vae, some, draws=50)
        filled = got.to_frame()
        assert list(filled.columns) == list(frame.columns)
        assert filled.isna().sum().sum() == 0
        for name in frame.columns:
            known = some[name].notna()
            assert (filled[name][known] == frame[name][:30][known]).all()
        assert set(filled["colour"]) <= {"red", "blue"}
        assert (filled["count"] % 1 == 0).all()
        assert (filled["colour"] == frame["colour"][:30]).mean() > 0.8
        assert len(got.to_frame("all")) == 50 * 30
        assert got.to_frame("all").columns[0] == "draw"
        assert got.to_frame(3)["colour"].isin(["red", "blue"]).all()
        with pytest.raises(InputError, match="50 samples"):
            got.to_frame(50)

    def test_a_mean_of_words_is_not_a_number(self, run):
        vae, frame = run
        some = frame[:3].copy()
        some.loc[0, "colour"] = None
        got = pv.condition(vae, some, draws=3)
        kind = vae.schema.columns[1].kind
        assert bool(got.mean[0, 1].isnan()) == kind.startswith("categorical")
        assert got.mean[1:].isfinite().all()
        assert got.mode[0, 1] in (0.0, 1.0)

    def test_codes_and_counts_have_modes_through_a_function(self):
        torch.manual_seed(0)
        likelihood = pv.likelihoods.Mixed(["categorical:3", "poisson"])
        networks = {"encoder": pv.networks.MLP(8), "decoder": pv.networks.MLP(8)}
        vae = pv.VAE((2,), 1, likelihood=likelihood, **networks).eval()
        y = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
        got = pv.condition(vae, y, through=lambda x: dist.Normal(x, 0.1), draws=200, particles=5000)
        assert got.mode.tolist() == y.tolist()
        assert got.mean[:, 0].isnan().all()
        assert torch.allclose(got.mean[:, 1], y[:, 1], atol=0.01)

    def test_the_guide_is_trusted_with_gaps_if_it_was_trained_on_some(self, run):
        vae, frame = run
        some = frame[:5].astype({"count": "float64"}).copy()
        some.loc[0, "count"] = np.nan
        program = Measured(vae, Missing(), (3,))
        rows = pv.Rows(vae.rows(some).x)
        assert vae.likelihood.flags_missing
        assert program.guide_knows(rows).tolist() == [False, True, True, True, True]
        vae.schema = replace(vae.schema, gaps=True)
        assert program.guide_knows(rows).all()
        vae.schema = replace(vae.schema, gaps=None)  # of a run of an earlier version
        assert program.guide_knows(rows).tolist() == [False, True, True, True, True]
        vae.schema = replace(vae.schema, gaps=False)
        assert pv.datasets.load(frame).schema.gaps is False
        assert pv.datasets.load(some, validation=1, test=1).schema.gaps is True


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "said"),
        [
            (lambda vae: pv.condition(vae, torch.zeros(2, 3)), "y must have shape"),
            (lambda vae: pv.condition(vae, torch.zeros(0, 8)), "no rows"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8), through=Downsample(2)), "y must have shape"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 2), through=Downsample(3)), "sizes that 3 divides"),
            (lambda vae: pv.condition(vae, torch.full((2, 8), math.inf)), "outside its support|inf"),
            (lambda vae: pv.condition(vae, torch.full((2, 8), math.inf), through=Noise(1)), "row 0 of y"),
            (lambda vae: pv.condition(vae, torch.full((2, 8), 0.3), through=Quantised(2)), "row 0 of y"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8), draws=0), "draws must be"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8), method="defensive"), "gives log p.x. only"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8), method="psis"), "gives log p.x. only"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8), method="x"), "no method 'x'"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8), through="noise"), "through must be"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8), draws=10**9), "GiB free"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8)).to_frame(), "not trained on a table"),
            (lambda vae: pv.condition(vae, torch.zeros(1, 8)).quantile(2), "share must be"),
            (lambda vae: pv.condition(vae, torch.zeros(2, 8), through=Flip(0.1)), "values of 0 and 1"),
        ],
    )
    def test_one_sentence(self, call, said):
        with pytest.raises(InputError, match=said) as error:
            call(curved())
        assert "\\n" not in str(error.value)  # a line end is escaped
        assert "Trace Shapes" not in str(error.value)

    def test_a_row_without_any_weight_is_nan(self):
        vae = curved()
        x, _ = vae.simulate(3)
        y = x.clone()
        y[1] += 1e3
        through = Custom(lambda x: dist.Uniform(x - 9, x + 9))
        got = pv.condition(vae, y, through=through, draws=4, method="importance")
        assert got.log_py[1] == -np.inf
        assert np.isfinite(got.log_py[[0, 2]]).all()
        for part in (got.x.transpose(0, 1), got.mean, got.sd, got.mode):
            assert part[1].isnan().all()
            assert part[[0, 2]].isfinite().all()
        assert not got.trusted[1]
        assert "1 of 3 rows have no probability" in got.verdict

    def test_a_poor_posterior_is_reported(self):
        vae = curved()
        y, _ = vae.simulate(5)
        got = pv.condition(vae, y, draws=10, particles=30, method="importance")
        assert not got.trusted.all()
        assert "come from few weights" in got.verdict
        assert "of 5 rows" in str(got)

    def test_a_blurred_image_with_gaps_and_a_mechanism_are_refused(self, vae):
        y = torch.zeros(2, 1, 4, 4)
        y[1, 0, 0, 0] = math.nan
        with pytest.raises(InputError, match="needs every entry of y, and row 1 has missing ones"):
            pv.condition(vae, y, through=Blur(1.0), draws=2)
        likelihood, mechanism = pv.likelihoods.Normal(0.3), pv.likelihoods.SelfMasking("high")
        masked = pv.VAE((1, 4, 4), 1, likelihood=likelihood, mechanism=mechanism)
        with pytest.raises(InputError, match="says why entries of x are missing"):
            pv.condition(masked, torch.zeros(1, 1, 2, 2), through=Crop(2, 2) >> Noise(0.1), draws=2)

    def test_a_function_with_another_shape(self):
        vae = curved()
        through = Custom(lambda x: dist.Normal(x.sum(-1, keepdim=True), 0.5), (1,))
        torch.manual_seed(0)
        x, _ = vae.simulate(4)
        got = pv.condition(
            vae, x.sum(-1, keepdim=True), through=through, draws=50, particles=20_000, method="importance"
        )
        assert got.x.shape == (50, 4, 8)
        assert (got.x.sum(-1) - x.sum(-1)).abs().mean() < 0.8

    @pytest.mark.parametrize("shape", [(), (1,)])
    def test_a_function_with_one_number(self, shape):
        through = Custom(lambda x: dist.Normal(x.sum(-1).reshape(*x.shape[:-1], *shape), 0.5), shape)
        got = pv.condition(curved(), torch.zeros(3, *shape), through=through, draws=2, particles=100)
        assert got.y.shape == (3, *shape)
        assert np.isfinite(got.log_py).all()

    def test_a_function_whose_y_has_another_shape_is_refused(self):
        with pytest.raises(InputError, match=r"gives a y of shape \(2,\).*y_shape=\(2,\)"):
            pv.condition(curved(), torch.zeros(3, 8), through=lambda x: dist.Normal(x[..., :2], 1.0), draws=2)
        vector = Custom(lambda x: dist.Normal(x[..., :2], 1.0), ())  # declared to be one number
        with pytest.raises(InputError, match=r"gives a y of shape \(2,\).*y_shape=\(2,\)"):
            pv.condition(curved(), torch.zeros(3), through=vector, draws=2)

    @pytest.mark.parametrize("particles", [1, 10])
    def test_few_particles_are_not_trusted(self, particles):
        y = torch.full((3, 8), math.nan)
        got = pv.condition(curved(), y, draws=2, particles=particles, method="laplace")
        assert not got.trusted.any()
        assert "give more particles" in got.verdict

    @pytest.mark.parametrize("through", [Missing(), Noise(1.0)], ids=repr)
    def test_observations_that_are_one_number(self, through):
        def model(x=None):
            with pyro.plate("data", 1 if x is None else len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                return pyro.sample("x", dist.Normal(z, 0.5), obs=x)

        def guide(x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(0.0, 1.0))

        y = torch.tensor([0.3, math.nan])
        got = pv.condition((model, guide), y, through=through, draws=5, particles=1000)
        spread = math.sqrt(1.25 if isinstance(through, Missing) else 2.25)
        exact = [dist.Normal(0.0, spread).log_prob(y[0]).item(), 0.0]
        assert got.x.shape == (5, 2)
        assert np.abs(got.log_py - exact).max() < 0.1
