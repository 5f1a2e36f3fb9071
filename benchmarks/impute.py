"""Time and memory of `pyrovae impute` on a table of 30 columns with 20 % of the cells missing.

    python benchmarks/impute.py              10,000 and 20,000 rows, 20 draws of each

Prints the seconds, the CPU seconds and the peak memory of the command for each number of rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas

import pyrovae as pv

SOURCES = 4  # the number of variables that the columns depend on


def table(rows: int, seed: int = 0, share: float = 0.2) -> pandas.DataFrame:
    """14 columns of numbers, 6 of counts, 5 of words and 5 of yes and no; some cells are missing."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(0).normal(size=(SOURCES, 45))
    u = rng.normal(size=(rows, SOURCES)) @ weights / np.sqrt(SOURCES)
    columns: dict[str, np.ndarray] = {}
    for i in range(14):
        columns[f"number {i}"] = np.round(10 * i + 3 * u[:, i] + rng.normal(size=rows), 2)
    for i in range(6):
        columns[f"count {i}"] = rng.poisson(np.exp(1 + 0.5 * u[:, 14 + i]))
    for i in range(5):
        noisy = u[:, 20 + 4 * i : 24 + 4 * i] + rng.gumbel(size=(rows, 4)) / 2
        columns[f"word {i}"] = np.array(["red", "green", "blue", "grey"])[noisy.argmax(1)]
    for i in range(5):
        columns[f"truth {i}"] = np.where(u[:, 40 + i] + rng.logistic(size=rows) / 2 > 0, "yes", "no")
    frame = pandas.DataFrame(columns).astype(object)
    return frame.mask(rng.random(frame.shape) < share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 20_000])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder), options.rows, options.draws, options.epochs)
    if options.out is not None:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


def run(folder: Path, sizes: list[int], draws: int, epochs: int) -> list[dict]:
    """Train on 5,000 rows, and time the command on new rows."""
    table(5_000, seed=1).to_csv(folder / "train.csv", index=False)
    data = pv.datasets.load(folder / "train.csv")
    start = time.perf_counter()
    quiet = {"figures": False, "progress": False}
    pv.fit(pv.VAE.suited(data, latent_dim=8), data, epochs=epochs, out=folder / "run", **quiet)
    print(f"trained on {len(data.train):,} rows in {time.perf_counter() - start:.0f} s")
    results = []
    for rows in sizes:
        table(rows, seed=2).to_csv(folder / "new.csv", index=False)
        results.append({"rows": rows, **timed(folder, draws)})
        print(results[-1])
    return results


def timed(folder: Path, draws: int) -> dict[str, float]:
    """Seconds, CPU seconds and the peak memory of the command in a process of its own."""
    words = ["impute", "run", "new.csv", "--out", "filled.csv", "--draws", str(draws), "--overwrite", "true"]
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pyrovae", *words], cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"impute ended with status {status}")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_MiB": usage.ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
