"""What the estimators give is what the functions of PyroVAE give, and they work inside scikit-learn."""

import dataclasses
import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_backend
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pyrovae as pv
from pyrovae import InputError
from pyrovae.networks import MLP
from pyrovae.sklearn import VAEClusterer, VAEDensity, VAEImputer, VAEOutlierDetector, VAETransformer

EVERY = [VAEDensity, VAETransformer, VAEClusterer, VAEImputer, VAEOutlierDetector]
FAST = {"encoder": MLP(8), "decoder": MLP(8), "epochs": 2, "compile": False, "random_state": 0}
each_estimator = pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def x():
    """60 rows of 4 numbers with units, two groups of which differ in the first column."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 1))
    x = z * [1.0, 20.0, 0.1, 3.0] + rng.normal(size=(60, 4)) * [0.3, 5.0, 0.02, 1.0] + [0, 300, -1, 0]
    x[:30, 0] += 8
    return x


@pytest.fixture(scope="module")
def gaps(x):
    """The same rows with missing entries; rows 20 and 21 are equal."""
    gaps = np.where(np.random.default_rng(1).random(x.shape) < 0.2, np.nan, x)
    gaps[21] = gaps[20] = [np.nan, 300, np.nan, 1]
    return gaps[:22]


@pytest.fixture(scope="module")
def frame(x):
    words = np.where(np.arange(60) % 3 == 0, "red", "blue").astype(object)
    words[:5] = None
    return pd.DataFrame({"size": x[:, 0], "colour": words, "count": np.arange(60) % 5})


@pytest.fixture(scope="module")
def density(x):
    return VAEDensity(2, particles=20, **FAST).fit(x)


# -------------------------------------------------------------------- parameters


@each_estimator
def test_every_option_of_a_vae_and_of_fit_is_a_parameter(kind):
    parameters = kind().get_params()
    for function, others in (
        (pv.VAE, {"context_shape", "seed"}),
        (pv.fit, {"vae", "data", "seed", "progress"}),
    ):
        assert inspect.signature(function).parameters.keys() - others <= parameters.keys()
    assert kind(3).latent_dim == 3
    assert not [p for p in inspect.signature(kind).parameters.values() if p.kind is p.VAR_KEYWORD]


def test_defaults_of_settings_are_those_of_fit():
    defaults = {name: p.default for name, p in inspect.signature(pv.fit).parameters.items()}
    parameters = VAEDensity().get_params()
    shared = (defaults.keys() & parameters.keys()) - {"objective"}
    assert len(shared) > 15
    assert {name: parameters[name] for name in shared} == {name: defaults[name] for name in shared}


def test_parts_are_objects_or_names_and_their_hyperparameters_are_parameters(x):
    named = VAEDensity(2, prior="gaussianmixture", objective="IWAE", **FAST)
    assert named.fit(x).vae_.prior == pv.priors.GaussianMixture()
    prior = pv.priors.GaussianMixture(3)
    model = VAEDensity(2, prior=prior, **FAST)
    assert model.get_params()["prior__components"] == 3
    model.set_params(prior__components=4, encoder__activation="tanh", lr=0.1)
    assert (model.prior.components, model.encoder, model.lr) == (4, MLP(8, activation="tanh"), 0.1)
    assert prior.components == 3
    assert named.set_params(prior__components=2).prior == pv.priors.GaussianMixture(2)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.prior is not model.prior


def test_the_random_state_decides_everything(x):
    before = torch.get_rng_state()

    def scores(random_state):
        return VAEDensity(2, **FAST | {"random_state": random_state}).fit(x).score_samples(x[:3])

    assert (scores(1) == scores(1)).all()
    assert (scores(1) != scores(2)).all()
    assert (scores(np.random.RandomState(1)) == scores(np.random.RandomState(1))).all()
    np.random.seed(0)
    first = scores(None)
    assert (first != scores(None)).all()
    assert (torch.get_rng_state() == before).all()


@each_estimator
def test_nothing_is_printed_or_written(kind, x, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind(2, **FAST).fit(x)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_a_fit_that_was_interrupted_warns(x, monkeypatch):
    def interrupted(*args, **options):  # as in a notebook, where `fit` returns the run
        return dataclasses.replace(pv.fit(*args, **options), stopped="stopped in epoch 3 of 9")

    monkeypatch.setattr("pyrovae.sklearn.base.fit", interrupted)
    with pytest.warns(ConvergenceWarning, match="VAEDensity was interrupted after 2 epochs"):
        VAEDensity(1, **FAST).fit(x)


def test_out_is_a_run_folder(x, tmp_path):
    model = VAEDensity(2, out=tmp_path / "run", figures=False, **FAST).fit(x)
    saved = pv.load(tmp_path / "run").double()
    assert (pv.score(saved, x, particles=9).log_px == pv.score(model.vae_, x, particles=9).log_px).all()


# -------------------------------------------------------------------- the same as PyroVAE


def test_scores_are_those_of_score_and_log_evidence(density, x):
    scores = density.score_samples(x)
    rows = pv.Rows(x)
    assert (scores == pv.score(density.vae_, rows, particles=20, compile=False).log_px).all()
    np.testing.assert_allclose(
        scores, pv.log_evidence(density.vae_, rows, particles=20, compile=False).log_px, rtol=1e-12
    )
    assert density.score(x) == pytest.approx(scores.mean())
    weights = np.arange(60)
    assert density.score(x, sample_weight=weights) == pytest.approx((weights * scores).sum() / weights.sum())


def test_zeros_have_the_same_score_with_either_sign(density):
    assert len(set(density.score_samples([[0.0] * 4, [-0.0] * 4]).tolist())) == 1


def test_samples_are_in_the_units_of_the_data(density, x):
    samples = density.sample(400, random_state=0)
    assert (samples == density.sample(400, random_state=0)).all()
    assert (np.abs(samples.mean(0) - x.mean(0)) < x.std(0)).all()


def test_transform_is_the_mean_of_the_guide(x):
    model = VAETransformer(3, **FAST).set_output(transform="pandas")
    frame = model.fit_transform(x)
    assert list(frame.columns) == ["vaetransformer0", "vaetransformer1", "vaetransformer2"]
    assert (frame.to_numpy() == model.vae_.encode(torch.tensor(x)).mean.detach().numpy()).all()
    z = frame.to_numpy()
    assert (model.inverse_transform(z) == model.vae_.decode(z).mean.detach().numpy()).all()
    with pytest.raises(ValueError, match="2 latents"):
        model.inverse_transform(z[:, :2])


def test_a_guide_without_a_mean_has_that_of_samples(x):
    model = VAETransformer(2, guide="Flow", particles=4000, **FAST).fit(x)
    z = model.vae_.encode(torch.tensor(x[:5])).sample((4000,))
    error = 5 * z.std(0).numpy() * np.sqrt(2 / 4000)
    assert (np.abs(model.transform(x[:5]) - z.mean(0).numpy()) < error).all()
    assert model.transform(x[[0, 0]])[1] == pytest.approx(model.transform(x[:1])[0], rel=1e-12)


def test_images_of_levels_keep_their_units():
    images = np.random.default_rng(0).integers(0, 256, size=(40, 64)).astype(np.uint8)
    images[0] = 1  # looks as if it were scaled
    model = VAETransformer(2, event_shape=(1, 8, 8), **FAST).fit(images)
    assert model.vae_.event_shape == (1, 8, 8)
    expected = model.vae_.encode(torch.tensor(images / 255.0).reshape(-1, 1, 8, 8)).mean.detach().numpy()
    np.testing.assert_allclose(model.transform(images), expected, rtol=1e-12)
    np.testing.assert_allclose(model.transform(images[:1].astype(float)), expected[:1], rtol=1e-12)
    assert model.inverse_transform(expected).max() > 100
    with pytest.raises(InputError, match="levels 0 to 255"):
        model.transform(images / 255)


def test_densities_of_levels_are_in_the_units_of_the_data():
    images = np.random.default_rng(0).integers(0, 256, size=(40, 4)).astype(np.uint8)
    gaps = np.where(np.arange(4) > 0, images[:3], np.nan)
    for likelihood, unit in (("Normal", np.log(255)), ("DiscretizedLogistic", 0.0)):
        options = FAST | {"likelihood": likelihood, "event_shape": (1, 2, 2), "missing": "flags"}
        model = VAEDensity(1, particles=5, **options).fit(images)
        for x, known in ((images, 4), (gaps, 3)):
            numbers = pv.Rows(torch.tensor(x / 255.0).reshape(-1, 1, 2, 2))
            expected = pv.score(model.vae_, numbers, particles=5, compile=False).log_px - known * unit
            np.testing.assert_allclose(model.score_samples(x), expected, rtol=1e-12)


def test_probabilities_of_clusters_are_the_responsibilities(x):
    model = VAEClusterer(2, n_clusters=3, particles=500, **FAST | {"epochs": 6, "lr": 0.05}).fit(x)
    shares = model.predict_proba(x)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-12)
    each = model.vae_.responsibilities(x, particles=500, seed=3)[..., model.components_].detach()
    error = 5 * each.std(0) * np.sqrt(2 / 500) + 1e-6
    assert (np.abs(shares - each.mean(0).numpy()) < error.numpy()).all()
    assert (model.labels_ == model.predict(x)).all()
    assert (np.diff(np.bincount(model.labels_, minlength=3)) <= 0).all()
    assert (model.predict_proba(x[[3, 3]])[1] == model.predict_proba(x[[3]])[0]).all()


def test_clusters_of_a_guide_with_classes_are_its_own(x):
    parts = {"prior": pv.priors.Classes(3), "guide": pv.guides.Classes(3)}
    model = VAEClusterer(2, **parts, **FAST).fit(x)
    expected = model.vae_.responsibilities(x)[0].detach()[:, model.components_]
    np.testing.assert_allclose(model.predict_proba(x), expected, rtol=1e-12)
    with pytest.raises(InputError, match="no components"):
        VAEClusterer(2, prior="StandardNormal", **FAST).fit(x)


def test_imputations_are_those_of_condition(gaps):
    model = VAEImputer(2, particles=50, **FAST).fit(gaps)
    filled, known = model.transform(gaps), ~np.isnan(gaps)
    assert (filled[known] == gaps[known]).all()
    assert not np.isnan(filled).any()
    rows = np.arange(20)  # the others are two equal rows
    completion = pv.condition(model.vae_, gaps[rows], draws=1, particles=50)
    np.testing.assert_allclose(filled[rows], completion.mean, rtol=1e-10)
    assert (filled[20] == filled[21]).all()
    draws = model.sample_imputations(gaps, 3)
    np.testing.assert_allclose(
        draws[:, rows], pv.condition(model.vae_, gaps[rows], draws=3, particles=50).x, rtol=1e-10
    )
    assert (draws[:, known] == gaps[known]).all()
    assert (draws[:, 20, 0] != draws[:, 21, 0]).all()
    assert (model.set_params(strategy="draw").transform(gaps) == model.sample_imputations(gaps, 1)[0]).all()


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_contamination_is_the_share_of_training_rows_below_the_offset(x, share):
    model = VAEOutlierDetector(2, contamination=share, **FAST)
    labels = model.fit_predict(x)
    assert (labels == -1).mean() == pytest.approx(share)
    assert ((model.score_samples(x) < model.offset_) == (labels == -1)).all()


# -------------------------------------------------------------------- tables


def test_a_frame_with_words_is_read_as_a_table(frame):
    model = VAEDensity(2, **FAST).fit(frame)
    assert [column.kind for column in model.vae_.schema.columns][1] == "categorical:2"
    assert list(model.feature_names_in_) == ["size", "colour", "count"]
    assert (model.score_samples(frame) == pv.score(model.vae_, frame, compile=False).log_px).all()
    samples = model.sample(20, random_state=0)
    assert set(samples["colour"]) <= {"red", "blue"}
    with pytest.warns(UserWarning, match="valid feature names"):
        scores = model.score_samples(frame.to_numpy())
    assert (scores == model.score_samples(frame)).all()
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(frame[["colour", "size", "count"]])


def test_kinds_of_columns_can_be_given(frame):
    kinds = {"count": "categorical"}
    model = VAETransformer(2, kinds=kinds, **FAST).fit(frame)
    assert model.vae_.schema.columns[2].kind == "categorical:5"
    back = model.inverse_transform(model.transform(frame))
    assert list(back.columns) == list(frame.columns)
    assert set(back["colour"]) <= {"red", "blue"}


def test_words_are_imputed(frame):
    model = VAEImputer(2, particles=200, **FAST).set_output(transform="pandas").fit(frame)
    frame = frame[:12]
    filled = model.transform(frame)
    expected = pv.impute(model.vae_, frame, draws=1, particles=200).frame
    pd.testing.assert_frame_equal(filled, expected)
    assert list(filled["colour"][5:]) == list(frame["colour"][5:])
    assert len(model.sample_imputations(frame, 2)) == 2


# -------------------------------------------------------------------- inside scikit-learn


def test_pipelines_searches_and_cross_validation(x):
    y = np.arange(60) < 30
    pipe = make_pipeline(StandardScaler(), VAETransformer(2, **FAST), LogisticRegression())
    assert cross_val_score(pipe, x, y, cv=2).shape == (2,)
    model = VAEDensity(2, prior=pv.priors.GaussianMixture(2), particles=5, **FAST)
    grid = {"prior__components": [2, 3], "latent_dim": [1]}
    with parallel_backend("threading", n_jobs=2):
        search = GridSearchCV(model, grid, cv=2).fit(x)
    assert search.best_estimator_.vae_.prior.components == search.best_params_["prior__components"]
    alone = GridSearchCV(model, grid, cv=2).fit(x)
    assert (search.cv_results_["mean_test_score"] == alone.cv_results_["mean_test_score"]).all()


@each_estimator
def test_a_fitted_estimator_is_pickled(kind, x):
    model = kind(2, **FAST).fit(x)
    again = pickle.loads(pickle.dumps(model))
    assert (again.score_samples(x) == model.score_samples(x)).all()
    assert kind.__name__ in model._repr_html_()


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "GausianMixture"}, "did you mean GaussianMixture"),
        ({"event_shape": (1, 3)}, "4 features"),
        ({"lr": -1}, "lr must be"),
        ({"random_state": -1}, "random_state"),
        ({"validation_fraction": 0}, "validation"),
        ({"contamination": 0.7}, "contamination"),
    ],
)
def test_options_that_do_not_fit_are_refused(x, options, message):
    with pytest.raises(InputError, match=message):
        VAEOutlierDetector(**FAST | options).fit(x)


def test_options_of_other_rows_are_refused(x, frame):
    with pytest.raises(InputError, match="kinds is for a DataFrame"):
        VAEDensity(2, kinds={"a": "normal"}, **FAST).fit(x)
    with pytest.raises(InputError, match="event_shape is for an array"):
        VAEDensity(2, event_shape=(3, 1), **FAST).fit(frame)


def test_a_column_that_nobody_knows_is_not_filled(x):
    x = np.where(np.arange(4) == 2, np.nan, x)
    assert np.isfinite(VAEDensity(2, **FAST).fit(x).score(x))
    with pytest.raises(InputError, match="column 2 of X has no known"):
        VAEImputer(2, **FAST).fit(x)


def test_unknown_parameters_are_refused(x):
    with pytest.raises(ValueError, match="Invalid parameter 'size'"):
        VAEDensity(prior=pv.priors.GaussianMixture()).set_params(prior__size=3)
    with pytest.raises(ValueError, match="Invalid parameter 'priors'"):
        VAEDensity().set_params(priors__components=3)
    with pytest.raises(ValueError, match="no parameter 'components'"):
        VAEDensity().set_params(prior__components=3)
    with pytest.raises(InputError, match="strategy"):
        VAEImputer(2, strategy="median", **FAST).fit(x).transform(x)
