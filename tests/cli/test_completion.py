"""Completion: the scripts name every command and option, and bash, zsh and fish complete with them."""

import shutil
import subprocess

import pytest

from pyrovae.cli import main
from pyrovae.cli.completions import all_commands
from pyrovae.cli.parsing import command_files
from pyrovae.cli.shells import SCRIPTS

ASK = """
source ./bash
ask() {
  COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
  _pyrovae
  printf '%s;' "${COMPREPLY[@]}"; printf '\\n'
}
"""
# What is typed, with what TAB offers; after dots, what is among the answers.
LINES = {
    "pyrovae fi": "figures fit fit-prior",
    "pyrovae ''": "... evaluate fit help --version",
    "pyrovae help eva": "evaluate",
    "pyrovae fit --pri": "--prior --print_config --prior.help",
    "pyrovae fit ''": "... --data --prior --help",
    "pyrovae fit --prior G": "GaussianMixture",
    "pyrovae fit --prior gauss": "GaussianMixture",
    "pyrovae fit --prior = Gauss": "GaussianMixture",
    "pyrovae fit --prior.help Vamp": "VampPrior",
    "pyrovae fit --prior GaussianMixture --prior.co": (
        "--prior.components --prior.covariance --prior.concentration"
    ),
    "pyrovae fit --prior StandardNormal --prior.co": "",
    "pyrovae fit --prior GaussianMixture --prior.covariance ''": "spherical diagonal full",
    "pyrovae fit --guide GaussianMixture --guide.e": "--guide.explicit",
    "pyrovae fit --binarize ''": "dynamic static threshold",
    "pyrovae fit --compile t": "true",
    "pyrovae fit --epochs ''": "",
    "pyrovae fit --resume --ou": "--out",
    "pyrovae fit --help ''": "all data model training output",
    "pyrovae fit --data di": "digits",
    "pyrovae fit --data my": "my-table.csv",
    "pyrovae fit --config my": "my-table.csv",
    "pyrovae evaluate ''": "runs/a runs/my model",
    "pyrovae evaluate runs/a --method a": "AIS",
    "pyrovae evaluate runs/a --method AIS --method.temp": "--method.temperatures",
    "pyrovae compare runs/a runs/m": "runs/my model",
    "pyrovae score --out x.csv 'runs/a' my": "my-table.csv",
    "pyrovae parts Gauss": "GaussianMixture",
    "pyrovae completion ''": "bash zsh fish",
    "pyrovae nonsense ''": "",
}


@pytest.fixture(scope="module")
def known():
    return all_commands()


@pytest.fixture(scope="module")
def place(tmp_path_factory, known):
    """A folder with runs, a file, and the three scripts."""
    folder = tmp_path_factory.mktemp("shell")
    for run in ("a", "my model"):
        (folder / "runs" / run).mkdir(parents=True)
        (folder / "runs" / run / "config.yaml").touch()
    (folder / "runs" / "empty").mkdir()
    (folder / "my-table.csv").touch()
    for shell, script in SCRIPTS.items():
        (folder / shell).write_text(script(*known))
    return folder


def test_the_command_prints_the_script(known, capsys):
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == SCRIPTS["bash"](*known)
    assert main(["completion"]) == 2
    assert "which shell? give bash, zsh or fish" in capsys.readouterr().err
    assert main(["completion", "tcsh"]) == 2
    assert capsys.readouterr().err == "pyrovae: shell must be 'bash', 'zsh' or 'fish', not 'tcsh'\n"


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_names_everything(known, place, shell):
    commands, parts = known
    text = (place / shell).read_text()
    dashes = "-l " if shell == "fish" else "--"
    assert {command.name for command in commands} == set(command_files())
    for command in commands:
        assert command.name in text
        assert all(f"{dashes}{option.name[2:]}" in text for option in command.options)
    for part in parts:
        assert all(f"{dashes}{option.name[2:]}" in text for option in part.options)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_reads_its_script(place, shell):
    if shutil.which(shell):
        done = subprocess.run([shell, "-n", shell], cwd=place, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes(place):
    if shutil.which("bash") is None:
        return
    asked = ASK + "\n".join(f"ask {line}" for line in LINES)
    done = subprocess.run(["bash", "--norc", "-c", asked], cwd=place, capture_output=True, text=True)
    assert done.stderr == ""
    for (line, expected), answer in zip(LINES.items(), done.stdout.splitlines(), strict=True):
        offered = [word for word in answer.split(";") if word]
        if expected.startswith("..."):
            assert set(expected.split()[1:]) <= set(offered), line
        else:
            assert " ".join(offered) == expected, line


FISH = {
    "pyrovae fi": "figures;fit;fit-prior",
    "pyrovae fit --prior Gaus": "GaussianMixture",
    "pyrovae fit --prior GaussianMixture --prior.cov": "--prior.covariance",
    "pyrovae fit --prior GaussianMixture --prior.covariance ": "diagonal;full;spherical",
    "pyrovae fit --compile t": "true",
    "pyrovae fit --data my": "my-table.csv",
    "pyrovae evaluate ": "runs/a;runs/my model",
    "pyrovae completion ": "bash;fish;zsh",
}


def test_fish_completes(place):
    if shutil.which("fish") is None:
        return
    asked = [
        f'complete -C "{line}" | string replace -r "\\t.*" "" | sort | string join ";"; echo' for line in FISH
    ]
    script = "; ".join(["source fish", *asked])
    done = subprocess.run(["fish", "--no-config", "-c", script], cwd=place, capture_output=True, text=True)
    answers = [line for line in done.stdout.splitlines() if line]
    assert answers == list(FISH.values())
