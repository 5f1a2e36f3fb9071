"""One training step of a VAE: ours, Pyro's, PyTorch's by hand and compiled, NumPyro's, in turn in one run.

    python benchmarks/train_step.py [--cases dense conv28 ...] [--batches 20 100] [--device cuda] [--memory]
                                    [--out DIR]
    python benchmarks/train_step.py --check

Every rival (see `rivals.py`) trains the same network on the same data, on the CPU unless --device says
otherwise, and gathers its batch by an index. In each round each takes some consecutive steps, in another
order each time. "ours/it" is the median over rounds of the time of "PyroVAE compiled" over its own in the
same round, so that a machine that slows down for a while slows both. A floating-point rate counts matrix
products and convolutions only; its share is of the rate of one large product, measured in the same rounds.
"compile s" is all before the third step, imports apart and no cache on disk. "peak MB" is that of a process
of its own which takes ten steps, compiled torch code from the cache, and in brackets what came after the
imports and the data.
"""

import argparse
import importlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from rivals import CASES, ROWS, Case, HandVAE, NumPyro, PyroSVI, PyroVAE, PyTorch, data_of
from torch import Tensor, nn

RIVALS = {
    "PyroVAE compiled": partial(PyroVAE, compile=True),
    "PyroVAE eager": partial(PyroVAE, compile=False),
    "Pyro SVI": PyroSVI,
    "PyTorch eager": partial(PyTorch, compile=False),
    "PyTorch compiled": partial(PyTorch, compile=True),
    "NumPyro scan": NumPyro,
}
IMPORTS = {
    "PyroVAE compiled": "pyrovae.training.fit",
    "PyroVAE eager": "pyrovae.training.fit",
    "Pyro SVI": "pyro.infer",
    "PyTorch compiled": "torch._inductor.compile_fx",
    "NumPyro scan": "numpyro.infer",
}
OURS, PRODUCTS, LARGE = "PyroVAE compiled", "matrix products alone", "one large product"
ROUND_SECONDS, PAUSE_SECONDS = 0.25, 0.02
PACKAGES = ("torch", "pyro-ppl", "numpyro", "jax", "numpy")


@dataclass
class Contestant:
    """Who is timed: `flops` a step, `steps` a round, and the milliseconds a step of each round."""

    name: str
    rival: Any
    flops: int
    compile_seconds: float = math.nan
    steps: int = 0
    ms: list[float] = field(default_factory=list)


def main() -> None:
    """Run the benchmark and print its tables."""
    options = arguments()
    if options.threads:
        limit_threads(options.threads)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.allow_tf32 = False  # torch's default is tf32 for convolutions; here all use float32
    runs = [(CASES[n], batch) for n in options.cases for batch in options.batches or CASES[n].batches]
    if options.peak:
        print(*peak(*runs[0], options.only[0]))
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        # A second run would report no compilation.
        os.environ["TORCHINDUCTOR_CACHE_DIR"], os.environ["PYROVAE_CACHE"] = f"{cache}/torch", f"{cache}/ours"
        if options.check:
            for name in options.cases:
                check(CASES[name], 100, options.only, options.device)
            return
        found = {"machine": machine(options.device), "runs": []}
        for case, batch in runs:
            found["runs"].append(measured(case, batch, options))
            report(found["runs"][-1], found["machine"])
            if options.out:
                (options.out / "train_step.json").write_text(json.dumps(found, indent=2))
                picture(found, options.out / "train_step.png")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--batches", nargs="+", type=positive_int, help="default: each case's own")
    parser.add_argument("--only", nargs="+", choices=RIVALS, default=list(RIVALS), metavar="RIVAL")
    parser.add_argument(
        "--steps", type=positive_int, help="a round; default what takes a quarter of a second"
    )
    parser.add_argument("--rounds", type=positive_int, default=15)
    parser.add_argument("--threads", type=positive_int, help="of every rival; default each library's own")
    parser.add_argument("--device", default="cpu", help="of every rival: cpu, or cuda without NumPyro")
    parser.add_argument("--memory", action="store_true", help="measure peak memory too, a process a rival")
    parser.add_argument(
        "--check", action="store_true", help="train at batch 100 instead, and assert agreement"
    )
    parser.add_argument("--out", type=Path, help="a folder for train_step.json and train_step.png")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def positive_int(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def limit_threads(threads: int) -> None:
    """Processors, too: JAX has no setting and starts a thread for each that it may use."""
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


# ---------------------------------------------------------------- timing


def measured(case: Case, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one case and batch size, in plain values."""
    contestants, missing = entered(case, batch, options)
    race(contestants, options.rounds)
    times = {c.name: c.ms for c in contestants}
    matrix_rate = next(c.flops / statistics.median(c.ms) for c in contestants if c.name == LARGE) / 1e6
    rows = {}
    for c in contestants:
        median = statistics.median(c.ms)
        ratios = [a / b for a, b in zip(times.get(OURS, []), c.ms, strict=OURS in times)]
        gflops = c.flops / median / 1e6
        rows[c.name] = {
            "median_ms": median,
            "ours_over_it": statistics.median(ratios) if ratios else None,
            "gflops": gflops,
            "share": gflops / matrix_rate,
            "compile_seconds": None if math.isnan(c.compile_seconds) else c.compile_seconds,
            "peak_mb": memory(case, batch, c.name, options) if options.memory and c.name in RIVALS else None,
            "steps": c.steps,
            "ms": c.ms,
        }
    sizes = {"batch": batch, "particles": case.particles, "event_shape": case.event_shape, "data": ROWS}
    facts = sizes | {"flops": contestants[-2].flops, "matrix_gflops": matrix_rate, "rounds": options.rounds}
    return {"case": case.name} | facts | {"rows": rows, "missing": missing}


def entered(case: Case, batch: int, options: argparse.Namespace) -> tuple[list[Contestant], dict[str, str]]:
    """The contestants, compiled and with their steps a round, and why others are missing."""
    torch.compiler.reset()
    x, found, missing = data_of(case).to(options.device), [], {}
    products = Products(case, batch, x)
    for name in options.only:
        if why := unavailable(name, case, options.device):
            missing[name] = why
            continue
        try:
            began = time.perf_counter()
            rival = RIVALS[name](case, batch, x)
            rival.run(2)
        except (RuntimeError, ValueError) as error:  # no C++ compiler: the others can still be timed
            missing[name] = f"failed, {type(error).__name__}: {str(error).splitlines()[0][:60]}"
            continue
        found.append(Contestant(name, rival, products.flops, time.perf_counter() - began))
    found += [
        Contestant(PRODUCTS, products, products.flops),
        Contestant(LARGE, large := Square(device=options.device), large.flops),
    ]
    for contestant in found:
        contestant.steps = (contestant.name != LARGE and options.steps) or paced(contestant.rival)
    return found, missing


def unavailable(name: str, case: Case, device: str = "cpu") -> str:
    """Why a rival cannot compete, or ""; imports what it needs, which is no part of its timing."""
    if name == "NumPyro scan" and (case.images or device != "cpu"):
        return "- (dense networks only)" if case.images else "- (on a CPU only)"
    try:
        importlib.import_module(IMPORTS.get(name, "torch"))
    except ModuleNotFoundError as error:
        return f"not installed ({error.name})"
    return ""


def paced(rival: Any, steps: int = 3) -> int:
    """The number of steps that take about ROUND_SECONDS."""
    rival.run(steps)
    began = time.perf_counter()
    rival.run(steps)
    return min(max(round(ROUND_SECONDS * steps / (time.perf_counter() - began)), 2), 2000)


def race(contestants: list[Contestant], rounds: int) -> None:
    """Every contestant once a round; who goes first moves on, and every other round runs backwards."""
    for contestant in contestants:
        contestant.rival.run(contestant.steps)  # the length of a scan is compiled into it
    for number in range(rounds):
        first = number % len(contestants)
        turn = contestants[first:] + contestants[:first]
        for contestant in turn[:: -1 if number % 2 else 1]:
            time.sleep(PAUSE_SECONDS)  # the last one's idle threads still spin for a moment
            began = time.perf_counter()
            contestant.rival.run(contestant.steps)
            contestant.ms.append((time.perf_counter() - began) / contestant.steps * 1e3)


def check(case: Case, batch: int, names: list[str], device: str) -> None:
    """Train for 300 steps; assert that all have as many parameters, learn, and agree."""
    sizes, firsts, lasts, x = {}, {}, {}, data_of(case).to(device)
    torch.compiler.reset()
    for name in names:
        if not unavailable(name, case, device):
            rival = RIVALS[name](case, batch, x)
            sizes[name], firsts[name], _, lasts[name] = (
                rival.size,
                rival.run(10),
                rival.run(190),
                rival.run(100),
            )
            print(f"{case.name:<8} {name:<20}{firsts[name]:>10.2f} ->{lasts[name]:>9.2f} nats", flush=True)
    # The draws of z alone move the last mean by 0.2 nats; by many where a scale is learned, the first by 3.5.
    compared, tolerance = (firsts, 15.0) if case.real else (lasts, 3.0)
    assert len(set(sizes.values())) == 1, f"the rivals train different networks: {sizes}"
    assert all(firsts[name] - lasts[name] > 10 for name in lasts), f"a loss did not fall: {firsts}, {lasts}"
    assert max(compared.values()) - min(compared.values()) < tolerance, f"the rivals disagree: {compared}"


# ---------------------------------------------------------------- memory


def memory(case: Case, batch: int, name: str, options: argparse.Namespace) -> list[float]:
    """MB after imports and data, and at the peak, in a new process."""
    command = [sys.executable, __file__, "--peak", "--only", name, "--cases", case.name]
    command += ["--batches", str(batch)] + (["--threads", str(options.threads)] if options.threads else [])
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def peak(case: Case, batch: int, name: str) -> tuple[float, float]:
    assert not unavailable(name, case)
    x = data_of(case)
    before = high_water()
    RIVALS[name](case, batch, x).run(10)
    return before, high_water()


def high_water() -> float:
    """The largest resident memory so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would begin at what the parent process held
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


# ---------------------------------------------------------------- matrix products


class Products:
    """The step's matrix products and nothing else: forward, weight's gradient, input's gradient.

    The first layer's input are data and get no gradient. `flops` counts a multiplication and an addition
    for each element of each product.
    """

    def __init__(self, case: Case, batch: int, x: Tensor) -> None:
        self.layers: list[tuple[nn.Module, Tensor, Tensor, bool]] = []
        net, lead = HandVAE(case).to(x.device), [case.particles] if case.particles > 1 else []
        for layer in (*net.encoder, *net.decoder):
            layer.register_forward_hook(self._note)
        with torch.no_grad():
            net.encoder(x[:batch])
            net.decoder(torch.randn(*lead, batch, case.latent_dim, device=x.device))
        self.flops = sum(
            2 * grad.numel() * m.weight[0].numel() * (2 + wanted) for m, _, grad, wanted in self.layers
        )

    def _note(self, layer: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            self.layers.append((layer, inputs[0].flatten(0, -2), out.flatten(0, -2), bool(self.layers)))
        elif isinstance(layer, nn.Conv2d):
            self.layers.append((layer, inputs[0], out, bool(self.layers)))

    @torch.no_grad()
    def run(self, steps: int) -> None:
        for layer, value, grad, wanted in self.layers * steps:
            if isinstance(layer, nn.Linear):
                value @ layer.weight.T, grad.T @ value, grad @ layer.weight if wanted else None
                continue
            shape = (layer.stride, layer.padding, layer.dilation, False, (0, 0), 1)
            torch.ops.aten.convolution(value, layer.weight, None, *shape)
            gradients = (wanted, True, False)
            torch.ops.aten.convolution_backward(grad, value, layer.weight, None, *shape, gradients)
        wait_for(self.layers[0][1])


class Square:
    """One large square product, the machine's matrix rate."""

    def __init__(
        self, side: int | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        side = side or (1536 if device == "cpu" else 8192)
        self.flops = 2 * side**3
        self.a, self.b, self.out = torch.randn(3, side, side, device=device).to(dtype)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            torch.mm(self.a, self.b, out=self.out)
        wait_for(self.out)


def wait_for(tensor: Tensor) -> None:
    """Wait for the GPU of a tensor; the other contestants wait by reading a number."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


# ---------------------------------------------------------------- report


def machine(device: str = "cpu") -> dict[str, Any]:
    processor, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2] for line in info.read_text().splitlines() if "model name" in line]
        processor = names[0].strip() if names else processor
    if device != "cpu":
        processor = torch.cuda.get_device_name(device)
    versions = {d.name: d.version for d in distributions() if d.name in PACKAGES}
    facts = {"processor": processor, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return facts | {"load": load, "versions": versions, "date": date.today().isoformat()}


def report(run: dict[str, Any], machine: dict[str, Any]) -> None:
    print(
        f"\n{run['case']}, batch {run['batch']}, K = {run['particles']}: {machine['processor']}, "
        f"{machine['threads']} threads, {run['rounds']} rounds; {run['flops'] / 1e9:.2f} GFLOP a step, "
        f"matrix rate {run['matrix_gflops']:.0f} GFLOP/s"
    )
    head = f"{'':<22}{'median ms':>11}{'ours/it':>9}{'GFLOP/s':>9}{'of matrix rate':>16}"
    print(f"{head}{'compile s':>11}{'peak MB':>15}")
    for name, row in run["rows"].items():
        if name != LARGE:
            ratio, seconds = (cell(row[key], ".2f") for key in ("ours_over_it", "compile_seconds"))
            before, most = row["peak_mb"] or (0, 0)
            held = f"{most:.0f} (+{most - before:.0f})" if most else "-"
            rate = f"{row['gflops']:>9.1f}{row['share']:>15.0%} "
            print(f"{name:<22}{row['median_ms']:>11.3f}{ratio:>9}{rate}{seconds:>11}{held:>15}")
    for name, why in run["missing"].items():
        print(f"{name:<22}  {why}")


def cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def picture(found: dict[str, Any], path: Path) -> None:
    """Milliseconds a step, a panel for each case and batch size: median and quartiles over rounds."""
    from matplotlib.figure import Figure

    from pyrovae.plots.style import COLOURS, style

    runs = found["runs"]
    names = [name for name in (*RIVALS, PRODUCTS) if any(name in run["rows"] for run in runs)]
    columns = min(len(runs), 4)
    lines = math.ceil(len(runs) / columns)
    with style():
        figure = Figure(figsize=(1.5 + 2.1 * columns, 0.6 + lines * (0.7 + 0.24 * len(names))))
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for axes, run in zip(grid.flat, runs, strict=False):
            for y, name in enumerate(names):
                colour = COLOURS["model" if name.startswith("PyroVAE") else "data"]
                faint = name in ("PyroVAE eager", PRODUCTS)
                bar(axes, y, run["rows"].get(name), colour, 0.45 if faint else 1.0)
            axes.set_title(f"{run['case']}, batch {run['batch']}")
            axes.set_xlim(0, 1.3 * axes.dataLim.xmax)
        for axes in grid.flat[len(runs) :]:
            axes.set_visible(False)
        grid[0, 0].set_yticks(range(len(names)), names)
        grid[0, 0].invert_yaxis()
        about = found["machine"]
        below = f"{about['processor']}, threads: {about['threads']}"
        figure.supxlabel(f"milliseconds a step, median and quartiles over rounds\n{below}", fontsize=8.5)
        figure.tight_layout()
        figure.savefig(path, dpi=150)


def bar(axes: Any, y: int, row: dict[str, Any] | None, colour: str, alpha: float) -> None:
    if row is None:
        axes.text(0, y, " -", va="center", fontsize=8)
        return
    low, _, high = statistics.quantiles(row["ms"], n=4) if len(row["ms"]) > 1 else row["ms"] * 3
    axes.barh(y, row["median_ms"], color=colour, alpha=alpha, height=0.72)
    axes.plot([low, high], [y, y], color="black", linewidth=0.8)
    text = format(row["median_ms"], "#.3g" if row["median_ms"] < 100 else ".0f")
    axes.text(max(high, row["median_ms"]), y, f" {text}", va="center", fontsize=8)


if __name__ == "__main__":
    main()
