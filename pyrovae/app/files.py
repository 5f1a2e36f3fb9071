"""Several pictures as one SVG file, in lines with titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["pictures_svg"]

SIDE, GAP, TITLE = 96, 6, 22


def pictures_svg(lines: Mapping[str, Sequence[str]], shape: tuple[int, int]) -> bytes:
    """Lines of pictures, each below its title.

    Arguments:
        lines: the addresses of the pictures of each line, by title.
        shape: the width and height of a picture, of which only the ratio matters.

    Example:
        >>> pictures_svg({"first": ["data:,"]}, (2, 1)).count(b"<image")
        1
    """
    scale = SIDE / max(shape)
    width, height = shape[0] * scale, shape[1] * scale
    most = max((len(sources) for sources in lines.values()), default=1)
    parts, y = [], 0.0
    for title, sources in lines.items():
        parts.append(
            f'<text x="0" y="{y + 15:.0f}" font-family="sans-serif" font-size="13">{escape(title)}</text>'
        )
        y += TITLE
        parts += [
            f'<image x="{i * (width + GAP):.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'style="image-rendering:pixelated" href="{escape(source)}"/>'
            for i, source in enumerate(sources)
        ]
        y += height + GAP
    box = f"0 0 {max(most * (width + GAP), 200):.0f} {max(y, TITLE):.0f}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">'
    return f"{head}{''.join(parts)}</svg>".encode()
