r"""The units of real data: a location m and a spread s of the training data, x = m + s u.

    events (D,)       one m and s for each element         columns in their own units
    other events      one m and s for all elements         pixels, steps of a series

Some data are near a unit scale already: every |m| is at most 3, every s at most 5, and the mean
square of the s at least 0.1^2. Then m = 0 and s = 1, so images in [0, 1] and data that the user has
standardised stay as they are. m and s are computed in float64, and missing entries are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FAR_IN_UNITS", "limited", "moments", "standard_units"]

FARTHEST, WIDEST, NARROWEST = 3.0, 5.0, 0.1
FAR = 5.0  # spreads from the mean
FAR_IN_UNITS = FARTHEST + FAR * WIDEST  # as far, where values keep their own units
# A spread below this share of the mean is the rounding error of a constant.
ROUNDING = 1e-12


def standard_units(x: Tensor, event_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return m and s of rows (N, *event), and the mean spread of u = (x - m) / s, ().

    Example:
        >>> m, s, spread = standard_units(torch.tensor([[1e9], [3e9]]), 1)
        >>> m.tolist(), s.tolist(), spread.item()
        ([2000000000.0], [1000000000.0], 1.0)
        >>> m, s, spread = standard_units(torch.tensor([[0.0], [1.0]]), 1)  # near a unit scale
        >>> m.tolist(), s.tolist(), spread.item()
        ([0.0], [1.0], 0.5)
    """
    values = x.double()
    shift, spread = moments(values if event_dim == 1 else values.reshape(-1))
    typical = spread.square().mean().sqrt()
    is_near = (shift.abs() <= FARTHEST).all() & (spread <= WIDEST).all() & (typical >= NARROWEST)
    if bool(is_near):
        return torch.zeros_like(shift), torch.ones_like(spread), typical
    return shift, spread, torch.ones_like(typical)


def moments(x: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and spread over rows, without missing entries (NaN); 0 and 1 if all are missing.

    Arguments:
        x: (N, *event), float64.
        present: (N, *event), where to use x; by default where it is not NaN.
    """
    present = ~x.isnan() if present is None else present
    count = present.sum(0).clamp(min=1)
    mean = torch.where(present, x, 0.0).div(count).sum(0)
    apart = torch.where(present, x - mean, 0.0)
    largest = apart.abs().amax(0)
    unit = torch.where(largest > 0, largest, 1.0)  # squares of very large and very small numbers
    spread = (apart / unit).square().sum(0).div(count).sqrt() * unit
    return mean, torch.where(spread > ROUNDING * mean.abs(), spread, 1.0)


def limited(u: Tensor, far: float = FAR) -> Tensor:
    """Values as the encoder reads them: beyond `far` they grow only as a logarithm.

    An entry that is far outside the training data, such as one with a misplaced decimal point,
    would otherwise move z so far that this row decides the mean of the validation bound.

    Example:
        >>> limited(torch.tensor([-4.0, 5.0, 6.0, 1e6]))
        tensor([-4.0000,  5.0000,  5.6931, 18.8155])
    """
    return u.sign() * (u.abs().clamp(max=far) + (u.abs() - far).clamp(min=0).log1p())
