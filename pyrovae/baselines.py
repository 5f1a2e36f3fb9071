r"""What a VAE must beat: densities without a network, fitted to the same binary data.

    pixel means              p(x) = prod_i  m_i^{x_i} (1 - m_i)^{1 - x_i}
    mixture of Bernoullis    p(x) = sum_k pi_k prod_i  m_ki^{x_i} (1 - m_ki)^{1 - x_i}      by EM

Both give log p(x) exactly, in nats per datum, so a figure beside a VAE's needs no error of estimation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrovae.errors import InputError

__all__ = ["bernoulli_mixture", "pixel_means"]


def pixel_means(train: Tensor, test: Tensor) -> Tensor:
    r"""log p(x) of binary data under independent elements with the training set's means.

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
    train: Tensor, test: Tensor, *, components: int = 10, iterations: int = 200, seed: int = 0
) -> Tensor:
    r"""log p(x) of binary data under a mixture of Bernoullis fitted by expectation-maximisation.

    It starts from random responsibilities. Each mean has one pseudo-count spread over its two values, so
    that an element that never varied in training does not give a test datum probability zero.

    Arguments:
        train: (N, *event), zeros and ones.
        test: (M, *event).
        components: K.
        iterations: of EM, at most; it stops when the bound grows by less than 1e-6 nats per datum.
        seed: of the start.

    Returns:
        log p(x) in nats, (M,).

    Raises:
        InputError: when the data are not binary.

    Reference:
        Bishop (2006), "Pattern Recognition and Machine Learning", section 9.3.3.
    """
    x, y = (t.detach().cpu().double().flatten(1) for t in (train, test))
    if not ((x == 0) | (x == 1)).all():
        raise InputError("a mixture of Bernoullis needs values of 0 and 1: binarise the data first")
    generator = torch.Generator().manual_seed(seed)
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
    counts = responsibility.sum(0)
    means = (responsibility.mT @ x + 0.5) / (counts.unsqueeze(1) + 1)
    return (counts / counts.sum()).log(), means


def _log_joint(x: Tensor, log_weights: Tensor, means: Tensor) -> Tensor:
    return x @ means.log().mT + (1 - x) @ (-means).log1p().mT + log_weights
