"""Priors x guides x objectives on MNIST: test log p(x) with its error, as a table and a figure.

    PYROVAE_DATA=... python benchmarks/grid.py                     short runs, on the CPU
    python benchmarks/grid.py --epochs 2 --rows 100 --data digits  a try in a minute

One network, one seed and one test set for all, so differences are paired: their errors are smaller than those
of the means. A cell that was killed goes on where it was; `--jobs 2` trains two at a time.
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
    """Every cell: its name, and what stands for its prior, guide and objective."""
    for prior, guide, objective in itertools.product(PRIORS, GUIDES, OBJECTIVES):
        yield f"{prior}-{guide}-{objective}", (PRIORS[prior], GUIDES[guide], OBJECTIVES[objective])


def train(name, args):
    """Train one cell and weigh its test set; what was found lies in its folder."""
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
        seed=args.seed,
        figures=False,
        progress=False,
        out=args.out / name,
        resume=True,
    )
    seconds = time.perf_counter() - began
    evidence = pv.log_evidence(vae, data.test[: args.rows], particles=args.particles, seed=0)
    found = {
        "log_px": evidence.log_px.tolist(),
        "mc_stderr": evidence.mc_stderr.tolist(),
        "khat": float(np.nanmedian(evidence.khat)),
        "elbo": float(pv.log_evidence(vae, data.test[: args.rows], particles=1, seed=1).mean),
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
    """The means with their errors, and the paired differences from the plainest cell."""
    plain = np.array(found["StandardNormal-DiagonalNormal-ELBO"]["log_px"])
    lines = [
        "| prior | guide | objective | log p(x) | error | minus the first | error | s |",
        "|---" * 8 + "|",
    ]
    for (name, _), parts in zip(cells(), itertools.product(PRIORS, GUIDES, OBJECTIVES), strict=True):
        log_px = np.array(found[name]["log_px"])
        off = log_px - plain
        errors = [v.std(ddof=1) / len(v) ** 0.5 for v in (log_px, off)]
        numbers = f"{log_px.mean():.2f} | {errors[0]:.2f} | {off.mean():+.2f} | {errors[1]:.2f}"
        lines.append(f"| {' | '.join(parts)} | {numbers} | {found[name]['seconds']:.0f} |")
    return "\n".join(lines)


def figure(found, path):
    """Test log p(x) of each prior, a mark for each guide and objective."""
    from pyrovae import plots
    from pyrovae.plots.style import style

    kinds = list(itertools.product(GUIDES, OBJECTIVES))
    plain = np.array(found["StandardNormal-DiagonalNormal-ELBO"]["log_px"])
    import matplotlib.pyplot as plt

    with style():
        _, ax = plt.subplots(figsize=(6.4, 3.2))
        for k, (guide, objective) in enumerate(kinds):
            off = [np.array(found[f"{p}-{guide}-{objective}"]["log_px"]) - plain for p in PRIORS]
            at = np.arange(len(PRIORS)) + 0.14 * (k - 1.5)
            error = [2 * d.std(ddof=1) / len(d) ** 0.5 for d in off]
            ax.errorbar(
                at, [d.mean() for d in off], error, fmt="os"[k % 2], ms=5, label=f"{guide}, {objective}"
            )
        ax.set_xticks(range(len(PRIORS)), list(PRIORS))
        ax.axhline(0, lw=0.8, color="0.6", zorder=0)
        ax.set_ylabel("log p(x), nats per datum,\nbeside the plainest cell")
        ax.legend(fontsize=7, ncols=2, frameon=False)
        plots.save(ax, path)


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
    parser.add_argument("--cell", default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        train(args.cell, args)
        return
    train_all(args)
    found = {name: json.loads((args.out / name / "found.json").read_text()) for name, _ in cells()}
    print(table(found))
    figure(found, args.figure or args.out / "grid.png")


if __name__ == "__main__":
    main()
