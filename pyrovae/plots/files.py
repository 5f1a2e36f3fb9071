"""Write figures to files, completely or not at all."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.errors import InputError
from pyrovae.files import reason_of, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["save"]

FORMATS = (".png", ".pdf", ".svg")


def save(target: Axes | Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write the figure that `target` is or belongs to; the figure stays open and unchanged.

    Args:
        target: axes or a figure.
        path: the path of the file; .png is added to a name without a suffix, and missing folders
            are created.
        dpi: pixels per inch, for .png.

    Returns:
        The path of the file.

    Raises:
        InputError: if `target` is not a figure, the suffix is not .png, .pdf or .svg, or the folder
            cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from pyrovae.plots import image_grid
        >>> with TemporaryDirectory() as folder:
        ...     save(image_grid([[[0.0, 1.0]]]), Path(folder) / "grid").name
        'grid.png'
    """
    figure = _figure_of(target)
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path.name!r} has an unknown suffix; use one of {', '.join(FORMATS)}")
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix[1:].lower(), dpi=dpi)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {reason_of(error)}; choose another folder") from None
    write_whole(path, lambda file: file.write(picture.getvalue()))
    return path


def _figure_of(target: Any) -> Figure:  # noqa: ANN401
    """The outermost figure: `.figure` of axes may be a sub-figure, whose `.figure` is the root."""
    figure: Any = getattr(getattr(target, "figure", None), "figure", None)
    if not hasattr(figure, "savefig"):
        raise InputError(f"save was given a {type(target).__name__}; give axes or a figure")
    return figure
