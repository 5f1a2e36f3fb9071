"""Kill runs at early and late steps, resume them, and compare them bit for bit with runs never killed.

    python benchmarks/kills.py                          # every setting, three kills each
    python benchmarks/kills.py auto stream --kills 20   # two settings, twenty kills each

Each run is a process of its own, which ends with SIGKILL once it has written a checkpoint of a step drawn at
random: half of the steps are among the first twelve, where `compile="auto"` chooses. The settings with "auto"
compile in any case, so that what is compared does not depend on the speed of the machine. The last line is
the number of kills, and the status is 1 if a run differs.
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
}
COMMON = ["--data", "digits", "--latent_dim", "2", "--batch_size", "100", "--epochs", "4"]
COMMON += ["--figures", "false", "--device", "cpu", "--checkpoint_seconds", "0", "--binarize", "threshold"]
COMMON += ["--encoder", "MLP", "--encoder.sizes", "[16]", "--decoder", "MLP", "--decoder.sizes", "[16]"]
# "auto" always compiles: it costs nothing, and the code is compiled all the same.
CHILD = """
import sys
import pyrovae.compiling, pyrovae.compiling.when
pyrovae.compiling.when.TRACING_SECONDS = 0.0
pyrovae.compiling.compile_seconds = lambda: 0.0
from pyrovae.cli import main
sys.exit(main(sys.argv[1:]))
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
    words = [*COMMON, *SETTINGS[setting], "--out", str(folder), "--resume"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, "fit", *words]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(setting: str, folder: Path) -> None:
    process = start(setting, folder)
    _, error = process.communicate()
    if process.returncode:
        raise SystemExit(f"{setting}: {error}")


def kill(setting: str, folder: Path, step: int) -> int | None:
    """Kill a run once it has a checkpoint of this step; the step at which it stands then."""
    process = start(setting, folder)
    while process.poll() is None:
        if (folder / "last.ckpt").exists() and state(folder)["position"]["step"] >= step:
            process.send_signal(signal.SIGKILL)
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
    parser.add_argument("--kills", type=int, default=3, help="kills of each setting")
    parser.add_argument("--seed", type=int, default=0, help="seed of the steps")
    options = parser.parse_args()
    unknown = [name for name in options.settings if name not in SETTINGS]
    if unknown:
        parser.error(f"there is no setting {unknown[0]!r}: choose from {', '.join(SETTINGS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
