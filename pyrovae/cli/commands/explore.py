"""`explore`: the latent space of a run in a browser, on this machine."""

from __future__ import annotations

from pathlib import Path

from pyrovae import app, exploring
from pyrovae.cli.runs import Split, open_run

__all__ = ["explore"]


def explore(
    run: str,
    *,
    rows: int = 2000,
    split: Split = "test",
    port: int | None = None,
    show: bool = True,
    data: str | None = None,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """Explore the latent space and the data of a run in a browser.

    Serves a page on this machine only, until Ctrl-C.

    Arguments:
        run: the run folder.
        rows: maximum number of rows, chosen at random if there are more.
        split: the part of the data to use.
        port: port to serve on; a free one by default.
        show: open a browser.
        data: name, file or folder, if the run's data came from memory or have moved.
        seed: seed of the rows and the samples.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae explore runs/mog
        pyrovae explore runs/mog --rows 5000 --port 8000 --show false
    """
    app.check_extra()
    vae, data_set = open_run(run, data, trust)
    ex = exploring.explore(vae, data_set, split=split, rows=rows, seed=seed)
    app.serve(ex, Path(run).resolve().name, port=port, show=show)
