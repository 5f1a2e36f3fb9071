r"""Baselines for a VAE: densities without a network, fitted to the same rows.

    pixel means              p(x) = prod_i  m_i^{x_i} (1 - m_i)^{1 - x_i}
    mixture of Bernoullis    p(x) = sum_k pi_k prod_i  m_ki^{x_i} (1 - m_ki)^{1 - x_i}      by EM
    independent columns      p(x) = prod_i p_i(x_i), by the kind of each column

All give log p(x) exactly, in nats per observation. Rows may be `Rows`, tensors or arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.seeds import generator_of

__all__ = ["bernoulli_mixture", "independent_columns", "pixel_means"]

Table = Rows | Tensor | np.ndarray


def pixel_means(train: Table, test: Table) -> Tensor:
    r"""log p(x) of binary rows under independent elements with the training set's means.

    Missing entries (NaN) are left out of the fit and of log p(x).

    Arguments:
        train: (N, *event), zeros and ones.
        test: (M, *event).

    Returns:
        log p(x) in nats, (M,).

    Example:
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> pixel_means(x, x)
        tensor([-0.6931, -0.6931], dtype=torch.float64)
    """
    return bernoulli_mixture(train, test, components=1, iterations=1)


def bernoulli_mixture(
    train: Table, test: Table, *, components: int = 10, iterations: int = 200, seed: int = 0
) -> Tensor:
    r"""log p(x) of binary rows under a mixture of Bernoullis fitted by expectation-maximisation.

    It starts from random responsibilities. Each mean has one pseudo-count spread over its two
    values, so that an element that never varied in training cannot make p(x) zero.

    Arguments:
        train, test: as for `pixel_means`.
        components: K.
        iterations: the maximum number of EM iterations; EM stops when log p(x) grows by less than
            1e-6 nats per row.
        seed: seed of the initial responsibilities.

    Returns:
        log p(x) in nats, (M,).

    Raises:
        InputError: if the rows are not binary.

    Reference:
        Bishop (2006), "Pattern Recognition and Machine Learning", section 9.3.3.
    """
    x, y = _table(train), _table(test)
    if not ((x == 0) | (x == 1) | x.isnan()).all():
        raise InputError("a mixture of Bernoullis needs values of 0 and 1: binarise the data first")
    generator = generator_of(seed)
    responsibility = torch.rand(len(x), components, generator=generator, dtype=x.dtype).softmax(-1)
    before = -math.inf
    for _ in range(iterations):
        log_weights, means = _maximise(x, responsibility)
        joint = _log_joint(x, log_weights, means)
        total = torch.logsumexp(joint, 1)
        responsibility = (joint - total.unsqueeze(1)).exp()
        if total.mean() - before < 1e-6:
            break
        before = total.mean().item()
    return torch.logsumexp(_log_joint(y, log_weights, means), 1)


def _maximise(x: Tensor, responsibility: Tensor) -> tuple[Tensor, Tensor]:
    counts, present = responsibility.sum(0), (~x.isnan()).to(x)
    means = (responsibility.mT @ x.nan_to_num() + 0.5) / (responsibility.mT @ present + 1)
    return (counts / counts.sum()).log(), means


def _log_joint(x: Tensor, log_weights: Tensor, means: Tensor) -> Tensor:
    ones, zeros = x.nan_to_num(), (1 - x).nan_to_num()  # a missing entry is neither
    return ones @ means.log().mT + zeros @ (-means).log1p().mT + log_weights


def independent_columns(train: Table, test: Table, columns: Sequence[str]) -> Tensor:
    r"""log p(x) of a table under independent columns, each fitted by maximum likelihood.

    Missing entries (NaN) are left out of the fit and of log p(x). One pseudo-count is spread over
    all classes, so that none has probability zero.

    Arguments:
        train: (N, C).
        test: (M, C).
        columns: the kind of each column, as for `pyrovae.likelihoods.Mixed`.

    Returns:
        log p(x) in nats, (M,).

    Raises:
        InputError: if the number of columns differs, or a kind is unknown.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [torch.nan]])
        >>> independent_columns(x, x, ["bernoulli"])
        tensor([-0.6931, -0.6931,  0.0000], dtype=torch.float64)
    """
    x, y = _table(train).numpy(), _table(test).numpy()
    if x.shape[1] != len(columns):
        raise InputError(f"{len(columns)} kinds were given for {x.shape[1]} columns: give one for each")
    total = np.zeros(len(y))
    for i, kind in enumerate(columns):
        there = ~np.isnan(y[:, i])
        total[there] += _fitted(kind, x[~np.isnan(x[:, i]), i])(y[there, i])
    return torch.from_numpy(total)


def _table(rows: Table) -> Tensor:
    """Rows as a float64 matrix on the CPU."""
    return Rows.of(rows).x.detach().cpu().double().flatten(1)


def _fitted(kind: str, x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The log-density of one column under the distribution that fits it best."""
    from scipy import stats

    word, _, count = kind.partition(":")
    if not len(x):  # no value, so nothing is known about the distribution
        x = np.ones(1)
    if word in ("bernoulli", "categorical", "ordinal"):
        classes = int(count or 2)
        share = (np.bincount(x.astype(int), minlength=classes) + 1 / classes) / (len(x) + 1)
        return lambda y: np.log(share)[y.astype(int)]
    if word in ("negativebinomial", "zeroinflatednegativebinomial"):
        return _fitted_counts(x, inflated=word.startswith("zero"))
    if word == "poisson":
        return stats.poisson(max(x.mean(), 1e-4)).logpmf
    if word == "lognormal":
        return stats.lognorm(s=max(np.log(x).std(), 1e-4), scale=np.exp(np.log(x).mean())).logpdf
    if word == "laplace":
        return stats.laplace(np.median(x), _spread(np.abs(x - np.median(x)).mean(), x)).logpdf
    if word == "studentt":
        return stats.t(*stats.t.fit(x)).logpdf
    if word == "normal":
        return stats.norm(x.mean(), _spread(x.std(), x)).logpdf
    raise InputError(f"no distribution is known for a column of kind {kind!r}")


def _spread(spread: float, x: np.ndarray) -> float:
    """The spread of values in any unit; 1e-4 of a constant column, whose spread is rounding."""
    return spread if spread > 1e-12 * np.abs(x).max() else 1e-4


def _fitted_counts(x: np.ndarray, *, inflated: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Fit a negative binomial, zero-inflated or not, by the simplex method from its moments."""
    from scipy import optimize, stats

    def log_p(theta: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        (mean, r), gate = np.exp(theta[:2]), 1 / (1 + np.exp(-theta[2])) if inflated else 0.0
        counts = stats.nbinom(r, r / (r + mean))
        return lambda y: np.logaddexp(
            np.log1p(-gate) + counts.logpmf(y),
            np.where((y == 0) & (gate > 0), np.log(gate + 1e-300), -np.inf),
        )

    mean = max(x.mean(), 1e-3)
    excess = max(x.var() - mean, 1e-2 * mean)
    start = [math.log(mean), math.log(mean**2 / excess), *([-2.0] if inflated else [])]
    values, repeats = np.unique(x, return_counts=True)
    best = optimize.minimize(lambda t: -(repeats @ log_p(t)(values)) / len(x), start, method="Nelder-Mead")
    return log_p(best.x)
