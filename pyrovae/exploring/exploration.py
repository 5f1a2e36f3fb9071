r"""`explore`: describe a VAE with a mixture prior by its components and by rows of data.

    component of a row        p(c|x) = E_q(z|x)[p(c|z)],  p(c|z) = pi_c N_c(z) / sum_k pi_k N_k(z)
    its certainty             standard deviation of p(c|z) over q(z|x), and entropy of p(c|x)
    looks of a component      samples of p(x|z), z ~ N_c; the nearest rows; walks through it

Fast results are computed at once, log p(x) when it is first used. The VAE is not changed.

Reference:
    Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs"; Jiang,
    Zheng, Tan, Tang & Zhou (2017), "Variational Deep Embedding".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pyrovae.checks import count_of, number, one_of, whole
from pyrovae.datasets import Data, Rows
from pyrovae.display import Displayed
from pyrovae.errors import InputError, deprecated
from pyrovae.evidence import Evidence, log_evidence
from pyrovae.evidence.run import inputs
from pyrovae.exploring import editing
from pyrovae.exploring.agreement import Agreement, Integers, agreement, integers
from pyrovae.exploring.components import Components, components_of
from pyrovae.exploring.gaussians import entropy, mahalanobis
from pyrovae.exploring.mixture import Mixture
from pyrovae.exploring.pictures import Pictures
from pyrovae.exploring.projection import Projection, plane_of
from pyrovae.exploring.reading import Encoding, Reader
from pyrovae.exploring.summary import Observation, summary
from pyrovae.exploring.view import view
from pyrovae.exploring.walks import Along, Walk, axis_of, path_between
from pyrovae.numerics import Array, as_array, numbers
from pyrovae.plots.style import Axes
from pyrovae.terms import Runner
from pyrovae.vae import VAE

__all__ = ["Exploration", "explore"]

Split = Literal["test", "validation", "train"]


@dataclass(frozen=True, eq=False, repr=False)
class Exploration(Displayed):
    """The result of `explore`; prints a summary.

    Attributes:
        vae: the VAE.
        rows: the N rows of data, without labels.
        labels: whole numbers, (N,), or None.
        components: the components, as arrays and as a table.
        particles: the number of samples of z per row.
        seed: seed of the choice of rows and the samples.
        names: the label that each component stands for, (K,), if training observed labels; else
            None.
    """

    vae: VAE
    rows: Rows
    labels: Integers | None
    components: Components
    particles: int
    seed: int
    reader: Reader
    encoding: Encoding
    names: Integers | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return str(summary(self))

    def _html(self) -> str:
        return view(self)

    # ---------------------------------------------------------------- data

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

    def observation(self, i: int, *, particles: int = 1000) -> Observation:
        """Describe one row; log p(x) is estimated with this number of particles."""
        i = whole("observation", i, 0, len(self) - 1)
        evidence = log_evidence(self.vae, self.rows[i], particles=particles, seed=self.seed, compile=False)
        return Observation(
            number=i,
            index=int(self.index[i]),
            x=self.x[i],
            label=None if self.labels is None else int(self.labels[i]),
            mean=self.z[i],
            sd=self.encoding.sd[i],
            responsibilities=self.responsibilities[i],
            responsibility_sd=self.responsibility_sd[i],
            reconstruction=self.decode(self.z[i], k=int(self.assignment[i])),
            log_px=float(evidence.log_px[0]),
            log_px_se=float(evidence.mc_stderr[0]),
        )

    def datum(self, i: int, *, particles: int = 1000) -> Observation:
        """Deprecated name of `observation`."""
        deprecated("Exploration.datum", "Exploration.observation")
        return self.observation(i, particles=particles)

    def nearest(self, k: int, count: int = 10) -> Integers:
        """The rows nearest to component k, the nearest first.

        The distance is the Mahalanobis distance of E[z|x] from the component. For classes that
        share one p(z) it is 1 - p(k|x).
        """
        k, mixture = self._component(k), self.reader.mixture
        if mixture.classed:
            return self._first(1 - self.responsibilities[:, k], count)
        return self._first(mahalanobis(self.z - mixture.mean[k], mixture.covariance[k]), count)

    def doubtful(self, count: int = 10) -> Integers:
        """The rows whose p(c|x) has the highest entropy, the most doubtful first."""
        return self._first(-self.doubt, count)

    def far(self, count: int = 10) -> Integers:
        """The rows far from every component: those with the lowest log p(x), the lowest first."""
        return self._first(self.log_px, count)

    def _first(self, score: Array, count: int) -> Integers:
        return np.argsort(score, kind="stable")[: whole("count", count, 1, len(self))]

    # ---------------------------------------------------------------- latents

    def decode(self, z: ArrayLike, *, k: int | None = None) -> NDArray:
        """E[x|z], (..., *event), at latents (..., D), or a sample if the mean is not known.

        Arguments:
            z: latents.
            k: the class, if the decoder reads one and the latents do not contain it.
        """
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

    def log_pz(self, z: ArrayLike) -> Array:
        """log p(z) of latents (M, D), in nats, (M,)."""
        return self.reader.mixture.log_prob(numbers(z, "z", ("M", self.z.shape[1])))

    @cached_property
    def map(self) -> Projection:
        """A plane in latent space that separates the components."""
        return plane_of(self.reader.mixture, self.z)

    def plot(self, kind: str = "map", *, ax: Axes | None = None) -> Axes:
        """Draw one figure: "map", "components", "axes", "walks", "overlap", "doubt" or "confusion".

        Arguments:
            kind: the figure; see `pyrovae.exploring.pictures` for what each needs.
            ax: axes to draw on.

        Raises:
            InputError: for a figure that is unknown or does not apply.
        """
        return Pictures(self).plot(kind, ax)

    def figures(self, *names: str) -> dict[str, Axes]:
        """Draw all figures that apply, or those named; see `pyrovae.exploring.pictures`."""
        return Pictures(self).figures(*names)

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


def explore(
    vae: VAE,
    data: Data | Rows | ArrayLike,
    *,
    split: Split = "test",
    rows: int = 2000,
    particles: int = 100,
    seed: int = 0,
    labels: ArrayLike | None = None,
) -> Exploration:
    """Describe a VAE with a mixture prior, using rows of data.

    Arguments:
        vae: a VAE with a mixture in its prior, or with classes.
        data: the result of `datasets.load`, rows, or observations (N, *event).
        split: the part of a data set to use; ignored for rows.
        rows: the maximum number of rows; chosen by the seed if there are more.
        particles: samples of z for each row, for p(c|x) and log p(x).
        seed: seed of the choice of rows and the samples.
        labels: labels (N,) of rows or observations; only `agreement` uses them.

    Raises:
        InputError: for a VAE without components, a conditional VAE, data that it cannot take, or an
            invalid option.

    Example:
        >>> import pyrovae as pv
        >>> prior, likelihood = pv.priors.GaussianMixture(components=3), pv.likelihoods.Normal()
        >>> vae = pv.VAE((4,), latent_dim=2, prior=prior, likelihood=likelihood)
        >>> ex = explore(vae, torch.randn(50, 4))
        >>> ex.responsibilities.shape, int(ex.components.hard.sum())
        ((50, 3), 50)
    """
    reader = Reader(vae)
    particles, most = count_of("particles", particles), whole("rows", rows)
    seed = whole("seed", seed, 0)
    given, truth = (data, labels) if not isinstance(data, Data) else _part(data, split, seed, labels)
    every = inputs(Runner(vae), given).unlabelled()
    if every.index is None:
        every = replace(every, index=torch.arange(len(every), device=every.x.device))
    y = None if truth is None else integers(truth, "labels", len(every))
    chosen = np.arange(len(every))
    if most < len(every):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(every))[:most])
    some = every[chosen]
    encoding = reader.read(some, particles, seed)
    return Exploration(
        vae=vae,
        rows=some,
        labels=None if y is None else y[chosen],
        components=components_of(reader.mixture, encoding),
        particles=particles,
        seed=seed,
        reader=reader,
        encoding=encoding,
        names=_names(vae, data, y),
    )


def _names(vae: VAE, data: Any, labels: Integers | None) -> Integers | None:  # noqa: ANN401
    """The labels in the order of the classes, for a prior that observed labels."""
    if not vae.prior.labels or labels is None:
        return None
    values = np.unique(as_array(data.labels.train) if isinstance(data, Data) and data.labels else labels)
    return values if len(values) == vae.prior.states else None


def _part(data: Data, split: str, seed: int, labels: Any) -> tuple[Rows, Any]:  # noqa: ANN401
    """One part of a data set, and its labels."""
    if labels is not None:
        raise InputError("labels= is for rows or observations: a data set has its own labels")
    one_of("split", split, get_args(Split))
    labels = None if data.labels is None else getattr(data.labels, split)
    if split != "train":
        return getattr(data, split), labels
    rows = data.without_jitter(seed)  # without the copies, which come last
    return rows, None if labels is None else labels[: len(rows)]
