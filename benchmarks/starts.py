"""Where components start: the accuracy of each start on the encodings of a VAE with a plain prior.

    python benchmarks/starts.py runs/normal [--components 10]

The run is of a StandardNormal prior on data with labels. Each start uses the encodings of 10,000 training
rows. The accuracy is that of the best matching of components and labels on the test set.
"""

import argparse
import time

import torch

import pyrovae as pv
from pyrovae.cli.runs import open_run
from pyrovae.distributions import log_shares
from pyrovae.priors.starts import from_encodings
from pyrovae.training.batches import order

ROWS = 10_000


@torch.no_grad()
def main() -> None:
    options = arguments()
    vae, data = open_run(options.run, None)
    train = data.train[order(data.distinct, 0, 0)[:ROWS]]
    z, held_out = (
        torch.cat([vae.encode(some).mean for some in rows.batches(1000)]) for rows in (train, data.test)
    )
    print(f"{'start':<8} {'full':>6} {'diagonal':>9} {'spherical':>10} {'seconds':>8}")
    for start in ("kmeans", "fit", "graph"):
        began = time.process_time()
        moments = from_encodings(start, z, options.components)
        seconds = time.process_time() - began
        full, diagonal, spherical = (
            accuracy(kind, moments, held_out, data.labels.test) for kind in ("full", "diagonal", "spherical")
        )
        print(f"{start:<8} {full:6.3f} {diagonal:9.3f} {spherical:10.3f} {seconds:8.1f}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--components", type=int, default=10)
    return parser.parse_args()


def accuracy(covariance: str, moments: tuple, z: torch.Tensor, labels: torch.Tensor) -> float:
    prior = pv.priors.GaussianMixture(len(moments[0]), covariance)
    prior.attach(z.shape[1])
    prior.put(*moments)
    return pv.exploring.agreement(
        log_shares(prior.mixture(), z).argmax(-1), labels, prior.components
    ).accuracy


if __name__ == "__main__":
    main()
