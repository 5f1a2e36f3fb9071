r"""`traverse`: what each direction of the latents does to an observation.

    z(t) = z0 + (m_v + t sd_v - v.z0) v,      |t| <= span

v is a coordinate of the latents or a principal direction of the encodings, and m_v and sd_v are the
mean and the standard deviation of the encodings along it. So the value along v goes through t
standard deviations around the mean, and everything else stays as it is at z0.

    change of a direction = root mean square of x(t) - mean over t

References:
    Prince (2023), "Understanding Deep Learning", section 17.6.3 and figure 17.16; Higgins et al.
    (2017), "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pyrovae.checks import count_of, number, one_of, whole
from pyrovae.datasets import Data
from pyrovae.display import Displayed
from pyrovae.errors import InputError
from pyrovae.exploring.space import Space
from pyrovae.numerics import Array
from pyrovae.plots import steps as draw
from pyrovae.plots.style import Axes
from pyrovae.report import is_image
from pyrovae.vae import VAE

if TYPE_CHECKING:
    import pandas

__all__ = ["Directions", "Traversal", "traverse"]

Directions = Literal["latent", "principal"]


@dataclass(frozen=True, eq=False, repr=False)
class Traversal(Displayed):
    """An observation decoded along R directions, in falling order of their change; prints a table.

    Attributes:
        names: the names of the directions, (R,).
        by: the steps, in standard deviations from the mean of the encodings, (S,).
        z: the latents, (R, S, size).
        x: E[x|z], (R, S, *event).
        log_pz: log p(z) in nats, (R, S).
        direction: unit vectors, (R, D).
        sd: the standard deviation of the encodings along each direction, (R,).
        change: the root mean square change of E[x|z] along each direction, (R,); for data other
            than images in standard deviations of each element.
        scale: what the elements of x were divided by in `change` and in figures, (*event).
        columns: the names of the columns of a table, or None.
    """

    names: tuple[str, ...]
    by: Array
    z: Array
    x: NDArray
    log_pz: Array
    direction: Array
    sd: Array
    change: Array
    scale: Array
    columns: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def to_frame(self) -> pandas.DataFrame:
        """The directions as a table: change, sd, and the lowest log p(z) of the steps."""
        import pandas

        values = {"direction": self.names, "change": self.change, "sd": self.sd}
        return pandas.DataFrame(values | {"lowest_log_pz": self.log_pz.min(1)})

    def __str__(self) -> str:
        wide = max(map(len, ("direction", *self.names)))
        lines = [
            f"{len(self)} directions, {len(self.by)} steps from {self.by[0]:g} to {self.by[-1]:g} sd",
            f"  {'direction':<{wide}}   change       sd",
        ]
        rows = zip(self.names, self.change, self.sd, strict=True)
        lines += [f"  {name:<{wide}} {change:8.4f} {sd:8.4f}" for name, change, sd in rows]
        return "\n".join(lines)

    def plot(self, count: int = 10, *, ax: Axes | None = None) -> Axes:
        """Draw the directions that change the observation most, a row for each.

        Images are shown as they are. Of other data with few elements, a table shows how each
        element changes from the first to the last step; with many, there are lines.

        Arguments:
            count: the number of directions.
            ax: axes to draw on.
        """
        shown = slice(whole("count", count))
        names, x = self.names[shown], self.x[shown]
        steps = [f"{by:+g}" if by else "0" for by in self.by.round(2)]
        if is_image(x.shape[2:]):
            return draw.step_grid(x, names, steps, label="standard deviations", ax=ax)
        flat = (x / self.scale).reshape(*x.shape[:2], -1)
        if flat.shape[-1] <= draw.FEW:
            change = flat[:, -1] - flat[:, 0]
            return draw.change_table(change, names, self.columns, ax=ax)
        return draw.step_lines(flat, names, self.by, ax=ax)


def traverse(
    vae: VAE,
    x: Any,  # noqa: ANN401
    directions: Directions = "latent",
    steps: int = 7,
    span: float = 3.0,
    *,
    start: int | None = 0,
    context: Any = None,  # noqa: ANN401
    seed: int = 0,
) -> Traversal:
    """Decode each direction of the latents, around one observation.

    Arguments:
        vae: a trained VAE with real latents.
        x: observations (N, *event) from which the mean and the standard deviation of the encodings
            are, at least 2; a sample of the training or test set.
        directions: "latent" for each coordinate that the decoder reads, or "principal" for the
            principal directions of the encodings.
        steps: the number of steps of each direction.
        span: the largest step, in standard deviations of the encodings.
        start: the row of x at which the traversal starts, or None for the mean of the encodings.
        context: the context of a conditional VAE, for each row or one for all.
        seed: seed of the samples, for a guide without a known mean.

    Raises:
        InputError: for fewer than 2 rows, or latents that are not real vectors.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.16; Higgins et al. (2017),
        "beta-VAE".

    Example:
        >>> import torch, pyrovae as pv
        >>> vae = pv.VAE((1, 8, 8), latent_dim=3, seed=0)
        >>> found = traverse(vae, torch.rand(20, 1, 8, 8).round(), steps=5)
        >>> found.x.shape, bool((np.diff(found.change) <= 0).all())
        ((3, 5, 1, 8, 8), True)
    """
    one_of("directions", directions, get_args(Directions))
    steps, span = count_of("steps", steps, 2), number("span", span, above=0)
    if isinstance(x, Data):
        raise InputError("traverse needs rows, not a whole data set: give one part of it, as in data.test")
    space = Space(vae, "traverse")
    rows = space.rows(x, context)
    if len(rows) < 2:
        raise InputError("x has one row, and a standard deviation needs several: give a sample of the data")
    z = space.encode(rows, seed)
    row = 0 if start is None else whole("start", start, 0, len(rows) - 1)
    unit, mean, sd = _directions(space, z, directions)
    origin = z[row].copy()
    if start is None:
        origin[: space.dim] = z[:, : space.dim].mean(0)
    by = np.linspace(-span, span, steps)
    along = mean[:, None] + by * sd[:, None] - (unit @ origin[: space.dim])[:, None]
    moved = origin + along[..., None] * np.pad(unit, ((0, 0), (0, space.classes)))[:, None]
    given = rows[row].context
    given = None if given is None else given.expand(steps, *given.shape[-len(vae.context_shape or ()) :])
    decoded, scale = space.decoded(moved, given), space.scale(rows)
    apart = (decoded - decoded.mean(1, keepdims=True)) / scale
    change = np.sqrt((apart.reshape(len(unit), -1) ** 2).mean(1))
    order = np.argsort(-change, kind="stable")
    return Traversal(
        names=tuple(f"{'z' if directions == 'latent' else 'PC '}{i}" for i in order),
        by=by,
        z=moved[order],
        x=decoded[order],
        log_pz=space.log_prob(moved, given)[order],
        direction=unit[order],
        sd=sd[order],
        change=change[order],
        scale=scale,
        columns=_columns(vae),
    )


def _directions(space: Space, z: Array, directions: Directions) -> tuple[Array, Array, Array]:
    """Unit vectors (R, D), and mean and standard deviation of the encodings along each, (R,)."""
    real = z[:, : space.dim]
    if directions == "latent":
        unit = np.eye(space.dim)[: min(space.dim, space.vae.prior.visible)]
    else:
        _, unit = np.linalg.eigh(np.cov(real.T).reshape(space.dim, -1))
        unit = unit.T[::-1]
        unit = unit * np.sign(np.take_along_axis(unit, np.abs(unit).argmax(1)[:, None], 1))
    place = real @ unit.T
    return unit, place.mean(0), place.std(0)


def _columns(vae: VAE) -> tuple[str, ...] | None:
    columns = None if vae.schema is None else vae.schema.columns
    return None if columns is None else tuple(column.name for column in columns)
