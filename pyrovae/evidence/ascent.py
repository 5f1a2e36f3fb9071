r"""Where the maximisation of one row's ELBO starts, and how far it is from the maximum.

Let q be a distribution of the guide's family with mean m and standard deviations s_d. Shifting and
scaling it along one latent changes its ELBO at the rates

    a_d = E_q[ g_d ],   b_d = E_q[ g_d (z_d - m_d) ],     g = grad_z (log p(x, z) - log q(z))

Both are zero at the maximum, if the family can be shifted and scaled. In a quadratic approximation
the maximum is  sum_d s_d^2 a_d^2 / 2 + b_d^2 / 4  nats higher.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.evidence.modes import Scout
from pyrovae.evidence.run import Pieces
from pyrovae.evidence.surface import Surface
from pyrovae.numerics import SCALE_FLOOR, inverse_softplus

__all__ = ["missing", "started_at_modes"]

Params = dict[str, Tensor]


def started_at_modes(pieces: Pieces, encoded: Params) -> Params | None:
    """The encoder's parameters with the location and scale of the posterior's largest mode.

    If the encoder is far off for a row, small steps from its parameters do not reach the maximum.
    None for a guide without a location and a scale for each latent.
    """
    if not {"loc", "raw_scale"} <= encoded.keys():
        return None
    modes = Scout(Surface(pieces)).modes()
    loc, like = modes.place[0], encoded["loc"]
    if loc.shape != like.shape:
        return None
    curvature = modes.curvature.take(0)
    eye = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
    # The precisions of the best factorised normal are the diagonal of the curvature.
    scale = curvature.power(eye, 1.0).diagonal(dim1=-2, dim2=-1).rsqrt()
    raw_scale = inverse_softplus((scale - SCALE_FLOOR).clamp(min=1e-6))
    is_found = (modes.mask[0] & loc.isfinite().all(-1)).unsqueeze(-1)
    start = {"loc": loc.to(like), "raw_scale": raw_scale.to(like)}
    return encoded | {name: torch.where(is_found, part, encoded[name]) for name, part in start.items()}


def missing(z: Tensor, slope: Tensor) -> Tensor:
    """The nats by which the ELBO of each row can still increase, (B,), without bias from noise.

    Arguments:
        z: samples of q, (S, B, D) with an even S.
        slope: the gradient of log p(x, z) - log q(z) there, (S, B, D).

    Example:
        >>> z = torch.randn(4000, 1, 1, generator=torch.Generator().manual_seed(0))
        >>> slope = 0.5 - z - (-z)  # p(z | x) is N(0.5, 1) and q is N(0, 1)
        >>> bool(abs(missing(z, slope) - 0.125) < 0.01)
        True
    """
    # The product of two independent halves has no bias from their noise.
    z, slope = z.double(), slope.double()
    one, other = slice(0, None, 2), slice(1, None, 2)
    away = z - z.mean(0)
    shift = slope[one].mean(0) * slope[other].mean(0)
    stretch = (slope * away)[one].mean(0) * (slope * away)[other].mean(0)
    return (0.5 * z.var(0) * shift + 0.25 * stretch).sum(-1)
