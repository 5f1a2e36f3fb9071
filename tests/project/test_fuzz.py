"""A short run of `benchmarks/fuzz.py`, in a process of its own; the long one takes minutes."""

import os
import subprocess
import sys

from tests.support import PROJECT

COUNTS = ["--commands", "40", "--calls", "80", "--files", "40"]


def fuzz(*words):
    """Run the script; its status and its output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    call = [sys.executable, str(PROJECT / "benchmarks/fuzz.py"), *words]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


def test_random_lines_calls_and_files_are_answered_in_one_sentence():
    status, output = fuzz(*COUNTS, "--seed", "7")
    assert status == 0, output
    assert "commands: 40 cases, 0 wrong" in output
    assert "calls: 80 cases, 0 wrong" in output
    assert "files: 40 cases, 0 wrong" in output


def test_one_case_can_be_run_alone():
    status, output = fuzz("--only", "calls:3", "--seed", "7")
    assert status == 0, output
    assert "calls: 1 cases, 0 wrong" in output
