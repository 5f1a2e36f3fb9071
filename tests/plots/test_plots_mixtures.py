"""Pictures of mixtures show the numbers they were given; the properties of all pictures hold for them too."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from pyrovae.errors import InputError
from pyrovae.plots import mixtures
from pyrovae.plots.style import CLASSES
from tests.support.pictures import PROPERTIES, dots, line, standard_normal

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(200, 2)) + 2 * np.eye(2)[RNG.integers(0, 2, 200)]
SHARE = RNG.dirichlet(0.3 * np.ones(3), 200)
MEANS = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.5]])
COVARIANCES = np.array([np.eye(2), [[2.0, 0.9], [0.9, 0.5]], [[0.1, 0.0], [0.0, 1.5]]])
OVERLAP = np.array([[1.0, 0.25, 0.001], [0.25, 1.0, 0.93], [0.001, 0.93, 1.0]])
IMAGES = RNG.uniform(size=(3, 6, 1, 5, 4))
LOG_PZ = -RNG.uniform(size=(3, 6))
COUNTS = RNG.integers(0, 200, (6, 5))
DOUBT = -(SHARE * np.log(SHARE)).sum(1)

TABLE = {
    "latent_map": lambda **k: mixtures.latent_map(Z, SHARE, MEANS, COVARIANCES, **k),
    "latent_map, density": lambda **k: mixtures.latent_map(
        Z, SHARE, MEANS, COVARIANCES, density=standard_normal, **k
    ),
    "overlap": lambda **k: mixtures.overlap(OVERLAP, **k),
    "overlap, many": lambda **k: mixtures.overlap(np.full((60, 60), 0.3), **k),
    "component_grid": lambda **k: mixtures.component_grid(IMAGES, [0.2, 0.5, 0.3], **k),
    "walks": lambda **k: mixtures.walks(IMAGES, ["straight", "density", "an axis"], **k),
    "walks, log p(z)": lambda **k: mixtures.walks(IMAGES[:2], ["a", "b"], log_pz=LOG_PZ[:2], **k),
    "confusion": lambda **k: mixtures.confusion(COUNTS, [2, -1, 0, 1, 4, 3], **k),
    "doubt": lambda **k: mixtures.doubt(DOUBT, 3, **k),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda check: check.__name__)
def test_what_holds_for_all_pictures(holds, name):
    holds(TABLE[name])


# The map


def ellipses(ax):
    return [patch for patch in ax.patches if isinstance(patch, Ellipse)]


def test_an_ellipse_is_where_the_component_is_two_standard_deviations_out():
    drawn = ellipses(mixtures.latent_map(Z, SHARE, MEANS, COVARIANCES))
    assert len(drawn) == 3
    for patch, mean, covariance in zip(drawn, MEANS, COVARIANCES, strict=True):
        angle = np.linspace(0, 2 * np.pi, 50)
        edge = patch.get_patch_transform().transform(np.stack([np.cos(angle), np.sin(angle)], 1))
        apart = edge - mean
        assert np.allclose((apart @ np.linalg.inv(covariance) * apart).sum(1), 4)


def test_an_observation_has_the_mean_of_its_components_colours():
    ax = mixtures.latent_map(Z, SHARE, MEANS, COVARIANCES)
    (points,) = dots(ax)
    assert np.array_equal(points.get_offsets(), Z)
    drawn = points.get_facecolors()[:, :3]
    assert np.allclose(drawn, SHARE @ mixtures.component_colours(3))
    sure = mixtures.latent_map(Z, np.eye(3)[np.zeros(200, int)], MEANS, COVARIANCES)
    assert np.allclose(dots(sure)[0].get_facecolors()[:, :3], mixtures.component_colours(3)[0])


def test_colours_of_components_differ_and_none_is_grey():
    colours = mixtures.component_colours(30)
    apart = np.abs(colours[:, None] - colours).sum(-1) + 9 * np.eye(30)
    assert apart.min() > 0.05
    assert np.ptp(colours[:10], axis=1).min() > 0.15
    assert mixtures.component_colours(100).shape == (100, 3)
    assert (mixtures.component_colours(500) <= 1).all()
    house = [matplotlib.colors.to_rgb(colour) for colour in CLASSES]
    assert sum(any(np.allclose(c, h) for h in house) for c in colours[:10]) == 8


def test_all_ellipses_and_nearly_all_data_are_inside_and_one_far_away_does_not_shrink_them():
    many = np.tile(Z, (10, 1))
    far = np.concatenate([many, [[500.0, 0.0]]])
    ax = mixtures.latent_map(far, np.tile(SHARE, (11, 1))[: len(far)], MEANS, COVARIANCES)
    assert ax.get_xlim()[1] < 10
    near = mixtures.latent_map(Z, SHARE, MEANS, COVARIANCES)
    for limits, i in ((near.get_xlim(), 0), (near.get_ylim(), 1)):
        reach = 2 * np.sqrt(COVARIANCES[:, i, i])
        assert limits[0] <= (MEANS[:, i] - reach).min()
        assert limits[1] >= (MEANS[:, i] + reach).max()


def test_numbers_stand_at_the_means():
    ax = mixtures.latent_map(Z, SHARE, MEANS, COVARIANCES, numbering=["a", "b", "c"])
    assert {text.get_text(): text.get_position() for text in ax.texts} == {
        name: tuple(mean) for name, mean in zip("abc", MEANS, strict=True)
    }


# Tables


def test_overlap_writes_the_lower_half():
    ax = mixtures.overlap(OVERLAP)
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    lower = np.tri(3, k=-1) > 0
    assert np.array_equal(shown[lower], OVERLAP[lower])
    assert np.isnan(shown[~lower]).all()
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (0, 1): ".25",
        (0, 2): "",
        (1, 2): ".93",
    }


def test_confusion_puts_matched_labels_on_the_diagonal():
    matching = [2, -1, 0, 1, 4, 3]
    ax = mixtures.confusion(COUNTS, matching)
    rows = [int(text.get_text()) for text in ax.get_yticklabels()]
    assert rows == [2, 3, 0, 5, 4, 1]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("label", "component")
    written = np.zeros((6, 5), dtype=int)
    for text in ax.texts:
        column, row = text.get_position()
        written[row, column] = int(text.get_text())
    assert np.array_equal(written, COUNTS[rows])
    share = np.asarray(ax.images[0].get_array())
    assert np.allclose(share, COUNTS[rows] / COUNTS[rows].sum(1, keepdims=True))


def test_doubt_counts_all_data_and_says_how_many_are_sure():
    ax = mixtures.doubt(DOUBT, 3)
    assert sum(bar.get_height() for bar in ax.patches) == 200
    assert ax.get_title(loc="left").startswith(f"{100 * np.mean(np.exp(DOUBT) < 1.1):.0f} %")


# Images


def test_each_component_has_a_row_and_each_walk_too():
    for ax in (mixtures.component_grid(IMAGES, [0.2, 0.5, 0.3]), mixtures.walks(IMAGES)):
        mosaic = np.asarray(ax.images[0].get_array())
        scale = (mosaic.shape[1] - 5) // (6 * 4)
        H, W = 5 * scale, 4 * scale
        assert mosaic.shape == (3 * H + 2, 6 * W + 5)
        for i in range(3):
            for j in range(6):
                cell = mosaic[i * (H + 1) :, j * (W + 1) :][:H, :W]
                assert np.array_equal(cell[::scale, ::scale], IMAGES[i, j, 0])


@pytest.mark.parametrize("size", [None, (10.0, 3.0), (4.0, 6.0)])
def test_the_heights_of_a_walk_stand_under_its_steps(size):
    mine = None if size is None else Figure(figsize=size).add_subplot()
    ax = mixtures.walks(IMAGES[:2], ["a", "b"], log_pz=LOG_PZ[:2], ax=mine)
    pictures, heights = ax.child_axes
    for name, values in zip("ab", LOG_PZ, strict=False):
        assert np.array_equal(line(heights, name), np.stack([np.arange(6), values], 1))
    ax.figure.draw_without_rendering()
    for step in range(6):
        width = np.ptp(pictures.get_xlim())
        left = pictures.transData.transform((pictures.get_xlim()[0] + (step + 0.5) * width / 6, 0))[0]
        assert abs(left - heights.transData.transform((step, 0))[0]) < 2


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: mixtures.latent_map(Z, SHARE[:5], MEANS, COVARIANCES), "responsibilities has shape"),
        (lambda: mixtures.latent_map(Z[:, :1], SHARE, MEANS, COVARIANCES), "z has shape"),
        (lambda: mixtures.latent_map(Z * np.nan, SHARE, MEANS, COVARIANCES), "NaN"),
        (lambda: mixtures.overlap(OVERLAP[:2]), "where \\(K, K\\) was expected"),
        (lambda: mixtures.overlap(OVERLAP * 2), "outside 0 to 1"),
        (lambda: mixtures.component_grid(IMAGES[0, 0]), "images have shape"),
        (
            lambda: mixtures.component_grid(IMAGES, [1.0]),
            "weights has shape .* where \\(3,\\)",
        ),
        (lambda: mixtures.walks(IMAGES, ["a"]), "1 names for 3 rows"),
        (lambda: mixtures.walks(IMAGES, log_pz=LOG_PZ[:, :2]), "log_pz has shape"),
        (lambda: mixtures.confusion([1, 2]), r"where \(components, labels\) was expected"),
        (lambda: mixtures.confusion(-COUNTS), "negative"),
        (lambda: mixtures.confusion(COUNTS, [0, 1]), "one for each of 6 components"),
        (lambda: mixtures.confusion(COUNTS, None, ["a"]), "1 names for 5 labels"),
        (lambda: mixtures.doubt([5.0], 3), "between 0 and log 3"),
        (lambda: mixtures.doubt([], 3), "empty"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
