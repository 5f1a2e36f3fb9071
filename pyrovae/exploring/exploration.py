r"""`Exploration`: the latent space of any VAE, described by rows of data.

    rows        x, E[z|x] and its standard deviation, log p(x), the most surprising rows
    latents     E[x|z], log p(z), the nearest rows, paths, directions, a plane to draw

Fast results are computed at once, log p(x) when it is first used. The VAE is not changed. A mixture
prior adds its components (`MixtureExploration`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrovae.checks import count_of, one_of, shown, whole
from pyrovae.datasets import Rows
from pyrovae.display import Displayed
from pyrovae.errors import InputError, deprecated
from pyrovae.evidence import Evidence, log_evidence
from pyrovae.evidence.run import inputs
from pyrovae.exploring.agreement import Integers
from pyrovae.exploring.directions import Directions, along_latents, along_principal
from pyrovae.exploring.mixture import Mixture
from pyrovae.exploring.pictures import PlainPictures
from pyrovae.exploring.projection import Projection, gaussian_of, pair_plane, principal_plane
from pyrovae.exploring.slices import Slice
from pyrovae.exploring.space import Encoding, Space
from pyrovae.exploring.summary import Observation, plain_summary
from pyrovae.exploring.view import plain_view
from pyrovae.exploring.walks import How, Walk
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.plots.style import Axes
from pyrovae.terms import Runner
from pyrovae.vae import VAE

__all__ = ["Exploration"]

FEW = 10  # rows that a method returns by default

OF_MIXTURES = {
    "components", "names", "responsibilities", "responsibility_sd", "assignment", "doubt", "doubtful",
    "nearest", "samples", "walk", "axis", "axes", "agreement", "merge", "split", "remove", "reweight",
}  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Exploration(Displayed):
    """The result of `explore`; prints a summary.

    Attributes:
        vae: the VAE.
        rows: the N rows of data, without labels.
        labels: whole numbers, (N,), or None.
        particles: the number of samples of z per row.
        seed: seed of the choice of rows and the samples.
        encoding: q(z|x) of the rows.
        real: whether z is any vector of R^D; otherwise there are no directions among the latents.
    """

    vae: VAE
    rows: Rows
    labels: Integers | None
    particles: int
    seed: int
    reader: Space
    encoding: Encoding
    real: bool

    @classmethod
    def of(
        cls,
        vae: VAE,
        rows: Rows,
        labels: Integers | None,
        particles: int,
        seed: int,
        names: Integers | None = None,
    ) -> Self:
        """Describe a VAE by rows that it has checked."""
        space = Space(vae, "explore")
        with space.quiet(0):
            real = space.is_real(vae.encode(rows[:2]))
        return cls(vae, rows, labels, particles, seed, space, space.read(rows, particles, seed), real)

    def with_vae(self, vae: VAE) -> Self:
        """The same rows, described by another VAE, such as that of an edit."""
        return type(self).of(vae, self.rows, self.labels, self.particles, self.seed)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Say why something of mixtures is missing.

        Raises:
            AttributeError: always.
        """
        if name in OF_MIXTURES and "vae" in vars(self):
            is_conditional = self.vae.context_shape is not None
            cure = "prior=pv.priors.GaussianMixture(components=10)" + " and no context" * is_conditional
            raise AttributeError(
                f"there is no ex.{name}, because {self.vae.prior!r} has no components"
                f"{' that all contexts share' if is_conditional else ''}: declare the VAE with {cure}"
            )
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return str(plain_summary(self))

    def _html(self) -> str:
        return plain_view(self)

    # ---------------------------------------------------------------- rows

    @cached_property
    def x(self) -> NDArray:
        """The observations, (N, *event)."""
        return as_array(self.rows.x)

    @cached_property
    def index(self) -> Integers:
        """Their row numbers in the source, or in the given data, (N,)."""
        return as_array(self.rows.index)

    @property
    def z(self) -> Array:
        """E[z|x] under q, (N, D)."""
        return self.encoding.mean

    @property
    def points(self) -> Array:
        """Latents that stand for each row and that can be decoded, (N, D): z, if z is real."""
        return self.encoding.place

    @cached_property
    def evidence(self) -> Evidence:
        """log p(x) of all rows, estimated at the first use."""
        return log_evidence(self.vae, self.rows, particles=self.particles, seed=self.seed)

    @property
    def log_px(self) -> Array:
        """log p(x) of each row in nats, (N,)."""
        return self.evidence.log_px

    @property
    def log_px_se(self) -> Array:
        """The Monte Carlo standard error of log p(x), (N,)."""
        return self.evidence.mc_stderr

    @cached_property
    def divergence(self) -> tuple[Array, Array]:
        """KL(q(z|x) || p(z)) of each row, (N,), and of each latent, (N, size), in nats."""
        return self.reader.divergence(self.rows, self.particles, self.seed)

    def observation(self, i: int, *, particles: int = 1000) -> Observation:
        """Describe one row; log p(x) is estimated with this number of particles."""
        i = self._row(i)
        evidence = log_evidence(self.vae, self.rows[i], particles=particles, seed=self.seed, compile=False)
        return Observation(
            number=i,
            index=int(self.index[i]),
            x=self.x[i],
            label=None if self.labels is None else int(self.labels[i]),
            mean=self.z[i],
            sd=self.encoding.sd[i],
            reconstruction=self.slice(i).decoded(self.points[i]),
            log_px=float(evidence.log_px[0]),
            log_px_se=float(evidence.mc_stderr[0]),
            **self._belongs(i),
        )

    def _belongs(self, i: int) -> dict[str, Any]:
        """What an observation has besides, by the attributes of `Observation`."""
        return {}

    def datum(self, i: int, *, particles: int = 1000) -> Observation:
        """Deprecated name of `observation`."""
        deprecated("Exploration.datum", "Exploration.observation")
        return self.observation(i, particles=particles)

    def far(self, count: int | None = None) -> Integers:
        """The rows with the lowest log p(x), the lowest first: far from what the model knows.

        Arguments:
            count: the number of rows; by default 10, or all if there are fewer.
        """
        return self._first(self.log_px, count)

    def neighbours(self, at: int | ArrayLike, count: int | None = None) -> Integers:
        """The rows whose E[z|x] is nearest, the nearest first.

        Arguments:
            at: the number of a row, which is left out of the result, or latents (D,).
            count: the number of rows; by default 10, or all if there are fewer.

        Raises:
            InputError: for a row or latents that do not exist, or more rows than there are.
        """
        if isinstance(at, (int, np.integer)):
            apart = np.linalg.norm(self.z - self.z[self._row(at)], axis=1)
            apart[at] = np.inf
            if len(self) == 1:
                raise InputError("row 0 is the only one and has no neighbours: explore more rows")
            return self._first(apart, count, len(self) - 1)
        apart = np.linalg.norm(self.z - numbers(at, "at", (self.z.shape[1],)), axis=1)
        return self._first(apart, count)

    def _first(self, score: Array, count: int | None, most: int | None = None) -> Integers:
        """The rows with the lowest score, of `most` that may be asked for."""
        most = len(self) if most is None else most
        chosen = min(FEW, most) if count is None else whole("count", count, 1, most)
        return np.argsort(score, kind="stable")[:chosen]

    # ---------------------------------------------------------------- latents

    def slice(self, row: int | None = None) -> Slice:
        """The real latents with the context and the class of a row held fixed.

        Raises:
            InputError: without a row, if the decoder reads more than z.
        """
        row = self._row(0 if row is None and not self._reads_more else row)
        context = None if self.rows.context is None else self.rows.context[row : row + 1]
        return Slice(self.reader, self.encoding.tail[row], context)

    @property
    def _reads_more(self) -> bool:
        return self.rows.context is not None or self.encoding.tail.shape[1] > 0

    def decode(self, z: ArrayLike, *, row: int | None = None) -> NDArray:
        """E[x|z], (..., *event), at latents (..., D), or a sample if the mean is not known.

        Arguments:
            z: latents.
            row: the row whose context or class is used, if the decoder reads one.
        """
        return self.slice(row).decoded(self._latents(z))

    def log_pz(self, z: ArrayLike, *, row: int | None = None) -> Array:
        """log p(z) of latents (M, D) in nats, (M,); with a row, log p(z|c) of its context."""
        return self.slice(row).log_prob(numbers(z, "z", ("M", self.z.shape[1])))

    def read(self, rows: Rows) -> tuple[Encoding, Array, Slice]:
        """Encode other rows: q(z|x), latents that stand for them, and the slice of the first.

        Raises:
            InputError: for rows that the VAE cannot take.
        """
        rows = inputs(Runner(self.vae), rows).unlabelled()
        encoding = self.reader.read(rows, self.particles, self.seed)
        context = None if rows.context is None else rows.context[:1]
        return encoding, encoding.place, Slice(self.reader, encoding.tail[0], context)

    def path(
        self,
        a: int | ArrayLike,
        b: int | ArrayLike,
        steps: int = 9,
        how: How = "straight",
        *,
        row: int | None = None,
    ) -> Walk:
        """A path between two points of latent space, decoded.

        Arguments:
            a, b: numbers of rows, whose E[z|x] are the ends, or latents (D,).
            steps: the number of steps, with both ends.
            how: "straight", "spherical", or "density", which stays where log p(z) is high.
            row: the row whose context or class is used, if the decoder reads one; by default a.

        Raises:
            InputError: for latents that are not real vectors, and as for `decode`.
        """
        self._check_real()
        steps = count_of("steps", steps, 2)
        one_of("how", how, get_args(How))
        if row is None and isinstance(a, (int, np.integer)):
            row = int(a)
        return self.slice(row).path(np.stack([self._end(a, "a"), self._end(b, "b")]), steps, how, self.seed)

    def _end(self, at: Any, name: str) -> Array:  # noqa: ANN401
        if isinstance(at, (int, np.integer)):
            return self.z[self._row(at)]
        return numbers(at, name, (self.z.shape[1],))

    @property
    def visible(self) -> int:
        """The number of latents, from the first, that the decoder reads."""
        return min(self.z.shape[1], self.vae.prior.visible)

    def directions(self, kind: Literal["latent", "principal"] = "latent") -> Directions:
        """Directions with their units: each latent, or the principal axes of the encodings.

        Raises:
            InputError: for latents that are not real vectors.
        """
        one_of("kind", kind, ("latent", "principal"))
        self._check_real()
        return (along_latents if kind == "latent" else along_principal)(self.z, self.visible)

    @cached_property
    def map(self) -> Projection:
        """A plane in latent space: the first two principal components of the encodings."""
        return self.plane("principal")

    def plane(self, axes: Literal["principal"] | tuple[int, int]) -> Projection:
        """Another plane: the principal components of the encodings, or a pair of latents."""
        if isinstance(axes, str) and axes == "principal":
            return principal_plane(self._density, self.z, self.visible)
        if not isinstance(axes, Sequence) or len(axes) != 2 or isinstance(axes, str):
            raise InputError(f"axes must be 'principal' or two latents, as (0, 1), not {shown(axes)}")
        first, second = (whole("a latent of the pair", i, 0, self.z.shape[1] - 1) for i in axes)
        if first == second:
            raise InputError(f"a plane needs two latents: {first} was given twice")
        return pair_plane(self._density, (first, second))

    @property
    def _density(self) -> Mixture:
        """What the map from a plane to latents takes for p(z)."""
        return gaussian_of(self.encoding)

    def plot(self, kind: str = "map", *, ax: Axes | None = None) -> Axes:
        """Draw one figure: "map" or "latents".

        Arguments:
            kind: the figure; see `pyrovae.exploring.pictures` for what each needs.
            ax: axes to draw on.

        Raises:
            InputError: for a figure that is unknown or does not apply.
        """
        return self._pictures().plot(kind, ax)

    def figures(self, *names: str) -> dict[str, Axes]:
        """Draw all figures that apply, or those named; see `pyrovae.exploring.pictures`."""
        return self._pictures().figures(*names)

    def _pictures(self) -> PlainPictures:
        return PlainPictures(self)

    # ---------------------------------------------------------------- checks

    def _row(self, i: Any) -> int:  # noqa: ANN401
        if i is None:
            raise InputError("the decoder reads more than z: name the row whose context it reads by row=")
        return whole("observation", i, 0, len(self) - 1)

    def _latents(self, z: ArrayLike) -> Array:
        array = numbers(z, "z")
        if array.shape[-1:] != (self.z.shape[1],):
            raise InputError(f"z must have shape (..., {self.z.shape[1]}), not {array.shape}")
        return array

    def _check_real(self) -> None:
        if not self.real:
            raise InputError(
                f"the latents of {self.vae.prior!r} are not real vectors, so there are no directions among "
                "them: decode those of rows, as ex.points"
            )
