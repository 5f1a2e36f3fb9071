r"""Moments of data under responsibilities, and where a fit begins.

    N_c = sum_n q_nc,   pi_c = N_c / N,   mu_c = sum_n q_nc x_n / N_c
    Sigma_c = sum_n q_nc (x_n - mu_c)(x_n - mu_c)' / N_c + reg I

Hard clusters are responsibilities of 0 and 1, so k-means starts a mixture by the same formulas.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.mixtures.program import MixtureProgram

__all__ = ["Moments", "Start", "maximised", "started", "usable", "whole"]

Start = Literal["kmeans", "random", "given"]

EMPTY = 1e-8  # data's worth of responsibility below which a component has no moments of its own


class Moments(NamedTuple):
    """Weights (C,), means (C, D), and covariances (C, D, D) or variances (C, D) or (C,)."""

    weights: Tensor
    loc: Tensor
    covariance: Tensor


def maximised(x: Tensor, q: Tensor, covariance: str, reg_covar: float) -> Moments:
    r"""The parameters of largest \(\sum_n E_{q_n}[\log p(x_n, c)]\), the M step; x (N, D), q (N, C).

    A component without data takes the moments of all of them, and next to no weight.
    """
    total = q.sum(0)
    count = total + 10 * torch.finfo(x.dtype).eps
    bare = (total < EMPTY).unsqueeze(-1)
    loc = torch.where(bare, x.mean(0), q.mT @ x / count.unsqueeze(-1))
    share = torch.where(bare.mT, 1 / len(x), q / count)
    squares = torch.stack([_squares(x - at, share[:, c], covariance) for c, at in enumerate(loc)])
    if covariance == "full":
        squares.diagonal(dim1=-2, dim2=-1).add_(reg_covar)
        return Moments(count / count.sum(), loc, squares)
    variance = squares + reg_covar
    return Moments(count / count.sum(), loc, variance.mean(-1) if covariance == "spherical" else variance)


def _squares(apart: Tensor, share: Tensor, covariance: str) -> Tensor:
    if covariance == "full":
        return (share.unsqueeze(-1) * apart).mT @ apart
    return share @ apart.square()


def usable(mixture: MixtureProgram, x: Any, start: Start, reg_covar: float = 0.0) -> Tensor:  # noqa: ANN401
    """The data in double precision, where the mixture's parameters are.

    Raises:
        InputError: for data of another shape, none, fewer than the components, or not finite; for an unknown
            start or a negative reg_covar.
    """
    x = mixture.check(torch.as_tensor(x).detach().to(mixture.loc.device, torch.float64))
    if start not in ("kmeans", "random", "given"):
        raise InputError(f"unknown start {start!r}: choose kmeans, random or given")
    if not (math.isfinite(reg_covar) and reg_covar >= 0):
        raise InputError(f"reg_covar is added to variances and must be 0 or more, not {reg_covar}")
    least = 1 if start == "given" else mixture.components
    if len(x) < least:
        raise InputError(
            f"{len(x)} data are too few to fit {mixture.components} components from start={start!r}: give at "
            f"least {least}"
        )
    odd = (~x.isfinite()).any(-1).nonzero()
    if len(odd):
        raise InputError(f"the data are not finite at row {int(odd[0])}: leave such rows out or fill them in")
    return x


def started(
    mixture: MixtureProgram, x: Tensor, start: Start, seed: int, reg_covar: float | None = None
) -> None:
    """Put the mixture where a fit begins: on clusters of the data, or on data drawn from a seed.

    Without a `reg_covar`, variances are kept above the mixture's floor.
    """
    reg_covar = max(4 * mixture.floor**2, 1e-12) if reg_covar is None else reg_covar
    if start == "kmeans":
        q = torch.nn.functional.one_hot(_clusters(x, mixture.components, seed), mixture.components).to(x)
        mixture.put(*maximised(x, q, mixture.covariance, reg_covar))
    elif start == "random":
        rng = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(x), generator=rng)[: mixture.components].to(x.device)
        everywhere = x.new_full((len(x), mixture.components), 1 / mixture.components)
        moments = maximised(x, everywhere, mixture.covariance, reg_covar)
        mixture.put(moments.weights, x[rows], moments.covariance)


def _clusters(x: Tensor, count: int, seed: int) -> Tensor:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # fewer distinct data than clusters: some are empty
        labels = KMeans(count, n_init=1, random_state=seed).fit(x.cpu().numpy()).labels_
    return torch.as_tensor(labels, dtype=torch.long, device=x.device)


def whole(**given: Any) -> None:  # noqa: ANN401
    """Refuse what is no whole number of 1 or more.

    Raises:
        InputError: for the first such.
    """
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a whole number of 1 or more, not {value!r}")
