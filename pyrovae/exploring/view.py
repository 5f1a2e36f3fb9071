"""An exploration in a notebook: its main facts, and a table of the components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pyrovae.display import html, thumbnail
from pyrovae.exploring.summary import summary
from pyrovae.report import is_image

__all__ = ["view"]

SHOWN = 20  # components


def view(ex: Any) -> str:  # noqa: ANN401
    """The HTML of an exploration."""
    facts = summary(ex)
    return html.page(facts.head, html.facts(facts.lines), _components(ex))


def _components(ex: Any) -> html.Html:  # noqa: ANN401
    """The components with the largest weights, with the mean of x at the mean of each."""
    parts = ex.components
    order = np.argsort(-parts.weight, kind="stable")[:SHOWN]
    names = ["component", "weight", "rows", "KL, nats", "overlaps most with"]
    rows = [
        [f"{k}", f"{parts.weight[k]:.3f}", f"{parts.hard[k]:,}", f"{parts.kl[k]:.2f}", _closest(parts, k)]
        for k in order
    ]
    if is_image(ex.vae.event_shape):
        names.append("at its mean")
        rows = [[*row, image] for row, image in zip(rows, _images(ex, order), strict=True)]
    left = len(parts) - len(rows)
    more = html.paragraph(f"and {left} more") if left else ""
    return html.section("components, by weight", html.table(names, rows), more, is_open=len(rows) <= 10)


def _closest(parts: Any, k: int) -> str:  # noqa: ANN401
    other = parts.closest[k]
    return "" if other == k else f"{other} (by {parts.overlap[k, other]:.2f})"


def _images(ex: Any, order: np.ndarray) -> Iterator[html.Html]:  # noqa: ANN401
    """E[x|z] at the mean of each component."""
    for k in order:
        yield thumbnail(ex.decode(ex.components.mean[k], k=int(k)), share=SHOWN)
