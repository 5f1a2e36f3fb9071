"""The map as an SVG file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pyrovae.numerics import Array

__all__ = ["map_svg"]


def map_svg(
    size: tuple[int, int],
    corners: Sequence[tuple[float, float]],
    dots: Mapping[str, Any],
    shapes: Iterable[tuple[tuple[Any, Any], str]],
    marks: Mapping[str, Any],
    dark: str,
    accent: str,
) -> bytes:
    """What the map shows, as SVG.

    Arguments:
        size: width and height.
        corners: the shown interval of each axis.
        dots: x, y and colour of the rows.
        shapes: the outline (x, y) and the colour of each component.
        marks: the sources of the marks, by name.
        dark, accent: the colours of the row and of the point.
    """
    (left, right), (bottom, top) = corners

    def place(x: Any, y: Any) -> Array:  # noqa: ANN401
        across = (np.asarray(x, dtype=float) - left) / (right - left) * size[0]
        return np.stack(
            [across, size[1] - (np.asarray(y, dtype=float) - bottom) / (top - bottom) * size[1]], -1
        )

    def line(x: Any, y: Any) -> str:  # noqa: ANN401
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in place(x, y))

    parts = [
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.2" fill="{colour}" fill-opacity=".8"/>'
        for (a, b), colour in zip(place(dots["x"], dots["y"]), dots["colour"], strict=True)
    ]
    parts += [
        f'<polygon points="{line(x, y)}" fill="{colour}" fill-opacity=".07" stroke="{colour}"/>'
        for (x, y), colour in shapes
    ]
    paths = marks["paths"].data
    parts += [
        f'<polyline points="{line(x, y)}" fill="none" stroke="{dark}" stroke-dasharray="2 3"/>'
        for x, y in zip(paths["x"], paths["y"], strict=True)
    ]
    posterior = marks["posterior"].data
    if len(posterior["x"]):
        outline = line(posterior["x"], posterior["y"])
        parts.append(f'<polygon points="{outline}" fill="{dark}" fill-opacity=".12" stroke="{dark}"/>')
    for name, colour in (("observation", dark), ("point", accent)):
        data = marks[name].data
        parts += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="5" fill="#fff" stroke="{colour}" stroke-width="2"/>'
            for a, b in place(data["x"], data["y"])
        ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}">'
    return f"{head}{''.join(parts)}</svg>".encode()
