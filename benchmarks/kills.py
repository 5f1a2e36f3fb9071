"""Kill runs at early and late steps, resume them, and compare them with uninterrupted runs.

    python benchmarks/kills.py                          # every setting, three kills each
    python benchmarks/kills.py --kills 10               # 200 kills: an hour on one core
    python benchmarks/kills.py auto stream --kills 20   # two settings, twenty kills each

Each run is a separate process. It gets SIGKILL once it has written a checkpoint of a step drawn at
random. Half of these steps are among the first twelve, where `compile="auto"` decides. The settings
with "auto" always compile, so the comparison, which is bit for bit, does not depend on the speed of
the machine. The last line is the number of kills, and the status is 1 if a run differs.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

KNOWN = ["--prior.labels", "true", "--labels", "true", "--known", "100"]
SETTINGS: dict[str, list[str]] = {
    "plain": ["--compile", "false"],
    "auto": [],
    "true": ["--compile", "true"],
    "one batch": ["--batch_size", "1257"],
    "schedules": ["--compile", "false", "--lr_schedule", "linear", "--kl_warmup", "1.5", "--clip", "1"],
    "radam": ["--compile", "false", "--optimizer", "radam"],
    "dynamic": ["--compile", "false", "--binarize", "dynamic", "--objective", "IWAE"],
    "mixture": ["--compile", "false", "--prior", "GaussianMixture", "--prior.components", "5"],
    "mixture auto": ["--prior", "GaussianMixture", "--prior.components", "5", "--binarize", "dynamic"],
    "free bits": ["--compile", "false", "--objective", "ELBO", "--objective.free_bits", "0.1"],
    "grey": ["--data", "digits", "--likelihood", "DiscretizedLogistic", "--likelihood.levels", "17"],
    "conditional": ["--compile", "false", "--context", "labels"],
    "labelled": ["--prior", "GaussianMixture", "--prior.components", "10", *KNOWN],
    "flow": ["--compile", "false", "--guide", "Flow"],
    "vamp": ["--prior", "VampPrior"],
    "factor": ["--compile", "false", "--objective", "Factor"],
    "table": ["--data", "table.csv"],
    "pair": ["pair"],
    "stream": ["stream"],
    "two processes": ["--compile", "false"],
}
COMMON = ["--data", "digits", "--latent_dim", "2", "--batch_size", "100", "--epochs", "4"]
COMMON += ["--figures", "false", "--device", "cpu", "--checkpoint_seconds", "0", "--binarize", "threshold"]
COMMON += ["--encoder", "MLP", "--encoder.sizes", "[16]", "--decoder", "MLP", "--decoder.sizes", "[16]"]
OF_DIGITS = ("--data", "--binarize")
# "auto" always compiles: its estimate of the cost is set to zero.
CHILD = """
import sys
import pyrovae.compiling, pyrovae.compiling.when
pyrovae.compiling.when.TRACING_SECONDS = 0.0
pyrovae.compiling.compile_seconds = lambda: 0.0
from pyrovae.cli import main
sys.exit(main(sys.argv[1:]))
"""
# torchrun gives each process a session of its own, which a kill would not reach.
PAIR = """
import os, socket, subprocess, sys

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])
group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
ranks = [os.environ | group | {"RANK": r, "LOCAL_RANK": r} for r in "01"]
processes = [subprocess.Popen(sys.argv[1:], env=rank) for rank in ranks]
sys.exit(max(process.wait() for process in processes))
"""
# Programs and streams that the command line does not have.
SCRIPT = """
import sys
import pyro, torch, pyrovae as pv
import pyro.distributions as dist
from pyrovae.networks import MLP

kind, out = sys.argv[1:]
torch.manual_seed(0)
x = (torch.rand(600, 12, generator=torch.Generator().manual_seed(0)) < 0.4).float()
settings = dict(epochs=4, batch_size=50, out=out, resume=True, checkpoint_seconds=0)
settings |= dict(figures=False, progress=False, compile=False)
if kind == "stream":
    rows = torch.utils.data.TensorDataset(x)
    data = pv.datasets.load(rows, binarize="dynamic", stream=True, validation=50, test=50)
    pv.fit(pv.VAE((12,), latent_dim=2, encoder=MLP(8), decoder=MLP(8)), data, **settings)
else:
    decoder, encoder = torch.nn.Linear(2, 12), torch.nn.Linear(12, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    pv.fit((model, guide), x, **settings)
"""
EARLY = 12


def main() -> int:
    options = arguments()
    draw = random.Random(options.seed)
    kills = differ = 0
    with tempfile.TemporaryDirectory() as name:
        for setting in options.settings or SETTINGS:
            whole, pieces = (Path(name) / f"{kind} {setting}" for kind in ("whole", "pieces"))
            finish(setting, whole)
            total = state(whole)["position"]["step"]
            steps = sorted(draw.randrange(1, EARLY if i % 2 == 0 else total) for i in range(options.kills))
            done = [kill(setting, pieces, min(step, total - 1)) for step in steps]
            finish(setting, pieces)
            wrong = difference(whole, pieces)
            kills, differ = kills + sum(step is not None for step in done), differ + (wrong is not None)
            shown = ", ".join(str(step) for step in done if step is not None)
            print(f"{setting:<20} {wrong or 'the same':<40} killed after steps {shown}", flush=True)
    print(f"{kills} kills, {differ} runs that differ")
    return int(differ > 0)


def start(setting: str, folder: Path) -> subprocess.Popen[str]:
    words, environment = SETTINGS[setting], os.environ | {"OMP_NUM_THREADS": "1"}
    if setting in ("pair", "stream"):
        command = [sys.executable, "-c", SCRIPT, *words, str(folder)]
    else:
        words = [*(COMMON if "--data" not in words else without_data()), *words]
        command = [sys.executable, "-c", CHILD, "fit", *words, "--out", str(folder), "--resume"]
    if setting == "two processes":
        command = [sys.executable, "-c", PAIR, *command]
    table(folder.parent / "table.csv")
    return subprocess.Popen(
        command,
        cwd=folder.parent,
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def without_data() -> list[str]:
    """The common options without those of digits and of networks for images."""
    return [
        word
        for pair in zip(COMMON[::2], COMMON[1::2], strict=True)
        for word in pair
        if pair[0] not in OF_DIGITS
    ]


def table(path: Path) -> None:
    """Write a table of numbers, words and counts, with gaps."""
    draw = random.Random(0)
    rows = [f"{draw.gauss(0, 1):.3f},{draw.choice('abc')},{draw.randrange(9)}" for _ in range(600)]
    rows[5] = ",a,2"
    path.write_text("\n".join(["height,word,count", *rows]) + "\n")


def finish(setting: str, folder: Path) -> None:
    process = start(setting, folder)
    _, error = process.communicate()
    if process.returncode:
        raise SystemExit(f"{setting}: {error}")


def kill(setting: str, folder: Path, step: int) -> int | None:
    """Kill a run once it has a checkpoint of this step; returns the step that it has reached."""
    process = start(setting, folder)
    while process.poll() is None:
        if (folder / "last.ckpt").exists() and state(folder)["position"]["step"] >= step:
            os.killpg(process.pid, signal.SIGKILL)  # its children, too
            break
        time.sleep(0.001)
    process.communicate()
    return state(folder)["position"]["step"] if process.returncode == -signal.SIGKILL else None


def content(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / name, weights_only=True)


def state(folder: Path) -> dict[str, Any]:
    return content(folder, "last.ckpt")["state"]


def difference(one: Path, two: Path) -> str | None:
    """What differs between two runs: weights, optimiser, random numbers or history."""
    a, b = content(one, "last.ckpt"), content(two, "last.ckpt")
    for name in ("weights", "best", "optimizer", "random"):
        if not equal(a[name], b[name]):
            return f"the {name} differ"
    times = {"seconds", "data_per_second"}
    histories = [{k: v for k, v in c["state"]["history"].items() if k not in times} for c in (a, b)]
    return None if histories[0] == histories[1] else "the history differs"


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", nargs="*", help=f"some of {', '.join(SETTINGS)}")
    parser.add_argument("--kills", type=int, default=3, help="kills per setting")
    parser.add_argument("--seed", type=int, default=0, help="seed for the steps")
    options = parser.parse_args()
    unknown = [name for name in options.settings if name not in SETTINGS]
    if unknown:
        parser.error(f"there is no setting {unknown[0]!r}: choose from {', '.join(SETTINGS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
