"""Scores of a file: every row once, at constant memory, going on where it was stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas
import pytest

import pyrovae as pv
from pyrovae.tasks import on_disk
from pyrovae.tasks.scoring import Scorer
from tests.support.parts import raises_one_sentence
from tests.support.people import people, run_on

QUICK = {"particles": 10, "compile": False, "device": "cpu"}
ROWS = 300


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_on(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def expected(run):
    return pv.score(run, people(ROWS, seed=1), id="name", **QUICK)


@pytest.fixture
def new(tmp_path):
    people(ROWS, seed=1).to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


def same_as(path, expected):
    table = pandas.read_csv(path)
    assert table["row"].tolist() == list(range(len(expected)))
    assert table["name"].tolist() == expected.id.tolist()
    np.testing.assert_allclose(table["log_px"], expected.log_px, atol=1e-4)
    np.testing.assert_allclose(table["percentile"], expected.percentile, atol=1.5)
    assert not list(path.parent.glob("*.part*"))


@pytest.mark.parametrize("piece", [None, 1, 37, 10_000])
def test_a_file_has_the_scores_of_its_rows(run, new, expected, piece, tmp_path):
    if piece == 1:
        people(ROWS, seed=1)[:20].to_csv(new, index=False)
    written = pv.score_file(run, new, tmp_path / "s.csv", id="name", piece=piece, **QUICK)
    assert written.rows == (20 if piece == 1 else ROWS)
    if piece != 1:
        same_as(tmp_path / "s.csv", expected)
        assert "300 rows" in str(written)
        np.testing.assert_allclose(written.mean, expected.log_px.mean(), atol=1e-3)
        assert written.lowest.id.tolist() == expected.id[np.argsort(expected.log_px)[:5]].tolist()


@pytest.mark.parametrize("ending", ["parquet", "feather", "jsonl"])
def test_other_tables_have_the_same_scores(run, expected, ending, tmp_path):
    frame = people(ROWS, seed=1)
    path = tmp_path / f"new.{ending}"
    if ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        pytest.importorskip("pyarrow")
        getattr(frame, f"to_{ending}")(path)
    pv.score_file(run, path, tmp_path / "s.csv", id="name", piece=77, **QUICK)
    same_as(tmp_path / "s.csv", expected)


class Stopped(BaseException):
    """Stands for a process that is killed."""


def stop_in_piece(monkeypatch, number, error):
    calls = []
    call = Scorer.__call__

    def counted(self, rows, first=0):
        calls.append(first)
        if len(calls) == number:
            raise error
        return call(self, rows, first)

    monkeypatch.setattr(Scorer, "__call__", counted)
    return calls


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stopped])
def test_a_stopped_call_goes_on_where_it_was(run, new, expected, error, monkeypatch, tmp_path):
    out = tmp_path / "s.csv"
    with monkeypatch.context() as patch:
        stop_in_piece(patch, 4, error)
        with pytest.raises(error, match=None if error is Stopped else "stopped after 150 rows"):
            pv.score_file(run, new, out, id="name", piece=50, **QUICK)
    assert not out.exists()
    part = tmp_path / "s.csv.part"
    assert len(part.read_text().splitlines()) == 151
    with open(part, "a") as file:  # what was written after the last state is cut off
        file.write("150,n150,-1")
    with monkeypatch.context() as patch:
        calls = stop_in_piece(patch, 99, error)
        written = pv.score_file(run, new, out, id="name", piece=60, **QUICK)
    assert calls == [150, 210, 270]
    assert (written.rows, written.resumed) == (300, 150)
    same_as(out, expected)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_part_that_is_a_link_is_refused_and_what_it_points_to_is_kept(run, new, link, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("work of years")
    link(precious, tmp_path / "s.csv.part")
    raises_one_sentence(
        lambda: pv.score_file(run, new, tmp_path / "s.csv", overwrite=True, **QUICK),
        "s.csv.part",
        "remove it",
    )
    assert precious.read_text() == "work of years"


DAMAGE = {
    "a changed line": ("s.csv.part", lambda text: text.replace("1", "2", 1)),
    "a shorter file": ("s.csv.part", lambda text: text[: len(text) // 2]),
    "a state of nonsense": ("s.csv.part.json", lambda text: "[1, 2]"),
    "a state without lines": ("s.csv.part.json", lambda text: '{"identity": 3}'),
    "a state that is cut off": ("s.csv.part.json", lambda text: text[:-20]),
    "a state of fewer rows": ("s.csv.part.json", lambda text: text.replace('"rows": 150', '"rows": 100')),
    "a state of another method": (
        "s.csv.part.json",
        lambda text: text.replace('"used": {', '"used": [{}], "x": {'),
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_pieces_are_scored_again(run, new, expected, what, monkeypatch, tmp_path):
    out = tmp_path / "s.csv"
    with monkeypatch.context() as patch:
        stop_in_piece(patch, 4, Stopped)
        with pytest.raises(Stopped):
            pv.score_file(run, new, out, id="name", piece=50, **QUICK)
    name, damage = DAMAGE[what]
    (tmp_path / name).write_text(damage((tmp_path / name).read_text()))
    written = pv.score_file(run, new, out, id="name", piece=50, **QUICK)
    assert (written.rows, written.resumed) == (300, 0)
    same_as(out, expected)


def test_another_call_does_not_go_on(run, new, monkeypatch, tmp_path):
    out = tmp_path / "s.csv"
    with monkeypatch.context() as patch:
        stop_in_piece(patch, 3, Stopped)
        with pytest.raises(Stopped):
            pv.score_file(run, new, out, piece=50, **QUICK)
    refused = lambda word, **more: raises_one_sentence(  # noqa: E731
        lambda: pv.score_file(run, new, out, **(QUICK | more)), f"other {word}", "overwrite=True"
    )
    refused("seed", seed=1)
    refused("particles", particles=11)
    refused("id", id="name")
    with open(new, "a") as file:
        file.write(people(ROWS, seed=1).iloc[[0]].to_csv(index=False, header=False))
    refused("data")
    assert json.loads((tmp_path / "s.csv.part.json").read_text())["rows"] == 100
    written = pv.score_file(run, new, out, overwrite=True, **QUICK)
    assert (written.rows, written.resumed) == (301, 0)
    raises_one_sentence(lambda: pv.score_file(run, new, out, **QUICK), "exists", "overwrite=True")


@pytest.fixture(scope="module")
def background(tmp_path_factory):
    return run_on(tmp_path_factory.mktemp("background"), people(150, seed=7))


@pytest.mark.parametrize("kind", ["typicality", "ratio"])
def test_a_file_of_another_kind_goes_on(run, background, new, kind, monkeypatch, tmp_path):
    out, calls_of_piece = tmp_path / "s.csv", 2 if kind == "ratio" else 1
    options = QUICK | {"id": "name", "kind": kind} | ({"background": background} if kind == "ratio" else {})
    expected = pv.score(run, people(ROWS, seed=1), **options)
    with monkeypatch.context() as patch:
        stop_in_piece(patch, 3 * calls_of_piece, Stopped)
        with pytest.raises(Stopped):
            pv.score_file(run, new, out, piece=50, **options)
    for others in (QUICK, options | {"kind": "log_px", "background": None}):
        raises_one_sentence(
            lambda others=others: pv.score_file(run, new, out, **others), "other", "overwrite=True"
        )
    written = pv.score_file(run, new, out, piece=70, **options)
    assert (written.rows, written.resumed) == (300, 100)
    same_as(out, expected)
    table = pandas.read_csv(out)
    assert list(table) == list(expected.to_frame())
    np.testing.assert_allclose(table["anomaly"], expected.anomaly, atol=2e-3)
    assert f"highest {kind}" in str(written)


def test_a_background_with_other_weights_does_not_go_on(run, background, new, monkeypatch, tmp_path):
    out, ratio = tmp_path / "s.csv", QUICK | {"kind": "ratio"}
    with monkeypatch.context() as patch:
        stop_in_piece(patch, 12, Stopped)
        with pytest.raises(Stopped):
            pv.score_file(run, new, out, piece=50, background=background, **ratio)
    call = lambda: pv.score_file(run, new, out, background=run, **ratio)  # noqa: E731
    raises_one_sentence(call, "weights of the background", "overwrite=True")


def test_the_chosen_options_of_both_methods_are_kept(run, background, new, monkeypatch, tmp_path):
    """AIS chooses its step sizes from the first rows; a call that goes on does not choose again."""
    from pyrovae.evidence import AIS

    people(20, seed=1).to_csv(new, index=False)
    out, state = tmp_path / "s.csv", tmp_path / "s.csv.part.json"
    options = {"kind": "ratio", "background": background, "method": AIS(temperatures=2), "particles": 2}
    options |= {"compile": False, "device": "cpu", "percentiles": False, "piece": 10}
    with monkeypatch.context() as patch:
        stop_in_piece(patch, 3, Stopped)
        with pytest.raises(Stopped):
            pv.score_file(run, new, out, **options)
    used = json.loads(state.read_text())["used"]
    assert used.keys() == {"model", "background"}
    prepared = []
    monkeypatch.setattr(
        Scorer, "prepare", lambda self, method: prepared.append(method.to_dict()) or _prepare(self, method)
    )
    assert pv.score_file(run, new, out, **options).resumed == 10
    assert prepared == [used["model"], used["background"]]


def _prepare(scorer, method):
    scorer.method, scorer._is_prepared = method, True


def test_rows_before_a_faulty_one_are_kept(run, expected, tmp_path):
    frame = people(ROWS, seed=1).astype({"size": object})
    frame.loc[250, "size"] = "tall"
    frame.to_csv(tmp_path / "new.csv", index=False)
    call = lambda: pv.score_file(run, tmp_path / "new.csv", tmp_path / "s.csv", piece=100, **QUICK)  # noqa: E731
    raises_one_sentence(call, "'tall' in row 250 (line 252)")
    assert len((tmp_path / "s.csv.part").read_text().splitlines()) == 201


def test_what_cannot_be_written_is_refused(run, new, tmp_path):
    raises_one_sentence(lambda: pv.score_file(run, new, tmp_path / "s.txt", **QUICK), ".csv")
    raises_one_sentence(lambda: pv.score_file(run, new, tmp_path / "no" / "s.csv", **QUICK), "does not exist")
    raises_one_sentence(
        lambda: pv.score_file(run, tmp_path / "none.csv", tmp_path / "s.csv", **QUICK), "none.csv"
    )


KILLED = """
import sys, pyrovae as pv
from pyrovae.tasks.scoring import Scorer
call = Scorer.__call__
def slow(self, rows, first=0):
    if first >= 100:
        print("here", flush=True)
        import time; time.sleep(60)
    return call(self, rows, first)
Scorer.__call__ = slow
quick = {"particles": 10, "compile": False, "device": "cpu"}
pv.score_file(*sys.argv[1:], id="name", piece=50, **quick)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_its_pieces(run, new, expected, tmp_path):
    out = tmp_path / "s.csv"
    words, here = [sys.executable, "-c", KILLED, run, new, out], {"PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | here)
    assert process.stdout.readline() == b"here\n"
    raises_one_sentence(lambda: pv.score_file(run, new, out, id="name", **QUICK), "another process")
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    written = pv.score_file(run, new, out, id="name", **QUICK)
    assert written.resumed == 100
    same_as(out, expected)


def shared(run, new, out, **options):
    written = pv.score_file(run, new, out, id="name", piece=70, **QUICK, **options)
    return written.rows, written.mean


def test_two_processes_share_the_rows(run, new, expected, pair, tmp_path):
    found = pair(shared, run, new, tmp_path / "s.csv")
    assert found[0] == found[1]
    assert found[0][0] == ROWS
    same_as(tmp_path / "s.csv", expected)


def shared_ratio(run, background, new, out):
    return shared(run, new, out, kind="ratio", background=background)


def test_two_processes_share_the_rows_of_a_ratio(run, background, new, pair, tmp_path):
    pair(shared_ratio, run, background, new, tmp_path / "s.csv")
    options = QUICK | {"kind": "ratio", "background": background}
    expected = pv.score(run, people(ROWS, seed=1), **options)
    table = pandas.read_csv(tmp_path / "s.csv")
    np.testing.assert_allclose(table["anomaly"], expected.anomaly, atol=2e-3)
    np.testing.assert_allclose(table["percentile"], expected.percentile, atol=1.5)


def test_a_file_key_is_that_of_its_bytes(new, tmp_path):
    before = on_disk.file_key(new)
    assert on_disk.file_key(new) == before
    new.write_bytes(new.read_bytes().replace(b"red", b"rad", 1))
    assert on_disk.file_key(new) != before
    assert on_disk.file_key(tmp_path) != on_disk.file_key("mnist")
