"""`figures`: the figures of a run, also of one that was interrupted."""

from __future__ import annotations

from pathlib import Path

from pyrovae import plots, report
from pyrovae.checks import whole
from pyrovae.cli.runs import open_run
from pyrovae.cures import resuming
from pyrovae.errors import InputError
from pyrovae.sharing import print_first
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.interrupted import complete, progress_of
from pyrovae.training.loading import holds_vae

__all__ = ["figures"]


def figures(
    run: str,
    *,
    out: str | None = None,
    data: str | None = None,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Draw the figures of a run, also of one that was interrupted.

    `fit` draws figures at the end. A run that was stopped or killed before has none, and may lack
    best.ckpt, config.yaml or the last rows of metrics.csv: they are written from its last
    checkpoint. Draws the training curves, samples, reconstructions and latents, those of them that
    apply to the model. A run that is being trained is drawn as it is.

    Arguments:
        run: the run folder.
        out: the folder of the figures; by default RUN/figures.
        data: name, file or folder, if the run's data came from memory or have moved.
        seed: seed of the samples; 0 gives the figures that `fit` draws.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae figures runs/mog
        pyrovae figures runs/mog --out figures/mog
    """
    whole("seed", seed, 0)
    folder = Path(run) / "figures" if out is None else Path(out)
    written = complete(run)
    progress = progress_of(run)
    if progress is not None and not progress.best_epoch:  # best.ckpt may be newer than last.ckpt
        if not (Path(run) / "best.ckpt").is_file():
            raise InputError(f"{run} has finished no epoch to draw: resume it with {resuming(run)}")
        progress = None
    history = None if progress is None else progress.history
    best = None if progress is None else progress.best_epoch
    if history is None or holds_vae(Checkpoint.read(Path(run) / "best.ckpt")):
        vae, data_set = open_run(run, data, trust)
        written += report.save_figures(vae, data_set, folder, history=history, best=best, seed=seed)
    else:
        written.append(plots.save(plots.training_curves(history, best=best), folder / "training.png"))
    print_first("written: " + ", ".join(map(str, written)))
