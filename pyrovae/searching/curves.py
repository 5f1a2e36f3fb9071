r"""Learning curves: what an arm would reach if it were trained to the end.

After n pulls an arm has the reward y(n). A curve of one of several shapes r, which fall from 1 at
the first pull to 0 at the last pull H, starts at s and ends at v = s + g:

    y(n) = s + g (1 - r(n)) + noise,       noise ~ N(0, sigma^2 / discount^(m - n)) after m pulls

    power law     r(n) = (n^-b - H^-b) / (1 - H^-b)
    exponential   e^-(n-1)/t, shifted and scaled in the same way; for t >> H a straight line
    Hill          1 / (1 + (n/m)^b), b > 1, which is flat at first and then rises

s and g have normal priors, so the posterior of v given a shape is normal and exact. Shapes are
averaged with weights proportional to their marginal likelihoods. So are sigma and the size of the
gain g, whose prior is half that of the other arms (their marginal likelihoods) and half flat: arms
are alike, and a slow starter is not. An arm without a pull has the prior of the others.

The noise of old rewards is larger (`discount`), since no shape fits a whole curve: the first
epochs then do not decide where the last ones lead. A fifth of the gain that is still to come is
added to the error, because the true shape is none of these. With that, 5 % of the ends of simulated
curves (power laws, exponentials, Hill curves, and sums of them) were more than two errors away.

Reference:
    Domhan, Springenberg & Hutter (2015), "Speeding up Automatic Hyperparameter Optimization of Deep
    Neural Networks by Extrapolation of Learning Curves" (averages of parametric curves); Swersky,
    Snoek & Adams (2014), "Freeze-Thaw Bayesian Optimization" (exponential curves that share a
    prior).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyrovae.numerics import Array

__all__ = ["final_values", "shapes"]

POWERS = tuple(np.geomspace(0.125, 4.0, 11).tolist())
TIMES = tuple(np.geomspace(0.5, 128.0, 33).tolist())
STEEP, MIDDLES = (1.5, 2.0, 3.0), tuple(np.geomspace(1.0, 32.0, 11).tolist())
GAINS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)  # the prior's size of g, in ranges of the rewards seen
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3)  # sigma, in ranges
DOUBT = 0.2  # the error of a shape, as a fraction of the gain that is still to come
WIDE = 1.0  # the prior's standard deviation of s, in ranges


def shapes(pulls: Array, last: int) -> Array:
    """The values of all shapes at these numbers of pulls, (S, n).

    Arguments:
        pulls: numbers of pulls (n,), counted from 1.
        last: H, the number of pulls at which every shape is 0; at least 2.

    Example:
        >>> values = shapes(np.array([1.0, 5.0, 10.0]), 10)
        >>> values[0].round(2), bool((values[:, 0] == 1).all()), bool((values[:, 2] == 0).all())
        (array([1.  , 0.27, 0.  ]), True, True)
    """
    n = np.append(np.asarray(pulls, float), [1.0, last])
    values = np.array(
        [
            *(n**-b for b in POWERS),
            *(np.exp(-(n - 1) / t) for t in TIMES),
            *(1 / (1 + (n / m) ** b) for b in STEEP for m in MIDDLES),
        ]
    )
    start, end = values[:, -2:-1], values[:, -1:]
    return ((values - end) / (start - end))[:, :-2]


def final_values(curves: Sequence[Array], last: int, discount: float = 0.9) -> tuple[Array, Array]:
    """The predicted rewards of several arms after H pulls, and their standard errors.

    Arguments:
        curves: the rewards of each arm, one after each of its pulls; at least one is not empty.
        last: H, the number of pulls of an arm that is trained to the end.
        discount: how much less precise the reward before counts, between 0 and 1; 1 is a plain fit.

    Example:
        >>> n = np.arange(1, 9)
        >>> fast, slow = 10 - 5 * 0.5**n, 12 - 12 * 0.9**n     # after 40 pulls: 10.0 and 11.8
        >>> (fast[-1] > slow[-1]).item()
        True
        >>> final, error = final_values([fast, slow], 40)
        >>> (final[0] < final[1]).item(), (abs(final - [10.0, 11.8]) < 2 * error).tolist()
        (True, [True, True])
    """
    last = max(2, last, *(len(curve) for curve in curves))
    every = np.concatenate(list(curves))
    size = float(np.ptp(every)) or max(abs(float(every[0])), 1.0) * 1e-3
    first = float(np.mean([curve[0] for curve in curves if len(curve)]))
    fits = [_fits((curve - first) / size, last, discount) for curve in curves]
    own = [_log_mean(log_z, axis=0) for log_z, _, _ in fits]
    priors = [_half_flat(np.sum(own, axis=0) - log_z) for log_z in own]
    mixed = [_mixed(fit, np.log(prior) + log_z) for fit, prior, log_z in zip(fits, priors, own, strict=True)]
    final, error = np.array(mixed).T
    rest = np.array(
        [v - (curve[-1] - first) / size if len(curve) else 0 for v, curve in zip(final, curves, strict=True)]
    )
    return first + size * final, size * np.hypot(error, DOUBT * rest)


def _fits(curve: Array, last: int, discount: float) -> tuple[Array, Array, Array]:
    """For shapes, gains and noises, (S, G, N): log marginal likelihood; mean and variance of v."""
    n = len(curve)
    rates = shapes(np.arange(1.0, n + 1), last)
    weight = discount ** np.arange(n - 1.0, -1.0, -1.0)
    basis = np.stack([np.ones_like(rates), 1 - rates], -1)  # (S, n, 2), the factors of s and g
    square = np.einsum("n,sni,snj->sij", weight, basis, basis)[:, None, None]
    linear = np.einsum("n,sni,n->si", weight, basis, curve)[:, None, None]
    total = float(weight @ curve**2)
    gain, noise = np.array(GAINS)[None, :, None], np.array(NOISES)[None, None] ** 2
    prior = np.zeros((1, len(GAINS), len(NOISES), 2, 2))  # the precision; g ~ N(gain, gain^2)
    prior[..., 0, 0], prior[..., 1, 1] = WIDE**-2, gain**-2
    mean = np.zeros((1, len(GAINS), len(NOISES), 2))
    mean[..., 1] = gain
    precision = prior + square / noise[..., None, None]
    shift = np.einsum("sgnij,sgnj->sgni", prior, mean) + linear / noise[..., None]
    covariance = np.linalg.inv(precision)
    centre = np.einsum("sgnij,sgnj->sgni", covariance, shift)
    misfit = total / noise + (mean**2 * prior.diagonal(0, -2, -1)).sum(-1) - (centre * shift).sum(-1)
    log_z = -0.5 * (
        misfit + n * np.log(noise) - np.linalg.slogdet(prior)[1] + np.linalg.slogdet(precision)[1]
    )
    return log_z, centre.sum(-1), covariance.sum((-2, -1)) + noise


def _half_flat(log_w: Array) -> Array:
    """Half the distribution of these weights, and half a flat one."""
    share = np.exp(log_w - log_w.max())
    return 0.5 * share / share.sum() + 0.5 / share.size


def _mixed(fit: tuple[Array, Array, Array], log_w: Array) -> tuple[float, float]:
    """Mean and standard deviation of v, averaged over shapes and over gains and noises, (G, N)."""
    log_z, mean, variance = fit
    share = np.exp(log_z - log_z.max(0, keepdims=True))
    share = share / share.sum(0, keepdims=True) * np.exp(log_w - log_w.max())
    share /= share.sum()
    centre = float((share * mean).sum())
    return centre, float(np.sqrt((share * (variance + (mean - centre) ** 2)).sum()))


def _log_mean(values: Array, axis: int) -> Array:
    top = values.max(axis, keepdims=True)
    return (np.log(np.exp(values - top).mean(axis, keepdims=True)) + top).squeeze(axis)
