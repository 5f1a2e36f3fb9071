"""Figures of latents and the known factors of data.

- `factor_information`: which latents have information about which factor
"""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from pyrovae.errors import InputError
from pyrovae.numerics import numbers
from pyrovae.plots.mixtures import two_digits, write_cells, write_ticks
from pyrovae.plots.style import Axes, canvas

__all__ = ["factor_information"]


def factor_information(
    share: ArrayLike,
    factors: Sequence[str],
    latents: Sequence[str] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """The information of each latent about each factor, as a share of the factor's entropy.

    One dark cell in each column, and at most one in each row, show a code with a latent for each
    factor.

    Args:
        share: the information as a share of the entropy H(v_k), (D, F), from 0 to 1.
        factors: the names of the factors, (F,).
        latents: the names of the latents, (D,); z0, z1, ... by default.

    Raises:
        InputError: for a table of another shape, or shares outside 0 to 1.

    Example:
        >>> ax = factor_information([[0.9, 0.0], [0.1, 0.5]], ["shape", "size"])
        >>> [text.get_text() for text in ax.texts]
        ['.90', '', '.10', '.50']
    """
    table = numbers(share, "share", ("D", "F"))
    names = [f"z{j}" for j in range(len(table))] if latents is None else list(latents)
    if (len(names), len(factors)) != table.shape:
        raise InputError(
            f"share has shape {table.shape}, with {len(names)} names of latents and {len(factors)} of "
            "factors: give a row for each latent and a column for each factor"
        )
    if table.min() < -1e-6 or table.max() > 1 + 1e-6:
        raise InputError("shares lie outside 0 to 1: divide the information by the entropy of the factor")
    size = {"height": min(9.0, 1.2 + 0.3 * len(names)), "width": 2.6 + 0.7 * max(3, len(factors))}
    with canvas(ax, **size) as ax:
        image = ax.imshow(table, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        write_cells(ax, table, two_digits, table)
        write_ticks(ax, list(factors), names, most=40)
        ax.set(xlabel="factor", ylabel="latent")
        bar = ax.figure.colorbar(image, ax=ax, label="information, share of the factor's entropy")
        bar.outline.set_visible(False)  # type: ignore[operator]
    return ax
