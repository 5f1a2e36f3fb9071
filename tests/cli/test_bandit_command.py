"""`pyrovae bandit`."""

from pathlib import Path

import pandas
import pytest

from pyrovae.cli import main
from pyrovae.datasets import archive
from pyrovae.training import load
from tests.support.image_sets import fake_cifar, fake_mnist

QUICK = "--particles 3 --compile false --latent_dim 2 --device cpu".split()
DIGITS = "--data digits --binarize threshold --test 1000".split()
ARMS = """
dense: {decoder: {class_path: MLP, init_args: {sizes: [4]}}}
dense wide: {decoder: {class_path: MLP, init_args: {sizes: [8]}}}
convolutions: {decoder: {class_path: ConvDecoder, init_args: {channels: [2]}}}
convolutions deep: {decoder: {class_path: pyrovae.networks.ConvDecoder, init_args: {channels: [2, 2]}}}
mixed: {decoder: {class_path: ConvDecoder, init_args: {channels: [2], hidden: [4]}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert main(["bandit", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_arms_of_the_command_line(capsys):
    words = ["bandit", *DIGITS, *QUICK, "--vary", "decoder=MLP,ConvDecoder", "lr=0.001,0.002", "--pulls", "5"]
    words += ["--policy", "ucb", "--policy.value", "Mean", "--policy.value.window", "9", "--out", "b"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "4 arms, 5 pulls" in text
    assert "UCB(value=Mean(discount=1.0, window=9))" in text
    assert "pull 5 of 5: decoder=" in text
    table = pandas.read_csv("b/table.csv")
    assert set(table["arm"]) == {
        f"decoder={decoder} lr={lr}" for decoder in ("MLP", "ConvDecoder") for lr in ("0.001", "0.002")
    }
    assert table["pulls"].sum() == 5
    assert {path.name for path in Path("b/figures").iterdir()} == {
        "pulls.png",
        "rewards.png",
        "reconstructions.png",
    }
    best = text.split("the best run: ")[1].split()[0]
    assert load(best, which="last").latent_dim == 2
    assert main([*words[:-2], "--out", "b", "--pulls", "6"]) == 0  # goes on
    assert "pull 6 of 6" in (text := capsys.readouterr().out)
    assert "pull 5 of 6" not in text
    assert "failed" not in text
    assert "b holds another bandit (seed was 0 and is 1)" in refused(capsys, *words[1:], "--seed", "1")


@pytest.mark.parametrize("shared", [[], ["--shared", "encoder"]])
def test_arms_of_a_file(shared, capsys):
    Path("arms.yaml").write_text(ARMS)
    words = ["bandit", *DIGITS, *QUICK, "--arms", "arms.yaml", "--pulls", "6", "--policy", "Turns", *shared]
    assert main([*words, "--encoder", "MLP", "--encoder.sizes", "[8]", "--reward", "reconstruction"]) == 0
    text = capsys.readouterr().out
    assert "5 arms, 6 pulls" in text
    assert "E_q log p(x|z) in nats per observation" in text
    assert Path("bandits/digits-1/arms/convolutions,deep/last.ckpt").exists()
    vae = load("bandits/digits-1/arms/mixed", which="last")
    assert repr(vae.decoder) == "ConvDecoder(channels=(2,), hidden=(4,))"


@pytest.mark.parametrize(("name", "channels"), [("qmnist", 1), ("fashion", 1), ("cifar10", 3)])
def test_image_sets_of_the_source(name, channels, monkeypatch, capsys):
    """5 decoders on QMNIST, Fashion-MNIST and CIFAR-10 at 32x32, from small files in their formats."""
    monkeypatch.setenv("PYROVAE_DATA", "d")
    if name == "cifar10":
        fake_cifar(Path("d"), monkeypatch)
    else:
        layout = archive.LAYOUTS["fashion_mnist" if name == "fashion" else name]
        fake_mnist(Path("d"), files=layout.files, name=layout.class_name)
    Path("arms.yaml").write_text(ARMS)
    words = ["bandit", "--data", name, "--resize", "32", *QUICK, "--arms", "arms.yaml", "--pulls", "5"]
    assert main([*words, "--shared", "encoder", "--encoder", "MLP", "--encoder.sizes", "[8]"]) == 0
    assert "5 arms, 5 pulls" in capsys.readouterr().out
    run = next(Path("bandits").iterdir()) / "arms/convolutions"
    assert load(run, which="last").event_shape == (channels, 32, 32)


def test_refusals(capsys):
    assert "there are no arms: give choices with --vary" in refused(capsys, *DIGITS)
    assert "there are no arms" in refused(capsys, *DIGITS, "--vary", "latent_dim=3")
    Path("arms.yaml").write_text(ARMS)
    both = ["--arms", "arms.yaml", "--vary", "latent_dim=2,3"]
    assert "the arms are given twice" in refused(capsys, *DIGITS, *both)
    assert "there is no policy 'greedy': choose one of EXP3" in refused(capsys, *DIGITS, "--policy", "greedy")
    assert "a bandit chooses the epochs" in refused(
        capsys, *DIGITS, "--vary", "latent_dim=2,3", "--epochs", "9"
    )
    assert "none.yaml cannot be read" in refused(capsys, *DIGITS, "--arms", "none.yaml")
    Path("arms.yaml").write_text("dense: MLP\n")
    assert "arm 'dense' must have options" in refused(capsys, *DIGITS, "--arms", "arms.yaml")
    Path("arms.yaml").write_text("dense: {decoder: {class_path: evil.Decoder}}\n")
    assert "evil" in refused(capsys, *DIGITS, "--arms", "arms.yaml")
    assert not Path("bandits").exists()
