r"""`explore`: a VAE whose latents are a mixture, seen through its components and through some data.

    which component is a datum in      p(c|x) = E_q(z|x)[p(c|z)],  p(c|z) = pi_c N_c(z) / sum_k pi_k N_k(z)
    how sure is that                   the standard deviation of p(c|z) over q(z|x), and the entropy of p(c|x)
    what does a component look like    samples of p(x|z), z ~ N_c; the data nearest to it; walks through it

What costs a moment is worked out at once, log p(x) when it is first asked for. Nothing of the VAE is
changed.

Reference:
    Dilokthanakul et al. (2016), "Deep Unsupervised Clustering with Gaussian Mixture VAEs"; Jiang, Zheng,
    Tan, Tang & Zhou (2017), "Variational Deep Embedding".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyrovae.datasets import Data
from pyrovae.errors import InputError
from pyrovae.evidence import Evidence, log_evidence
from pyrovae.evidence.run import inputs, whole_number
from pyrovae.exploring import editing
from pyrovae.exploring.agreement import Agreement, agreement
from pyrovae.exploring.components import Components, components_of
from pyrovae.exploring.gaussians import entropy, mahalanobis
from pyrovae.exploring.pictures import figures
from pyrovae.exploring.projection import Projection, plane_of
from pyrovae.exploring.reading import Encoding, Reader
from pyrovae.exploring.summary import Datum, summary
from pyrovae.exploring.walks import Along, Walk, axis_of, path_between
from pyrovae.plots.style import as_array
from pyrovae.terms import Program
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Exploration", "explore"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Split = Literal["test", "validation", "train"]


@dataclass(frozen=True, eq=False)
class Exploration:
    """What `explore` found; it prints what one sees first.

    Attributes:
        vae: the one that was looked into.
        x: the data, (N, *event).
        labels: whole numbers, (N,), or None.
        rows: their numbers in the part of the data that they are from, (N,).
        components: the components, as arrays and as a table.
        particles: draws of z for each datum.
        seed: of the rows and the draws.
        names: the label that each component was told to be, (K,), where there were labels; else None.
    """

    vae: VAE
    x: NDArray = field(repr=False)
    labels: Integers | None = field(repr=False)
    rows: Integers = field(repr=False)
    components: Components = field(repr=False)
    particles: int
    seed: int
    reader: Reader = field(repr=False)
    encoding: Encoding = field(repr=False)
    names: Integers | None = field(repr=False, default=None)

    def __len__(self) -> int:
        return len(self.x)

    def __str__(self) -> str:
        return summary(self)

    # ---------------------------------------------------------------- data

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
        """The standard deviation of p(c|z) over q(z|x), (N, K); 0 where the guide gives q(c|x) itself."""
        return self.encoding.responsibility_sd

    @cached_property
    def assignment(self) -> Integers:
        """The most probable component of each datum, (N,)."""
        return self.responsibilities.argmax(1)

    @cached_property
    def doubt(self) -> Array:
        """The entropy of p(c|x) in nats, (N,)."""
        return entropy(self.responsibilities)

    @cached_property
    def evidence(self) -> Evidence:
        """log p(x) of all data, estimated when first asked for."""
        return log_evidence(self.vae, torch.from_numpy(self.x), particles=self.particles, seed=self.seed)

    @property
    def log_px(self) -> Array:
        """log p(x) of each datum in nats, (N,)."""
        return self.evidence.log_px

    @property
    def log_px_se(self) -> Array:
        """Its Monte Carlo standard error, (N,)."""
        return self.evidence.mc_stderr

    def datum(self, i: int, *, particles: int = 1000) -> Datum:
        """All about one datum; log p(x) is of so many particles of its own."""
        i = self._number(i, len(self), "datum")
        one = torch.from_numpy(self.x[i : i + 1])
        found = log_evidence(self.vae, one, particles=particles, seed=self.seed, compile=False)
        return Datum(
            index=i,
            x=self.x[i],
            label=None if self.labels is None else int(self.labels[i]),
            mean=self.z[i],
            sd=self.encoding.sd[i],
            responsibilities=self.responsibilities[i],
            responsibility_sd=self.responsibility_sd[i],
            reconstruction=self.decode(self.z[i], k=int(self.assignment[i])),
            log_px=float(found.log_px[0]),
            log_px_se=float(found.mc_stderr[0]),
        )

    def nearest(self, k: int, count: int = 10) -> Integers:
        """The data nearest to component k, the nearest first.

        The distance is that of E[z|x] from the mean in the component's own covariance; of classes that share
        one p(z) it is 1 - p(k|x).
        """
        k = self._component(k)
        if self.reader.mixture.classed:
            return self._first(1 - self.responsibilities[:, k], count)
        mixture = self.reader.mixture
        return self._first(mahalanobis(self.z - mixture.mean[k], mixture.covariance[k]), count)

    def doubtful(self, count: int = 10) -> Integers:
        """The data whose p(c|x) has the most entropy, the most doubtful first."""
        return self._first(-self.doubt, count)

    def far(self, count: int = 10) -> Integers:
        """The data far from every component: those of the lowest log p(x), the lowest first."""
        return self._first(self.log_px, count)

    def _first(self, score: Array, count: int) -> Integers:
        count = whole_number("count", count)
        if count > len(self):
            raise InputError(
                f"{count} data were asked for and {len(self)} were looked at: explore with more rows"
            )
        return np.argsort(score, kind="stable")[:count]

    # ---------------------------------------------------------------- latents

    def decode(self, z: ArrayLike, *, k: int | None = None) -> NDArray:
        """E[x|z] of latents (..., D), (..., *event); a draw where the likelihood knows no mean.

        Arguments:
            z: latents.
            k: the class, for a decoder that reads one and latents that do not hold it.
        """
        return self.reader.decode(z, k=None if k is None else self._component(k))

    def samples(self, k: int, count: int, seed: int = 0, *, mean: bool = True) -> NDArray:
        """What component k generates, (count, *event): E[x|z] at draws z ~ N_k, or draws of x."""
        z = self.reader.mixture.draw(self._component(k), whole_number("count", count), seed)
        return self.reader.decode(z, k=k, seed=None if mean else seed)

    def walk(self, a: int, b: int, steps: int = 9, along: Along = "straight") -> Walk:
        """From the mean of component a to that of b.

        Arguments:
            a, b: components.
            steps: with both ends.
            along: "straight", or the "density", which keeps to where log p(z) is high and is never lower than
                the straight way at its lowest.

        Raises:
            InputError: for fewer than 2 steps, an unknown way, or classes that share one p(z).
        """
        a, b = self._component(a), self._component(b)
        if along not in get_args(Along):
            raise InputError(f"unknown along {along!r}: choose straight or density")
        if self.reader.mixture.classed:
            raise InputError(
                "the classes of this VAE share one p(z), so there is no way between them: use axis(k)"
            )
        return self._walked(path_between(self.reader.mixture, a, b, _steps(steps), along), along)

    def axis(self, k: int, axis: int = 0, steps: int = 9, reach: float = 2.0) -> Walk:
        """Along a principal axis of component k, through its mean.

        Arguments:
            k: the component.
            axis: 0 for the longest.
            steps: with both ends.
            reach: how far on each side, in standard deviations.
        """
        k, axis = self._component(k), self._number(axis, self.z.shape[1], "axis")
        if not 0 <= reach < math.inf:
            raise InputError(f"reach is {reach}: give a number of standard deviations from 0")
        z = axis_of(self.reader.mixture, k, axis, _steps(steps), reach)
        return self._walked(z, f"axis {axis} of component {k}", k)

    def _walked(self, z: Array, along: str, k: int | None = None) -> Walk:
        return Walk(z, self.reader.decode(z, k=k), self.reader.mixture.log_prob(z), along)

    def log_pz(self, z: ArrayLike) -> Array:
        """log p(z) in nats of latents (M, D), (M,)."""
        z = as_array(z, "z")
        if z.shape[1:] != self.z.shape[1:]:
            raise InputError(f"z must have shape (M, {self.z.shape[1]}), not {z.shape}")
        return self.reader.mixture.log_prob(z)

    @cached_property
    def map(self) -> Projection:
        """A plane in latent space in which the components stand apart."""
        return plane_of(self.reader.mixture, self.z)

    def figures(self, *names: str) -> dict[str, Axes]:
        """The pictures that apply, or those of some names; see `pyrovae.exploring.pictures`."""
        return figures(self, *names)

    # ---------------------------------------------------------------- labels

    @cached_property
    def agreement(self) -> Agreement | None:
        """How the components agree with the labels; None without labels."""
        if self.labels is None:
            return None
        return agreement(self.assignment, self.labels, len(self.components), names=self.names)

    # ---------------------------------------------------------------- editing

    def merge(self, a: int, b: int) -> editing.Edit:
        """Components a and b as one, of their common mean and covariance, in the place of the first."""
        a, b = self._component(a), self._component(b)
        return self._edit(f"components {a} and {b} merged", lambda mixture: editing.merge(mixture, a, b))

    def split(self, k: int) -> editing.Edit:
        """Component k as two halves of its longest axis, of the same mean and covariance together."""
        k = self._component(k)
        return self._edit(f"component {k} split", lambda mixture: editing.split_up(mixture, k))

    def remove(self, k: int) -> editing.Edit:
        """The mixture without component k, the other weights in proportion."""
        k = self._component(k)
        return self._edit(f"component {k} removed", lambda mixture: editing.remove(mixture, k))

    def reweight(self, weights: Mapping[int, float] | ArrayLike) -> editing.Edit:
        """Other weights: of some components by number, the rest in proportion, or of all."""
        if isinstance(weights, Mapping):
            weights = {self._component(k): w for k, w in weights.items()}
        return self._edit("components weighed anew", lambda mixture: editing.reweight(mixture, weights))

    def _edit(self, what: str, change: Callable[..., editing.Parts]) -> editing.Edit:
        new = editing.edited(self.vae, change(self.reader.mixture))
        after = log_evidence(new, torch.from_numpy(self.x), particles=self.particles, seed=self.seed)
        return editing.Edit(new, what, self.evidence, after)

    # ---------------------------------------------------------------- numbers

    def _component(self, k: Any) -> int:  # noqa: ANN401
        return self._number(k, len(self.components), "component")

    def _number(self, i: Any, count: int, what: str) -> int:  # noqa: ANN401
        if isinstance(i, bool) or not isinstance(i, (int, np.integer)) or not 0 <= i < count:
            raise InputError(f"there is no {what} {i!r}: choose a number from 0 to {count - 1}")
        return int(i)


def explore(
    vae: VAE,
    data: Data | ArrayLike | Tensor,
    *,
    split: Split = "test",
    rows: int = 2000,
    particles: int = 100,
    seed: int = 0,
    labels: ArrayLike | None = None,
) -> Exploration:
    """Look into a VAE whose latents are a mixture, with the help of data.

    Arguments:
        vae: with a mixture in its prior, or classes.
        data: what `datasets.load` gives, or data (N, *event).
        split: which part of the data; not looked at for a tensor.
        rows: data to look at, at most; chosen by the seed where there are more.
        particles: draws of z for each datum, for p(c|x) and log p(x).
        seed: of rows and draws.
        labels: of data given as a tensor, (N,); no answer but `agreement` looks at them.

    Raises:
        InputError: for a VAE without components, a conditional one, data that it cannot take, or an option
            that makes no sense.

    Example:
        >>> import pyrovae as pv
        >>> prior, likelihood = pv.priors.GaussianMixture(components=3), pv.likelihoods.Normal()
        >>> vae = pv.VAE((4,), latent_dim=2, prior=prior, likelihood=likelihood)
        >>> ex = explore(vae, torch.randn(50, 4))
        >>> ex.responsibilities.shape, int(ex.components.hard.sum())
        ((50, 3), 50)
    """
    reader = Reader(vae)
    particles, rows = whole_number("particles", particles), whole_number("rows", rows)
    if isinstance(data, Data):
        if labels is not None:
            raise InputError("labels go with data given as a tensor: a data set has its own")
        x, named = _part(data, split, seed)
    else:
        x, named = data, labels
    x, _ = inputs(Program(vae), x)
    y = None if named is None else _labels(named, len(x))
    chosen = np.arange(len(x))
    if rows < len(x):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(x))[:rows])
    x = x[torch.from_numpy(chosen).to(x.device)]
    encoding = reader.encode(x, particles, seed)
    return Exploration(
        vae=vae,
        x=x.cpu().numpy(),
        labels=None if y is None else y[chosen],
        rows=chosen,
        components=components_of(reader.mixture, encoding),
        particles=particles,
        seed=seed,
        reader=reader,
        encoding=encoding,
        names=_names(vae, data, y),
    )


def _names(vae: VAE, data: Any, labels: Integers | None) -> Integers | None:  # noqa: ANN401
    """The labels in the order of the classes, for a prior that was told some."""
    if not vae.prior.labels or labels is None:
        return None
    known = data.labels.train.cpu().numpy() if isinstance(data, Data) and data.labels else labels
    values = np.unique(known)
    return values if len(values) == vae.prior.states else None


def _part(data: Data, split: str, seed: int) -> tuple[Any, Any]:
    """One part of a data set, and its labels."""
    if split not in get_args(Split):
        raise InputError(f"unknown split {split!r}: choose test, validation or train")
    labels = None if data.labels is None else getattr(data.labels, split)
    if split != "train":
        return getattr(data, split), labels
    own = slice(data.distinct)  # behind them are copies
    return data.epoch(0, seed)[own], None if labels is None else labels[own]


def _labels(given: Any, count: int) -> Integers:  # noqa: ANN401
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if array.shape != (count,) or array.dtype.kind not in "biu":
        raise InputError(
            f"labels of type {array.dtype} and shape {array.shape} do not fit {count} data: give one whole "
            "number for each"
        )
    return array.astype(np.int64)


def _steps(steps: Any) -> int:  # noqa: ANN401
    if whole_number("steps", steps) < 2:
        raise InputError(f"steps is {steps}: a walk has 2 or more, its ends among them")
    return int(steps)
