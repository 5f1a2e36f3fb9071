"""The cost of a training step by batch size, particles, latents, rows and processes: tables and a picture.

    python benchmarks/scaling.py [--steps 30] [--processes 1 2] [--out DIR]

One size grows at a time, the others stay at batch 100, 1 particle, latent size 50, 5,000 rows. The network
is 784-200-200-D and back. A cost that is proportional to its size is a straight line of slope 1 in the
picture; one that does not depend on it is flat. Steps are eager; times are medians over steps, without the
first few.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

import pyrovae as pv
from pyrovae.training.steps import Steps

USUAL = {"batch": 100, "particles": 1, "latent": 50, "data": 5_000, "processes": 1}
SIZES = {
    "batch": (25, 50, 100, 200, 400, 800),
    "particles": (1, 2, 5, 10, 20, 50),
    "latent": (2, 10, 50, 200, 800),
    "data": (1_250, 5_000, 20_000, 80_000),
}
UNCOUNTED = 5


class Enough(Exception):
    """All steps were timed."""


def main() -> None:
    """Run the benchmark and print its tables."""
    options = arguments()
    costs: dict[str, dict[int, float]] = {}
    for name, sizes in (SIZES | {"processes": tuple(options.processes)}).items():
        costs[name] = {size: median(USUAL | {name: size}, options.steps) for size in sizes}
        report(name, costs[name])
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        content = {"threads": torch.get_num_threads(), "usual": USUAL, "milliseconds": costs}
        (options.out / "scaling.json").write_text(json.dumps(content, indent=2))
        draw(costs, options.out / "scaling.png")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30, help="timed at each size")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def median(sizes: dict[str, int], steps: int) -> float:
    """The median milliseconds of a step."""
    if sizes["processes"] == 1:
        return timed(sizes, steps)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(shared, (sizes, steps, folder), sizes["processes"])
        return json.loads((Path(folder) / "milliseconds").read_text())


def shared(rank: int, sizes: dict[str, int], steps: int, folder: str) -> None:
    """One process of several, each with its part of the threads."""
    count = sizes["processes"]
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    backend = "nccl" if torch.cuda.device_count() >= count else "gloo"
    dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=rank, world_size=count)
    milliseconds = timed(sizes, steps)
    if rank == 0:
        (Path(folder) / "milliseconds").write_text(json.dumps(milliseconds))
    dist.destroy_process_group()


def timed(sizes: dict[str, int], steps: int) -> float:
    """Steps of `fit` itself, timed from one to the next."""
    torch.manual_seed(0)
    mlp = pv.networks.MLP(200, 200, activation="tanh")
    vae = pv.VAE((1, 28, 28), latent_dim=sizes["latent"], encoder=mlp, decoder=mlp)
    x = torch.bernoulli(torch.full((sizes["data"], 1, 28, 28), 0.3))
    data = pv.datasets.load(x, validation=100, test=100)
    marks: list[float] = []
    take = Steps.take

    def marked(self, epoch, number):
        take(self, epoch, number)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        marks.append(time.perf_counter())
        if len(marks) == steps + UNCOUNTED:
            raise Enough

    Steps.take = marked
    try:
        options = {"batch_size": sizes["batch"], "compile": False, "progress": False}
        pv.fit(vae, data, pv.objectives.IWAE(sizes["particles"]), epochs=10_000, **options)
    except Enough:
        pass
    finally:
        Steps.take = take
    pairs = zip(marks[UNCOUNTED:], marks[UNCOUNTED - 1 :], strict=False)
    return 1e3 * statistics.median(after - before for after, before in pairs)


def report(name: str, costs: dict[int, float]) -> None:
    first = next(iter(costs.values()))
    print(f"{name:>10}{'ms per step':>12}{'to the first':>14}")
    for size, milliseconds in costs.items():
        print(f"{size:>10,}{milliseconds:>12.2f}{milliseconds / first:>14.2f}")
    sys.stdout.flush()


def draw(costs: dict[str, dict[int, float]], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, ScalarFormatter

    figure = Figure(figsize=(3 * len(costs), 3), layout="constrained")
    axes = figure.subplots(1, len(costs), sharey=True)
    for ax, (name, of_size) in zip(axes, costs.items(), strict=True):
        sizes, milliseconds = list(of_size), list(of_size.values())
        ax.loglog(sizes, milliseconds, "o-")
        last = milliseconds[-1]
        ax.loglog(sizes, [last * size / sizes[-1] for size in sizes], ":", color="0.6", label="slope 1")
        ax.set_xlabel({"batch": "batch size", "latent": "latent size"}.get(name, name))
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(ScalarFormatter())
        ax.minorticks_off()
    axes[0].set_ylabel("milliseconds per step")
    axes[0].set_ylim(0.8 * min(min(c.values()) for c in costs.values()), None)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
