"""How anomalous a row is: closed forms of exact models, compressed lengths, and what is refused."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import pyrovae as pv
from pyrovae.oracles import LinearGaussian
from pyrovae.tasks.in_memory import task_of
from tests.support.parts import raises_one_sentence
from tests.support.people import people, run_on
from tests.support.same_runs import binary, small

QUICK = {"particles": 2, "compile": False}
KINDS = ["log_px", "typicality", "ratio"]


@pytest.fixture(scope="module")
def gaussian():
    """p(x), p_0(x), 20,000 training rows and 500 new ones, of which the last 100 are far away."""
    model, other = (LinearGaussian.random(event_dim=4, latent_dim=2, seed=seed) for seed in (0, 1))
    new = torch.cat([model.sample(400, seed=2), 3 * model.sample(100, seed=3)])
    return model, other, model.sample(20_000, seed=1), new


def scored(gaussian, kind, rows=None, **options):
    model, other, train, new = gaussian
    options = {"reference": train, **QUICK, **options} | ({"background": other} if kind == "ratio" else {})
    return pv.score(model, new if rows is None else rows, kind=kind, **options)


def exact(gaussian, x, kind):
    model, other, train, _ = gaussian
    log_px = model.log_px(x).double()
    if kind == "typicality":
        return (log_px - model.log_px(train).double().mean()).abs().numpy()
    return ((other.log_px(x).double() if kind == "ratio" else 0) - log_px).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_a_gaussian_are_their_formulas(gaussian, kind):
    scores = scored(gaussian, kind)
    np.testing.assert_allclose(scores.anomaly, exact(gaussian, gaussian[3], kind), atol=2e-3)
    np.testing.assert_allclose(scores.log_px, gaussian[0].log_px(gaussian[3]), atol=1e-3)
    assert scores.kind == kind
    if kind == "ratio":
        np.testing.assert_allclose(scores.background, gaussian[1].log_px(gaussian[3]), atol=1e-3)
    else:
        assert scores.background is None


def test_the_mean_of_the_training_rows_estimates_the_negative_entropy(gaussian):
    model, _, train, new = gaussian
    covariance = model.weight @ model.weight.mT + model.scale.square().diag()
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))
    asked = {"kind": "typicality", "reference": train, **QUICK}
    from pyrovae.datasets.incoming import Asked

    mean = task_of(model, new, Asked(), **asked).reference.mean
    assert abs(mean + entropy) < 5 * math.sqrt(2 / len(train))  # log p(x) + const = -chi2_4 / 2, variance 2


@pytest.mark.parametrize("kind", ["log_px", "typicality"])
def test_percentiles_of_a_gaussian_are_tail_probabilities(gaussian, kind):
    """log p(x) is a constant minus half a chi-square with 4 degrees of freedom, with mean 4."""
    model, _, _, new = gaussian
    covariance = model.weight @ model.weight.mT + model.scale.square().diag()
    centred = (new - model.bias).double()
    q = (centred @ torch.linalg.inv(covariance.double()) * centred).sum(1).numpy()
    chi2 = stats.chi2(4)
    tails = chi2.sf(q)
    if kind == "typicality":
        tails = chi2.cdf(4 - np.abs(q - 4)) + chi2.sf(4 + np.abs(q - 4))
    scores = scored(gaussian, kind)
    np.testing.assert_allclose(scores.percentile, 100 * tails, atol=2.0)
    assert scores.reference_rows == 20_000


def test_typicality_has_two_sides(gaussian):
    """The mode has the highest log p(x) of all rows, and is less typical than nearly all."""
    mode = gaussian[0].bias[None].repeat(3, 1)
    assert (scored(gaussian, "log_px", mode).percentile == 100).all()
    assert (scored(gaussian, "typicality", mode).percentile < 25).all()  # P(|chi2 - 4| > 4) = .09


@pytest.mark.parametrize("kind", KINDS)
def test_percentiles_are_shares_of_more_anomalous_training_rows(gaussian, kind):
    train = gaussian[2][:300]
    scores = scored(gaussian, kind, reference=train)
    own = scored(gaussian, kind, train, reference=train)
    for some in (scores, own):
        shares = [100 * (own.anomaly > value).mean() for value in some.anomaly]
        np.testing.assert_allclose(some.percentile, shares, atol=1e-9)


def test_errors_of_a_ratio_are_those_of_both_estimates():
    model = LinearGaussian.random(event_dim=4, latent_dim=2, guide_scale=1.3)
    other = LinearGaussian.random(event_dim=4, latent_dim=2, seed=1, guide_scale=1.3)
    x = model.sample(50)
    quick = {"particles": 40, "compile": False}
    ratio = pv.score(model, x, kind="ratio", background=other, **quick)
    alone = pv.score(other, x, **quick)
    np.testing.assert_allclose(ratio.background, alone.log_px, atol=1e-6)
    np.testing.assert_allclose(ratio.anomaly_stderr, np.hypot(ratio.mc_stderr, alone.mc_stderr), rtol=1e-6)
    exact = (other.log_px(x) - model.log_px(x)).numpy()
    assert (np.abs(ratio.anomaly - exact) < 6 * ratio.anomaly_stderr).all()
    same = pv.score(model, x, kind="ratio", background=model, **quick)
    np.testing.assert_array_equal(same.anomaly, 0)


# ---------------------------------------------------------------- complexity


def png_bytes(levels):
    """The PNG of an image, which gives the same pixels when it is read."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "png", optimize=True)
    np.testing.assert_array_equal(np.asarray(Image.open(file)), levels)
    return len(file.getvalue())


def grey_vae(**options):
    return small((1, 8, 8), likelihood=pv.likelihoods.DiscretizedLogistic(levels=17), **options)


@pytest.mark.parametrize("likelihood", ["DiscretizedLogistic", "Categorical"])
def test_complexity_is_the_length_of_the_png(likelihood):
    data = pv.datasets.load("digits")
    vae = small((1, 8, 8), likelihood=getattr(pv.likelihoods, likelihood)(17))
    x = data.test[:20]
    scores = pv.score(vae, x, kind="complexity", reference=data.train[:50], **QUICK)
    bits = np.array([8 * png_bytes((image[0] * 16).round().numpy().astype(np.uint8)) for image in x.x])
    np.testing.assert_allclose(scores.background, -bits * math.log(2))
    np.testing.assert_allclose(scores.anomaly, -scores.log_px - bits * math.log(2))
    plain = pv.score(vae, x, **QUICK)
    np.testing.assert_array_equal(plain.log_px, scores.log_px)
    np.testing.assert_array_equal(scores.anomaly_stderr, plain.mc_stderr)


def test_binary_images_have_one_bit_a_pixel():
    x = binary(10, (1, 16, 16))
    scores = pv.score(small((1, 16, 16)), x, kind="complexity", **QUICK)
    images = [Image.fromarray((image[0] * 255).numpy().astype(np.uint8)).convert("1") for image in x]
    for image, log_p0 in zip(images, scores.background, strict=True):
        file = io.BytesIO()
        image.save(file, "png", optimize=True)
        np.testing.assert_allclose(log_p0, -8 * len(file.getvalue()) * math.log(2))


@pytest.mark.parametrize("count", [2, 17, 1000])
def test_rows_that_are_no_images_are_compressed_by_zlib(count):
    import zlib

    from pyrovae.tasks.compression import compressed_bits

    levels = np.random.default_rng(0).integers(0, count, (5, 40))
    for row, bits in zip(levels, compressed_bits(levels, count), strict=True):
        plain = np.packbits(row.astype(bool)) if count == 2 else row.astype("u1" if count < 257 else "<u2")
        assert bits == 8 * len(zlib.compress(plain.tobytes(), 9))


def test_images_without_channels_have_the_code_of_one_channel():
    from pyrovae.tasks.compression import compressed_bits

    levels = np.random.default_rng(0).integers(0, 17, (5, 8, 8))
    np.testing.assert_array_equal(compressed_bits(levels, 17), compressed_bits(levels[:, None], 17))


def test_plain_rows_have_a_short_code():
    x = torch.zeros(2, 1, 8, 8)
    x[1] = torch.randint(17, (1, 8, 8), generator=torch.Generator().manual_seed(0)) / 16
    plain, noise = pv.score(grey_vae(), x, kind="complexity", **QUICK).background
    assert plain > noise


def test_the_noise_of_dequantised_levels_is_left_out():
    data = pv.datasets.load("digits", dequantize=True)
    vae = small((1, 8, 8), likelihood=pv.likelihoods.Normal("learned"))
    pv.fit(vae, data, epochs=1, figures=False, progress=False, compile=False)
    grey = pv.datasets.load("digits")
    scores = pv.score(vae, data.test[:10], kind="complexity", **QUICK)
    images = (grey.test[:10].x * 16).round().numpy().astype(np.uint8)
    bits = np.array([8 * png_bytes(image[0]) for image in images])
    log_mass = scores.log_px - 64 * math.log(17)  # a lower bound on log P(v)
    np.testing.assert_allclose(scores.anomaly, -log_mass - bits * math.log(2))


# ---------------------------------------------------------------- rows without probability


def test_a_row_without_any_probability_is_the_most_anomalous():
    from pyrovae.tasks.kinds import Kind, Ratio, Typicality
    from pyrovae.tasks.reference import Reference

    log_px, background = np.array([-np.inf, -1.0, -np.inf]), np.array([-np.inf, -2.0, -3.0])
    assert Kind().anomaly(log_px, None, np.nan).tolist() == [np.inf, 1.0, np.inf]
    assert Ratio.anomaly(Kind(), log_px, background, np.nan).tolist() == [np.inf, -1.0, np.inf]
    reference = Reference.of(Typicality(), np.array([-1.0, -2.0]))
    anomaly = Typicality().anomaly(log_px, None, reference.mean)
    assert anomaly.tolist() == [np.inf, 0.5, np.inf]
    assert reference.percentiles(anomaly).tolist() == [0.0, 0.0, 0.0]
    raises_one_sentence(lambda: Reference.of(Typicality(), log_px), "2 of 3", "more particles")


# ---------------------------------------------------------------- runs and tables


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    return run_on(first), run_on(second, people(150, seed=5))


def test_a_run_has_a_background_of_another_run(runs):
    run, background = runs
    new, quick = people(20, seed=1), {"particles": 30, "compile": False, "device": "cpu"}
    scores = pv.score(run, new, kind="ratio", background=background, id="name", **quick)
    log_px, other = (pv.score(one, new, **quick).log_px for one in runs)
    np.testing.assert_allclose(scores.anomaly, other - log_px, atol=1e-5)
    names = "row name log_px mc_stderr ess khat background anomaly anomaly_stderr percentile".split()
    assert list(scores.to_frame()) == names
    assert scores.reference_rows == 140
    data = pv.datasets.load(run.parent / "people.csv", drop="name")
    given = pv.score(run, new, kind="ratio", background=pv.load(background), reference=data.train, **quick)
    np.testing.assert_allclose(given.percentile, scores.percentile, atol=1e-9)
    top = scores.id[scores.anomaly.argmax()]
    assert f"highest ratio: name {top}" in str(scores)


def test_scores_of_training_rows_are_stored_for_each_background(runs, monkeypatch):
    from pyrovae.tasks.scoring import Scorer

    run, background = runs
    new, quick = people(4, seed=1), {"particles": 7, "compile": False, "device": "cpu"}
    counted, call = [], Scorer.__call__
    monkeypatch.setattr(
        Scorer, "__call__", lambda self, rows, first=0: counted.append(len(rows)) or call(self, rows, first)
    )

    def score(rows, **options):
        counted.clear()
        scores = pv.score(run, new, **quick, **options)
        assert sum(counted) == rows, options
        return scores.percentile

    first = score(144)
    np.testing.assert_array_equal(score(4), first)
    typical = score(4, kind="typicality")  # the same log p(x) of training rows
    ratio = score(288, kind="ratio", background=background)
    np.testing.assert_array_equal(score(8, kind="ratio", background=str(background)), ratio)
    score(288, kind="ratio", background=run)
    score(288, kind="ratio", background=pv.load(background))  # in memory: never stored
    np.testing.assert_array_equal(score(8, kind="ratio", background=background), ratio)
    np.testing.assert_array_equal(score(4, kind="typicality"), typical)


def test_what_a_kind_cannot_score_is_refused(runs, gaussian):
    model, other, train, new = gaussian
    run, background = runs
    quick = {"compile": False, "device": "cpu"}
    refused = lambda program, data, *words, **options: raises_one_sentence(  # noqa: E731
        lambda: pv.score(program, data, **quick, **options), *words
    )
    refused(model, new, "kind must be", "'typicality'", kind="typical")
    refused(model, new, "kind='typicality'", "reference=", kind="typicality")
    refused(run, people(3), "leave percentiles=False out", kind="typicality", percentiles=False)
    refused(model, new, "background=", kind="ratio")
    refused(model, new, "leave background out", kind="typicality", background=other, reference=train)
    refused(model, new, "leave background out", background=other)
    refused(model, new, "integer levels", "DiscretizedLogistic", kind="complexity")
    refused(run, people(3), "integer levels", "Mixed", kind="complexity")
    refused(run, people(3), "no checkpoint", kind="ratio", background=run.parent)
    x = torch.zeros(3, 1, 8, 8)
    x[1, 0, 2, 2] = torch.nan
    refused(grey_vae(missing=True), x, "row 1 has missing entries", "another kind", kind="complexity")


def test_a_background_of_other_rows_is_refused(runs, tmp_path):
    run, _ = runs
    quick = {"compile": False, "device": "cpu", "kind": "ratio"}
    refused = lambda program, data, background, *words: raises_one_sentence(  # noqa: E731
        lambda: pv.score(program, data, background=background, **quick), *words
    )
    x = binary(3)
    refused(small(), x, small((1, 8, 8)), "(1, 8, 8)", "(1, 4, 4)")
    refused(small(), x, small(context_shape=(2,)), "context of shape (2,)", "None")
    refused(small(), x, small(likelihood=pv.likelihoods.Normal()), "measure density", "mass")
    fewer = run_on(tmp_path, people().drop(columns="visits"))
    refused(run, people(3), fewer, "the background", "(4,)", "(5,)")
    (tmp_path / "words").mkdir()
    words = people().replace({"colour": {"red": "r"}})
    refused(run, people(3), run_on(tmp_path / "words", words), "'colour'", "the background", "same words")
    (tmp_path / "names").mkdir()
    names = people().rename(columns={"size": "height"})
    refused(run, people(3), run_on(tmp_path / "names", names), "the background", "height", "size")
    grey, fine = grey_vae(), small((1, 8, 8), likelihood=pv.likelihoods.DiscretizedLogistic(levels=256))
    refused(grey, torch.zeros(3, 1, 8, 8), fine, "levels 256", "17")
    four, five = (LinearGaussian.random(event_dim=dims, latent_dim=2) for dims in (4, 5))
    pair = (five.model, five.guide)  # which does not declare the shape of its rows
    refused(four, four.sample(3), pair, "the background model cannot score the rows")


@pytest.mark.parametrize("scale", [16, 1])
def test_a_background_of_other_units_is_refused_or_noted(scale):
    """Values that were scaled before they were read cannot be told from those that were not."""
    data = pv.datasets.load("digits", dequantize=True)
    quiet = {"epochs": 1, "figures": False, "progress": False, "compile": False}
    vae, background = (small((1, 8, 8), likelihood=pv.likelihoods.Normal("learned")) for _ in range(2))
    pv.fit(vae, data, **quiet)
    pv.fit(background, data.train.x.numpy() * scale, **quiet)
    scores = pv.score(vae, data.test[:5], kind="ratio", background=background, **QUICK)
    assert "make sure that both mean the same values" in str(scores)
    assert not pv.score(vae, data.test[:5], kind="ratio", background=vae, **QUICK).notes
    bytes_ = (np.random.default_rng(0).random((200, 1, 8, 8)) * 255).astype(np.uint8)
    pv.fit(background, bytes_, **quiet)
    call = lambda: pv.score(vae, data.test[:5], kind="ratio", background=background, **QUICK)  # noqa: E731
    raises_one_sentence(call, "0..255 divided by 255", "0..16 divided by 16")


def test_a_background_of_the_same_binary_pixels_is_taken():
    data = pv.datasets.load("digits", binarize="dynamic")
    quiet = {"epochs": 1, "figures": False, "progress": False, "compile": False}
    vae, background = small((1, 8, 8)), small((1, 8, 8))
    pv.fit(vae, data, **quiet)
    pv.fit(background, data.test.x.numpy(), **quiet)  # zeros and ones
    scores = pv.score(vae, data.test[:5], kind="ratio", background=background, **QUICK)
    assert np.isfinite(scores.anomaly).all()
