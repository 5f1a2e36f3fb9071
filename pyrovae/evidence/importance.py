"""log p(x) by importance sampling with the guide as proposal."""

from __future__ import annotations

import math
from typing import Any

import torch

from pyrovae.evidence.result import Evidence
from pyrovae.evidence.run import Pieces, evaluating, inputs, whole_number
from pyrovae.evidence.weights import WeightSums
from pyrovae.terms import Program

__all__ = ["log_evidence"]


def log_evidence(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    *,
    particles: int = 1000,
    seed: int = 0,
    chunk: int | None = None,
) -> Evidence:
    r"""Estimate log p(x) of each datum, with its Monte Carlo error.

    \[\log p(x) \approx \log \frac1K \sum_{k=1}^K \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)\]

    Each datum has weights of its own. The estimate is a lower bound in expectation (Burda et al.'s
    \(\mathcal L_K\)) and rises to log p(x) with K. It depends on the seed and the data alone, not on
    chunks or order.

    Arguments:
        vae: a `VAE`, any object with a Pyro `model` and `guide`, or a pair (model, guide).
        x: data (N, *event).
        context: (N, *context_shape) for a conditional VAE.
        particles: K.
        seed: of the draws.
        chunk: how many (particle, datum) pairs run at once; None chooses. It changes memory and speed only.

    Returns:
        `Evidence`, with arrays of shape (N,) in nats.

    Raises:
        InputError: for particles or chunk below 1, no data, another shape, or values outside the support.

    Reference:
        Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders"; Owen (2013), "Monte Carlo
        theory, methods and examples", chapter 9.

    Example:
        >>> from pyrovae.oracles import LinearGaussian
        >>> oracle = LinearGaussian.random(event_dim=4, latent_dim=2)
        >>> x = oracle.sample(3)
        >>> evidence = log_evidence(oracle, x, particles=10)  # its guide is the exact posterior
        >>> bool(abs(evidence.log_px - oracle.log_px(x).numpy()).max() < 1e-4)
        True
    """
    whole_number("particles", particles)
    program = Program(vae)
    x, context = inputs(program, x, context)
    pieces = Pieces(program, x, context, seed=seed, chunk=chunk)
    found = []
    with evaluating(program):
        program.check(x, context)
        for rows in pieces.rows(particles):
            sums = WeightSums(rows.stop - rows.start, x.device)
            for terms in pieces.terms(rows, particles):
                sums.add(terms.log_w)
            found.append(torch.stack([sums.log_px, sums.mc_stderr, sums.ess]).cpu())
    log_px, mc_stderr, ess = torch.cat(found, 1).numpy()
    return Evidence(log_px, mc_stderr, ess, particles, math.prod(x.shape[1:]))
