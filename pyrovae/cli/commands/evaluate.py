"""`evaluate`: log p(x) of a run in two ways, with errors, diagnostics and figures."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyrovae import baselines, plots
from pyrovae.checks import count_of, whole
from pyrovae.cli.quoting import cost_of, duration, quotable, referee
from pyrovae.cli.runs import open_run, results_of, rows_of, save_text
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
from pyrovae.numerics import stderr_of_mean
from pyrovae.sharing import in_turn, is_first, is_shared, print_first, together
from pyrovae.tasks.reference import run_key
from pyrovae.tasks.runs import all_rows
from pyrovae.training import load
from pyrovae.training.preparing import usable_device
from pyrovae.vae import VAE

__all__ = ["Part", "evaluate", "opened"]

AIS_ROWS = 1000
Part = Literal["train", "validation", "test", "all"]
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
    """Estimate log p(x) on the data of a run in two ways, and say which one to quote.

    The first estimate is importance sampling with K particles, a lower bound called L_K in papers;
    the second is --method. Writes evidence.json, evidence.csv (one row for each observation), and
    figures of the bound against K and of k-hat. After Ctrl-C, the finished rows are in
    evidence.partial.json and evidence.partial.csv, and the results of an earlier call are kept.

    Arguments:
        run: the run folder.
        particles: K, the number of samples for each observation.
        method: the second method; Laplace checked by AIS, or none if rows share variables.
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
            _announce(estimate, method, chains, few)
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


# -------------------------------------------------------------------- output


@dataclass(frozen=True)
class Results:
    """Estimates of log p(x) by name, L_K first, with the curve of bounds and the baselines.

    `whole` is the bound on log p(D) of the training rows, if rows share variables; `weights` is a
    hash of the weights.
    """

    split: Part
    evidences: dict[str, Evidence]
    curve: BoundCurve
    baselines: dict[str, float]
    whole: DataEvidence | None = None
    weights: str | None = None

    @property
    def bound(self) -> Evidence:
        """L_K."""
        return next(iter(self.evidences.values()))

    @property
    def second(self) -> tuple[str, Evidence] | None:
        """The other estimate and its name."""
        return list(self.evidences.items())[1] if len(self.evidences) > 1 else None

    def __str__(self) -> str:
        lines = [str(evidence) for evidence in self.evidences.values()]
        lines += [] if self.second is None else self._difference(self.second[1])
        lines += self._quoted()
        lines += [] if self.whole is None else [f"training rows: {self.whole}"]
        lines += [str(self.curve), *(["without a network"] if self.baselines else [])]
        lines += [f"  {name:<32} {value:.3f} nats per observation" for name, value in self.baselines.items()]
        return "\n".join(lines)

    def _difference(self, second: Evidence) -> Iterator[str]:
        difference = second.log_px - self.bound.log_px[: len(second)]
        yield (
            f"second minus first, on the same {len(second):,} observations: "
            f"{difference.mean():.3f} +- {float(stderr_of_mean(difference)):.3f} nats"
        )

    def _quoted(self) -> Iterator[str]:
        """The line to quote, and how it compares with the others."""
        first, best = ("", self.bound) if self.second is None else self.second
        for name, other in list(self.evidences.items())[2:]:
            yield referee(best, other, first, name)
        yield textwrap.fill(f"quote: {quotable(best)}", 96, subsequent_indent="  ", break_on_hyphens=False)
        if best is not self.bound:
            yield f"compare L_{self.bound.particles} = {self.bound.mean:.2f} with papers that report it"

    def save(self, run: Path) -> Iterator[Path]:
        """Write the tables and figures into a run folder; partial ones under separate names."""
        partial = self.curve.partial or any(evidence.partial for evidence in self.evidences.values())
        if not partial:
            for name in ("evidence.partial.json", "evidence.partial.csv"):  # these results replace them
                (run / name).unlink(missing_ok=True)
            for name in ("bounds.partial.png", "khat.partial.png"):
                (run / "figures" / name).unlink(missing_ok=True)
        end = ".partial" if partial else ""
        content = {
            "split": self.split,
            "weights": self.weights,
            **{name: evidence.to_dict() for name, evidence in self.evidences.items()},
            "bounds": dict(zip(map(str, self.curve.particles), self.curve.mean.tolist(), strict=True)),
            "baselines": self.baselines,
            **({} if self.whole is None else {"data": self.whole.to_dict()}),
        }
        yield save_text(run / f"evidence{end}.json", json.dumps(content, indent=2))
        yield save_text(run / f"evidence{end}.csv", self._table())
        yield plots.save(self._bounds(), run / "figures" / f"bounds{end}.png")
        khat = self.bound.khat
        if not np.isnan(khat).all():
            ax = plots.weights(khat, self.bound.ess, self.bound.particles)
            yield plots.save(ax, run / "figures" / f"khat{end}.png")

    def _table(self) -> str:
        """Estimate, error, effective sample size and k-hat of each method, by row number."""
        columns = ["log_px", "mc_stderr", "ess", "khat"]
        columns += [] if self.bound.weights_ess is None else ["weights_ess"]
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["row", *(f"{name}_{column}" for name in self.evidences for column in columns)])
        evidences = list(self.evidences.values())
        index = range(len(self.bound)) if self.bound.index is None else self.bound.index
        for i, row in enumerate(index):
            cells = [getattr(e, column)[i] if i < len(e) else "" for e in evidences for column in columns]
            table.writerow([row, *cells])
        return text.getvalue()

    def _bounds(self) -> Any:  # noqa: ANN401
        options: dict[str, Any] = {}
        count = len(self.bound)
        if self.second is not None:  # the rows are the same, so only its Monte Carlo error matters
            name, second = self.second
            options, count = {"reference": second.mean, "reference_name": name}, len(second)
        count = min(count, self.curve.bound.shape[1])
        curve, error = self.curve.bound[:, :count], self.curve.mc_stderr[:, :count]
        stderr = np.nan_to_num(np.sqrt((error**2).sum(1)) / count)
        ax = plots.bound_curve(self.curve.particles, curve.mean(1), stderr, **options)
        ax.set_xlabel(f"particles $K$, {count:,} observations; the band is two Monte Carlo standard errors")
        return ax
