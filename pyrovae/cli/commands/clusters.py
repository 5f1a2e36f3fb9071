"""`clusters`: a summary of the components of runs, and their agreement with labels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyrovae import exploring
from pyrovae.cli.runs import Split, open_run, results_of, save_text
from pyrovae.exploring.mixture import mixture_of

if TYPE_CHECKING:
    from pyrovae.exploring import Agreement
from pyrovae.sharing import print_first

__all__ = ["clusters"]


def clusters(
    runs: list[str],
    *,
    rows: int = 10_000,
    split: Split = "test",
    particles: int = 20,
    data: str | None = None,
    seed: int = 0,
    trust: str | None = None,
) -> None:
    """List the components of runs, and their agreement with labels.

    For several runs, also prints the spread of the agreement. Writes clusters.json into each run
    folder.

    Arguments:
        runs: run folders, such as one declaration with several seeds.
        rows: maximum number of rows, chosen at random if there are more.
        split: the part of the data to use.
        particles: samples of z for each observation.
        data: name, file or folder, if the runs' data came from memory or have moved.
        seed: seed of the rows and the samples.
        trust: trusted modules outside PyroVAE that the runs may name, separated by commas.

    Example:
        pyrovae clusters runs/mog
        pyrovae clusters runs/mog-1 runs/mog-2 runs/mog-3
    """
    agreements = []
    for run in runs:
        vae, data_set = open_run(run, data, trust)
        mixture_of(vae, "clusters")  # refuses a VAE without components
        ex: Any = exploring.explore(vae, data_set, split=split, rows=rows, particles=particles, seed=seed)
        print_first(ex if len(runs) == 1 else f"{run}: {ex.agreement or 'no labels'}")
        agreements.append(ex.agreement)
        components = json.loads(ex.components.table().to_json(orient="records"))
        content = {"components": components, "agreement": ex.agreement and _plain(ex.agreement)}
        save_text(results_of(run) / "clusters.json", json.dumps(content, indent=2))
    agreements = [one for one in agreements if one is not None]  # None for a run without labels
    if len(agreements) > 1:
        print_first(exploring.agreements(agreements))


def _plain(agreement: Agreement) -> dict[str, Any]:
    values = {name: getattr(agreement, name) for name in ("accuracy", "nmi", "ari", "purity", "plain")}
    return values | {"confusion": agreement.confusion.tolist(), "matching": agreement.matching.tolist()}
