"""The distribution of an unknown column given the known ones, as HTML in the user's words."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.app.look import ACCENT, LINE
from pyrovae.app.pictures import cells
from pyrovae.app.words import tip
from pyrovae.datasets.columns import Column

__all__ = ["answer", "shares"]

SHOWN = 4  # words of a column
BINS = 24


def answer(column: Column, samples: ArrayLike, mean: float, own: str = "") -> str:
    """The distribution of one column.

    Arguments:
        column: the column.
        samples: samples of it, (S,).
        mean: its mean; NaN for codes of classes.
        own: the value in the row, or empty.
    """
    values = np.asarray(samples, dtype=float)
    if not np.isfinite(values).all():
        return "<small>it has no probability under the samples</small>"
    text = _words(column, values) if column.levels is not None else _numbers(column, values, mean)
    note = f"<small>in the row: {escape(own)}</small>" if own else ""
    return f'<div class="distribution">{text}{note}</div>'


def shares(column: Column, samples: ArrayLike) -> list[tuple[str, float]]:
    """The words of a column with their shares of samples, the most probable first.

    Example:
        >>> shares(Column("new", "bernoulli", ("no", "yes")), [1, 1, 0, 1])
        [('yes', 0.75), ('no', 0.25)]
    """
    levels = column.levels or ()
    codes = np.asarray(samples, dtype=float).round().astype(int).clip(0, max(len(levels) - 1, 0))
    counts = np.bincount(codes, minlength=len(levels)) / max(len(codes), 1)
    return [(levels[k], float(counts[k])) for k in np.argsort(-counts, kind="stable") if counts[k] > 0]


def _words(column: Column, values: np.ndarray) -> str:
    every = shares(column, values)
    lines = [
        f'<div class="share"><i style="width:{100 * share:.1f}%"></i><span>{escape(word)}</span>'
        f"<b>{100 * share:.0f} %</b></div>"
        for word, share in every[:SHOWN]
    ]
    rest = sum(share for _, share in every[SHOWN:])
    if rest:
        lines.append(f"<small>{len(every) - SHOWN} others: {100 * rest:.0f} %</small>")
    return "".join(lines)


def _numbers(column: Column, values: np.ndarray, mean: float) -> str:
    low, high = np.quantile(values, [0.05, 0.95])
    texts = [cells([one], [column])[0] for one in (mean, low, high)]
    middle, start, end = (escape(text) for text in texts)
    return (
        f'{_histogram(values)}<div class="numbers">mean <b>{middle}</b> '
        f"<small>· {tip('90 %')} {start} to {end}</small></div>"
    )


def _histogram(values: np.ndarray) -> str:
    """A histogram as SVG; whole numbers have a bar each, if they are few."""
    low, high = np.quantile(values, [0.005, 0.995])
    bins = BINS
    if not (values % 1).any() and high - low < 2 * BINS:
        low, high = low - 0.5, high + 0.5
        bins = max(round(high - low), 1)
    counts, _ = np.histogram(values, bins, (low, max(high, low + 1e-9)))
    step, heights = 192 / bins, 24 * counts / max(counts.max(), 1)
    path = "".join(f"M{step * (i + 0.5):.1f} 26v{-height:.1f}" for i, height in enumerate(heights))
    return (
        f'<svg class="histogram" viewBox="0 0 192 27" preserveAspectRatio="none">'
        f'<path d="M0 26.5H192" stroke="{LINE}"/>'
        f'<path d="{path}" stroke="{ACCENT}" stroke-width="{0.75 * step:.1f}"/></svg>'
    )
