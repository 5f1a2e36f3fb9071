"""`pyrovae impute`, `complete`, `denoise` and `enlarge`."""

import numpy as np
import pandas
import pytest

import pyrovae as pv
from pyrovae.cli import main
from tests.support.people import people, run_on
from tests.support.same_runs import binary, small

QUICK = "--count 3 --draws 6 --particles 50 --device cpu".split()
QUIET = {"figures": False, "progress": False, "compile": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run of binary images, one of grey images, and one of a table."""
    folder = tmp_path_factory.mktemp("restoring")
    np.save(folder / "x.npy", binary(60).numpy())
    pv.fit(small(), pv.datasets.load(folder / "x.npy"), epochs=2, out=folder / "r", **QUIET)
    levels = (180 * binary(60) + 20).numpy().astype(np.uint8)
    np.save(folder / "grey.npy", levels)
    np.save(folder / "empty.npy", levels[:0])
    vae = small(likelihood=pv.likelihoods.DiscretizedLogistic(256))
    pv.fit(vae, pv.datasets.load(folder / "grey.npy"), epochs=2, out=folder / "grey", **QUIET)
    vae = small(likelihood=pv.likelihoods.ContinuousBernoulli())
    pv.fit(vae, pv.datasets.load(folder / "grey.npy"), epochs=1, out=folder / "shades", **QUIET)
    run_on(folder)
    return folder


@pytest.fixture(autouse=True)
def inside(place, monkeypatch):
    monkeypatch.chdir(place)


def refused(capsys, line: str) -> str:
    capsys.readouterr()
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_impute_fills_a_table(capsys):
    frame = people(30, seed=1)
    frame.to_csv("new.csv", index=False)
    line = "impute run new.csv --out filled.csv --draws 3 --particles 50 --device cpu --overwrite true"
    assert main(line.split()) == 0
    text = capsys.readouterr().out
    assert "written: filled.csv, 30 rows" in text
    assert "written: filled.draws.csv" in text
    filled = pandas.read_csv("filled.csv")
    assert list(filled) == [*frame, "doubt"]
    assert (filled["doubt"].notna() == frame["size"].isna()).all()
    assert not filled["size"].isna().any()
    assert len(pandas.read_csv("filled.draws.csv")) == 90


def test_impute_says_what_is_missing(capsys):
    assert "which file?" in refused(capsys, "impute run")
    assert "--out filled.csv" in refused(capsys, "impute run people.csv")
    assert "use complete" in refused(capsys, "impute r people.csv --out f.csv")


MASKS = ["left", "centre", "quadrant:2", "random:.5"]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("run", ["r", "grey"])
def test_complete(run, mask, place, capsys):
    assert main(["complete", run, "--mask", mask, *QUICK, "--array"]) == 0
    text = capsys.readouterr().out
    assert "6 samples of p(x | y) for 3 rows" in text
    assert "posterior mean     MSE" in text
    assert "log p(removed | rest)" in text
    name = f"complete-{mask.replace(':', '-')}"
    assert (place / run / "figures" / f"{name}.png").exists()
    samples = np.load(f"{run}/{name}.npy")
    assert samples.shape == (6, 3, 1, 4, 4)
    top = 255 if run == "grey" else 1
    np.testing.assert_allclose(samples * top, (samples * top).round(), atol=1e-3)


def test_the_log_likelihood_of_the_removed_pixels(capsys):
    assert main(["complete", "r", "--mask", "left", *QUICK, "--particles", "4000"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("log p(removed"))
    vae, data = pv.load("r"), pv.datasets.load("x.npy")
    x = data.test.x[:3]
    y = x.clone()
    y[..., :2] = np.nan
    options = {"particles": 20_000, "method": "importance"}
    exact = pv.log_evidence(vae, x, **options).log_px - pv.condition(vae, y, **options).log_py
    assert float(line.split()[4]) == pytest.approx(float(np.mean(exact)), abs=0.1)
    assert "8 removed pixels" in line


COMMANDS = {
    "denoise r --noise .3": ("denoise", ["noisy images", "median filter"]),
    "denoise r --flip .1": ("denoise", ["noisy images"]),
    "denoise grey": ("denoise", ["median filter"]),
    "enlarge r": ("enlarge-2", ["nearest neighbour", "bicubic"]),
    "enlarge r --factor 4 --noise .1": ("enlarge-4", ["bicubic"]),
    "enlarge shades --noise .05": ("enlarge-2", ["nearest neighbour"]),
    "enlarge grey --factor 2": ("enlarge-2", ["bicubic"]),
    "enlarge grey --noise .05 --images grey.npy": ("enlarge-2", ["bicubic"]),
}


@pytest.mark.parametrize("line", COMMANDS)
def test_denoise_and_enlarge(line, place, capsys):
    assert main([*line.split(), *QUICK, "--array"]) == 0
    name, others = COMMANDS[line]
    text, run = capsys.readouterr().out, line.split()[1]
    for other in ("posterior mean", "decode(encode(y))", *others):
        assert other in text
    assert (place / run / "figures" / f"{name}.png").exists()
    assert np.isfinite(np.load(f"{run}/{name}.npy")).all()


def test_measurements_may_be_given(capsys):
    np.save("small.npy", binary(5)[:, :, ::2, ::2].numpy())
    holes = binary(5).numpy()
    holes[:, :, 1, :] = np.nan
    np.save("holes.npy", holes)
    for line in ("enlarge r --measured small.npy", "complete r --measured holes.npy"):
        assert main([*line.split(), *QUICK]) == 0
        text = capsys.readouterr().out
        assert "for 3 rows" in text
        assert "MSE" not in text


REFUSED = {
    "complete run": ("use impute",),
    "denoise run": ("use impute",),
    "complete r --mask up": ("'up'", "left, right"),
    "complete r --seed -1": ("seed",),
    "complete r --count 0": ("count",),
    "complete r --draws 0": ("draws",),
    "complete r --measured x.npy": ("no missing pixel",),
    "complete r --measured none.npy": ("none.npy",),
    "complete r --images empty.npy": ("no rows in empty.npy",),
    "denoise grey --images empty.npy": ("no rows in empty.npy",),
    "enlarge r --images empty.npy": ("no rows in empty.npy",),
    "complete r --measured empty.npy": ("empty.npy has no measurements",),
    "complete r --images x.npy --measured x.npy": ("exclude",),
    "denoise r --noise .1 --flip .1": ("exclude",),
    "denoise r --noise 0": ("noise",),
    "denoise r --flip 2": ("flip",),
    "denoise grey --flip .1": ("Flip",),
    "enlarge shades": ("no density", "--noise 0.05"),
    "enlarge r --factor 3": ("another factor",),
    "enlarge r --factor 1": ("factor",),
}


@pytest.mark.parametrize("line", REFUSED)
def test_refusals(line, capsys):
    error = refused(capsys, line + " --device cpu")
    assert all(word in error for word in REFUSED[line]), error


@pytest.mark.parametrize("line", ["denoise half --noise .1", "enlarge half"])
def test_whole_images_are_not_measured_where_a_part_is_given(line, capsys):
    data = pv.datasets.load("x.npy", context="left half")
    pv.fit(None, data, epochs=1, out="half", resume=True, **QUIET)
    assert "a part of each image, given the rest (left half)" in refused(capsys, f"{line} --device cpu")
    assert main(["complete", "half", "--mask", "top", *QUICK]) == 0
    assert "--mask left removes no pixel" in refused(capsys, "complete half --mask left --device cpu")
