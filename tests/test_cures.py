"""Cures in messages: Python words in Python, and commands to paste on the command line."""

import shlex
from pathlib import Path

import numpy as np
import pytest

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.cures import again, command, cure, resuming, scoring, typed
from pyrovae.errors import InputError
from tests.support.interrupted import stop_after
from tests.support.same_runs import binary, small

FIT = "--batch_size 10 --epochs 1 --figures false --compile false --latent_dim 2 --encoder MLP --decoder MLP"
QUIET = {"epochs": 1, "batch_size": 10, "figures": False, "progress": False, "compile": False}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", binary(60).numpy())
    return tmp_path


def pasted(error):
    """The words of the command at the end of a message."""
    line = error.strip()
    return shlex.split(line[line.rindex("pyrovae ") :])[1:]


def test_words_of_python_and_of_a_command():
    assert cure("out=", "--out") == "out="
    with typed(["fit"]):
        assert cure("out=", "--out") == "--out"
        with typed(["sample", "r"]):
            assert again() == "pyrovae sample r"
        assert again(out="a b") == "pyrovae fit --out 'a b'"
    assert again(out="a") == ""


@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        (["fit", "--out", "a"], {"out": "b"}, "pyrovae fit --out a"),
        (["fit", "--out=a"], {"out": "b"}, "pyrovae fit --out=a"),
        (["score", "r", "my file.csv"], {"overwrite": True}, "pyrovae score r 'my file.csv' --overwrite"),
        (["fit", "--batch-size", "3"], {"batch_size": 4}, "pyrovae fit --batch-size 3"),
    ],
)
def test_the_command_again(words, options, expected):
    with typed(words):
        assert again(**options) == expected


def test_what_a_resumed_run_needs_is_kept():
    with typed(["fit", "--data", "d", "--trust", "mine", "--out", "x"]):
        assert resuming("x") == "pyrovae fit --out x --resume --trust mine"
    with typed(["fit", "--trust=mine"]):
        assert resuming("x") == "pyrovae fit --out x --resume --trust=mine"
    with typed(["demo", "--epochs", "3"]):
        assert resuming("runs/demo") == "pyrovae demo --out runs/demo --resume"
    assert resuming(Path("x")) == "resume=True in x"
    assert scoring("x") == "pv.score('x', FILE)"


def test_under_torchrun_as_many_processes_are_started(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert command("fit", "--out", "r") == "torchrun --nproc-per-node 4 -m pyrovae fit --out r"
    assert command("figures", "r") == "pyrovae figures r"  # it runs in one process
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # of two machines, which one command cannot start
    assert command("fit") == "pyrovae fit"


def test_an_existing_run_says_how_it_is_resumed(capsys):
    assert main(["fit", "--data", "x.npy", *FIT.split(), "--out", "my run"]) == 0
    assert main(["fit", "--data", "x.npy", *FIT.split(), "--out", "my run"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "pyrovae: my run holds another run: choose a new name, or resume it with "
        "pyrovae fit --out 'my run' --resume\n"
    )
    assert main(pasted(error)) == 0
    with pytest.raises(InputError, match=r"resume it with resume=True in my run$"):
        pv.fit(small(), pv.datasets.load(binary(60)), out="my run", **QUIET)


def test_python_users_are_not_told_of_commands():
    data = pv.datasets.load(binary(60))
    with stop_after(2), pytest.raises(KeyboardInterrupt) as stopped:
        pv.fit(small(), data, out="r", **QUIET)
    assert str(stopped.value) == "stopped after 2 steps; resume it with resume=True in r"


def test_scores_that_exist_are_replaced_by_the_command_in_the_message(capsys):
    assert main(["fit", "--data", "x.npy", *FIT.split(), "--out", "r"]) == 0
    words = ["score", "r", "x.npy", "--out", "a b.csv", "--particles", "5"]
    assert main(words) == 0
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.endswith("replace it with pyrovae score r x.npy --out 'a b.csv' --particles 5 --overwrite\n")
    assert main(pasted(error)) == 0
    with pytest.raises(InputError, match=r"replace it with overwrite=True$"):
        pv.score_file("r", "x.npy", "a b.csv", particles=5)


def test_data_that_changed_are_scored_by_the_command_in_the_message(capsys):
    assert main(["fit", "--data", "x.npy", *FIT.split(), "--out", "my run"]) == 0
    np.save("x.npy", 1 - binary(60).numpy())
    assert main(["evaluate", "my run"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("score all rows of a file with pyrovae score 'my run' FILE --out scores.csv\n")
    assert main([word.replace("FILE", "x.npy") for word in pasted(error)]) == 0


def test_the_caveat_of_compare_is_said_once_with_a_command_line_option(capsys):
    for seed in ("0", "1", "2"):
        words = ["fit", "--data", "x.npy", *FIT.split(), "--seed", seed, "--out", f"r{seed}"]
        assert main(words) == 0
    capsys.readouterr()
    assert main(["compare", "r0", "r1", "r2", "--particles", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4:] == [
        "all 3 runs: fewer than 25 particles give no k-hat; use more to know whether to trust this"
    ]
    assert main(["compare", "r0", "r1", "--particles", "30", "--method", "psis"]) == 0
    text = capsys.readouterr().out
    assert text.count("all 2 runs: ") == 1
    assert "method='" not in text
