"""Estimates of log p(x) of each observation, by any method, with errors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyrovae.checks import count_of
from pyrovae.compiling import Compile, check_option
from pyrovae.cures import option
from pyrovae.errors import InputError
from pyrovae.evidence.captured import Codes
from pyrovae.evidence.compiled import Evaluator
from pyrovae.evidence.methods import Method, as_method
from pyrovae.evidence.precision import Precision, chosen
from pyrovae.evidence.predictive import Draws, Given, Shared
from pyrovae.evidence.result import Evidence, about
from pyrovae.evidence.run import Pieces, checked, refuse_undefined, refuse_weightless, shown
from pyrovae.evidence.units import units_of
from pyrovae.networks import products_in
from pyrovae.sharing import gathered, is_first, is_shared, own_rows

__all__ = ["log_evidence"]


def log_evidence(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    context: Any = None,  # noqa: ANN401
    y: Any = None,  # noqa: ANN401
    *,
    particles: int | None = None,
    method: str | Method = "importance",
    seed: int = 0,
    chunk: int | None = None,
    precision: Precision = "float32",
    compile: Compile = "auto",
    progress: bool = False,
    given: Given = "posterior",
    weights: int | None = None,
) -> Evidence:
    r"""Estimate log p(x) of each observation, with its Monte Carlo error, ESS and k-hat.

    \[\log p(x) \approx \log \frac1K \sum_{k=1}^K \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad
    z_k \sim q(z|x)\]

    If all rows share some variables w (the weights of a Bayesian decoder), this estimates the
    posterior predictive \(\log p(x|D) = \log \mathbb E_{q(w)}\,[p(x|w)]\), with S samples of w that
    all rows share, and K samples of z for each row and sample of w. The error includes both kinds
    of noise, and the result has the effective sample size of the S samples.

    With `method="importance"` the estimate is a lower bound in expectation (Burda et al.'s
    \(\mathcal L_K\)) and rises to log p(x) with K. It depends only on the seed and the rows, not on
    chunks, order or the number of processes (equal rows may exchange their samples). With a context
    it is log p(x|c), and with observed class indices y it is log p(x, y). The result says which of
    these it is.

    Arguments:
        vae: a `VAE`, any object with a Pyro `model` and `guide`, or a pair (model, guide).
        x: observations (N, *event), as `Rows` (`data.test`), a tensor, or an array of any numeric
            type.
        context: (N, *context_shape) for a conditional VAE.
        y: class indices (N,) for a prior that observes labels; -1 is an unknown label.
        particles: K; by default 1000, or 16 chains for "ais".
        method: "importance", "psis", "defensive", "ais", the name of a custom method, or a method
            with its options, as in `AIS(temperatures=200)`.
        seed: seed of the samples.
        chunk: the number of (particle, row) pairs that run at once, at least 250; None chooses. It
            changes memory and speed only.
        precision: the precision of the networks' matrix products: float32, tf32 (CUDA), bf16, or
            auto. auto uses bf16 if its matrix products are clearly faster on this machine, and a
            pilot run with the same samples is faster and changes the mean by less than its Monte
            Carlo error.
        compile: run compiled code instead of Python. "auto" does so if this saves time on the
            remaining work, and False never. True ("importance" and "psis" only) always does, or is
            refused with the reason. For other methods, densities and their derivatives are
            compiled. The random numbers are the same, and the results up to rounding too.
        progress: show a bar with the time left.
        given: "posterior", or "mean" for log p(x|w) at the mean of q(w). Leave it out for a program
            without shared variables.
        weights: S, the number of samples of shared variables; by default 20.

    Returns:
        `Evidence`, with arrays of shape (N,) in nats. log p(x) is -inf for a row in which
        every sample has weight zero, and the verdict says so. After Ctrl-C it has the finished rows
        and is marked as partial.

    Raises:
        InputError: for particles or chunk below 1, no rows, a wrong shape, values outside the
            support, a site that guide or model lacks, a row whose weights are not numbers, rows
            that all have no weight, compile=True if the method or program cannot be compiled, or
            given="mean" or weights= for a program whose rows share no variables.

    References:
        Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders"; Owen (2013),
        "Monte Carlo theory, methods and examples", chapter 9.

    Example:
        >>> from pyrovae.oracles import LinearGaussian
        >>> oracle = LinearGaussian.random(event_dim=4, latent_dim=2)
        >>> x = oracle.sample(3)
        >>> evidence = log_evidence(oracle, x, particles=10)  # its guide is the exact posterior
        >>> bool(abs(evidence.log_px - oracle.log_px(x).numpy()).max() < 1e-4)
        True
    """
    return _estimate(
        vae,
        x,
        context,
        y,
        method=as_method(method),
        particles=particles,
        seed=seed,
        chunk=chunk,
        precision=precision,
        compile=compile,
        progress=progress,
        shared=Shared(given, weights),
    )


def at_mean(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    *,
    method: str | Method,
    seed: int,
    chunk: int | None,
    progress: bool,
) -> Evidence:
    """log p(x), at the mean of the variables that all rows share, if there are any."""
    return _estimate(
        vae,
        x,
        None,
        None,
        method=as_method(method),
        particles=None,
        seed=seed,
        chunk=chunk,
        precision="float32",
        compile="auto",
        progress=progress,
        shared=Shared("mean", is_asked=False),
    )


def _estimate(
    vae: Any,  # noqa: ANN401
    x: Any,  # noqa: ANN401
    context: Any,  # noqa: ANN401
    y: Any,  # noqa: ANN401
    *,
    method: Method,
    particles: int | None,
    seed: int,
    chunk: int | None,
    precision: Precision,
    compile: Compile,
    progress: bool,
    shared: Shared,
) -> Evidence:
    began = time.perf_counter()
    particles = count_of("particles", method.particles if particles is None else particles)
    _check_compile(compile, method)
    with checked(vae, x, context, y, seed=seed, chunk=chunk) as free, shared.draws(free) as (every, draws):
        units = units_of(every.runner, every.rows)
        every = replace(every, codes=None if compile is False else every.codes)
        method = method.prepared(every, particles)
        # Code is compiled for one precision, so the pilot runs that compare two run without it.
        precision, remark = chosen(precision, method, replace(every, codes=None), particles)
        own = own_rows(len(every))
        pieces = every.take(own.numpy()) if is_shared() else every
        evaluator = None
        if method.compilable and compile is not False and len(own):
            shapes = Counter({k: n * len(draws) for k, n in pieces.shapes(particles).items()})
            evaluator = Evaluator(compile, shapes, elsewhere=True)
        with products_in(precision, every.device), _compiled(pieces, compile, evaluator) as pieces:
            summaries = gathered(
                lambda: _summaries(pieces, method, particles, own, draws, progress=progress), len(every)
            )
    combined = draws.combined(summaries.unflatten(0, (-1, method.outputs)).numpy())
    refuse_weightless(torch.from_numpy(combined["log_px"]))
    rows = every.rows[: len(combined["log_px"])]
    if len(rows) < len(every):
        units = units_of(every.runner, rows)
    return Evidence(
        **combined,
        particles=particles,
        event_shape=tuple(rows.x.shape[1:]),
        method=method.name,
        settings=method.to_dict()["init_args"] | remark,
        is_bound=method.is_bound,
        annealed=method.annealed,
        smoothed=method.smooth,
        finds_modes=method.finds_modes,
        partial=len(rows) < len(every),
        seconds=time.perf_counter() - began,
        units=units,
        **about(rows),
    )


@contextmanager
def _compiled(pieces: Pieces, compile: Compile, evaluator: Evaluator | None) -> Iterator[Pieces]:
    """The pieces with what compiles their work, which ends in the context."""
    with ExitStack() as ends:
        codes = None if compile is False else ends.enter_context(closing(Codes("auto", len(pieces))))
        pieces = replace(pieces, codes=codes)
        if evaluator is not None:
            pieces = replace(pieces, evaluate=ends.enter_context(closing(evaluator)))
        yield pieces


def _summaries(
    pieces: Pieces, method: Method, particles: int, own: Tensor, draws: Draws, *, progress: bool
) -> Tensor:
    """The summaries at each sample of shared variables, (S * outputs, N)."""
    done = [torch.empty(len(draws) * method.outputs, 0, dtype=torch.float64)]
    with shown(method.name, len(pieces), show=is_first() and progress) as advance:
        try:
            for some in method.parts(pieces, particles):
                if some.codes is not None:
                    some.codes.begin(some.where)
                each = [_summary(method, at, particles, own) for at in draws.of(some)]
                done.append(torch.cat(each))
                advance(len(some))
        except KeyboardInterrupt:
            if len(done) == 1 or is_shared():
                raise
    return torch.cat(done, 1)


def _summary(method: Method, some: Pieces, particles: int, own: Tensor) -> Tensor:
    summary = method.summary(some, particles).cpu()
    refuse_undefined(summary[0], own[some.where])
    summary[1:, summary[0] == -torch.inf] = torch.nan
    return summary


def _check_compile(compile: Compile, method: Method) -> None:
    check_option(compile)
    if compile is True and not method.compilable:
        raise InputError(
            f"{option('compile', True)} is for 'importance' and 'psis', not for {method.name}: use "
            f"{option('compile', 'auto')}, which compiles what saves time"
        )
