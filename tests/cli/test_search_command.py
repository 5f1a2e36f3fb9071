"""`pyrovae search`: words and files become a space, and the folder has the results."""

import pytest

import pyrovae as pv
from pyrovae.cli import main

pytest.importorskip("optuna")

DATA = "--data digits --binarize threshold --count 120"
SMALL = f"{DATA} --encoder MLP --encoder.sizes [8] --decoder MLP --decoder.sizes [8] --epochs 2"
FEW = f"{SMALL} --trials 3 --particles 5 --finalists 1 --seeds 2"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(line, capsys):
    status = main(line.split())
    return status, capsys.readouterr()


def test_a_search_and_its_continuation(tmp_path, capsys):
    vary = (
        "--vary latent_dim=2..6 lr=1e-3..1e-1:log prior=StandardNormal,GaussianMixture prior.components=2,3"
    )
    status, printed = run(f"search {FEW} {vary}", capsys)
    assert status == 0, printed.err
    assert "3 trials: " in printed.out
    assert "The winner is trial" in printed.out
    folder = tmp_path / "studies/digits-1"
    assert {"search.yaml", "journal.log", "table.csv", "test.json", "history.png", "slices.png"} <= {
        path.name for path in folder.iterdir()
    }
    best = printed.out.rpartition("evaluate: pyrovae ")[2].strip(" )\n")
    assert best.startswith("evaluate studies/digits-1/finalists/")
    assert main(f"{best} --particles 5 --bounds [1]".split()) == 0
    vae = pv.load(best.split()[1])
    assert list(vae.encoder.sizes) == [8]
    capsys.readouterr()
    # More trials in the same folder.
    more = f"search {FEW} {vary} --out studies/digits-1".replace("--trials 3", "--trials 4")
    status, printed = run(more, capsys)
    assert status == 0, printed.err
    assert "4 trials: " in printed.out
    assert printed.out.startswith("trial 3: ")


def test_a_space_in_a_file(tmp_path, capsys):
    (tmp_path / "space.yaml").write_text(
        "latent_dim: 2..4\nprior: [StandardNormal, {class_path: VampPrior, init_args: {components: 2..5}}]\n"
    )
    line = f"search {FEW} --space space.yaml --sampler random --pruner none --finalists 0"
    status, printed = run(line.replace("--finalists 1 ", ""), capsys)
    assert status == 0, printed.err
    assert "latent_dim=" in printed.out
    assert "the best run: studies/digits-1/trials/" in printed.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "nothing is varied: give choices with --vary"),
        ("--vary latent_dim=2", "nothing is varied"),
        ("--vary latent-dims=2,3", "did you mean latent_dim?"),
        ("--vary binarize=static,dynamic", "binarize changes the data"),
        ("--vary latent_dim=2,3 --space s.yaml", "the space is given twice"),
        ("--space none.yaml", "none.yaml cannot be read"),
        ("--vary latent_dim=2,3 --sampler best", "sampler"),
        ("--vary latent_dim=2,3 --trials many", "trials"),
        ("--vary latent_dim=2,3 --resume true", "resume"),
    ],
)
def test_bad_words_end_in_one_line(words, said, tmp_path, capsys):
    status, printed = run(f"search {DATA} {words}", capsys)
    assert status == 2
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "studies").exists()


def test_a_search_whose_trials_all_fail(tmp_path, capsys):
    line = f"search {FEW} --vary latent_dim=2,3 --prior GaussianMixture --prior.components 0"
    status, printed = run(line, capsys)
    assert status == 2
    assert printed.err.startswith(
        "pyrovae: all 3 trials failed, the last with: components of GaussianMixture"
    )
