"""Training on data larger than memory: rows per second from disk, compared with data in memory.

    python benchmarks/streams.py [--gigabytes 5] [--memory 1] [--kinds npy parquet ...] [--steps 1500]

Writes files of normal random numbers, 784 to a row, and trains the dense network (784-200-200-50 and back) in
batches of 100 with compiled steps: on the first 20,000 rows in memory, and on all rows of a file of
`--gigabytes` on disk. Each training runs in a process of its own that may use `--memory` GB. If the rights
suffice, the limit is that of a control group, and the system's copy of the file (the page cache) counts too.
Otherwise only the memory of the process is limited.

Each round runs all kinds in turn. "Of memory" is the rate of a kind divided by that of the run in memory in
the same round, and the median over rounds. "By CPU time" compares in the same way the rows per second of
processor time, summed over all threads of the training process. The code is compiled before the rounds, in
processes without a limit. The first 250 steps of a run, which include the wait for the code, are not counted.

    npy         an array of float32                       workers   a torch Dataset of rows of that array,
    parquet     a table of 784 columns of float32,                  in random order, read by two processes
                row groups of 8,192 rows                  dataset   the same, read in a thread
    chunks      as "dataset", with the attribute chunk = 128
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

COLUMNS, BATCH, PART, GROUP = 784, 100, 20_000, 8192
KINDS = ("memory", "npy", "parquet", "chunks", "dataset", "workers")


def main() -> None:
    """Run the benchmark and print its table."""
    options = arguments()
    if options.child:
        print(json.dumps(measured(options)))
        return
    with tempfile.TemporaryDirectory(prefix="pyrovae-streams-", dir=options.folder) as folder:
        write(Path(folder), options)
        for kind in options.kinds:
            run(kind, folder, options, limited=False, steps=3)
        results: dict[str, list[dict[str, float]]] = {kind: [] for kind in options.kinds}
        for number in range(options.rounds):
            for kind in options.kinds[:: -1 if number % 2 else 1]:
                drop_cache(Path(folder))
                results[kind].append(run(kind, folder, options, limited=True, steps=options.steps))
    show(results, options)


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--memory", type=float, default=1.0, help="GB that a training may use")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--steps", type=int, default=1500, help="steps that are timed")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", default=None, help="where to write the files")
    parser.add_argument("--child", default=None, choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if "memory" not in options.kinds:
        options.kinds.insert(0, "memory")
    return options


# ------------------------------------------------------------------------- files


def write(folder: Path, options: argparse.Namespace) -> None:
    """Write the files that the kinds need, a piece at a time."""
    rows = int(options.gigabytes * 1e9 / (4 * COLUMNS))
    part = np.empty((0, COLUMNS), np.float32)
    array = (folder / "x.npy").open("wb")
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, COLUMNS)}
    np.lib.format.write_array_header_1_0(array, header)
    rng, writer = np.random.default_rng(0), None
    if "parquet" in options.kinds:
        import pyarrow
        import pyarrow.parquet

        fields = [(f"c{i}", pyarrow.float32()) for i in range(COLUMNS)]
        writer = pyarrow.parquet.ParquetWriter(
            folder / "x.parquet", pyarrow.schema(fields), use_dictionary=False
        )
    for start in range(0, rows, GROUP):
        some = rng.standard_normal((min(GROUP, rows - start), COLUMNS), np.float32)
        some.tofile(array)
        part = np.concatenate([part, some[: PART - len(part)]])
        if writer is not None:
            table = pyarrow.Table.from_arrays(
                [pyarrow.array(c) for c in np.ascontiguousarray(some.T)], schema=writer.schema
            )
            writer.write_table(table, row_group_size=GROUP)
    if writer is not None:
        writer.close()
    np.save(folder / "part.npy", part)
    array.close()


def drop_cache(folder: Path) -> None:
    """Ask the system to drop its copies of the files."""
    for path in folder.glob("x.*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# ------------------------------------------------------------------------- processes


def run(
    kind: str, folder: str, options: argparse.Namespace, *, limited: bool, steps: int
) -> dict[str, float]:
    """Train in a process of its own, and return its measurements."""
    group = Group(int(options.memory * 2**30)) if limited else None
    command = [sys.executable, __file__, "--child", kind, "--folder", folder, "--steps", str(steps)]
    try:
        done = subprocess.run(
            [*command, "--memory", str(options.memory)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            preexec_fn=None if group is None else group.enter,
        )
        print(kind, "limited" if limited else "compiled", done.stdout.strip(), file=sys.stderr, flush=True)
        return json.loads(done.stdout.splitlines()[-1]) | ({} if group is None else group.peak())
    finally:
        if group is not None:
            group.remove()


class Group:
    """A limit on the memory of a process, by a control group or else on its own data only."""

    def __init__(self, size: int) -> None:
        self.size, self.path = size, None
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        names = {controllers: name for _, controllers, name in (line.split(":", 2) for line in lines)}
        for base, own, limit in (
            ("/sys/fs/cgroup/memory", names.get("memory"), "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", names.get(""), "memory.max"),
        ):
            path = Path(f"{base}{own}", f"pyrovae-streams-{os.getpid()}")
            try:
                path.mkdir()
                (path / limit).write_text(str(size))
                self.path = path
                return
            except OSError:
                if path.is_dir():
                    path.rmdir()

    def enter(self) -> None:
        """Put the calling process under the limit."""
        if self.path is None:
            resource.setrlimit(resource.RLIMIT_DATA, (self.size, self.size))
        else:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self) -> dict[str, float]:
        """The peak memory of the group in MB, including the page cache."""
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            if self.path is not None and (self.path / name).exists():
                return {"group_mb": int((self.path / name).read_text()) / 1e6}
        return {}

    def remove(self) -> None:
        """Remove the group, which is empty by then."""
        if self.path is not None:
            self.path.rmdir()


# ------------------------------------------------------------------------- the training


class Rows(Dataset[Tensor]):
    """A typical torch Dataset: the rows of an array that is mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.x = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int) -> Tensor:
        return torch.from_numpy(self.x[number].copy())


class Enough(Exception):
    """Raised when all steps are done."""


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Train on one kind of data, and measure the rate after the steps that are not counted."""
    import pyrovae as pv
    from pyrovae.training import loop

    data = data_of(options.child, Path(options.folder))
    skipped = 0 if options.steps < 10 else 250
    times: list[float] = []
    cpu: list[float] = []

    class Timed(loop.Steps):
        def take(self, *arguments: Any) -> None:
            super().take(*arguments)
            times.append(time.perf_counter())
            cpu.append(time.process_time())
            if len(times) > skipped + options.steps:
                raise Enough

    loop.Steps = Timed  # type: ignore[misc]
    mlp = pv.networks.MLP(200, 200)
    vae = pv.VAE((COLUMNS,), 50, likelihood=pv.likelihoods.Normal(1.0), encoder=mlp, decoder=mlp)
    try:
        pv.fit(vae, data, epochs=1000, batch_size=BATCH, progress=False, figures=False, compile=True)
    except Enough:
        pass
    lines = Path("/proc/self/status").read_text().splitlines()  # getrusage includes the parent's peak
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    rows = (len(times) - 1 - skipped) * BATCH
    rates = {"rate": rows / (times[-1] - times[skipped]), "cpu_rate": rows / (cpu[-1] - cpu[skipped])}
    return rates | {"peak_mb": peak * 1024 / 1e6}


def data_of(kind: str, folder: Path) -> Any:  # noqa: ANN401
    """The data of a kind."""
    from pyrovae import datasets

    if kind in ("memory", "npy", "parquet"):
        name = {"memory": "part.npy", "npy": "x.npy", "parquet": "x.parquet"}[kind]
        return datasets.load(folder / name, stream=kind != "memory", validation=1000, test=1000)
    rows = Rows(folder / "x.npy")
    if kind == "chunks":
        rows.chunk = 128  # type: ignore[attr-defined]
    workers = 2 if kind == "workers" else None
    return datasets.load(rows, stream=True, workers=workers, validation=1000, test=1000)


def show(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """Print the table."""
    print(
        f"{options.gigabytes:g} GB on disk, {options.memory:g} GB of memory, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{options.rounds} rounds of {options.steps} steps\n"
        f"{'':10}{'rows/s':>10}{'of memory':>11}{'by CPU time':>13}{'peak MB':>9}{'with cache':>12}"
    )
    for kind, each in results.items():
        pairs = list(zip(each, results["memory"], strict=True))
        ratio, by_cpu = (statistics.median(r[n] / b[n] for r, b in pairs) for n in ("rate", "cpu_rate"))
        rate = statistics.median(r["rate"] for r in each)
        cache = max(r.get("group_mb", float("nan")) for r in each)
        peak = max(r["peak_mb"] for r in each)
        print(f"{kind:10}{rate:10,.0f}{ratio:11.0%}{by_cpu:13.0%}{peak:9,.0f}{cache:12,.0f}")


if __name__ == "__main__":
    main()
