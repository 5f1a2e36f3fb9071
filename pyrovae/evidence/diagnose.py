r"""What a VAE's latents carry: the ELBO taken apart.

    ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))             reconstruction (minus distortion) and rate
    mean KL = I_q(x; z) + KL(q(z) || p(z)),  q(z) = (1/N) sum_n q(z|x_n)

The second line is the ELBO surgery: what z tells of which of the N data it came from, and how far the
aggregate posterior is from the prior. Both sides are estimated from the same draws, so they add up to
rounding, and the information never passes log N. A posterior has collapsed when that information is zero:
the decoder then works without its latents.

References:
    Hoffman & Johnson (2016), "ELBO surgery"; Alemi et al. (2018), "Fixing a Broken ELBO"; Burda, Grosse &
    Salakhutdinov (2016), "Importance Weighted Autoencoders" (active units).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrovae.datasets import Data
from pyrovae.errors import InputError
from pyrovae.evidence.marginals import kl_of_marginals, means
from pyrovae.evidence.run import CELLS, Pieces, evaluating, inputs, whole_number
from pyrovae.terms import Program
from pyrovae.vae import VAE

__all__ = ["ACTIVE", "Diagnosis", "diagnose"]

# Burda et al.: a latent whose posterior mean varies less than this over the data is not used.
ACTIVE = 0.01
COLLAPSED = 0.05  # nats


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The ELBO of N data taken apart, in nats.

    Attributes:
        reconstruction: E_q[log p(x|z)] of each datum, (N,).
        kl: KL(q(z|x) || p(z)) of each datum, (N,), from the same draws as everything but `kl_per_dim`.
        mutual_information: the terms whose mean is I_q(x; z), (N,); nan for a conditional VAE.
        marginal_kl: the terms whose mean is KL(q(z) || p(z)), (N,); nan for a conditional VAE.
        kl_per_dim: KL between the one-dimensional marginals of q(z|x) and p(z), averaged over the data, (D,);
            nan where a law has no known marginals.
        kl_method: how it was found, "closed form" or "draws"; empty when it is not known.
        factorised: whether guide and prior are products over the latents: `kl_per_dim` then sums to the KL.
        activity: the variance over the data of E_q[z_j|x], (D,).
        train_elbo: the ELBO of as many training data, or None.
        particles: draws for each datum.
    """

    reconstruction: np.ndarray = field(repr=False)
    kl: np.ndarray = field(repr=False)
    mutual_information: np.ndarray = field(repr=False)
    marginal_kl: np.ndarray = field(repr=False)
    kl_per_dim: np.ndarray = field(repr=False)
    kl_method: str
    factorised: bool
    activity: np.ndarray = field(repr=False)
    train_elbo: np.ndarray | None = field(repr=False)
    particles: int

    def __len__(self) -> int:
        return len(self.kl)

    @property
    def elbo(self) -> np.ndarray:
        """The ELBO of each datum, (N,)."""
        return self.reconstruction - self.kl

    @property
    def rate(self) -> float:
        """The mean KL, the nats that a datum's code costs."""
        return float(self.kl.mean())

    @property
    def distortion(self) -> float:
        """Minus the mean reconstruction; ELBO = -(rate + distortion)."""
        return -float(self.reconstruction.mean())

    @property
    def active_units(self) -> int:
        """The number of latents whose posterior mean varies over the data by more than 0.01."""
        return int((self.activity > ACTIVE).sum())

    @property
    def train_test_gap(self) -> tuple[float, float]:
        """The mean ELBO of training data minus that of the test data, and its standard error; nan without."""
        if self.train_elbo is None:
            return math.nan, math.nan
        error = math.hypot(_stderr(self.train_elbo), _stderr(self.elbo))
        return float(self.train_elbo.mean() - self.elbo.mean()), error

    @property
    def collapsed(self) -> bool:
        """Whether z tells nothing of x: below 0.05 nats, or for a conditional VAE no active unit."""
        information = float(self.mutual_information.mean())
        return self.active_units == 0 if math.isnan(information) else information < COLLAPSED

    @property
    def verdict(self) -> str:
        """Whether the posterior has collapsed, and what to do, in a sentence."""
        dim, used = len(self.activity), self.active_units
        if self.collapsed:
            return (
                f"the posterior has collapsed: {used} of {dim} latents are active and q(z|x) is the same for "
                "every x, so the decoder works without z; try KL annealing (kl_warmup=) or a smaller decoder"
            )
        idle = f"; the other {dim - used} carry nothing" if used < dim else ""
        verdict = f"the posterior has not collapsed: {used} of {dim} latents are active{idle}"
        if self.mutual_information.mean() > math.log(len(self)) - 0.1:
            verdict += (
                f"; I(x; z) is at its ceiling log N of {len(self):,} data, so the true split may differ"
            )
        return verdict

    def __str__(self) -> str:
        rows = [
            ("ELBO", self.elbo, ""),
            ("  reconstruction", self.reconstruction, "minus the distortion"),
            ("  KL(q(z|x) || p(z))", self.kl, "the rate"),
            ("    I(x; z)", self.mutual_information, f"at most log N = {math.log(len(self)):.2f}"),
            ("    KL(q(z) || p(z))", self.marginal_kl, "of the aggregate posterior"),
        ]
        lines = [f"  {name:<24}{_number(values)}   {note}".rstrip() for name, values, note in rows]
        gap, error = self.train_test_gap
        if not math.isnan(gap):
            lines.append(f"  {'train - test gap':<24}{gap:10.3f} +- {error:<7.3f}   of the ELBO")
        head = f"ELBO of {len(self):,} data taken apart, {self.particles} draws each, nats per datum"
        return "\n".join([head, *lines, *self._of_latents(), f"  {self.verdict}"])

    def _of_latents(self) -> list[str]:
        if not self.kl_method:
            return [
                "  KL per latent            not known: this guide or prior has no one-dimensional marginals"
            ]
        order = np.argsort(-self.kl_per_dim)
        shown = " ".join(f"{self.kl_per_dim[j]:.2f}" for j in order[:10])
        more = f" .. ({len(order)} latents)" if len(order) > 10 else ""
        note = "" if self.factorised else "; of the marginals, which do not add up to the KL"
        return [f"  KL per latent            {shown}{more} ({self.kl_method}{note})"]


def diagnose(
    vae: VAE,
    data: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    *,
    rows: int = 1000,
    particles: int = 10,
    seed: int = 0,
    chunk: int | None = None,
) -> Diagnosis:
    r"""Take the ELBO apart: what is reconstruction, what is KL, and what the latents carry.

    \[\frac1N \sum_n \mathrm{KL}(q(z|x_n) \,\|\, p(z)) = I_q(x; z) + \mathrm{KL}(q(z) \,\|\, p(z))\]

    q(z) is the aggregate over the N data looked at: for all data there are, the information is at least what
    is reported and KL(q(z) || p(z)) at most.

    Arguments:
        vae: a `VAE`.
        data: what `datasets.load` gives, whose test set is looked at beside as many training data, or data
            (N, *event), without a train-test gap.
        context: (N, *context_shape) for a conditional VAE when `data` is a tensor.
        rows: the most data to look at, picked by the seed. The cost grows with its square.
        particles: draws for each datum.
        seed: of the draws.
        chunk: how many (particle, datum) pairs run at once; None chooses.

    Returns:
        `Diagnosis`, with arrays in nats.

    Raises:
        InputError: for anything but a VAE, fewer than two data, or data that it cannot weigh.

    References:
        Hoffman & Johnson (2016), "ELBO surgery: yet another way to carve up the variational evidence lower
        bound"; Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders", appendix C.

    Example:
        >>> from pyrovae.networks import MLP
        >>> vae = VAE((4,), latent_dim=2, encoder=MLP(8), decoder=MLP(8))
        >>> found = diagnose(vae, torch.eye(4))
        >>> both = found.mutual_information.mean() + found.marginal_kl.mean()
        >>> bool(abs(both - found.rate) < 1e-9)
        True
    """
    if not isinstance(vae, VAE):
        raise InputError(
            f"diagnose looks into the encoder of a VAE and cannot be used on a {type(vae).__name__}: declare "
            "a pyrovae.VAE, or use log_evidence, which takes any program"
        )
    whole_number("particles", particles)
    if isinstance(data, Data) and vae.prior.labels:
        data = dataclasses.replace(data, context=None)  # log p(x), not log p(x, y)
    (x, context), train = _chosen(data, context, whole_number("rows", rows), seed)
    program = Program(vae)
    with evaluating(program):
        pieces = _pieces(program, x, context, seed, chunk)
        draws = _drawn(pieces, particles)
        log_aggregate = _log_aggregate(vae, pieces, draws.z)
        q, prior = vae.encode(pieces.x, pieces.context), vae.latents(pieces.context)
        marginals = kl_of_marginals(q, prior, draws.z)
        of_train = None if train is None else _elbo(_pieces(program, *train, seed, chunk), particles)
        information, marginal_kl = draws.log_qz - log_aggregate, log_aggregate - draws.log_pz
        return Diagnosis(
            reconstruction=_array(draws.log_px.mean(0)),
            kl=_array((draws.log_qz - draws.log_pz).mean(0)),
            mutual_information=_array(information.mean(0)),
            marginal_kl=_array(marginal_kl.mean(0)),
            kl_per_dim=_array(marginals.kl.mean(0)),
            kl_method=marginals.method,
            factorised=marginals.factorised,
            activity=_array(_variance_of_means(q, draws.z)),
            train_elbo=of_train,
            particles=particles,
        )


class _Draws(NamedTuple):
    """Draws z ~ q(z|x), (S, N, D), and the terms there, each (S, N), float64."""

    z: Tensor
    log_px: Tensor
    log_pz: Tensor
    log_qz: Tensor


def _pieces(program: Program, x: Any, context: Any, seed: int, chunk: int | None) -> Pieces:  # noqa: ANN401
    x, context = inputs(program, x, context)
    if len(x) < 2:
        raise InputError("one datum has no variance over the data: diagnose needs at least two")
    program.check(x, context)
    return Pieces(program, x, context, seed=seed, chunk=chunk)


def _drawn(pieces: Pieces, particles: int) -> _Draws:
    columns = []
    for rows in pieces.rows(particles):
        latents, parts = pieces.latents(rows), []
        for first, count in pieces.cuts(rows, particles):
            values, terms = latents.from_guide(count, first)
            parts.append((values["z"], *(term.double() for term in terms[:3])))
        columns.append([torch.cat(part) for part in zip(*parts, strict=True)])
    return _Draws(*(torch.cat(column, 1) for column in zip(*columns, strict=True)))


def _log_aggregate(vae: VAE, pieces: Pieces, z: Tensor) -> Tensor:
    """log (1/N) sum_m q(z|x_m) at each draw, (S, N); nan for a conditional VAE, which has one for each c."""
    if pieces.context is not None:
        return torch.full(z.shape[:2], math.nan, dtype=torch.float64, device=z.device)
    law, count = vae.encode(pieces.x), len(pieces.x)
    flat = z.reshape(-1, z.shape[-1])
    size = max(1, CELLS // (count * z.shape[-1]))
    parts = [torch.logsumexp(law.log_prob(some.unsqueeze(1)).double(), 1) for some in flat.split(size)]
    return torch.cat(parts).reshape(z.shape[:2]) - math.log(count)


def _variance_of_means(q: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    """Var_x(E_q[z_j|x]), (D,)."""
    mean = means(q)
    if mean is not None:
        return mean.double().var(0)
    # A mean of S draws varies by the law's own variance / S on top.
    z = z.double()
    excess = z.var(0).mean(0) / len(z) if len(z) > 1 else torch.zeros_like(z[0, 0])
    return (z.mean(0).var(0) - excess).clamp(min=0)


def _elbo(pieces: Pieces, particles: int) -> np.ndarray:
    draws = _drawn(pieces, particles)
    return _array((draws.log_px + draws.log_pz - draws.log_qz).mean(0))


def _chosen(
    data: Any,  # noqa: ANN401
    context: Any,  # noqa: ANN401
    rows: int,
    seed: int,
) -> tuple[tuple[Any, Any], tuple[Any, Any] | None]:
    """The data to look at, and as many training data when there are any in memory."""
    if not isinstance(data, Data):
        return _subset(data, context, rows, seed), None
    given = data.context
    test = _subset(data.test, None if given is None else given.test, rows, seed)
    if data.streams:
        return test, None
    own = slice(data.distinct)
    seen = data.epoch(0, seed)[own]
    train = _subset(seen, None if given is None else given.train[own], rows, seed)
    return test, train


def _subset(x: Any, context: Any, rows: int, seed: int) -> tuple[Any, Any]:  # noqa: ANN401
    x = torch.as_tensor(x)
    if x.dim() == 0 or len(x) <= rows:
        return x, context
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:rows]
    return x[chosen.to(x.device)], None if context is None else torch.as_tensor(context)[chosen]


def _number(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return f"{'not for a conditional VAE':>21}"
    return f"{values.mean():10.3f} +- {_stderr(values):<7.3f}"


def _stderr(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()
