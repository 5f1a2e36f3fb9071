"""Bayesian optimisation with pruning against random search with the same budget, on digits.

    python benchmarks/search.py --out runs/search            about half an hour on one core
    python benchmarks/search.py --quick

For each seed, `pv.search` does 60 trials with TPE and Hyperband. Random search then does as many
trials to the end as fit into the same number of epochs. The best three of each are refitted with
three seeds, and the winner's log p(x) of the test set is compared, paired, with that of today's
defaults (`VAE.suited` and the settings of `fit`), by Laplace importance sampling.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import pyrovae as pv
from pyrovae.choices import OneOf, Real, Whole
from pyrovae.numerics import stderr_of_mean
from pyrovae.searching.parts import word

METHOD = pv.evidence.Laplace()


def space(epochs: int) -> dict:
    """What varies, and the number of epochs of a trial."""
    networks = OneOf("MLP", "Gated"), OneOf([100], [200], [300], [200, 200])
    return {
        "lr": Real(3e-4, 2e-2, log=True),
        "latent_dim": Whole(4, 32, log=True),
        "batch_size": OneOf(16, 32, 64, 128),
        "kl_warmup": OneOf(0.0, epochs / 10, epochs / 2),
        "prior": OneOf("StandardNormal", "GaussianMixture", "VampPrior"),
        "prior.components": Whole(5, 100, log=True),
        "encoder": networks[0],
        "encoder.sizes": networks[1],
        "decoder": networks[0],
        "decoder.sizes": networks[1],
        "epochs": epochs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="searches of each kind")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="six short trials, to try the script")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(trials=6, epochs=5, seeds=1, out=options.out / "quick")
    data = pv.datasets.load("digits", binarize="threshold")
    defaults = default_of(data, options.out, 5 if options.quick else None)
    print(f"defaults: log p(x) of the test set {mean(defaults)}", flush=True)
    rows = []
    for seed in range(options.seeds):
        rows.append({kind: winner for kind, winner in searched(data, options, seed).items()})
        for kind, (study, log_px) in rows[-1].items():
            line(kind, seed, study, log_px, defaults)
    medians = {kind: np.median([row[kind][1].mean() for row in rows]) for kind in rows[0]}
    print("median over the seeds:", ", ".join(f"{kind} {value:.3f}" for kind, value in medians.items()))


def default_of(data: pv.datasets.Data, out: Path, epochs: int | None) -> np.ndarray:
    """log p(x) of the test rows by today's defaults, the mean over three seeds."""
    values = []
    for seed in range(3):
        torch.manual_seed(seed)
        vae = pv.VAE.suited(data)
        pv.fit(
            vae,
            data,
            epochs=epochs,
            seed=seed,
            out=out / f"defaults-{seed}",
            resume=True,
            figures=False,
            progress=False,
        )
        values.append(log_px(vae, data))
    return np.mean(values, 0)


def searched(data: pv.datasets.Data, options: argparse.Namespace, seed: int) -> dict:
    """The studies of both kinds and log p(x) of the test rows by their winners, of three seeds."""
    common = {"jobs": options.jobs, "method": METHOD, "progress": False}
    found = pv.search(
        space(options.epochs),
        data,
        trials=options.trials,
        sampler="tpe",
        pruner="hyperband",
        seed=1000 * seed,
        out=options.out / f"tpe-{seed}",
        **common,
    )
    epochs = sum(trial.about.get("epochs", 0) for trial in found.trials)
    random = pv.search(
        space(options.epochs),
        data,
        trials=max(1, round(epochs / options.epochs)),
        sampler="random",
        pruner="none",
        seed=1000 * seed + 500,
        out=options.out / f"random-{seed}",
        **common,
    )
    return {kind: (study, of_winner(study, data)) for kind, study in (("tpe", found), ("random", random))}


def of_winner(study: pv.Study, data: pv.datasets.Data) -> np.ndarray:
    """log p(x) of the test rows by the winner, the mean over the seeds of its refits."""
    folder = study.best.folder.parent
    return np.mean([log_px(pv.load(run), data) for run in sorted(folder.glob("seed-*"))], 0)


def log_px(vae: pv.VAE, data: pv.datasets.Data) -> np.ndarray:
    return pv.log_evidence(vae.eval(), data.test, method=METHOD, seed=1).log_px


def line(kind: str, seed: int, study: pv.Study, log_px: np.ndarray, defaults: np.ndarray) -> None:
    states = ", ".join(f"{study.states.count(state)} {state}" for state in ("complete", "pruned", "failed"))
    epochs = sum(trial.about.get("epochs", 0) for trial in study.trials)
    seconds = sum(trial.about.get("seconds", 0.0) for trial in study.trials)
    values = study.final.points[study.final.winner]
    print(
        f"{kind:<7} seed {seed}: {mean(log_px)}, minus the defaults {mean(log_px - defaults)}  "
        f"({states}; {epochs} epochs, {seconds:.0f} s)\n"
        f"        {' '.join(f'{name}={word(value)}' for name, value in values.items())}",
        flush=True,
    )


def mean(values: np.ndarray) -> str:
    return f"{values.mean():.3f} +- {float(stderr_of_mean(values)):.3f}"


if __name__ == "__main__":
    main()
