r"""A linear measurement of a normal vector: y = A x + sd e, with x ~ N(m, C) and e ~ N(0, I).

    y ~ N(A m, S),   S = A C A' + sd^2 I
    x | y ~ N(m + G (y - A m), C - G A C),   G = C A' S^-1

Entries of y that are missing (NaN) are left out with their rows of A.

Reference:
    Bishop (2006), "Pattern Recognition and Machine Learning", section 2.3.3.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Conditioned", "normal_given"]

Conditioned = tuple[Tensor, Tensor, Tensor]


def normal_given(
    mean: Tensor, covariance: Tensor, y: Tensor, matrix: Tensor | None = None, sd: float = 0.0
) -> Conditioned:
    """log p(y) (B,), and mean (B, E) and covariance (B, E, E) of x given y.

    Arguments:
        mean, covariance: of x, (E,) and (E, E).
        y: measurements (B, F), NaN where missing.
        matrix: A, (F, E); the identity by default.
        sd: the standard deviation of the noise.

    Example:
        >>> y = torch.tensor([[1.0, torch.nan]])
        >>> normal_given(torch.zeros(2), torch.eye(2), y)[1]
        tensor([[1., 0.]])
    """
    matrix = torch.eye(len(mean)).to(mean) if matrix is None else matrix
    rows = [_one(mean, covariance, row[~row.isnan()], matrix[~row.isnan()], sd) for row in y]
    log_py, loc, left = (torch.stack(part) for part in zip(*rows, strict=True))
    return log_py, loc, left


def _one(mean: Tensor, covariance: Tensor, y: Tensor, matrix: Tensor, sd: float) -> Conditioned:
    if not len(y):
        return mean.new_zeros(()), mean, covariance
    spread = matrix @ covariance @ matrix.mT + sd**2 * torch.eye(len(y)).to(mean)
    gain = torch.linalg.solve(spread, matrix @ covariance).mT
    log_py = dist.MultivariateNormal(matrix @ mean, spread).log_prob(y)
    return log_py, mean + gain @ (y - matrix @ mean), covariance - gain @ matrix @ covariance
