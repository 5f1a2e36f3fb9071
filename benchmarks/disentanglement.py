"""Objectives that disentangle, compared on sprites: metrics, log p(x) and pictures.

    python benchmarks/disentanglement.py --out runs/factors --jobs 2        half an hour on two cores
    python benchmarks/disentanglement.py --quick                            two epochs, one seed

Ten objectives are fitted to 9,800 binary sprites of 32 x 32 pixels with five seeds each: the VAE, the
beta-VAE with four values of beta, BetaTC, Factor, DIP I and II, and Capacity. All have the same
networks (two layers of 256), ten latents and epochs. A run folder that is complete is not fitted again.

The table has the median over the seeds and the range. Metrics are of test images; log p(x) is of 200 test
images, in nats, by Laplace importance sampling. For the run with the median MIG, a picture shows what
each latent does to a sprite.

The papers train for longer on 737,280 images of 64 x 64 pixels, so their numbers differ; the pressure
of beta on 1,024 pixels is four times as large as on 4,096.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import pyrovae as pv
from pyrovae import plots
from pyrovae.objectives import DIP, ELBO, BetaTC, Capacity, Factor

CASES: dict[str, Any] = {
    "VAE": ELBO(),
    "beta-VAE, 2": ELBO(beta=2),
    "beta-VAE, 4": ELBO(beta=4),
    "beta-VAE, 8": ELBO(beta=8),
    "beta-VAE, 16": ELBO(beta=16),
    "BetaTC, 6": BetaTC(6),
    "Factor, 10": Factor(10),
    "DIP I": DIP("I"),
    "DIP II": DIP("II"),
    "Capacity, 12": Capacity(12, gamma=100),
}
SPRITES = "sprites size 32, binary, fixed rotation 0"
SHOWN = ["MIG", "DCI disentanglement", "SAP", "FactorVAE score", "total correlation"]


def main() -> None:
    """Read the options, fit, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/factors"), help="the folder of all runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--count", type=int, default=14_000, help="sprites, a fifth of them for tests")
    parser.add_argument("--jobs", type=int, default=1, help="processes; set OMP_NUM_THREADS=1")
    parser.add_argument("--only", default="", help="the cases whose names contain this")
    parser.add_argument("--quick", action="store_true", help="to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.epochs, options.count = 1, 2, 700
    cases = [name for name in CASES if options.only in name]
    tasks = [(name, seed, options) for seed in range(options.seeds) for name in cases]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(measured, tasks))
    report(cases, found)
    pictures(cases, found, options)


def measured(task: tuple[str, int, argparse.Namespace]) -> dict[str, Any]:
    """Fit a run, unless it is there, and measure it, unless this was done."""
    name, seed, options = task
    folder = folder_of(options.out, name, seed)
    path = folder / "comparison.json"
    if path.exists():
        return json.loads(path.read_text())
    data = sprites(options.count)
    vae = pv.VAE(
        data.event_shape,
        10,
        likelihood=pv.likelihoods.Bernoulli(),
        encoder=pv.networks.MLP(256, 256),
        decoder=pv.networks.MLP(256, 256),
        seed=seed,
    )
    settings = {"epochs": options.epochs, "batch_size": 128, "lr": 1e-3, "patience": None, "seed": seed}
    has_begun = (folder / "last.ckpt").exists()
    pv.fit(vae, data, CASES[name], out=folder, resume=has_begun, figures=False, progress=False, **settings)
    vae = pv.load(folder).eval()
    scores = pv.disentanglement(vae, data, errors=False).table
    rows = data.test[: 10 if options.quick else 200]
    log_px = pv.log_evidence(vae, rows, method="laplace").log_px
    values = {key: value for key, (value, _) in scores.items()} | {"log p(x)": float(log_px.mean())}
    result = {"case": name, "seed": seed} | values
    path.write_text(json.dumps(result))
    print(json.dumps(result), flush=True)
    return result


def sprites(count: int) -> pv.datasets.Data:
    return pv.datasets.load(SPRITES, count=count)


def folder_of(out: Path, name: str, seed: int) -> Path:
    return out / f"{name.lower().replace(', ', '-').replace(' ', '-')}-{seed}"


def report(cases: list[str], found: list[dict[str, Any]]) -> None:
    """Print medians and ranges over the seeds."""
    columns = [*SHOWN, "log p(x)"]
    print(f"| objective | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in cases:
        runs = [run for run in found if run["case"] == name]
        cells = (cell([run[column] for run in runs], 1 if column == "log p(x)" else 2) for column in columns)
        print(f"| {name} | {' | '.join(cells)} |")


def cell(values: list[float], digits: int) -> str:
    low, middle, high = (f"{float(np.quantile(values, q)):.{digits}f}" for q in (0, 0.5, 1))
    return f"{middle} ({low} to {high})"


def pictures(cases: list[str], found: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Draw the latents of the run with the median MIG, for each case."""
    x = sprites(options.count).test.x[:500]
    for name, run in medians(cases, found):
        folder = folder_of(options.out, name, run["seed"])
        ax = pv.traverse(pv.load(folder).eval(), x).plot(count=6)
        ax.set_title(f"{name}: MIG {run['MIG']:.2f}")
        print("written:", plots.save(ax, options.out / f"{folder.name}.png"))


def medians(cases: list[str], found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in cases:
        runs = sorted((run for run in found if run["case"] == name), key=lambda run: run["MIG"])
        yield name, runs[(len(runs) - 1) // 2]


if __name__ == "__main__":
    main()
