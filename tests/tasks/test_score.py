"""Scores of new data: columns by name, one number for each row, percentiles, pieces."""

import dataclasses

import numpy as np
import pandas
import pytest
import torch

import pyrovae as pv
from pyrovae.datasets.incoming import incoming
from pyrovae.tasks.in_memory import task_of
from pyrovae.tasks.scoring import Scorer
from tests.support.parts import raises_one_sentence
from tests.support.people import people, run_on
from tests.support.same_runs import binary, small

QUICK = {"particles": 30, "compile": False, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_on(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def vae(run):
    return pv.load(run)


def test_every_row_has_the_log_px_of_log_evidence(run, vae):
    new = people(40, seed=1)
    scores = pv.score(run, new, id="name", **QUICK)
    evidence = pv.log_evidence(vae, vae.schema.rows(new), particles=30, compile=False)
    np.testing.assert_allclose(scores.log_px, evidence.log_px, atol=1e-4)
    np.testing.assert_allclose(scores.mc_stderr, evidence.mc_stderr, atol=1e-4)
    np.testing.assert_allclose(scores.ess, evidence.ess, rtol=1e-3)
    assert scores.row.tolist() == list(range(40))
    assert scores.id.tolist() == new["name"].tolist()
    assert list(scores.to_frame()) == ["row", "name", "log_px", "mc_stderr", "ess", "khat", "percentile"]
    assert "40 rows" in str(scores)
    assert "lowest: name n" in str(scores)


def test_a_row_has_one_score_whatever_the_others(vae):
    new = people(30, seed=1)
    whole = pv.score(vae, new, **QUICK).log_px
    for rows in (slice(7, 8), slice(3, 20), [4, 4, 4], list(range(29, -1, -1))):
        np.testing.assert_allclose(pv.score(vae, new.iloc[rows], **QUICK).log_px, whole[rows], atol=1e-4)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_pieces_change_nothing(vae, size):
    task = task_of(vae, people(30, seed=1), _asked(), particles=30, compile=False)
    whole = pv.score(vae, people(30, seed=1), **QUICK).log_px
    parts = list(task.scores(0, size))
    assert len(parts) == -(-30 // size)
    np.testing.assert_allclose(np.concatenate([part.log_px for part in parts]), whole, atol=1e-4)
    rest = np.concatenate([part.row for part in task.scores(11, size)])
    assert rest.tolist() == list(range(11, 30))


def _asked(**options):
    from pyrovae.datasets.incoming import Asked

    return Asked(**options)


def test_columns_are_matched_by_name_and_words_by_their_level(vae):
    new = people(20, seed=1)
    whole = pv.score(vae, new, **QUICK).log_px
    swapped = new[list(reversed(new.columns))].assign(extra=1)
    scores = pv.score(vae, swapped, **QUICK)
    np.testing.assert_array_equal(scores.log_px, whole)
    assert scores.notes == ("the data has columns that the model does not use: extra, name",) or any(
        "extra" in note for note in scores.notes
    )
    np.testing.assert_array_equal(pv.score(vae, new.to_dict("list"), **QUICK).log_px, whole)
    renamed = new.replace({"colour": {"red": "r", "green": "g", "blue": "b"}})
    raises_one_sentence(lambda: pv.score(vae, renamed, **QUICK), "'colour'", "unknown='missing'")
    raises_one_sentence(lambda: pv.score(vae, new.drop(columns="size"), **QUICK), "'size'", "empty cells")


def test_unknown_words_are_missing_if_asked(vae):
    new = people(20, seed=1)
    strange = new.copy()
    strange.loc[3, "colour"] = "violet"
    empty = new.copy()
    empty.loc[3, "colour"] = None
    asked = pv.score(vae, strange, unknown="missing", **QUICK).log_px
    np.testing.assert_array_equal(asked, pv.score(vae, empty, **QUICK).log_px)
    raises_one_sentence(lambda: pv.score(vae, strange, **QUICK), "'violet' in row 3")


def test_percentiles_are_shares_of_the_training_rows(run, vae):
    new = people(10, seed=2)
    new.loc[0, "size"] = 400.0  # nobody is so tall
    scores = pv.score(run, new, **QUICK)
    assert scores.percentile[0] == 0
    assert scores.reference_rows == 140
    data = pv.datasets.load(run.parent / "people.csv", drop="name")
    train = pv.score(vae, data.train, **QUICK).log_px
    expected = [100 * (train < value).mean() for value in scores.log_px]
    np.testing.assert_allclose(scores.percentile, expected, atol=0.8)
    given = pv.score(vae, new, reference=data.train, **QUICK)
    np.testing.assert_allclose(given.percentile, scores.percentile, atol=1e-9)
    assert pv.score(vae, new, **QUICK).percentile is None


def test_the_reference_is_computed_once(run, monkeypatch):
    new = people(5, seed=2)
    first = pv.score(run, new, **QUICK)
    counted = []
    call = Scorer.__call__
    monkeypatch.setattr(
        Scorer, "__call__", lambda self, rows, first=0: counted.append(len(rows)) or call(self, rows, first)
    )
    again = pv.score(run, new, **QUICK)
    assert counted == [5]
    np.testing.assert_array_equal(first.percentile, again.percentile)
    pv.score(run, new, particles=20, compile=False)  # another number of particles is another reference
    assert sum(counted) == 10 + 140


def test_damaged_scores_of_training_rows_are_computed_again(run, tmp_path):
    first = pv.score(run, people(30, seed=2), **QUICK)
    path = run / "reference.npz"
    whole = path.read_bytes()
    for place in range(100, len(whole), len(whole) // 20):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        again = pv.score(run, people(30, seed=2), **QUICK)
        np.testing.assert_array_equal(again.percentile, first.percentile)
    path.write_bytes(whole)


def test_without_the_data_of_the_run_there_are_no_percentiles(tmp_path):
    run = run_on(tmp_path)
    (tmp_path / "people.csv").rename(tmp_path / "moved.csv")
    scores = pv.score(run, people(3), **QUICK)
    assert scores.percentile is None
    assert any("no percentiles" in note for note in scores.notes)
    raises_one_sentence(lambda: pv.score(run, people(3), percentiles=True, **QUICK), "people.csv")


def test_one_row_of_dates_and_of_each_kind_is_scored(vae):
    new = people(30, seed=1)
    both = pv.score(vae, new.iloc[:2].assign(born=["03/04/1980", "25/12/1980"]), **QUICK).log_px
    alone = pv.score(vae, new.iloc[:1].assign(born="03/04/1980"), **QUICK).log_px  # read as in training
    np.testing.assert_allclose(alone, both[:1], atol=1e-4)
    for born in ("1980-04-03", pandas.Timestamp("1980-04-03")):
        iso = pv.score(vae, new.iloc[:1].assign(born=born), **QUICK).log_px
        np.testing.assert_allclose(iso, alone, atol=1e-4)


def test_a_row_without_any_probability_has_minus_infinity():
    method = pv.evidence.Importance()
    method.summary = lambda pieces, particles: torch.full((4, len(pieces)), -torch.inf, dtype=torch.float64)
    scores = pv.score(small(), binary(3), method=method, particles=10, compile=False)
    assert (scores.log_px == -np.inf).all()
    assert np.isnan(scores.ess).all()
    assert "mean none" in str(scores)


def test_arrays_are_taken_in_levels_or_scaled(tmp_path):
    data = pv.datasets.load("digits", binarize="threshold")
    vae = pv.VAE(data.event_shape, 2, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8))
    pv.fit(vae, data, epochs=1, progress=False, compile=False, figures=False)
    from sklearn.datasets import load_digits

    levels = load_digits().images[:20, None]
    wanted = pv.log_evidence(vae, (torch.tensor(levels) >= 8).float(), particles=30, compile=False).log_px
    np.save(tmp_path / "levels.npy", levels)
    for new in (levels, levels.astype(np.uint8), levels / 16, torch.tensor(levels), tmp_path / "levels.npy"):
        np.testing.assert_allclose(pv.score(vae, new, **QUICK).log_px, wanted, atol=1e-4)
    raises_one_sentence(lambda: pv.score(vae, levels * 16, **QUICK), "levels 0 to 16")
    raises_one_sentence(lambda: pv.score(vae, levels[:, :, :4], **QUICK), "(1, 4, 8)")


def test_random_binarisation_depends_on_the_row_only():
    schema = pv.datasets.load("digits", binarize="dynamic").schema
    x = pv.datasets.load("digits").test.x[:9]
    whole = torch.cat([piece.rows.x for piece in incoming(schema, x).pieces(9, 0)])
    again = torch.cat([piece.rows.x for piece in incoming(schema, x).pieces(2, 3)])
    assert torch.equal(whole[3:], again)
    assert sorted(whole.unique().tolist()) == [0, 1]


def test_a_row_outside_the_support_is_named_by_its_number_in_the_file(tmp_path):
    frame = people(60)
    frame.loc[50, "visits"] = -1
    run = run_on(tmp_path)
    task = task_of(run, frame, _asked(), particles=30, compile=False)
    raises_one_sentence(lambda: list(task.scores(0, 8)), "row 50")


def test_what_cannot_be_scored_is_refused(vae, run):
    new = people(4)
    plain = small((1, 4, 4))
    raises_one_sentence(lambda: pv.score(plain, new, **QUICK), "named columns", "to_numpy")
    raises_one_sentence(lambda: pv.score(vae, new, id="nmae", **QUICK), "'nmae'", "did you mean 'name'?")
    raises_one_sentence(lambda: pv.score(plain, binary(3), id="name", **QUICK), "id='name'")
    raises_one_sentence(lambda: pv.score(vae, new, percentiles=True, **QUICK), "reference=")
    raises_one_sentence(lambda: pv.score(vae, {"size": [1.0]}, **QUICK), "no column")
    raises_one_sentence(lambda: pv.score(vae, people(0), **QUICK), "no rows")
    raises_one_sentence(lambda: pv.score(vae, people(3), reference=people(0), **QUICK), "no rows")
    raises_one_sentence(lambda: pv.score(run, new, particles=0), "particles")
    data = pv.datasets.load(run.parent / "people.csv", drop="name")
    raises_one_sentence(lambda: pv.score(vae, data, **QUICK), "data.test")


def test_scores_are_saved(vae, tmp_path):
    scores = pv.score(vae, people(6), id="name", **QUICK)
    back = pandas.read_csv(scores.save(tmp_path / "s.csv"))
    np.testing.assert_allclose(back["log_px"], scores.log_px, atol=1e-6)
    assert back["name"].tolist() == scores.id.tolist()
    pytest.importorskip("pyarrow")
    back = pandas.read_parquet(scores.save(tmp_path / "s.parquet"))
    np.testing.assert_array_equal(back["log_px"], scores.log_px)
    raises_one_sentence(lambda: scores.save(tmp_path / "s.txt"), ".parquet")


def test_all_rows_are_read_in_pieces_whatever_their_number_was_thought_to_be(monkeypatch):
    """The number of rows of a long CSV file is a guess."""
    rows = pv.Rows(torch.arange(10.0)[:, None], y=torch.arange(10))
    new = dataclasses.replace(incoming(None, rows), rows=1)
    monkeypatch.setattr("pyrovae.datasets.incoming.TOGETHER", 4)
    assert new.all_rows().x.flatten().tolist() == new.all_rows().y.tolist() == list(range(10))
    assert new.first(3).rows.y.tolist() == [0, 1, 2]
