r"""Moments of data, weighted by responsibilities, and the start of a fit.

    N_c = sum_n q_nc,   pi_c = N_c / N,   mu_c = sum_n q_nc x_n / N_c
    Sigma_c = sum_n q_nc (x_n - mu_c)(x_n - mu_c)' / N_c + reg I

Hard clusters are responsibilities of 0 and 1, so the same formulas initialise a mixture from
k-means.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from pyrovae.checks import number, one_of
from pyrovae.datasets import Rows
from pyrovae.errors import InputError
from pyrovae.mixtures.program import MixtureProgram
from pyrovae.seeds import generator_of

__all__ = ["Moments", "Start", "maximised", "started", "usable"]

Start = Literal["kmeans", "random", "given"]

EMPTY = 1e-8  # below this sum of responsibilities, a component gets the moments of all data


class Moments(NamedTuple):
    """Weights (C,), means (C, D), and covariances (C, D, D) or variances (C, D) or (C,)."""

    weights: Tensor
    loc: Tensor
    covariance: Tensor


def maximised(x: Tensor, q: Tensor, covariance: str, reg_covar: float) -> Moments:
    r"""The M step: maximise \(\sum_n E_{q_n}[\log p(x_n, c)]\); x (N, D), q (N, C).

    A component without data gets the moments of all data, and almost no weight.
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
    """Check the data (N, D); returns them in double precision, on the device of the mixture.

    Raises:
        InputError: for data of a wrong shape, with fewer rows than components or with values that
            are not finite; for an unknown start or a negative reg_covar.
    """
    x = Rows.of(x, like=mixture.loc.new_empty(0, dtype=torch.float64)).x.detach()
    mixture.check_rows(Rows(x), "the data")
    one_of("start", start, get_args(Start))
    number("reg_covar", reg_covar, least=0)
    least = 1 if start == "given" else mixture.components
    if len(x) < least:
        raise InputError(
            f"{len(x)} rows are too few to fit {mixture.components} components from start={start!r}: give at "
            f"least {least}"
        )
    odd = (~x.isfinite()).any(-1).nonzero()
    if len(odd):
        raise InputError(f"the data are not finite at row {int(odd[0])}: leave such rows out or fill them in")
    return x


def started(
    mixture: MixtureProgram, x: Tensor, start: Start, seed: int, reg_covar: float | None = None
) -> None:
    """Initialise the mixture for a fit, at clusters of the data or at random rows.

    Without a `reg_covar`, variances are kept above the mixture's floor.
    """
    reg_covar = max(4 * mixture.floor**2, 1e-12) if reg_covar is None else reg_covar
    if start == "kmeans":
        q = torch.nn.functional.one_hot(_clusters(x, mixture.components, seed), mixture.components).to(x)
        mixture.put(*maximised(x, q, mixture.covariance, reg_covar))
    elif start == "random":
        rng = generator_of(seed)
        rows = torch.randperm(len(x), generator=rng)[: mixture.components].to(x.device)
        everywhere = x.new_full((len(x), mixture.components), 1 / mixture.components)
        moments = maximised(x, everywhere, mixture.covariance, reg_covar)
        mixture.put(moments.weights, x[rows], moments.covariance)


def _clusters(x: Tensor, count: int, seed: int) -> Tensor:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # for fewer distinct rows than clusters
        labels = KMeans(count, n_init=1, random_state=seed).fit(x.cpu().numpy()).labels_
    return torch.as_tensor(labels, dtype=torch.long, device=x.device)
