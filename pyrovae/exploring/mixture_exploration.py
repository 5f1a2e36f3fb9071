r"""`MixtureExploration`: a VAE with a mixture prior, described by its components and by rows.

    component of a row        p(c|x) = E_q(z|x)[p(c|z)],  p(c|z) = pi_c N_c(z) / sum_k pi_k N_k(z)
    its certainty             standard deviation of p(c|z) over q(z|x), and entropy of p(c|x)
    looks of a component      samples of p(x|z), z ~ N_c; the nearest rows; walks through it

Reference:
    Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs"; Jiang,
    Zheng, Tan, Tang & Zhou (2017), "Variational Deep Embedding".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, get_args

from numpy.typing import ArrayLike, NDArray

from pyrovae.checks import count_of, number, one_of, whole
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.evidence import log_evidence
from pyrovae.exploring import editing
from pyrovae.exploring.agreement import Agreement, Integers, agreement
from pyrovae.exploring.components import Components, components_of
from pyrovae.exploring.directions import Directions, axes_of
from pyrovae.exploring.exploration import Exploration
from pyrovae.exploring.gaussians import entropy, mahalanobis
from pyrovae.exploring.mixture import Mixture
from pyrovae.exploring.pictures import Pictures
from pyrovae.exploring.projection import Projection, plane_of
from pyrovae.exploring.reading import ByComponent, Reader
from pyrovae.exploring.summary import summary
from pyrovae.exploring.view import view
from pyrovae.exploring.walks import Along, Walk, axis_of, path_between
from pyrovae.numerics import Array, numbers
from pyrovae.vae import VAE

__all__ = ["MixtureExploration"]


@dataclass(frozen=True, eq=False, repr=False)
class MixtureExploration(Exploration):
    """The result of `explore` for a mixture prior or classes; prints a summary.

    Attributes:
        components: the components, as arrays and as a table.
        names: the label that each component stands for, (K,), if training observed labels; else
            None.
    """

    reader: Reader
    encoding: ByComponent
    components: Components
    names: Integers | None = None

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
        reader = Reader(vae)
        encoding = reader.read(rows, particles, seed)
        assert isinstance(encoding, ByComponent)
        components = components_of(reader.mixture, encoding)
        return cls(vae, rows, labels, particles, seed, reader, encoding, True, components, names)

    def with_vae(self, vae: VAE) -> Self:
        new = type(self).of(vae, self.rows, self.labels, self.particles, self.seed)
        keeps = vae.prior.labels and len(new.components) == len(self.components)
        return (
            new
            if not keeps
            else type(self).of(vae, self.rows, self.labels, self.particles, self.seed, self.names)
        )

    def __str__(self) -> str:
        return str(summary(self))

    def _html(self) -> str:
        return view(self)

    # ---------------------------------------------------------------- rows

    @property
    def responsibilities(self) -> Array:
        """p(c|x), the mean of p(c|z) over q(z|x), (N, K)."""
        return self.encoding.responsibilities

    @property
    def responsibility_sd(self) -> Array:
        """The standard deviation of p(c|z) over q(z|x), (N, K); 0 if the guide has q(c|x)."""
        return self.encoding.responsibility_sd

    @cached_property
    def assignment(self) -> Integers:
        """The most probable component of each row, (N,)."""
        return self.responsibilities.argmax(1)

    @cached_property
    def doubt(self) -> Array:
        """The entropy of p(c|x) in nats, (N,)."""
        return entropy(self.responsibilities)

    def _belongs(self, i: int) -> dict[str, Any]:
        return {
            "responsibilities": self.responsibilities[i],
            "responsibility_sd": self.responsibility_sd[i],
        }

    def nearest(self, k: int, count: int | None = None) -> Integers:
        """The rows nearest to component k, the nearest first.

        The distance is the Mahalanobis distance of E[z|x] from the component. For classes that
        share one p(z) it is 1 - p(k|x).

        Arguments:
            k: the component.
            count: the number of rows; by default 10, or all if there are fewer.
        """
        k, mixture = self._component(k), self.reader.mixture
        if mixture.classed:
            return self._first(1 - self.responsibilities[:, k], count)
        return self._first(mahalanobis(self.z - mixture.mean[k], mixture.covariance[k]), count)

    def doubtful(self, count: int | None = None) -> Integers:
        """The rows whose p(c|x) has the highest entropy, the most doubtful first.

        Arguments:
            count: the number of rows; by default 10, or all if there are fewer.
        """
        return self._first(-self.doubt, count)

    # ---------------------------------------------------------------- latents

    def decode(self, z: ArrayLike, *, k: int | None = None, row: int | None = None) -> NDArray:
        """E[x|z], (..., *event), at latents (..., D), or a sample if the mean is not known.

        Arguments:
            z: latents.
            k: the class, if the decoder reads one and the latents do not contain it.
            row: the row whose class is used instead.
        """
        row = None if row is None else self._row(row)
        if k is None and row is not None and self.reader.classes:
            k = int(self.assignment[row])
        return self.reader.decode(z, k=None if k is None else self._component(k))

    def samples(self, k: int, count: int, seed: int = 0, *, mean: bool = True) -> NDArray:
        """Samples of component k, (count, *event): E[x|z] at samples z ~ N_k, or samples of x."""
        z = self.reader.mixture.draw(self._component(k), whole("count", count), seed)
        return self.reader.decode(z, k=k, seed=None if mean else seed)

    def walk(self, a: int, b: int, steps: int = 9, along: Along = "straight") -> Walk:
        """A path from the mean of component a to that of component b.

        Arguments:
            a, b: components.
            steps: the number of steps, with both ends.
            along: "straight", or "density", which stays where log p(z) is high. Its minimum of log
                p(z) is never below that of the straight path.

        Raises:
            InputError: for fewer than 2 steps, an unknown `along`, or classes that share one p(z).
        """
        a, b, steps = self._component(a), self._component(b), count_of("steps", steps, 2)
        one_of("along", along, get_args(Along))
        if self.reader.mixture.classed:
            raise InputError("the classes of this VAE share one p(z), with no path between them: use axis(k)")
        return self._walked(path_between(self.reader.mixture, a, b, steps, along), along)

    def axis(self, k: int, axis: int = 0, steps: int = 9, reach: float = 2.0) -> Walk:
        """A path along a principal axis of component k, through its mean.

        Arguments:
            k: the component.
            axis: the index of the axis, 0 for the longest.
            steps: the number of steps, with both ends.
            reach: the distance to each side, in standard deviations.
        """
        k, axis = self._component(k), whole("axis", axis, 0, self.z.shape[1] - 1)
        reach = number("reach", reach, least=0)
        z = axis_of(self.reader.mixture, k, axis, count_of("steps", steps, 2), reach)
        return self._walked(z, f"axis {axis} of component {k}", k)

    def _walked(self, z: Array, along: str, k: int | None = None) -> Walk:
        return Walk(z, self.reader.decode(z, k=k), self.reader.mixture.log_prob(z), along)

    def axes(self, k: int) -> Directions:
        """The principal axes of component k, with its mean and standard deviations as units."""
        return axes_of(self.reader.mixture, self._component(k))

    def log_pz(self, z: ArrayLike, *, row: int | None = None) -> Array:
        """log p(z) of latents (M, D), in nats, (M,); the same for each row."""
        if row is not None:
            self._row(row)
        return self.reader.mixture.log_prob(numbers(z, "z", ("M", self.z.shape[1])))

    @cached_property
    def map(self) -> Projection:
        """A plane in latent space that separates the components."""
        return plane_of(self.reader.mixture, self.z)

    @property
    def _density(self) -> Mixture:
        return self.reader.mixture

    def plot(self, kind: str = "map", *, ax: Any = None) -> Any:  # noqa: ANN401
        """Draw one figure: "map", "components", "axes", "walks", "overlap", "doubt" or "confusion".

        Arguments:
            kind: the figure; see `pyrovae.exploring.pictures` for what each needs.
            ax: axes to draw on.

        Raises:
            InputError: for a figure that is unknown or does not apply.
        """
        return super().plot(kind, ax=ax)

    def _pictures(self) -> Pictures:
        return Pictures(self)

    # ---------------------------------------------------------------- labels

    @cached_property
    def agreement(self) -> Agreement | None:
        """The agreement of the components with the labels; None without labels."""
        if self.labels is None:
            return None
        return agreement(self.assignment, self.labels, len(self.components), names=self.names)

    # ---------------------------------------------------------------- editing

    def merge(self, a: int, b: int) -> editing.Edit:
        """Merge components a and b into one at the first index, with their joint moments."""
        a, b = self._component(a), self._component(b)
        return self._edit(f"components {a} and {b} merged", editing.merge, a, b)

    def split(self, k: int) -> editing.Edit:
        """Split component k along its longest axis; the joint mean and covariance stay the same."""
        k = self._component(k)
        return self._edit(f"component {k} split", editing.split_up, k)

    def remove(self, k: int) -> editing.Edit:
        """Remove component k; the other weights stay in proportion."""
        k = self._component(k)
        return self._edit(f"component {k} removed", editing.remove, k)

    def reweight(self, weights: Mapping[int, float] | ArrayLike) -> editing.Edit:
        """Set the weights of some components (the others stay in proportion) or of all."""
        if isinstance(weights, Mapping):
            weights = {self._component(k): w for k, w in weights.items()}
        return self._edit("components reweighted", editing.reweight, weights)

    def _edit(self, what: str, change: Callable[..., Mixture], *args: Any) -> editing.Edit:  # noqa: ANN401
        new = editing.edited(self.vae, change(self.reader.mixture, *args))
        after = log_evidence(new, self.rows, particles=self.particles, seed=self.seed)
        return editing.Edit(new, what, self.evidence, after)

    def _component(self, k: Any) -> int:  # noqa: ANN401
        return whole("component", k, 0, len(self.components) - 1)
