"""Conditional VAEs from the command line: labels, half an image, noise; and jitter."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.errors import InputError
from tests.support.same_runs import assert_same_runs, binary

SMALL = ["--encoder", "MLP", "--encoder.sizes", "[8]", "--decoder", "MLP", "--decoder.sizes", "[8]"]
QUICK = ["--latent_dim", "2", "--lr_schedule", "constant", "--batch_size", "20", *SMALL]
BRIEF = ["--particles", "20", "--method", "importance", "--bounds", "[1]"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", (binary(60) * 200 + 20).numpy().astype(np.uint8))


def fit(*words, epochs=1, out="r"):
    assert main(["fit", "--data", "x.npy", "--epochs", str(epochs), "--out", out, *QUICK, *words]) == 0


@pytest.mark.parametrize(
    ("context", "stored"),
    [
        (["left half"], "left half"),
        (["left", "half"], "left half"),
        (["quadrants", "1", "2"], "quadrants 1 2"),
        (["noisy", ".3"], "noisy 0.3"),
        (["small 2"], "small 2"),
    ],
)
def test_every_command_of_a_run_with_a_context_of_x(context, stored, capsys):
    """A half image as context could be trained, and then `sample` and `evaluate` failed."""
    fit("--binarize", "dynamic", "--context", *context, "--figures", "true")
    assert yaml.safe_load(Path("r/config.yaml").read_text())["context"] == stored
    assert pv.load("r").schema.context == stored
    assert Path("r/figures/samples.png").exists()
    assert Path("r/figures/reconstructions.png").exists()
    for words in (
        ["sample", "r", "--count", "25", "--array"],
        ["sample", "r", "--count", "3", "--mean", "false"],
        ["evaluate", "r", "--particles", "20", "--method_rows", "4"],
        ["evaluate", "r", "--split", "train", *BRIEF],
        ["evaluate", "r", "--split", "all", *BRIEF],
        ["reconstruct", "r", "--array"],
        ["score", "r", "x.npy", "--out", "scores.csv", "--particles", "10"],
    ):
        assert main(words) == 0, words
    assert "log p(x | c)" in capsys.readouterr().out
    assert len(Path("scores.csv").read_text().splitlines()) == 61
    assert np.load("r/reconstructions.npy").shape[1:] == (1, 4, 4)


def test_samples_have_ten_of_each_context_that_is_an_image():
    fit("--binarize", "threshold", "--context", "left half")
    assert main(["sample", "r", "--count", "25", "--array", "--mean", "false"]) == 0
    x, test = np.load("r/samples.npy"), pv.datasets.load("x.npy", binarize="threshold").test.x.numpy()
    assert x.shape == (25, 1, 4, 4)
    for i in range(25):
        np.testing.assert_array_equal(x[i, ..., :2], test[i // 10, ..., :2])
    assert set(np.unique(x)) == {0.0, 1.0}


def test_a_run_with_context_and_jitter_is_resumed():
    words = ["--binarize", "dynamic", "--context", "top half", "--jitter", "shift 1, noise .05"]
    words += ["--figures", "false"]
    fit(*words[:4], "--jitter", "shift", "1", "noise", ".05", *words[6:], epochs=3, out="once")
    fit(*words, epochs=1, out="twice")
    assert main(["fit", "--out", "twice", "--resume", "--epochs", "3"]) == 0
    assert_same_runs(Path("once"), Path("twice"))
    assert yaml.safe_load(Path("twice/config.yaml").read_text())["jitter"] == "shift 1, noise 0.05"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--context", "left third"], "use one of 'left half'"),
        (["--context", "noisy"], "standard deviation"),
        (["--jitter", "shfit 2"], "did you mean shift"),
        (["--jitter"], "jitter"),
        (["--context", "left half", "--likelihood", "Multinomial"], "'left half'"),
    ],
)
def test_options_that_cannot_be_used(words, reason, capsys):
    assert main(["fit", "--data", "x.npy", "--out", "r", "--epochs", "1", *QUICK, *words]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert "Traceback" not in error
    assert not Path("r").exists()


def test_a_run_with_a_function_as_context_says_that_it_is_not_stored(capsys):
    data = pv.datasets.load(np.load("x.npy"), binarize="threshold", context=lambda x: x.mean((1, 2, 3)))
    vae = pv.VAE((1, 4, 4), 2, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8), context_shape=(1,))
    pv.fit(vae, data, epochs=1, batch_size=20, out="r", progress=False)
    for words, reason in (
        (["sample", "r"], "name them with --data"),
        (["evaluate", "r", "--data", "x.npy"], "contexts are different"),
        (["score", "r", "x.npy", "--out", "s.csv"], "is not stored"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert reason in error, error
        assert "Traceback" not in error


# -------------------------------------------------------------------- labels

FEW = ["--epochs", "1", "--figures", "false", "--out", "r", *QUICK]
SAMPLES = ["sample", "r", "--label", "7", "--count", "5", "--array", "--seed", "3"]


def test_samples_of_one_label():
    words = ["--binarize", "threshold", "--context", "labels", "--count", "300"]
    assert main(["fit", "--data", "digits", *words, *FEW]) == 0
    assert main(SAMPLES) == 0
    wanted = pv.load("r").sample(5, context=torch.eye(10)[7], mean=True, seed=3).numpy()
    np.testing.assert_array_equal(np.load("r/samples.npy"), wanted)


def test_samples_of_a_label_that_the_prior_observes(capsys):
    words = ["--binarize", "threshold", "--known", "200", "--count", "300"]
    prior = ["--prior", "GaussianMixture", "--prior.components", "10", "--prior.labels", "true"]
    assert main(["fit", "--data", "digits", *words, *prior, *FEW]) == 0
    assert main(SAMPLES) == 0
    wanted = pv.load("r").sample(5, y=torch.full((5,), 7), mean=True, seed=3).numpy()
    np.testing.assert_array_equal(np.load("r/samples.npy"), wanted)
    capsys.readouterr()
    assert main(["sample", "r", "--label", "12"]) == 2
    error = capsys.readouterr().err
    assert "there is no label '12'" in error
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in error


def test_samples_of_a_label_by_its_word():
    """The column of the labels is named, and its labels are the context and not observed as well."""
    rows = "\n".join(f"{i % 7},{i % 5}.5,{('cat', 'dog')[i % 2]}" for i in range(80))
    Path("t.csv").write_text(f"a,b,kind\n{rows}\n")
    assert main(["fit", "--data", "t.csv", "--labels", "kind", "--context", "labels", *FEW]) == 0
    assert main(["sample", "r", "--label", "dog", "--count", "6", "--out", "s.csv"]) == 0
    assert len(Path("s.csv").read_text().splitlines()) == 7


def test_a_run_without_labels_has_none_to_sample(capsys):
    fit("--binarize", "threshold", "--figures", "false")
    assert main(["sample", "r", "--label", "7"]) == 2
    assert "has no labels to sample from" in capsys.readouterr().err
    with pytest.raises(InputError):
        pv.load("r").sample(3, context=7)
