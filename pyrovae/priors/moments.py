r"""The weights, means and covariances of a Gaussian mixture, and its unconstrained parameters.

log pi = log softmax(logits), floored at f/K:     pi <- (1 - f) pi + f / K
Sigma = (I + W)^-1 diag(s^2) (I + W)^-T           s the scale, W the regression of a full covariance
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor

from pyrovae.distributions.class_distribution import LOWER
from pyrovae.errors import InputError
from pyrovae.numerics import SCALE_FLOOR, inverse_softplus

__all__ = ["Moments", "log_weights"]


def log_weights(logits: Tensor, floor: float = 0.0, alive: Tensor | None = None) -> Tensor:
    """The logarithms of the weights, (*, K).

    Arguments:
        logits: (*, K).
        floor: the smallest weight of a component, in units of 1/K.
        alive: which components are used, (K,); None uses all.
    """
    if alive is not None:
        logits = torch.where(alive, logits, LOWER)
    log_pi = torch.log_softmax(logits, -1)
    if not floor:
        return log_pi
    lifted = torch.log(log_pi.exp() * (1 - floor) + floor / logits.shape[-1])
    return lifted if alive is None else torch.where(alive, lifted, log_pi)


class Moments(NamedTuple):
    """Weights (K,), means (K, D) and covariances (K, D, D) of components or clusters."""

    weights: Tensor
    loc: Tensor
    covariance: Tensor

    def checked(self, components: int, size: int) -> Self:
        """Check that the moments are those of a mixture of this size; returns them.

        Raises:
            InputError: for wrong shapes, numbers that are not finite, weights that are negative or
                all zero, or a covariance that is not positive definite.
        """
        weights, loc, covariance = self
        shape = (components, size)
        valid = weights.shape == shape[:1] and bool((weights >= 0).all() and weights.isfinite().all())
        if not valid or not weights.any():
            raise InputError(
                f"weights must be {components} numbers of 0 or more, at least one of them above 0, not "
                f"{weights.tolist()}"
            )
        if tuple(loc.shape) != shape or tuple(covariance.shape) != (*shape, size):
            raise InputError(
                f"means of shape {tuple(loc.shape)} and covariances of shape {tuple(covariance.shape)} are "
                f"not those of {components} components of {size} latents"
            )
        if not loc.isfinite().all():
            raise InputError("the means are not all finite: give numbers")
        factor, failed = torch.linalg.cholesky_ex(covariance.double())
        if failed.any() or not factor.isfinite().all():
            raise InputError("a covariance is not positive definite: give one that is")
        return self

    def parameters(self, form: str, floor: float) -> dict[str, Tensor]:
        """The values of the mixture's parameters by name, for a form of covariance and a floor."""
        variance = self.covariance.double().diagonal(dim1=-2, dim2=-1)
        scale, more = variance.sqrt(), {}
        if form == "spherical":
            scale = variance.mean(-1, keepdim=True).sqrt()
        elif form == "full":
            factor = torch.linalg.cholesky(self.covariance.double())
            scale = factor.diagonal(dim1=-2, dim2=-1)
            more["regression"] = torch.linalg.inv(factor / scale.unsqueeze(-2)).tril(-1)
        raw_scale = inverse_softplus((scale - SCALE_FLOOR).clamp_min(1e-6))
        return {"logits": self._logits(floor), "loc": self.loc, "raw_scale": raw_scale} | more

    def _logits(self, floor: float) -> Tensor:
        """The logits of the weights, or of the nearest weights that the floor allows."""
        weights = self.weights.double()
        own = (weights / weights.sum() - floor / len(weights)).clamp_min(1e-12)
        log_pi = (own / own.sum()).log()
        return log_pi - log_pi.mean()
