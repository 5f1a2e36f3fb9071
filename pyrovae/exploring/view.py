"""An exploration in a notebook: its main facts, and a table of the components or latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pyrovae.display import html, thumbnail
from pyrovae.exploring.summary import plain_summary, summary
from pyrovae.report import is_image

__all__ = ["plain_view", "view"]

SHOWN = 20  # components


def plain_view(ex: Any) -> str:  # noqa: ANN401
    """The HTML of an exploration without components."""
    facts = plain_summary(ex)
    return html.page(facts.head, html.facts(facts.lines), _latents(ex))


def _latents(ex: Any) -> html.Html:  # noqa: ANN401
    """The latents with the largest KL, or the largest variance of E[z|x]."""
    kl, variance = ex.divergence[1][:, : ex.z.shape[1]].mean(0), ex.z.var(0)
    order = np.argsort(-np.where(np.isnan(kl), variance, kl), kind="stable")
    rows = [[f"z{j}", "" if np.isnan(kl[j]) else f"{kl[j]:.2f}", f"{variance[j]:.3f}"] for j in order[:SHOWN]]
    left = len(order) - len(rows)
    more = html.paragraph(f"and {left} more") if left else ""
    names = ["latent", "KL, nats", "variance of E[z|x]"]
    return html.section("latents, by KL", html.table(names, rows), more, is_open=len(rows) <= 10)


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
