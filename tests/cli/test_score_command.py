"""`pyrovae score`, `sample --out`, and commands that read the data of a run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.training.checkpoint import Checkpoint
from tests.support.people import people, run_on
from tests.support.same_runs import binary, small

QUICK = "--particles 10 --compile false --device cpu".split()
BOUND = (
    "--particles 10 --bounds [1,5] --baseline false --method Importance --device cpu --compile false".split()
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return str(run_on(tmp_path).relative_to(tmp_path))


def refused(capsys, *words) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_score_writes_a_line_for_each_row(run, capsys):
    people(25, seed=1).to_csv("new.csv", index=False)
    assert main(["score", run, "new.csv", "--out", "s.csv", "--id", "name", *QUICK]) == 0
    text = capsys.readouterr().out
    assert "written: s.csv, 25 rows" in text
    assert "percentiles are among 140 training rows" in text
    table = pandas.read_csv("s.csv")
    assert list(table) == ["row", "name", "log_px", "mc_stderr", "ess", "khat", "percentile"]
    expected = pv.score(run, "new.csv", particles=10, compile=False, device="cpu")
    np.testing.assert_allclose(table["log_px"], expected.log_px, atol=1e-4)


def test_score_says_what_is_missing(run, capsys):
    assert "which file?" in refused(capsys, "score", run)
    assert "--out scores.csv" in refused(capsys, "score", run, "people.csv")
    assert "none.csv" in refused(capsys, "score", run, "none.csv", "--out", "s.csv")
    frame = people(20).replace("red", "violet")
    frame.to_csv("new.csv", index=False)
    assert "'violet'" in refused(capsys, "score", run, "new.csv", "--out", "s.csv", *QUICK)
    assert main(["score", run, "new.csv", "--out", "s.csv", "--unknown", "missing", *QUICK]) == 0


def test_score_writes_another_kind(run, tmp_path, capsys):
    (tmp_path / "second").mkdir()
    background = str(run_on(tmp_path / "second", people(150, seed=5)))
    people(25, seed=1).to_csv("new.csv", index=False)
    typical = ["score", run, "new.csv", "--out", "t.csv", "--kind", "typicality", *QUICK]
    assert main(typical) == 0
    assert "highest typicality: row" in capsys.readouterr().out
    table = pandas.read_csv("t.csv")
    quick = {"particles": 10, "compile": False, "device": "cpu"}
    expected = pv.score(run, "new.csv", kind="typicality", **quick)
    np.testing.assert_allclose(table["anomaly"], expected.anomaly, atol=1e-4)
    np.testing.assert_allclose(table["percentile"], expected.percentile, atol=1e-4)
    ratio = ["score", run, "new.csv", "--out", "r.csv", "--kind", "ratio", *QUICK]
    assert "background=" in refused(capsys, *ratio)
    assert main([*ratio, "--background", background]) == 0
    table = pandas.read_csv("r.csv")
    np.testing.assert_allclose(table["anomaly"], table["background"] - table["log_px"], atol=1e-4)
    assert "integer levels" in refused(capsys, *typical[:4], "c.csv", "--kind", "complexity", *QUICK)
    assert "typicality" in refused(capsys, *typical[:4], "c.csv", "--kind", "typical", *QUICK)


def appended() -> None:
    with open("people.csv", "a") as file:
        file.write("someone,170.0,3,01/02/1970,yes,red\n")


COMMANDS = {
    "evaluate": ["evaluate", *BOUND],
    "compare": ["compare", "--particles", "10", "--device", "cpu"],
    "reconstruct": ["reconstruct", "--count", "5"],
    "sample": ["sample", "--count", "5"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_changed_source_is_refused_by_every_command(run, command, capsys):
    name, *options = COMMANDS[command]
    assert main([name, run, *options]) == 0
    appended()
    error = refused(capsys, name, run, *options)
    assert "the run has 200 rows and this has 201" in error
    assert f"pyrovae score {run} FILE" in error


def test_a_value_that_changed_is_found(run, capsys):
    frame = people()
    test = pv.datasets.load("people.csv", drop="name").test.index[0].item()
    frame.loc[test, "visits"] += 1
    frame.to_csv("people.csv", index=False)
    assert "the test rows are different" in refused(capsys, "evaluate", run, *BOUND)
    train = pv.datasets.load("people.csv", drop="name").train.index[0].item()
    frame.loc[train, "visits"] += 1
    frame.to_csv("people.csv", index=False)
    assert "the training rows are different" in refused(capsys, "evaluate", run, *BOUND)


def test_moved_data_keep_their_split_and_other_data_are_scored_whole(run, capsys):
    assert main(["evaluate", run, *BOUND]) == 0
    before = pandas.read_csv(f"{run}/evidence.csv")
    os.rename("people.csv", "moved.csv")
    assert "people.csv" in refused(capsys, "evaluate", run, *BOUND)
    assert main(["evaluate", run, "--data", "moved.csv", *BOUND]) == 0
    pandas.testing.assert_frame_equal(pandas.read_csv(f"{run}/evidence.csv"), before)
    people(1, seed=4).to_csv("one.csv", index=False)
    people(30, seed=4).to_csv("other.csv", index=False)
    for other in ("one.csv", "other.csv"):
        assert f"pyrovae score {run} FILE" in refused(capsys, "evaluate", run, "--data", other, *BOUND)
    for other, rows in (("one.csv", 1), ("other.csv", 30)):
        assert main(["evaluate", run, "--data", other, "--split", "all", *BOUND]) == 0
        assert len(pandas.read_csv(f"{run}/evidence.csv")) == rows
    assert main(["evaluate", run, "--data", "moved.csv", "--split", "all", *BOUND]) == 0
    assert len(pandas.read_csv(f"{run}/evidence.csv")) == 200


def test_a_run_of_an_older_version_has_the_hash_of_its_training_rows(run, capsys):
    for name in ("best.ckpt", "last.ckpt"):
        saved = Checkpoint.read(Path(run) / name)
        Checkpoint(**(vars(saved) | {"source": None})).write(Path(run) / name)
    assert main(["evaluate", run, *BOUND]) == 0
    appended()
    assert "201" in refused(capsys, "evaluate", run, *BOUND)


def test_data_from_memory_are_known_in_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = binary(60)
    pv.fit(small(), x, epochs=1, batch_size=10, out="run", figures=False, progress=False, compile=False)
    np.save("x.npy", x.numpy())
    assert "have no name" in refused(capsys, "evaluate", "run", *BOUND)
    assert main(["evaluate", "run", "--data", "x.npy", *BOUND]) == 0
    np.save("y.npy", 1 - x.numpy())
    assert "the training rows are different" in refused(capsys, "evaluate", "run", "--data", "y.npy", *BOUND)
    assert main(["score", "run", "y.npy", "--out", "s.csv", *QUICK]) == 0
    assert "no percentiles" in capsys.readouterr().out
    assert len(pandas.read_csv("s.csv")) == 60


def test_samples_are_written_as_rows_of_a_table(run, capsys):
    assert main(["sample", run, "--count", "30", "--out", "made.csv"]) == 0
    made, real = pandas.read_csv("made.csv"), people()
    assert list(made) == [name for name in real if name != "name"]
    assert set(made["colour"]) <= set(real["colour"])
    assert set(made["member"]) <= {"yes", "no"}
    assert pandas.to_datetime(made["born"]).dt.year.between(1800, 2100).all()
    assert made["visits"].dtype.kind == "i"
    os.remove("people.csv")  # samples do not need the data
    assert main(["sample", run, "--out", "again.csv"]) == 0
    assert ".parquet" in refused(capsys, "sample", run, "--out", "made.txt")
    pytest.importorskip("pyarrow")
    assert main(["sample", run, "--count", "30", "--out", "made.parquet"]) == 0
    assert list(pandas.read_parquet("made.parquet")) == list(made)


@pytest.mark.slow
def test_torchrun_shares_the_rows(run, tmp_path):
    people(60, seed=1).to_csv("new.csv", index=False)
    assert main(["score", run, "new.csv", "--out", "one.csv", *QUICK]) == 0
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "pyrovae",
    ]
    words += ["score", run, "new.csv", "--out", "two.csv", *QUICK]
    here = os.environ | {"PYTHONPATH": str(pv.__path__[0]).removesuffix("/pyrovae"), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(words, env=here, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("written: two.csv, 60 rows") == 1
    one, two = pandas.read_csv("one.csv"), pandas.read_csv("two.csv")
    np.testing.assert_allclose(one["log_px"], two["log_px"], atol=1e-4)
