"""The first words somebody types: none at all, --help, --version, dashes for underscores."""

import subprocess
import sys

import pytest

import pyrovae
from pyrovae.cli import main
from pyrovae.cli.parsing import parse


def call(*words):
    """The call that some words ask for, as its function and arguments."""
    asked = parse(words)
    return asked.func, {name: repr(value) for name, value in asked.keywords.items()}


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_alone_it_shows_its_commands(words, capsys):
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: pyrovae COMMAND [options]")
    for command in ("fit", "evaluate", "parts", "sample"):
        assert f"\n    {command} " in out
    assert not err


def test_its_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pyrovae {pyrovae.__version__}\n"


@pytest.mark.parametrize("option", ["-O", "-OO", "-bb", "-Xutf8=0"])
@pytest.mark.parametrize("words", [[], ["--version"]])
def test_it_answers_in_any_shell(option, words, project):
    """Without docstrings, without an environment, in the C locale."""
    shell = {"PYTHONPATH": str(project), "LC_ALL": "C"}
    command = [sys.executable, option, "-m", "pyrovae", *words]
    answer = subprocess.run(command, env=shell, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "pyrovae" in answer.stdout
    assert not answer.stderr


@pytest.mark.parametrize(
    ("dashes", "underscores"),
    [
        (["fit", "--batch-size", "20"], ["fit", "--batch_size", "20"]),
        (["fit", "--batch-size=20"], ["fit", "--batch_size=20"]),
        (["fit", "--latent-dim", "3", "--kl-warmup", "2"], ["fit", "--latent_dim", "3", "--kl_warmup", "2"]),
        (
            ["fit", "--prior", "GaussianMixture", "--prior.start-epoch", "3", "--prior.start", "kmeans"],
            ["fit", "--prior", "GaussianMixture", "--prior.start_epoch", "3", "--prior.start", "kmeans"],
        ),
        (
            ["fit", "--objective=JensenShannon", "--objective.weight=2", "--checkpoint-seconds=5"],
            ["fit", "--objective=JensenShannon", "--objective.weight=2", "--checkpoint_seconds=5"],
        ),
    ],
)
def test_dashes_are_underscores(dashes, underscores):
    assert call(*dashes) == call(*underscores)


@pytest.mark.parametrize("command", ["fit", "evaluate", "sample", "clusters", "compare", "reconstruct"])
def test_every_option_is_the_same_with_dashes(command, capsys):
    """The words of --help, typed with dashes, are known to the parser."""
    from importlib import import_module

    from pyrovae.cli import parsing

    module = import_module(f"pyrovae.cli.commands.{command}")
    parser = parsing.parser_of(command, getattr(module, command), getattr(module, "add_options", None))
    names = [
        option[2:] for action in parser._actions for option in action.option_strings if option[:2] == "--"
    ]
    words = [f"--{name.replace('_', '-')}=1" for name in names]
    assert [name for name, _ in parsing._options(words, parser)] == names


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["fit", "--batch-sise", "3"], "did you mean --batch_size?"),
        (["fit", "--latentdim", "3"], "did you mean --latent_dim?"),
        (["fit", "--prior", "GaussianMixture", "--prior.startepoch", "3"], "start_epoch"),
        (["fti"], "did you mean fit?"),
        (["version"], "did you mean --version?"),
    ],
)
def test_an_unknown_word_gets_the_nearest_right_one(words, meant, capsys):
    assert main(words) == 2
    assert meant in capsys.readouterr().err
