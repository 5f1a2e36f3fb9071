"""The smallest form of `benchmarks/gpu.py`, on a CPU and without compiling."""

import argparse
import json
import os
import subprocess
import sys

import pytest
import torch

from tests.support import PROJECT

FOLDER = PROJECT / "benchmarks"
SECONDS = 120


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
    import gpu

    return gpu


def options(folder, **others):
    usual = {"device": "cpu", "minutes": 1.0, "out": folder, "quick": True, "small": True}
    return argparse.Namespace(**usual | others)


def rows_in(folder):
    return json.loads((folder / "gpu.json").read_text())["rows"]


def test_every_part_but_the_tests_runs_on_a_cpu(tmp_path):
    call = [sys.executable, str(FOLDER / "gpu.py"), "--device", "cpu", "--quick", "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_in(tmp_path)
    assert {row["part"] for row in rows} == {"rates", "steps", "evidence", "schedule", "memory"}
    assert all(row["value"] > 0 for row in rows if "value" in row and row.get("unit") != "nats")
    names = [row["row"] for row in rows]
    assert all(name in done.stdout for name in names)
    assert {"dense, batch 20: Pyro SVI", "3,280 epochs (9,774,400 steps)"} <= set(names)
    assert done.stdout.splitlines()[-1].endswith("aims missed: 0, failures: 0")


def test_a_device_that_does_not_exist_is_one_sentence(script, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cuda"])
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert "device 'cuda' is not available to torch here: use --device cpu" in capsys.readouterr().err


def test_a_part_that_fails_or_hangs_is_a_row_and_leaves_the_others(script, monkeypatch, tmp_path):
    def broken(options):
        yield {"row": "the first", "value": 1.0}
        raise RuntimeError("the GPU is gone")

    report = script.Report(options(tmp_path))
    monkeypatch.setitem(script.PARTS, "memory", broken)
    script.run_here(report, "memory", options(tmp_path))
    script.run_part(report, "steps", 0.3, options(tmp_path))
    script.run_here(report, "rates", options(tmp_path))
    said = [(row["part"], row["row"], row.get("said")) for row in rows_in(tmp_path)]
    assert said[:3] == [
        ("memory", "the first", None),
        ("memory", "ended early", "RuntimeError: the GPU is gone"),
        ("steps", "ended early", "time over (0 s)"),
    ]
    assert [part for part, *_ in said[3:]] == ["rates", "rates"]
    assert report.end() == 2


def test_aims_are_judged_where_there_is_a_gpu(script, tmp_path, capsys):
    report = script.Report(options(tmp_path, small=False))
    for row in ({"least": 10}, {"least": 9}, {"most": 9}, {"most": 10}, {}):
        report.add("steps", {"row": "some", "value": 9.5, **row})
    assert [row["met"] for row in rows_in(tmp_path)] == ["NO", "yes", "NO", "yes", "-"]
    assert ">= 10" in capsys.readouterr().out


def test_the_schedule_is_that_of_the_paper(script):
    """3^i epochs at 1e-4 * round(10^(1 - i/7), 1); 59,600 rows in batches of 20."""
    import gpu_parts

    assert sum(epochs for epochs, _ in gpu_parts.STAGES) == gpu_parts.EPOCHS
    epoch = 59_600 // 20
    rates = [gpu_parts.rate_of(step) for step in (0, epoch - 1, epoch, 4 * epoch, 3279 * epoch, 3280 * epoch)]
    assert rates == pytest.approx([1e-3, 1e-3, 7.2e-4, 5.2e-4, 1e-4, 1e-4])
