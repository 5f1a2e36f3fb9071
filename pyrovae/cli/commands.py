"""The commands: what each does, with the options that its signature names.

    fit           data, VAE, training -> a run folder
    evaluate, compare   in `evaluating`
    sample        a run folder -> draws from p(x)
    reconstruct   a run folder -> data beside E[x|z]
    datasets      the sets that are known by name
    parts         in `parts`
    demo          fit and evaluate on handwritten digits

A docstring here is what `--help` shows.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae import datasets, plots, report
from pyrovae.cli.evaluating import evaluate
from pyrovae.cli.runs import Split, load_data, names, open_run, split_of
from pyrovae.errors import InputError
from pyrovae.likelihoods import Bernoulli
from pyrovae.networks import MLP
from pyrovae.sharing import agreed, in_turn, is_first, together
from pyrovae.training import fit, load
from pyrovae.training.folder import write_whole
from pyrovae.vae import VAE

__all__ = ["demo", "fit_from", "list_datasets", "reconstruct", "sample"]


def fit_from(given: dict[str, Any]) -> None:
    """Train a VAE on data; the run folder, --out, is runs/NAME-1 unless given."""
    given = {name: value for name, value in given.items() if name != "config"}
    data = in_turn(lambda: load_data(given))
    train = {name: given.pop(name) for name in names(fit) if name in given}
    train["out"] = agreed(train["out"] or _new_folder(data.name))
    _seed(train["seed"])
    context_shape = None if data.context is None else tuple(data.context.train.shape[1:])
    given["likelihood"] = together(lambda: (given["likelihood"] or Bernoulli()).suited(data))
    vae = together(lambda: VAE(data.event_shape, context_shape=context_shape, **given))
    _print(vae, data)
    _print(fit(vae, data, **train))


def sample(
    run: str,
    *,
    count: int = 100,
    mean: bool = True,
    data: str | None = None,
    array: bool = False,
    seed: int = 0,
) -> None:
    """Draw data from p(x); writes a figure, and with --array the numbers.

    Args:
        run: the run folder.
        count: how many.
        mean: for images, E[x|z] of each drawn z instead of a draw from p(x|z).
        data: a name, file or folder, when the run's data came from memory or have moved.
        array: write samples.npy too.
        seed: of the draws.
    """
    if count < 1:
        raise InputError(f"count must be 1 or more, not {count}")
    vae = load(run).eval()
    image, context = report.is_image(vae.event_shape), None
    conditional = vae.context_shape is not None and not vae.prior.labels
    sets = open_run(run, data)[1] if conditional or not image else None
    if conditional:
        available = sets.context.test  # type: ignore[union-attr]
        context = available[torch.arange(count) % len(available)]
    _seed(seed)
    x = vae.sample(count, context, mean=mean and image).numpy()
    seen = x[:0] if sets is None else report.whole_rows(sets.test).flatten(1).numpy()
    if image or len(seen):
        ax = plots.image_grid(x) if image else plots.compare(seen, x.reshape(count, -1))
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
    """Encode data and decode them again; writes a figure of both, and with --array the numbers.

    Args:
        run: the run folder.
        count: how many.
        split: which data.
        data: a name, file or folder, when the run's data came from memory or have moved.
        array: write reconstructions.npy too.
        seed: of the draws.
    """
    vae, sets = open_run(run, data)
    x, context = split_of(sets, split, count)
    _seed(seed)
    x_hat = vae.reconstruct(x, context)
    if report.is_image(vae.event_shape):
        ax = plots.reconstructions(x.numpy(), x_hat.numpy(), pairs=len(x))
    else:
        whole = ~x.flatten(1).isnan().any(1)
        if not whole.any():
            raise InputError("every row has missing entries: there is no whole one to draw")
        ax = plots.compare(x[whole].flatten(1).numpy(), x_hat[whole].flatten(1).numpy())
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


def demo(*, out: str = "runs/demo", epochs: int = 150, resume: bool = False) -> None:
    """The whole of it in a minute: fit scikit-learn's digits, estimate log p(x), draw the figures.

    Args:
        out: the run folder.
        epochs: passes over the training data.
        resume: go on with the run that is in the folder.
    """
    data = datasets.load("digits", binarize="threshold")
    torch.manual_seed(0)
    vae = VAE(data.event_shape, latent_dim=8, encoder=MLP(200, 200), decoder=MLP(200, 200))
    _print(vae, data)
    _print(fit(vae, data, epochs=epochs, batch_size=64, out=out, resume=resume))
    evaluate(out, particles=1000)
    _print(f"everything lies in {out}: config.yaml, metrics.csv, the checkpoints, evidence.json, figures/")


def _print(*things: object) -> None:
    """A line for each, from the first process alone."""
    if is_first():
        print(*things, sep="\n", flush=True)


def _seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise InputError(f"seed must be a whole number of 0 or more, not {seed}")
    torch.manual_seed(seed)


def _figures(run: str) -> Path:
    return Path(run) / "figures"


def _new_folder(name: str) -> str:
    stem = Path(name).stem or "run"
    return next(p for n in range(1, 10_000) if not os.path.exists(p := f"runs/{stem}-{n}"))
