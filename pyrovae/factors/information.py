r"""Metrics of the mutual information between each latent and each factor.

    I(z_j; v_k) = sum over bins b and values v of p(b, v) log p(b, v) / (p(b) p(v))      in nats

The range of each code is cut into 20 intervals of equal width, and so is that of a continuous
factor; p are the frequencies. The estimate is too large by about (B - 1)(V - 1) / 2N for B bins and
V values: 0.02 nats for 20 of both and 10,000 rows.

Reference:
    Locatello et al. (2019), "Challenging Common Assumptions in the Unsupervised Learning of
    Disentangled Representations", from which the 20 bins are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.factors.base import BINS, Coded, Integers, Metric
from pyrovae.numerics import Array, as_array, numbers

__all__ = ["MIG", "Modularity", "binned", "entropies", "mutual_information", "shuffled_information"]

LEVEL = 0.001  # of the test that a latent has information about some factor
SHUFFLES = 10


class _OfHistograms(Metric):
    """A metric of the information in samples of q(z|x)."""

    reads = "samples"

    def __init__(self, bins: int = BINS) -> None:
        self.bins = whole("bins", bins, 2)


class MIG(_OfHistograms):
    r"""The mutual information gap: a factor should be in one latent only.

    \[\frac1F \sum_k \frac{I(z_{(1)}; v_k) - I(z_{(2)}; v_k)}{H(v_k)}\]

    z_(1) and z_(2) are the two latents with the most information about factor k. The codes are
    samples of q(z|x), so that a latent which q(z|x) hardly fixes has little information. A factor
    that has one value in the rows of a replicate counts 0 there.

    Arguments:
        bins: the number of intervals of each code.

    Reference:
        Chen, Li, Grosse & Duvenaud (2018), "Isolating Sources of Disentanglement in Variational
        Autoencoders". They compute I from the densities q(z|x); the histogram of samples is that of
        Locatello et al. (2019), who use means.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, (2000, 2))
        >>> MIG()(factors, factors)["MIG"] > 0.99
        True
    """

    source = "Chen et al. (2018)"

    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        information = np.sort(mutual_information(rows.codes, rows.classes, self.bins), 0)
        entropy = entropies(rows.classes)
        gap = (information[-1] - information[-2]) / np.where(entropy > 0, entropy, 1.0)
        return {"MIG": float(gap.mean())}


class Modularity(_OfHistograms):
    r"""Modularity: a latent should have information about one factor only.

    \[\frac1{|A|} \sum_{j \in A} \Big(1 - \frac{\sum_{k \ne k_j} I(z_j; v_k)^2}{(F - 1)\,
    I(z_j; v_{k_j})^2}\Big), \qquad k_j = \arg\max_k I(z_j; v_k)\]

    A are the latents with information about some factor; the others have no largest factor. The
    score is 0 without any. The codes are samples of q(z|x), as for `MIG`.

    For independent columns 2 N I has a chi-squared distribution (the G-test). Its degrees of
    freedom are the mean of 2 N I over 10 shuffles of the rows, since many cells of the table may be
    nearly empty, and the level is 0.001 over all pairs (Bonferroni).

    Arguments:
        bins: the number of intervals of each code.

    Reference:
        Ridgeway & Mozer (2018), "Learning Deep Disentangled Embeddings with the F-Statistic Loss".
        They average over all latents.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, (2000, 2))
        >>> Modularity()(factors, factors)["modularity"] > 0.99
        True
    """

    source = "Ridgeway & Mozer (2018)"
    replicates = 20

    def scores(self, rows: Coded, rng: np.random.Generator) -> dict[str, float]:
        information = mutual_information(rows.codes, rows.classes, self.bins)
        chance = _limits(binned(rows.codes, self.bins), rows.classes, rng)
        squared = np.square(information[(information > chance).any(1)])
        if not len(squared):
            return {"modularity": 0.0}
        largest = squared.max(1)
        others = (squared.sum(1) - largest) / ((squared.shape[1] - 1) * largest)
        return {"modularity": float(1 - others.mean())}


def mutual_information(codes: ArrayLike, classes: ArrayLike, bins: int = BINS) -> Array:
    """I(z_j; v_k) of codes (N, D) and classes (N, F), in nats, (D, F).

    Arguments:
        codes: real numbers, each column cut into `bins` intervals of equal width.
        classes: class indices of 0 or more.

    Raises:
        InputError: for codes that are not finite, or classes that are not indices of the same rows.

    Example:
        >>> classes = np.arange(1000)[:, None] % 4
        >>> bool(np.isclose(mutual_information(classes / 3.0, classes), np.log(4)).all())
        True
    """
    codes = numbers(codes, "codes", ("N", "D"))
    labels = numbers(classes, "classes", (len(codes), "F"))
    if (labels != labels.round()).any() or labels.min() < 0:
        raise InputError("classes are not whole numbers of 0 or more: give class indices")
    cells = binned(codes, whole("bins", bins, 2))
    values = labels.astype(np.int64)
    return _table(cells, values)


def shuffled_information(rows: Coded, seed: int) -> Array:
    """The information that remains if the factors belong to other rows, in nats, (D, F).

    It is the bias of `mutual_information` for independent columns, a mean over 10 shuffles.
    """
    return _of_shuffled(binned(rows.codes, BINS), rows.classes, np.random.default_rng(seed))


def entropies(classes: Integers) -> Array:
    """H(v_k) of classes (N, F) in nats, (F,)."""
    return np.array([_entropy(np.bincount(column)) for column in as_array(classes).T])


def binned(codes: Array, bins: int) -> Integers:
    """The interval of each code, (N, D): `bins` of equal width from the smallest to the largest."""
    low, high = codes.min(0), codes.max(0)
    share = (codes - low) / np.where(high > low, high - low, 1.0)
    return np.minimum((share * bins).astype(np.int64), bins - 1)


def _of_shuffled(cells: Integers, classes: Integers, rng: np.random.Generator) -> Array:
    """The mean information of shuffled rows in nats, (D, F): the bias for independent columns."""
    orders = [rng.permutation(len(cells)) for _ in range(SHUFFLES)]
    return np.mean([_table(cells[order], classes) for order in orders], 0)


def _table(cells: Integers, values: Integers) -> Array:
    """The information of each pair of columns, (D, F)."""
    return np.array([[_information(cell, value) for value in values.T] for cell in cells.T])


def _information(a: Integers, b: Integers) -> float:
    """The mutual information of two columns of class indices, in nats."""
    height, width = int(a.max()) + 1, int(b.max()) + 1
    counts = np.bincount(a * width + b, minlength=height * width).reshape(height, width)
    return _entropy(counts.sum(1)) + _entropy(counts.sum(0)) - _entropy(counts)


def _entropy(counts: Integers) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def _limits(cells: Integers, classes: Integers, rng: np.random.Generator) -> Array:
    """The information that independent columns rarely exceed, in nats, (D, F)."""
    from scipy.stats import chi2

    freedom = 2 * len(cells) * _of_shuffled(cells, classes, rng)
    return chi2.isf(LEVEL / freedom.size, np.maximum(freedom, 1.0)) / (2 * len(cells))
