"""Decoders with random weights: what they gain with few data, what they are unsure of, and their cost.

    python benchmarks/bayesian.py --out DIR                              all three
    python benchmarks/bayesian.py --out DIR --only rows --rows 100 --seeds 1       a try
    python benchmarks/bayesian.py --out DIR --only steps --rounds 15               times of a step

rows     digits, binarised at a threshold: of N rows a tenth chooses the weights to keep; log p(x) of the same
         360 test rows for each decoder and seed, minus that of the fixed decoder of the same seed
doubt    the variance of E[x|z, W] over W, of test digits, of digits whose pixels are turned over (0 and 1
         exchanged), and of noise; and log p(x) of each, for the largest N
steps    the compiled step of each decoder divided by that of the fixed one: medians over rounds in which all
         take turns

Numbers are kept in `--out`, and used again.
"""

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from mixtures import race
from rivals import CASES, Training, data_of
from train_step import machine

import pyrovae as pv
from pyrovae.networks import MLP, Bayesian
from pyrovae.objectives import ELBO

FIXED = "fixed weights"
SIZES = (100, 300, 1000, 1437)
TEST = 360
STEPS = 10_000
DRAWS = 50
PARTICLES = 200
COLOURS = {"fixed weights": "0.4", "normal": "C0", "lastlayer": "C1", "laplace": "C2"}


def decoders(net: MLP) -> dict[str, Any]:
    """The decoders by their names."""
    return {
        FIXED: net,
        "normal": Bayesian(net),
        "lastlayer": Bayesian(net, posterior="lastlayer"),
        "laplace": Bayesian(net, posterior="laplace"),
    }


def main() -> None:
    """Run what is asked for and print its tables."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.only in (None, "rows"):
        few_rows(args)
    if args.only in (None, "doubt"):
        doubt(args)
    if args.only in (None, "steps"):
        steps(args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("rows", "doubt", "steps"))
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--decoders", nargs="+", default=list(COLOURS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=100)
    return parser.parse_args()


# ---------------------------------------------------------------- few rows


def few_rows(args: argparse.Namespace) -> None:
    """Print the table of log p(x) by the number of rows, and draw it."""
    found = {
        (name, count): [result(args, name, count, seed) for seed in range(args.seeds)]
        for count in args.rows
        for name in args.decoders
    }
    print(f"{'rows':>6}  {'decoder':14} {'log p(x)':>9} {'minus fixed':>20} {'at the mean of W':>17}")
    for (name, count), runs in found.items():
        values = np.array([run["log_px"] for run in runs])
        gain, error = paired(runs, found[FIXED, count])
        plug = np.mean([run["at_mean"] for run in runs])
        print(f"{count:6}  {name:14} {values.mean():9.2f} {gain:12.2f} +- {error:.2f} {plug:17.2f}")
    draw(args, found)


def data_set(count: int, seed: int) -> pv.datasets.Data:
    """N rows of digits, of which a tenth is for validation, and the test rows of all sets."""
    full = pv.datasets.load("digits", binarize="threshold", validation=100, test=TEST)
    pool = torch.cat([full.train.x, full.validation.x])
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:count]
    held = count // 10
    train, validation = pv.Rows(pool[order[held:]]), pv.Rows(pool[order[:held]])
    return replace(full, train=train, validation=validation)


def trained(args: argparse.Namespace, name: str, count: int, seed: int) -> pv.VAE:
    """A VAE with this decoder."""
    data, net = data_set(count, seed), MLP(64, 64)
    vae = pv.VAE(data.event_shape, 8, encoder=net, decoder=decoders(net)[name], seed=seed)
    batch = max(16, min(100, count // 20))
    epochs = round(STEPS * batch / len(data.train))
    pv.fit(vae, data, epochs=epochs, batch_size=batch, lr=2e-3, patience=None, seed=seed, progress=False)
    return vae


def result(args: argparse.Namespace, name: str, count: int, seed: int) -> dict[str, Any]:
    """log p(x) of the test rows under a decoder that was trained on N rows."""
    path = args.out / f"{name.replace(' ', '_')}-{count}-{seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    vae, test = trained(args, name, count, seed), data_set(count, seed).test
    evidence = pv.log_evidence(vae, test, particles=PARTICLES, **draws(vae))
    at_mean = evidence if name == FIXED else pv.log_evidence(vae, test, particles=PARTICLES, given="mean")
    found = {"rows": evidence.log_px.tolist(), "log_px": evidence.mean, "at_mean": at_mean.mean}
    path.write_text(json.dumps(found))
    print(
        f"{name}, {count} rows, seed {seed}: {evidence.mean:.2f}, {at_mean.mean:.2f} at the mean", flush=True
    )
    return found


def draws(vae: pv.VAE) -> dict[str, int]:
    """The number of draws of W, for a decoder that has random weights."""
    return {"weights": DRAWS} if vae.has_globals else {}


def paired(runs: list[dict[str, Any]], fixed: list[dict[str, Any]]) -> tuple[float, float]:
    """The mean difference from the fixed decoder of the same seed, and its error over seeds."""
    gains = [np.mean(np.subtract(a["rows"], b["rows"])) for a, b in zip(runs, fixed, strict=True)]
    return float(np.mean(gains)), float(np.std(gains, ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else 0.0


def draw(args: argparse.Namespace, found: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    """The gain of each decoder over the fixed one, by the number of rows."""
    figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    for name in args.decoders:
        pairs = [paired(found[name, count], found[FIXED, count]) for count in args.rows]
        gains, errors = zip(*pairs, strict=True)
        if name == FIXED:
            axes.axhline(0, color=COLOURS[name], lw=1)
        else:
            axes.errorbar(args.rows, gains, errors, marker="o", ms=4, color=COLOURS[name], label=name)
    axes.set(
        xscale="log", xlabel="rows (training and validation)", ylabel="log p(x), minus fixed weights (nats)"
    )
    axes.set_xticks(args.rows, [f"{count:,}" for count in args.rows])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(args.out / "bayesian_rows.png", dpi=150)
    plt.close(figure)


# ---------------------------------------------------------------- doubt


def doubt(args: argparse.Namespace) -> None:
    """Print the variance from W and log p(x) of digits, of digits turned over, and of noise."""
    count, names = args.rows[-1], [name for name in args.decoders if name != FIXED]
    test = data_set(count, 0).test.x
    generator = torch.Generator().manual_seed(0)
    noise = torch.bernoulli(test.mean().expand(test.shape), generator=generator)
    sets = {"test digits": test, "turned over": 1 - test, "noise": noise}
    print(f"{'decoder':14} {'rows':12} {'log p(x)':>9} {'sd from W':>10} {'sd from z':>10}")
    for name in names:
        vae = trained(args, name, count, 0)
        for what, x in sets.items():
            parts = vae.uncertainty(x, seed=0)
            log_px = pv.log_evidence(vae, x, particles=PARTICLES, **draws(vae)).mean
            from_w, from_z = (np.sqrt(np.mean(np.asarray(part))) for part in (parts.from_w, parts.from_z))
            print(f"{name:14} {what:12} {log_px:9.2f} {from_w:10.4f} {from_z:10.4f}", flush=True)


# ---------------------------------------------------------------- steps


class Steps(Training):
    """The loop of `pyrovae.fit` with one decoder: 784-200-200-50 and back, tanh, binary data."""

    def __init__(self, name: str, batch: int, x: torch.Tensor) -> None:
        torch.manual_seed(0)
        net = MLP(200, 200, activation="tanh")
        vae = pv.VAE((784,), 50, encoder=net, decoder=decoders(net)[name])
        super().__init__(vae, pv.datasets.load(x, validation=batch, test=1), ELBO(), batch, compile=True)
        self.ms: list[float] = []
        self.steps = 0


def steps(args: argparse.Namespace) -> None:
    """Print the times of a compiled step."""
    x = data_of(CASES["dense"])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"], os.environ["PYROVAE_CACHE"] = f"{cache}/torch", f"{cache}/ours"
        runs = {name: Steps(name, args.batch, x) for name in args.decoders}
        race(runs, args.rounds)
    print(
        f"one compiled step, batch {args.batch}, {torch.get_num_threads()} threads; {machine()['processor']}"
    )
    for name, one in runs.items():
        ratio = statistics.median(a / b for a, b in zip(one.ms, runs[FIXED].ms, strict=True))
        print(f"{name:14} {statistics.median(one.ms):7.3f} ms {ratio:6.2f}")


if __name__ == "__main__":
    main()
