"""PyroVAE on a GPU: tests, training steps, log p(x), a long schedule and memory, in one table.

    python benchmarks/gpu.py [--device cuda] [--minutes 8] [--out DIR] [--parts tests steps ...]
    python benchmarks/gpu.py --device cpu --quick

Each part (see `gpu_parts.py`) runs in a process of its own with a time limit, so a part that fails or hangs
does not affect the others. Rows are printed as they are measured. DIR/gpu.json is written again after each
row, so it can be read even if the run is killed. While the tests run, another process compiles the training
steps and stores their code.

    rates      the rate of one large matrix product, in float32, tf32 and bf16
    tests      the tests that need a GPU; on a CPU the same ones, with a substitute for the CUDA graph
    steps      a training step: PyroVAE, Pyro's SVI, PyTorch by hand and with torch.compile (`rivals.py`)
    evidence   L_5000 of 10,000 images; Laplace's proposal and annealing of a few
    schedule   the first minute of the schedule of Burda, Grosse & Salakhutdinov (2016): 3,280 epochs of
               59,600 images in batches of 20, extrapolated
    memory     the peak while log p(x) is estimated, for more particles and more rows

The images are MNIST if the folder PYROVAE_DATA has it, else random images of the same shape. On a CPU, sizes
are smaller and the aims are not checked. --quick is for tests: it uses the smallest sizes, runs in this
process and compiles nothing.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from gpu_parts import PARTS, SHARES, Row
from train_step import machine

from pyrovae import files

COMPILING = "compiling"


def main() -> int:
    """Run the parts and print the table; return 1 if something could not be measured."""
    options = arguments()
    if options.part:
        for row in PARTS[options.part](options):
            print(json.dumps(row), flush=True)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes of the parts end too
    report = Report(options)
    if options.quick:
        for part in options.parts:
            run_here(report, part, options)
    else:
        run_all(report, options)
    return 1 if report.end() else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--out", type=Path, help="a folder for gpu.json and the messages of the parts")
    parser.add_argument("--parts", nargs="+", choices=SHARES, default=list(SHARES), metavar="PART")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, compiling nothing")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"device {options.device!r} is not available to torch here: use --device cpu")
    options.small = options.device == "cpu" or options.quick
    if options.quick and not options.part:
        options.parts = [part for part in options.parts if part != "tests"]
    return options


# ---------------------------------------------------------------- the table


class Report:
    """Prints rows as they are added, and writes all of them to a file after each."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.file = None if options.out is None else options.out / "gpu.json"
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
        self.began, self.judges, self.lock = time.perf_counter(), not options.small, threading.Lock()
        facts = {"device": options.device, "minutes": options.minutes, "quick": options.quick}
        self.content: dict[str, Any] = {"machine": machine(options.device), **facts, "rows": []}
        about = self.content["machine"]
        print(f"{about['processor']}, {about['cores']} cores; {about['versions']}")
        print(f"{'seconds':>7}  {'part':<10}{'row':<52}{'value':>24}{'aim':>9}  met")

    def add(self, part: str, row: Row) -> None:
        """Add a row; its `least` or `most` is an aim for its `value`."""
        least, most = row.get("least"), row.get("most")
        aim = "-" if least is most else f"<= {most:g}" if least is None else f">= {least:g}"
        met = "-"
        if self.judges and aim != "-":
            met = "yes" if (row["value"] <= most if least is None else row["value"] >= least) else "NO"
        value = f"{row['value']:.4g} {row.get('unit', '')}" if "value" in row else row["said"]
        seconds = time.perf_counter() - self.began
        with self.lock:
            print(f"{seconds:>7.0f}  {part:<10}{row['row']:<52}{value:>24}{aim:>9}  {met}", flush=True)
            self.content["rows"].append({"part": part, "seconds": seconds, "met": met, **row})
            self._write()

    def end(self) -> int:
        """Print a summary and return the number of failures."""
        self.content["seconds"] = time.perf_counter() - self.began
        self._write()
        rows = self.content["rows"]
        missed, failed = sum(row["met"] == "NO" for row in rows), sum("failed" in row for row in rows)
        print(
            f"{len(rows)} rows in {self.content['seconds']:.0f} s, aims missed: {missed}, failures: {failed}"
        )
        return failed

    def _write(self) -> None:
        if self.file is not None:
            text = json.dumps(self.content, indent=1, default=str)
            files.write_whole(self.file, lambda file: file.write(text.encode()))


# ---------------------------------------------------------------- processes


def run_all(report: Report, options: argparse.Namespace) -> None:
    """Run each part in its own process; the steps are compiled while the tests run."""
    seconds = 60 * options.minutes
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"], os.environ["PYROVAE_CACHE"] = f"{cache}/torch", f"{cache}/ours"
        making = None
        if {"tests", "steps"} <= set(options.parts) and (os.cpu_count() or 1) > 4:
            given = (report, COMPILING, SHARES["tests"] * seconds, options)
            making = threading.Thread(target=run_part, args=given, daemon=True)
            making.start()
        for part in options.parts:
            if part != "tests" and making is not None:
                making.join()  # nothing else runs on the GPU while something is timed
            run_part(report, part, SHARES[part] * seconds, options)


def run_part(report: Report, part: str, seconds: float, options: argparse.Namespace) -> None:
    """Run a part in a process and add its rows, and one more if it fails or runs out of time."""
    command = [sys.executable, __file__, "--part", part, "--device", options.device]
    command += ["--minutes", str(options.minutes)]
    with tempfile.TemporaryFile() if options.out is None else open(options.out / f"{part}.log", "w+b") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0)
        timer = threading.Timer(seconds, end, (process,))
        timer.start()
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    report.add(part, json.loads(line))
            code = process.wait()
        finally:
            timer.cancel()
            end(process)
            process.stdout.close()
        if code:
            why = f"time over ({seconds:.0f} s)" if code == -signal.SIGKILL else last_line(log)
            report.add(part, {"row": "ended early", "said": why, "failed": True})


def end(process: subprocess.Popen) -> None:
    """End a process and the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def last_line(log: Any) -> str:
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][-200:] if lines else "failed without a word"


def run_here(report: Report, part: str, options: argparse.Namespace) -> None:
    """Run a part in this process."""
    try:
        for row in PARTS[part](options):
            report.add(part, row)
    except Exception as error:
        report.add(part, {"row": "ended early", "said": f"{type(error).__name__}: {error}", "failed": True})


if __name__ == "__main__":
    sys.exit(main())
