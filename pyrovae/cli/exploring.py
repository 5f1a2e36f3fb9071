"""`explore`: the latent space of a run in a browser, on this machine."""

from __future__ import annotations

from pathlib import Path

from pyrovae.cli.runs import Split, open_run

__all__ = ["explore_run"]


def explore_run(
    run: str,
    *,
    rows: int = 2000,
    split: Split = "test",
    port: int | None = None,
    show: bool = True,
    data: str | None = None,
    seed: int = 0,
) -> None:
    """Look into the mixture of a run in a browser: its latent space, its components, its data.

    Serves a page on this machine alone, until Ctrl-C.

    Args:
        run: the run folder.
        rows: how many of the data, chosen by the seed where there are more.
        split: which data.
        port: where to listen; a free one unless given.
        show: open a browser.
        data: a name, file or folder, when the run's data came from memory or have moved.
        seed: of the rows and the draws.
    """
    from pyrovae import app, exploring  # what other commands need not wait for

    app.check_extra()
    vae, sets = open_run(run, data)
    ex = exploring.explore(vae, sets, split=split, rows=rows, seed=seed)
    app.serve(ex, Path(run).resolve().name, port=port, show=show)
