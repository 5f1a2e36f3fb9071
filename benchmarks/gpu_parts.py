"""The parts of `gpu.py`: each is a generator of rows for its table.

A row has a name, `row`, and either a number, `value`, with an optional `unit`, or a text, `said`.
`least` or `most` is an aim for the value. `failed` marks rows that could not be measured.
"""

import argparse
import importlib.util
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyro
import torch
from rivals import CASES, Training
from torch import Tensor
from train_step import OURS, RIVALS, Square, entered, high_water, measured, wait_for

import pyrovae as pv
from pyrovae.datasets.layouts import present
from pyrovae.evidence import AIS
from pyrovae.evidence.draws import KeyedDraws
from pyrovae.evidence.run import evaluation
from pyrovae.networks.precision import products_in

# In order of importance, in case the time runs out.
STEPS = (
    *(("dense", batch) for batch in (100, 20)),
    ("iwae50", 20),
    *(("dense", batch) for batch in (4096, 512)),
    ("conv32", 100),
)
PRODUCTS = 2 * (50 * 200 + 200 * 200 + 200 * 784)  # of the decoder, for one particle of one row
TESTS = (
    "tests/compiling/test_recording.py",
    "tests/training/test_on_devices.py",
    "tests/evidence/test_evidence_on_devices.py",
    "tests/vae/test_vae.py",
    "tests/test_properties.py",
)
IMAGES, EPOCHS, BATCH = 59_600, 3280, 20
STAGES = [(3**i, 1e-4 * round(10 ** (1 - i / 7), 1)) for i in range(8)]

# The share of the total time that each part may take.
SHARES = {"rates": 0.04, "tests": 0.27, "steps": 0.26, "evidence": 0.15, "schedule": 0.24, "memory": 0.04}

Row = dict[str, Any]


# ---------------------------------------------------------------- rates


def rates(options: argparse.Namespace) -> Iterator[Row]:
    """The rate of one large product in each precision."""
    for precision in precisions(options):
        rate = matrix_rate(precision, options) / 1e12
        yield {"row": f"one large product, {precision}", "value": rate, "unit": "TFLOP/s"}


def precisions(options: argparse.Namespace) -> tuple[str, ...]:
    return ("float32", "bf16") if options.device == "cpu" else ("float32", "tf32", "bf16")


def matrix_rate(precision: Any, options: argparse.Namespace) -> float:
    """FLOP per second of a large product."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with products_in(precision, torch.device(options.device)):
        square = Square(256 if options.small else None, options.device, dtype)
        square.run(2)
        steps, times = 2 if options.small else 10, []
        for _ in range(3):
            began = time.perf_counter()
            square.run(steps)
            times.append((time.perf_counter() - began) / steps)
    return square.flops / statistics.median(times)


# ---------------------------------------------------------------- tests


def tests(options: argparse.Namespace) -> Iterator[Row]:
    """Run the tests of code that differs on a GPU; each failure is a row."""
    folder, failed, last = Path(__file__).resolve().parents[1], set[str](), ""
    command = [sys.executable, "-m", "pytest", *TESTS, "-v", "--no-header", "--tb", "short"]
    command += ["-p", "no:cacheprovider", *(["-k", "on-cpu"] if options.device == "cpu" else ["-m", "gpu"])]
    if importlib.util.find_spec("xdist") and (os.cpu_count() or 1) > 4:
        command += ["-n", "4"]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPATH": str(folder), "PYROVAE_CACHE": cache}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip(" =\n") or last
            name = next((word for word in line.split() if word.startswith("tests/")), "")
            if name not in failed and re.search(r"(^|\s)(FAILED|ERROR)\b", line) and "::" in name:
                failed.add(name)
                yield {"row": name.partition("::")[2][:52], "said": "failed", "failed": True, "test": name}
    yield {"row": "pytest", "said": last.split(" in ")[0]}


# ---------------------------------------------------------------- training steps


def steps(options: argparse.Namespace) -> Iterator[Row]:
    """Time the rivals, in order of importance."""
    cases = (("dense", 20),) if options.small else STEPS
    for name, batch in cases:
        run = measured(CASES[name], batch, race(options, rounds=2 if options.small else 5))
        yield from step_rows(name, batch, run)


def race(options: argparse.Namespace, rounds: int) -> argparse.Namespace:
    """Options of `train_step.measured`; all rivals compute in float32."""
    torch.backends.cudnn.allow_tf32 = False
    names = [name for name in RIVALS if name != "NumPyro scan"]
    if options.quick:
        names = [name for name in names if "compiled" not in name]
    one = {"steps": 2 if options.quick else None, "memory": False, "device": options.device}
    return argparse.Namespace(only=names, rounds=rounds, **one)


def step_rows(name: str, batch: int, run: dict[str, Any]) -> Iterator[Row]:
    """The times of one case, and their ratios to ours."""
    title, rows = f"{name}, batch {batch}", run["rows"]
    for rival in RIVALS:
        if rival in rows:
            yield {"row": f"{title}: {rival}", "value": rows[rival]["median_ms"], "unit": "ms"}
        elif rival in run["missing"] and rival != "NumPyro scan":
            yield {"row": f"{title}: {rival}", "said": run["missing"][rival], "failed": True}
    if OURS not in rows:
        return
    least = 8000 if (name, batch) == ("dense", 20) else None
    yield {"row": f"{title}: PyroVAE, steps a second", "value": 1e3 / rows[OURS]["median_ms"], "least": least}
    for rival in ("Pyro SVI", "PyTorch eager", "PyTorch compiled"):
        if rival in rows:
            least = 10 if (name, batch, rival) == ("dense", 100, "Pyro SVI") else None
            yield {
                "row": f"{title}: {rival} / ours",
                "value": 1 / rows[rival]["ours_over_it"],
                "least": least,
            }


def compiling(options: argparse.Namespace) -> Iterator[Row]:
    """Compile the steps that are timed later; their code is stored on disk."""
    began = time.perf_counter()
    race_options = race(options, rounds=0)
    race_options.steps, race_options.only = 1, [OURS, "PyTorch compiled"]
    for name, batch in STEPS:
        found, missing = entered(CASES[name], batch, race_options)
        for one in found[:2]:
            yield {"row": f"{name}, batch {batch}: {one.name}", "value": one.compile_seconds, "unit": "s"}
        for rival, why in missing.items():
            yield {"row": f"{name}, batch {batch}: {rival}", "said": why, "failed": True}
    burda_run(options)[1].run(3)
    yield {"row": "all, while the tests ran", "value": time.perf_counter() - began, "unit": "s"}


# ---------------------------------------------------------------- log p(x)


def burda() -> pv.VAE:
    """784-200-200-50 and back, tanh."""
    mlp = pv.networks.MLP(200, 200, activation="tanh")
    return pv.VAE((1, 28, 28), latent_dim=50, encoder=mlp, decoder=mlp)


def images(count: int) -> tuple[str, Tensor]:
    """Grey images (N, 1, 28, 28), and what they are."""
    if os.environ.get("PYROVAE_DATA") and present("mnist"):
        data = pv.datasets.load("mnist")
        x = torch.cat([data.train.x, data.validation.x])[:count].float()
        return "MNIST", x / (255 if x.max() > 1 else 1)
    draw = torch.Generator().manual_seed(0)
    prototypes = torch.rand(10, 1, 28, 28, generator=draw) ** 4
    return "random images", prototypes[torch.randint(10, (count,), generator=draw)]


def evidence(options: argparse.Namespace) -> Iterator[Row]:
    """L_5000 in each precision, extrapolated from some rows if all would take too long."""
    rows, particles = (4, 500) if options.quick else (20, 500) if options.small else (10_000, 5000)
    name, grey = images(rows)
    x, vae = torch.bernoulli(grey).to(options.device), burda().to(options.device)
    yield {"row": "images", "said": name}
    share = SHARES["evidence"] * 60 * options.minutes / 5  # of the time, for one precision
    for precision in precisions(options)[: 1 if options.quick else None]:
        timed_rows(vae, x[: max(2, rows // 100)], particles, precision)  # warm up
        part = max(2, rows // 20)
        seconds = timed_rows(vae, x[:part], particles, precision)
        whole = seconds * rows / part
        if whole < share:
            part, whole = rows, timed_rows(vae, x, particles, precision)
        how = "" if part == rows else f", from {part}"
        title = f"L_{particles} of {rows:,} rows, {precision}{how}"
        yield {"row": title, "value": whole, "unit": "s", "most": 15}
        rate = PRODUCTS * rows * particles / whole / matrix_rate(precision, options)
        yield {"row": f"of the matrix rate, {precision}", "value": 100 * rate, "unit": "%", "least": 50}
    yield from other_methods(vae, x, options)


def timed_rows(vae: pv.VAE, x: Tensor, particles: int, precision: str = "float32", **options: Any) -> float:
    """Seconds of `log_evidence`."""
    wait_for(x)
    began = time.perf_counter()
    compile = "auto" if x.is_cuda else False
    pv.log_evidence(vae, x, particles=particles, precision=precision, compile=compile, **options)
    return time.perf_counter() - began


def other_methods(vae: pv.VAE, x: Tensor, options: argparse.Namespace) -> Iterator[Row]:
    """Sampling alone, Laplace proposals compared with L_5000, and annealing."""
    count, particles = (2, 20) if options.quick else (4, 100) if options.small else (1000, 1000)
    some = x[:count]
    began = time.perf_counter()
    draw_only(vae, some, 5 * particles)
    drawing = time.perf_counter() - began
    usual = timed_rows(vae, some, 5 * particles)
    yield {
        "row": f"samples of q(z|x), of the time of L_{5 * particles}",
        "value": 100 * drawing / usual,
        "unit": "%",
    }
    laplace = timed_rows(vae, some, particles, method="laplace")
    yield {"row": f"Laplace, K = {particles}, {count} rows", "value": laplace, "unit": "s"}
    yield {"row": f"Laplace / L_{5 * particles}", "value": laplace / usual, "most": 1}
    few = x[: min(count, 100)]
    seconds = timed_rows(vae, few, 8, method=AIS(4 if options.small else 50, leapfrog=2))
    yield {"row": f"annealing, {len(few)} rows, 8 chains", "value": seconds, "unit": "s"}


def draw_only(vae: pv.VAE, x: Tensor, particles: int) -> None:
    """Draw the samples of an estimate, without their weights."""
    with evaluation(vae, x, seed=0, chunk=None) as pieces:
        for part in pieces.parts(particles):
            for first, count in part.cuts(particles):
                with KeyedDraws(part.keys, 0, first), pyro.plate("particles", count, dim=-2):
                    vae.guide(part.rows.x)
    wait_for(x)


# ---------------------------------------------------------------- Burda's schedule


def schedule(options: argparse.Namespace) -> Iterator[Row]:
    """Train for a while, and extrapolate to 3,280 epochs."""
    name, training = burda_run(options)
    data = training.job.data
    yield {"row": "images", "said": f"{name}, {len(data.train):,}"}
    seconds = 1.0 if options.quick else 5.0 if options.small else 60.0
    done, spent, per_epoch = trained(training, seconds, 20 if options.small else 1000)
    speed, steps = done / spent, EPOCHS * math.ceil(IMAGES / BATCH)
    yield {"row": "steps a second, ends of epochs included", "value": speed, "least": 8000}
    share = per_epoch * speed * BATCH / len(data.train)
    yield {"row": "preparing the data by one thread, of an epoch's time", "value": 100 * share, "unit": "%"}
    yield {"row": f"epochs in {spent:.0f} s", "value": done * BATCH / len(data.train)}
    yield {
        "row": f"3,280 epochs ({steps:,} steps)",
        "value": steps / speed / 60,
        "unit": "minutes",
        "most": 20,
    }
    for part in ("train", "validation"):
        if values := training.job.state.history.get(part):
            yield {"row": f"the bound after them, {part}", "value": values[-1], "unit": "nats"}


def burda_run(options: argparse.Namespace) -> tuple[str, Training]:
    """The name of the images, and a run on them, binarised again every epoch."""
    name, grey = images(800 if options.small else IMAGES + 400)
    data = pv.datasets.load(grey, binarize="dynamic", validation=200, test=200)
    elbo, compile = pv.objectives.ELBO(), not options.quick
    training = Training(burda(), data, elbo, BATCH, compile=compile, device=options.device)
    training.job.lr = rate_of  # type: ignore[method-assign]
    return name, training


def rate_of(step: int) -> float:
    """The learning rate of a step: 3^i epochs at 1e-4 * round(10^(1 - i/7), 1), for i = 0 to 7."""
    epoch, passed = step * BATCH // IMAGES, 0
    for epochs, lr in STAGES:
        passed += epochs
        if epoch < passed:
            return lr
    return STAGES[-1][1]


def trained(training: Training, seconds: float, at_once: int) -> tuple[int, float, float]:
    """Train for about `seconds`; return the steps, the seconds, and the seconds to prepare an epoch."""
    training.run(3)  # compiles
    training.job.state.sums.tolist()
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        training.run(at_once)
        training.job.state.sums.tolist()  # waits
        done += at_once
    start = time.perf_counter()
    wait_for(training.job.data.epoch(1, 0).x)
    return done, spent, time.perf_counter() - start


# ---------------------------------------------------------------- memory


def memory(options: argparse.Namespace) -> Iterator[Row]:
    """The peak memory of an estimate with pieces of fixed size."""
    sizes = ((4, 100), (4, 400), (8, 100)) if options.small else ((100, 1000), (100, 20_000), (2000, 1000))
    vae, first = burda().to(options.device), 0.0
    for rows, particles in sizes:
        x = torch.bernoulli(images(rows)[1]).to(options.device)
        value = peak_of(vae, x, particles, 50_000, options)
        title = f"{rows:,} rows x {particles:,} particles"
        yield {"row": title, "value": value / 2**20, "unit": "MiB"}
        if first:
            yield {"row": f"{title}, of the first", "value": value / first, "most": 1.1}
        first = first or value
    if options.device != "cpu":
        x = torch.bernoulli(images(500)[1]).to(options.device)
        value = peak_of(vae, x, 5000, None, options)
        free = torch.cuda.mem_get_info()[1]
        yield {
            "row": "500 rows x 5,000, pieces as chosen",
            "value": 100 * value / free,
            "unit": "% of the GPU",
        }


def peak_of(vae: pv.VAE, x: Tensor, particles: int, chunk: int | None, options: argparse.Namespace) -> float:
    """Peak bytes: on a GPU beyond those of program and rows, on a CPU of the process so far."""
    if options.device == "cpu":
        pv.log_evidence(vae, x, particles=particles, chunk=chunk, compile=False)
        return high_water() * 2**20
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    pv.log_evidence(vae, x, particles=particles, chunk=chunk, compile=False)
    return float(torch.cuda.max_memory_allocated() - before)


PARTS = {"rates": rates, "tests": tests, "compiling": compiling, "steps": steps, "evidence": evidence}
PARTS |= {"schedule": schedule, "memory": memory}
