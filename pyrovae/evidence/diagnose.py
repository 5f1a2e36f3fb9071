r"""The ELBO split into its parts, and the information in a VAE's latents.

    ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))         reconstruction (minus distortion) and rate
    mean KL = I_q(x; z) + KL(q(z) || p(z)),  q(z) = (1/N) sum_n q(z|x_n)
    KL(q(z) || p(z)) = KL(q(z) || prod_j q(z_j)) + KL(prod_j q(z_j) || p(z))

The second line is the ELBO surgery: the information that z has about which of the N observations it
came from, and the distance of the aggregate posterior from the prior. Both sides are estimated from
the same samples, so they are equal up to rounding, and the information never exceeds log N. The
posterior has collapsed if this information is zero: the decoder then works without its latents. In
the third line, the total correlation says how much the latents depend on each other, and the rest
is the dimension-wise KL: for a prior that is a product, the sum over j of KL(q(z_j) || p(z_j)).

Reference:
    Alemi et al. (2018), "Fixing a Broken ELBO"; Chen, Li, Grosse & Duvenaud (2018), "Isolating
    Sources of Disentanglement in Variational Autoencoders"; and as for `diagnose`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import count_of, whole
from pyrovae.datasets import Data, Rows
from pyrovae.display import Html, Summary, html
from pyrovae.errors import InputError
from pyrovae.evidence.marginals import kl_of_marginals, log_marginals_of, means
from pyrovae.evidence.path import guide_samples
from pyrovae.evidence.result import PerRow, about, with_error
from pyrovae.evidence.run import CELLS, Pieces, evaluation
from pyrovae.numerics import as_array, stderr_of_mean
from pyrovae.plots.diagnostics import latent_kl
from pyrovae.plots.style import Axes
from pyrovae.seeds import generator_of
from pyrovae.vae import VAE

__all__ = ["ACTIVE", "Diagnosis", "diagnose"]

# Burda et al.: a latent is inactive if the variance of its posterior mean is below this.
ACTIVE = 0.01
COLLAPSED = 0.05  # nats


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(PerRow):
    """The ELBO of N observations split into its parts, in nats.

    Attributes:
        reconstruction: E_q[log p(x|z)] of each observation, (N,).
        kl: KL(q(z|x) || p(z)) of each observation, (N,), from the same samples as all results but
            `kl_per_dim`.
        mutual_information: the terms whose mean is I_q(x; z), (N,); nan with a context or labels.
        marginal_kl: the terms whose mean is KL(q(z) || p(z)), (N,); nan with a context or labels.
        total_correlation: the terms whose mean is KL(q(z) || prod_j q(z_j)), (N,); nan with a
            context or labels, or if q(z|x) has no known marginals.
        kl_per_dim: KL between the one-dimensional marginals of q(z|x) and p(z), averaged over the
            observations, (D,); nan if a distribution has no known marginals.
        kl_method: how `kl_per_dim` was computed, "closed form" or "samples"; empty if it is nan.
        factorised: whether guide and prior are products over the latents, so that `kl_per_dim` sums
            to the KL.
        activity: the variance over the observations of E_q[z_j|x], (D,).
        train_elbo: the ELBO of the same number of training rows, or None.
        particles: samples per observation.
    """

    reconstruction: np.ndarray
    kl: np.ndarray
    mutual_information: np.ndarray
    marginal_kl: np.ndarray
    total_correlation: np.ndarray
    kl_per_dim: np.ndarray
    kl_method: str
    factorised: bool
    activity: np.ndarray
    train_elbo: np.ndarray | None
    particles: int

    def __len__(self) -> int:
        return len(self.kl)

    @property
    def elbo(self) -> np.ndarray:
        """The ELBO of each observation, (N,)."""
        return self.reconstruction - self.kl

    @property
    def rate(self) -> float:
        """The mean KL: the number of nats to encode an observation."""
        return float(self.kl.mean())

    @property
    def distortion(self) -> float:
        """Minus the mean reconstruction; ELBO = -(rate + distortion)."""
        return -float(self.reconstruction.mean())

    @property
    def dimension_kl(self) -> np.ndarray:
        """The terms whose mean is KL(prod_j q(z_j) || p(z)), (N,): the dimension-wise KL."""
        return self.marginal_kl - self.total_correlation

    @property
    def active_units(self) -> int:
        """The number of latents whose posterior mean has a variance above 0.01."""
        return int((self.activity > ACTIVE).sum())

    @property
    def train_test_gap(self) -> tuple[float, float]:
        """The mean ELBO of training rows minus that of test rows, and its error, or nan."""
        if self.train_elbo is None:
            return math.nan, math.nan
        error = math.hypot(*(float(stderr_of_mean(elbo)) for elbo in (self.train_elbo, self.elbo)))
        return float(self.train_elbo.mean() - self.elbo.mean()), error

    @property
    def collapsed(self) -> bool:
        """Whether z has no information about x: below 0.05 nats, or no active unit."""
        information = float(self.mutual_information.mean())
        return self.active_units == 0 if math.isnan(information) else information < COLLAPSED

    @property
    def verdict(self) -> str:
        """Whether the posterior has collapsed, and what to do, in a sentence."""
        dim, used = len(self.activity), self.active_units
        if self.collapsed:
            same = "nearly the same" if used else "the same"
            return (
                f"the posterior has collapsed: {used} of {dim} latents are active and q(z|x) is {same} for "
                "every x, so the decoder works without z; try KL annealing (kl_warmup=) or a smaller decoder"
            )
        idle = f"; the other {dim - used} carry nothing" if used < dim else ""
        verdict = f"the posterior has not collapsed: {used} of {dim} latents are active{idle}"
        if self.mutual_information.mean() > math.log(len(self)) - 0.1:
            verdict += f"; I(x; z) is at its maximum log N, N = {len(self):,}: the true split may differ"
        return verdict

    def _summary(self) -> Summary:
        parts = [
            ("ELBO", self.elbo, ""),
            ("  reconstruction", self.reconstruction, "minus the distortion"),
            ("  KL(q(z|x) || p(z))", self.kl, "the rate"),
            ("    I(x; z)", self.mutual_information, f"at most log N = {math.log(len(self)):.2f}"),
            ("    KL(q(z) || p(z))", self.marginal_kl, "of the aggregate posterior"),
        ]
        lines = [(name, f"{_number(values)}   {note}") for name, values, note in parts]
        gap, error = self.train_test_gap
        if not math.isnan(gap):
            lines.append(("train - test gap", f"{gap:10.3f} +- {error:<7.3f}   of the ELBO"))
        lines.append(("KL per latent", f"  {self._of_latents()}"))
        head = f"bound on {self.quantity} of {len(self):,} observations, {self.particles} samples each"
        return Summary(f"{head}, nats per observation", lines, self.verdict, is_good=not self.collapsed)

    def _sections(self) -> Sequence[Html]:
        order = np.argsort(-np.nan_to_num(self.kl_per_dim, nan=-np.inf), kind="stable")
        rows = [[f"{j}", f"{self.kl_per_dim[j]:.3f}", f"{self.activity[j]:.3f}"] for j in order]
        names = ["latent", "KL, nats", "variance of E[z|x]"]
        return [html.section(f"{len(rows)} latents, by KL", html.table(names, rows))]

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the KL of each latent, and the mean KL split in two."""
        parts = float(self.mutual_information.mean()), float(self.marginal_kl.mean())
        return latent_kl(self.kl_per_dim, self.activity, *parts, threshold=ACTIVE, ax=ax)

    def _of_latents(self) -> str:
        if not self.kl_method:
            return "not known: this guide or prior has no one-dimensional marginals"
        ordered = sorted(self.kl_per_dim, reverse=True)
        shown = " ".join(f"{kl:.2f}" for kl in ordered[:10])
        more = f" .. ({len(ordered)} latents)" if len(ordered) > 10 else ""
        note = "" if self.factorised else "; of the marginals, which do not add up to the KL"
        return f"{shown}{more} ({self.kl_method}{note})"


def diagnose(
    vae: VAE,
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    y: Any = None,  # noqa: ANN401
    *,
    rows: int = 1000,
    particles: int = 10,
    seed: int = 0,
    chunk: int | None = None,
) -> Diagnosis:
    r"""Split the ELBO into reconstruction and KL, and the KL into its parts.

    \[\frac1N \sum_n \mathrm{KL}(q(z|x_n) \,\|\, p(z)) = I_q(x; z) + \mathrm{KL}(q(z) \,\|\, p(z))\]

    q(z) is the aggregate over the N observations used. Over a larger set, the information is at
    least the reported value, and KL(q(z) || p(z)) at most.

    Variables that all rows share, such as the weights of a Bayesian decoder, are at their mean.

    Arguments:
        vae: a `VAE`.
        x: the result of `datasets.load`, of which the test set and the same number of training rows
            are used; or observations as for `log_evidence`, without a train-test gap.
        context, y: as for `log_evidence`.
        rows: the maximum number of observations, chosen by the seed; the cost grows with its
            square.
        particles: samples per observation.
        seed, chunk: as for `log_evidence`.

    Returns:
        `Diagnosis`, with arrays in nats.

    Raises:
        InputError: if `vae` is not a VAE, or there are fewer than two observations, or some that it
            cannot score.

    References:
        Hoffman & Johnson (2016), "ELBO surgery: yet another way to carve up the variational
        evidence lower bound"; Burda, Grosse & Salakhutdinov (2016), "Importance Weighted
        Autoencoders", appendix C.

    Example:
        >>> from pyrovae.networks import MLP
        >>> vae = VAE((4,), latent_dim=2, encoder=MLP(8), decoder=MLP(8))
        >>> diagnosis = diagnose(vae, torch.eye(4))
        >>> both = diagnosis.mutual_information.mean() + diagnosis.marginal_kl.mean()
        >>> bool(abs(both - diagnosis.rate) < 1e-9)
        True
    """
    if not isinstance(vae, VAE):
        raise InputError(
            f"diagnose reads the encoder of a VAE and cannot be used on a {type(vae).__name__}: declare "
            "a pyrovae.VAE, or use log_evidence, which takes any program"
        )
    particles, most = count_of("particles", particles), whole("rows", rows)
    train = None
    if isinstance(x, Data):
        if not x.streams:  # scored without labels, like the test set
            train = _some(x.without_jitter(seed).unlabelled(), most, seed)
        x = x.test
    with evaluation(vae, _some(vae.rows(x, context, y), most, seed), seed=seed, chunk=chunk) as pieces:
        if len(pieces) < 2:
            raise InputError("one observation has no variance: diagnose needs at least two")
        z, terms = guide_samples(pieces, particles)
        log_px_z, log_pz, log_qz = (term.double() for term in terms[:3])
        log_aggregate, log_product = _log_aggregate(vae, pieces, z), _log_product(vae, pieces, z)
        q, prior = vae.encode(pieces.rows), vae.latents(pieces.rows.context, pieces.rows.y)
        marginals = kl_of_marginals(q, prior, z)
        return Diagnosis(
            reconstruction=_mean(log_px_z),
            kl=_mean(log_qz - log_pz),
            mutual_information=_mean(log_qz - log_aggregate),
            marginal_kl=_mean(log_aggregate - log_pz),
            total_correlation=_mean(log_aggregate - log_product),
            kl_per_dim=_mean(marginals.kl),
            kl_method=marginals.method,
            factorised=marginals.factorised,
            activity=as_array(_variance_of_means(q, z)),
            train_elbo=None if train is None else _elbo(vae, train, particles, seed, chunk),
            particles=particles,
            **about(pieces.rows),
        )


def _log_aggregate(vae: VAE, pieces: Pieces, z: Tensor) -> Tensor:
    """log (1/N) sum_m q(z|x_m) at each sample, (S, N); nan with a context or labels."""
    if len(pieces.rows.arguments) > 1:
        return torch.full(z.shape[:2], math.nan, dtype=torch.float64, device=z.device)
    q, count = vae.encode(pieces.rows), len(pieces)
    flat = z.reshape(-1, z.shape[-1])
    size = max(1, CELLS // (count * z.shape[-1]))
    parts = [torch.logsumexp(q.log_prob(some.unsqueeze(1)).double(), 1) for some in flat.split(size)]
    return torch.cat(parts).reshape(z.shape[:2]) - math.log(count)


def _log_product(vae: VAE, pieces: Pieces, z: Tensor) -> Tensor:
    """sum_j log (1/N) sum_m q(z_j|x_m) at each sample, (S, N); nan if it is not known."""
    log_marginals = None if len(pieces.rows.arguments) > 1 else log_marginals_of(vae.encode(pieces.rows))
    if log_marginals is None:
        return torch.full(z.shape[:2], math.nan, dtype=torch.float64, device=z.device)
    count, flat = len(pieces), z.reshape(-1, z.shape[-1])
    size = max(1, CELLS // (count * z.shape[-1]))
    parts = [torch.logsumexp(log_marginals(some.unsqueeze(1)).double(), 1) for some in flat.split(size)]
    return (torch.cat(parts) - math.log(count)).sum(-1).reshape(z.shape[:2])


def _variance_of_means(q: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    """Var_x(E_q[z_j|x]), (D,)."""
    mean = means(q)
    if mean is not None:
        return mean.double().var(0)
    # The variance of means over S samples also contains the distribution's variance / S.
    z = z.double()
    excess = z.var(0).mean(0) / len(z) if len(z) > 1 else torch.zeros_like(z[0, 0])
    return (z.mean(0).var(0) - excess).clamp(min=0)


def _elbo(vae: VAE, rows: Rows, particles: int, seed: int, chunk: int | None) -> np.ndarray:
    with evaluation(vae, rows, seed=seed, chunk=chunk) as pieces:
        log_px_z, log_pz, log_qz = (term.double() for term in guide_samples(pieces, particles)[1][:3])
        return _mean(log_px_z + log_pz - log_qz)


def _some(rows: Rows, most: int, seed: int) -> Rows:
    """The rows, or some of them chosen by the seed."""
    if rows.x.dim() == 0 or len(rows) <= most:
        return rows
    return rows[torch.randperm(len(rows), generator=generator_of(seed))[:most]]


def _mean(values: Tensor) -> np.ndarray:
    return as_array(values.mean(0).double())


def _number(values: np.ndarray) -> str:
    return f"{'not given c or y':>21}" if np.isnan(values).any() else with_error(values)
