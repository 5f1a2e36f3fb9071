r"""log p(x) as a code length: the bits that a VAE needs to send an observation.

    -log2 p(x) = KL(q(z|x) || p(z)) - E_q[log2 p(x|z)] - KL(q(z|x) || p(z|x))       all in bits

An ideal code for x has -log2 p(x) bits. A code with the latents first sends z, which costs the KL
divergence of q from the prior, and then x given z. The sum is longer by the last term, the penalty
for a q that is not the posterior: it is log p(x) minus the ELBO.

Reference:
    Doersch (2016), "Tutorial on Variational Autoencoders", section 2.4.2; Hinton & van Camp (1993),
    "Keeping the Neural Networks Simple by Minimizing the Description Length of the Weights".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrovae.checks import count_of
from pyrovae.display import Summary
from pyrovae.errors import InputError
from pyrovae.evidence.estimate import log_evidence
from pyrovae.evidence.methods import Method
from pyrovae.evidence.path import guide_samples
from pyrovae.evidence.predictive import Given
from pyrovae.evidence.result import PerRow, about, with_error
from pyrovae.evidence.run import evaluation, inputs
from pyrovae.evidence.units import Units
from pyrovae.numerics import as_array
from pyrovae.plots.information import code_lengths
from pyrovae.plots.style import Axes
from pyrovae.terms import Runner
from pyrovae.vae import VAE

__all__ = ["CodeLength", "code_length"]


@dataclass(frozen=True, eq=False, repr=False)
class CodeLength(PerRow):
    """The code lengths of N observations, in bits.

    Attributes:
        total: -log2 p(x), (N,).
        kl: KL(q(z|x) || p(z)), (N,).
        reconstruction: -E_q[log2 p(x|z)], (N,).
        units: what log p(x) measures. For a density, differences are bits and the total depends on
            the unit of x.
        method: the method that estimated log p(x).
    """

    total: np.ndarray
    kl: np.ndarray
    reconstruction: np.ndarray
    units: Units = Units()
    method: str = "importance sampling"

    def __len__(self) -> int:
        return len(self.total)

    @property
    def penalty(self) -> np.ndarray:
        """KL(q(z|x) || p(z|x)): log2 p(x) minus the ELBO, (N,), with the noise of both terms."""
        return self.kl + self.reconstruction - self.total

    def _summary(self) -> Summary:
        parts = [
            (self.quantity.replace("log", "-log2"), self.total, self.method),
            ("KL(q(z|x) || p(z))", self.kl, "the bits that z gives"),
            ("reconstruction", self.reconstruction, "the bits of x given z"),
            ("penalty", self.penalty, "KL(q(z|x) || p(z|x)), since q is not the posterior"),
        ]
        lines = [(name, f"{with_error(values)}   {note}") for name, values, note in parts]
        verdict = "" if self.units.has_bits else "x is real: the first and third line depend on the unit of x"
        many = "observation" + "s" * (len(self) != 1)
        return Summary(f"bits per observation of {len(self):,} {many}", lines, verdict)

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the means as bars."""
        total, kl, reconstruction = (float(v.mean()) for v in (self.total, self.kl, self.reconstruction))
        return code_lengths(min(total, kl + reconstruction), kl, reconstruction, ax=ax)


def code_length(
    vae: VAE,
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    *,
    method: str | Method = "laplace",
    particles: int | None = None,
    samples: int = 50,
    seed: int = 0,
) -> CodeLength:
    r"""Split -log2 p(x) into the bits of z, the bits of x given z, and the penalty for q.

    \[-\log_2 p(x) = \mathrm{KL}(q(z|x) \,\|\, p(z)) - \mathrm E_q[\log_2 p(x|z)] -
    \mathrm{KL}(q(z|x) \,\|\, p(z|x))\]

    Arguments:
        vae: a `VAE`. Variables that all rows share are at their mean.
        x: observations, as for `log_evidence`; labels are not used.
        context: as for `log_evidence`.
        method, particles: how log p(x) is estimated, as for `log_evidence`. With importance
            sampling, the penalty is at most what K samples find.
        samples: samples of q(z|x) for each observation, for the other two terms.
        seed: the seed of both.

    Returns:
        `CodeLength`, with arrays (N,) in bits.

    Raises:
        InputError: for another program, samples below 1, or as for `log_evidence`.

    Example:
        >>> import torch
        >>> from pyrovae.networks import MLP
        >>> vae = VAE((4,), latent_dim=2, encoder=MLP(8), decoder=MLP(8))
        >>> bits = code_length(vae, torch.eye(4), particles=100)
        >>> bool((bits.penalty > -0.5).all())
        True
    """
    if not hasattr(vae, "recognition"):
        raise InputError(
            f"code_length reads the encoder of a VAE and cannot be used on a {type(vae).__name__}: declare a "
            "pyrovae.VAE"
        )
    samples, runner = count_of("samples", samples), Runner(vae)
    rows = inputs(runner, x, context).unlabelled()
    given: Given = "mean" if runner.check(rows).global_sites else "posterior"
    evidence = log_evidence(vae, rows, method=method, particles=particles, seed=seed, given=given)
    rows = rows[: len(evidence)]  # after Ctrl-C, these are the first ones
    with evaluation(vae, rows, seed=seed, chunk=None) as pieces:
        _, terms = guide_samples(pieces, samples)
        log_px_z, log_pz, log_qz = (as_array(term.double().mean(0)) for term in terms[:3])
    return CodeLength(
        total=-evidence.log_px / math.log(2),
        kl=(log_qz - log_pz) / math.log(2),
        reconstruction=-log_px_z / math.log(2),
        units=evidence.units,
        method=evidence.method,
        **about(rows),
    )
