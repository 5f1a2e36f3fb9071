"""How often the verdict and the errors of an estimate hold, on models with known log p(x).

    python benchmarks/verdict.py                        # the verdict: three minutes on one core
    python benchmarks/verdict.py --held-out             # on forty models not used for any limit
    python benchmarks/verdict.py --coverage             # the mean of 20, 200 and 2,000 rows: five
    python benchmarks/verdict.py --seeds                # the two cases in which annealing was wrong

An error holds if |estimate - log p(x)| is below three stated errors, or below .05 nats.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyrovae.evidence import AIS, PSIS, Defensive, Importance, Laplace, Method, log_evidence
from pyrovae.oracles import Blocks, LinearGaussian, correlated, hard_models

METHODS: dict[str, Method] = {"laplace": Laplace(), "ais": AIS()}


def verdict(rows: int, *, held_out: bool) -> None:
    """For each model and method: the mean error, the largest, the trusted share, the time."""
    print(
        "| method | model | mean error | largest | trusted | holds | seconds |\n|---|---|---|---|---|---|---|"
    )
    counts = {name: np.zeros(4) for name in METHODS}
    for title, model in hard_models(held_out=held_out):
        x = model.sample(rows, seed=5)
        truth = model.log_px(x).numpy()
        for name, method in METHODS.items():
            began = time.perf_counter()
            evidence = log_evidence(model, x, method=method)
            seconds = time.perf_counter() - began
            error = evidence.log_px - truth
            holds = (np.abs(error) < 3 * evidence.mc_stderr) | (np.abs(error) < 0.05)
            trust = evidence.trusted
            counts[name] += [trust.sum(), (trust & holds).sum(), holds.sum(), rows]
            numbers = (
                f"{error.mean():+.3f} | {np.abs(error).max():.3f} | {trust.mean():.0%} | {holds.mean():.0%}"
            )
            print(f"| {name} | {title} | {numbers} | {seconds:.1f} |", flush=True)
    for name, (trust, both, holds, every) in counts.items():
        print(
            f"{name}: trusted {trust / every:.1%} of {every:.0f} rows; the error holds in "
            f"{both / trust:.2%} of these; of the rows where it holds {both / holds:.1%} are trusted"
        )


def coverage(repeats: int) -> None:
    """How often the intervals of one and 1.96 errors around the mean of N rows cover the truth."""
    oracle = LinearGaussian.random(5, 2, guide_scale=1.3, seed=4)
    print("| method | rows | mean: 68 %, 95 % | corrected: 68 %, 95 % |\n|---|---|---|---|")
    for method in (Importance(), PSIS(), Defensive()):
        for count in (20, 200, 2000):
            raw, corrected = [], []
            for repeat in range(repeats):
                x = oracle.sample(count, seed=repeat)
                evidence = log_evidence(oracle, x, method=method, particles=100)
                truth = float(oracle.log_px(x).mean())
                raw.append(abs(evidence.mean - truth) / evidence.mc_error)
                corrected.append(abs(evidence.corrected - truth) / evidence.corrected_error)
            shares = [f"{np.mean(np.array(z) < w):.0%}" for z in (raw, corrected) for w in (1, 1.96)]
            print(
                f"| {method.name} | {count} | {shares[0]}, {shares[1]} | {shares[2]}, {shares[3]} |",
                flush=True,
            )


def seeds(count: int) -> None:
    """The largest error in stated errors, over seeds, of two cases in which annealing was wrong."""
    untrained = LinearGaussian.random(6, 3)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(len(x), 3), 1.0).to_event(1))

    twenty = Blocks([correlated(20, 1100.0)], "factorised")
    cases = {
        "20 correlated latents": (twenty, twenty),
        "untrained encoder": ((untrained.model, guide), untrained),
    }
    for title, (program, oracle) in cases.items():
        for name, method in METHODS.items():
            worst = []
            for seed in range(count):
                x = oracle.sample(10, seed=seed)
                evidence = log_evidence(program, x, method=method, seed=seed)
                worst.append(
                    abs(evidence.corrected - float(oracle.log_px(x).mean())) / evidence.corrected_error
                )
            print(f"{title}, {name}: mean within 3 errors in {np.sum(np.array(worst) < 3)} of {count} seeds")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--seeds", action="store_true")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    if options.coverage:
        coverage(400)
    elif options.seeds:
        seeds(20)
    else:
        verdict(options.rows, held_out=options.held_out)
