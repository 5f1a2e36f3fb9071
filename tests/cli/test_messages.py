"""Messages for bad values of every option contain no jargon of the parser, YAML or Python's types."""

import re

import pytest

from pyrovae.cli import main
from pyrovae.cli.messages import sentence
from pyrovae.cli.parsing import command_files, parse
from pyrovae.errors import InputError

# Words that only a programmer should see.
FOREIGN = r"<class|typing\.|Union|Parser key|NestedArg|Expected a|Subtype|Traceback|codec|object has"
VALUES = ["", "x", "1.5", "-1", "[1", "[[1]]", "{a: 1}", "{", "null", "!!python/object:os.system", "a" * 500]
INNER = [".x=1", ".init_args=3", ".class_path=3", ".help=x", ".x.y={}"]


def options_of(command):
    """The options of a command, with those of two classes."""
    try:
        parse([command, "--help", "all"])
    except SystemExit:
        return


def refusal(words):
    """The sentence with which a line is refused, or None."""
    try:
        parse(words)
    except InputError as error:
        return str(error)
    except SystemExit:
        return None
    return None


@pytest.mark.parametrize("command", sorted(command_files()))
def test_no_word_of_the_parser_reaches_the_user(command, capsys):
    options_of(command)
    names = re.findall(r"^  (--[\w.]+)", capsys.readouterr().out, re.MULTILINE)
    names = [
        name for name in names if name not in ("--help", "--print_config") and not name.endswith(".help")
    ]
    names = names or ["--unknown"]  # of a command without options
    lines = [[command, "run", name, value] for name in names for value in VALUES]
    lines += [[command, "run", name + inner] for name in names for inner in INNER]
    lines += [[command, "run", name] for name in names]
    lines = lines[:: 1 + len(lines) // 80]  # all lines would take a minute
    refusals = [text for line in lines if (text := refusal(line)) is not None]
    assert len(refusals) > len(lines) / 4 or not names  # a command without options has no such lines
    for text in refusals:
        assert not re.search(FOREIGN, text), text
        assert "\n" not in text
        assert len(text) < 900


def test_the_help_of_a_class_needs_nothing_else(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["fit", "--prior.help=GaussianMixture", "--count=x", "--no.such", "1"])
    assert stop.value.code in (0, None)
    assert "components" in capsys.readouterr().out


def test_a_message_that_is_not_known_is_said_in_general_terms():
    text = 'Parser key "x": Does not validate against any of the Union subtypes\n  - <class Foo> Expected'
    assert sentence(text) == "--x has a value that cannot be read; see --help"


def test_a_config_file_without_a_name(capsys):
    assert main(["fit", "--config", "", "--data", "moons"]) == 2
    assert capsys.readouterr().err == "pyrovae: . cannot be read: is a directory; name a config file\n"
