"""The cost of a mixture prior: a training step with it, divided by one with a standard normal prior.

    python benchmarks/mixtures.py [--batch 100] [--components 10 100] [--rounds 15] [--out DIR]

The network is 784-200-200-50 and back, tanh, the data binary; all priors are timed in turn within each round,
and a ratio is the median over rounds, so that a machine that slows down slows all. Steps are compiled.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rivals import CASES, Training, data_of
from train_step import PAUSE_SECONDS, machine, paced

import pyrovae as pv
from pyrovae.objectives import ELBO

LATENTS = 50
NORMAL = "StandardNormal()"


class Steps(Training):
    """The loop of `pyrovae.fit` on one declaration."""

    def __init__(self, prior: Any, guide: Any, batch: int, x: torch.Tensor) -> None:
        torch.manual_seed(0)
        net = pv.networks.MLP(200, 200, activation="tanh")
        vae = pv.VAE((784,), LATENTS, prior=prior, guide=guide, encoder=net, decoder=net)
        super().__init__(vae, pv.datasets.load(x, validation=batch, test=1), ELBO(), batch, compile=True)
        self.ms: list[float] = []
        self.steps = 0


def main() -> None:
    """Run the benchmark and print its table."""
    options = arguments()
    x = data_of(CASES["dense"])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"], os.environ["PYROVAE_CACHE"] = f"{cache}/torch", f"{cache}/ours"
        contestants = {name: Steps(*parts, options.batch, x) for name, parts in declared(options.components)}
        race(contestants, options.rounds)
    rows = {name: row(one, contestants[NORMAL]) for name, one in contestants.items()}
    report(rows, options.batch)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        content = {"machine": machine(), "batch": options.batch, "latents": LATENTS, "rows": rows}
        (options.out / "mixtures.json").write_text(json.dumps(content, indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--components", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def declared(components: list[int]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    normal = pv.guides.DiagonalNormal()
    yield NORMAL, (pv.priors.StandardNormal(), normal)
    for count in components:
        for form in ({}, {"covariance": "full"}, {"explicit": True}):
            prior = pv.priors.GaussianMixture(count, **form)
            yield repr(prior), (prior, normal)


def race(contestants: dict[str, Steps], rounds: int) -> None:
    """Every contestant once a round, in an order that changes."""
    entered = list(contestants.values())
    for one in entered:
        one.run(3)
        one.steps = paced(one)
    for number in range(rounds):
        turn = entered[number % len(entered) :] + entered[: number % len(entered)]
        for one in turn[:: -1 if number % 2 else 1]:
            time.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            one.run(one.steps)
            one.ms.append((time.perf_counter() - began) / one.steps * 1e3)


def row(one: Steps, normal: Steps) -> dict[str, float]:
    ratios = [a / b for a, b in zip(one.ms, normal.ms, strict=True)]
    return {"median_ms": statistics.median(one.ms), "to_normal": statistics.median(ratios)}


def report(rows: dict[str, dict[str, float]], batch: int) -> None:
    print(f"one compiled step, batch {batch}, D = {LATENTS}, {torch.get_num_threads()} threads")
    width = max(map(len, rows))
    print(f"{'prior':<{width}}  median ms  to standard normal")
    for name, times in rows.items():
        print(f"{name:<{width}}  {times['median_ms']:9.3f}  {times['to_normal']:18.2f}")


if __name__ == "__main__":
    main()
