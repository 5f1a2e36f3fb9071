"""From words to a call: options by name from signatures, parts by name from their base classes.

    fit --prior GaussianMixture --prior.components 20
        -> fit_from({"prior": GaussianMixture(components=20), ...})

Nothing is registered: a part is known because its class exists. What cannot be used is answered with one
sentence that names the option and what it takes.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from pyrovae import datasets
from pyrovae.cli import clusters, commands, evaluating, exploring
from pyrovae.cli.messages import sentence
from pyrovae.cli.parts import list_parts, names_of, near_names
from pyrovae.errors import InputError
from pyrovae.guides import Guide
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Network
from pyrovae.objectives import Objective
from pyrovae.priors import Prior
from pyrovae.training import fit
from pyrovae.vae import VAE

__all__ = ["parse"]

_BASES = {
    "prior": Prior,
    "likelihood": Likelihood,
    "guide": Guide,
    "encoder": Network,
    "decoder": Network,
    "objective": Objective,
}
_COMMANDS: dict[str, Callable] = {
    "evaluate": evaluating.evaluate,
    "compare": evaluating.compare_runs,
    "sample": commands.sample,
    "reconstruct": commands.reconstruct,
    "clusters": clusters.clusters,
    "explore": exploring.explore_run,
    "datasets": commands.list_datasets,
    "parts": list_parts,
    "demo": commands.demo,
}
_SIGNATURES: list[Callable] = [datasets.load, fit, *_COMMANDS.values()]
_FLAGS = {
    f"--{parameter.name}"
    for function in _SIGNATURES
    for parameter in inspect.signature(function, eval_str=True).parameters.values()
    if parameter.annotation is bool
}
_WORDS = {"true", "false", "yes", "no"}


def parse(argv: Sequence[str]) -> Callable[[], None]:
    """The call that a command line asks for.

    Raises:
        InputError: for an unknown command, option, part or value.
        SystemExit: after `--help` and `--print_config` have been answered.
    """
    given = _named(_listed(_resumed(_flags(list(argv)))))
    _check_parts(given)
    parsers = {"fit": _fit_parser()} | {name: _parser(function) for name, function in _COMMANDS.items()}
    parser = ArgumentParser(
        prog="pyrovae", description="Variational autoencoders as probabilistic programs.", exit_on_error=False
    )
    subcommands = parser.add_subcommands(required=True)
    for name, sub in parsers.items():
        subcommands.add_subcommand(name, sub, help=sub.description)
    try:
        chosen = parser.instantiate(parser.parse_args(given))
    except InputError:
        raise
    except (ArgumentError, ValueError, TypeError) as error:
        known = next((parsers[word] for word in given if word in parsers), parser)
        options = [option for action in known._actions for option in action.option_strings]
        parts = {option: names_of(base) for option, base in _BASES.items()}
        raise InputError(sentence(str(error), options, parts)) from None
    name, options = chosen.subcommand, vars(chosen[chosen.subcommand])
    return partial(commands.fit_from, options) if name == "fit" else partial(_COMMANDS[name], **options)


def _fit_parser() -> ArgumentParser:
    parser = ArgumentParser(description=inspect.getdoc(commands.fit_from), exit_on_error=False)
    parser.add_argument("--config", action="config", help="a YAML file of these options, as in a run folder")
    about = "a known name (see `pyrovae datasets`), file or folder"
    parser.add_argument("--data", type=str | None, default="digits", help=about)
    parser.add_function_arguments(datasets.load, skip={"name", "stream"})
    parser.add_class_arguments(VAE, skip={"event_shape", "context_shape"})
    parser.add_function_arguments(fit, skip={"vae", "data", "progress"})
    return parser


def _parser(function: Callable) -> ArgumentParser:
    summary = (inspect.getdoc(function) or "").splitlines()[0]
    parser = ArgumentParser(description=summary, exit_on_error=False)
    parser.add_function_arguments(function, as_positional=True, as_group=False)
    return parser


# -------------------------------------------------------------------- before jsonargparse


def _flags(argv: list[str]) -> list[str]:
    """`--array` alone means `--array true`."""
    takes_run = argv[:1] != ["fit"]  # there the next word may be the run: `sample --array runs/mog`
    given = []
    for word, after in zip(argv, [*argv[1:], "--"], strict=True):
        alone = after.startswith("--") or (takes_run and after.lower() not in _WORDS)
        given.append(f"{word}=true" if word in _FLAGS and alone else word)
    return given


def _resumed(argv: list[str]) -> list[str]:
    """`fit --out RUN --resume` goes on as RUN/config.yaml says; options beside it must agree with the run."""
    options = dict(_options(argv))
    config = Path(options.get("out", "")) / "config.yaml"
    resumes = options.get("resume", "").lower() in ("true", "yes")
    if argv[:1] != ["fit"] or not resumes or "config" in options or "out" not in options:
        return argv
    return ["fit", "--config", str(config), *argv[1:]] if config.is_file() else argv


def _listed(argv: list[str]) -> list[str]:
    """`compare RUN RUN` is `compare [RUN, RUN]` to jsonargparse."""
    if argv[:1] not in (["compare"], ["clusters"]):
        return argv
    runs: list[str] = []
    options: list[str] = []
    for before, word in zip(argv, argv[1:], strict=False):
        value = before.startswith("--") and "=" not in before
        (options if word.startswith("-") or value else runs).append(word)
    return [argv[0], *([json.dumps(runs)] if runs else []), *options]


def _named(argv: list[str]) -> list[str]:
    """`parts GaussianMixture` is `parts --name GaussianMixture`: a part need not be named."""
    if argv[:1] != ["parts"]:
        return argv
    given = ["parts"]
    for before, word in zip(argv, argv[1:], strict=False):
        stays = word.startswith("-") or (before.startswith("--") and "=" not in before)
        named = any(w.startswith("--name") for w in given)
        given.append(word if stays or named else f"--name={word}")
    return given


def _check_parts(argv: Sequence[str]) -> None:
    """A part that no class has the name of is answered with the names there are."""
    for option, value in _options(argv):
        base = _BASES.get(option.removesuffix(".help"))
        if base is None or any(mark in value for mark in ".{") or value in ("null", "None"):
            continue
        option = option.removesuffix(".help")
        known = names_of(base)
        if value not in known:
            asked = f"which {option}?" if value[:2] in ("", "--") else f"there is no {option} {value!r}:"
            near = near_names(value, known)
            meant = f" did you mean {' or '.join(near)}?" if near else ""
            raise InputError(
                f"{asked}{meant} choose one of {', '.join(known)}, or give the import path of your own "
                f"class, as in mypackage.{option}s.My{base.__name__}"
            )


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    for i, word in enumerate(argv):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            yield name, value if equals else (argv[i + 1] if i + 1 < len(argv) else "")
