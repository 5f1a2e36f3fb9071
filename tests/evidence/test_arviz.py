"""What goes to ArviZ: the same draws and weights as everywhere else, in both of its generations."""

import sys
import warnings

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.oracles import LinearGaussian
from pyrovae.priors import GaussianMixture
from tests.support.linear import linear_vae, rows_for, same_state, state
from tests.support.parts import raises_one_sentence, small_vae

# What ArviZ itself remarks on, with the pandas and matplotlib of the day, is not ours.
pytestmark = [pytest.mark.usefixtures("float64"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def az():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    return arviz


GROUPS = {
    "posterior": {"z": ("chain", "draw", "datum", "latent")},
    "prior": {"z": ("chain", "draw", "latent")},
    "posterior_predictive": {"x": ("chain", "draw", "datum", "x_dim_0")},
    "prior_predictive": {"x": ("chain", "draw", "x_dim_0")},
    "observed_data": {"x": ("datum", "x_dim_0")},
    "importance": {
        "log_w": ("chain", "draw", "datum"),
        "log_px": ("datum",),
        "ess": ("datum",),
        "khat": ("datum",),
    },
}


def groups(tree):
    names = tree.children if hasattr(tree, "children") else tree.groups()
    return {str(name).strip("/"): tree[name] for name in names}


def test_groups_variables_and_dimensions():
    vae = small_vae()
    x = rows_for(vae, 3).x
    tree = pv.to_arviz(vae, x, draws=40, chains=2)
    found = {
        name: {str(v): group[v].dims for v in group.data_vars if group[v].size}
        for name, group in groups(tree).items()
    }
    assert found == GROUPS
    assert tree["posterior"]["z"].shape == (2, 40, 3, 2)
    np.testing.assert_array_equal(tree["observed_data"]["x"], x)


def test_weights_are_those_of_log_evidence():
    vae = small_vae()
    x = rows_for(vae, 3).x
    group = pv.to_arviz(vae, x, draws=150, chains=2, seed=4)["importance"]
    evidence = pv.log_evidence(vae, x, particles=300, seed=4)
    for name in ("log_px", "ess", "khat"):
        np.testing.assert_allclose(group[name], getattr(evidence, name), rtol=1e-6)
    log_w = np.asarray(group["log_w"]).reshape(300, 3)
    np.testing.assert_allclose(np.log(np.exp(log_w).mean(0)), evidence.log_px, rtol=1e-6)


def test_draws_belong_to_their_weights_and_predictions():
    vae, oracle = linear_vae()
    x = oracle.sample(4)
    tree = pv.to_arviz(vae, x, draws=2000)
    # The guide is the exact posterior: so are the draws, and every weight is p(x).
    np.testing.assert_allclose(tree["importance"]["log_w"] - oracle.log_px(x).numpy(), 0, atol=1e-4)
    z = np.asarray(tree["posterior"]["z"]).reshape(4000, 4, 2)
    np.testing.assert_allclose(z.mean(0), oracle.posterior(x).loc, atol=0.05)
    mean = oracle.posterior(x).loc @ oracle.weight.mT + oracle.bias
    np.testing.assert_allclose(tree["posterior_predictive"]["x"].mean(("chain", "draw")), mean, atol=0.1)
    np.testing.assert_allclose(tree["prior_predictive"]["x"].mean(("chain", "draw")), oracle.bias, atol=0.2)
    covariance = np.cov(np.asarray(tree["prior_predictive"]["x"]).reshape(4000, 4).T)
    truth = oracle.weight @ oracle.weight.mT + oracle.scale.square().diag()
    np.testing.assert_allclose(covariance, truth, atol=0.25)


def test_no_leave_one_out_of_what_is_none(az):
    vae = small_vae()
    tree = pv.to_arviz(vae, rows_for(vae, 3).x, draws=30)
    assert "log_likelihood" not in groups(tree)
    with pytest.raises(TypeError, match="log likelihood"):
        az.loo(tree)
    assert len(az.summary(tree)) == 6  # three data, two latents


def test_a_conditional_prior_is_drawn_for_each_row():
    vae = small_vae(context_shape=(3,), prior=GaussianMixture(2))
    tree = pv.to_arviz(vae, rows_for(vae, 4), draws=10)
    assert tree["prior"]["z"].dims == ("chain", "draw", "datum", "latent")
    assert tree["prior_predictive"]["x"].shape == (2, 10, 4, 5)


def test_elpd_holds_log_px_and_its_sums(az):
    vae = small_vae()
    evidence = pv.log_evidence(vae, rows_for(vae, 20).x, particles=100)
    data = pv.elpd(evidence)
    pointwise, total = ("elpd_i", "elpd") if int(az.__version__[0]) else ("loo_i", "elpd_loo")
    np.testing.assert_array_equal(data[pointwise], evidence.log_px)
    np.testing.assert_array_equal(data["pareto_k"], evidence.khat)
    assert data[total] == pytest.approx(evidence.log_px.sum())
    assert data["se"] == pytest.approx(20**0.5 * evidence.log_px.std())
    assert data["good_k"] == evidence.threshold
    assert (data["n_samples"], data["n_data_points"]) == (100, 20)
    assert "20 observations" in str(data)


def test_compare_ranks_by_log_px_with_paired_errors(az):
    x = rows_for(small_vae(), 40).x
    found = {
        "normal": pv.log_evidence(small_vae(), x, particles=200),
        "mixture": pv.log_evidence(small_vae(prior=GaussianMixture(3), seed=1), x, particles=200),
    }
    table = az.compare({name: pv.elpd(evidence) for name, evidence in found.items()})
    best, other = sorted(found, key=lambda name: -found[name].mean)
    assert list(table.index) == [best, other]
    difference = found[other].log_px - found[best].log_px
    assert float(table.loc[other, "dse"]) == pytest.approx(40**0.5 * difference.std(), rel=0.1)


@pytest.mark.parametrize("method", ["importance", "ais"])
def test_compare_takes_every_method(az, method):
    vae = small_vae()
    x = rows_for(vae, 8).x
    evidence = pv.log_evidence(vae, x, particles=16, method=method)  # too few for a k-hat
    table = az.compare({"a": pv.elpd(evidence), "b": pv.elpd(evidence)}, method="pseudo-BMA")
    assert len(table) == 2
    assert str(pv.elpd(evidence))


def test_plot_khat_draws_them(az):
    vae = small_vae()
    evidence = pv.log_evidence(vae, rows_for(vae, 20).x, particles=100)
    import matplotlib.pyplot as plt

    assert az.plot_khat(pv.elpd(evidence)) is not None
    plt.close("all")


def test_nothing_is_touched():
    vae = small_vae()
    vae.decoder.eval()
    x = rows_for(vae, 3).x
    before = state(vae)
    pv.to_arviz(vae, x, draws=5)
    assert same_state(before, state(vae))


def test_same_seed_same_draws():
    vae = small_vae()
    x = rows_for(vae, 3).x
    one, two = (pv.to_arviz(vae, x, draws=5, seed=seed) for seed in (1, 1))
    for name, group in groups(one).items():
        assert group.equals(two[name]), name
    other = pv.to_arviz(vae, x, draws=5, seed=2)
    assert not other["posterior"]["z"].equals(one["posterior"]["z"])
    assert not other["prior"]["z"].equals(one["prior"]["z"])


def test_bad_input_is_refused_in_one_sentence():
    vae = small_vae()
    x = rows_for(vae, 3).x
    raises_one_sentence(lambda: pv.to_arviz(LinearGaussian.random(3, 2), x), "LinearGaussian", "VAE")
    raises_one_sentence(lambda: pv.to_arviz(vae, x, draws=0), "draws")
    raises_one_sentence(lambda: pv.to_arviz(vae, x, chains=0), "chains")
    raises_one_sentence(lambda: pv.to_arviz(vae, x, draws=10**9), "GB", "fewer")
    raises_one_sentence(lambda: pv.elpd(vae), "VAE", "log_evidence")
    assert torch.is_grad_enabled()


def test_the_row_numbers_are_coordinates():
    vae = small_vae()
    rows = pv.Rows(rows_for(vae, 3).x, index=torch.tensor([5, 2, 9]))
    tree = pv.to_arviz(vae, rows, draws=5)
    assert tree["posterior"]["datum"].values.tolist() == [5, 2, 9]
    assert tree["importance"]["log_px"].sel(datum=2) == tree["importance"]["log_px"][1]
    data = pv.elpd(pv.log_evidence(vae, rows, particles=30))
    pointwise = data["elpd_i"] if "elpd_i" in dir(data) else data["loo_i"]
    assert pointwise["datum"].values.tolist() == [5, 2, 9]


def test_without_arviz_the_extra_is_named(monkeypatch):
    vae = small_vae()
    x = rows_for(vae, 3).x
    evidence = pv.log_evidence(vae, x, particles=30)
    monkeypatch.setitem(sys.modules, "arviz", None)
    raises_one_sentence(lambda: pv.to_arviz(vae, x, draws=5), "pip install 'pyrovae[arviz]'")
    raises_one_sentence(lambda: pv.elpd(evidence), "pip install 'pyrovae[arviz]'")
