r"""`attributes`: directions in latent space that change an attribute of an observation.

    z = E[z|x],   z' = z + by * sd * v,   x' = E[x|z']

v is the unit vector of the attribute's direction, and sd the standard deviation of the encodings
along it. So an attribute is changed in an encoding, and the result is decoded (resynthesis).

References:
    Prince (2023), "Understanding Deep Learning", section 17.6.2 and figure 17.15; White (2016),
    "Sampling Generative Networks".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyrovae.checks import flags, number, one_of, whole
from pyrovae.datasets import Data, Rows
from pyrovae.errors import InputError
from pyrovae.exploring.space import Space
from pyrovae.names import near_names
from pyrovae.numerics import Array, numbers
from pyrovae.tasks.attribute_directions import DirectionKind, directions_of, limits, orthogonal_to
from pyrovae.tasks.attribute_values import Columns, columns_of
from pyrovae.tasks.separation import auc
from pyrovae.vae import VAE

if TYPE_CHECKING:
    import pandas

__all__ = ["Attributes", "attributes"]

STARTS = 200  # training rows from which the limits are measured
FEWEST = 2  # rows with and without an attribute, for fitting and held out


@dataclass(frozen=True, eq=False)
class Attributes:
    """Directions of A attributes in the latent space of a VAE; prints a table.

    Attributes:
        vae: the VAE.
        names: the names of the attributes, (A,).
        direction: unit vectors, (A, D).
        mean: the mean of the encodings along each direction, (A,).
        sd: the standard deviation of the encodings along each direction, (A,).
        apart: the distance along the direction between rows with and without the attribute, in
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
    """

    vae: VAE = field(repr=False)
    names: tuple[str, ...]
    direction: Array = field(repr=False)
    mean: Array = field(repr=False)
    sd: Array = field(repr=False)
    apart: Array = field(repr=False)
    auc: Array = field(repr=False)
    auc_stderr: Array = field(repr=False)
    lower: Array = field(repr=False)
    upper: Array = field(repr=False)
    typical: float
    rows: int
    held_out: int
    method: DirectionKind = "difference"
    orthogonal: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def cosines(self) -> Array:
        """The cosines of the angles between all directions, (A, A)."""
        return self.direction @ self.direction.T

    def to_frame(self) -> pandas.DataFrame:
        """The attributes as a table, with a row for each."""
        import pandas

        columns = ("auc", "auc_stderr", "apart", "sd", "lower", "upper")
        return pandas.DataFrame({"attribute": self.names} | {name: getattr(self, name) for name in columns})

    table = to_frame

    def __str__(self) -> str:
        wide = max(map(len, ("attribute", *self.names)))
        lines = [
            f"{self._kind()} in {self.direction.shape[1]} latents from {self.rows:,} rows; AUC on "
            f"{self.held_out:,} held-out rows",
            f"  {'attribute':<{wide}}    AUC  +-        apart   typical from   to (sd)",
        ]
        columns = zip(
            *(getattr(self, c) for c in ("auc", "auc_stderr", "apart", "lower", "upper")), strict=True
        )
        for name, (value, error, apart, lower, upper) in zip(self.names, columns, strict=True):
            row = f"{value:6.3f}  {error:.3f}    {apart:7.2f}        {lower:+7.2f} {upper:+6.2f}"
            lines.append(f"  {name:<{wide}} {row}")
        return "\n".join(lines)

    def _kind(self) -> str:
        kind = "differences of means" if self.method == "difference" else "normals of a regression"
        return f"{len(self)} directions ({kind}{', orthogonal' if self.orthogonal else ''})"

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
                f"by has shape {strength.shape} for {len(z)} rows: give one number, or one for each row"
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
        return _limits(space, space.encode(rows), rows.context, self._step(space, i), self.typical)

    def _step(self, space: Space, i: int) -> Array:
        """One standard deviation along a direction; a class that follows z stays as it is."""
        return np.pad(self.sd[i] * self.direction[i], (0, space.classes))

    def _index(self, name: str) -> int:
        if name not in self.names:
            near = near_names(str(name), list(self.names))
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"there is no attribute {name!r}: {meant}choose one of {', '.join(self.names[:20])}"
            )
        return self.names.index(name)


def attributes(
    vae: VAE,
    rows: Any,  # noqa: ANN401
    y: Any,  # noqa: ANN401
    names: Sequence[str] | None = None,
    *,
    method: DirectionKind = "difference",
    orthogonal: bool = False,
    held_out: float = 0.25,
    quantile: float = 0.01,
    context: Any = None,  # noqa: ANN401
    seed: int = 0,
) -> Attributes:
    r"""Find the direction in latent space that changes each attribute of an observation.

    \[v_a = \frac{\mathrm{Cov}(E[z|x], a)}{\mathrm{Var}(a)}\]

    For a 0/1 attribute this is the difference of the mean encodings with and without it. A real
    attribute, such as a measured width, is used as it is. The AUC is measured on rows that were
    held out. The limits say how far one may go before log p(z) falls below the 1 % quantile of log
    p(z) of the encodings.

    Arguments:
        vae: a trained VAE with real latents.
        rows: observations (N, *event), as rows, an array or a table.
        y: labels (N,) as words or whole numbers (an attribute for each class), or columns: an array
            (N, A), a DataFrame or a dict. A column of 0 and 1 is a 0/1 attribute, other numbers are
            a real one. NaN, None and the label -1 are unknown.
        names: names for the classes of labels in ascending order, or for the columns of an array.
        method: "difference", or "logistic" for the normal of a logistic regression (of a linear
            regression, for a real attribute).
        orthogonal: take the directions of the other attributes out of each direction, so that a
            step along it does not move along the others.
        held_out: the share of the rows for the AUC.
        quantile: the quantile of log p(z) below which a latent is not typical.
        context: (N, *context_shape) for a conditional VAE.
        seed: seed of the split.

    Raises:
        InputError: for latents that are not real vectors, an attribute that is the same in nearly
            all rows, or values that cannot be read.

    Reference:
        Prince (2023), "Understanding Deep Learning", figure 17.15; Larsen et al. (2016),
        "Autoencoding beyond pixels using a learned similarity metric".

    Example:
        >>> import torch, pyrovae as pv
        >>> x, side = torch.randn(200, 4), torch.arange(200) % 2
        >>> x = x + 3 * side[:, None]
        >>> vae = pv.VAE((4,), 2, likelihood=pv.likelihoods.Normal(), seed=0)
        >>> found = attributes(vae, x, {"shifted": side})
        >>> found.apply(x[:5], "shifted", by=[[-1.0], [1.0]]).shape
        (2, 5, 4)
    """
    one_of("method", method, get_args(DirectionKind))
    flags(orthogonal=orthogonal)
    held_out = number("held_out", held_out, above=0, below=1)
    quantile, seed = number("quantile", quantile, least=0, below=1), whole("seed", seed, 0)
    if isinstance(rows, Data):
        raise InputError("attributes needs rows, not a whole data set: give data.train and its labels")
    space = Space(vae, "attributes")
    observed = space.rows(rows, context)
    columns = columns_of(y, len(observed), names)
    is_test = np.random.default_rng(seed).permutation(len(observed)) < round(held_out * len(observed))
    _check_enough(columns, is_test)
    z = space.encode(observed, seed)
    fitted = z if method == "difference" else space.sample(observed, seed)
    fitted = fitted[~is_test, : space.dim]
    direction = directions_of(fitted, columns.values[~is_test], columns.names, method)
    if orthogonal:
        direction = orthogonal_to(direction, columns.group, columns.names)
    direction = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    place = z[:, : space.dim] @ direction.T
    mean, sd = place[~is_test].mean(0), place[~is_test].std(0)
    auc_of, errors = _separations(place, columns, is_test)
    typical, reach = _reach(space, observed[~is_test], z[~is_test], sd[:, None] * direction, quantile)
    return Attributes(
        vae=vae,
        names=columns.names,
        direction=direction,
        mean=mean,
        sd=sd,
        apart=_apart((place[~is_test] - mean) / sd, columns.values[~is_test], columns.is_binary),
        auc=auc_of,
        auc_stderr=errors,
        lower=reach[:, 0],
        upper=reach[:, 1],
        typical=typical,
        rows=int((~is_test).sum()),
        held_out=int(is_test.sum()),
        method=method,
        orthogonal=orthogonal,
    )


def _check_enough(columns: Columns, is_test: np.ndarray) -> None:
    """Refuse an attribute that has too few rows on one side, for the direction or for its AUC."""
    for name, a in zip(columns.names, columns.values.T, strict=True):
        for part in (~is_test, is_test):
            side = _is_on(a[part])
            if min(side.sum(), (~side).sum()) < FEWEST:
                count = int((~np.isnan(a)).sum())
                raise InputError(
                    f"the attribute {name!r} is known for {count} rows and is nearly the same in all of "
                    "them: give more rows, or leave it out"
                )


def _is_on(a: Array) -> np.ndarray:
    """Which rows with a known value have the attribute; a real one is split at its median."""
    a = a[~np.isnan(a)]
    if not len(a):
        return np.zeros(0, bool)
    middle = 0.5 if np.isin(a, (0.0, 1.0)).all() else np.median(a)
    return a > middle if (a > middle).any() else a >= middle


def _separations(place: Array, columns: Columns, is_test: np.ndarray) -> tuple[Array, Array]:
    """The AUC of each attribute and its standard error, (A,)."""
    results = []
    for along, a in zip(place[is_test].T, columns.values[is_test].T, strict=True):
        results.append(auc(along[~np.isnan(a)], _is_on(a)))
    areas, errors = zip(*results, strict=True)
    return np.array(areas), np.array(errors)


def _apart(place: Array, values: Array, is_binary: np.ndarray) -> Array:
    """The change along each direction with the attribute, (A,), for places (N, A) in sd."""
    result = []
    for along, a, binary in zip(place.T, values.T, is_binary, strict=True):
        known = ~np.isnan(a)
        centred = a[known] - a[known].mean()
        slope = centred @ along[known] / (centred @ centred)
        result.append(slope * (1.0 if binary else centred.std()))
    return np.array(result)


def _reach(space: Space, rows: Rows, z: Array, steps: Array, quantile: float) -> tuple[float, Array]:
    """The least typical log p(z), and the median limits of encodings for each step, (A, 2)."""
    log_pz = space.log_prob(z, rows.context)
    typical = float(np.quantile(log_pz, quantile))
    starts = np.flatnonzero(log_pz >= typical)[:STARTS]
    context = rows[starts].context
    steps = np.pad(steps, ((0, 0), (0, space.classes)))
    each = [np.median(_limits(space, z[starts], context, step, typical), 0) for step in steps]
    return typical, np.stack(each)


def _limits(space: Space, z: Array, context: Tensor | None, step: Array, typical: float) -> Array:
    """The limits of latents (N, size) in both directions, (N, 2)."""
    log_prob = lambda z: space.log_prob(z, context)  # noqa: E731
    return np.stack([-limits(log_prob, z, -step, typical), limits(log_prob, z, step, typical)], 1)
