"""Wrong paths, sizes, latents, labels and folders are refused in one sentence."""

import os

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae import datasets
from pyrovae.cli import main
from pyrovae.networks import MLP, Conv1dEncoder, ConvDecoder, ConvEncoder, Gated
from pyrovae.oracles import LinearGaussian
from tests.support.parts import raises_one_sentence, small_vae


@pytest.mark.parametrize("part", [ConvEncoder, ConvDecoder, Conv1dEncoder])
@pytest.mark.parametrize("channels", [32, 1.5, "32", None])
def test_channels_that_are_no_list(part, channels):
    raises_one_sentence(lambda: part(channels=channels), "channels must be a list of sizes", "(32, 64)")


@pytest.mark.parametrize(
    "call",
    [
        lambda: MLP(sizes=3),
        lambda: Gated(sizes="ab"),
        lambda: pv.priors.Flow(hidden=3),
        lambda: pv.priors.Hierarchical(layers=3),
        lambda: pv.guides.Flow(hidden=3),
    ],
)
def test_sizes_that_are_no_list(call):
    raises_one_sentence(call, "must be a list of sizes, as in (32, 64), not")


@pytest.mark.parametrize("kind", ["integers", "numpy", "numpy integers", "list"])
def test_encode_and_decode_take_any_numbers(kind):
    vae = small_vae()
    x, z = torch.ones(3, 5), torch.ones(3, 2)
    convert = {
        "integers": lambda t: t.long(),
        "numpy": lambda t: t.numpy(),
        "numpy integers": lambda t: t.long().numpy(),
        "list": lambda t: t.tolist(),
    }[kind]
    torch.testing.assert_close(vae.encode(convert(x)).mean, vae.encode(x).mean)
    torch.testing.assert_close(vae.decode(convert(z)).mean, vae.decode(z).mean)


def test_decode_and_encode_of_nothing():
    raises_one_sentence(lambda: small_vae().decode(None), "z must have shape (*, 2), not None")
    raises_one_sentence(lambda: small_vae().encode(None), "x is not an array of numbers")


def test_a_number_of_labels_without_labels():
    words = "known=10 needs labels, but labels=False drops them: leave one of the two out"
    raises_one_sentence(lambda: datasets.load("digits", known=10, labels=False), words)
    assert datasets.load("digits", known=10).train.y is not None
    assert datasets.load("digits", known=10, labels=True).train.y is not None
    assert datasets.load("digits", labels=False).train.y is None
    assert datasets.load("digits").train.y is None
    assert main(["fit", "--data", "digits", "--known", "10", "--labels", "false"]) == 2


@pytest.mark.parametrize("out", ["a\0b", 3, b"\0"])
def test_paths_that_no_folder_has(out):
    raises_one_sentence(lambda: pv.fit(small_vae(), torch.zeros(30, 5), out=out), "out")


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "~nobody_of_this_name/x"])
def test_names_that_no_file_has(name):
    raises_one_sentence(lambda: datasets.load(name), "a file")


def test_a_nul_character_in_a_word(capsys):
    assert main(["fit", "--data", "digits", "--out", "a\0b"]) == 2
    assert "'a\\x00b' contains a NUL character" in capsys.readouterr().err


def test_a_name_that_is_too_long_for_the_system(capsys):
    assert main(["evaluate", "a" * 5000]) == 2
    error = capsys.readouterr().err
    assert "file name too long" in error
    assert error.count("\n") == 1


def test_a_working_folder_that_is_gone(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    os.rmdir(gone)
    assert main(["data", "digits"]) == 2
    assert capsys.readouterr().err == (
        "pyrovae: the working folder no longer exists: change to another folder\n"
    )


def test_rows_without_weight_in_iwae_bound_and_log_evidence():
    oracle = LinearGaussian.random(3, 2)
    x = oracle.sample(4)
    x[2] = 1e30  # its weights are all zero
    assert pv.log_evidence(oracle, x, particles=5).weightless.tolist() == [False, False, True, False]
    assert (pv.iwae_bound(oracle, x, particles=(1, 5)).bound[:, 2] == -float("inf")).all()
    raises_one_sentence(lambda: pv.log_evidence(oracle, x[2:3], particles=5), "none of the rows")
    raises_one_sentence(lambda: pv.iwae_bound(oracle, x[2:3], particles=(1, 5)), "none of the rows")


@pytest.mark.parametrize("shape", [(20, 7, 3), (20, 1, 8, 9), (20,)])
def test_reconstructing_rows_of_another_shape(shape, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("x.npy", rng.integers(0, 2, (40, 1, 8, 8)).astype("f4"))
    np.save("y.npy", rng.integers(0, 2, shape).astype("f4"))
    assert main("fit --data x.npy --out r --epochs 1 --batch_size 8 --figures false".split()) == 0
    capsys.readouterr()
    for line in (
        "reconstruct r --data y.npy",
        "evaluate r --data y.npy",
        "evaluate r --split all --data y.npy",
    ):
        assert main(line.split()) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "shape" in error


def test_clusters_of_runs_without_labels_are_not_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).integers(0, 2, (40, 5)).astype("f4"))
    line = "fit --data x.npy --out r --prior GaussianMixture --prior.components 2 --epochs 1 --batch_size 8"
    assert main([*line.split(), "--figures", "false", "--compile", "false"]) == 0
    assert main(["clusters", "r", "r"]) == 0
    assert capsys.readouterr().out.count("r: no labels") == 2
