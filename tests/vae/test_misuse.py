"""Misuse of the methods of a VAE and of `load`: one sentence, or the right result."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.terms import Program
from tests.support.parts import raises_one_sentence, small_vae


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((4, 5), 0.5))


@pytest.fixture
def conditional():
    return small_vae(context_shape=(3,))


@pytest.fixture
def labelled():
    return small_vae(prior=pv.priors.GaussianMixture(components=3, labels=True))


@pytest.mark.parametrize("method", ["encode", "reconstruct"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 1), (), (1,)])
def test_observations_of_another_shape_are_refused(method, shape):
    vae = small_vae()
    raises_one_sentence(
        lambda: getattr(vae, method)(torch.zeros(shape)), "x must have shape (*, 5)", str(shape)
    )


@pytest.mark.parametrize("method", ["encode", "reconstruct"])
def test_a_whole_data_set_is_refused_where_rows_are_due(method):
    data = pv.datasets.load(torch.zeros(40, 5))
    raises_one_sentence(lambda: getattr(small_vae(), method)(data), "data.test")


def test_one_observation_is_encoded_without_a_batch(x):
    vae = small_vae()
    one, all_of_them = vae.encode(x[0]), vae.encode(x)
    assert one.batch_shape == ()
    torch.testing.assert_close(one.mean, all_of_them.mean[0])


@pytest.mark.parametrize("shape", [(3, 1), (3, 3), ()])
def test_latents_of_another_size_are_refused_not_cut(shape):
    raises_one_sentence(
        lambda: small_vae().decode(torch.zeros(shape)), "z must have shape (*, 2)", str(shape)
    )


def test_a_sample_needs_one_context_and_one_label_for_each_row(conditional, labelled):
    sentence = "2 rows for 3 observations: give one for each"
    raises_one_sentence(lambda: conditional.sample(3, torch.zeros(2, 3)), sentence)
    raises_one_sentence(lambda: labelled.sample(3, y=[0, 1]), sentence)
    assert conditional.sample(3, torch.zeros(1, 3)).shape == (3, 5)
    assert conditional.sample(3, torch.zeros(3)).shape == (3, 5)
    assert labelled.sample(3, y=[0, 1, 2]).shape == (3, 5)
    assert labelled.sample(3, y=1).shape == (3, 5)


def test_what_is_not_a_number_is_named(conditional):
    raises_one_sentence(lambda: conditional.sample(3, "labels"), "context is not an array of numbers")
    raises_one_sentence(lambda: conditional.decode("z"), "z is not an array of numbers")


def test_one_label_or_context_does_not_stand_for_all_rows(x, conditional, labelled):
    raises_one_sentence(lambda: pv.log_evidence(labelled, x, y=1), "y is one number, and x has 4 rows")
    raises_one_sentence(lambda: pv.log_evidence(conditional, x, 1.0), "context is one number")


@pytest.mark.parametrize("shape", [np.int64(5), np.array(5), np.array([5]), torch.tensor([5]), [5], 5.0])
def test_a_shape_may_come_from_numpy_or_torch(shape):
    assert small_vae(shape).event_shape == (5,)
    assert small_vae(context_shape=shape).context_shape == (5,)


def test_labels_and_contexts_of_another_length_are_refused_in_words():
    x = torch.zeros(40, 5)
    raises_one_sentence(lambda: pv.datasets.load(x, labels=np.arange(39) % 3), "40 rows", "labels")
    raises_one_sentence(lambda: pv.datasets.load(x, context=torch.zeros(39, 2)), "40 rows and context 39")


@pytest.mark.parametrize("exists", [True, False])
def test_resume_alone_needs_a_run(exists, tmp_path, capsys):
    """A run that was killed before its first checkpoint has a folder, and its options are not known."""
    folder = tmp_path / "killed"
    if exists:
        (folder / "figures").mkdir(parents=True)
    assert main(["fit", "--out", str(folder), "--resume"]) == 2
    assert capsys.readouterr().err == (
        f"pyrovae: there is no run to resume in {folder}: give the options of a new run as well\n"
    )
    assert folder.exists() == exists


def test_a_class_is_not_a_program(x):
    raises_one_sentence(lambda: pv.log_evidence(pv.VAE, x), "the class VAE is not a probabilistic program")


class OfNumbers(Program):
    """A program of single numbers, by hand."""

    event_shape = ()

    def model(self, x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        scale = pyro.param("width of numbers", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, scale))


def test_a_program_of_numbers_is_trained_on_numbers():
    run = pv.fit(OfNumbers(), torch.randn(60), epochs=1, batch_size=20, progress=False)
    assert np.isfinite(run.history["validation"]).all()
