"""log p(x) by importance sampling: PyroVAE, plain Pyro, and a loop over images, timed in one run.

    python benchmarks/evidence.py [--data 100] [--particles 5000] [--repeats 3] [--out FILE.json]

All use the same network (784-200-200-50 and back, tanh, Bernoulli), the same rows and the same number of
particles, and must agree. A floating-point rate counts the decoder's matrix products only, and is compared
with the rate of these products alone, measured in the same run. Compiled code is made in the warm-up
round; its tracing and loading are in every time, so that they dominate where there are few rows.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

import pyrovae as pv

BATCH = 100
LAYERS = ((50, 200), (200, 200), (200, 784))


def main() -> None:
    """Run the benchmark and print its table."""
    options = arguments()
    torch.manual_seed(0)
    vae = burda()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae.to(device)
    x = torch.bernoulli(torch.rand(options.data, 1, 28, 28) * 0.3).to(device)
    runs: dict[str, Callable[[], Tensor]] = {
        "PyroVAE": lambda: ours(vae, x, options.particles, compile=device == "cpu"),
        "PyroVAE, eager": lambda: ours(vae, x, options.particles, compile=False),
        "PyroVAE, bfloat16": lambda: ours(vae, x, options.particles, precision="bf16", compile=False),
        "Pyro, vectorised plate": lambda: plain_pyro(vae, x, options.particles),
        "one image at a time": lambda: one_by_one(vae, x, options.particles),
        "matrix products alone": lambda: products(options.data * options.particles, device),
    }
    seconds = timed(runs, options.repeats)
    report(seconds, options, device)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=int, default=100)
    parser.add_argument("--particles", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def burda() -> pv.VAE:
    """The one-layer network of Burda, Grosse & Salakhutdinov (2016)."""
    mlp = pv.networks.MLP(200, 200, activation="tanh")
    return pv.VAE((1, 28, 28), latent_dim=50, encoder=mlp, decoder=mlp)


def ours(vae: pv.VAE, x: Tensor, particles: int, **options: Any) -> Tensor:
    return torch.from_numpy(pv.log_evidence(vae, x, particles=particles, **options).log_px)


@torch.no_grad()
def plain_pyro(vae: pv.VAE, x: Tensor, particles: int) -> Tensor:
    """Replay under a vectorised plate for each small batch, with the terms summed for each row."""
    estimates = []
    for batch in x.split(max(1, BATCH * 20 // particles)):
        plate = pyro.plate("particles", particles, dim=-2)
        guide = poutine.trace(plate(vae.guide)).get_trace(batch)
        model = poutine.trace(poutine.replay(plate(vae.model), trace=guide)).get_trace(batch)
        guide.compute_log_prob()
        model.compute_log_prob()
        log_w = model.nodes["z"]["log_prob"] + model.nodes["x"]["log_prob"] - guide.nodes["z"]["log_prob"]
        estimates.append(torch.logsumexp(log_w.double(), 0) - torch.tensor(float(particles)).log())
    return torch.cat(estimates).cpu()


@torch.no_grad()
def one_by_one(vae: pv.VAE, x: Tensor, particles: int) -> Tensor:
    """The loop of published code: one image, its particles in batches of 100, hand-written terms."""
    estimates = []
    for image in x:
        log_w = []
        for _ in range(particles // BATCH):
            q = vae.encode(image.expand(BATCH, *image.shape))
            z = q.sample()
            log_w.append(vae.decode(z).log_prob(image) + vae.latents().log_prob(z) - q.log_prob(z))
        log_sum = torch.logsumexp(torch.cat(log_w).double(), 0)
        estimates.append(log_sum - torch.tensor(float(particles)).log())
    return torch.stack(estimates).cpu()


def products(pairs: int, device: str) -> Tensor:
    """The decoder's matrix products for this number of (particle, row) pairs, and nothing else."""
    rows = 2000
    weights = [torch.randn(n_in, n_out, device=device) for n_in, n_out in LAYERS]
    inputs = [torch.randn(rows, n_in, device=device) for n_in, _ in LAYERS]
    for _ in range(pairs // rows):
        for a, b in zip(inputs, weights, strict=True):
            out = a @ b
    return out


def timed(runs: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, all in every round; the answers of a warm-up round must agree."""
    answers = {name: run() for name, run in runs.items()}
    means = {name: a.double().mean().item() for name, a in answers.items() if a.dim() == 1}
    spread = max(means.values()) - min(means.values())
    assert spread < 1.0, f"the contestants disagree: {means}"
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def report(seconds: dict[str, list[float]], options: argparse.Namespace, device: str) -> None:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = options.data * options.particles
    flops = pairs * 2 * sum(a * b for a, b in LAYERS)
    peak = flops / medians["matrix products alone"]
    machine = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    threads = torch.get_num_threads()
    print(f"{options.data} rows x {options.particles} particles, {machine}, {threads} threads")
    print(f"{'':<24}{'median s':>10}{'us a pair':>11}{'ratio':>9}{'GFLOP/s':>9}{'of matrix rate':>16}")
    for name, median in medians.items():
        ratio, rate = median / medians["PyroVAE"], flops / median
        cost = median / pairs * 1e6
        print(f"{name:<24}{median:>10.3f}{cost:>11.2f}{ratio:>9.2f}{rate / 1e9:>9.1f}{rate / peak:>15.0%}")
    if options.out:
        content = {"machine": machine, "threads": torch.get_num_threads(), "seconds": seconds}
        options.out.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
