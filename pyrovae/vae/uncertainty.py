r"""The variance of what a Bayesian VAE predicts for a row, split by its source.

    Var[m(z, w)] = E_w Var_z m(z, w)  +  Var_w E_z m(z, w),      m(z, w) = E[x | z, w]
                   from z                from w

with z ~ q(z|x) and w ~ q(w). The first part remains however many training rows there are. The
second shrinks with their number, and tends to be larger for rows that are unlike them.

Reference:
    Depeweg, Hernandez-Lobato, Doshi-Velez & Udluft (2018), "Decomposition of Uncertainty in
    Bayesian Deep Learning for Efficient and Risk-sensitive Learning".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.display import Displayed
from pyrovae.numerics import as_array

__all__ = ["Uncertainty", "split_variance"]

PAIRS = 2**14  # (sample, row) pairs that are decoded at once


@dataclass(frozen=True, eq=False, repr=False)
class Uncertainty(Displayed):
    """The variance of E[x|z, w] of N rows, in the squared units of x, from each of its sources.

    The parts are unbiased estimates, so a small one may be below 0.

    Attributes:
        mean: E[x|z, w] averaged over z and w, (N, *event).
        from_z: E_w Var_z E[x|z, w], (N, *event).
        from_w: Var_w E_z E[x|z, w], (N, *event).
        draws: S, the number of samples of w.
        samples: K, the number of samples of z for each of them.
    """

    mean: np.ndarray
    from_z: np.ndarray
    from_w: np.ndarray
    draws: int
    samples: int

    @property
    def total(self) -> np.ndarray:
        """The sum of both parts, (N, *event)."""
        return self.from_z + self.from_w

    def __len__(self) -> int:
        return len(self.mean)

    def __str__(self) -> str:
        z, w = float(self.from_z.mean()), float(self.from_w.mean())
        share = f", a share of {w / (z + w):.1%}" if z + w > 0 else ""
        return (
            f"variance of E[x|z, w] of {len(self):,} rows, mean over elements: {z + w:.4g}\n"
            f"  from z   {z:.4g}\n  from w   {w:.4g}{share}"
        )


@torch.no_grad()
def split_variance(vae: Any, rows: Rows, draws: int, samples: int) -> Uncertainty:  # noqa: ANN401
    r"""Estimate both parts from S samples of w, and K samples of z for each of them.

    Random numbers come from torch's random state. With m_sk the mean at z_sk and w_s, from_z is the
    mean of var_k(m_sk), and from_w is var_s(mean_k m_sk) - from_z / K, since the mean over k has
    the variance from_z / K itself.
    """
    shape = (len(rows), *vae.event_shape)
    mean, squares, within = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    for number in range(draws):
        at: AbstractContextManager[None] = vae._at_draw()
        with at:
            own, variance = (torch.cat(part) for part in zip(*_moments(vae, rows, samples), strict=True))
        change = own - mean  # Welford's sums
        mean += change / (number + 1)
        squares += change * (own - mean)
        within += variance / draws
    between = squares / (draws - 1) - within / samples
    return Uncertainty(as_array(mean), as_array(within), as_array(between), draws, samples)


def _moments(vae: Any, rows: Rows, samples: int) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ANN401
    """Mean and variance of E[x|z, w] over samples of z, for each batch of rows."""
    for some in rows.batches(max(1, PAIRS // samples)):
        z = vae.encode(some).sample((samples,))
        means = vae._mean(vae.decode(z, some.context)).double().cpu()
        yield means.mean(0), means.var(0)
