"""The time and memory of estimates of log p(x): importance sampling, annealing and Laplace proposals.

    python benchmarks/evidence.py [--parts bounds annealing laplace memory] [--threads 2] [--out FILE.json]

All use one network (784-200-200-50 and back, tanh, Bernoulli). The methods of a part run in turn in one
process, and a ratio is the median of the ratios within rounds. Matrix rates count the decoder's products
only. They are compared with one large product (2500 x 1000 x 1000), measured in the same rounds. Code is
compiled in a warm-up round. Every time includes tracing and loading it.

    bounds      L_K of binary images: compiled, eager, bfloat16, plain Pyro, one image at a time
    annealing   HMC steps from the guide, compiled and eager, on a trained network
    laplace     Laplace proposals with K = 1,000, and L_5000 of the same images
    memory      the peak resident memory of a process that computes one estimate, for several numbers of
                particles, rows and chains
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

import pyrovae as pv
from pyrovae.evidence import estimate
from pyrovae.evidence.captured import Codes

PARTS = ("bounds", "annealing", "laplace", "memory")
BATCH = 100
LAYERS = ((50, 200), (200, 200), (200, 784))
FLOPS = 2 * sum(a * b for a, b in LAYERS)  # of a pair of particle and row
LARGE = (2500, 1000, 1000)
Runs = dict[str, Callable[[], Any]]
# Method, particles or chains, rows, and the method's options, each in a process of its own.
CASES = (
    ("importance", 5000, 20, {}),
    ("importance", 50_000, 20, {}),
    ("importance", 500, 200, {}),
    ("importance", 500, 1000, {}),
    ("ais", 1000, 2, {"temperatures": 10, "start": "guide"}),
    ("ais", 10_000, 1, {"temperatures": 10, "start": "guide"}),
    ("laplace", 2000, 45, {}),
    ("laplace", 20_000, 5, {}),
    ("laplace", 300, 130, {}),
    ("laplace", 300, 260, {}),
)


def main() -> None:
    """Run the parts and print their tables."""
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.case is not None:
        alone(*json.loads(options.case))
        return
    where = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    print(f"{where}, {options.threads} threads, torch {torch.__version__}")
    functions = {"bounds": bounds, "annealing": annealing, "laplace": laplace, "memory": memory}
    results = {part: functions[part](options) for part in PARTS if part in options.parts}
    if options.out:
        content = {"machine": where, "threads": options.threads, "seconds": results}
        options.out.write_text(json.dumps(content, indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--data", type=int, default=100, help="rows of the part bounds")
    parser.add_argument("--particles", type=int, default=5000, help="particles of the part bounds")
    parser.add_argument("--images", type=int, default=1000, help="rows of the part laplace")
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--root", help="folder with MNIST; without it, 8x8 digits are enlarged")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


# ---------------------------------------------------------------- importance sampling


def bounds(options: argparse.Namespace) -> dict[str, list[float]]:
    """L_K by each method, and the matrix products alone."""
    torch.manual_seed(0)
    vae, device, particles = burda().to(options.device), options.device, options.particles
    x = torch.bernoulli(torch.rand(options.data, 1, 28, 28) * 0.3).to(device)
    pairs = options.data * particles
    runs: Runs = {
        "PyroVAE": lambda: ours(vae, x, particles, compile=device == "cpu"),
        "PyroVAE, eager": lambda: ours(vae, x, particles, compile=False),
        "PyroVAE, bfloat16": lambda: ours(vae, x, particles, precision="bf16", compile=False),
        "Pyro, vectorised plate": lambda: plain_pyro(vae, x, particles),
        "one image at a time": lambda: one_by_one(vae, x, particles),
        "matrix products alone": lambda: products(pairs, device),
        "one large product": lambda: large_product(pairs, device),
    }
    answers = {name: run() for name, run in runs.items()}
    means = {name: a.double().mean().item() for name, a in answers.items() if a.dim() == 1}
    assert max(means.values()) - min(means.values()) < 1.0, f"the contestants disagree: {means}"
    seconds = timed(runs, options.repeats, device)
    print(f"\n{options.data} rows x {particles} particles")
    print(f"{'':<24}{'median s':>10}{'us a pair':>11}{'ratio':>9}{'GFLOP/s':>9}{'of matrix rate':>16}")
    for name, values in seconds.items():
        median = statistics.median(values)
        share = 1 / ratio(values, seconds["one large product"])
        print(
            f"{name:<24}{median:>10.3f}{median / pairs * 1e6:>11.2f}{ratio(values, seconds['PyroVAE']):>9.2f}"
            f"{pairs * FLOPS / median / 1e9:>9.1f}{share:>16.0%}"
        )
    return seconds


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


def large_product(pairs: int, device: str) -> Tensor:
    """The same number of operations as the decoder's products, in large matrices: the machine's rate."""
    n, k, m = LARGE
    a, b = torch.randn(n, k, device=device), torch.randn(k, m, device=device)
    for _ in range(max(1, round(pairs * FLOPS / (2 * n * k * m)))):
        out = a @ b
    return out


# ---------------------------------------------------------------- annealing and Laplace proposals


def annealing(options: argparse.Namespace) -> dict[str, list[float]]:
    """The same chains with compiled and with eager gradients."""
    vae, x = trained(options)
    table: dict[str, list[float]] = {}
    print(f"\nannealing from the guide, 100 temperatures, {options.chains} chains")
    print(f"{'rows':<8}{'compiled s':>12}{'eager s':>10}{'eager / compiled':>18}{'largest change':>16}")
    for count in (32, 160):
        method = pv.evidence.AIS(100, start="guide")
        both = compiled_and_eager(vae, x[:count], method, options.chains)
        change = (both["compiled"]() - both["eager"]()).abs().max()
        seconds = timed(both, options.repeats, options.device)
        medians = [statistics.median(values) for values in seconds.values()]
        faster = ratio(seconds["eager"], seconds["compiled"])
        print(f"{count:<8}{medians[0]:>12.2f}{medians[1]:>10.2f}{faster:>18.2f}{change:>16.2g}")
        table |= {f"{count} rows, {name}": values for name, values in seconds.items()}
    return table


def laplace(options: argparse.Namespace) -> dict[str, list[float]]:
    """Laplace proposals with 1,000 samples, and L_5000 of the same images."""
    vae, x = trained(options)
    x = x[: options.images]
    both = compiled_and_eager(vae, x, "laplace", 1000)
    on_cpu = options.device == "cpu"
    compiled_and_eager(vae, x[:10], "laplace", 1000)["compiled"]()
    ours(vae, x[:1], 5000, compile=on_cpu)
    runs: Runs = {
        "Laplace, K = 1,000": both["compiled"],
        "Laplace, eager": both["eager"],
        "L_5000": lambda: ours(vae, x, 5000, compile=on_cpu),
        "L_5000, eager": lambda: ours(vae, x, 5000, compile=False),
    }
    means: dict[str, float] = {}
    kept = {name: lambda name=name, run=run: means.update({name: run().mean()}) for name, run in runs.items()}
    seconds = timed(kept, 1, options.device)
    print(f"\n{len(x)} images{'':<10}{'seconds':>10}{'ms an image':>13}{'/ L_5000':>10}{'mean':>10}")
    for name, values in seconds.items():
        share = ratio(values, seconds["L_5000"])
        print(
            f"{name:<20}{values[0]:>10.1f}{values[0] / len(x) * 1e3:>13.1f}{share:>10.2f}{means[name]:>10.2f}"
        )
    return seconds


def trained(options: argparse.Namespace) -> tuple[pv.VAE, Tensor]:
    """The network after a short training on binary digits, and test images."""
    if options.root:
        data = pv.datasets.load("mnist", root=options.root, binarize="dynamic")
    else:
        data = pv.datasets.load("digits", resize=28, binarize="threshold", test=1000)
    torch.manual_seed(0)
    vae = burda()
    epochs = 2 if options.root else 60
    pv.fit(vae, data, epochs=epochs, batch_size=100, lr=1e-3, progress=False, figures=False, patience=None)
    return vae.to(options.device), data.test.x.to(options.device)


def compiled_and_eager(vae: pv.VAE, x: Tensor, method: Any, particles: int) -> Runs:
    options = {"method": method, "particles": particles}

    def compiled() -> Tensor:
        with at_once():
            return ours(vae, x, **options)

    return {"compiled": compiled, "eager": lambda: ours(vae, x, compile=False, **options)}


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Compile gradients at the first call; "auto" would first time eager calls."""
    estimate.Codes = lambda compile, rows: Codes(True, rows)  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        estimate.Codes = Codes  # type: ignore[misc]


# ---------------------------------------------------------------- memory


def memory(options: argparse.Namespace) -> dict[str, list[float]]:
    """The peak resident memory of one estimate, in a process of its own."""
    print(f"\n{'':<14}{'K or chains':>12}{'rows':>8}{'peak MB':>10}{'above the start':>17}")
    peaks: dict[str, list[float]] = {}
    for case in CASES:
        command = [sys.executable, __file__, "--case", json.dumps(case), "--threads", str(options.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        start, peak = map(float, done.stdout.split()[-2:])
        name, particles, rows, _ = case
        print(f"{name:<14}{particles:>12,}{rows:>8,}{peak:>10.0f}{peak - start:>17.0f}")
        peaks[f"{name} {particles} {rows}"] = [start, peak]
    return peaks


def alone(name: str, particles: int, rows: int, options: dict[str, Any]) -> None:
    """Print the peak memory in MB before and after an estimate."""
    torch.manual_seed(0)
    vae = burda()
    x = torch.bernoulli(torch.rand(rows, 1, 28, 28) * 0.3)
    method = pv.evidence.AIS(**options) if options else name
    start = peak_megabytes()
    pv.log_evidence(vae, x, method=method, particles=particles, compile=False)
    print(start, peak_megabytes())


def peak_megabytes() -> float:
    scale = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


# ---------------------------------------------------------------- time


def timed(runs: Runs, repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each method; each round runs all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(mine: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


if __name__ == "__main__":
    main()
