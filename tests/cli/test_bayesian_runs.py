"""Commands on a run whose decoder has random weights."""

import csv
import json

import numpy as np
import pytest

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.networks import MLP, Bayesian


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bayesian")
    x = (np.random.default_rng(0).random((60, 1, 4, 4)) > 0.5).astype(np.float32)
    np.save(folder / "x.npy", x)
    data = pv.datasets.load(folder / "x.npy", validation=10, test=10)
    vae = pv.VAE((1, 4, 4), 2, encoder=MLP(6), decoder=Bayesian(MLP(6)), seed=0)
    pv.fit(vae, data, epochs=1, batch_size=10, device="cpu", compile=False, out=folder / "run")
    return folder / "run"


def test_evaluate_prints_the_predictive_density_and_log_p_of_the_data(run, capsys):
    options = ["--particles", "40", "--weights", "6", "--bounds", "[1,5]", "--baseline", "false"]
    main(["evaluate", str(run), *options, "--device", "cpu"])
    printed = capsys.readouterr().out
    assert "posterior predictive log p(x | D) of 10 observations" in printed
    assert "6 samples of the shared variables" in printed
    assert "training rows: log p(D) of the 40 rows together" in printed
    assert "choose one with --method" in printed
    found = json.loads((run / "evidence.json").read_text())
    assert found["L_40"]["given"] == "posterior"
    assert found["data"]["rows"] == 40
    assert found["data"]["bound"] < 0 < found["data"]["kl"]
    with (run / "evidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(1 <= float(row["L_40_weights_ess"]) <= 6.001 for row in rows)


@pytest.mark.parametrize(
    "command",
    [
        ["reconstruct"],
        ["sample", "--count", "12"],
        ["score", "DATA", "--out", "scores.csv"],
        ["traverse"],
        ["complete", "--mask", "left", "--count", "2"],
    ],
)
def test_other_commands_run(run, command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [str(run.parent / "x.npy") if word == "DATA" else word for word in command[1:]]
    assert not main([command[0], str(run), *words])
