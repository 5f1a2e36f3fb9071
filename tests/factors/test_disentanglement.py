"""`pyrovae.disentanglement` and its command: what is measured, printed, written and refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.datasets import Rows
from pyrovae.factors import DCI, MIG, FactorVAEScore, Modularity
from tests.support.identity import identity_vae
from tests.support.linear import same_state, state
from tests.support.parts import raises_one_sentence

QUICK = ["MIG", "SAP", "IRS"]
N = 1500


def columns(count=2, rows=N, seed=0):
    """Independent factors with five values each, by name."""
    values = np.random.default_rng(seed).integers(0, 5, (rows, count)) - 2.0
    return {name: values[:, k] for k, name in enumerate("abcde"[:count])}


def observations(factors):
    return np.stack(list(factors.values()), 1)


@pytest.mark.usefixtures("float64")
def test_a_vae_whose_latents_are_the_factors_scores_one():
    factors = columns(3)
    metrics = [*QUICK, DCI("lasso"), FactorVAEScore(votes=300), Modularity()]
    found = pv.disentanglement(identity_vae(3, sd=0.001), observations(factors), factors, metrics=metrics)
    scores = [score for score in found.scores if score.unit == ""]
    assert [score.value for score in scores] == pytest.approx([1.0] * 8, abs=0.02)
    assert all(0 <= score.error < 0.05 for score in scores)
    np.testing.assert_allclose(found.mutual_information, math.log(5) * np.eye(3), atol=0.02)
    np.testing.assert_allclose(found.share, np.eye(3), atol=0.02)
    np.testing.assert_allclose(found.entropy, math.log(5), atol=0.01)
    assert found.rows == N


@pytest.mark.usefixtures("float64")
def test_mig_reads_samples_and_the_others_means():
    factors = columns(2)
    vague = identity_vae(2, sd=5.0)  # q(z|x) hardly depends on x, and its means are x
    found = pv.disentanglement(vague, observations(factors), factors, metrics=QUICK)
    assert found["MIG"] < 0.1
    assert found["SAP"] > 0.98
    assert found["IRS"] > 0.98
    assert found.share.max() < 0.15


@pytest.mark.usefixtures("float64")
def test_the_share_of_a_latent_without_information_is_zero_for_few_rows_too():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(300, 2))
    vae = identity_vae(2, sd=1e-4)
    factors = {"a": x[:, 0], "b": rng.uniform(size=300)}
    found = pv.disentanglement(vae, x, factors, metrics=["MIG"], errors=False)
    assert found.mutual_information[1].min() > 0.5  # 400 cells and 300 rows
    np.testing.assert_allclose(found.share, [[1, 0], [0, 0]], atol=0.1)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("float64")
def test_the_share_is_zero_if_shuffled_rows_determine_the_factor_too():
    x = np.linspace(-1, 1, 20)[:, None].repeat(2, 1)  # each row in an interval of its own
    factors = {"a": np.arange(20) % 2, "b": np.arange(20) % 6}
    found = pv.disentanglement(identity_vae(2, sd=1e-4), x, factors, metrics=["MIG"], errors=False)
    np.testing.assert_allclose(found.mutual_information, found.entropy[None].repeat(2, 0))
    np.testing.assert_array_equal(found.share, np.zeros((2, 2)))
    assert "z0   0 % of its entropy" in str(found)
    found.plot()


@pytest.mark.usefixtures("float64")
def test_a_change_of_the_seed_changes_rows_and_samples_and_nothing_remains():
    factors, vae = columns(2), identity_vae(2, sd=0.5)
    before = state(vae)
    first, again, other = (
        pv.disentanglement(vae, observations(factors), factors, rows=400, metrics="MIG", errors=False, seed=s)
        for s in (1, 1, 2)
    )
    assert first.table["MIG"][0] == again.table["MIG"][0] != other.table["MIG"][0]
    assert math.isnan(first.table["MIG"][1])
    assert first.rows == 400
    assert same_state(state(vae), before)


@pytest.mark.usefixtures("float64")
def test_a_factor_without_variation_is_left_out():
    factors = columns(2) | {"colour": ["red"] * N}
    x = observations(columns(2))
    found = pv.disentanglement(identity_vae(2), x, factors, metrics=["MIG"], errors=False)
    assert found.factors == ("a", "b")
    assert found.left_out == ("colour",)
    assert "left out, since they have a single value here: colour" in str(found)


@pytest.mark.usefixtures("float64")
def test_rows_keep_their_factors():
    factors = columns(2)
    x = torch.as_tensor(observations(factors))
    rows = Rows(x, y=torch.arange(N) % 2, index=torch.arange(N))
    vae = identity_vae(2, sd=0.001)
    found = pv.disentanglement(vae, rows, factors, rows=600, metrics=["MIG"], errors=False)
    assert found["MIG"] > 0.97


@pytest.mark.usefixtures("float64")
def test_total_correlation_is_that_of_diagnose():
    factors = columns(2)
    x = observations(factors)
    x[:, 1] = x[:, 0]
    vae = identity_vae(2, sd=0.01)
    found = pv.disentanglement(vae, x, factors, metrics=["MIG"], errors=False)
    # Both latents are the same one of five values.
    assert found["total correlation"] == pytest.approx(math.log(5), abs=0.05)
    truth = pv.diagnose(vae, x[np.random.default_rng(0).permutation(N)], rows=1000)
    assert found["total correlation"] == pytest.approx(truth.total_correlation.mean(), abs=1e-9)
    assert found["dimension-wise KL"] == pytest.approx(truth.dimension_kl.mean(), abs=1e-9)


@pytest.mark.usefixtures("float64")
def test_what_a_result_prints_and_gives():
    factors = columns(2)
    found = pv.disentanglement(identity_vae(2), observations(factors), factors, metrics=["MIG", DCI("lasso")])
    lines = str(found).splitlines()
    assert lines[0] == "2 latents and 2 factors of 1,500 observations"
    assert lines[2].split()[:3] == ["MIG", f"{found['MIG']:.3f}", "+-"]
    assert "Chen et al. (2018)" in lines[2]
    assert any(line.startswith("  a   z0 ") for line in lines)
    frame = found.to_frame()
    assert list(frame.index) == list(found.table)
    assert frame.loc["MIG", "value"] == found["MIG"]
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["scores"]["MIG"]["value"] == found["MIG"]
    assert plain["scores"]["total correlation"]["chance"] is None
    assert "bins=20" in plain["scores"]["MIG"]["choices"]
    ax = found.plot()
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["z0", "z1"]
    np.testing.assert_allclose(ax.images[0].get_array(), found.share)


def test_what_cannot_be_measured_is_refused():
    factors, vae = columns(2), identity_vae(2)
    x = observations(factors)
    raises_one_sentence(lambda: pv.disentanglement(vae, x), "factors=")
    raises_one_sentence(lambda: pv.disentanglement(vae, x[:40], factors), "40 observations", "1,500")
    raises_one_sentence(lambda: pv.disentanglement(vae, x, factors, metrics=["MGI"]), "did you mean MIG")
    raises_one_sentence(lambda: pv.disentanglement(vae, x, factors, metrics=[3]), "3 is not a metric")
    raises_one_sentence(lambda: pv.disentanglement(vae, x, factors, metrics=[MIG]), "not a metric")
    raises_one_sentence(lambda: pv.disentanglement(vae, x, factors, rows=5), "rows")
    raises_one_sentence(lambda: pv.disentanglement(vae, x, {"a": factors["a"]}), "one factor")
    raises_one_sentence(lambda: pv.disentanglement(vae, x, factors, split="all"), "split")
    raises_one_sentence(lambda: pv.disentanglement(vae, x, factors, errors=1), "errors")
    raises_one_sentence(lambda: pv.disentanglement(torch.nn.Linear(1, 1), x, factors), "VAE")
    digits, images = pv.datasets.load("digits"), pv.VAE((1, 8, 8), 2)
    raises_one_sentence(lambda: pv.disentanglement(images, digits), "digits has no known factors")
    parts = {"prior": pv.priors.Categorical(3), "guide": pv.guides.Categorical(3)}
    discrete = pv.VAE((2,), 2, likelihood=pv.likelihoods.Normal(), **parts)
    raises_one_sentence(lambda: pv.disentanglement(discrete, x, factors), "not real vectors")


# -------------------------------------------------------------------- data sets and the command

SPRITES = "sprites size 16"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disentangle")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["fit", "--data", SPRITES, "--count", "600", "--objective", "BetaTC", "--objective.beta", "2"]
        more = "--latent_dim 3 --epochs 1 --figures false --encoder MLP --decoder MLP --out run"
        assert main([*words, *more.split()]) == 0
    return folder


def test_the_command_prints_and_writes_what_the_function_gives(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    assert main("disentangle run --metrics [MIG,SAP] --split train --rows 300".split()) == 0
    printed = capsys.readouterr().out
    data = pv.datasets.load(SPRITES, count=600)
    found = pv.disentanglement(pv.load("run"), data, split="train", rows=300, metrics=["MIG", "SAP"])
    assert str(found) in printed
    assert json.loads(Path("run/disentanglement.json").read_text()) == json.loads(json.dumps(found.to_dict()))
    assert Path("run/figures/disentanglement.png").stat().st_size > 1000


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_each_part_of_a_data_set_has_its_own_factors(run, split):
    data = pv.datasets.load(SPRITES, count=600)
    vae = pv.load(run / "run")
    rows = getattr(data, split)
    found, same = (
        pv.disentanglement(vae, *given, split=split, metrics=["MIG"], errors=False)
        for given in ([data], [rows, getattr(data.factors, split)])
    )
    assert found.table["MIG"][0] == same.table["MIG"][0]
    moved = replace(data, factors=None)
    raises_one_sentence(lambda: pv.disentanglement(vae, moved, split=split), "has no known factors")


@pytest.mark.parametrize(
    "options", [{"jitter": "shift 3"}, {"labels": True, "known": 20, "copies": 3}], ids=["jitter", "copies"]
)
def test_training_rows_have_neither_jitter_nor_copies(run, options):
    """A shifted image no longer has its x and y, and a row that occurs twice adds to the information."""
    plain, data = (pv.datasets.load(SPRITES, count=300, **more) for more in ({}, options))
    vae = pv.load(run / "run")
    found, truth = (
        pv.disentanglement(vae, one, split="train", metrics=["MIG"], errors=False) for one in (data, plain)
    )
    assert found.rows == truth.rows
    np.testing.assert_array_equal(found.mutual_information, truth.mutual_information)


def test_data_without_factors_end_the_command_in_one_line(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    quick = "--latent_dim 2 --epochs 1 --figures false --encoder MLP --decoder MLP --out digits"
    assert main(f"fit --data digits {quick}".split()) == 0
    assert main("disentangle digits".split()) == 2
    assert "digits has no known factors" in capsys.readouterr().err
    assert main("disentangle run --metrics [MGI]".split()) == 2
    assert "did you mean MIG" in capsys.readouterr().err
