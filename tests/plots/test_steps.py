"""Figures of steps show the values that they were given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyrovae.errors import InputError
from pyrovae.plots import steps
from tests.support.pictures import PROPERTIES

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(2, 3, 1, 5, 4))
CHANGE = RNG.normal(size=(3, 4))
LINES = RNG.normal(size=(2, 3, 50))
NAMES = ["z0", "z1", "z2"]
COLUMNS = ["age", "height", "weight", "a long name of a column"]

TABLE = {
    "step_grid": lambda **k: steps.step_grid(IMAGES, NAMES[:2], ["-1", "0", "+1"], label="sd", **k),
    "change_table": lambda **k: steps.change_table(CHANGE, NAMES, COLUMNS, **k),
    "change_table, numbers": lambda **k: steps.change_table(RNG.normal(size=(3, 30)), NAMES, **k),
    "step_lines": lambda **k: steps.step_lines(LINES, NAMES[:2], [-1.0, 0.0, 1.0], **k),
}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_properties(name, check):
    check(TABLE[name])


def test_images_are_in_the_rows_of_their_names():
    ax = TABLE["step_grid"]()
    picture = np.asarray(ax.images[0].get_array())
    for name, tick in zip(NAMES, ax.get_yticks(), strict=False):
        row = IMAGES[NAMES.index(name), :, 0]
        for image, place in zip(row, ax.get_xticks(), strict=True):
            centre = picture[int(tick) - 2 : int(tick) + 2, int(place) - 2 : int(place) + 2]
            assert np.abs(centre[..., None] - image.ravel()).min(-1).max() < 1e-6
    assert [text.get_text() for text in ax.get_xticklabels()] == ["−1", "0", "+1"]


def test_the_table_has_the_changes_with_the_same_colour_scale_on_both_sides():
    ax = TABLE["change_table"]()
    assert np.array_equal(ax.images[0].get_array(), CHANGE)
    low, high = ax.images[0].get_clim()
    assert low == -high == -np.abs(CHANGE).max()
    assert ax.texts[0].get_text() == f"{CHANGE[0, 0]:+.1f}".replace("-", "−")


def test_each_step_is_a_line():
    ax = TABLE["step_lines"](ax=Figure().add_subplot())
    for panel, values in zip(ax.child_axes, LINES, strict=True):
        assert [line.get_ydata().tolist() for line in panel.lines] == values.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steps.step_grid(IMAGES, ["a"], ["-1", "0", "1"]), "1 names and 3 steps"),
        (lambda: steps.step_grid(IMAGES[:, :, 0, 0], NAMES[:2], ["-1", "0", "1"]), "not a shape of images"),
        (lambda: steps.change_table(CHANGE, NAMES, ["a"]), "3 names and 1 steps"),
        (lambda: steps.change_table(CHANGE[0], NAMES), "change has shape (4,)"),
        (lambda: steps.step_lines(LINES, NAMES, [0.0, 1.0]), "3 names and 2 steps"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)
