"""The help of every command: short, in plain words, made of its options, with examples that parse."""

import contextlib
import importlib
import inspect
import io
import re
import shlex
from functools import cache

import pytest

import pyrovae as pv
from pyrovae.cli import main, parsing
from pyrovae.cli.commands import PURPOSES, fit
from pyrovae.cli.docstrings import described
from pyrovae.cli.helping import Section, help_of
from pyrovae.errors import InputError

COMMANDS = list(parsing.command_files())
JARGON = r"CLASS_PATH|\(type:|Union|Optional|Literal|typing|<class|pyrovae\.\w+\.|known subclasses|\bNone\b"
LENGTH = 40  # lines of a help


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def printed(*words):
    """What a command prints that leaves by itself."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as left:
        parsing.parse(words)
    assert left.value.code == 0
    return out.getvalue()


@cache
def help_for(command):
    stem = command.replace("-", "_")
    module = importlib.import_module(f"pyrovae.cli.commands.{stem}")
    function = getattr(module, stem)
    parser = parsing.parser_of(command, function, getattr(module, "add_options", None))
    return help_of(command, function, parser, getattr(module, "SECTIONS", ()))


def options(text):
    """The options that a help describes, one in each line that starts with it."""
    return re.findall(r"^  --([\w.]+)", text, flags=re.MULTILINE)


@cache
def known(command):
    """All options of a command, from its parser."""
    stem = command.replace("-", "_")
    module = importlib.import_module(f"pyrovae.cli.commands.{stem}")
    parser = parsing.parser_of(command, getattr(module, stem), getattr(module, "add_options", None))
    actions = [action for action in parser._actions if action.option_strings]
    return [action.dest for action in actions if not action.dest.endswith("help")]


# -------------------------------------------------------------------- all commands


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_and_in_plain_words(command):
    short = help_for(command).on()
    assert len(short.splitlines()) <= LENGTH
    assert max(map(len, short.splitlines())) <= 80
    assert not re.search(JARGON, short)
    assert short.startswith(f"usage: pyrovae {command} ")
    shown = options(short)
    assert shown == list(dict.fromkeys(shown))
    assert set(shown) <= set(known(command))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [80, 100, 300])
def test_help_all_has_every_option_once(command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    whole = help_for(command).on("all")
    assert sorted(options(whole)) == sorted(known(command))
    assert max(map(len, whole.splitlines())) <= min(columns, 100)
    assert not re.search(JARGON, whole)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_is_described_and_its_default_shown(command):
    parser = {entry.name: entry for entry in help_for(command).entries()}
    for name, entry in parser.items():
        assert len(entry.about) > 4, f"--{name} of {command} has no description"
        assert not entry.default or f"[{entry.default.strip('[]')}]" in entry.line().replace("\n", "")
    for name, p in inspect.signature(pv.fit).parameters.items():
        if command == "fit" and name in parser and isinstance(p.default, (int, float)) and p.default:
            assert parser[name].default == str(p.default).lower().removesuffix(".0")


@pytest.mark.parametrize("command", COMMANDS)
def test_sections_name_options_that_exist(command):
    module = importlib.import_module(f"pyrovae.cli.commands.{command.replace('-', '_')}")
    sections = getattr(module, "SECTIONS", ())
    named = [name for section in sections for name in section.named]
    assert len(named) == len(set(named))
    assert set(named) <= set(known(command))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the run that an example resumes."""
    folder = tmp_path_factory.mktemp("examples")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        words = "--data ring --count 100 --epochs 1 --latent_dim 2 --encoder MLP --encoder.sizes [4]"
        assert main(f"fit {words} --figures false --compile false --out runs/mnist".split()) == 0
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_parse(command, runs, monkeypatch):
    monkeypatch.chdir(runs)
    stem = command.replace("-", "_")
    function = getattr(importlib.import_module(f"pyrovae.cli.commands.{stem}"), stem)
    examples = described(function).examples
    assert examples or command == "fit"
    for example in examples:
        assert len(example) <= 78
        typed = example.partition(" > ")[0]  # without a file to which a shell writes
        assert callable(parsing.parse(shlex.split(typed)[1:])), example
        assert f"  {example}\n" in help_for(command).on()


def test_help_of_fit_is_what_most_people_need():
    short = printed("fit", "--help")
    titles = re.findall(r"^(\w+)$", short, flags=re.MULTILINE)
    assert titles == ["examples", "data", "model", "training", "output"]
    assert len(re.findall(r"^  pyrovae fit ", short, flags=re.MULTILINE)) == 3
    assert {"data", "prior", "likelihood", "epochs", "lr", "out", "resume"} <= set(options(short))
    assert short.splitlines()[-2].startswith("--help all shows the rest")
    assert "--prior.help NAME" in " ".join(short.split())


def test_an_option_without_a_section_is_in_help_all():
    """Such as one that somebody adds to `fit` and forgets to place."""

    def more(*, new: int = 3) -> None:
        """Do more.

        Arguments:
            new: a new option.
        """

    parser = parsing.parser_of("more", more, None)
    text = help_of("more", more, parser, (Section("output", "out"),))
    assert "other options\n  --new N" in text.on("all")
    assert "--new" not in text.on()


# -------------------------------------------------------------------- what somebody would try


@pytest.mark.parametrize(
    "words", [["fit", "-h"], ["help", "fit"], ["--help", "fit"], ["fit", "--data", "x.npy", "--help"]]
)
def test_the_same_help_in_other_words(words):
    assert printed(*words) == printed("fit", "--help")


@pytest.mark.parametrize("words", [["fit", "-h", "all"], ["help", "fit", "all"], ["fit", "--help=all"]])
def test_all_in_other_words(words):
    assert printed(*words) == printed("fit", "--help", "all")


def test_one_section_or_one_option():
    section = printed("fit", "--help", "training")
    assert options(section)[:3] == ["objective", "epochs", "batch_size"]
    assert "prior" not in options(section)
    for word in ("lr", "batch-size"):
        assert options(printed("fit", "--help", word)) == [word.strip("-").replace("-", "_")]
    assert "GaussianMixture" in printed("fit", "--help", "prior")


def test_the_name_of_a_part_or_a_typo():
    both = printed("fit", "--help", "gaussianmixture")
    for role in ("prior", "guide"):
        assert printed("fit", f"--{role}.help", "GaussianMixture") in both
    with pytest.raises(InputError, match="no help on 'epoks' of fit: did you mean epochs?"):
        parsing.parse(["fit", "--help", "epoks"])
    with pytest.raises(InputError, match="give all, data, model, training, output or the name of an option"):
        parsing.parse(["fit", "--help", "42"])
    with pytest.raises(InputError, match="there is no command 'fitt': did you mean fit?"):
        parsing.parse(["help", "fitt"])


def test_help_of_a_part_names_what_it_takes():
    text = printed("fit", "--prior.help", "gaussianmixture")
    parameters = inspect.signature(pv.priors.GaussianMixture).parameters
    assert options(text) == [f"prior.{name}" for name in parameters]
    assert "--prior.components N" in text
    assert "default: 10" in text
    assert not re.search(JARGON, text)


def test_help_of_a_part_of_the_user(tmp_path, monkeypatch):
    code = '''
from pyrovae.priors import StandardNormal


class Mine(StandardNormal):
    """A prior of one's own.

    Arguments:
        width: its standard deviation.
    """

    def __init__(self, width: float = 2.0) -> None:
        super().__init__()
        self.width = width
'''
    (tmp_path / "parts_with_help.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = printed("fit", "--prior.help", "parts_with_help.Mine")
    assert "--prior.width NUMBER" in text
    assert "default: 2" in text


# -------------------------------------------------------------------- the list of commands


@pytest.mark.parametrize("words", [["help"], ["help", "help"], ["help", "all"], ["--help", "--help"]])
def test_the_list_of_commands_in_other_words(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("usage: pyrovae COMMAND [options]")


def test_commands_are_grouped_by_purpose(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if re.fullmatch(r"[a-z]+", line)] == [
        purpose for purpose, names in PURPOSES.items() if set(names) & set(COMMANDS)
    ]
    assert sorted(re.findall(r"^    ([\w-]+) ", text, flags=re.MULTILINE)) == sorted(COMMANDS)
    assert max(map(len, text.splitlines())) <= 80


def test_a_command_without_a_purpose_is_listed(tmp_path):
    from pyrovae.cli.overview import overview

    (tmp_path / "new.py").write_text('def new() -> None:\n    """Do something new."""\n')
    assert "\nother\n    new          Do something new\n" in overview({"new": tmp_path / "new.py"})


def test_the_sections_of_fit_hold_the_parameters_of_their_functions():
    for section in fit.SECTIONS[:3]:
        assert section.of is not None
        assert set(section.common.split()) <= {*section.parameters(), "data"}
