"""What holds for every picture, and what was drawn, read back from the artists."""

from __future__ import annotations

import pickle
import sys
from itertools import combinations

import matplotlib
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure


def standard_normal(z):
    return -0.5 * (z**2).sum(-1) - 0.5 * z.shape[-1] * np.log(2 * np.pi)


def panels_of(ax):
    return [ax, *ax.child_axes]


def dots(ax):
    return [artist for artist in ax.collections if isinstance(artist, PathCollection)]


def line(ax, label):
    (found,) = [artist for artist in ax.lines if artist.get_label() == label]
    return np.asarray(found.get_xydata())


def belongs_to_no_pyplot_and_shows_itself(plot):
    ax = plot()
    assert ax._repr_png_().startswith(b"\x89PNG")
    assert ax.figure._repr_png_ is ax._repr_png_
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def survives_pickling(plot):
    ax = pickle.loads(pickle.dumps(plot()))
    assert ax._repr_png_.args == (ax.figure,)


def uses_and_returns_the_axes_of_the_caller(plot):
    figure = Figure(layout="constrained")
    mine, other = figure.subplots(1, 2)
    assert plot(ax=mine) is mine
    assert any(panel.has_data() for panel in panels_of(mine))
    assert not other.has_data()


def leaves_rc_params(plot):
    before = dict(matplotlib.rcParams.copy())
    plot()
    assert dict(matplotlib.rcParams.copy()) == before


def has_all_text_in_the_figure_and_none_on_another(plot):
    ax = plot()
    figure = ax.figure
    figure.set_dpi(100)
    figure.draw_without_rendering()
    boxes = []
    for panel in {*figure.axes, *panels_of(ax)}:
        legend = panel.get_legend()
        texts = [
            panel.title,
            panel._left_title,
            *panel.texts,
            *([legend.get_title(), *legend.get_texts()] if legend else []),
        ]
        if panel.axison:
            texts += [
                panel.xaxis.label,
                panel.yaxis.label,
                *panel.get_xticklabels(),
                *panel.get_yticklabels(),
            ]
        # ticks outside the limits have labels that are not drawn
        shown = [t for t in texts if t.get_text() and t.get_visible() and _on_axis(panel, t)]
        boxes += [(text.get_text(), text.get_window_extent().padded(-1.5)) for text in shown]
    for name, box in boxes:
        assert figure.bbox.x0 <= box.x0 + 1, name
        assert box.x1 <= figure.bbox.x1 + 1, name
        assert figure.bbox.y0 <= box.y0 + 1, name
        assert box.y1 <= figure.bbox.y1 + 1, name
    clashes = [(a, b) for (a, box), (b, other) in combinations(boxes, 2) if box.overlaps(other)]
    assert clashes == []


def _on_axis(panel, text):
    for axis, limits, labels in (
        (0, panel.get_xlim(), panel.get_xticklabels()),
        (1, panel.get_ylim(), panel.get_yticklabels()),
    ):
        if text in labels:
            low, high = sorted(limits)
            return low - 1e-9 <= text.get_position()[axis] <= high + 1e-9
    return True


PROPERTIES = (
    belongs_to_no_pyplot_and_shows_itself,
    survives_pickling,
    uses_and_returns_the_axes_of_the_caller,
    leaves_rc_params,
    has_all_text_in_the_figure_and_none_on_another,
)
