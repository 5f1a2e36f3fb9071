r"""Objectives: what is maximised, and the bound on log p(x) that is reported beside it.

Every objective reads the same terms (see `pyrovae.terms`), of shape (K, B), and gives

    bound(terms)      a lower bound on log p(x) for each datum, (B,), in nats
    maximised(terms)  what training ascends, (B,); the bound itself unless the objective says otherwise

    ELBO  = (1/K) sum_k log w_k          <=   IWAE = log (1/K) sum_k w_k   <=   log p(x)

An objective is a `pyro.infer.ELBO`: it works in `pyro.infer.SVI(model, guide, optimizer, objective)` and as
`objective(model, guide)`. Its loss is the mean over the batch of minus what is maximised, in nats per
datum, and holds no Python number, so that it can be captured into a graph. A weight on the KL
divergence (annealing) is applied after the log-mean-exp, never inside a weight:

    maximised = kl_weight * bound + (1 - kl_weight) * E_q[log p(x|z)]
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import ELBO as PyroELBO  # noqa: N811
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.numerics import log_mean_exp
from pyrovae.part import Declared
from pyrovae.terms import Terms, check_gradients, run

__all__ = ["ELBO", "IWAE", "Objective"]


class Objective(Declared, PyroELBO):
    """Base class of objectives: a subclass writes `bound`, and `maximised` when it differs.

    Attributes:
        particles: the number K of particles for each datum.
        max_plate_nesting: the depth of the program's own plates.
    """

    particles: int = 1
    max_plate_nesting: int = 1

    @abstractmethod
    def bound(self, terms: Terms) -> Tensor:
        """A lower bound on log p(x) in nats for each datum: terms (K, B) -> (B,)."""

    def maximised(self, terms: Terms) -> Tensor:
        """What training ascends, for each datum: terms (K, B) -> (B,)."""
        return self.bound(terms)

    def annealed(self, terms: Terms, kl_weight: Tensor | float = 1.0) -> Tensor:
        """What training ascends while the KL divergence has weight `kl_weight`, (B,)."""
        return kl_weight * self.maximised(terms) + (1 - kl_weight) * terms.log_px.mean(0)

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Minus what is maximised, mean over the batch, in nats per datum; a tensor that can be captured."""
        nesting, particles = self.max_plate_nesting, self.particles
        pair = run(model, guide, *args, particles=particles, max_plate_nesting=nesting, **kwargs)
        check_gradients(pair.guide)
        return -self.maximised(pair.terms()).mean()

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple:
        pair = run(
            model, guide, *args, particles=self.particles, max_plate_nesting=self.max_plate_nesting, **kwargs
        )
        return pair.model, pair.guide

    def loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:  # noqa: ANN401
        """The loss as a number, without a gradient; what `SVI.evaluate_loss` calls."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:  # noqa: ANN401
        """The loss as a number, its gradient left in the parameters; what `SVI.step` calls."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


class ELBO(Objective):
    r"""The evidence lower bound, with the estimator of Pyro's `Trace_ELBO`.

    \[\mathcal L = \mathbb E_{q(z|x)}[\log p(x|z) + \log p(z) - \log q(z|x)] \le \log p(x)\]

    With \(\beta \ne 1\) training ascends \(\mathbb E_q[\log p(x|z)] - \beta\, \mathrm{KL}(q \| p)\), which
    is no bound on log p(x); `bound` stays the plain ELBO.

    Arguments:
        particles: K, draws for each datum, averaged.
        beta: the weight of the KL divergence.

    Raises:
        InputError: when `particles` is below 1 or `beta` is negative.

    Reference:
        Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Higgins et al. (2017), "beta-VAE".

    Example:
        >>> ones = torch.ones(2, 3)
        >>> ELBO().bound(Terms(-3 * ones, -ones, -2 * ones))
        tensor([-2., -2., -2.])
    """

    def __init__(self, particles: int = 1, beta: float = 1.0) -> None:
        self.particles = _at_least_one(particles)
        self.beta = beta
        if not beta >= 0:
            raise InputError(f"ELBO needs a beta of 0 or more, not {beta}")

    def bound(self, terms: Terms) -> Tensor:
        return terms.log_w.mean(0)

    def maximised(self, terms: Terms) -> Tensor:
        return (terms.log_px - self.beta * (terms.log_qz - terms.log_pz)).mean(0)


class IWAE(Objective):
    r"""The importance-weighted bound, which grows with the number of particles towards log p(x).

    \[\mathcal L_K = \mathbb E_{z_1..z_K \sim q}\Big[\log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}\Big]
    \le \log p(x)\]

    Arguments:
        particles: K.

    Raises:
        InputError: when `particles` is below 1.

    Reference:
        Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders".

    Example:
        >>> zeros = torch.zeros(2, 1)
        >>> IWAE(particles=2).bound(Terms(torch.tensor([[0.0], [-100.0]]), zeros, zeros))
        tensor([-0.6931])
    """

    def __init__(self, particles: int = 5) -> None:
        self.particles = _at_least_one(particles)

    def bound(self, terms: Terms) -> Tensor:
        return log_mean_exp(terms.log_w, 0)


def _at_least_one(particles: int) -> int:
    if int(particles) != particles or particles < 1:
        raise InputError(f"particles must be a whole number of 1 or more, not {particles}")
    return particles
