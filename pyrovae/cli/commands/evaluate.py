"""`evaluate`: log p(x) of a run in two ways, with errors, diagnostics and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyrovae import baselines
from pyrovae.checks import count_of, whole
from pyrovae.cli.helping import Section
from pyrovae.cli.quoting import cost_of, duration
from pyrovae.cli.results import Part, Results
from pyrovae.cli.runs import open_run, results_of, rows_of
from pyrovae.compiling import Compile
from pyrovae.datasets import Data, Rows
from pyrovae.errors import InputError
from pyrovae.evidence import (
    AIS,
    BoundCurve,
    DataEvidence,
    Evidence,
    Importance,
    Laplace,
    Method,
    data_evidence,
    iwae_bound,
    log_evidence,
)
from pyrovae.evidence.precision import Precision
from pyrovae.evidence.predictive import WEIGHTS, Given
from pyrovae.likelihoods import Bernoulli, Mixed
from pyrovae.sharing import in_turn, is_first, is_shared, print_first, together
from pyrovae.tasks.reference import run_key
from pyrovae.tasks.runs import all_rows
from pyrovae.training import load
from pyrovae.training.preparing import usable_device
from pyrovae.vae import VAE

__all__ = ["SECTIONS", "evaluate", "opened"]

AIS_ROWS = 1000
SECTIONS = (
    Section(
        "estimates",
        "particles method chains method_rows bounds baseline",
        "given weights temperatures start",
    ),
    Section("data", "split rows data"),
    Section("computing", "seed device precision compile", "chunk trust"),
)
REFEREE_ROWS = 50  # observations for which annealing checks the second method
LAPLACE_PARTICLES = 1000
PILOT_ROWS = {False: 32, True: 8}  # without and with annealing


def evaluate(
    run: str,
    *,
    particles: int = 5000,
    method: Method | None = None,
    chains: int = 16,
    method_rows: int = AIS_ROWS,
    bounds: tuple[int, ...] = (1, 5, 50, 500),
    split: Part = "test",
    rows: int | None = None,
    baseline: bool = True,
    data: str | None = None,
    seed: int = 0,
    chunk: int | None = None,
    precision: Precision = "float32",
    compile: Compile = "auto",
    device: str | None = None,
    temperatures: int | None = None,
    start: Literal["guide", "prior"] | None = None,
    trust: str | None = None,
    given: Given = "posterior",
    weights: int | None = None,
) -> None:
    """Estimate log p(x) in two ways, and say which one to quote.

    The first estimate is importance sampling with K particles, a lower bound called L_K in papers;
    the second is --method. Writes evidence.json, evidence.csv (one row for each observation), and
    figures of the bound against K and of k-hat. After Ctrl-C, the finished rows are in
    evidence.partial.json and evidence.partial.csv, and the results of an earlier call are kept.

    Arguments:
        run: the run folder.
        particles: K, the number of samples for each observation.
        method: the second method; by default Laplace, checked by AIS.
        chains: chains of AIS for each observation.
        method_rows: number of rows for AIS, which is slow.
        bounds: other numbers of particles for the curve.
        split: the part of the data to use, as split for the training; all takes every row.
        rows: use only this many rows, starting with the first.
        baseline: also fit densities without a network, for comparison.
        data: name or file of the run's data, if they have moved; any data with --split all.
        seed: seed of the samples.
        chunk: number of (particle, row) pairs that are computed at once.
        precision: float32, tf32 (CUDA), bf16, or auto (bf16 where it is accurate enough).
        compile: whether to compile the first estimate; auto compiles if that saves time.
        device: the device to compute on; CUDA by default, if available.
        temperatures: deprecated, use --method.temperatures.
        start: deprecated, use --method.start.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.
        given: with a Bayesian decoder, average over the weights, or use their mean.
        weights: number of samples of a Bayesian decoder's weights; 20 by default.

    Example:
        pyrovae evaluate runs/mog
        pyrovae evaluate runs/mog --method AIS --method.temperatures 200
    """
    for name, value in (("particles", particles), ("chains", chains), ("method_rows", method_rows)):
        count_of(name, value)
    whole("seed", seed, 0)
    if not bounds or any(k < 1 for k in bounds):
        raise InputError("bounds must name at least one number of particles, each 1 or more, as in [1,5,50]")
    second = _with_old_options(method, temperatures=temperatures, start=start)
    vae, data_set, x = in_turn(lambda: opened(run, data, split, rows, device, trust))
    estimate = partial(
        log_evidence,
        vae,
        seed=seed,
        chunk=chunk,
        precision=precision,
        progress=True,
        given=given,
        weights=weights,
    )
    bound = estimate(x, particles=particles, compile=compile)
    x = x[: len(bound)]
    results = {f"L_{particles}": bound}
    more: dict[str, int] = {"particles": particles, "chains": chains, "rows": method_rows}
    with _stopping(results) as stop:
        _add_second(results, x, estimate, second, chosen=method is not None, **more)
    bounds_of = partial(iwae_bound, vae, x, seed=seed, chunk=chunk, given=given, weights=weights)
    curve = _curve(bounds_of, (1,) if stop() else bounds, bound)
    others: dict[str, float] = {}
    of_data = None
    with _stopping(results) as stop_again:
        if not stop() and not curve.partial:
            others = together(lambda: _baselines(vae, data_set, x) if baseline and is_first() else {})
            of_data = _of_data(vae, data_set, weights, seed, chunk)
    curve = replace(curve, partial=curve.partial or stop() or stop_again())
    together(lambda: _report(Results(split, results, curve, others, of_data, run_key(run)), results_of(run)))
    if curve.partial:
        raise KeyboardInterrupt(
            "stopped early: the finished rows are in the files with .partial in their names"
        )


def _report(found: Results, run: Path) -> None:
    if is_first():
        print_first(found)
        print_first("written: " + ", ".join(map(str, found.save(run))))


@contextmanager
def _stopping(results: dict[str, Evidence]) -> Iterator[Callable[[], bool]]:
    """Keep the results on Ctrl-C; yields a function that says whether the command was stopped."""
    interrupts: list[KeyboardInterrupt] = []
    try:
        yield lambda: bool(interrupts) or any(evidence.partial for evidence in results.values())
    except KeyboardInterrupt as error:
        if is_shared():
            raise
        interrupts.append(error)


def _add_second(
    results: dict[str, Evidence],
    x: Rows,
    estimate: Callable[..., Evidence],
    second: Method,
    *,
    chosen: bool,
    particles: int,
    chains: int,
    rows: int,
) -> None:
    """Add the second estimate; by default, some rows are annealed to check it."""
    bound = next(iter(results.values()))
    if bound.partial or type(second) is Importance:  # otherwise it would be L_K again
        return
    if bound.weights > 1 and not chosen:
        print_first(
            "no second method, since it would run for each sample of the shared variables: choose one with "
            "--method"
        )
        return
    judged = not chosen and isinstance(second, Laplace)
    count = chains if second.annealed else min(particles, LAPLACE_PARTICLES) if judged else particles
    method, some = second, x if isinstance(second, Laplace) else x[:rows]
    try:
        if len(some) >= 10 * PILOT_ROWS[second.annealed]:
            _announce(estimate, second, count, some)
        results[_word(second)] = estimate(some, method=second, particles=count)
        if judged and not results[_word(second)].partial:
            method, few = AIS(), x[: min(rows, REFEREE_ROWS)]
            print_first(f"{method.name} of {len(few):,} observations checks it")  # a pilot takes as long
            results["ais"] = estimate(few, method=method, particles=chains)
    except InputError as error:
        if chosen:
            raise
        print_first(f"{method.name} cannot be used here and is left out: {error}")


def _announce(estimate: Callable[..., Evidence], method: Method, particles: int, x: Rows) -> None:
    """Say how long an estimate will take, from a pilot."""
    pilot = partial(estimate, method=method, particles=particles, progress=False)
    with suppress(InputError):  # the few rows of the pilot may have no weight, unlike the others
        seconds = cost_of(pilot, x, PILOT_ROWS[method.annealed])
        print_first(f"{method.name} of {len(x):,} observations takes about {duration(seconds)}")


def _curve(bounds_of: Callable[..., BoundCurve], counts: tuple[int, ...], bound: Evidence) -> BoundCurve:
    """The curve of bounds up to L_K; only L_1 and L_K if Ctrl-C interrupts it."""
    try:
        return _extended(bounds_of(particles=counts), bound)
    except KeyboardInterrupt:
        if is_shared():
            raise
    return replace(_extended(bounds_of(particles=(1,)), bound), partial=True)


def opened(
    run: str,
    data: str | None,
    split: Part,
    rows: int | None,
    device: str | None,
    trust: str | None = None,
) -> tuple[VAE, Data | None, Rows]:
    """The VAE of a run on a device, its data (None for other data), and the rows to score."""
    if split == "all":
        vae = load(run, trust=trust).eval()
        x = all_rows(run, vae, data)[: None if rows is None else whole("rows", rows)]
        if data is not None:
            print_first(f"data: {len(x):,} rows of {data}, which are not checked against those of {run}")
        vae.to(usable_device(device))
        return vae, None, x
    vae, data_set = open_run(run, data, trust)
    vae.to(usable_device(device))
    return vae, data_set, rows_of(data_set, split, rows)


def _with_old_options(method: Method | None, **options: Any) -> Method:  # noqa: ANN401
    """The method, with the deprecated options of the command, which are those of AIS."""
    chosen = {name: value for name, value in options.items() if value is not None}
    second = method or (AIS() if chosen else Laplace())
    if chosen and not isinstance(second, AIS):
        raise InputError(f"--{min(chosen)} is an option of AIS, not of {type(second).__name__}: leave it out")
    return AIS(**(second.hyperparameters() | chosen)) if isinstance(second, AIS) else second


def _word(method: Method) -> str:
    return type(method).__name__.lower()


def _extended(curve: BoundCurve, bound: Evidence) -> BoundCurve:
    """The curve up to L_K, on the rows that both have; L_K uses the same samples."""
    rows = curve.bound.shape[1]
    below = [i for i, k in enumerate(curve.particles) if k < bound.particles]
    counts = (*(curve.particles[i] for i in below), bound.particles)
    values = np.concatenate([curve.bound[below], bound.log_px[None, :rows]])
    stderr = np.concatenate([curve.mc_stderr[below], bound.mc_stderr[None, :rows]])
    return replace(curve, particles=counts, bound=values, mc_stderr=stderr)


def _of_data(
    vae: VAE, data: Data | None, weights: int | None, seed: int, chunk: int | None
) -> DataEvidence | None:
    """The bound on log p(D) of the training rows, for a model whose rows share variables."""
    if not vae.has_globals or data is None or data.streams:
        return None
    return data_evidence(vae, data, weights=weights or WEIGHTS, seed=seed, chunk=chunk, progress=True)


def _baselines(vae: VAE, data: Data | None, x: Rows) -> dict[str, float]:
    """log p(x) of densities without a network, if there are some for the likelihood."""
    if data is None or data.streams or data.distinct > 10_000:
        return {}
    train, likelihood = data.without_jitter().x, vae.likelihood
    if isinstance(likelihood, Mixed) and likelihood.columns is not None:
        columns = baselines.independent_columns(train, x.x, likelihood.columns)
        return {"independent columns": columns.mean().item()}
    if not isinstance(likelihood, Bernoulli):
        return {}
    return {
        "pixel means": baselines.pixel_means(train, x.x).mean().item(),
        "mixture of 10 Bernoullis (EM)": baselines.bernoulli_mixture(train, x.x).mean().item(),
    }
