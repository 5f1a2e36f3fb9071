"""Short runs of `benchmarks/imputation.py`; docs/missing.md has the results of the long ones."""

import argparse
import runpy

import numpy as np
import pytest

from tests.support import PROJECT


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(PROJECT / "benchmarks/imputation.py"))


def run(script, monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["imputation.py", "--quick", "--masks", "1", *words])
    script["main"]()
    return capsys.readouterr().out


@pytest.mark.slow
def test_every_method_is_in_the_table(script, monkeypatch, capsys, tmp_path):
    out = run(script, monkeypatch, capsys, "--out", str(tmp_path / "out.json"))
    table = out[out.index("50 % missing") :].splitlines()[2:]
    assert [line[:34].strip() for line in table] == list(script["NAMES"].values())
    assert all("%" in line for line in table if line.startswith("PyroVAE"))
    assert '"mse"' in (tmp_path / "out.json").read_text()


def test_the_plain_methods_and_one_model_run(script, monkeypatch, capsys):
    out = run(script, monkeypatch, capsys, "--set", "wine", "--methods", "mean,ridge,constants")
    assert "column means" in out
    assert "PyroVAE, learned constants" in out


@pytest.mark.parametrize("words", ["--toy", "--not-at-random"])
def test_the_models_that_are_known_run(words, script, monkeypatch, capsys):
    out = run(script, monkeypatch, capsys, words)
    assert len(out.splitlines()) > 2
    assert "SelfMasking('high')" in out or "log p(x_observed)" in out


def test_half_of_the_entries_are_removed_and_the_others_are_kept(script):
    x = script["table"]("breast_cancer")
    assert x.shape == (569, 30)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-9)
    y = script["with_holes"](x, 0)
    assert np.isnan(y).sum() == x.size // 2
    assert (y == x)[~np.isnan(y)].all()
    assert not np.array_equal(np.isnan(y), np.isnan(script["with_holes"](x, 1)))
    means = script["means"](y, argparse.Namespace())
    assert script["result"](x, y, means)["mse"] == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_a_trained_model_imputes_as_well_as_the_exact_one(script):
    """Issue 17: conditional-mean MSE 1.5 +- .1, and log p(x_observed) -2.576 +- .05 per row."""
    found = script["toy_of"](1, argparse.Namespace(quick=False))
    (error, exact_error), (log_px, exact_log_px) = found
    assert error == pytest.approx(exact_error, abs=0.05)
    assert log_px == pytest.approx(exact_log_px, abs=0.02)
    assert exact_error == pytest.approx(1.5, abs=0.2)
    assert exact_log_px == pytest.approx(-2.576, abs=0.06)
