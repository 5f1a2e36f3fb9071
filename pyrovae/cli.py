"""The command line: the package's own functions, with their own signatures, by name.

    pyrovae fit --data mnist --prior GaussianMixture --prior.components 20 --out runs/mog
    pyrovae evaluate runs/mog --particles 1000
    pyrovae sample runs/mog --count 100
    pyrovae reconstruct runs/mog
    pyrovae datasets

Options are read from the signatures of `datasets.load`, `VAE` and `fit` by jsonargparse, and parts from the
subclasses of their base classes; a part of one's own is named by its import path. Bad input ends with one
sentence and status 2.
"""

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from pyrovae import baselines, datasets, plots, report
from pyrovae.errors import InputError, NumericalError
from pyrovae.evidence import iwae_bound, log_evidence
from pyrovae.guides import Guide
from pyrovae.likelihoods import Bernoulli, Likelihood
from pyrovae.networks import MLP, Network
from pyrovae.objectives import Objective
from pyrovae.priors import Prior
from pyrovae.training import fit, load
from pyrovae.training.folder import write_whole
from pyrovae.vae import VAE

__all__ = ["main"]

_BASES = {
    "prior": Prior,
    "likelihood": Likelihood,
    "guide": Guide,
    "encoder": Network,
    "decoder": Network,
    "objective": Objective,
}
_FLAGS = {"--array", "--resume", "--mean", "--baseline", "--dequantize", "--stream", "--figures"}
Split = Literal["train", "validation", "test"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, or 2 for bad input, 1 for a failed computation."""
    try:
        parser, commands = _parser()
        cfg = _parse(parser, argv)
        init = parser.instantiate(cfg)
        commands[init.subcommand](init[init.subcommand])
    except InputError as error:
        print(f"pyrovae: {error}", file=sys.stderr)
        return 2
    except NumericalError as error:
        print(f"pyrovae: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"pyrovae: {stop or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


# -------------------------------------------------------------------- commands


def _fit(options: Namespace) -> None:
    """Train a VAE on data, in a run folder: declaration, metrics, checkpoints and figures."""
    given = dict(options.as_dict() if hasattr(options, "as_dict") else vars(options))
    given = {name: getattr(options, name) for name in given}
    given.pop("config", None)
    data = _load_data(given)
    train = {name: given.pop(name) for name in _names(fit) if name in given}
    train["out"] = train["out"] or _new_folder(data.name)
    torch.manual_seed(train["seed"])
    context_shape = None if data.context is None else tuple(data.context.train.shape[1:])
    vae = VAE(data.event_shape, context_shape=context_shape, **given)
    print(vae)
    print(data)
    print(fit(vae, data, **train))


def evaluate(
    run: str,
    *,
    particles: int = 1000,
    bounds: tuple[int, ...] = (1, 5, 50, 500),
    split: Split = "test",
    rows: int | None = None,
    baseline: bool = True,
    data: str | None = None,
    seed: int = 0,
    chunk: int | None = None,
) -> None:
    """Estimate log p(x) on the data of a run; writes evidence.json and a figure of the bound against K.

    Args:
        run: the run folder.
        particles: draws for each datum.
        bounds: the numbers of particles of the curve.
        split: which data.
        rows: use the first so many of them only.
        baseline: beside it, densities without a network (for binary data).
        data: a name, file or folder, when the run's data came from memory or have moved.
        seed: of the draws.
        chunk: (particle, datum) pairs that run at once.
    """
    vae, sets = _open(run, data)
    x, context = _split(sets, split, rows)
    evidence = log_evidence(vae, x, context, particles=particles, seed=seed, chunk=chunk)
    curve = iwae_bound(vae, x, context, particles=bounds, seed=seed, chunk=chunk)
    print(evidence)
    print(curve)
    compared = _baselines(vae, sets, x) if baseline else {}
    if compared:
        print("without a network")
    for name, value in compared.items():
        print(f"  {name:<32} {value:.3f} nats per datum")
    content = {
        "log_px": evidence.mean,
        "stderr": evidence.stderr,
        "mc_error": evidence.mc_error,
        "particles": particles,
        "split": split,
        "rows": len(x),
        "bounds": dict(zip(map(str, curve.particles), curve.mean.tolist(), strict=True)),
        "baselines": compared,
    }
    path = Path(run) / "evidence.json"
    write_whole(path, lambda file: file.write(json.dumps(content, indent=2).encode()))
    ax = plots.bound_curve(curve.particles, curve.mean, curve.stderr, reference=evidence.mean)
    print(f"written: {path} and {plots.save(ax, _figures(run) / 'bounds.png')}")


def sample(run: str, *, count: int = 100, mean: bool = True, array: bool = False, seed: int = 0) -> None:
    """Draw data from p(x); writes a figure, and the array with --array true.

    Args:
        run: the run folder.
        count: how many.
        mean: E[x|z] of each drawn z instead of a draw from p(x|z).
        array: write samples.npy too.
        seed: of the draws.
    """
    if count < 1:
        raise InputError(f"count must be 1 or more, not {count}")
    vae, sets = _open(run, None, needs_data=False)
    context = None
    if vae.context_shape is not None:
        sets = sets or _open(run, None)[1]
        available = sets.context.test  # type: ignore[union-attr]
        context = available[torch.arange(count) % len(available)]
    torch.manual_seed(seed)
    x = vae.sample(count, context, mean=mean).numpy()
    flat = x.reshape(count, -1)
    ax = plots.image_grid(x) if report.is_image(vae.event_shape) else plots.compare(flat, flat)
    print(f"written: {plots.save(ax, _figures(run) / 'samples.png')}")
    if array:
        path = Path(run) / "samples.npy"
        write_whole(path, lambda file: np.save(file, x))
        print(f"written: {path}, {x.shape}")


def reconstruct(
    run: str,
    *,
    count: int = 10,
    split: Split = "test",
    data: str | None = None,
    array: bool = False,
    seed: int = 0,
) -> None:
    """Encode data and decode them again; writes a figure of both, and the array with --array true.

    Args:
        run: the run folder.
        count: how many.
        split: which data.
        data: a name, file or folder, when the run's data came from memory or have moved.
        array: write reconstructions.npy too.
        seed: of the draws.
    """
    vae, sets = _open(run, data)
    x, context = _split(sets, split, count)
    torch.manual_seed(seed)
    x_hat = vae.reconstruct(x, context)
    if report.is_image(vae.event_shape):
        ax = plots.reconstructions(x.numpy(), x_hat.numpy(), pairs=len(x))
    else:
        ax = plots.compare(x.flatten(1).numpy(), x_hat.flatten(1).numpy())
    print(f"written: {plots.save(ax, _figures(run) / 'reconstructions.png')}")
    if array:
        path = Path(run) / "reconstructions.npy"
        write_whole(path, lambda file: np.save(file, x_hat.numpy()))
        print(f"written: {path}, {tuple(x_hat.shape)}")


def list_datasets(*, root: str | None = None) -> None:
    """List the data sets that are known by name, and whether they are on this machine.

    Args:
        root: where to look, in torchvision's layout.
    """
    known = datasets.known(root)
    width = max(map(len, known))
    for name, line in known.items():
        print(f"{name:<{width}}  {line}")
    print("or your own: .npy, .npz, .csv, .parquet, or a folder of images")


def demo(*, out: str = "runs/demo", epochs: int = 100, resume: bool = False) -> None:
    """The whole of it in a minute: fit scikit-learn's digits, estimate log p(x), draw the figures.

    Args:
        out: the run folder.
        epochs: passes over the training data.
        resume: go on with the run that is in the folder.
    """
    data = datasets.load("digits", binarize="threshold")
    torch.manual_seed(0)
    vae = VAE(data.event_shape, latent_dim=8, encoder=MLP(200, 200), decoder=MLP(200, 200))
    print(vae)
    print(data)
    print(fit(vae, data, epochs=epochs, batch_size=64, out=out, resume=resume))
    evaluate(out)
    print(f"everything lies in {out}: config.yaml, metrics.csv, best.ckpt, evidence.json, figures/")


# -------------------------------------------------------------------- runs on disk


def _open(run: str, data: str | None, *, needs_data: bool = True) -> tuple[VAE, Any]:
    vae = load(run)
    vae.eval()
    if not needs_data:
        return vae, None
    try:
        config = yaml.safe_load((Path(run) / "config.yaml").read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(
            f"{run}/config.yaml cannot be read ({error.__class__.__name__}); is this a run?"
        ) from None
    config = dict(config) | ({"data": data} if data else {})
    if config.get("data") is None:
        raise InputError(f"the data of {run} came from memory: name them with --data")
    return vae, _load_data(config)


def _load_data(given: dict[str, Any]) -> datasets.Data:
    options = {name: given.pop(name) for name in _names(datasets.load) if name in given}
    return datasets.load(given.pop("data"), **options)


def _split(sets: datasets.Data, split: Split, rows: int | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    if rows is not None and rows < 1:
        raise InputError(f"the number of rows must be 1 or more, not {rows}")
    x = sets.epoch(0, 0) if split == "train" else getattr(sets, split)
    context = None if sets.context is None else getattr(sets.context, split)[:rows]
    return x[:rows], context


def _baselines(vae: VAE, sets: datasets.Data, x: torch.Tensor) -> dict[str, float]:
    if not isinstance(vae.likelihood, Bernoulli) or sets.streams or len(sets.train) > 10_000:  # type: ignore[arg-type]
        return {}
    train = sets.epoch(0, 0)
    return {
        "pixel means": baselines.pixel_means(train, x).mean().item(),
        "mixture of 10 Bernoullis (EM)": baselines.bernoulli_mixture(train, x).mean().item(),
    }


def _figures(run: str) -> Path:
    folder = Path(run) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _new_folder(name: str) -> str:
    stem = Path(name).stem or "run"
    return next(p for n in range(1, 10_000) if not os.path.exists(p := f"runs/{stem}-{n}"))


# -------------------------------------------------------------------- parsing


def _parser() -> tuple[ArgumentParser, dict[str, Callable]]:
    parser = ArgumentParser(
        prog="pyrovae", description="Variational autoencoders as probabilistic programs.", exit_on_error=False
    )
    subcommands = parser.add_subcommands(required=True)
    subcommands.add_subcommand("fit", _fit_parser(), help=_fit.__doc__)
    commands: dict[str, Callable] = {"fit": _fit}
    for name, function in _functions():
        summary = inspect.getdoc(function).splitlines()[0]  # type: ignore[union-attr]
        sub = ArgumentParser(description=summary, exit_on_error=False)
        sub.add_function_arguments(function, as_positional=True, as_group=False)
        subcommands.add_subcommand(name, sub, help=summary)
        commands[name] = lambda options, call=function: call(**vars(options))
    return parser, commands


def _functions() -> Iterator[tuple[str, Callable]]:
    yield "evaluate", evaluate
    yield "sample", sample
    yield "reconstruct", reconstruct
    yield "datasets", list_datasets
    yield "demo", demo


def _fit_parser() -> ArgumentParser:
    parser = ArgumentParser(description=_fit.__doc__, exit_on_error=False)
    parser.add_argument("--config", action="config", help="a YAML file of these options, as in a run folder")
    parser.add_argument(
        "--data", type=str, default="digits", help="a known name (see `pyrovae datasets`), file or folder"
    )
    parser.add_function_arguments(datasets.load, skip={"name"})
    parser.add_class_arguments(VAE, skip={"event_shape", "context_shape"})
    parser.add_function_arguments(fit, skip={"vae", "data", "progress"})
    return parser


def _names(function: Callable) -> list[str]:
    return list(inspect.signature(function).parameters)


def _parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    given = _flags(list(sys.argv[1:] if argv is None else argv))
    _check_parts(given)
    try:
        return parser.parse_args(given)
    except ArgumentError as error:
        raise InputError(_sentence(str(error))) from None


def _flags(argv: list[str]) -> list[str]:
    """`--array` alone means `--array true`."""
    following = [*argv[1:], "--"][: len(argv)]
    bare = [w in _FLAGS and after.startswith("--") for w, after in zip(argv, following, strict=True)]
    return [f"{word}=true" if flag else word for word, flag in zip(argv, bare, strict=True)]


def _check_parts(argv: Sequence[str]) -> None:
    """A part that no class has the name of is answered with the names there are."""
    for option, value in _options(argv):
        base = _BASES.get(option)
        if base is None or "." in value or "{" in value or value in ("null", "None"):
            continue
        known = sorted(cls.__name__ for cls in _subclasses(base) if not inspect.isabstract(cls))
        if value not in known:
            raise InputError(
                f"there is no {option} {value!r}: choose one of {', '.join(known)}, or give the import path "
                "of your own class, as in mypackage.priors.MyPrior"
            )


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    for i, word in enumerate(argv):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            yield name, value or (argv[i + 1] if i + 1 < len(argv) else "")


def _subclasses(base: type) -> Iterator[type]:
    cls: type
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)


def _sentence(message: str) -> str:
    """jsonargparse's message as one sentence: the option, what came, what was expected."""
    text = " ".join(line.strip() for line in message.splitlines() if not line.startswith("tip:"))
    option, value = (re.search(pattern, text) for pattern in (r'arser key "([^"]+)"', r"Given value: (.+)$"))
    if not (option and value and "Union subtypes" in text):
        return f"{text.replace('Parser key ', 'option ').rstrip('. ')}; see --help"
    came = re.sub(r"NestedArg\(key='(\w+)', val=(.+)\)", r"\1=\2", value[1])
    found = re.findall(r"- (.+?)(?= - |\s*Given value)", text)
    reasons = "; ".join(_readable(reason) for reason in found if "NoneType" not in reason)
    return f"--{option[1]} cannot be {came}: {reasons}; see --help"


def _readable(reason: str) -> str:
    reason = re.sub(r"typing\.Literal\[(.+?)\]", r"choice of \1", reason)
    return re.sub(r"<class '(.+?)'>", r"\1", reason).strip().rstrip(".")
