"""A VAE that was trained on a table takes and gives tables in the user's columns."""

import numpy as np
import pandas
import pytest
import torch

import pyrovae as pv
from tests.support.parts import raises_one_sentence
from tests.support.people import declared, people
from tests.support.same_runs import binary, small


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    path = tmp_path_factory.mktemp("t") / "people.csv"
    people().to_csv(path, index=False)
    data = pv.datasets.load(path, drop="name")
    vae = declared(data)
    pv.fit(vae, data, epochs=1, batch_size=20, progress=False, compile=False)  # without a folder
    return vae


def test_tables_are_read_in_the_columns_of_the_training_data(vae):
    new = people(12, seed=1)
    swapped = new[list(reversed(new.columns))]
    rows = vae.schema.rows(new)
    assert torch.equal(vae.encode(swapped).mean, vae.encode(rows).mean)
    assert torch.equal(vae.rows(swapped).x.nan_to_num(-1), vae.rows(rows).x.nan_to_num(-1))
    assert vae.reconstruct(swapped).shape == (12, 5)
    assert torch.equal(vae.log_prob(swapped), vae.log_prob(rows))
    one, two = (pv.log_evidence(vae, x, particles=5, compile=False) for x in (swapped, rows))
    np.testing.assert_array_equal(one.log_px, two.log_px)
    assert vae.encode(new.to_dict("list")).mean.shape == (12, 2)


def test_log_prob_is_the_bound_of_log_evidence(vae):
    new = people(60, seed=1)
    log_px = vae.log_prob(new, particles=500)
    evidence = pv.log_evidence(vae, new, particles=500, compile=False)
    assert log_px.shape == (60,)
    assert abs(log_px.mean() - evidence.mean) < 6 * 2**0.5 * evidence.mc_error + 0.05
    assert torch.equal(log_px, vae.log_prob(new, particles=500))
    assert not torch.equal(log_px, vae.log_prob(new, particles=500, seed=1))
    before = torch.get_rng_state()
    vae.log_prob(new)
    assert torch.equal(before, torch.get_rng_state())


def test_log_prob_with_the_exact_posterior_is_exact():
    """With p(x|z) that ignores z, every weight is p(x) up to q(z)/p(z), and many particles agree."""
    vae = small()
    with torch.no_grad():
        for parameter in vae.generation.parameters():
            parameter.zero_()
    assert vae.log_prob(binary(3), particles=20_000) == pytest.approx(16 * np.log(0.5), abs=0.1)


def test_samples_and_reconstructions_are_tables_of_the_user(vae):
    real = people()
    for table in (vae.sample(40, as_frame=True), vae.reconstruct(real.iloc[:40], as_frame=True)):
        assert isinstance(table, pandas.DataFrame)
        assert list(table) == ["size", "visits", "born", "member", "colour"]
        assert set(table["colour"]) <= {"red", "green", "blue"}
        assert set(table["member"]) <= {"yes", "no"}
        assert table["born"].dtype.kind == "M"
    assert vae.sample(40, as_frame=True)["visits"].dtype.kind == "i"
    again = vae.log_prob(vae.sample(5, as_frame=True))
    assert again.isfinite().all()


def test_a_table_needs_a_vae_that_knows_its_columns(vae):
    frame = pandas.DataFrame(np.zeros((3, 5)), columns=list("abcde"))
    plain = small((5,))
    raises_one_sentence(lambda: vae.encode(frame), "no column 'size'")
    raises_one_sentence(lambda: plain.sample(3, as_frame=True), "not trained on a table")
