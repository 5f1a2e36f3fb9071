"""What the encoder reads for missing entries: zeros, flags, learned constants, or a set of entries."""

import math

import numpy as np
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae import datasets
from pyrovae.cli import main
from pyrovae.likelihoods import Mixed, Normal
from pyrovae.networks import MLP, PointEncoder, Transformer
from pyrovae.terms import Runner
from tests.support.parts import attached, raises_one_sentence

QUIET = {"progress": False, "figures": False}
KINDS = ["normal", "categorical:3", "poisson", "categorical:3"]


def small(missing="constants", likelihood=None, shape=(4,), **options):
    networks = {"encoder": MLP(8), "decoder": MLP(8)} | options
    return pv.VAE(shape, 2, likelihood=likelihood or Normal("learned"), missing=missing, seed=0, **networks)


def rows_with_holes(count=60, columns=4, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, columns))
    x[::3, 2] = x[1::4, 0] = np.nan
    return x


@pytest.mark.parametrize(("old", "word"), [(False, "zeros"), (True, "flags")])
def test_the_old_spellings_mean_the_same(old, word):
    before, now = small(old), small(word)
    assert before == now
    assert now.missing == word
    assert before.to_dict() == now.to_dict()
    assert now.to_dict().get("missing", False) is old
    assert pv.VAE.from_dict(now.to_dict()) == now


@pytest.mark.parametrize("wrong", ["nothing", 3, None])
def test_another_word_is_refused(wrong):
    raises_one_sentence(lambda: small(wrong), "missing", "'zeros', 'flags' or 'constants'")


@pytest.mark.parametrize("shape", [(4,), (2, 3), (1,)])
def test_constants_are_read_in_place_of_missing_entries(shape):
    vae = small(shape=shape)
    x = torch.randn(6, *shape)
    x.view(6, -1)[2:, 0] = math.nan
    assert torch.equal(vae.inputs(x), x.nan_to_num())  # they start at zero
    with torch.no_grad():
        vae.constants.values.add_(torch.randn(shape))
    read = vae.inputs(x)
    missing = x.isnan()
    assert torch.equal(read[~missing], x[~missing])
    assert torch.equal(read[missing], vae.constants.values.expand_as(x)[missing])


def test_constants_are_in_the_units_of_the_networks():
    vae = small()
    x = 1e6 + 1e3 * torch.randn(200, 4, dtype=torch.float64)
    vae.likelihood.start_from(x)
    with torch.no_grad():
        vae.constants.values.fill_(0.5)
    x[0, 1] = math.nan
    read = vae.inputs(x)
    assert read.dtype == torch.float32
    assert read[0, 1] == 0.5
    assert read.abs().max() < 10


def test_constants_of_a_table_are_read_next_to_its_flags():
    vae = small(likelihood=Mixed(KINDS))
    x = torch.tensor([[0.5, 2.0, math.nan, 1.0], [math.nan, math.nan, 3.0, 0.0]])
    before = vae.inputs(x)
    with torch.no_grad():
        vae.constants.values.copy_(torch.arange(1.0, 13))
    read = vae.inputs(x)
    # normal, two columns of three classes, poisson, and four flags
    assert vae.likelihood.missing_inputs(x).int().tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    filled = vae.likelihood.missing_inputs(x)
    assert torch.equal(read[~filled], before[~filled])
    assert read[filled].tolist() == [8, 1, 2, 3, 4]
    assert torch.equal(read[:, 8:], x.isnan().float())


@pytest.mark.parametrize("missing", ["zeros", "flags", "constants"])
def test_the_encoders_bound_has_a_gradient_in_the_constants(missing):
    vae, x = small(missing), torch.tensor(rows_with_holes()).float()
    Runner(vae).terms(pv.Rows(x), particles=3).log_w.sum().backward()
    if missing != "constants":
        assert vae.constants is None
        return
    gradient = vae.constants.values.grad
    assert (gradient[[0, 2]] != 0).all()
    assert (gradient[[1, 3]] == 0).all()  # these columns are complete


def test_pyro_trains_the_constants_too():
    import pyro
    from pyro.infer import SVI, Trace_ELBO

    vae, x = small(), torch.tensor(rows_with_holes()).float()
    pyro.clear_param_store()
    SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO()).step(x)
    assert (vae.constants.values[[0, 2]] != 0).all()
    pyro.clear_param_store()


def test_constants_are_saved_and_loaded(tmp_path):
    x = rows_with_holes()
    run = pv.fit(small(), x, epochs=2, out=tmp_path / "run", **QUIET)
    assert (run.program.constants.values[[0, 2]] != 0).all()
    loaded = pv.load(tmp_path / "run")
    assert loaded == run.program
    assert loaded.clone() == loaded
    assert loaded != small("zeros")
    assert "(x, constants)" in repr(loaded)
    assert torch.equal(loaded.constants.values, run.program.constants.values)


@pytest.mark.parametrize("missing", ["zeros", "flags", "constants"])
def test_the_command_line_declares_and_resumes_each(missing, tmp_path, capsys):
    np.save(tmp_path / "x.npy", rows_with_holes())
    options = f"--data {tmp_path}/x.npy --out {tmp_path}/run --figures false".split()
    options += ["--encoder", "MLP", "--encoder.sizes", "[8]", "--latent_dim", "2"]
    options += ["--lr_schedule", "constant"]
    assert main(["fit", *options, "--epochs", "1", "--missing", missing]) == 0
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    # Flags are what the data give, so they are not written, and other data may give zeros.
    assert config.get("missing") == (None if missing == "flags" else missing)
    assert main(["fit", "--out", str(tmp_path / "run"), "--resume", "true", "--epochs", "2"]) == 0
    assert pv.load(tmp_path / "run").missing == missing
    assert "2 epochs" in capsys.readouterr().out


def test_a_network_that_reads_missing_entries_needs_no_constants():
    for encoder in (Transformer(8, heads=2), PointEncoder(8)):
        raises_one_sentence(
            lambda encoder=encoder: small(encoder=encoder),
            "reads missing entries itself",
            "leave missing out",
        )


# ---------------------------------------------------------------- a set of entries


def test_a_point_encoder_reads_the_present_entries_alone():
    """A missing entry is an entry that is not there: the sum is that of the others."""
    encoder, x = attached(PointEncoder(6, embedding=3, width=5), (4,)), torch.randn(3, 4)
    holes = x.clone()
    holes[:, 1] = math.nan
    rest = attached(PointEncoder(6, embedding=3, width=5), (3,))
    with torch.no_grad():
        weights = encoder.state_dict()
        weights["vectors"] = weights["vectors"][[0, 2, 3]]
        rest.load_state_dict(weights)
    scale = math.sqrt(4 / 3)
    torch.testing.assert_close(encoder.pooled(holes) * scale, rest.pooled(x[:, [0, 2, 3]]))
    assert (encoder(holes) - encoder(holes.nan_to_num())).abs().max() > 1e-3  # a gap is not a zero


def test_the_order_of_the_entries_means_nothing():
    encoder, x = attached(PointEncoder(6), (2, 3)), torch.randn(5, 2, 3)
    x[1, 0, 2] = x[2, 1] = x[3] = math.nan
    before, order = encoder(x), torch.randperm(6)
    with torch.no_grad():
        encoder.vectors.copy_(encoder.vectors[order])
    torch.testing.assert_close(encoder(x.flatten(1)[:, order].view(5, 2, 3)), before)


def test_gradients_of_a_point_encoder_are_finite():
    encoder, x = attached(PointEncoder(6), (4,)), torch.randn(5, 4)
    x[1, 2] = x[2] = math.nan
    x.requires_grad_()
    encoder(x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())
    assert (x.grad[x.isnan()] == 0).all()


@pytest.mark.parametrize("likelihood", [Normal("learned"), Mixed(), Mixed(KINDS)], ids=repr)
def test_a_point_encoder_serves_every_likelihood(likelihood):
    vae = small("zeros", likelihood, encoder=PointEncoder(8))
    x = vae.sample(12, seed=0)
    x[::2, 1] = x[5] = math.nan
    read = vae.inputs(x)
    wide = likelihood == Mixed(KINDS)  # two columns of three classes
    assert read.shape == (12, 8 if wide else 4)
    assert torch.equal(read.isnan().any(-1), x.isnan().any(-1))
    if wide:
        assert torch.equal(read.isnan()[:, 1:4], x.isnan()[:, 1:2].expand(-1, 3))
    assert vae.encode(x).mean.isfinite().all()
    run = pv.fit(vae, x.double(), epochs=1, **QUIET)
    assert np.isfinite(run.history["train"]).all()


def test_a_point_encoder_is_no_decoder():
    raises_one_sentence(lambda: small(decoder=PointEncoder(8)), "PointEncoder is an encoder", "use MLP")


def test_suited_takes_the_users_word():
    data = datasets.load(rows_with_holes())
    assert pv.VAE.suited(data).missing == "flags"
    assert pv.VAE.suited(data, missing="constants").missing == "constants"
