"""Autoencoders: codes without noise, their penalties, and what is refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.networks import ConvEncoder
from pyrovae.objectives import Autoencoder
from pyrovae.terms import Runner, run
from tests.support.captured import alike, interpreted
from tests.support.cells import partner
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import binary, checkpoint, same, small

QUIET = {"progress": False, "figures": False, "batch_size": 20}


def value(vae, x, objective, seed=0):
    """What the objective ascends, (B,)."""
    objective.begin(100, vae)
    torch.manual_seed(seed)
    return objective.ascended(Runner(vae).run(pv.Rows(x), **objective.draw_options(1)))


def reconstruction(vae, x, z):
    return vae.decode(z).log_prob(x)


@pytest.fixture
def vae():
    return small(latent_dim=4).double()


@pytest.fixture
def x():
    return binary(12).double()


def test_it_scores_x_at_the_mean_of_the_guide(vae, x):
    """The same for every seed: nothing is drawn."""
    z = vae.encode(x).mean
    torch.testing.assert_close(value(vae, x, Autoencoder()), reconstruction(vae, x, z))
    assert torch.equal(value(vae, x, Autoencoder(), 1), value(vae, x, Autoencoder(), 2))


def test_an_l1_penalty_by_hand(vae, x):
    z = vae.encode(x).mean
    wanted = reconstruction(vae, x, z) - 0.3 * z.abs().sum(-1)
    torch.testing.assert_close(value(vae, x, Autoencoder(0.3)), wanted)


def test_a_kl_penalty_by_hand(vae, x):
    z = vae.encode(x).mean
    active, target = dist.Bernoulli(z.sigmoid().mean(0)), dist.Bernoulli(torch.tensor(0.05).double())
    penalty = torch.distributions.kl_divergence(target, active).sum()
    objective = Autoencoder(2.0, "kl")
    torch.testing.assert_close(value(vae, x, objective), reconstruction(vae, x, z) - 2.0 * penalty)
    assert objective.of_batch
    assert not Autoencoder(0.0, "kl").of_batch


def test_the_top_k_by_hand(vae, x):
    """The decoder reads 2 of 4 entries; the others cost half their squares."""
    z = vae.encode(x).mean
    small_ones = z.abs().argsort(-1)[:, :2]
    kept = z.scatter(-1, small_ones, 0.0)
    wanted = reconstruction(vae, x, kept) - 0.5 * (z - kept).square().sum(-1)
    torch.testing.assert_close(value(vae, x, Autoencoder(0.5, "topk")), wanted)
    whole = value(vae, x, Autoencoder(0.0, "topk"))
    torch.testing.assert_close(whole, reconstruction(vae, x, z))


@pytest.mark.parametrize(("share", "kept"), [(0.0, 10), (0.1, 9), (0.7, 3), (0.95, 1), (0.99, 1)])
def test_the_number_of_entries_that_are_kept(share, kept):
    assert Autoencoder(share, "topk").count(10) == kept


def test_the_encoder_reads_noise_and_the_model_does_not(vae, x):
    """With the Jacobian J, small noise moves the codes by noise of covariance noise^2 J J^T."""
    jacobian = torch.autograd.functional.jacobian(lambda x: vae.encode(x).mean, x[0]).flatten(1)
    rows = x[:1].expand(20_000, *x.shape[1:])
    pair = Runner(vae).run(pv.Rows(rows))
    codes, decode = [], vae.decode
    vae.decode = lambda z, context=None: codes.append(z.detach()) or decode(z, context)
    objective = Autoencoder(noise=0.02)
    objective.begin(100, vae)
    torch.manual_seed(0)
    ascended = objective.ascended(pair)
    (z,) = codes
    apart = (z.reshape(-1, 4) - vae.encode(x[0]).mean.detach()) / 0.02
    torch.testing.assert_close(torch.cov(apart.T), jacobian @ jacobian.T, rtol=0.06, atol=0.01)
    torch.testing.assert_close(ascended, decode(z).log_prob(rows).mean(0))  # of x without noise
    assert vae.input_noise == 0.0


def test_the_contraction_is_the_norm_of_the_jacobian(vae, x):
    jacobian = torch.autograd.functional.jacobian(lambda x: vae.encode(x).mean, x[0])
    rows = x[:1].expand(20_000, *x.shape[1:])
    slope = (value(vae, rows, Autoencoder()) - value(vae, rows, Autoencoder(contraction=1.0))).mean()
    torch.testing.assert_close(slope, jacobian.square().sum(), rtol=0.03, atol=0)


def test_the_contraction_is_that_of_the_encoder_without_dropout(x):
    """Two codes with other dropped entries differ by far more than the step."""
    slopes = []
    for share in (0.0, 0.5):
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Dropout(share))
        vae = small((16,), encoder=pv.networks.Wrapped(layers, features=8)).double().train()
        pair, values = Runner(vae).run(pv.Rows(x.flatten(1))), []
        for objective in (Autoencoder(), Autoencoder(contraction=1.0)):
            objective.begin(100, vae)
            torch.manual_seed(0)
            values.append(objective.ascended(pair))
        slopes.append(values[0] - values[1])
        assert all(part.training for part in vae.modules())
    torch.testing.assert_close(slopes[1], slopes[0])


def test_noise_is_in_the_units_of_the_encoder():
    """Columns that differ by a factor of a thousand get the same noise, relative to their spread."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=draw) * torch.tensor([1.0, 1000.0])
    vae = small((2,), likelihood=pv.likelihoods.Normal(scale="learned"))
    vae.start_from(x)
    inputs = vae.inputs(x)
    vae.input_noise = 0.5
    apart = vae.inputs(x) - inputs
    torch.testing.assert_close(apart.std(0), torch.tensor([0.5, 0.5]), rtol=0.2, atol=0)
    counts = small((2,), likelihood=pv.likelihoods.LogNormal())
    counts.start_from(x.abs())
    counts.input_noise = 0.5
    assert counts.inputs(x.abs()).isfinite().all()


SCALED = [
    pv.guides.DiagonalNormal(),
    pv.guides.FullRankNormal(),
    pv.guides.LowRankNormal(1),
    pv.guides.Laplace(),
]


@pytest.mark.parametrize("guide", [*SCALED, pv.guides.GaussianMixture(2)], ids=repr)
def test_samples_are_the_codes_nearly(guide, x):
    """Also where the encoder gives correlations."""
    vae = small(guide=guide).double()
    Autoencoder().prepare(vae)
    q = vae.encode(x)
    if guide in SCALED:
        deviation = 0.01 * 2**0.5 if isinstance(guide, pv.guides.Laplace) else 0.01
        torch.testing.assert_close(q.variance.sqrt(), torch.full_like(q.mean, deviation))
    pv.fit(vae, binary(), Autoencoder(), epochs=1, **QUIET)


def test_a_pair_with_latents_that_depend_on_each_other(x):
    """The mean of the second is taken at the mean of the first."""

    def model(x):
        with pyro.plate("data", len(x)):
            first = pyro.sample("first", dist.Normal(torch.zeros(()), 1.0))
            second = pyro.sample("second", dist.Normal(first, 1.0))
            pyro.sample("x", dist.Normal(second.unsqueeze(-1) * torch.ones(16), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            first = pyro.sample("first", dist.Normal(x.sum(-1), 1.0))
            pyro.sample("second", dist.Normal(first.square(), 1.0))

    x = x.flatten(1)
    ascended = Autoencoder().ascended(run(model, guide, x))
    z = x.sum(-1, keepdim=True).square()
    torch.testing.assert_close(ascended, dist.Normal(z, 1.0).log_prob(x).sum(-1))
    with pytest.raises(InputError, match="need a guide with one latent vector z"):
        Autoencoder(0.1).ascended(run(model, guide, x))


# ---------------------------------------------------------------- in use

KINDS = [
    Autoencoder(),
    Autoencoder(0.1),
    Autoencoder(1.0, "kl"),
    Autoencoder(0.5, "topk"),
    Autoencoder(noise=0.2, contraction=0.1),
]


@pytest.mark.parametrize("objective", KINDS, ids=repr)
def test_the_captured_step_is_the_same(objective, monkeypatch):
    graphs = interpreted(monkeypatch)
    alike(lambda: small().double(), binary().double(), objective, apart=1e-9)
    assert graphs.calls > 0


def test_it_is_captured_with_convolutions(monkeypatch):
    graphs = interpreted(monkeypatch)
    parts = {"encoder": ConvEncoder((2, 3), features=5), "decoder": pv.networks.ConvDecoder((3, 2))}
    x = binary(30, (1, 8, 8)).double()
    alike(lambda: small((1, 8, 8), **parts).double(), x, Autoencoder(0.1, noise=0.2), apart=1e-9)
    assert graphs.calls > 0


def test_the_bound_is_a_bound_and_the_scale_stays(tmp_path):
    """The scale of q(z|x) is the same for all x, at the end as at the start."""
    data = pv.datasets.load(binary(100), validation=20, test=20)
    vae = small()
    run = pv.fit(vae, data, Autoencoder(), epochs=10, lr=0.01, out=tmp_path / "r", **QUIET)
    assert vae.encode(data.test).base_dist.scale.sub(0.01).abs().max() < 1e-6
    assert run.best_epoch == 1 + int(run.history["objective"].argmax())
    log_px = pv.log_evidence(vae, data.validation, method="laplace", particles=200, compile=False)
    assert run.history["validation"][run.best_epoch - 1] < log_px.mean
    x_hat, z = vae.reconstruct(data.test, seed=0), vae.encode(data.test).mean
    torch.testing.assert_close(x_hat, vae.decode(z).mean, rtol=0, atol=0.02)


def test_a_resumed_run_is_not_prepared_again(tmp_path):
    data = pv.datasets.load(binary(100), validation=20, test=20)
    options = {"lr": 0.01, "lr_schedule": "constant", "compile": False} | QUIET
    whole, objective = small(), Autoencoder(0.1, noise=0.2)
    pv.fit(whole, data, objective, epochs=4, **options)
    pv.fit(small(), data, objective, epochs=2, out=tmp_path / "r", **options)
    again = pv.fit(small(), data, objective, epochs=4, out=tmp_path / "r", resume=True, **options)
    assert same(again.program.state_dict(), whole.state_dict())
    assert checkpoint(tmp_path / "r")["state"]["position"]["epoch"] == 4


def test_it_reconstructs_better_than_a_vae():
    data = pv.datasets.load("digits", binarize="threshold")
    errors = []
    for objective in (pv.objectives.ELBO(), Autoencoder()):
        vae = pv.VAE(data.event_shape, 8, seed=0)
        pv.fit(vae, data, objective, epochs=15, lr=3e-3, **(QUIET | {"batch_size": 60}))
        errors.append((vae.reconstruct(data.test, seed=0) - data.test.x).square().mean().item())
    assert errors[1] < 0.6 * errors[0]


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "guide",
    [
        pv.guides.Flow(transforms=1, hidden=(4,)),
        pv.guides.Hierarchical(layers=(1,), hidden=(4,)),
        pv.guides.ProjectedNormal(),
        pv.guides.Categorical(2),
        pv.guides.Classes(2),
    ],
    ids=repr,
)
def test_a_guide_without_a_mean_is_refused(guide):
    vae = small(guide=guide, prior=partner(guide), latent_dim=4)
    raises_one_sentence(
        lambda: pv.fit(vae, binary(), Autoencoder(), epochs=1, **QUIET), "use a guide such as DiagonalNormal"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsity": -1.0}, "sparsity must be"),
        ({"kind": "l2"}, "kind must be 'l1', 'kl' or 'topk', not 'l2'"),
        ({"sparsity": 1.0, "kind": "topk"}, "give a number below 1"),
        ({"noise": -0.1}, "noise must be"),
        ({"contraction": float("nan")}, "contraction must be"),
    ],
)
def test_bad_options_are_refused(options, said):
    raises_one_sentence(lambda: Autoencoder(**options), said)


def test_a_warmup_is_refused():
    raises_one_sentence(
        lambda: pv.fit(small(), binary(), Autoencoder(), epochs=1, kl_warmup=1.0, **QUIET),
        "leave kl_warmup out",
    )
