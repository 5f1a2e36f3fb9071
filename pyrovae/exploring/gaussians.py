r"""Closed forms for Gaussians: overlap, divergence, axes, and how to merge and split them.

    overlap      BC(a, b) = int sqrt(N_a N_b) = exp(-D_B),   S = (S_a + S_b) / 2,
                 D_B = 1/8 (m_a - m_b)' S^-1 (m_a - m_b) + 1/2 log(det S / sqrt(det S_a det S_b))
    divergence   KL(q||k) = 1/2 [tr(S_k^-1 S_q) + d' S_k^-1 d - D + log(det S_k / det S_q)],
                 d = m_q - m_k
    merged       w = w_a + w_b,   m = sum w_i m_i / w,   S = sum w_i (S_i + (m_i - m)(m_i - m)') / w
    split        two of weight w/2 at m -+ h e with covariance S - h^2 e e',   h^2 = (2/pi) lambda

A Gaussian is split along its first principal axis e, with variance lambda. The two halves of a
Gaussian cut at its mean have their means at -+ sqrt(2 lambda / pi). Subtracting the square of this
step from the variance keeps the second moment.

References:
    Bhattacharyya (1943), "On a Measure of Divergence between Two Statistical Populations"; Runnalls
    (2007), "Kullback-Leibler Approach to Gaussian Mixture Reduction"; Kullback (1959), "Information
    Theory and Statistics".
"""

from __future__ import annotations

import math

import numpy as np

from pyrovae.numerics import Array

__all__ = ["divergences", "effective", "entropy", "mahalanobis", "merged", "overlaps", "principal", "split"]


def overlaps(mean: Array, covariance: Array) -> Array:
    r"""The Bhattacharyya coefficients of all pairs: 1 if components are equal, near 0 if distant.

    Arguments:
        mean: (K, D).
        covariance: (K, D, D).

    Returns:
        (K, K), symmetric, with ones on the diagonal.

    Example:
        >>> apart = overlaps(np.array([[0.0], [2.0]]), np.ones((2, 1, 1)))[0, 1]
        >>> bool(np.isclose(apart, np.exp(-0.5)))
        True
    """
    count = len(mean)
    log_det = np.linalg.slogdet(covariance)[1]
    result = np.eye(count)
    for i in range(count - 1):  # a row at a time: all pairs of 500 components would not fit into memory
        rest = slice(i + 1, count)
        middle = (covariance[i] + covariance[rest]) / 2
        apart = mahalanobis(mean[i] - mean[rest], middle)
        distance = apart / 8 + (np.linalg.slogdet(middle)[1] - (log_det[i] + log_det[rest]) / 2) / 2
        result[i, rest] = result[rest, i] = np.exp(-np.maximum(distance, 0.0))
    return result


def divergences(mean: Array, covariance: Array, of_mean: Array, of_covariance: Array) -> Array:
    """KL(q_n || N_k) in nats, from each q_n to each component.

    Arguments:
        mean: the means of the components, (K, D).
        covariance: the covariances of the components, (K, D, D).
        of_mean: the means of q_n, (N, D).
        of_covariance: the covariances of q_n, (N, D, D), or their diagonals, (N, D).

    Returns:
        (N, K).

    Example:
        >>> one = np.array([[[1.0]]])
        >>> float(divergences(np.zeros((1, 1)), one, np.array([[2.0]]), np.array([[1.0]]))[0, 0])
        2.0
    """
    precision = np.linalg.inv(covariance)
    if of_covariance.ndim == 2:
        trace = of_covariance @ np.diagonal(precision, axis1=1, axis2=2).T
        log_det = np.log(of_covariance).sum(1)
    else:
        trace = np.einsum("nij,kij->nk", of_covariance, precision, optimize=True)
        log_det = np.linalg.slogdet(of_covariance)[1]
    apart = np.stack([mahalanobis(of_mean - m, s) for m, s in zip(mean, covariance, strict=True)], 1)
    return (trace + apart - mean.shape[1] + np.linalg.slogdet(covariance)[1] - log_det[:, None]) / 2


def mahalanobis(difference: Array, covariance: Array) -> Array:
    """Squared distances d' S^-1 d of differences (M, D), with one covariance (D, D) or one each."""
    factor = np.linalg.cholesky(covariance)
    if factor.ndim == 2:
        return (np.linalg.solve(factor, difference.T) ** 2).sum(0)
    return (np.linalg.solve(factor, difference[..., None])[..., 0] ** 2).sum(-1)


def principal(covariance: Array) -> tuple[Array, Array]:
    """Variances (D,), descending, and axes (D, D), one per row, with positive largest entries."""
    variance, vectors = np.linalg.eigh(covariance)
    axes = vectors.T[::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return variance[::-1].copy(), axes * np.where(largest < 0, -1.0, 1.0)


def merged(weight: Array, mean: Array, covariance: Array) -> tuple[float, Array, Array]:
    """One Gaussian with the total weight and the joint mean and covariance of several.

    Arguments:
        weight: (J,).
        mean: (J, D).
        covariance: (J, D, D).
    """
    share = weight / weight.sum()
    middle = share @ mean
    apart = mean - middle
    spread = covariance + apart[:, :, None] * apart[:, None, :]
    return float(weight.sum()), middle, np.einsum("j,jab->ab", share, spread)


def split(weight: float, mean: Array, covariance: Array) -> tuple[Array, Array, Array]:
    """Two Gaussians of half the weight on the first principal axis, with the same joint moments."""
    variance, axes = principal(covariance)
    step = math.sqrt(2 / math.pi * variance[0]) * axes[0]
    narrow = covariance - np.outer(step, step)
    return np.full(2, weight / 2), np.stack([mean - step, mean + step]), np.stack([narrow, narrow])


def entropy(share: Array) -> Array:
    """The entropy in nats of probabilities along the last axis."""
    return -np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0).sum(-1)


def effective(weight: Array) -> float:
    """The number of components of equal weight with this entropy.

    Example:
        >>> round(effective(np.array([0.5, 0.5, 0.0])), 6)
        2.0
    """
    return float(np.exp(entropy(weight / weight.sum())))
