"""Two versions of the package in turn: the compiled step, the eager step and log p(x).

    python benchmarks/versions.py OLD NEW [--rounds 7]

OLD and NEW are folders that hold a `pyrovae` folder (two clones of the repository, say). Each
version works in a process of its own, on one thread, and the two are timed in turn; what is printed
are medians, and the median of the ratios NEW / OLD within a round.
"""

import argparse
import os
import statistics
import subprocess
import sys

WORK = """
import sys, torch
import pyrovae as pv

torch.set_num_threads(1)
torch.manual_seed(0)
networks = {"encoder": pv.networks.MLP(200, 200), "decoder": pv.networks.MLP(200, 200)}
vae = pv.VAE((1, 28, 28), 50, **networks)
x = torch.rand(5000, 1, 28, 28).round()
data = pv.datasets.load(x, validation=10, test=10)


def step(compile):
    run = pv.fit(vae, data, epochs=4, compile=compile, progress=False, figures=False)
    return min(run.history["seconds"][1:]) / 50


def evidence():
    return pv.log_evidence(vae, x[:100], particles=1000, compile=True).seconds


cases = {
    "compiled step": lambda: step(True),
    "eager step": lambda: step(False),
    "log p(x), compiled": evidence,
    "log p(x), eager": lambda: pv.log_evidence(vae, x[:50], particles=500, compile=False).seconds,
    "log p(x), AIS": lambda: pv.log_evidence(
        vae, x[:20], particles=4, method=pv.evidence.AIS(temperatures=20)).seconds,
}
for line in sys.stdin:
    print(cases[line.strip()](), flush=True)
"""
CASES = ("compiled step", "eager step", "log p(x), compiled", "log p(x), eager", "log p(x), AIS")


class Version:
    """A process that works with one version."""

    def __init__(self, folder):
        environment = os.environ | {"PYTHONPATH": os.path.abspath(folder), "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORK], env=environment, **pipes
        )

    def seconds(self, case):
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    versions = Version(options.old), Version(options.new)
    print(
        f"{'':<20} {'old':>10} {'new':>10} {'new/old':>8}   medians of {options.rounds} rounds, milliseconds"
    )
    for case in CASES:
        for version in versions:
            version.seconds(case)  # compiles, and is not counted
        rounds = []
        for number in range(options.rounds):
            in_turn = versions if number % 2 else versions[::-1]
            measured = {version: version.seconds(case) for version in in_turn}
            rounds.append([measured[version] for version in versions])
        old, new = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(b / a for a, b in rounds)
        print(f"{case:<20} {1000 * old:10.3f} {1000 * new:10.3f} {ratio:8.3f}", flush=True)


if __name__ == "__main__":
    main()
