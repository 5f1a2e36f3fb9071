r"""EM, variational inference and a VAE fit one linear model: the same bound, raised in three ways.

    z ~ N(0, I),   x = W z + b + s e,   e ~ N(0, I)
    L(q, theta) = E_q[log p(x, z; theta) - log q(z)] <= log p(x; theta)

EM sets q to the exact posterior. Variational inference has a normal q with a diagonal covariance
for each row, and improves one entry of z after another. Both alternate q and theta, so the bound
rises at each half step. The VAE has an encoder m = A x + c with one variance for each latent, and
follows the gradient for all parameters at once. Bound and gradient are exact.

Reference:
    Tipping & Bishop (1999), "Probabilistic Principal Component Analysis", for the maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import MultivariateNormal

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.numerics import Array, numbers
from pyrovae.plots.style import COLOURS, Axes, canvas, panels
from pyrovae.seeds import generator_of

__all__ = ["em_and_variational_inference"]

RATE = 0.03  # the learning rate of Adam
Histories = dict[str, Array]


@dataclass(frozen=True)
class _Linear:
    """theta: W (E, D), b (E,) and log s."""

    weight: Tensor
    bias: Tensor
    log_scale: Tensor

    def log_px(self, x: Tensor) -> Tensor:
        """The mean of log p(x) in nats."""
        eye = torch.eye(len(self.bias), dtype=x.dtype)
        covariance = self.weight @ self.weight.mT + (2 * self.log_scale).exp() * eye
        return MultivariateNormal(self.bias, covariance).log_prob(x).mean()

    def precision(self) -> Tensor:
        """The precision of p(z|x), (D, D): it is the same for all x."""
        eye = torch.eye(self.weight.shape[1], dtype=self.bias.dtype)
        return eye + self.weight.mT @ self.weight * (-2 * self.log_scale).exp()

    def bound(self, x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        """The mean of L for q = N(mean, covariance): (N, D), and (D, D) for all rows."""
        rest = x - self.bias - mean @ self.weight.mT
        size, latents = x.shape[1], mean.shape[1]
        spread = (self.weight @ covariance @ self.weight.mT).trace()
        log_px_z = -size * (self.log_scale + math.log(2 * math.pi) / 2) - (
            rest.square().sum(1).mean() + spread
        ) / (2 * (2 * self.log_scale).exp())
        kl = (covariance.trace() + mean.square().sum(1).mean() - latents - covariance.logdet()) / 2
        return log_px_z - kl

    def improved(self, x: Tensor, mean: Tensor, covariance: Tensor) -> _Linear:
        """The best theta for q: a regression of x on z."""
        count, latents = mean.shape
        z = torch.cat([mean, torch.ones(count, 1, dtype=x.dtype)], 1)
        square = z.mT @ z
        square[:latents, :latents] += count * covariance
        both = torch.linalg.solve(square, z.mT @ x).mT
        rest = x.square().sum() - (both @ (z.mT @ x)).trace()
        scale = (rest / x.numel()).sqrt()
        return _Linear(both[:, :latents], both[:, latents], scale.log())


def em_and_variational_inference(
    x: ArrayLike | None = None,
    latent_dim: int = 2,
    *,
    steps: int = 15,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    r"""EM, variational inference and a VAE on one linear model: the bound and the log-likelihood.

    \[\log p(x; \theta) - \mathcal L(q, \theta) = \mathrm{KL}(q \,\|\, p(z|x; \theta)) \ge 0\]

    EM closes the gap at each step of q. The other two have a smaller family of q, and reach the
    maximum too, since the model can rotate its latents until the posterior fits the family.

    Args:
        x: rows (N, E), with E above `latent_dim`; by default 200 rows of six numbers from a model
            with two latents.
        latent_dim: D.
        steps: the number of steps of EM and of variational inference, each a step of q and a step
            of theta; the VAE takes 12 steps of the gradient for each.
        seed: the seed of the first weights.

    Raises:
        InputError: for too few rows or columns.

    Reference:
        Prince (2023), "Understanding Deep Learning", section 17.4; Neal & Hinton (1998), "A View of
        the EM Algorithm that Justifies Incremental, Sparse, and Other Variants".

    Example:
        >>> ax = em_and_variational_inference(steps=3)
        >>> bound = ax.child_axes[0].lines[2].get_ydata()
        >>> bool((np.diff(bound) > 0).all())  # at each half step
        True
    """
    rows = _example() if x is None else torch.as_tensor(numbers(x, "x", ("N", "E")))
    latent_dim, steps = whole("latent_dim", latent_dim), whole("steps", steps, most=100_000)
    if latent_dim >= rows.shape[1] or len(rows) <= rows.shape[1]:
        raise InputError(
            f"x has shape {tuple(rows.shape)}; give more rows than columns, and more columns than latents"
        )
    if int(torch.linalg.matrix_rank(rows - rows.mean(0))) <= latent_dim:
        raise InputError(
            f"x lies in a space of {latent_dim} dimensions, so log p(x) has no maximum: give fewer latents"
        )
    start = _start(rows, latent_dim, seed)
    histories = {
        "EM": _em(start, rows, steps),
        "variational inference": _variational(start, rows, steps),
        "VAE": _gradient(start, rows, 12 * steps),
    }
    with canvas(ax, width=7.6, height=2.9) as ax:
        places = [(0.345 * k, 0.0, 0.31, 0.92) for k in range(3)]
        _draw(panels(ax, *places), histories, _maximum(rows, latent_dim))
    return ax


def _example() -> Tensor:
    rng = generator_of(3)
    weight, z = (torch.randn(shape, generator=rng).double() for shape in ((6, 2), (200, 2)))
    return z @ weight.mT + 0.5 * torch.randn(200, 6, generator=rng).double()


def _start(x: Tensor, latent_dim: int, seed: int) -> _Linear:
    weight = 0.3 * torch.randn(x.shape[1], latent_dim, generator=generator_of(seed)).double()
    return _Linear(weight, torch.zeros(x.shape[1]).double(), torch.tensor(0.0).double())


def _em(theta: _Linear, x: Tensor, steps: int) -> Array:
    """(bound, log p(x)) after each half step."""
    history = []
    for _ in range(steps):
        covariance = torch.linalg.inv(theta.precision())
        mean = (x - theta.bias) @ theta.weight * (-2 * theta.log_scale).exp() @ covariance
        history.append((theta.bound(x, mean, covariance), theta.log_px(x)))
        theta = theta.improved(x, mean, covariance)
        history.append((theta.bound(x, mean, covariance), theta.log_px(x)))
    return np.array(history, dtype=float)


def _variational(theta: _Linear, x: Tensor, steps: int) -> Array:
    """The same for a q with a diagonal covariance, whose entries are improved once in each step."""
    mean, history = torch.zeros(len(x), theta.weight.shape[1]).double(), []
    for _ in range(steps):
        precision = theta.precision()
        covariance = torch.diag(1 / precision.diagonal())
        signal = (x - theta.bias) @ theta.weight * (-2 * theta.log_scale).exp()
        for j in range(mean.shape[1]):
            others = mean @ precision[:, j] - mean[:, j] * precision[j, j]
            mean = mean.index_copy(
                1, torch.tensor([j]), ((signal[:, j] - others) / precision[j, j]).unsqueeze(1)
            )
        history.append((theta.bound(x, mean, covariance), theta.log_px(x)))
        theta = theta.improved(x, mean, covariance)
        history.append((theta.bound(x, mean, covariance), theta.log_px(x)))
    return np.array(history, dtype=float)


@torch.enable_grad()
def _gradient(theta: _Linear, x: Tensor, steps: int) -> Array:
    """The same for a linear encoder, by steps of the gradient for decoder and encoder together."""
    latents = theta.weight.shape[1]
    free = [part.clone().requires_grad_() for part in (theta.weight, theta.bias, theta.log_scale)]
    read = torch.zeros(x.shape[1], latents).double().requires_grad_()
    shift, log_variance = (torch.zeros(latents).double().requires_grad_() for _ in range(2))
    optimizer = torch.optim.Adam([*free, read, shift, log_variance], lr=RATE)
    history = []
    for _ in range(steps):
        now = replace(theta, weight=free[0], bias=free[1], log_scale=free[2])
        bound = now.bound(x, x @ read + shift, log_variance.exp().diag())
        history.append((float(bound.detach()), float(now.log_px(x).detach())))
        optimizer.zero_grad()
        (-bound).backward()
        optimizer.step()
    return np.array(history)


def _maximum(x: Tensor, latent_dim: int) -> float:
    """The largest log-likelihood: the first D eigenvalues are explained, the rest is noise."""
    values = torch.linalg.eigvalsh(x.mT.cov(correction=0)).flip(0)
    noise = values[latent_dim:].mean()
    explained = values[:latent_dim].log().sum() + (len(values) - latent_dim) * noise.log()
    return -0.5 * float(len(values) * math.log(2 * math.pi) + explained + len(values))


def _draw(axes: list[Axes], histories: Histories, maximum: float) -> None:
    low = min(float(history[0].min()) for history in histories.values())
    for k, (ax, (name, history)) in enumerate(zip(axes, histories.items(), strict=True)):
        at = 1 + np.arange(len(history))
        marker = "" if name == "VAE" else "o"
        ax.axhline(maximum, color=COLOURS["data"], linestyle=(0, (4, 2)), linewidth=1.0, label="maximum")
        ax.plot(at, history[:, 1], color=COLOURS["data"], linewidth=1.2, label="log p(x)")
        ax.plot(
            at,
            history[:, 0],
            color=COLOURS["model"],
            linewidth=1.2,
            label="bound",
            marker=marker,
            markersize=2.5,
        )
        ax.set(title=name, xlabel="gradient steps" if name == "VAE" else "half steps, of q and of theta")
        top = maximum + 0.06 * (maximum - low)
        ax.set(ylabel="" if k else "nats per observation", ylim=(low - 0.02 * (maximum - low), top))
        if k:
            ax.tick_params(labelleft=False)
    axes[0].legend(loc="lower right")
