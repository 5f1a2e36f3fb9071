"""log p(x) of each datum, by the method of one's choice, with its errors."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.evidence.captured import Compile, Evaluator
from pyrovae.evidence.methods import AIS, Method, as_method
from pyrovae.evidence.precision import Precision, chosen
from pyrovae.evidence.result import Evidence
from pyrovae.evidence.run import Pieces, checked, evaluating, inputs, shown, whole_number
from pyrovae.networks import products_in
from pyrovae.sharing import gathered, is_first, is_shared, own_rows
from pyrovae.terms import Program

__all__ = ["log_evidence"]


def log_evidence(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    *,
    particles: int | None = None,
    method: str | Method = "importance",
    seed: int = 0,
    chunk: int | None = None,
    precision: Precision = "float32",
    compile: Compile = "auto",
    progress: bool = False,
) -> Evidence:
    r"""Estimate log p(x) of each datum, with its Monte Carlo error, effective sample size and k-hat.

    \[\log p(x) \approx \log \frac1K \sum_{k=1}^K \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)\]

    Each datum has weights of its own. With `method="importance"` the estimate is a lower bound in
    expectation (Burda et al.'s \(\mathcal L_K\)) and rises to log p(x) with K. It depends on the seed and the
    data alone, not on chunks, order or the number of processes (equal data may exchange their draws).

    Arguments:
        vae: a `VAE`, any object with a Pyro `model` and `guide`, or a pair (model, guide).
        x: data (N, *event).
        context: (N, *context_shape) for a conditional VAE.
        particles: K; 1000 unless given, and 16 chains for "ais".
        method: "importance", "psis", "defensive", "ais", or one of `pyrovae.evidence`'s methods with
            options of its own, as in `AIS(temperatures=200)`.
        seed: of the draws.
        chunk: how many (particle, datum) pairs run at once, 250 at the least; None chooses. It changes memory
            and speed only.
        precision: of the networks' matrix products: float32, tf32 (CUDA), bf16, or auto, which takes bf16
            where a pilot with the same draws moves the mean by less than its Monte Carlo error and is faster.
        compile: run the pieces of "importance" and "psis" as compiled code instead of in Python: "auto" where
            the pieces to come pay for the compilation, True always (or be told why it cannot be), False
            never. The draws are the same, and the numbers to rounding.
        progress: show a bar with the time left.

    Returns:
        `Evidence`, with arrays of shape (N,) in nats. Ctrl-C gives the data that are finished, marked as
        partial.

    Raises:
        InputError: for particles or chunk below 1, no data, another shape, values outside the support, a
            site that guide or model lacks, a datum whose weights are all zero, or compile=True where there
            is nothing to compile or no way to.

    References:
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
    method, began = as_method(method), time.perf_counter()
    particles = whole_number("particles", method.particles if particles is None else particles)
    _check_compile(compile, method)
    program = Program(vae)
    x, context = inputs(program, x, context)
    with evaluating(program):
        checked(program, x, context)
        every = Pieces(program, x, context, seed=seed, chunk=chunk)
        method = method.prepared(every, particles)
        precision, why = chosen(precision, method, every, particles)
        own = own_rows(len(x))
        pieces = every.take(own.tolist()) if is_shared() else every
        if method.capturable and compile is not False and len(own):
            pieces.evaluate = Evaluator(program, seed, compile, pieces.shapes(particles), precision)
        with products_in(precision, x.device):
            found = gathered(lambda: _summaries(pieces, method, particles, own, progress=progress), len(x))
    log_px, mc_stderr, ess, khat = found.numpy()
    return Evidence(
        log_px,
        mc_stderr,
        ess,
        khat,
        particles=particles,
        event_shape=tuple(x.shape[1:]),
        method=method.name,
        settings=method.to_dict()["init_args"] | why,
        annealed=isinstance(method, AIS),
        partial=len(log_px) < len(x),
        seconds=time.perf_counter() - began,
    )


def _summaries(pieces: Pieces, method: Method, particles: int, own: Tensor, *, progress: bool) -> Tensor:
    done = [torch.empty(4, 0, dtype=torch.float64)]
    with shown(method.name, len(pieces.x), show=progress and is_first()) as advance:
        try:
            for rows in pieces.rows(particles):
                summary = method.summary(pieces, rows, particles).cpu()
                _check(summary, own[rows])
                done.append(summary)
                advance(rows.stop - rows.start)
        except KeyboardInterrupt:
            if len(done) == 1 or is_shared():
                raise
    return torch.cat(done, 1)


def _check_compile(compile: Compile, method: Method) -> None:
    if compile not in (True, False, "auto"):
        raise InputError(f"compile must be True, False or 'auto', not {compile!r}")
    if compile is True and not method.capturable:
        raise InputError(
            f"compile=True is for 'importance' and 'psis', not for {method.name}: use compile='auto'"
        )


def _check(summary: Tensor, index: Tensor) -> None:
    bad = ~summary[0].isfinite()
    if bad.any():
        datum = int(index[int(bad.nonzero()[0])])
        raise InputError(
            f"the model gives the datum {datum} no probability: its weights are all zero or no "
            "number; is it in the support of p(x|z)?"
        )
