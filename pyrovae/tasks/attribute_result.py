"""Directions of attributes in the latent space of a VAE, and their use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyrovae.checks import count_of, flags, number, whole
from pyrovae.display import Displayed
from pyrovae.errors import InputError, visible
from pyrovae.exploring.space import Space
from pyrovae.names import meant_by
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.plots import steps as draw
from pyrovae.plots.style import Axes
from pyrovae.report import is_image
from pyrovae.tasks.attribute_directions import DirectionKind, limits
from pyrovae.vae import VAE

if TYPE_CHECKING:
    import pandas

__all__ = ["Attributes", "both_limits"]

_ARRAYS = ("direction", "mean", "sd", "distance", "auc", "auc_stderr", "lower", "upper")


@dataclass(frozen=True, eq=False, repr=False)
class Attributes(Displayed):
    """Directions of A attributes in the latent space of a VAE; prints a table.

    Attributes:
        vae: the VAE.
        names: the names of the attributes, (A,).
        direction: unit vectors, (A, D).
        mean: the mean of the encodings along each direction, (A,).
        sd: the standard deviation of the encodings along each direction, (A,).
        distance: the distance along the direction between rows with and without the attribute, in
            standard deviations, (A,); for a real attribute, the change for one standard deviation
            of the attribute.
        auc: how well the place along the direction separates held-out rows with the attribute from
            those without, (A,): 0.5 is by chance, 1 is perfect. A real attribute is split at its
            median.
        auc_stderr: the standard error of `auc`, (A,).
        lower: how far one may go back before log p(z) is atypical, in standard deviations, (A,):
            the median over encodings of training rows, at least -10.
        upper: the same forwards, at most 10.
        typical: the least log p(z) that counts as typical, in nats.
        rows: the number of rows from which the directions are.
        held_out: the number of rows from which the AUC is.
        method: "difference" or "logistic".
        orthogonal: whether the directions of the other attributes were taken out.
        given: the names of the attributes that were held fixed; `sd` and `distance` are then those
            of the residuals of a regression on them.
    """

    vae: VAE
    names: tuple[str, ...]
    direction: Array
    mean: Array
    sd: Array
    distance: Array
    auc: Array
    auc_stderr: Array
    lower: Array
    upper: Array
    typical: float
    rows: int
    held_out: int
    method: DirectionKind = "difference"
    orthogonal: bool = False
    given: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def take(self, names: Iterable[str]) -> Attributes:
        """Some of the attributes, in this order."""
        at = [self._index(name) for name in names]
        arrays: dict[str, Any] = {name: getattr(self, name)[at] for name in _ARRAYS}
        return replace(self, names=tuple(self.names[i] for i in at), **arrays)

    def to_frame(self) -> pandas.DataFrame:
        """The attributes as a table, with a row for each."""
        import pandas

        columns = ("auc", "auc_stderr", "distance", "sd", "lower", "upper")
        return pandas.DataFrame({"attribute": self.names} | {name: getattr(self, name) for name in columns})

    def __str__(self) -> str:
        names = [visible(name) for name in self.names]
        wide = max(map(len, ("attribute", *names)))
        lines = [
            f"{self._kind()} in {self.direction.shape[1]} latents from {self.rows:,} rows; AUC on "
            f"{self.held_out:,} held-out rows",
            f"  {'attribute':<{wide}}    AUC  +-     distance   typical from   to (sd)",
        ]
        columns = zip(
            *(getattr(self, c) for c in ("auc", "auc_stderr", "distance", "lower", "upper")), strict=True
        )
        for name, (value, error, distance, lower, upper) in zip(names, columns, strict=True):
            row = f"{value:6.3f}  {error:.3f}    {distance:7.2f}        {lower:+7.2f} {upper:+6.2f}"
            lines.append(f"  {name:<{wide}} {row}")
        return "\n".join(lines)

    def _kind(self) -> str:
        kind = "differences of means" if self.method == "difference" else "normals of a regression"
        count = "1 direction" if len(self) == 1 else f"{len(self)} directions"
        kind += ", orthogonal" if self.orthogonal else ""
        held = f"{len(self.given)} attributes" if len(self.given) > 1 else "".join(map(visible, self.given))
        return f"{count} ({kind}{f', {held} held fixed' if held else ''})"

    # ---------------------------------------------------------------- use

    def apply(
        self,
        x: Any,  # noqa: ANN401
        name: str,
        by: ArrayLike,
        *,
        context: Any = None,  # noqa: ANN401
        sample: bool = False,
        seed: int = 0,
    ) -> NDArray:
        """Change an attribute of observations: E[x|z'] at z' = z + by * sd * direction.

        Arguments:
            x: observations (N, *event), or a single one (*event).
            name: the attribute.
            by: how much to change it, in standard deviations of the encodings: one number, or one
                for each row (N,), or several for each row (S, N) or (S, 1).
            context: (N, *context_shape) for a conditional VAE; it stays as it is.
            sample: use a sample of q(z|x) instead of E[z|x].
            seed: seed of the samples.

        Returns:
            (N, *event), or (S, N, *event).

        Raises:
            InputError: for an unknown attribute, or strengths of another shape.
        """
        flags(sample=sample)
        space, i = Space(self.vae, "apply"), self._index(name)
        rows = space.rows(x, context)
        z = space.sample(rows, seed) if sample else space.encode(rows, seed)
        strength = numbers(by, "by")
        try:
            shape = np.broadcast_shapes(strength.shape, (len(z),))
        except ValueError:
            shape = ()
        if shape[-1:] != (len(z),):
            raise InputError(
                f"by has shape {strength.shape} for {len(z)} rows: give one number, one for each row, or "
                "several for all rows as a column (S, 1)"
            )
        moved = z + np.broadcast_to(strength, shape)[..., None] * self._step(space, i)
        return space.decoded(moved, rows.context)

    def score(self, x: Any, name: str, *, context: Any = None) -> Array:  # noqa: ANN401
        """The place of each observation along a direction, in sd from the mean, (N,)."""
        space, i = Space(self.vae, "score"), self._index(name)
        z = space.encode(space.rows(x, context))[:, : space.dim]
        return (z @ self.direction[i] - self.mean[i]) / self.sd[i]

    def limits(self, x: Any, name: str, *, context: Any = None) -> Array:  # noqa: ANN401
        """How far each observation may go before log p(z) is atypical, in sd, (N, 2).

        The first column is the limit backwards (at least -10), the second forwards (at most 10).
        Both are 0 for an encoding that is not typical itself.
        """
        space, i = Space(self.vae, "limits"), self._index(name)
        rows = space.rows(x, context)
        return both_limits(space, space.encode(rows), rows.context, self._step(space, i), self.typical)

    def plot(
        self,
        x: Any,  # noqa: ANN401
        name: str,
        by: float = 2.0,
        steps: int = 5,
        *,
        context: Any = None,  # noqa: ANN401
        count: int = 20,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw observations next to their edits, from -by to by; 0 is the reconstruction.

        For data other than images, the mean of each element is drawn against the steps: as a table
        of changes for few elements, as lines for many.

        Arguments:
            x, name, context: as for `apply`.
            by: the largest change, in standard deviations of the encodings.
            steps: the number of steps from -by to by.
            count: the number of observations of which images are drawn.
            ax: axes to draw on.
        """
        rows = Space(self.vae, "plot").rows(x, context)
        if is_image(self.vae.event_shape):
            rows = rows[: whole("count", count)]
        strengths = np.linspace(-number("by", by, above=0), by, count_of("steps", steps, 2))
        edited = self.apply(rows, name, strengths[:, None])
        if is_image(self.vae.event_shape):
            images = np.concatenate([as_array(rows.x)[None], edited]).swapaxes(0, 1)
            columns = ["original", *(f"{b:+.3g}" if abs(b) > 1e-9 else "0" for b in strengths)]
            return draw.step_grid(images, [""] * len(rows), columns, label=f"{name}, sd", ax=ax)
        flat = (edited.mean(1) / Space(self.vae).scale(rows)).reshape(1, len(strengths), -1)
        if flat.shape[-1] > draw.FEW:
            return draw.step_lines(flat, [name], strengths, ax=ax)
        schema = self.vae.schema
        columns_of_table = None if schema is None or schema.columns is None else schema.columns
        names = None if columns_of_table is None else [column.name for column in columns_of_table]
        return draw.change_table(flat[:, -1] - flat[:, 0], [name], names, ax=ax)

    def _step(self, space: Space, i: int) -> Array:
        """One standard deviation along a direction; a class that follows z stays as it is."""
        return np.pad(self.sd[i] * self.direction[i], (0, space.classes))

    def _index(self, name: str) -> int:
        if name not in self.names:
            meant = meant_by(str(name), self.names, repr)
            raise InputError(
                f"there is no attribute {name!r}: {meant}choose one of {', '.join(self.names[:20])}"
            )
        return self.names.index(name)


def both_limits(space: Space, z: Array, context: Tensor | None, step: Array, typical: float) -> Array:
    """The limits of latents (N, size) in both directions, (N, 2)."""
    log_prob = lambda z: space.log_prob(z, context)  # noqa: E731
    return np.stack([0.0 - limits(log_prob, z, -step, typical), limits(log_prob, z, step, typical)], 1)
