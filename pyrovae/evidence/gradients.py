r"""How noisy the gradient of the ELBO is under several estimators, for a program at its weights.

    score function      E_q[(log w - b) d/dphi log q(z)]       needs values of log p(x, z) only
    reparameterised     E[d/dphi log w(z(phi, e))]             follows its slopes
    sticking the landing    the same without the score of q, which has mean zero

All three have the same mean: the gradient of the bound for the encoder's weights phi. They differ
in their variance. It changes during training, so the same call on an untrained and on a trained VAE
shows both. Where log p(x, z) oscillates within the width of q, slopes say less than values, and the
score function can have the smaller variance.

Reference:
    Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Gal (2016), "Uncertainty in Deep
    Learning", section 3.1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import count_of, counts_of, whole
from pyrovae.datasets import Rows
from pyrovae.display import Displayed, Summary
from pyrovae.errors import InputError
from pyrovae.networks.modes import in_mode
from pyrovae.objectives import ELBO, Objective, ScoreFunction, StickingTheLanding
from pyrovae.plots.bounds import gradient_noise as draw
from pyrovae.plots.style import Axes
from pyrovae.seeds import random_kept
from pyrovae.terms import Runner
from pyrovae.threads import alone
from pyrovae.vae import VAE

__all__ = ["ESTIMATORS", "GradientNoise", "gradient_noise"]

Estimators = Mapping[str, Callable[[int], Objective]]
ESTIMATORS: Estimators = {
    "score function": lambda particles: ScoreFunction(particles, "none"),
    "score, baseline": lambda particles: ScoreFunction(particles, "particles"),
    "reparameterised": ELBO,
    "without the score": StickingTheLanding,
}


@dataclass(frozen=True, eq=False, repr=False)
class GradientNoise(Displayed):
    """The mean and the variance of gradient estimates, for P weights of the encoder.

    Attributes:
        particles: the numbers of particles K.
        mean: name -> mean over the repetitions, (K, P).
        variance: name -> variance over the repetitions, (K, P).
        repeats: the number of repetitions.
    """

    particles: tuple[int, ...]
    mean: Mapping[str, np.ndarray]
    variance: Mapping[str, np.ndarray]
    repeats: int

    @property
    def spread(self) -> dict[str, np.ndarray]:
        """The standard deviation of each estimator at each K: a root mean square over weights."""
        return {name: np.sqrt(value.mean(1)) for name, value in self.variance.items()}

    def _summary(self) -> Summary:
        lines = [("particles K", "".join(f"{count:12,}" for count in self.particles))]
        spread = self.spread
        lines += [(name, "".join(f"{sd:12.4g}" for sd in sds)) for name, sds in spread.items()]
        best = min(spread, key=lambda name: float(spread[name][-1]))
        head = f"standard deviation of the encoder's gradient, {self.repeats} repetitions"
        return Summary(head, lines, f"the least noisy with {self.particles[-1]:,} particles: {best}")

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the standard deviations against the number of particles."""
        return draw(self.particles, self.spread, ax=ax)


def gradient_noise(
    vae: VAE,
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    *,
    model: Callable[..., Any] | None = None,
    estimators: Estimators | None = None,
    particles: Sequence[int] = (2, 8, 32),
    repeats: int = 100,
    seed: int = 0,
) -> GradientNoise:
    r"""Estimate the standard deviation of the encoder's gradient under several estimators.

    \[\nabla_\phi \mathcal L = \mathrm E_q[(\log w - b) \nabla_\phi \log q_\phi(z|x)] =
    \mathrm E_\epsilon[\nabla_\phi \log w(z_\phi(\epsilon))]\]

    The weights are neither changed nor trained. Each repetition has its own samples of z, and the
    rows are the same.

    Arguments:
        vae: a `VAE`, untrained or trained.
        x: observations, the batch of the gradient.
        context: as for `log_evidence`.
        model: another model to use with the encoder, such as `oracle.model`.
        estimators: name -> function of K that returns an objective; by default `ESTIMATORS`.
        particles: the values of K, 2 or more for the baseline.
        repeats: the number of repetitions.
        seed: their seed; the caller's random state does not change.

    Returns:
        `GradientNoise`.

    Raises:
        InputError: for a program that is not a VAE, rows that it cannot score, fewer than two
            repetitions, or as for the objectives.

    Example:
        >>> from pyrovae.networks import MLP
        >>> vae = VAE((4,), latent_dim=2, encoder=MLP(8), decoder=MLP(8))
        >>> noise = gradient_noise(vae, torch.eye(4), particles=[2], repeats=20)
        >>> bool(noise.spread["score function"] > noise.spread["reparameterised"])
        True
    """
    if not hasattr(vae, "recognition"):
        raise InputError(f"gradient_noise needs the encoder of a VAE, not a {type(vae).__name__}")
    counts, repeats = counts_of("particles", particles), count_of("repeats", repeats, 2)
    seed = whole("seed", seed, 0)
    if model is not None and (not callable(model) or hasattr(model, "recognition")):
        raise InputError(f"model is a {type(model).__name__}: give a Pyro program, as `oracle.model`")
    rows, objectives = vae.rows(x, context), _objectives(estimators, counts)
    if len(rows) == 0:
        raise InputError("x has no rows: give a batch of at least one")
    if model is None:
        vae.check_rows(rows, "x")
    program, quiet = vae.model if model is None else model, in_mode(vae, training=False)
    with alone, random_kept(), Runner(vae).isolated(), torch.enable_grad(), quiet:
        torch.manual_seed(seed)
        found = {
            name: [_moments(vae, program, objective, rows, repeats) for objective in each]
            for name, each in objectives.items()
        }
    return GradientNoise(
        particles=tuple(counts),
        mean={name: np.stack([mean for mean, _ in pairs]) for name, pairs in found.items()},
        variance={name: np.stack([var for _, var in pairs]) for name, pairs in found.items()},
        repeats=repeats,
    )


def _objectives(estimators: Estimators | None, counts: Sequence[int]) -> dict[str, list[Objective]]:
    """The objective of each estimator at each K."""
    chosen = ESTIMATORS if estimators is None else estimators
    wrong = "estimators must map names to functions of K, as {'elbo': pv.objectives.ELBO}"
    if not isinstance(chosen, Mapping) or not chosen or not all(callable(make) for make in chosen.values()):
        raise InputError(wrong)
    found = {str(name): [make(count) for count in counts] for name, make in chosen.items()}
    for name, each in found.items():
        if not all(isinstance(objective, Objective) for objective in each):
            raise InputError(f"{wrong}; {name!r} returned a {type(each[0]).__name__}")
    return found


def _moments(
    vae: VAE, model: Callable[..., Any], objective: Objective, rows: Rows, repeats: int
) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the variance of each entry of the gradient, (P,)."""
    weights = [part for part in vae.recognition.parameters() if part.requires_grad]
    gradients = []
    for _ in range(repeats):
        bound = -objective.differentiable_loss(model, vae.guide, *rows.arguments)
        parts = torch.autograd.grad(bound, weights, allow_unused=True)
        gradients.append(torch.cat([_flat(g, w) for g, w in zip(parts, weights, strict=True)]))
    every = torch.stack(gradients).double()
    return every.mean(0).cpu().numpy(), every.var(0).cpu().numpy()


def _flat(gradient: Tensor | None, weight: Tensor) -> Tensor:
    return (torch.zeros_like(weight) if gradient is None else gradient).flatten()
