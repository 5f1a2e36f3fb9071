"""`fit-prior`: a run with a prior that is fitted to the codes of another run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyrovae import report, sharing, tasks
from pyrovae.cli.runs import open_run
from pyrovae.cures import command
from pyrovae.errors import InputError
from pyrovae.priors import GaussianMixture, Prior
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.config import config_of_run
from pyrovae.training.folder import RunFolder
from pyrovae.training.loading import model_file
from pyrovae.training.marks import mark_of
from pyrovae.training.state import copies

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.vae import VAE

__all__ = ["fit_prior"]

COMPONENTS = 20


def fit_prior(
    run: str,
    *,
    prior: Prior | None = None,
    out: str | None = None,
    epochs: int = 20,
    batch_size: int = 500,
    lr: float = 5e-3,
    seed: int = 0,
    data: str | None = None,
    trust: str | None = None,
) -> None:
    """Fit a prior to the codes of a run, and write it as a new run.

    Encoder and decoder stay as they are. The new run has config.yaml, best.ckpt and figures;
    `pyrovae compare RUN NEW` gives the difference of log p(x).

    Arguments:
        run: the run folder.
        prior: the prior, by default a GaussianMixture of 20 components with full covariances.
        out: the folder of the new run, by default RUN-PRIOR.
        epochs: passes over the codes.
        batch_size: codes in a step.
        lr: the learning rate of the first step.
        seed: seed of the samples, the first weights and the order.
        data: name, file or folder, if the run's data came from memory or have moved.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae fit-prior runs/mog
        pyrovae fit-prior runs/mog --prior Flow --out runs/flow
    """
    prior = GaussianMixture(COMPONENTS, "full") if prior is None else prior
    if model_file(run) is not None:
        raise InputError(f"fit-prior needs the settings of a run, and {run} has none: give the run folder")
    vae, data_set = open_run(run, data, trust)
    path = Path(out or f"{Path(run)}-{type(prior).__name__}")
    with ExitStack() as stack:
        folder = sharing.together(lambda: _folder(path, stack))
        settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
        new = tasks.fit_prior(vae, data_set, prior, **settings)
        sharing.together(lambda: _write(folder, Path(run), new, data_set))
    sharing.print_first(f"written: {path} (compare: {command('compare', run, path)})")


def _folder(path: Path, stack: ExitStack) -> RunFolder | None:
    """The folder of the new run, locked until the stack closes; only the first process has it."""
    if not sharing.is_first():
        return None
    if any((path / name).exists() for name in ("config.yaml", "best.ckpt", "last.ckpt")):
        raise InputError(f"{path} holds another run: choose a new one with --out")
    folder = RunFolder(path)
    stack.enter_context(folder.locked())
    return folder


def _write(folder: RunFolder | None, run: Path, new: VAE, data: Data) -> None:
    """The files of a run that cannot be resumed: the best weights, config and figures."""
    if folder is None:
        return
    saved = Checkpoint.read(run / "best.ckpt")
    declaration = new.declaration()
    config = config_of_run(run, saved) | {"prior": declaration["prior"]}
    config = yaml.safe_load(yaml.safe_dump(config, sort_keys=False))
    best = replace(saved, declaration=declaration, weights=copies(new.state_dict()), config=config)
    replace(best, mark=mark_of(best.declarations())).write(folder.best)
    folder.write_config(config)
    report.save_figures(new, data, folder.figures)
