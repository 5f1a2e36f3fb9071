"""The figure of a sweep: means and bands over seeds, axes, and what is refused."""

import numpy as np
import pytest

from pyrovae.errors import InputError
from pyrovae.plots import sweep_curves


def test_the_curve_is_the_mean_and_the_band_one_standard_deviation():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 3))
    ax = sweep_curves([2, 4, 6], values)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), values.mean(0))
    (corners,) = (path.vertices for path in ax.collections[0].get_paths())
    for x, mean, deviation in zip([2, 4, 6], values.mean(0), values.std(0, ddof=1), strict=True):
        heights = corners[corners[:, 0] == x, 1]
        assert heights.max() == pytest.approx(mean + deviation)
        assert heights.min() == pytest.approx(mean - deviation)


def test_values_are_drawn_in_their_order():
    ax = sweep_curves([6, 2, 4], [3.0, 1.0, 2.0])
    assert ax.lines[0].get_xdata().tolist() == [2, 4, 6]
    assert ax.lines[0].get_ydata().tolist() == [1, 2, 3]
    assert "band" not in ax.get_xlabel()  # one seed has none


@pytest.mark.parametrize(
    ("at", "scale"),
    [
        ([1, 2, 5, 10, 20, 50], "log"),
        ([1e-4, 3e-4, 1e-3, 3e-3, 1e-2], "log"),
        ([1e-3, 1e-2], "log"),
        ([2, 4, 6, 8], "linear"),
        ([1, 2], "linear"),
        ([0, 1, 10, 100], "linear"),
        ([5], "linear"),
    ],
)
def test_the_axis_suits_the_values(at, scale):
    assert sweep_curves(at, np.zeros(len(at))).get_xscale() == scale


def test_what_is_missing_leaves_the_others():
    values = np.array([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan]])
    ax = sweep_curves([1, 2, 3], values)
    assert ax.lines[0].get_xdata().tolist() == [1, 3]
    assert ax.lines[0].get_ydata().tolist() == [1.5, 3.0]


def test_words_and_truths_are_points_with_bars():
    for at in (["a", "b"], [True, False], [2, "auto"]):
        ax = sweep_curves(at, {"x": [[1.0, 2.0], [3.0, 4.0]], "y": [[0.0, 0.0], [1.0, 1.0]]}, name="word")
        assert [label.get_text() for label in ax.get_xticklabels()] == [str(value) for value in at]
        assert len(ax.containers) == 2
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["x", "y"]


@pytest.mark.parametrize(
    ("at", "curves"), [([], []), ([1, 2], {}), ([1, 2], [[1.0, 2.0, 3.0]]), ([1, 2], [[[1.0, 2.0]]])]
)
def test_what_cannot_be_drawn_is_refused(at, curves):
    with pytest.raises(InputError):
        sweep_curves(at, curves)
