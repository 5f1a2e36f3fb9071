"""`clusters`: the components of runs in words, and how far they agree with labels, over seeds too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pyrovae.cli.runs import Split, open_run
from pyrovae.training.folder import write_whole

if TYPE_CHECKING:
    from pyrovae.exploring import Agreement, Exploration

__all__ = ["clusters"]


def clusters(
    runs: list[str],
    *,
    rows: int = 10_000,
    split: Split = "test",
    particles: int = 20,
    data: str | None = None,
    seed: int = 0,
) -> None:
    """List the components of a run, and their agreement with labels; of several runs the spread.

    Writes clusters.json into each run folder.

    Args:
        runs: the run folders, of one declaration and several seeds, say.
        rows: how many of the data, chosen by the seed where there are more.
        split: which data.
        particles: draws of z for each datum.
        data: a name, file or folder, when the runs' data came from memory or have moved.
        seed: of the rows and the draws.
    """
    from pyrovae import exploring  # what other commands need not wait for

    found = {}
    for run in runs:
        vae, sets = open_run(run, data)
        ex = exploring.explore(vae, sets, split=split, rows=rows, particles=particles, seed=seed)
        print(ex if len(runs) == 1 else f"{run}: {ex.agreement or 'no labels'}", flush=True)
        found[run] = ex.agreement
        _write(Path(run) / "clusters.json", ex)
    if len(runs) > 1:
        print(exploring.agreements(list(found.values())))


def _write(path: Path, ex: Exploration) -> None:
    table = json.loads(ex.components.table().to_json(orient="records"))
    content = {"components": table, "agreement": ex.agreement and _plain(ex.agreement)}
    text = json.dumps(content, indent=2).encode()

    def put(file: IO[bytes]) -> None:
        file.write(text)

    write_whole(path, put)


def _plain(agreement: Agreement) -> dict[str, Any]:
    values = {name: getattr(agreement, name) for name in ("accuracy", "nmi", "ari", "purity", "plain")}
    return values | {"confusion": agreement.confusion.tolist(), "matching": agreement.matching.tolist()}
