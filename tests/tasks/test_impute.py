"""Imputation of tables: only empty cells change, and they get what the model says."""

import csv
import io
import math

import numpy as np
import pandas
import pytest
import torch

import pyrovae as pv
from pyrovae.tasks import imputing, imputing_file
from tests.support.parts import raises_one_sentence
from tests.support.people import people, run_on

ROWS = 40
QUICK = {"particles": 50, "device": "cpu"}
HOLES = {"size": [5, 9], "visits": [6, 9], "born": [3, 11], "member": [7], "colour": [4, 9]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_on(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def vae(run):
    return pv.load(run)


def whole_table() -> pandas.DataFrame:
    frame = people(ROWS, seed=3)
    frame["size"] = frame["size"].fillna(171.5)
    return frame


def with_holes(frame: pandas.DataFrame, hole="") -> pandas.DataFrame:
    frame = frame.astype(str)
    for name, rows in HOLES.items():
        frame.loc[rows, name] = hole
    return frame


# -------------------------------------------------------------------- the text of a file

FORMATS = {
    "plain": {},
    "semicolons and decimal commas": {"sep": ";", "decimal": ","},
    "quotes": {"quoting": csv.QUOTE_ALL},
    "Windows": {"lineterminator": "\r\n", "encoding": "utf-8-sig"},
    "tabs": {"sep": "\t"},
}


def text_of(frame, decimal=".", encoding="utf-8", **options) -> bytes:
    frame = frame.assign(size=[cell.replace(".", decimal) for cell in frame["size"]])
    return frame.to_csv(index=False, **options).encode(encoding)


def test_a_column_that_the_table_lacks_is_refused(run, tmp_path):
    frame = with_holes(whole_table()).drop(columns="size")
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(pv.InputError, match="the table has no column 'size', which the model was trained on"):
        pv.impute_file(run, tmp_path / "t.csv", tmp_path / "f.csv", **QUICK)


@pytest.mark.parametrize("name", FORMATS)
def test_only_empty_cells_change(run, name, tmp_path):
    """A filled line is the line of the whole table, but for the cells that were empty, and the doubt."""
    options = FORMATS[name]
    full = text_of(whole_table().astype(str), **options)
    (tmp_path / "t.csv").write_bytes(text_of(with_holes(whole_table()), **options))
    written = pv.impute_file(run, tmp_path / "t.csv", tmp_path / "f.csv", **QUICK)
    assert (written.rows, written.imputed_rows, written.cells) == (ROWS, 7, 9)
    found = (tmp_path / "f.csv").read_bytes()
    assert found[:3] == full[:3]
    mark, quote = options.get("sep", ","), '"' if "quoting" in options else ""
    end = options.get("lineterminator", "\n")
    holes = {row for rows in HOLES.values() for row in rows}
    names = list(whole_table())
    lines = zip(full.decode().split(end), found.decode().split(end), strict=True)
    for row, (old, new) in enumerate(lines, -1):
        if not old:
            assert not new
            continue
        *cells, doubt = new.split(mark)
        expected = old.split(mark)
        for column, cell, other in zip(names, cells, expected, strict=True):
            if row >= 0 and row in HOLES.get(column, []):
                assert cell.strip(quote)
                assert cell.startswith(quote)
            else:
                assert cell == other
        assert (doubt == "doubt") if row < 0 else (doubt != "") == (row in holes)


def test_a_whole_table_gets_an_empty_column_only(run, tmp_path):
    text = whole_table().to_csv(index=False)
    (tmp_path / "t.csv").write_text(text)
    written = pv.impute_file(run, tmp_path / "t.csv", tmp_path / "f.csv", **QUICK)
    assert (written.cells, written.imputed_rows) == (0, 0)
    first, *rest = text.splitlines()
    assert (tmp_path / "f.csv").read_text().splitlines() == [f"{first},doubt", *(f"{line}," for line in rest)]


def test_odd_lines_are_kept(run, tmp_path):
    """Comments, empty lines, blanks around cells, a separator at the end, and no last line end."""
    first, *rest = with_holes(whole_table()).to_csv(index=False).splitlines()
    rest[1] = rest[1].replace(",", ", ", 2)
    text = "\n".join(
        [
            "# people, 2024",
            first + ",",
            *(line + "," for line in rest[:20]),
            "",
            *(line + "," for line in rest[20:]),
        ]
    )
    (tmp_path / "t.csv").write_text(text)
    pv.impute_file(run, tmp_path / "t.csv", tmp_path / "f.csv", draws=2, **QUICK)
    lines, found = text.split("\n"), (tmp_path / "f.csv").read_text().split("\n")
    assert found[0] == lines[0]
    assert found[1] == f"{first},doubt"
    assert found[3] == lines[3]
    assert found[22] == ""
    assert len(found) == len(lines)
    again = pandas.read_csv(tmp_path / "f.csv", comment="#")
    assert list(again) == [*whole_table(), "doubt"]
    assert not again.drop(columns="doubt").isna().any().any()
    several = pandas.read_csv(tmp_path / "f.draws.csv")
    assert len(several) == 2 * ROWS


def test_words_for_missing_entries_are_filled_and_unknown_words_are_kept(run, tmp_path):
    frame = with_holes(whole_table(), "NA")
    frame.loc[0, "colour"] = "violet"
    frame.to_csv(tmp_path / "t.csv", index=False)
    call = lambda **more: pv.impute_file(run, tmp_path / "t.csv", tmp_path / "f.csv", **(QUICK | more))  # noqa: E731
    raises_one_sentence(call, "'violet' in row 0 (line 2)")
    written = call(unknown="missing")
    found = pandas.read_csv(tmp_path / "f.csv", dtype=str, keep_default_na=False)
    assert found["colour"][0] == "violet"
    assert written.cells == 9
    assert not (found == "NA").any().any()
    assert set(found["colour"][1:]) <= {"red", "green", "blue"}


# -------------------------------------------------------------------- values


def test_the_cells_are_what_condition_gives(vae):
    """Means and shares against `condition` with many particles, within Monte Carlo errors."""
    frame = with_holes(whole_table())
    result = pv.impute(vae, frame, draws=400, particles=4000)
    rows = vae.schema.rows(frame)
    exact = pv.condition(vae, rows, particles=20_000, draws=2000)
    numbers = np.stack([vae.schema.rows(each).x.numpy() for each in result.frames])
    missing = rows.x.isnan().numpy()
    sd = exact.sd.numpy()[missing]
    off = numbers.mean(0)[missing] - exact.x.double().mean(0).numpy()[missing]
    assert (np.abs(off) < 5 * np.maximum(sd, 1e-3) / math.sqrt(400) + 0.06).all()
    single = vae.schema.rows(result.frame).x.numpy()
    np.testing.assert_array_equal(single[~missing], rows.x.numpy()[~missing])
    words = [i for i, column in enumerate(vae.schema.columns) if column.levels]
    np.testing.assert_array_equal(single[:, words], exact.mode.numpy()[:, words])


def test_the_doubt_is_the_mean_of_relative_sds_and_error_probabilities(vae):
    frame = with_holes(whole_table())
    doubt = pv.impute(vae, frame, draws=1000, particles=4000).doubt
    exact = pv.condition(vae, vae.schema.rows(frame), particles=4000, draws=4000)
    usual = vae.sample(4000, seed=1).double().std(0).numpy()
    colour = [column.name for column in vae.schema.columns].index("colour")
    wrong = (exact.x[:, 4, colour] != exact.mode[4, colour]).double().mean().item()
    assert doubt[4] == pytest.approx(wrong, abs=0.05)
    size = [column.name for column in vae.schema.columns].index("size")
    assert doubt[5] == pytest.approx(exact.sd[5, size].item() / usual[size], rel=0.1)
    assert np.isnan(doubt[[0, 1, 2]]).all()


def test_equal_rows_have_different_samples(vae):
    frame = with_holes(whole_table()).iloc[[5] * 6]
    sizes = [list(each["size"]) for each in pv.impute(vae, frame, draws=2, **QUICK).frames]
    assert len(set(sizes[0])) > 3
    assert sizes[0] != sizes[1]


def test_a_frame_keeps_its_types_and_other_columns(vae):
    frame = whole_table()
    frame["visits"] = frame["visits"].astype("Int64")
    frame["born"] = pandas.to_datetime(frame["born"], format="%d/%m/%Y")
    frame["colour"] = frame["colour"].astype("category")
    frame["note"] = [None, *range(ROWS - 1)]
    for name, rows in HOLES.items():
        frame.loc[rows, name] = None
    before = frame.copy()
    result = pv.impute(vae, frame, draws=2, **QUICK)
    pandas.testing.assert_frame_equal(frame, before)
    for each in (result.frame, *result.frames):
        assert each.dtypes.to_dict() == frame.dtypes.to_dict()
        assert each.columns.equals(frame.columns)
        assert each.index.equals(frame.index)
        assert not each.drop(columns="note").isna().any().any()
        same = frame.notna() & (each == frame).fillna(value=False)
        assert (same | frame.isna()).to_numpy().all()
    assert "9 empty cells of 7 rows filled" in str(result)


# -------------------------------------------------------------------- pieces


class Stopped(BaseException):
    pass


def test_pieces_change_nothing_and_a_stopped_call_goes_on(run, tmp_path, monkeypatch):
    with_holes(whole_table()).to_csv(tmp_path / "t.csv", index=False)

    def call(out, **more):
        return pv.impute_file(run, tmp_path / "t.csv", tmp_path / out, draws=3, **(QUICK | more))  # noqa: E731

    call("a.csv")
    with monkeypatch.context() as patch:
        original, count = imputing_file.Imputer.__call__, [0]

        def stopping(self, *arguments):
            count[0] += 1
            if count[0] == 4:
                raise Stopped
            return original(self, *arguments)

        patch.setattr(imputing_file.Imputer, "__call__", stopping)
        with pytest.raises(Stopped):
            call("b.csv", piece=6)
    assert not (tmp_path / "b.csv").exists()
    raises_one_sentence(lambda: call("b.csv", seed=1), "other seed", "overwrite=True")
    written = call("b.csv", piece=6)
    assert (written.rows, written.resumed) == (ROWS, 18)
    for name in ("{}.csv", "{}.draws.csv"):
        assert (tmp_path / name.format("a")).read_bytes() == (tmp_path / name.format("b")).read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_the_draws_are_tables_that_can_be_pooled(run, vae, tmp_path):
    frame = with_holes(whole_table())
    frame.to_csv(tmp_path / "t.csv", index=False)
    pv.impute_file(run, tmp_path / "t.csv", tmp_path / "f.csv", draws=4, **QUICK)
    several = pandas.read_csv(tmp_path / "f.draws.csv", dtype=str, keep_default_na=False)
    assert list(several) == ["draw", "row", *frame]
    assert list(several["draw"][:5]) == ["0", "1", "2", "3", "0"]
    in_memory = pv.impute(vae, pandas.read_csv(tmp_path / "t.csv", dtype=str), draws=4, **QUICK)
    for draw, table in several.groupby("draw"):
        assert list(table["row"]) == [str(i) for i in range(ROWS)]
        other = in_memory.frames[int(draw)].astype(str).reset_index(drop=True)
        pandas.testing.assert_frame_equal(
            table.drop(columns=["draw", "row"]).reset_index(drop=True), other, check_dtype=False
        )


def test_parquet_keeps_its_types(run, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    frame = whole_table()
    frame["visits"] = frame["visits"].astype("Int64")
    frame["colour"] = frame["colour"].astype("category")
    for name, rows in HOLES.items():
        frame.loc[rows, name] = None
    frame.to_parquet(tmp_path / "t.parquet")
    pv.impute_file(run, tmp_path / "t.parquet", tmp_path / "f.parquet", draws=2, piece=7, **QUICK)
    old, new = (pq.read_table(tmp_path / name) for name in ("t.parquet", "f.parquet"))
    assert new.schema.names == [*old.schema.names, "doubt"]
    assert [new.schema.field(i).type for i in range(6)] == list(old.schema.types)
    assert sum(new.column(i).null_count for i in range(6)) == 0
    table, several = (pandas.read_parquet(tmp_path / f"f{end}.parquet") for end in ("", ".draws"))
    assert (table["doubt"].notna().to_numpy().nonzero()[0] == sorted({3, 4, 5, 6, 7, 9, 11})).all()
    known = frame["size"].notna()
    assert (table["size"][known] == frame["size"][known]).all()
    assert several.shape == (2 * ROWS, 8)


@pytest.mark.parametrize("kind", ["dict", "rows", "pyarrow", "polars"])
def test_tables_of_any_library_are_filled(run, kind):
    frame = people(20, seed=1)
    expected = pv.impute(run, frame, draws=2, **QUICK).frame
    plain = frame.astype(object).where(frame.notna(), None)
    if kind == "dict":
        table = plain.to_dict("list")
    elif kind == "rows":
        table = plain.to_dict("records")
    elif kind == "pyarrow":
        table = pytest.importorskip("pyarrow").Table.from_pandas(frame, preserve_index=False)
    else:
        table = pytest.importorskip("polars").DataFrame(plain.to_dict("list"))
    found = pv.impute(run, table, draws=2, **QUICK).frame
    assert list(found) == list(frame)
    np.testing.assert_allclose(found["size"].astype(float), expected["size"])


def test_known_cells_of_parquet_are_not_converted(run, tmp_path):
    """pandas would read whole numbers with nulls as floats."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    frame = whole_table()
    visits = [*range(ROWS - 1), 2**53 + 1]
    visits[6] = visits[9] = None
    colours = pa.array(frame["colour"].where(~frame.index.isin([4, 9]), None), pa.string())
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name, column in {
        "visits": pa.array(visits, pa.int64()),
        "colour": colours.dictionary_encode(),
    }.items():
        table = table.set_column(table.schema.names.index(name), name, column)
    pq.write_table(table, tmp_path / "t.parquet")
    pv.impute_file(run, tmp_path / "t.parquet", tmp_path / "f.parquet", draws=2, **QUICK)
    found, several = (pq.read_table(tmp_path / f"f{end}.parquet") for end in ("", ".draws"))
    assert [v for i, v in enumerate(found["visits"].to_pylist()) if i not in (6, 9)] == [
        v for v in visits if v is not None
    ]
    assert several["visits"].to_pylist()[-2:] == [2**53 + 1] * 2
    assert [v for i, v in enumerate(found["colour"].to_pylist()) if i not in (4, 9)] == [
        v for v in colours.to_pylist() if v is not None
    ]
    assert found["visits"].null_count == found["colour"].null_count == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.draws.parquet", "f.parquet", "t.parquet"]


# -------------------------------------------------------------------- refusals


def test_what_cannot_be_imputed_is_refused(run, vae, tmp_path):
    with_holes(whole_table()).to_csv(tmp_path / "t.csv", index=False)
    images = pv.VAE((1, 4, 4), 2, encoder=pv.networks.MLP(8))
    raises_one_sentence(lambda: pv.impute(images, whole_table()), "use complete")
    numbers = pv.VAE((3,), 2, encoder=pv.networks.MLP(8))
    raises_one_sentence(lambda: pv.impute(numbers, whole_table()), "train on a table")
    raises_one_sentence(lambda: pv.impute(vae, "t.csv"), "impute_file")
    raises_one_sentence(lambda: pv.impute(vae, np.zeros((3, 5))), "give a DataFrame")
    raises_one_sentence(lambda: pv.impute(vae, whole_table(), draws=-1), "draws")
    call = lambda data, out: pv.impute_file(run, tmp_path / data, tmp_path / out, **QUICK)  # noqa: E731
    raises_one_sentence(lambda: call("t.csv", "t.csv"), "exists")
    raises_one_sentence(
        lambda: pv.impute_file(run, tmp_path / "t.csv", tmp_path / "t.csv", overwrite=True),
        "is the file that",
    )
    raises_one_sentence(lambda: call("t.csv", "f.parquet"), ".csv or .tsv or .txt")
    raises_one_sentence(lambda: call("t.xlsx", "f.csv"), "save the table as one of these")


def test_a_model_of_the_table_with_a_context_imputes_too(tmp_path):
    frame = whole_table()
    run = run_on(tmp_path, frame, context="colour")
    holes = frame.copy()
    holes.loc[[3, 5], "size"] = None
    result = pv.impute(run, holes, draws=2, **QUICK)
    assert result.cells == 2
    assert not result.frame["size"].isna().any()


def test_the_text_of_a_record_is_cut_as_the_reader_cuts_it():
    from pyrovae.tasks.imputing_text import Layout

    lines = ['a,"b, ""c""",,d\r\n', '"", x ,"y\nz",\n', 'p"q,r"s,"t"u,v']
    for line in lines:
        layout = Layout(",", ",", 4)
        (cells,) = csv.reader(io.StringIO(line, newline=""), skipinitialspace=True)
        raw = [line[start:end] for start, end in layout.fields(line)]
        assert len(raw) == len(cells)
        for text, cell in zip(raw, cells, strict=True):
            if "\n" not in cell and text:
                assert next(csv.reader([text], skipinitialspace=True)) == [cell]
    assert Layout(",", ",", 4).with_cells(lines[0], {2: 'e"f'}) == 'a,"b, ""c""","e""f",d\r\n'
    assert Layout(" ", " ", 3).with_cells("  1  NA\t3 \n", {1: "2.5"}) == "  1  2.5\t3 \n"


def test_seeds(vae):
    frame = with_holes(whole_table())
    one, two, other = (pv.impute(vae, frame, draws=2, seed=seed, **QUICK) for seed in (0, 0, 1))
    pandas.testing.assert_frame_equal(one.frames[1], two.frames[1])
    assert not one.frames[1].equals(other.frames[1])


def test_a_row_without_any_probability_is_refused_by_its_number(vae, monkeypatch):
    original = imputing.completed

    def without_weight(*arguments):
        completion = original(*arguments)
        completion.mode[2] = torch.nan
        return completion

    monkeypatch.setattr(imputing, "completed", without_weight)
    raises_one_sentence(lambda: pv.impute(vae, with_holes(whole_table()), **QUICK), "row 5", "no probability")
