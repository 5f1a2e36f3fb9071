"""NaN is a missing entry: log p(x) is the density of the entries that are present."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae import datasets
from pyrovae.likelihoods import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Laplace,
    LogNormal,
    Mixed,
    Multinomial,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from pyrovae.networks import MLP, Transformer
from pyrovae.terms import Runner
from tests.support.linear import linear_vae
from tests.support.parts import raises_one_sentence

QUIET = {"progress": False, "figures": False}
INDEPENDENT = [
    Normal(1.0),
    Normal("learned"),
    Normal("predicted"),
    Laplace("learned"),
    StudentT(),
    LogNormal(),
    Bernoulli(),
    ContinuousBernoulli(),
    Beta(),
    Poisson(),
    NegativeBinomial(),
    ZeroInflatedNegativeBinomial(),
    Categorical(4),
    DiscretizedLogistic(4),
    Mixed(),
]


def small(likelihood, shape=(5,), **options):
    torch.manual_seed(0)
    return pv.VAE(shape, 2, likelihood=likelihood, encoder=MLP(8), decoder=MLP(8), **options)


def with_holes(x):
    """The rows with some elements missing, and all of row 3."""
    holes = x.clone()
    holes[:10, 1] = holes[3] = math.nan
    return holes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("likelihood", INDEPENDENT, ids=repr)
def test_missing_elements_contribute_nothing(likelihood, dtype):
    vae = small(likelihood).to(dtype)
    x = vae.sample(30).to(dtype)
    holes = with_holes(x)
    p = vae.decode(torch.randn(30, 2, dtype=dtype))
    log_p = p.log_prob(holes)
    each = p.base_dist.log_prob(x)
    torch.testing.assert_close(log_p, (each * ~holes.isnan()).sum(-1))
    assert log_p[3] == 0
    vae.likelihood.check(holes)
    for gradient in torch.autograd.grad(log_p.sum(), [*vae.generation.parameters()]):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def log_px_by_grid(vae, x):
    """The integral of p(x|z) p(z) over a grid of two latents, in nats, (N,)."""
    t = torch.linspace(-7, 7, 281, dtype=torch.float64)
    z = torch.cartesian_prod(t, t)
    log_pz = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    log_p = vae.decode(z.unsqueeze(1)).log_prob(x) + log_pz.unsqueeze(1)
    return log_p.logsumexp(0) + 2 * math.log(14 / 280)


def without_column(vae, column):
    """The same model without one of its five columns: p(x|z) and q(z|x) lose what belongs to it."""
    rest, kept = small(vae.likelihood, (4,)), [i for i in range(5) if i != column]
    weights = {}
    for name, smaller in rest.state_dict().items():
        weights[name] = vae.state_dict()[name]
        for dim, size in enumerate(smaller.shape):
            if weights[name].shape[dim] != size:  # size is 4 for each 5: some parameters have several blocks
                blocks = weights[name].unflatten(dim, (-1, 5))
                weights[name] = blocks[(*[slice(None)] * (dim + 1), kept)].flatten(dim, dim + 1)
    rest.load_state_dict(weights)
    return rest


@pytest.mark.parametrize("objective", [pv.objectives.ELBO(3), pv.objectives.IWAE(4)], ids=repr)
@pytest.mark.parametrize("likelihood", INDEPENDENT, ids=repr)
def test_the_bound_of_a_row_with_a_gap_is_that_of_the_model_without_the_column(likelihood, objective):
    vae = small(likelihood).double()
    if likelihood == Mixed():  # the flag of the column is a constant, which the smaller model does not have
        with torch.no_grad():
            vae.encoder.layers[0].weight[:, 5:] = 0
    x = vae.sample(12).double()
    vae.likelihood.start_from(vae.sample(100).double())
    rest = without_column(vae, 3).double()
    holes = x.clone()
    holes[:, 3] = math.nan
    bounds = []
    for program, rows in ((vae, holes), (rest, x[:, [0, 1, 2, 4]])):
        torch.manual_seed(1)
        bounds.append(objective.bound(Runner(program).terms(pv.Rows(rows), particles=objective.particles)))
    assert bounds[0].isfinite().all()
    torch.testing.assert_close(bounds[0], bounds[1])


@pytest.mark.parametrize("missing", [[], [1], [0, 2], [0, 1, 2, 3]])
def test_log_px_of_a_row_is_the_marginal_of_its_present_entries(missing):
    vae, oracle = linear_vae("correlated", widen=3.0)
    vae = vae.double()
    x = oracle.sample(6).double()
    x[:, missing] = math.nan
    there = [i for i in range(4) if i not in missing]
    w, b = oracle.weight[there].double(), oracle.bias[there].double()
    truth = torch.zeros(6, dtype=torch.float64)
    if there:
        covariance = w @ w.mT + oracle.scale[0].double() ** 2 * torch.eye(len(there), dtype=torch.float64)
        truth = dist.MultivariateNormal(b, covariance).log_prob(x[:, there])
    torch.testing.assert_close(log_px_by_grid(vae, x), truth, rtol=1e-6, atol=1e-6)
    found = pv.log_evidence(vae, x, particles=2000)
    error = np.abs(found.log_px - truth.numpy())
    assert (error < 5 * found.mc_stderr + 1e-9).all(), error / found.mc_stderr


def test_with_the_prior_as_guide_an_empty_row_has_log_px_zero():
    vae = small(Normal(1.0))
    heads = vae.recognition.heads
    with torch.no_grad():
        for head in heads.values():
            head.linear.weight.zero_()
            head.linear.bias.zero_()
    x = torch.full((3, 5), math.nan)
    q, z = vae.encode(x), torch.randn(3, 2)
    weight = vae.latents().log_prob(z) + vae.decode(z).log_prob(x) - q.log_prob(z)
    assert (vae.decode(z).log_prob(x) == 0).all()
    assert torch.allclose(weight, vae.latents().log_prob(z) - q.log_prob(z))


@pytest.mark.parametrize(
    "likelihood", [Multinomial(), Normal("optimal")], ids=["multinomial", "optimal scale"]
)
def test_elements_that_are_not_independent_are_refused(likelihood):
    vae = small(likelihood)
    x = torch.ones(20, 5)
    x[4, 1] = math.nan
    for call in (lambda: pv.fit(vae, x, epochs=1, **QUIET), lambda: pv.log_evidence(vae, x, particles=2)):
        raises_one_sentence(call, "cannot give", "fill in what is missing")


@pytest.mark.parametrize("missing", [False, True])
def test_the_encoder_reads_zeros_and_flags_if_declared(missing):
    vae = small(Normal("learned"), (2, 3), missing=missing)
    vae.likelihood.start_from(torch.randn(50, 2, 3) * 9 + 100)
    x = torch.full((1, 2, 3), 100.0)
    x[0, 0, 1] = math.nan
    read = vae.inputs(x)
    assert read.shape == ((1, 4, 3) if missing else (1, 2, 3))
    assert read[0, 0, 1] == 0
    assert read.isfinite().all()
    if missing:
        assert torch.equal(read[:, 2:], x.isnan().float())


def test_flags_are_declared_saved_and_loaded(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4))
    assert "missing" not in pv.VAE.suited(datasets.load(x)).to_dict()
    x[::3, 2] = np.nan
    run = pv.fit(None, x, epochs=1, out=tmp_path / "run", **QUIET)
    vae = run.program
    assert isinstance(vae.likelihood, Normal)
    assert vae.missing == "flags"
    assert "(x, flags)" in repr(vae)
    loaded = pv.load(tmp_path / "run")
    assert loaded == vae
    assert loaded.clone() == vae
    assert pv.log_evidence(loaded, x, particles=5).mean == pv.log_evidence(vae, x, particles=5).mean
    plain = datasets.load(np.nan_to_num(x))
    assert pv.VAE.suited(plain).missing == "zeros"


def test_sequences_keep_their_gaps():
    """A network that reads sequences gets NaN itself, from every likelihood."""
    network = {"encoder": Transformer(8, heads=2), "decoder": MLP(8)}
    vae = pv.VAE((6, 2), 2, likelihood=Normal(1.0), missing=True, **network)
    x = torch.randn(3, 6, 2)
    x[0, 4:] = math.nan
    assert torch.equal(vae.inputs(x).isnan(), x.isnan())
    assert vae.encode(x).mean.isfinite().all()


@pytest.mark.slow
def test_compiled_steps_equal_eager_ones():
    x = with_holes(torch.rand(40, 5).double())
    runs = {}
    for compiled in (True, False):
        vae = small(Normal("learned"), missing=True)
        pv.fit(vae, x, epochs=1, compile=compiled, **QUIET)
        runs[compiled] = torch.cat([p.detach().flatten() for p in vae.parameters()])
    torch.testing.assert_close(runs[True], runs[False], rtol=1e-4, atol=1e-5)


def test_the_likelihood_follows_the_values_that_are_present():
    rng = np.random.default_rng(0)
    values = {
        Bernoulli: rng.integers(0, 2, (60, 4)).astype(float),
        ContinuousBernoulli: rng.uniform(size=(60, 4)),
        NegativeBinomial: rng.negative_binomial(1, 0.1, (60, 4)).astype(float),
        Poisson: rng.binomial(40, 0.5, (60, 4)).astype(float),
        Normal: rng.normal(size=(60, 4)),
    }
    for kind, x in values.items():
        x[::4, 1] = np.nan
        run = pv.fit(None, x, epochs=1, **QUIET)
        assert type(run.program.likelihood) is kind
        assert run.program.missing == "flags"
        assert np.isfinite(run.history["validation"]).all()


def test_a_value_outside_the_support_is_named_by_its_column():
    import pandas

    frame = pandas.DataFrame({"a": [1, 2, 3] * 10, "b": [2, 1, 0.5] * 10})
    data = datasets.load(frame)
    vae = small(Poisson(), (2,))
    raises_one_sentence(lambda: pv.fit(vae, data, epochs=1, **QUIET), "0.5", "column 'b'")
    x = torch.ones(4, 2)
    x[2, 1] = -1
    raises_one_sentence(lambda: pv.log_evidence(small(Poisson(), (2,)), x), "-1", "row 2 at position 1")
