"""The pieces of HTML: escaped, balanced, without scripts; pictures hold the numbers they are given."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from pyrovae.display import Html, Summary, curves, html, thumbnail, thumbnails
from tests.support.web import check_page, text_of

EVIL = "<b onclick='x()'>\"&\x1b[2J"


@pytest.mark.parametrize(
    "make",
    [
        html.page,
        html.escaped,
        html.paragraph,
        html.code,
        lambda text: html.section(text, text),
        lambda text: html.facts([(text, text)]),
        lambda text: html.table([text], [[text]]),
        lambda text: thumbnails(np.zeros((1, 1, 2, 2)), labels=[text]),
        lambda text: curves({text: [1.0, 2.0]}, [1, 2], label=text),
    ],
)
def test_all_text_is_escaped(make):
    made = make(EVIL)
    assert "<b" not in made
    assert "\x1b" not in made
    check_page(made)


def test_text_that_is_html_is_kept_and_nothing_else():
    assert html.joined(Html("<i>a</i>"), "<i>", None, "") == "<i>a</i>&lt;i&gt;"


def test_nothing_is_made_of_nothing():
    assert not html.section("title", None, "", html.table(["a"], []))
    assert not html.facts([])
    assert not curves({"train": [np.nan]}, [1])
    assert not thumbnails(np.zeros((0, 1, 2, 2)))


def test_long_tables_and_cells_are_cut_and_say_so():
    made = html.table(["a"], [["x" * 1000]] * 50, most=20)
    assert made.count("<tr>") == 21
    assert "and 30 more" in made
    assert len(made) < 21 * 350


def test_columns_of_numbers_are_on_the_right_also_with_marked_cells():
    rows = [["a", "1.5", Html("<mark>2</mark>")], ["1", "-3 +- 0.1", "4"]]
    assert re.findall(r"<th( class=\"pv-n\")?>", html.table(["w", "n", "m"], rows)) == [
        "",
        ' class="pv-n"',
        ' class="pv-n"',
    ]


def test_text_and_html_of_a_summary_have_the_same_words():
    told = Summary("head", [("a", "1 < 2"), ("b", "two")], "a verdict", width=4)
    assert str(told).split() == "head a 1 < 2 b two a verdict".split()


# -------------------------------------------------------------------- pictures


def pixels_of(tag):
    (data,) = re.findall(r"base64,([^\"]+)", tag)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_thumbnail_has_the_pixels_of_the_image(channels):
    image = np.random.default_rng(0).uniform(size=(channels, 5, 7))
    want = np.round(255 * image).astype(np.uint8)
    assert np.array_equal(pixels_of(thumbnail(image)), want[0] if channels == 1 else want.transpose(1, 2, 0))


def test_large_images_are_averaged_and_stay_small():
    image = np.random.default_rng(0).uniform(size=(3, 255, 255))
    small = pixels_of(thumbnail(image, share=1))
    step = 255 // len(small)
    means = image.reshape(3, len(small), step, len(small), step).mean((2, 4)).transpose(1, 2, 0)
    assert np.abs(small - 255 * means).max() <= 0.5 + 1e-9
    assert len(thumbnails(np.random.default_rng(0).uniform(size=(10, 3, 256, 256)))) < 40_000


def test_values_outside_the_unit_interval_are_scaled_and_missing_ones_are_blue():
    pixels = pixels_of(thumbnail([[[-1.0, 3.0], [1.0, np.nan]]]))
    assert pixels[0].tolist() == [[0] * 3, [255] * 3]
    assert pixels[1, 0].tolist() == [128] * 3
    red, _, blue = pixels[1, 1]
    assert blue > red


def test_a_curve_goes_through_its_points():
    made = curves({"train": [1.0, 3.0, np.nan, 2.0]}, [1, 2, 3, 4], mark=(2.0, "train"))
    (points,) = re.findall(r'points="([^"]+)"', made)
    x, y = np.array([list(map(float, point.split(","))) for point in points.split()]).T
    assert np.allclose(np.diff(x), (x[1] - x[0]) * np.array([1, 2]), atol=0.1)  # epoch 3 is left out
    assert np.isclose((y[0] - y[2]) / (y[0] - y[1]), 0.5, atol=0.01)
    assert f'cx="{x[1]:.1f}" cy="{y[1]:.1f}"' in made
    assert "1.00" in text_of(made)
    assert "3.00" in text_of(made)


def test_a_long_curve_has_few_points():
    assert len(curves({"train": np.sin(np.arange(10_000))}, np.arange(10_000))) < 5000
