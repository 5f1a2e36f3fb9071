r"""Why the ELBO is below log p(x): the family of the guide, or the encoder.

    log p(x) - ELBO(encoder) = [log p(x) - ELBO(q*)]  +  [ELBO(q*) - ELBO(encoder)]
                               approximation gap         amortisation gap

q* is the best distribution of the guide's family for a single observation, found by maximising its
ELBO from the encoder's parameters. A normal with full covariance, found in the same way, shows what
a richer family would gain. The reported ELBOs use other samples than the maximisation.

Reference:
    The gradient is that of Roeder, Wu & Duvenaud (2017), "Sticking the Landing", which is zero at
    an exact posterior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyrovae.checks import count_of, number
from pyrovae.display import Summary
from pyrovae.errors import InputError
from pyrovae.evidence.ascent import missing, started_at_modes
from pyrovae.evidence.draws import BLOCK, KeyedDraws
from pyrovae.evidence.estimate import at_mean
from pyrovae.evidence.marginals import means
from pyrovae.evidence.methods import Method
from pyrovae.evidence.result import PerRow, about, mc_error_of
from pyrovae.evidence.run import Pieces, evaluation, inputs, shown
from pyrovae.guides import FullRankNormal
from pyrovae.numerics import SCALE_FLOOR, as_array, inverse_softplus, stderr_of_mean
from pyrovae.plots.diagnostics import inference_gaps
from pyrovae.plots.style import Axes
from pyrovae.terms import DATA, PARTICLES, Runner
from pyrovae.vae import VAE

__all__ = ["Gaps", "gaps"]

# Samples per step of the maximisation, and the number of its first block.
ASCENT, FIRST = 8, 10**8
# At an exact posterior a gap is a rounding error: this share of log p(x) in float32.
ROUNDING = 1e-6
# Samples that show how far a maximisation is from the maximum, and the tolerance in nats.
CHECKED, SMALL = 200, 0.1
Params = dict[str, Tensor]
Family = Callable[[Params], dist.TorchDistribution]


@dataclass(frozen=True, eq=False, repr=False)
class Gaps(PerRow):
    """log p(x) of N observations, and the ELBOs below it, in nats.

    Attributes:
        log_px: log p(x), (N,).
        elbo: the ELBO of the encoder's distribution, (N,).
        best: the ELBO of the best distribution of the guide's family, (N,).
        richer: the ELBO of the best normal with full covariance, (N,); nan if latents are not real.
        log_px_stderr, elbo_stderr, best_stderr: their Monte Carlo standard errors, (N,).
        amortisation_stderr, gain_stderr: the errors of best - elbo and richer - best, which share
            samples, (N,).
        missing: by how much `best` can still increase, estimated from the gradient, (N,); nan if
            the latents are not real.
        guide: the family, as declared.
        method: how log p(x) was estimated.
        steps: the number of steps of the maximisation.
        particles: samples for each reported ELBO.
    """

    log_px: np.ndarray
    elbo: np.ndarray
    best: np.ndarray
    richer: np.ndarray
    log_px_stderr: np.ndarray
    elbo_stderr: np.ndarray
    best_stderr: np.ndarray
    amortisation_stderr: np.ndarray
    gain_stderr: np.ndarray
    guide: str
    method: str
    steps: int
    particles: int
    missing: np.ndarray | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.log_px)

    @property
    def total(self) -> np.ndarray:
        """log p(x) - ELBO of each observation, (N,)."""
        return self.log_px - self.elbo

    @property
    def approximation(self) -> np.ndarray:
        """log p(x) - ELBO(q*) of each observation, (N,): the loss due to the guide's family."""
        return self.log_px - self.best

    @property
    def amortisation(self) -> np.ndarray:
        """ELBO(q*) - ELBO of each observation, (N,): the loss due to the encoder."""
        return self.best - self.elbo

    @property
    def gain(self) -> np.ndarray:
        """The gain of a full covariance over the best ELBO, (N,): part of the approximation gap."""
        return self.richer - self.best

    @property
    def approximation_stderr(self) -> np.ndarray:
        """The Monte Carlo standard error of `approximation`, (N,)."""
        return np.hypot(self.log_px_stderr, self.best_stderr)

    @property
    def total_stderr(self) -> np.ndarray:
        """The Monte Carlo standard error of `total`, (N,)."""
        return np.hypot(self.log_px_stderr, self.elbo_stderr)

    @property
    def converged(self) -> np.ndarray:
        """Whether the maximisation of each observation ended within 0.1 nats of its best, (N,)."""
        if self.missing is None:
            return np.ones(len(self), dtype=bool)
        return ~(self.missing > SMALL)

    @property
    def verdict(self) -> str:
        """Which gap is larger, and how to close it, in a sentence."""
        rows = (~self.converged).nonzero()[0]
        if len(rows) == 0:
            return self._verdict
        numbers = rows if self.index is None else self.index[rows]
        some = ", ".join(map(str, numbers[:5])) + (", ..." if len(rows) > 5 else "")
        return (
            f"{self._verdict}; the maximisation did not converge for {len(rows)} of {len(self):,} "
            f"observations (row {some}), whose gaps are wrong: use more steps"
        )

    @property
    def _verdict(self) -> str:
        if self.total.mean() < 2 * mc_error_of(self.total_stderr) + ROUNDING * np.abs(self.log_px).mean():
            return "there is no gap beyond its error: the encoder's distribution is the posterior"
        if self.amortisation.mean() > self.approximation.mean():
            return "the larger part is the encoder's (amortisation): train it longer or make it larger"
        if math.isnan(self.gain.mean()):
            return (
                f"the larger part is the family's (approximation): {self.guide} cannot follow the posterior"
            )
        share = float(np.clip(self.gain.mean() / self.approximation.mean(), 0, 1))
        return f"the larger part is the family's (approximation): full covariance closes {share:.0%} of it"

    def _summary(self) -> Summary:
        parts = [
            (self.quantity, self.log_px, self.log_px_stderr),
            ("approximation gap", self.approximation, self.approximation_stderr),
            ("  of it full covariance", self.gain, self.gain_stderr),
            ("amortisation gap", self.amortisation, self.amortisation_stderr),
            ("ELBO", self.elbo, self.elbo_stderr),
        ]
        lines = [("", f"{'mean':>10}{'Monte Carlo':>14}{'standard error':>16}")]
        for name, values, errors in parts:
            if not np.isnan(values).any():
                between = float(stderr_of_mean(values))
                lines.append((name, f"{values.mean():>10.3f}{mc_error_of(errors):>14.4f}{between:>16.3f}"))
        head = (
            f"{self.quantity} - ELBO of {len(self):,} observations, nats per observation; {self.quantity} "
            f"by {self.method}; {self.guide} ascended {self.steps:,} steps"
        )
        is_good = bool(self.converged.all())
        return Summary(head, lines, self.verdict, width=24, is_good=is_good)

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the steps from log p(x) down to the ELBO."""
        means = (float(values.mean()) for values in (self.log_px, self.best, self.elbo, self.richer))
        return inference_gaps(*means, ax=ax)


def gaps(
    vae: VAE,
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    y: Any = None,  # noqa: ANN401
    *,
    steps: int = 300,
    particles: int = 1000,
    lr: float = 0.03,
    method: str | Method = "ais",
    seed: int = 0,
    chunk: int | None = None,
    progress: bool = False,
) -> Gaps:
    r"""Split log p(x) - ELBO into approximation gap and amortisation gap.

    \[\log p(x) - \mathcal L(q_\phi) =
    \underbrace{\log p(x) - \mathcal L(q^*)}_{\text{approximation}} +
    \underbrace{\mathcal L(q^*) - \mathcal L(q_\phi)}_{\text{amortisation}}\]

    The maximisation starts at the encoder's parameters, or at the largest mode of the posterior if
    the ELBO is higher there. If it stops early, the amortisation gap looks smaller and the
    approximation gap larger; `converged` and the verdict say for which observations.

    Variables that all rows share, such as the weights of a Bayesian decoder, are at their mean.

    Arguments:
        vae: a `VAE`.
        x, context, y: as for `log_evidence`; a hundred observations are enough for the means.
        steps: steps of Adam for each observation; the learning rate falls to zero along half a
            cosine.
        particles: samples for each reported ELBO.
        lr: the initial learning rate.
        method, seed, chunk, progress: as for `log_evidence`.

    Returns:
        `Gaps`, with arrays of shape (N,) in nats.

    Raises:
        InputError: if `vae` is not a VAE whose guide draws only z, if steps or particles are below
            1, or as for `log_evidence`.
        KeyboardInterrupt: after Ctrl-C, also while log p(x) is estimated.

    Reference:
        Cremer, Li & Duvenaud (2018), "Inference Suboptimality in Variational Autoencoders".

    Example:
        >>> from pyrovae.networks import MLP
        >>> vae = VAE((4,), latent_dim=2, encoder=MLP(8), decoder=MLP(8))
        >>> split = gaps(vae, torch.eye(4), steps=20, particles=100, method="importance")
        >>> bool(abs(split.approximation + split.amortisation - split.total).max() < 1e-9)
        True
    """
    if not isinstance(vae, VAE):
        raise InputError(
            "gaps optimises the distribution that a VAE's encoder gives for each observation, and a "
            f"{type(vae).__name__} has none: declare a pyrovae.VAE"
        )
    if vae.q.states is not None:
        raise InputError(
            f"gaps optimises a distribution of z only, and the guide {vae.q!r} draws a class too: use another"
        )
    steps, particles, lr = (
        count_of("steps", steps),
        count_of("particles", particles),
        number("lr", lr, above=0),
    )
    rows = inputs(Runner(vae), x, context, y)
    evidence = at_mean(vae, rows, method=method, seed=seed, chunk=chunk, progress=progress)
    if evidence.weightless.any():
        raise InputError(
            f"row {evidence.numbers(evidence.weightless)[0]} has no probability under the samples, so it has "
            "no gaps: leave it out"
        )
    if evidence.partial:  # after Ctrl-C it has some rows, but an incomplete split is of no use
        raise KeyboardInterrupt(f"stopped after log p(x) of {len(evidence)} of {len(rows)} observations")
    columns: list[dict[str, Tensor]] = []
    with (
        evaluation(vae, rows, seed=seed, chunk=chunk) as pieces,
        shown("free guides", len(rows), show=progress) as advance,
    ):
        for some in pieces.parts(max(ASCENT, min(particles, BLOCK))):
            columns.append(_Split(vae, some).columns(steps, particles, lr))
            advance(len(some))
    bounds: dict[str, Any] = {
        name: as_array(torch.cat([column[name] for column in columns])) for name in columns[0]
    }
    return Gaps(
        log_px=evidence.log_px,
        log_px_stderr=evidence.mc_stderr,
        **bounds,
        guide=repr(vae.q),
        method=evidence.method,
        steps=steps,
        particles=particles,
        **about(rows),
    )


class _Split:
    """The ELBOs of B rows: of the encoder, the best of its family, and the best full normal."""

    def __init__(self, vae: VAE, pieces: Pieces) -> None:
        self.vae, self.pieces = vae, pieces
        self.encoded: Params = vae._guide_params(pieces.rows.x, pieces.rows.context, pieces.rows.y)

    def columns(self, steps: int, particles: int, lr: float) -> dict[str, Tensor]:
        """The ELBOs and their errors, named as in `Gaps`, each (B,)."""
        best = self._family(self._ascend(self._family, self._start(), steps, lr))
        of_start, of_best = self._log_w(self._family(self.encoded), particles), self._log_w(best, particles)
        of_richer = torch.full_like(of_best, math.nan)
        missing_nats = of_richer[0]
        if _is_real(best):
            start = _full_params(best, self._draws(best, 200, 2 * FIRST))
            of_richer = self._log_w(_full(self._ascend(_full, start, steps, lr)), particles)
            missing_nats = self._missing(best)
        return {
            "elbo": of_start.mean(0),
            "best": of_best.mean(0),
            "richer": of_richer.mean(0),
            "elbo_stderr": _stderr(of_start),
            "best_stderr": _stderr(of_best),
            "amortisation_stderr": _stderr(of_best - of_start),
            "gain_stderr": _stderr(of_richer - of_best),
            "missing": missing_nats,
        }

    def _family(self, params: Params) -> dist.TorchDistribution:
        return self.vae.q(**params)

    def _start(self) -> Params:
        """The encoder's parameters, or those at the posterior's mode if its ELBO is higher."""
        at_modes = (
            started_at_modes(self.pieces, self.encoded) if _is_real(self._family(self.encoded)) else None
        )
        if at_modes is None:
            return self.encoded
        bounds = [self._log_w(self._family(start), CHECKED).mean(0) for start in (self.encoded, at_modes)]
        better = bounds[1] > bounds[0]

        def chosen(own: Tensor, other: Tensor) -> Tensor:
            return torch.where(better.reshape(-1, *[1] * (own.dim() - 1)), other, own)

        return {name: chosen(own, at_modes[name]) for name, own in self.encoded.items()}

    def _missing(self, q: dist.TorchDistribution) -> Tensor:
        """The nats by which the ELBO of q can still increase, (B,)."""
        with torch.enable_grad():
            z = self._draws(q, CHECKED, 3 * FIRST).detach().requires_grad_()
            (slope,) = torch.autograd.grad(self._log_weights(z, q).sum(), z)
        return missing(z.detach(), slope)

    def _ascend(self, family: Family, start: Params, steps: int, lr: float) -> Params:
        """The parameters of each row after `steps` steps of Adam on its own ELBO."""
        with torch.enable_grad():
            free = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
            adam = torch.optim.Adam(free.values(), lr=lr)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
            for step in range(steps):
                z = self._draws(family(free), ASCENT, FIRST + step * BLOCK)
                fixed = family({name: value.detach() for name, value in free.items()})
                loss = -self._log_weights(z, fixed).mean(0).sum()
                gradients = torch.autograd.grad(loss, [*free.values()])
                for value, gradient in zip(free.values(), gradients, strict=True):
                    value.grad = gradient
                adam.step()
                schedule.step()
        return {name: value.detach() for name, value in free.items()}

    def _log_w(self, q: dist.TorchDistribution, particles: int) -> Tensor:
        """The log weights of samples that the maximisation has not used, (K, B), float64."""
        cuts = self.pieces.cuts(particles)
        parts = [self._log_weights(self._draws(q, count, first), q) for first, count in cuts]
        return torch.cat(parts).double()

    def _log_weights(self, z: Tensor, q: dist.TorchDistribution) -> Tensor:
        terms = self.pieces.runner.joint_at({"z": z}, self.pieces.rows, particles=len(z))
        return terms._replace(log_qz=q.log_prob(z)).log_w

    def _draws(self, q: dist.TorchDistribution, count: int, first: int = 0) -> Tensor:
        keys = self.pieces.keys
        with (
            KeyedDraws(keys, self.pieces.seed, first),
            pyro.plate(PARTICLES, count, dim=-2),
            pyro.plate(DATA, len(keys), dim=-1),
        ):
            return pyro.sample("z", q)


def _full(params: Params) -> dist.TorchDistribution:
    return FullRankNormal()(**params)


def _full_params(best: dist.TorchDistribution, draws: Tensor) -> Params:
    """The start of the full normal: the moments of the family's best distribution."""
    if isinstance(best, torch.distributions.MultivariateNormal):
        loc, factor = best.loc, best.scale_tril
    else:
        mean = means(best)
        loc, scale = (draws.mean(0), draws.std(0)) if mean is None else (mean, best.stddev)
        factor = scale.diag_embed()
    above = (factor.diagonal(dim1=-2, dim2=-1) - SCALE_FLOOR).clamp(min=1e-6)
    return {"loc": loc, "raw_scale": inverse_softplus(above), "lower": factor.tril(-1)}


def _is_real(q: dist.TorchDistribution) -> bool:
    support: Any = q.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real


def _stderr(log_w: Tensor) -> Tensor:
    if len(log_w) < 2:
        return torch.full_like(log_w[0], math.nan)
    return log_w.std(0) / math.sqrt(len(log_w))
