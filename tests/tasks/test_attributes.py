"""Attributes: directions, separation and limits are the exact ones where these are known."""

import math

import numpy as np
import pandas
import pytest
import torch
from scipy.stats import norm

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.plots.style import Axes
from pyrovae.tasks.attribute_values import columns_of
from pyrovae.tasks.pixel_measures import measure_images
from tests.support.identity import identity_vae
from tests.support.linear import rows_for, same_state, state

pytestmark = pytest.mark.usefixtures("float64")

APART = 1.5


def two_groups(count=8000, dim=3, seed=0):
    """Rows N(-+ APART / 2 u, I), the group of each, and u."""
    rng = np.random.default_rng(seed)
    unit = np.array([2.0, -1.0, 2.0])[:dim] / 3
    side = rng.integers(0, 2, count)
    return rng.normal(size=(count, dim)) + APART * (side[:, None] - 0.5) * unit, side, unit


# ---------------------------------------------------------------- directions


@pytest.mark.parametrize("method", ["difference", "logistic"])
def test_the_direction_and_its_separation_are_those_of_two_normal_distributions(method):
    x, side, unit = two_groups()
    found = pv.attributes(identity_vae(3), x, {"side": side}, method=method)
    assert found.direction[0] @ unit > 0.998
    assert abs(found.auc[0] - norm.cdf(APART / math.sqrt(2))) < 4.5 * found.auc_stderr[0]
    assert found.sd[0] == pytest.approx(math.sqrt(1 + APART**2 / 4), rel=0.03)
    assert found.distance[0] == pytest.approx(APART / found.sd[0], rel=0.05)
    assert (found.rows, found.held_out) == (6000, 2000)


def test_the_auc_does_not_use_the_rows_of_the_direction():
    """With as many latents as rows, the training rows are separated perfectly and others by chance."""
    rng = np.random.default_rng(0)
    x, side = rng.normal(size=(120, 100)), np.arange(120) % 2
    found = pv.attributes(identity_vae(100), x, {"side": side})
    assert found.auc[0] < 0.75
    assert found.distance[0] > 1


def test_a_real_attribute_has_the_direction_of_its_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3)) * [1.0, 2.0, 0.5]
    weight = np.array([1.0, 1.0, 0.0])
    vae = identity_vae(3, sd=1e-3)
    slope = pv.attributes(vae, x, {"sum": x @ weight}).direction[0]
    expected = np.array([1.0, 4.0, 0.0]) / math.sqrt(17)  # the covariance with the sum
    assert slope @ expected > 0.999
    normal = pv.attributes(vae, x, {"sum": x @ weight}, method="logistic").direction[0]
    assert normal @ weight / math.sqrt(2) > 0.999


def test_a_collapsed_latent_is_no_direction_of_a_regression():
    """E[z3|x] varies by 0.01 around 0 and helps to predict the attribute, but q(z3|x) is N(0, 1)."""
    x, side, _ = two_groups()
    vae = identity_vae(3)
    with torch.no_grad():
        vae.recognition.heads["loc"].linear.weight[2] = 0.01 * torch.eye(3)[2]
        vae.recognition.heads["raw_scale"].linear.bias[2] = 0.5413
    direction = pv.attributes(vae, x, {"side": side}, method="logistic").direction[0]
    assert abs(direction[2]) < 0.1


def test_labels_give_a_direction_for_each_class():
    x, side, unit = two_groups()
    words = np.array(["left", "right"])[side].astype(object)
    words[:100] = None
    found = pv.attributes(identity_vae(3), x, words)
    assert found.names == ("left", "right")
    assert np.allclose(found.direction[0], -found.direction[1])
    assert found.auc[0] == pytest.approx(found.auc[1])
    named = pv.attributes(identity_vae(3), x, np.where(words == None, -1, side), names=["l", "r"])  # noqa: E711
    assert named.names == ("l", "r")
    assert np.allclose(named.direction, found.direction)


# ---------------------------------------------------------------- orthogonal directions


def test_orthogonal_directions_do_not_move_along_the_others():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 3)) @ np.array([[1.0, 0.6, 0.0], [0.0, 1.0, 0.0], [0.3, 0.0, 1.0]])
    y = {"a": x[:, 0], "b": x[:, 1] + 0.2 * x[:, 2], "c": (x[:, 2] > 0)}
    vae = identity_vae(3)
    plain, free = (pv.attributes(vae, x, y, orthogonal=option) for option in (False, True))
    assert abs(plain.direction[0] @ plain.direction[1]) > 0.2
    across = free.direction @ plain.direction.T
    assert np.allclose(across - np.diag(across.diagonal()), 0, atol=1e-12)
    assert (across.diagonal() > 0.4).all()
    assert np.allclose(np.linalg.norm(free.direction, axis=1), 1)


def test_the_classes_of_one_label_are_not_taken_out_of_each_other():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 3000)
    x = rng.normal(size=(3000, 3)) + 2 * np.eye(3)[label]
    frame = pandas.DataFrame({"sum": x.sum(1), "kind": np.array(["p", "q", "r"])[label]})
    found = pv.attributes(identity_vae(3), x, frame, orthogonal=True)
    assert found.names == ("sum", "kind=p", "kind=q", "kind=r")
    plain = pv.attributes(identity_vae(3), x, frame)
    assert np.allclose(found.direction[1:] @ plain.direction[0], 0, atol=1e-12)
    assert np.allclose(plain.direction[1:] @ found.direction[0], 0, atol=1e-12)


# ---------------------------------------------------------------- attributes held fixed


@pytest.mark.parametrize("method", ["difference", "logistic"])
def test_a_direction_given_a_label_is_that_within_its_classes(method):
    """Between classes the attribute goes along the first latent, within them along the second."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 6000)
    x = rng.normal(size=(6000, 3)) + label[:, None] * [4.0, 1.0, 0.0]
    a = x[:, 1] + 3 * label
    vae = identity_vae(3)
    plain = pv.attributes(vae, x, {"a": a}, method=method)
    assert plain.direction[0, 0] > 0.4
    found = pv.attributes(vae, x, {"a": a}, given=label, method=method)
    assert found.direction[0, 1] > 0.995
    assert found.given == ("0", "1", "2")
    assert found.sd[0] == pytest.approx(1, abs=0.03)
    assert found.distance[0] == pytest.approx(1, abs=0.03)
    assert "3 attributes held fixed" in str(found)


def test_the_direction_given_a_column_is_the_slope_of_a_multiple_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3))
    y, given = rng.normal(size=500) + x[:, 0], rng.normal(size=500) + x[:, 1]
    given[7] = np.nan
    found = pv.attributes(identity_vae(3), x, {"y": y}, given={"g": given}, held_out=0.3)
    is_train = (np.random.default_rng(0).permutation(500) >= 150) & ~np.isnan(given)
    design = np.column_stack([np.ones(500), y, given])[is_train]
    slope = np.linalg.lstsq(design, x[is_train])[0][1]
    assert np.allclose(found.direction[0], slope / np.linalg.norm(slope))
    assert found.rows == is_train.sum()


# ---------------------------------------------------------------- limits


def test_the_limits_are_where_the_sphere_of_typical_latents_is_left():
    x, side, _ = two_groups(2000)
    found = pv.attributes(identity_vae(3), x, {"side": side}, quantile=0.02)
    radius = -2 * (found.typical + 1.5 * math.log(2 * math.pi))
    some = x[:50]
    along = some @ found.direction[0]
    inside = along**2 + radius - (some**2).sum(1)
    root = np.sqrt(np.maximum(inside, 0))
    expected = np.stack([-along - root, -along + root], 1) / found.sd[0]
    is_typical = (some**2).sum(1) <= radius
    expected[~is_typical] = 0
    assert np.allclose(found.limits(some, "side"), expected, atol=1e-3)
    lengths = (x**2).sum(1)
    assert 0.01 < (lengths > radius).mean() < 0.03
    assert found.lower[0] < -1 < 1 < found.upper[0]


def test_limits_end_at_ten_standard_deviations():
    """The least typical rows are 86 from the origin, and ten standard deviations are about 50."""
    x, side, _ = two_groups(1600)
    far = 50 * np.array([[1.0, 1, 1], [-1, -1, -1]] * 3)
    found = pv.attributes(identity_vae(3), np.r_[1e-3 * x, far], {"s": [*side, *[1, 0] * 3]}, quantile=0)
    assert (found.lower[0], found.upper[0]) == (-10, 10)


def test_limits_stop_at_a_gap_between_components():
    prior = pv.priors.GaussianMixture(2)
    vae = identity_vae(1, prior=prior)
    prior = vae.prior
    prior.put(torch.tensor([0.5, 0.5]), torch.tensor([[-4.0], [4.0]]), torch.ones(2, 1, 1))
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, 2000)
    x = rng.normal(size=(2000, 1)) + 8 * (side[:, None] - 0.5)
    found = pv.attributes(vae, x, {"side": side})
    (low, high), *_ = found.limits(np.array([[-4.0]]), "side") * found.sd[0]
    assert -3.5 < low < -1.5
    assert 1.5 < high < 3.5  # not the far side of the other component


# ---------------------------------------------------------------- edits


def test_an_edit_is_a_step_along_the_direction():
    x, side, _ = two_groups(500)
    found = pv.attributes(identity_vae(3), x, {"side": side, "other": x[:, 0]})
    step = found.sd[0] * found.direction[0]
    some = x[:4]
    assert np.allclose(found.apply(some, "side", 1.5), some + 1.5 * step)
    by = np.array([0.0, 1.0, -2.0, 3.0])
    assert np.allclose(found.apply(some, "side", by), some + by[:, None] * step)
    both = found.apply(some, "side", [[-1.0], [1.0]])
    assert np.allclose(both, np.stack([some - step, some + step]))
    assert np.allclose(found.apply(some[0], "side", 1.0), some[:1] + step)
    assert np.allclose(found.score(some + 2 * step, "side") - found.score(some, "side"), 2)
    drawn = found.apply(some, "side", 1.0, sample=True, seed=3)
    assert not np.allclose(drawn, some + step)
    assert np.array_equal(drawn, found.apply(some, "side", 1.0, sample=True, seed=3))


def test_the_vae_and_the_random_state_do_not_change():
    x, side, _ = two_groups(200)
    vae = identity_vae(3).train()
    before = state(vae)
    found = pv.attributes(vae, x, {"side": side}, method="logistic")
    found.apply(x, "side", 1.0, sample=True)
    found.limits(x[:3], "side")
    assert same_state(before, state(vae))


def test_a_table_says_what_was_found():
    x, side, _ = two_groups(400)
    found = pv.attributes(identity_vae(3), x, {"side": side, "first": x[:, 0]})
    frame = found.to_frame()
    assert list(frame["attribute"]) == ["side", "first"]
    assert np.array_equal(frame["auc"], found.auc)
    printed = str(found)
    assert printed.startswith("2 directions (differences of means) in 3 latents from 300 rows; AUC on 100")
    for name, value in zip(found.names, found.auc, strict=True):
        assert f"{name:<9}  {value:.3f}" in printed
    (one,) = str(found.take(["first"])).splitlines()[2:]
    assert one in printed


PRIORS = {
    "mixture": {"prior": pv.priors.GaussianMixture(3)},
    "mixture, class drawn": {
        "prior": pv.priors.GaussianMixture(3, explicit=True),
        "guide": pv.guides.GaussianMixture(3, explicit=True),
    },
    "classes": {"prior": pv.priors.Classes(3), "guide": pv.guides.Classes(3)},
    "two layers": {"prior": pv.priors.Hierarchical(), "guide": pv.guides.Hierarchical()},
    "vamp": {"prior": pv.priors.VampPrior(5)},
    "flow": {"prior": pv.priors.Flow(), "guide": pv.guides.Flow()},
    "context": {"context_shape": (2,)},
    "context and mixture": {"context_shape": (2,), "prior": pv.priors.GaussianMixture(3)},
}


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_on_real_vectors_has_attributes_paths_and_traversals(name):
    torch.manual_seed(0)
    vae = pv.VAE((4,), 3, likelihood=pv.likelihoods.Normal(), **PRIORS[name])
    rows = rows_for(vae, 60)
    side = torch.arange(60) % 2
    found = pv.attributes(vae, rows, {"side": side})
    assert found.direction.shape[1] == vae.prior.size - (3 if name == "classes" else 0)
    edited = found.apply(rows[:5], "side", [[-1.0], [0.0], [1.0]])
    assert edited.shape == (3, 5, 4)
    assert not np.allclose(edited[0], edited[2])
    if name not in ("flow", "two layers"):  # whose mean is that of samples
        one = found.apply(rows[1], "side", 1.0)  # a row is edited with its own context
        assert np.allclose(one, edited[2, 1:2])
    assert (found.limits(rows[:5], "side")[:, 0] <= 0).all()
    steps = pv.traverse(vae, rows, steps=5)
    assert steps.x.shape == (3, 5, 4)
    if name == "classes":  # one-hot classes stay
        z = steps.z[..., 3:]
        assert (z == z[0, 0]).all()
        return
    for how in ("straight", "spherical", "density"):
        walk = pv.interpolate(vae, rows[0].x, rows[1].x, steps=4, how=how, context=some_context(rows))
        assert np.isfinite(walk.log_pz).all()


def some_context(rows):
    return None if rows.context is None else rows.context[0]


# ---------------------------------------------------------------- columns


def test_columns_are_read_by_what_they_hold():
    frame = pandas.DataFrame(
        {
            "flag": [True, False, True],
            "answer": ["yes", "no", None],
            "age": [3, 4, 5],
            "kind": pandas.Categorical(["p", "q", "p"]),
        }
    )
    columns = columns_of(frame, 3)
    assert columns.names == ("flag", "answer", "age", "kind=p", "kind=q")
    assert columns.group.tolist() == [0, 1, 2, 3, 3]
    assert columns.is_binary.tolist() == [True, True, False, True, True]
    expected = [[1, 0, 1], [1, 0, np.nan], [3, 4, 5], [1, 0, 1], [0, 1, 0]]
    assert np.array_equal(columns.values.T, np.array(expected, float), equal_nan=True)
    assert columns_of(np.array([True, False]), 2).values.ravel().tolist() == [1, 0]
    assert columns_of([0.5, 1.5], 2).is_binary.tolist() == [False]
    assert columns_of(torch.tensor([[0, 1.5], [1, 2.5]]), 2, ["a", "b"]).is_binary.tolist() == [True, False]


# ---------------------------------------------------------------- what is measured


def bar(height=20, width=4, shear=0.0, size=41, scale=1.0):
    """A bar that leans to the right by `shear` columns per row upwards."""
    r, c = np.mgrid[:size, :size] - size // 2
    inside = (np.abs(c + shear * r) < width / 2) * (np.abs(r) <= height / 2)
    return scale * inside[None]


def test_thickness_slant_and_width_of_bars_are_known():
    for width in (1, 3, 7):
        values = measure_images(bar(width=width))
        assert values["width"][0] == pytest.approx(width)
        assert values["thick"][0] == pytest.approx(2 * 21 * width / (2 * (21 + width)), rel=0.1)
        assert values["slant"][0] == pytest.approx(0, abs=1e-9)
    for shear in (-0.5, 0.25, 1.0):
        leaning = measure_images(bar(width=3, shear=shear))
        assert leaning["slant"][0] == pytest.approx(shear, abs=0.02)
        assert leaning["width"][0] == pytest.approx(3, abs=0.6)


def test_measures_do_not_depend_on_contrast_or_place():
    image = bar(width=3, shear=0.3)
    for other in (0.4 * image, np.roll(image, 5, axis=2), np.repeat(image[:, None], 3, 1)):
        for name, value in measure_images(image).items():
            assert measure_images(other)[name][0] == pytest.approx(value[0]), name


def test_an_image_without_brightness_has_no_measures():
    values = measure_images(np.zeros((1, 1, 8, 8)))
    assert all(np.isnan(value).all() for value in values.values())


@pytest.fixture(scope="module")
def digits():
    torch.manual_seed(0)
    data = pv.datasets.load("digits")
    net = pv.networks.MLP(100)
    likelihood = pv.likelihoods.ContinuousBernoulli()
    vae = pv.VAE(data.event_shape, 8, likelihood=likelihood, encoder=net, decoder=net, seed=0).float()
    pv.fit(vae, data, epochs=30, batch_size=50, lr=2e-3, patience=None, progress=False, compile=False)
    return vae, data


def test_edits_of_digits_change_what_is_measured_and_nothing_is_left_by_chance(digits):
    vae, data = digits
    x, y = data.train.x, measure_images(data.train.x)
    for method in ("difference", "logistic"):
        found = pv.attributes(vae, x, y, method=method)
        assert (found.auc > 0.7).all()
        for name in y:
            edited = found.apply(data.test[:200], name, np.linspace(-1.5, 1.5, 7)[:, None])
            values = measure_images(edited.reshape(-1, 8, 8))[name].reshape(7, 200)
            assert (np.diff(values.mean(1)) > 0).all(), name
            assert (np.diff(values, axis=0) > 0).mean() > 0.8, name


def test_a_class_of_digits_is_added(digits):
    vae, data = digits
    found = pv.attributes(vae, data.train, data.labels.train)
    assert found.names == tuple("0123456789")
    assert (found.auc > 0.65).all()
    away = found.score(data.test, "3")[data.labels.test.numpy() == 3]
    assert away.mean() > 1


# ---------------------------------------------------------------- figures


def test_figures_of_images_tables_and_long_rows(digits):
    vae, data = digits
    found = pv.attributes(vae, data.train, measure_images(data.train.x))
    ax = found.plot(data.test, "thick", count=4)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["original", "−2", "−1", "0", "+1", "+2"]
    x, side, _ = two_groups(200)
    few = pv.attributes(identity_vae(3), x, {"side": side})
    table = few.plot(x, "side", by=1.0).images[0].get_array()
    expected = 2 * few.sd[0] * few.direction[0] / x.std(0)
    assert np.allclose(table[0], expected)
    long = np.random.default_rng(0).normal(size=(200, 50))
    lines: Axes = pv.attributes(identity_vae(50), long, {"side": side}).plot(long, "side", steps=3)
    assert len(lines.child_axes[0].lines) == 3


# ---------------------------------------------------------------- refusals


def refusals():
    x, side, _ = two_groups(60)
    vae = identity_vae(3)
    found = pv.attributes(vae, x, {"side": side, "first": x[:, 0]})
    nothing = {"side": [0] * 59 + [1]}
    discrete = pv.VAE((3,), 2, prior=pv.priors.Categorical(3), guide=pv.guides.Categorical(3))
    sphere = pv.VAE((3,), 3, prior=pv.priors.HypersphericalUniform(), guide=pv.guides.ProjectedNormal())
    bits = (x > 0).astype(float)
    return {
        "a pair": (lambda: pv.attributes((1, 2), x, side), "attributes needs a VAE, not a tuple"),
        "discrete": (lambda: pv.attributes(discrete, bits, side), "are not real vectors"),
        "sphere": (lambda: pv.attributes(sphere, bits, side), "are not real vectors"),
        "data": (
            lambda: pv.attributes(vae, pv.datasets.load("ring"), side),
            "give data.train and its labels",
        ),
        "rows": (lambda: pv.attributes(vae, x[:, :2], side), "must have shape (N, 3)"),
        "too few labels": (lambda: pv.attributes(vae, x, side[:50]), "there are 60 rows"),
        "too few values": (lambda: pv.attributes(vae, x, {"a": side[:50]}), "give one value for each"),
        "names": (lambda: pv.attributes(vae, x, side, names=["a"]), "1 names for 2 attributes"),
        "twice": (lambda: pv.attributes(vae, x, side, names=["a", "a"]), "stands for two attributes"),
        "one class": (
            lambda: pv.attributes(vae, x, np.zeros(60, int)),
            "1 classes: give labels of at least 2",
        ),
        "rare": (lambda: pv.attributes(vae, x, nothing), "nearly the same in all of them"),
        "unknown": (lambda: pv.attributes(vae, x, {"a": [None] * 60}), "has no values"),
        "infinite": (lambda: pv.attributes(vae, x, {"a": [math.inf] * 60}), "infinite values"),
        "no columns": (lambda: pv.attributes(vae, x, {}), "y has no columns"),
        "two columns of one name": (
            lambda: pv.attributes(vae, x, pandas.DataFrame([[1, 2]] * len(x), columns=["a", "a"])),
            "'a' has two columns",
        ),
        "method": (lambda: pv.attributes(vae, x, side, method="svm"), "'difference' or 'logistic'"),
        "held out": (lambda: pv.attributes(vae, x, side, held_out=1.0), "held_out must be"),
        "one label": (lambda: pv.attributes(vae, x, side, orthogonal=True), "give several columns"),
        "dependent": (
            lambda: pv.attributes(vae, x, {"a": x[:, 0], "b": 2 * x[:, 0]}, orthogonal=True),
            "is a combination of those of the other attributes",
        ),
        "collapsed": (lambda: pv.attributes(vae, 0 * x, {"a": side}), "do not change with 'a'"),
        "given itself": (
            lambda: pv.attributes(vae, x, {"a": side}, given=side),
            "'a' is determined by what is given",
        ),
        "given rows": (lambda: pv.attributes(vae, x, {"a": side}, given=side[:9]), "given: "),
        "a name": (lambda: found.apply(x, "sid", 1.0), "no attribute 'sid': did you mean 'side'?"),
        "strengths": (lambda: found.apply(x, "side", [1.0, 2.0]), "by has shape (2,) for 60 rows"),
        "nan": (lambda: found.apply(x, "side", math.nan), "by has 1 values that are NaN"),
    }


@pytest.mark.parametrize("name", refusals())
def test_refusals_are_one_sentence(name):
    call, message = refusals()[name]
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")
