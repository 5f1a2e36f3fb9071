"""A prior fitted after training: what it maximises, what stays, and what is refused."""

import math

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae import priors
from pyrovae.cli import main
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.objectives import Autoencoder
from pyrovae.tasks.prior_fit import _Codes, _codes
from pyrovae.terms import Runner
from tests.support.parts import PRIORS, raises_one_sentence
from tests.support.same_runs import binary, same, small

QUIET = {"progress": False, "figures": False, "batch_size": 20}
FEW = {"epochs": 2, "progress": False}


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load(binary(200), validation=40, test=40)


@pytest.fixture(scope="module")
def vae(data):
    vae = small()
    pv.fit(vae, data, epochs=20, lr=0.02, **QUIET)
    return vae


def others(vae):
    """The weights of everything but the prior."""
    return {name: w for name, w in vae.state_dict().items() if not name.startswith("prior.")}


@torch.no_grad()
def value(vae, rows, seed=0):
    """E_q[log p(z)] of rows."""
    torch.manual_seed(seed)
    z = vae.encode(rows).sample((200,))
    return vae.latents().log_prob(z).mean().item()


def log_px(vae, rows, particles):
    options = {"method": "importance", "particles": particles, "seed": 0, "compile": False}
    return pv.log_evidence(vae, rows, **options).log_px


# The guide of `small` is on the reals, and its decoder reads two numbers.
OTHER_SPACES = (priors.Hierarchical, priors.HypersphericalUniform, priors.Categorical, priors.Classes)
FITTED = [p for p in PRIORS if not p.labels and not isinstance(p, (*OTHER_SPACES, priors.Conditional))]


@pytest.mark.parametrize("prior", FITTED, ids=repr)
def test_every_prior_is_fitted_and_nothing_else_changes(vae, data, prior):
    before, x = {k: w.clone() for k, w in vae.state_dict().items()}, data.test.x
    if not any(p.requires_grad for p in small(prior=prior).prior.parameters()):
        raises_one_sentence(lambda: pv.fit_prior(vae, data, prior, **FEW), "has nothing to fit")
        return
    new = pv.fit_prior(vae, data, prior, **FEW)
    assert new.prior == prior
    assert same(others(new), others(vae))
    assert same(vae.state_dict(), before)
    z = vae.encode(x).mean
    assert torch.equal(new.encode(x).mean, z)
    assert torch.equal(new.decode(z).log_prob(x), vae.decode(z).log_prob(x))
    assert new.schema == vae.schema
    assert all(p.requires_grad and p.grad is None for p in new.parameters())


def test_a_normal_prior_gets_the_moments_of_the_aggregated_posterior(vae, data):
    """Maximum likelihood of N(m, s^2): the mean and the variance of z, in closed form."""
    new = pv.fit_prior(vae, data, priors.Normal(), epochs=25, lr=0.02, progress=False)
    q = vae.encode(data.train)
    mean = q.mean.mean(0)
    deviation = (q.variance.mean(0) + q.mean.var(0, correction=0)).sqrt()
    p = new.latents()
    torch.testing.assert_close(p.mean, mean, rtol=0, atol=0.03)
    torch.testing.assert_close(p.variance.sqrt(), deviation, rtol=0.03, atol=0)


def test_the_bound_rises_by_the_value(vae, data):
    """The ELBO depends on the prior through E_q[log p(z)] only, and log p(x) rises too."""
    new = pv.fit_prior(vae, data, priors.GaussianMixture(4), epochs=10, progress=False)
    gain = value(new, data.train) - value(vae, data.train)
    assert gain > 0.05
    bounds, exact = ([log_px(v, data.train, particles) for v in (vae, new)] for particles in (1, 500))
    assert bounds[1].mean() - bounds[0].mean() == pytest.approx(gain, abs=0.1)
    difference = exact[1] - exact[0]
    assert difference.mean() > 3 * difference.std() / math.sqrt(len(difference))


def test_random_weights_of_a_mixture_are_fitted_as_such(vae, data):
    """The value is about that of fitted weights."""
    random = priors.GaussianMixture(3, weights="dirichlet")
    mixed = pv.fit_prior(vae, data, random, epochs=30, lr=0.04, progress=False)
    plain = pv.fit_prior(vae, data, priors.GaussianMixture(3), epochs=30, lr=0.04, progress=False)
    assert value(mixed, data.validation) == pytest.approx(value(plain, data.validation), abs=0.1)


def test_an_autoencoder_gets_a_prior_that_draws_its_codes(data):
    vae = small()
    pv.fit(vae, data, Autoencoder(), epochs=30, lr=0.02, **QUIET)
    new = pv.fit_prior(vae, data, priors.GaussianMixture(4, "full"), epochs=5, progress=False)
    z, drawn = vae.encode(data.train).mean, new.latents().sample((2000,))
    torch.testing.assert_close(drawn.mean(0), z.mean(0), rtol=0, atol=0.15 * z.std().item())
    torch.testing.assert_close(drawn.std(0), z.std(0), rtol=0.15, atol=0)
    assert value(new, data.test) > value(vae, data.test) + 1


def test_the_prior_of_the_best_epoch_is_kept(vae, data, monkeypatch):
    """A step that is too long makes later epochs worse on the validation rows."""
    runs = []
    fit = pv.tasks.prior_fit.fit
    monkeypatch.setattr("pyrovae.tasks.prior_fit.fit", lambda *a, **k: runs.append(fit(*a, **k)))
    pv.fit_prior(vae, data, priors.Flow(transforms=1, hidden=(8,)), epochs=6, lr=0.3, progress=False)
    (run,) = runs
    assert run.best_epoch == 1 + int(run.history["validation"].argmax())
    assert run.keep == "objective"


def test_a_seed_makes_it_repeatable_and_moves_nothing(vae, data):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    new = [pv.fit_prior(vae, data, priors.GaussianMixture(3), seed=s, **FEW) for s in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert same(new[0].state_dict(), new[1].state_dict())
    assert not same(new[0].state_dict(), new[2].state_dict())


def test_a_conditional_prior_is_fitted_to_codes_with_their_context():
    draw = torch.Generator().manual_seed(0)
    context = torch.randint(2, (300, 1), generator=draw).double()
    x = torch.bernoulli(0.1 + 0.8 * context.expand(-1, 6), generator=draw)
    rows = pv.Rows(x, context)
    vae = small((6,), context_shape=(1,))
    pv.fit(vae, rows, epochs=5, **QUIET)
    new = pv.fit_prior(vae, rows, priors.Conditional(hidden=(8,)), epochs=5, lr=0.02, progress=False)
    q = vae.encode(rows)
    torch.manual_seed(0)
    z = q.sample()
    old, fitted = (v.latents(context).log_prob(z).mean() for v in (vae, new))
    assert fitted > old
    assert same(others(new), others(vae))


def test_the_codes_are_those_of_the_vae_in_use(data):
    """Dropout, which is for training, changes no code; the mode stays that of the VAE."""
    x, fitted = data.train.x.flatten(1), []
    for share in (0.0, 0.5):
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Linear(16, 5), torch.nn.Dropout(share))
        vae = small((16,), encoder=pv.networks.Wrapped(layers, features=5)).train(share > 0)
        fitted.append(pv.fit_prior(vae, x, priors.GaussianMixture(2), **FEW))
    assert same(fitted[0].state_dict(), fitted[1].state_dict())
    assert [new.training for new in fitted] == [False, True]


def test_the_values_are_printed(vae, data, capsys):
    pv.fit_prior(vae, data, priors.GaussianMixture(2), epochs=1)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("validation E_q[log p(z)]: -")
    assert "with GaussianMixture(components=2), -" in line
    assert line.endswith("with StandardNormal(), nats per observation")


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        (priors.StandardNormal(), "has nothing to fit: choose another"),
        (priors.GaussianMixture(2, labels=True), "without labels=True"),
        (priors.HypersphericalUniform(), "use "),
        (priors.Hierarchical(layers=(1,), hidden=(4,)), "the decoder of this VAE does not read the z of"),
        ("GaussianMixture", "prior must be a prior, as in GaussianMixture(20), not str"),
    ],
    ids=repr,
)
def test_priors_that_do_not_fit_are_refused(vae, data, prior, said):
    raises_one_sentence(lambda: pv.fit_prior(vae, data, prior, **FEW), said)


@pytest.mark.parametrize("prior", [priors.GaussianMixture(3), priors.Hierarchical(layers=(2,), hidden=(4,))])
def test_a_vae_with_layers_names_the_priors_that_it_takes(data, prior):
    own = priors.Hierarchical(layers=(1,), hidden=(4,))
    vae = small(prior=own, guide=pv.guides.Hierarchical(layers=(1,), hidden=(4,)))
    said = "choose a prior with the same layers as Hierarchical(layers=(1,), hidden=(4,))"
    raises_one_sentence(lambda: pv.fit_prior(vae, data, prior, **FEW), said)
    assert pv.fit_prior(vae, data, own, **FEW).prior == own


def test_other_programs_are_refused(data):
    pair = (lambda x: None, lambda x: None)
    with pytest.raises(InputError, match="fit_prior needs a VAE, not tuple"):
        pv.fit_prior(pair, data, priors.Normal())


def test_the_command_writes_a_run(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "fit --data digits --binarize threshold --latent_dim 2 --encoder MLP --encoder.sizes [8] "
    words += "--decoder MLP --decoder.sizes [8] --epochs 2 --figures false --likelihood Bernoulli --out a"
    assert main(words.split()) == 0
    new = "fit-prior a --prior GaussianMixture --prior.components 3 --epochs 1 --out b"
    assert main(new.split()) == 0, capsys.readouterr().err
    one, two = pv.load("a"), pv.load("b")
    assert two.prior == priors.GaussianMixture(3)
    assert same(others(one), others(two))
    assert {f.name for f in (tmp_path / "b").iterdir()} >= {"best.ckpt", "config.yaml", "figures"}
    assert main("compare a b --particles 10 --rows 5".split()) == 0, capsys.readouterr().err
    assert main("sample b --count 4".split()) == 0
    assert main(new.split()) == 2
    assert "b holds another run: choose a new one with --out" in capsys.readouterr().err
    assert main("fit-prior a --prior Hierarchical --out c".split()) == 2  # refused, in a new folder
    assert main("fit-prior a --prior Normal --epochs 1 --out c".split()) == 0
    assert main("fit_prior a --epochs 1 --prior Normal".split()) == 0
    assert pv.load("a-Normal").prior == priors.Normal()


def command(words):
    """The status of a command, and the weights of the run that it writes."""
    return main(words), pv.load(words[-1]).state_dict()


def test_two_processes_fit_the_prior_of_one(pair, data, tmp_path):
    """Only the first has the folder, and both have the weights."""
    pv.fit(small(), data, epochs=1, out=tmp_path / "a", **QUIET)
    np.save(tmp_path / "x.npy", binary(200))
    words = ["fit-prior", str(tmp_path / "a"), "--data", str(tmp_path / "x.npy"), "--prior", "Normal"]
    (one, first), (two, second) = pair(command, [*words, "--epochs", "1", "--out", str(tmp_path / "b")])
    assert (one, two) == (0, 0)
    assert same(first, second)


def test_random_weights_have_the_posterior_of_the_rows_and_not_of_their_codes(vae):
    few = pv.datasets.load(binary(60), validation=10, test=10)
    new = pv.fit_prior(vae, few, priors.GaussianMixture(3, weights="dirichlet"), lr=0.02, **FEW)
    assert Runner(_Codes(new)).check(Rows(torch.zeros(2, 2))).global_sites == (
        "prior.random_weights",
        "prior.random_means",
    )
    # The sum of the concentrations is about the number of rows, 40, which 50,000 codes would raise from 100.
    assert new.prior.random_weights.log_concentration.exp().sum() < 90
    assert _codes(vae, few).distinct == 40
