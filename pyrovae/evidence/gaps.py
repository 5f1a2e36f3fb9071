r"""Why the ELBO is below log p(x): the family of the guide, or the encoder.

    log p(x) - ELBO(encoder) = [log p(x) - ELBO(q*)]  +  [ELBO(q*) - ELBO(encoder)]
                               approximation gap         amortisation gap

q* is the best law of the guide's family for one datum alone, found by ascending its ELBO from the
encoder's parameters. A normal with full covariance, found in the same way, tells what a richer family
would gain. The draws that are ascended are never those that are reported.

Reference:
    Cremer, Li & Duvenaud (2018), "Inference Suboptimality in Variational Autoencoders"; the gradient is
    that of Roeder, Wu & Duvenaud (2017), "Sticking the Landing", which is zero at an exact posterior.
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

from pyrovae.errors import InputError
from pyrovae.evidence.draws import BLOCK, KeyedDraws
from pyrovae.evidence.estimate import log_evidence
from pyrovae.evidence.marginals import means
from pyrovae.evidence.methods import Method
from pyrovae.evidence.run import Pieces, evaluating, inputs, shown, whole_number
from pyrovae.numerics import SCALE_FLOOR, inverse_softplus, positive
from pyrovae.terms import DATA, PARTICLES, Program
from pyrovae.vae import VAE

__all__ = ["Gaps", "gaps"]

# Draws of one step of the ascent, and where the numbers of their blocks begin: far from those reported.
ASCENT, APART = 8, 10**8
# At an exact posterior the errors are zero, and a gap is rounding: so much of log p(x) in float32.
ROUNDING = 1e-6
Params = dict[str, Tensor]
Family = Callable[[Params], dist.TorchDistribution]


@dataclass(frozen=True, eq=False)
class Gaps:
    """log p(x) of each of N data, and the ELBOs below it, in nats.

    Attributes:
        log_px: log p(x), (N,).
        elbo: the ELBO of the encoder's law, (N,).
        best: the ELBO of the best law of the guide's family, (N,).
        richer: the ELBO of the best normal with full covariance, (N,); nan for latents that are not real.
        log_px_stderr: the Monte Carlo standard error of `log_px`, (N,).
        elbo_stderr: that of `elbo`, (N,).
        best_stderr: that of `best`, (N,).
        amortisation_stderr: that of best - elbo, whose draws are shared, (N,).
        gain_stderr: that of richer - best, whose draws are shared, (N,).
        guide: the family, as it was declared.
        method: how log p(x) was estimated.
        steps: of the ascent.
        particles: draws for each ELBO that is reported.
    """

    log_px: np.ndarray = field(repr=False)
    elbo: np.ndarray = field(repr=False)
    best: np.ndarray = field(repr=False)
    richer: np.ndarray = field(repr=False)
    log_px_stderr: np.ndarray = field(repr=False)
    elbo_stderr: np.ndarray = field(repr=False)
    best_stderr: np.ndarray = field(repr=False)
    amortisation_stderr: np.ndarray = field(repr=False)
    gain_stderr: np.ndarray = field(repr=False)
    guide: str
    method: str
    steps: int
    particles: int

    def __len__(self) -> int:
        return len(self.log_px)

    @property
    def total(self) -> np.ndarray:
        """log p(x) - ELBO of each datum, (N,)."""
        return self.log_px - self.elbo

    @property
    def approximation(self) -> np.ndarray:
        """log p(x) - ELBO(q*) of each datum, (N,): what the guide's family cannot reach."""
        return self.log_px - self.best

    @property
    def amortisation(self) -> np.ndarray:
        """ELBO(q*) - ELBO of each datum, (N,): what the encoder does not reach within its family."""
        return self.best - self.elbo

    @property
    def gain(self) -> np.ndarray:
        """What a full covariance adds to the family's best ELBO, (N,): part of the approximation gap."""
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
    def verdict(self) -> str:
        """Which gap is the larger, and what would close it, in a sentence."""
        if self.total.mean() < 2 * _mc_error(self.total_stderr) + ROUNDING * np.abs(self.log_px).mean():
            return "there is no gap beyond its error: the encoder's law is the posterior"
        if self.amortisation.mean() > self.approximation.mean():
            return "the larger part is the encoder's (amortisation): train it longer or make it larger"
        if math.isnan(self.gain.mean()):
            return (
                f"the larger part is the family's (approximation): {self.guide} cannot follow the posterior"
            )
        share = float(np.clip(self.gain.mean() / self.approximation.mean(), 0, 1))
        return f"the larger part is the family's (approximation): full covariance closes {share:.0%} of it"

    def __str__(self) -> str:
        rows = [
            ("log p(x)", self.log_px, self.log_px_stderr),
            ("approximation gap", self.approximation, self.approximation_stderr),
            ("  of it full covariance", self.gain, self.gain_stderr),
            ("amortisation gap", self.amortisation, self.amortisation_stderr),
            ("ELBO", self.elbo, self.elbo_stderr),
        ]
        known = [row for row in rows if not np.isnan(row[1]).any()]
        lines = [f"  {name:<24}{_row(values, errors)}" for name, values, errors in known]
        head = (
            f"log p(x) - ELBO of {len(self):,} data, nats per datum; log p(x) by {self.method}; {self.guide} "
            f"ascended {self.steps:,} steps"
        )
        columns = f"  {'':<24}{'mean':>10}{'Monte Carlo':>14}{'between data':>14}"
        return "\n".join([head, columns, *lines, f"  {self.verdict}"])


def gaps(
    vae: VAE,
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
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

    \[\log p(x) - \mathcal L(q_\phi) = \underbrace{\log p(x) - \mathcal L(q^*)}_{\text{approximation}} +
    \underbrace{\mathcal L(q^*) - \mathcal L(q_\phi)}_{\text{amortisation}}\]

    An ascent that stops early makes the amortisation gap look smaller and the approximation gap larger;
    compare with twice the steps.

    Arguments:
        vae: a `VAE`.
        x: data (N, *event); a hundred are enough for the means.
        context: (N, *context_shape) for a conditional VAE.
        steps: of Adam for each datum, its learning rate falling to zero along half a cosine.
        particles: draws for each ELBO that is reported.
        lr: the first learning rate.
        method: how log p(x) is estimated, as for `log_evidence`.
        seed: of the draws.
        chunk: how many (particle, datum) pairs run at once; None chooses.
        progress: show a bar with the time left.

    Returns:
        `Gaps`, with arrays of shape (N,) in nats.

    Raises:
        InputError: for anything but a VAE, steps or particles below 1, or as `log_evidence`.
        KeyboardInterrupt: on Ctrl-C, also while log p(x) is estimated.

    Reference:
        Cremer, Li & Duvenaud (2018), "Inference Suboptimality in Variational Autoencoders".

    Example:
        >>> from pyrovae.networks import MLP
        >>> vae = VAE((4,), latent_dim=2, encoder=MLP(8), decoder=MLP(8))
        >>> found = gaps(vae, torch.eye(4), steps=20, particles=100)
        >>> bool(abs(found.approximation + found.amortisation - found.total).max() < 1e-9)
        True
    """
    if not isinstance(vae, VAE):
        raise InputError(
            f"gaps frees the law that a VAE's encoder gives for each datum, and a {type(vae).__name__} has "
            "none: declare a pyrovae.VAE"
        )
    whole_number("steps", steps), whole_number("particles", particles)
    if not 0 < lr < math.inf:
        raise InputError(f"lr must be a number above 0, not {lr!r}")
    program = Program(vae)
    x, context = inputs(program, x, context)
    evidence = log_evidence(vae, x, context, method=method, seed=seed, chunk=chunk, progress=progress)
    if evidence.partial:  # it keeps what it has at Ctrl-C, where half a split is of no use
        raise KeyboardInterrupt(f"stopped after log p(x) of {len(evidence)} of {len(x)} data")
    found = []
    with evaluating(program), shown("free guides", len(x), show=progress) as advance:
        program.check(x, context)
        pieces = Pieces(program, x, context, seed=seed, chunk=chunk)
        for rows in pieces.rows(max(ASCENT, min(particles, BLOCK))):
            found.append(_Split(vae, pieces, rows).columns(steps, particles, lr).cpu())
            advance(rows.stop - rows.start)
    elbo, best, richer, elbo_stderr, best_stderr, of_amortisation, of_gain = torch.cat(found, 1).numpy()
    return Gaps(
        evidence.log_px,
        elbo,
        best,
        richer,
        evidence.mc_stderr,
        elbo_stderr,
        best_stderr,
        of_amortisation,
        of_gain,
        guide=repr(vae.q),
        method=evidence.method,
        steps=steps,
        particles=particles,
    )


class _Split:
    """The ELBOs of B data under the encoder's law, the best of its family and the best full normal."""

    def __init__(self, vae: VAE, pieces: Pieces, rows: slice) -> None:
        self.vae, self.pieces, self.rows = vae, pieces, rows
        self.x = pieces.x[rows]
        self.context = None if pieces.context is None else pieces.context[rows]

    def columns(self, steps: int, particles: int, lr: float) -> Tensor:
        """Rows elbo, best, richer and the errors of elbo, best, best - elbo and richer - best, (7, B)."""
        start = self._encoded()
        free = self._ascend(self._family, start, steps, lr)
        best = self._family(free)
        of_start, of_best = self._log_w(self._family(start), particles), self._log_w(best, particles)
        of_richer = torch.full_like(of_best, math.nan)
        if _is_real(best):
            full = self._ascend(_full, _full_params(best, self._draws(best, 200, 2 * APART)), steps, lr)
            of_richer = self._log_w(_full(full), particles)
        bounds = [log_w.mean(0) for log_w in (of_start, of_best, of_richer)]
        paired = (of_start, of_best, of_best - of_start, of_richer - of_best)
        return torch.stack([*bounds, *(_stderr(values) for values in paired)])

    def _encoded(self) -> Params:
        """What the encoder gives for each datum, (B, *shape) by name."""
        return self.vae._params(self.x, self.context)

    def _family(self, params: Params) -> dist.TorchDistribution:
        return self.vae.q(**params)

    def _ascend(self, family: Family, start: Params, steps: int, lr: float) -> Params:
        """The parameters of each datum after `steps` of Adam on its own ELBO; data do not see each other."""
        with torch.enable_grad():
            free = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
            adam = torch.optim.Adam(free.values(), lr=lr)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
            for step in range(steps):
                z = self._draws(family(free), ASCENT, APART + step * BLOCK)
                fixed = family({name: value.detach() for name, value in free.items()})
                loss = -self._log_weights(z, fixed).mean(0).sum()
                gradients = torch.autograd.grad(loss, [*free.values()])
                for value, gradient in zip(free.values(), gradients, strict=True):
                    value.grad = gradient
                adam.step()
                schedule.step()
        return {name: value.detach() for name, value in free.items()}

    def _log_w(self, law: dist.TorchDistribution, particles: int) -> Tensor:
        """The log weights of draws that no ascent has seen, (K, B), float64."""
        parts = [
            self._log_weights(self._draws(law, count, first), law)
            for first, count in self.pieces.cuts(self.rows, particles)
        ]
        return torch.cat(parts).double()

    def _log_weights(self, z: Tensor, law: dist.TorchDistribution) -> Tensor:
        terms = self.pieces.program.joint_at({"z": z}, self.x, self.context, particles=len(z))
        return terms._replace(log_qz=law.log_prob(z)).log_w

    def _draws(self, law: dist.TorchDistribution, count: int, first: int = 0) -> Tensor:
        keys = self.pieces.keys[self.rows]
        with (
            KeyedDraws(keys, self.pieces.seed, first),
            pyro.plate(PARTICLES, count, dim=-2),
            pyro.plate(DATA, len(keys), dim=-1),
        ):
            return pyro.sample("z", law)


def _full(params: Params) -> dist.MultivariateNormal:
    """The normal with mean `loc` and Cholesky factor lower + diag(positive(raw_scale))."""
    factor = params["lower"].tril(-1) + positive(params["raw_scale"]).diag_embed()
    return dist.MultivariateNormal(params["loc"], scale_tril=factor, validate_args=False)


def _full_params(law: dist.TorchDistribution, draws: Tensor) -> Params:
    """Where the ascent of the full normal starts: the moments of the family's best law."""
    if isinstance(law, torch.distributions.MultivariateNormal):
        loc, factor = law.loc, law.scale_tril
    else:
        mean = means(law)
        loc, scale = (draws.mean(0), draws.std(0)) if mean is None else (mean, law.stddev)
        factor = scale.diag_embed()
    above = (factor.diagonal(dim1=-2, dim2=-1) - SCALE_FLOOR).clamp(min=1e-6)
    return {"loc": loc, "raw_scale": inverse_softplus(above), "lower": factor.tril(-1)}


def _is_real(law: dist.TorchDistribution) -> bool:
    support: Any = law.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real


def _stderr(log_w: Tensor) -> Tensor:
    if len(log_w) < 2:
        return torch.full_like(log_w[0], math.nan)
    return log_w.std(0) / math.sqrt(len(log_w))


def _mc_error(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).sum()) / len(errors))


def _row(values: np.ndarray, errors: np.ndarray) -> str:
    between = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{values.mean():>10.3f}{_mc_error(errors):>14.4f}{between:>14.3f}"
