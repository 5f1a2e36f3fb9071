"""Priors x guides x objectives on MNIST: test log p(x) with its error, as a table and a figure.

    PYROVAE_DATA=... python benchmarks/grid.py                     short runs, on the CPU
    python benchmarks/grid.py --epochs 2 --rows 100 --data digits  a try in a minute

One network, one seed and one test set for all, so differences are paired: their errors are smaller than those
of the means. A cell that was killed is resumed; `--jobs 2` trains two at a time.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PRIORS = {
    "StandardNormal": "StandardNormal()",
    "GaussianMixture": "GaussianMixture(components=10)",
    "VampPrior": "VampPrior(components=50)",
    "Flow": "Flow('NSF', transforms=2, hidden=(40,))",
}
GUIDES = {"DiagonalNormal": "DiagonalNormal()", "Flow": "Flow('iaf', transforms=2, hidden=(40,), passes=2)"}
OBJECTIVES = {"ELBO": "ELBO()", "IWAE(5)": "IWAE(particles=5)"}


def cells():
    """Every cell: its name, and the code of its prior, guide and objective."""
    for prior, guide, objective in itertools.product(PRIORS, GUIDES, OBJECTIVES):
        yield f"{prior}-{guide}-{objective}", (PRIORS[prior], GUIDES[guide], OBJECTIVES[objective])


def train(name, args):
    """Train one cell and score its test set; the results are written to its folder."""
    import torch

    import pyrovae as pv

    prior, guide, objective = dict(cells())[name]
    data = pv.datasets.load(args.data, binarize="dynamic")
    torch.manual_seed(args.seed)
    vae = pv.VAE(
        data.event_shape,
        latent_dim=20,
        prior=eval(prior, vars(pv.priors)),
        guide=eval(guide, vars(pv.guides)),
        encoder=pv.networks.Gated(200, 200),
        decoder=pv.networks.Gated(200, 200),
    )
    began = time.perf_counter()
    run = pv.fit(
        vae,
        data,
        eval(objective, vars(pv.objectives)),
        epochs=args.epochs,
        batch_size=100,
        lr=args.lr,
        lr_schedule="constant",
        kl_warmup=0,
        patience=None,
        seed=args.seed,
        figures=False,
        progress=False,
        out=args.out / name,
        resume=True,
    )
    seconds = time.perf_counter() - began
    rows = data.test[: args.rows]
    evidence = pv.log_evidence(vae, rows, particles=args.particles, seed=0)
    found = {
        "log_px": evidence.log_px.tolist(),
        "mc_stderr": evidence.mc_stderr.tolist(),
        "khat": float(np.nanmedian(evidence.khat)),
        "elbo": float(pv.log_evidence(vae, rows, particles=1, seed=1).mean),
        "best_epoch": run.best_epoch,
        "seconds": seconds,
    }
    (args.out / name / "found.json").write_text(json.dumps(found))
    print(f"{name:<42} {evidence.mean:8.2f} +- {evidence.stderr:.2f}   {seconds:6.0f} s", flush=True)


def train_all(args):
    """Each cell in a process of its own, `jobs` at a time."""
    left = [name for name, _ in cells() if not (args.out / name / "found.json").exists()]
    running = []
    while left or running:
        while left and len(running) < args.jobs:
            words = [sys.executable, __file__, "--cell", left.pop(0), *sys.argv[1:]]
            running.append(subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"}))
        running = [job for job in running if job.poll() is None]
        time.sleep(0.5)


def table(found):
    """The means with their errors, and the paired differences from the first cell."""
    lines = [
        "| prior | guide | objective | log p(x) | error | difference | error | seconds |",
        "|---" * 8 + "|",
    ]
    first = np.array(found["StandardNormal-DiagonalNormal-ELBO"]["log_px"])
    for (name, _), parts in zip(cells(), itertools.product(PRIORS, GUIDES, OBJECTIVES), strict=True):
        log_px = np.array(found[name]["log_px"])
        differences = log_px - first
        errors = [v.std(ddof=1) / len(v) ** 0.5 for v in (log_px, differences)]
        numbers = f"{log_px.mean():.2f} | {errors[0]:.2f} | {differences.mean():+.2f} | {errors[1]:.2f}"
        lines.append(f"| {' | '.join(parts)} | {numbers} | {found[name]['seconds']:.0f} |")
    return "\n".join(lines)


def figure(text, path):
    """The differences of a table as it is printed: each prior, with a mark for each guide and objective."""
    from matplotlib.figure import Figure

    from pyrovae import plots
    from pyrovae.plots.style import CLASSES, style

    rows = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    values = {tuple(row[:3]): (float(row[5]), float(row[6])) for row in rows if row[0] in PRIORS}
    with style():
        figure = Figure(figsize=(7.6, 3.8), layout="constrained")
        ax = figure.add_subplot()
        for k, (guide, objective) in enumerate(itertools.product(GUIDES, OBJECTIVES)):
            means, errors = np.array([values[prior, guide, objective] for prior in PRIORS]).T
            at = np.arange(len(PRIORS)) + 0.14 * (k - 1.5)
            mark, colour = "os"[k % 2], CLASSES[(0, 0, 2, 2)[k]]
            label = f"{guide} guide, {objective}"
            ax.errorbar(at, means, 2 * errors, fmt=mark, ms=6, color=colour, label=label)
        ax.set_xticks(range(len(PRIORS)), [f"{prior}\nprior" for prior in PRIORS])
        ax.axhline(0, lw=0.8, color="0.6", zorder=0)
        ax.set_ylabel("log p(x) minus that of the first model,\nnats per image")
        ax.legend(loc="lower left")
        plots.save(figure, path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--particles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/grid"))
    parser.add_argument("--figure", type=Path, default=None)
    parser.add_argument(
        "--redraw", type=Path, default=None, help="draw the table of this page, train nothing"
    )
    parser.add_argument("--cell", default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        train(args.cell, args)
        return
    if args.redraw:
        figure(args.redraw.read_text(), args.figure or args.out / "grid.png")
        return
    train_all(args)
    found = {name: json.loads((args.out / name / "found.json").read_text()) for name, _ in cells()}
    print(text := table(found))
    figure(text, args.figure or args.out / "grid.png")


if __name__ == "__main__":
    main()
