"""Rows of the next epoch that are prepared ahead: the same run, and no thread afterwards."""

import threading

import pytest
import torch

import pyrovae as pv
from tests.support.captured import QUIET
from tests.support.interrupted import fit_in_pieces
from tests.support.same_runs import assert_same_runs, small


def grey(**options):
    x = torch.linspace(0, 1, 58 * 16).view(58, 1, 4, 4)
    return pv.datasets.load(x, validation=10, test=10, **options)


def helpers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pyrovae-epoch")]


@pytest.mark.parametrize("crashes", [(), (7,)])
def test_a_run_is_the_same_with_and_without(monkeypatch, tmp_path, crashes):
    data = grey(binarize="dynamic")
    assert data.draws_epochs
    pieces = QUIET | {"checkpoint_seconds": 0}
    fit_in_pieces(small, data, tmp_path / "ahead", crashes, **pieces)
    monkeypatch.setattr("pyrovae.training.ahead.LARGEST", 0)
    pv.fit(small(), data, out=tmp_path / "not", **pieces)
    assert_same_runs(tmp_path / "ahead", tmp_path / "not")


def test_the_thread_ends_with_the_run(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pyrovae.training.loop.Loop._end_epoch", lambda loop, *a, **k: seen.append(helpers()) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        pv.fit(small(), grey(binarize="dynamic"), **QUIET)
    assert seen[0]
    for thread in seen[0]:
        thread.join(10)
    assert not helpers()


def test_an_error_in_the_thread_is_that_of_the_run(monkeypatch):
    data = grey(binarize="dynamic")
    prepare = type(data).epoch

    def fails(self, number, seed):
        if number == 1:
            raise pv.InputError("no such epoch")
        return prepare(self, number, seed)

    monkeypatch.setattr(type(data), "epoch", fails)
    with pytest.raises(pv.InputError, match="no such epoch"):
        pv.fit(small(), data, **QUIET)


def test_rows_that_do_not_change_are_not_prepared():
    assert not pv.datasets.load(torch.rand(58, 1, 4, 4), validation=10, test=10).draws_epochs
    assert not grey(binarize="static").draws_epochs
