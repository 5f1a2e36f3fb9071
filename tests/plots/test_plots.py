"""Pictures show the numbers they were given, leave nothing behind, and can be read.

Each property is checked for a table of all plots; what was drawn is read back from the artists.
"""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from statistics import NormalDist

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

import pyrovae as pv
from pyrovae import plots, report
from pyrovae.errors import InputError
from pyrovae.numerics import as_array, numbers
from pyrovae.plots.latents import REGIONS, _region_levels
from pyrovae.plots.style import CLASSES, COLOURS, _spread
from tests.support.parts import raises_one_sentence
from tests.support.pictures import PROPERTIES, dots, line, standard_normal

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(7, 1, 5, 4))
Z = RNG.normal(size=(300, 5)) * [5, 3, 1, 0.5, 0.1]
LABELS = RNG.integers(0, 10, 300)
EPOCHS = np.arange(1, 41)
TRAIN = -17.0 - 30 * np.exp(-EPOCHS / 4)
HISTORY = {
    "epoch": EPOCHS,
    "train": TRAIN,
    "validation": np.where(EPOCHS % 5 == 0, np.nan, TRAIN - 0.4 - 0.001 * (EPOCHS - 20) ** 2),
    "reconstruction": TRAIN + 8.0,
    "kl": 8.0 * np.ones(40),
}
KHAT = np.array([0.2, 0.9, np.inf, np.nan, 0.55, 0.65])
ESS = np.array([80.0, 3.0, 1.0, 100.0, 30.0, 9.0])


def mixture(z):
    return np.logaddexp(standard_normal((z - 1) / 0.3), standard_normal((z + 1) / 0.7) - 1)


TABLE = {
    "image_grid": lambda **k: plots.image_grid(IMAGES, columns=3, title="seven", **k),
    "reconstructions": lambda **k: plots.reconstructions(IMAGES, 1 - IMAGES, **k),
    "manifold": lambda **k: plots.manifold(lambda z: np.tile(IMAGES[0], (len(z), 1, 1, 1)), side=6, **k),
    "training_curves": lambda **k: plots.training_curves(HISTORY, **k),
    "training_curves, one epoch": lambda **k: plots.training_curves(
        {n: v[:1] for n, v in HISTORY.items()}, **k
    ),
    "latent_scatter, 1": lambda **k: plots.latent_scatter(Z[:, 0], LABELS, **k),
    "latent_scatter, 2": lambda **k: plots.latent_scatter(Z[:, 2:4], LABELS, density=standard_normal, **k),
    "latent_scatter, 5": lambda **k: plots.latent_scatter(Z, LABELS, **k),
    "latent_scatter, bar": lambda **k: plots.latent_scatter(Z, Z[:, 0], **k),
    "prior_density": lambda **k: plots.prior_density(mixture, (-3, 3), **k),
    "samples_1d": lambda **k: plots.samples_1d(Z[:, 2], Z[::-1, 2] * 1.1, standard_normal, **k),
    "scatter_2d": lambda **k: plots.scatter_2d(Z[:, :2], Z[:, 1:3], **k),
    "scatter_2d, overlay": lambda **k: plots.scatter_2d(Z[:, :2], Z[:, 1:3], overlay=True, **k),
    "compare, 5": lambda **k: plots.compare(Z, Z * 1.1, **k),
    "bound_curve": lambda **k: plots.bound_curve([1, 5, 50], [-9.0, -8.0, -7.9], [0.2, 0.1, 0.1], -7.85, **k),
    "weights": lambda **k: plots.weights(KHAT, ESS, 100, **k),
    "log_px_histogram": lambda **k: plots.log_px_histogram(TRAIN, 0.4, **k),
    "ranking": lambda **k: plots.ranking(["b", "a", "c"], [0.0, -1.2, -3.0], [0.0, 0.4, np.nan], **k),
    "gap_curve": lambda **k: plots.gap_curve(
        [10, 1000], [-9, -8.01], [-7, -8.0], [0.2, 0.1], [0.2, 0.1], -8.0, **k
    ),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda check: check.__name__)
def test_what_holds_for_all_pictures(holds, name):
    holds(TABLE[name])


# Images


def test_mosaic_holds_each_image_at_its_place_in_reading_order():
    images = np.random.default_rng(1).uniform(size=(7, 3, 5, 4))
    mosaic = np.asarray(plots.image_grid(images, columns=3).images[0].get_array())
    scale = (mosaic.shape[1] - 2) // (3 * 4)
    H, W = 5 * scale, 4 * scale
    assert mosaic.shape == (3 * H + 2, 3 * W + 2, 3)
    for i, image in enumerate(images):
        row, column = divmod(i, 3)
        cell = mosaic[row * (H + 1) :, column * (W + 1) :][:H, :W]
        assert np.array_equal(cell[::scale, ::scale], image.transpose(1, 2, 0))
        assert np.array_equal(cell[scale - 1 :: scale, scale - 1 :: scale], image.transpose(1, 2, 0))
    assert (mosaic[2 * (H + 1) :, W + 1 :] == 1).all()  # no eighth and ninth image
    assert (mosaic[:H, W] == mosaic[0, W, 0]).all()
    assert 0 < mosaic[0, W, 0] < 1


def test_gray_images_are_drawn_on_the_scale_of_intensities_and_clipped():
    picture = plots.image_grid(np.array([[[-0.5, 0.25], [0.5, 3.0]]])).images[0]
    values = np.asarray(picture.get_array())
    half = len(values) // 2
    assert values[::half, ::half].tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert picture.get_clim() == (0.0, 1.0)


def test_originals_stand_over_their_reconstructions():
    ax = plots.reconstructions(IMAGES, 1 - IMAGES, pairs=4)
    mosaic = np.asarray(ax.images[0].get_array())
    height = (len(mosaic) - 1) // 2
    upper, lower = mosaic[:height], mosaic[height + 1 :]
    inside = upper + lower  # x + (1 - x), separators aside
    width = (mosaic.shape[1] - 3) // 4
    for i in range(4):
        assert np.allclose(inside[:, i * (width + 1) :][:, :width], 1.0)
    scale = height // 5
    assert np.array_equal(upper[::scale, :width:scale], IMAGES[0, 0])
    first, second = ax.get_yticks()
    assert 0 < first < height < second < len(mosaic)


def test_manifold_decodes_normal_quantiles_with_the_second_coordinate_upwards():
    seen = []

    def decode(z):
        seen.append(z)
        u = np.array([[NormalDist().cdf(value) for value in point] for point in z])
        return np.broadcast_to(u[:, :1, None] * 0.5 + u[:, 1:, None] * 0.1, (len(z), 8, 8))

    mosaic = np.asarray(plots.manifold(decode, side=5, limits=(0.1, 0.9)).images[0].get_array())
    size = (len(mosaic) + 1) // 5
    drawn = mosaic[::size, ::size]
    u = np.linspace(0.1, 0.9, 5)
    assert np.allclose(drawn, u[None, :] * 0.5 + u[::-1, None] * 0.1)
    assert seen[0].shape == (25, 2)


def test_tensors_on_a_graph_and_in_half_precision_are_read():
    x = torch.tensor(IMAGES, requires_grad=True)
    a = plots.image_grid(x).images[0].get_array()
    assert np.array_equal(a, plots.image_grid(IMAGES).images[0].get_array())
    for read in (as_array, lambda value: numbers(value, "x")):
        assert read(torch.tensor([0.5, 2.0], dtype=torch.bfloat16)).tolist() == [0.5, 2.0]
        assert read([0.5, 2.0]).tolist() == [0.5, 2.0]
    rows = pv.Rows(torch.tensor(IMAGES))
    assert np.array_equal(plots.image_grid(rows).images[0].get_array(), a)
    assert numbers(torch.tensor([1, 2]), "x").dtype == np.float64
    assert as_array(torch.tensor([1, 2])).dtype == np.int64
    assert as_array(torch.tensor([1, 2]), float).dtype == np.float64


def test_arrays_of_the_caller_are_copied():
    x = np.zeros(3)
    numbers(x, "x")[0] = 1.0
    assert x[0] == 0.0


def test_a_letter_in_a_shape_stands_for_one_size():
    assert numbers(np.ones((3, 2)), "x", ("N", 2)).shape == (3, 2)
    for shape in (("N",), ("N", 3), ("N", "N"), (2, "D")):
        with pytest.raises(InputError, match=r"x has shape \(3, 2\) where \(.*\) was expected"):
            numbers(np.ones((3, 2)), "x", shape)


# Training


def test_training_curves_draw_each_measured_value():
    bound, kl = plots.training_curves(HISTORY).child_axes
    for name in ("train", "validation", "reconstruction"):
        measured = np.isfinite(HISTORY[name])
        expected = np.stack([EPOCHS, HISTORY[name]], axis=1)[measured]
        assert np.array_equal(line(bound, name), expected)
    assert np.array_equal(line(kl, "kl")[:, 1], HISTORY["kl"])


def test_best_epoch_is_the_highest_measured_validation_or_the_one_given():
    expected = EPOCHS[np.nanargmax(HISTORY["validation"])]
    best = line(plots.training_curves(HISTORY).child_axes[0], "best")
    assert best.tolist() == [[expected, np.nanmax(HISTORY["validation"])]]
    given = line(plots.training_curves(HISTORY, best=7).child_axes[0], "best")
    assert given.tolist() == [[7, HISTORY["validation"][6]]]
    unvalidated = {**HISTORY, "validation": np.full(40, np.nan)}
    bound = plots.training_curves(unvalidated).child_axes[0]
    assert line(bound, "best")[0, 0] == 40
    assert "validation" not in {artist.get_label() for artist in bound.lines}


# Latents


def test_two_dimensions_are_drawn_as_they_are_in_the_colours_of_the_legend():
    ax = plots.latent_scatter(Z[:, :2], LABELS)
    (points,) = dots(ax)
    assert np.array_equal(points.get_offsets(), Z[:, :2])
    drawn = [to_hex(colour) for colour in points.get_facecolors()]
    assert drawn == [CLASSES[label] for label in LABELS]
    legend = ax.get_legend()
    shown = [handle.get_color() for handle in legend.legend_handles]
    assert dict(zip([t.get_text() for t in legend.get_texts()], shown, strict=True)) == {
        str(label): CLASSES[label] for label in range(10)
    }


def test_more_dimensions_go_through_principal_components_with_their_share():
    ax = plots.latent_scatter(Z)
    (points,) = dots(ax)
    drawn = np.asarray(points.get_offsets())
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(Z.T)))[::-1]
    assert np.allclose(np.cov(drawn.T), np.diag(eigenvalues[:2]))
    share = 100 * eigenvalues / eigenvalues.sum()
    assert ax.get_xlabel() == f"component 1 ({share[0]:.0f} % of variance)"
    assert ax.get_ylabel() == f"component 2 ({share[1]:.0f} % of variance)"
    assert plots.latent_scatter(Z, explained=False).get_xlabel() == "component 1"


def test_a_collapsed_posterior_is_drawn_and_said():
    ax = plots.latent_scatter(np.ones((10, 4)))
    assert ax.get_xlabel() == "component 1 (0 % of variance)"


def test_one_dimension_is_a_histogram_of_all_data():
    ax = plots.latent_scatter(Z[:, 0])
    assert sum(bar.get_height() for bar in ax.patches) == len(Z)


def test_the_density_is_drawn_only_behind_two_dimensions():
    behind = plots.latent_scatter(Z[:, :2], density=standard_normal)
    assert len(behind.collections) == 3
    assert all(
        artist.get_zorder() < dots(behind)[0].get_zorder()
        for artist in behind.collections
        if artist not in dots(behind)
    )
    assert len(plots.latent_scatter(Z, density=standard_normal).collections) == 1


@pytest.mark.parametrize("log_prob", [standard_normal, mixture])
def test_regions_hold_the_mass_they_name(log_prob):
    side = np.linspace(-6, 6, 401)
    p = np.exp(log_prob(np.stack(np.meshgrid(side, side), axis=-1)))
    levels, masses = _region_levels(p)
    assert masses == list(REGIONS)
    held = [p[p >= level].sum() / p.sum() for level in levels]
    assert np.allclose(held, masses, atol=2e-3)


def test_a_flat_density_is_one_region():
    ax = plots.prior_density(lambda z: np.zeros(len(z)))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["99 %"]


# Samples


def test_histograms_share_bins_and_have_area_one():
    x, samples = Z[:, 0], Z[:150, 1]
    ax = plots.samples_1d(x, samples, standard_normal, bins=13)
    widths = np.array([bar.get_width() for bar in ax.patches[:13]])
    heights = np.array([bar.get_height() for bar in ax.patches[:13]])
    edges = np.histogram_bin_edges(np.concatenate([x, samples]), 13)
    assert np.allclose(heights, np.histogram(x, edges, density=True)[0])
    assert np.isclose((heights * widths).sum(), 1.0)
    outline = ax.patches[13].get_xy()
    assert np.allclose(np.unique(outline[:, 0]), edges)
    assert np.isclose(outline[:, 1].max(), np.histogram(samples, edges, density=True)[0].max())
    grid, p = line(ax, "exact density").T
    assert np.allclose(p, np.exp(standard_normal(grid[:, None])))


def test_two_panels_show_data_and_samples_on_the_same_limits():
    left, right = plots.compare(Z[:, :2], Z[:, 1:3]).child_axes
    assert np.array_equal(dots(left)[0].get_offsets(), Z[:, :2])
    assert np.array_equal(dots(right)[0].get_offsets(), Z[:, 1:3])
    assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())


def test_an_overlay_keeps_each_point_with_its_colour():
    x, samples = Z[:, :2], Z[:100, 1:3]
    (points,) = dots(plots.scatter_2d(x, samples, overlay=True))
    offsets = np.asarray(points.get_offsets())
    is_sample = np.array([to_hex(colour) == COLOURS["model"] for colour in points.get_facecolors()])
    for drawn, given in ((offsets[~is_sample], x), (offsets[is_sample], samples)):
        assert np.array_equal(np.sort(drawn, axis=0), np.sort(given, axis=0))


def test_pairs_put_column_against_row():
    names = plots.compare(Z, Z, dims=3).child_axes
    pairs = {
        (row, column): names[row * (row + 1) // 2 + column] for row in range(3) for column in range(row + 1)
    }
    for (row, column), panel in pairs.items():
        if row != column:
            offsets = np.asarray(dots(panel)[0].get_offsets())
            both = np.concatenate([Z, Z])[:, [column, row]]
            assert np.array_equal(np.sort(offsets, axis=0), np.sort(both, axis=0))
            assert panel.get_xlim() == pairs[column, column].get_xlim()


# Diagnostics


def test_bound_curve_sorts_and_bands_two_standard_errors():
    ax = plots.bound_curve([50, 1, 5], [-7.9, -9.0, -8.0], [0.1, 0.3, 0.2], reference=-7.8)
    assert line(ax, "bound").tolist() == [[1, -9.0], [5, -8.0], [50, -7.9]]
    corners = ax.collections[0].get_paths()[0].vertices
    for K, low, high in ((1, -9.6, -8.4), (5, -8.4, -7.6), (50, -8.1, -7.7)):
        heights = corners[np.isclose(corners[:, 0], K), 1]
        assert np.isclose(heights.min(), low)
        assert np.isclose(heights.max(), high)
    assert set(line(ax, "log p(x)")[:, 1]) == {-7.8}


@pytest.mark.parametrize(("particles", "threshold"), [(100, 0.5), (1000, 1 - 1 / 3), (5000, 0.7)])
def test_weights_are_split_at_the_threshold_for_their_number(particles, threshold):
    upper, lower = plots.weights(KHAT, ESS, particles).child_axes
    good, bad = (np.asarray(points.get_offsets()) for points in dots(upper))
    index = np.arange(len(KHAT))
    finite = np.isfinite(KHAT)
    assert np.array_equal(good[:, 0], index[finite & (KHAT <= threshold)])
    assert np.array_equal(bad[:, 1], KHAT[finite & (KHAT > threshold)])
    assert [2] in [list(artist.get_xdata()) for artist in upper.lines]  # the infinite one
    drawn = np.concatenate([np.asarray(points.get_offsets()) for points in dots(lower)])
    assert np.array_equal(drawn[np.argsort(drawn[:, 0])], np.stack([index, ESS], axis=1))
    share = 100 * (KHAT > threshold).mean()
    assert (
        upper.get_title(loc="left")
        == f"{share:.0f} % of 6 observations above {threshold:.2f}; 1 without a k-hat"
    )
    assert any(np.allclose(artist.get_ydata(), 0.7) for artist in upper.lines)


def test_gap_curve_draws_both_sides_and_says_the_last_gap():
    ax = plots.gap_curve([1000, 10], [-8.01, -9.0], [-8.0, -7.0])
    assert line(ax, "lower").tolist() == [[10, -9.0], [1000, -8.01]]
    assert line(ax, "upper").tolist() == [[10, -7.0], [1000, -8.0]]
    assert ax.get_title(loc="left") == "gap 0.01 nats at 1,000 temperatures"


def test_names_at_line_ends_keep_their_order_and_distance():
    for heights in ([0.5, 0.5, 0.5], [0.0, 0.01, 0.9], [0.97, 0.99, 1.0], [0.2, 0.6, 0.9]):
        spread = np.array(_spread(heights, 0.1))
        assert (np.diff(spread) >= 0.1 - 1e-12).all()
        assert spread.max() <= 1.0 + 1e-12
    assert np.allclose(_spread([0.2, 0.6, 0.9], 0.1), [0.2, 0.6, 0.9])


# Files


def test_save_writes_the_figure_and_nothing_beside_it(tmp_path):
    ax = plots.image_grid(IMAGES)
    written = plots.save(ax, tmp_path / "deep" / "grid")
    assert written == tmp_path / "deep" / "grid.png"
    assert written.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path / "deep") == ["grid.png"]
    assert plots.save(ax.figure, tmp_path / "grid.pdf").read_bytes().startswith(b"%PDF")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(written.stat().st_mode) == 0o666 & ~mask


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    ax = plots.image_grid(IMAGES)
    path = plots.save(ax, tmp_path / "grid.png")
    before = path.read_bytes()

    def fails(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)  # the picture is written, but not yet moved
    with pytest.raises(InputError, match="no space left"):
        plots.save(ax, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["grid.png"]


def test_the_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    moves = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moves.append((a, b)), replace(a, b)))
    path = plots.save(plots.image_grid(IMAGES), tmp_path / "grid.png")
    ((partial, target),) = moves
    assert target == path
    assert partial.parent == path.parent


# The pictures of a run


def small_vae(data, **options):
    torch.manual_seed(0)
    net = pv.networks.MLP(8)
    return pv.VAE(data.event_shape, latent_dim=2, encoder=net, decoder=net, **options)


def test_a_vae_has_all_pictures_and_a_hand_written_pair_its_training_curve(tmp_path):
    data = pv.datasets.load("digits", binarize="threshold")
    vae = small_vae(data)
    names = {"training", "samples", "reconstructions", "latents", "manifold"}
    assert set(report.figures(vae, data, history=HISTORY)) == names
    written = report.save_figures(vae, data, tmp_path / "vae", history=HISTORY)
    assert {path.stem for path in written} == names
    pair = (vae.model, vae.guide)
    assert [path.name for path in report.save_figures(pair, data, tmp_path, history=HISTORY)] == [
        "training.png"
    ]
    assert report.figures(pair, data) == {}


def test_what_encodes_and_decodes_has_the_pictures_whatever_its_class():
    data = pv.datasets.load("digits", binarize="threshold")
    vae = small_vae(data)

    class Wrapped:
        def __getattr__(self, name):
            return getattr(vae, name)

    state = torch.get_rng_state()
    one, other = (report.figures(program, data, seed=3) for program in (vae, Wrapped()))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.keys() == other.keys()
    for a, b in zip(one.values(), other.values(), strict=True):
        assert [i.get_array().tolist() for i in a.images] == [i.get_array().tolist() for i in b.images]


def test_the_pictures_of_a_run_are_a_function_of_their_seed():
    data = pv.datasets.load("digits", binarize="threshold")
    vae = small_vae(data)

    def samples(seed, before):
        torch.manual_seed(before)
        return report.figures(vae, data, seed=seed)["samples"].images[0].get_array().tolist()

    assert samples(seed=3, before=1) == samples(seed=3, before=2)
    assert samples(seed=3, before=1) != samples(seed=4, before=1)


def test_the_pictures_of_a_conditional_vae_take_the_context_of_the_rows():
    data = pv.datasets.load("digits", context="labels")
    pictures = report.figures(small_vae(data, context_shape=data.context_shape), data)
    assert set(pictures) == {"samples", "reconstructions", "latents"}


@pytest.mark.parametrize("context", ["left half", "noisy .3", "small 2"])
def test_samples_given_an_image_stand_next_to_what_is_given(context):
    """The figure has ten rows: what is given, ten samples, the original."""
    data = pv.datasets.load("digits", binarize="threshold", context=context)
    pictures = report.figures(small_vae(data, context_shape=data.context_shape), data)
    assert set(pictures) == {"samples", "reconstructions", "latents"}
    ax = pictures["samples"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["given", "samples", "original"]
    image = ax.images[0].get_array()
    whole = pv.datasets.load("digits", binarize="threshold").test.x
    scale = (image.shape[1] + 1 - 12) // (12 * 8)
    cell = 8 * scale + 1
    original = image[: cell - 1 : scale, 11 * cell : 12 * cell - 1 : scale]
    np.testing.assert_array_equal(original, whole[0, 0])
    if context == "left half":
        first = image[: cell - 1 : scale, cell : 2 * cell - 1 : scale]
        np.testing.assert_array_equal(first[:, :4], whole[0, 0, :, :4])
        given = image[: cell - 1 : scale, : cell - 1 : scale]
        assert (given[:, 4:] == 0.5).all()


def test_conditional_samples_draw_each_image_at_its_place():
    given, samples = np.zeros((2, 3, 3)), np.arange(2 * 4 * 9).reshape(2, 4, 3, 3) / 72
    ax = plots.conditional_samples(given, samples)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["given", "samples"]
    image = ax.images[0].get_array()
    scale = (image.shape[1] + 1 - 5) // 15
    cell = 3 * scale + 1
    np.testing.assert_allclose(
        image[cell : 2 * cell - 1 : scale, 2 * cell : 3 * cell - 1 : scale], samples[1, 1]
    )
    raises_one_sentence(lambda: plots.conditional_samples(given[:1], samples), "for each row")
    raises_one_sentence(lambda: plots.conditional_samples(given, given), "some for each image")


# In a notebook


def test_a_notebook_gets_twice_the_pixels_and_the_size_of_the_page():
    ax = plots.latent_scatter(Z[:, 2:4], LABELS)
    (kind, picture), (_, size) = (next(iter(part.items())) for part in ax._repr_mimebundle_())
    assert kind == "image/png"
    width, height = Image.open(io.BytesIO(picture)).size
    assert (width, height) == (2 * size["width"], 2 * size["height"])
    small = Image.open(io.BytesIO(ax._repr_png_())).size
    assert small == (size["width"], size["height"])


def test_a_palette_changes_no_picture_visibly():
    """Pictures of few colours are equal; photographs keep all of theirs."""
    for images in (IMAGES, RNG.uniform(size=(4, 3, 16, 16))):
        ax, buffer = plots.image_grid(images), io.BytesIO()
        ax.figure.savefig(buffer, format="png", dpi=200)
        want = np.asarray(Image.open(buffer).convert("RGB"), float)
        shown = Image.open(io.BytesIO(ax._repr_mimebundle_()[0]["image/png"]))
        assert np.abs(np.asarray(shown.convert("RGB"), float) - want).mean() < 0.5
        assert (shown.mode == "P") == (images is IMAGES)


# Nothing global


def test_importing_and_drawing_choose_no_backend_and_no_pyplot():
    code = """
import sys
import pyrovae.plots as plots
assert not {"matplotlib", "sklearn"} & set(sys.modules), "heavy import"
import matplotlib
sentinel = dict.__getitem__(matplotlib.rcParams, "backend")
before = {k: v for k, v in dict.items(matplotlib.rcParams)}
import numpy as np
ax = plots.training_curves({"epoch": [1, 2], "train": [-2.0, -1.0]})
plots.latent_scatter(np.arange(12.0).reshape(4, 3) ** 2, [0, 0, 1, 1])
ax._repr_png_()
assert "matplotlib.pyplot" not in sys.modules, "pyplot"
assert dict.__getitem__(matplotlib.rcParams, "backend") is sentinel, "backend"
assert {k: v for k, v in dict.items(matplotlib.rcParams)} == before, "rcParams"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr


# Bad input

BAD = {
    "vectors are no images": lambda: plots.image_grid(Z),
    "two channels": lambda: plots.image_grid(np.zeros((3, 2, 4, 4))),
    "no images": lambda: plots.image_grid(np.zeros((0, 1, 4, 4))),
    "NaN in images": lambda: plots.image_grid(np.full((1, 4, 4), np.nan)),
    "words": lambda: plots.image_grid("a picture"),
    "ragged": lambda: plots.image_grid([[1, 2], [3]]),
    "no columns": lambda: plots.image_grid(IMAGES, columns=0),
    "other shape": lambda: plots.reconstructions(IMAGES, IMAGES[:3]),
    "no pairs": lambda: plots.reconstructions(IMAGES, IMAGES, pairs=0),
    "limits of a manifold": lambda: plots.manifold(lambda z: IMAGES, limits=(0.0, 1.0)),
    "side 1": lambda: plots.manifold(lambda z: IMAGES, side=1),
    "decode of another count": lambda: plots.manifold(lambda z: IMAGES),
    "no train": lambda: plots.training_curves({"epoch": [1]}),
    "unequal history": lambda: plots.training_curves({"epoch": [1, 2], "train": [1.0]}),
    "nothing measured": lambda: plots.training_curves({"epoch": [1], "train": [np.nan]}),
    "latent tensor of rank 3": lambda: plots.latent_scatter(np.zeros((2, 2, 2))),
    "one row": lambda: plots.latent_scatter(np.zeros((1, 3))),
    "labels of another length": lambda: plots.latent_scatter(Z, [1, 2]),
    "many words": lambda: plots.latent_scatter(Z[:20], [f"class {i}" for i in range(20)]),
    "limits that descend": lambda: plots.prior_density(standard_normal, (3, -3)),
    "density of another shape": lambda: plots.prior_density(lambda z: z),
    "density NaN": lambda: plots.prior_density(lambda z: np.full(len(z), np.nan)),
    "no mass": lambda: plots.prior_density(lambda z: np.full(len(z), -np.inf)),
    "1-D samples in 2-D": lambda: plots.samples_1d(Z, Z),
    "2-D samples in 1-D": lambda: plots.scatter_2d(Z[:, 0], Z[:, 0]),
    "dimensions differ": lambda: plots.compare(Z, Z[:, :2]),
    "images compared": lambda: plots.compare(IMAGES, IMAGES),
    "one dim in pairs": lambda: plots.compare(Z, Z, dims=1),
    "bounds of another length": lambda: plots.bound_curve([1, 2], [-1.0]),
    "no particles": lambda: plots.bound_curve([0, 2], [-1.0, -1.0]),
    "negative error": lambda: plots.bound_curve([1, 2], [-1.0, -1.0], [-1.0, 0.0]),
    "one particle": lambda: plots.weights(KHAT, ESS, 1),
    "ess above K": lambda: plots.weights(KHAT, ESS, 50),
    "khat of a matrix": lambda: plots.weights(Z, ESS, 100),
    "gap NaN": lambda: plots.gap_curve([1], [np.nan], [0.0]),
    "an array for axes": lambda: plots.training_curves(HISTORY, ax=np.zeros(2)),
    "saving no figure": lambda: plots.save("figure", "x.png"),
    "unknown suffix": lambda: plots.save(plots.image_grid(IMAGES), "x.docx"),
    "a file for a folder": lambda: plots.save(plots.image_grid(IMAGES), os.path.join(__file__, "x.png")),
}


@pytest.mark.parametrize("wrong", BAD)
def test_bad_input_gets_one_sentence_that_says_what_to_do(wrong):
    with pytest.raises(InputError) as caught:
        BAD[wrong]()
    message = str(caught.value)
    assert "\n" not in message
    assert ". " not in message
    assert any(mark in message for mark in ("; ", " where ", ", not "))
