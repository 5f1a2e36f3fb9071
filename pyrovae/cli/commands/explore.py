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
        run: the run folder or model file.
        rows: maximum number of rows, chosen at random if there are more.
        split: the part of the data to use.
        port: port to serve on; a free one by default.
        show: open a browser.
        data: name, file or folder, if the run's data came from memory or have moved.
        seed: seed of the rows and the samples.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae explore runs/first
        pyrovae explore runs/first --rows 5000 --port 8000 --show false
    """
    app.check_extra()
    vae, data_set = open_run(run, data, trust)
    ex = exploring.explore(vae, data_set, split=split, rows=rows, seed=seed)
    code = _code(run, {"split": split, "rows": rows, "seed": seed}, data, trust)
    app.serve(ex, _title(run), port=port, show=show, run=run, code=code)


def _title(run: str) -> str:
    return Path(run).resolve().name.removesuffix(".pyrovae")


def _code(run: str, options: dict[str, object], data: str | None, trust: str | None) -> list[str]:
    """Python that opens the same exploration."""
    trusted = "" if trust is None else f", trust={trust.split(',')!r}"
    source = "" if data is None else f", {data!r}"
    words = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return [
        "import numpy as np",
        "import pyrovae as pv",
        "from pyrovae.tasks.runs import data_of",
        "",
        f"vae = pv.load({run!r}{trusted})",
        f"ex = pv.explore(vae, data_of({run!r}, vae.schema{source}), {words})",
    ]
