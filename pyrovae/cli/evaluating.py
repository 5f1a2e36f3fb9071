"""`evaluate` and `compare`: log p(x) of one run with every caveat, and of several on the same data."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pyrovae import baselines, datasets, plots
from pyrovae.cli.runs import Split, open_run, split_of
from pyrovae.errors import InputError
from pyrovae.evidence import AIS, BoundCurve, Evidence, Method, compare, iwae_bound, log_evidence
from pyrovae.evidence.captured import Compile
from pyrovae.evidence.methods import as_method
from pyrovae.evidence.precision import Precision
from pyrovae.evidence.run import whole_number
from pyrovae.likelihoods import Bernoulli, Mixed
from pyrovae.numerics import stderr_of_mean
from pyrovae.sharing import in_turn, is_first, together
from pyrovae.training.checks import usable_device
from pyrovae.training.folder import write_whole
from pyrovae.vae import VAE

__all__ = ["compare_runs", "evaluate"]

MethodName = Literal["importance", "psis", "defensive", "ais"]
AIS_ROWS = 1000


def evaluate(
    run: str,
    *,
    particles: int = 5000,
    method: MethodName | None = None,
    chains: int = 16,
    temperatures: int | None = None,
    start: Literal["guide", "prior"] = "guide",
    method_rows: int = AIS_ROWS,
    bounds: tuple[int, ...] = (1, 5, 50, 500),
    split: Split = "test",
    rows: int | None = None,
    baseline: bool = True,
    data: str | None = None,
    seed: int = 0,
    chunk: int | None = None,
    precision: Precision = "float32",
    compile: Compile = "auto",
    device: str | None = None,
) -> None:
    """Estimate log p(x) on the data of a run, in two ways, and say which to quote when.

    The bound L_K of the papers stands beside the method of your choice. Writes evidence.json, evidence.csv
    (one row a datum), and figures of the bound against K and of k-hat.

    Args:
        run: the run folder.
        particles: K, draws for each datum.
        method: what stands beside L_K; with importance, nothing does. Annealing unless given, where the
            latents are on the reals.
        chains: of annealed importance sampling, for each datum.
        temperatures: of annealed importance sampling; chosen by doubling unless given.
        start: where annealing starts.
        method_rows: the method sees the first so many of the data (annealing costs more than sampling).
        bounds: further numbers of particles for the curve.
        split: which data.
        rows: use the first so many of them only.
        baseline: beside it, densities without a network (for binary data).
        data: a name, file or folder, when the run's data came from memory or have moved.
        seed: of the draws.
        chunk: (particle, datum) pairs that run at once.
        precision: of the matrix products: float32, tf32 (CUDA), bf16, or auto (bf16 where it is good enough).
        compile: whether L_K comes from compiled code: auto where that pays, true, or false.
        device: where to compute; CUDA when there is one, unless given.
    """
    beside = method or "ais"
    chosen: Method = AIS(temperatures, start) if beside == "ais" else as_method(beside)
    for name, value in (("particles", particles), ("chains", chains), ("method_rows", method_rows)):
        whole_number(name, value)
    if not bounds or any(k < 1 for k in bounds):
        raise InputError("bounds must name at least one number of particles, each 1 or more, as in [1,5,50]")
    vae, sets, x, context = in_turn(lambda: _opened(run, data, split, rows, device))
    given: dict[str, Any] = {"seed": seed, "chunk": chunk, "precision": precision, "progress": True}
    usual = log_evidence(vae, x, context, particles=particles, compile=compile, **given)
    found = {f"L_{particles}": usual}
    x, context = x[: len(usual)], None if context is None else context[: len(usual)]
    if beside != "importance" and not usual.partial:
        few = None if context is None else context[:method_rows]
        count = chains if beside == "ais" else particles
        try:
            found[beside] = log_evidence(vae, x[:method_rows], few, method=chosen, particles=count, **given)
        except InputError as error:
            if method is not None:
                raise
            if is_first():
                print(f"L_{particles} stands alone, for annealing is refused: {error}")
    curve = _extended(iwae_bound(vae, x, context, particles=bounds, seed=seed, chunk=chunk), usual)

    def report() -> None:
        compared = _baselines(vae, sets, x) if baseline else {}
        print(_table(found, usual, curve, compared))
        print("written: " + ", ".join(map(str, _written(Path(run), split, found, curve, compared))))

    together(lambda: report() if is_first() else None)
    if any(evidence.partial for evidence in found.values()):
        raise KeyboardInterrupt("stopped early: what was done is written and marked as partial")


def compare_runs(
    runs: list[str],
    *,
    particles: int = 1000,
    method: MethodName = "importance",
    chains: int = 16,
    split: Split = "test",
    rows: int | None = None,
    data: str | None = None,
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Rank runs by log p(x) of the same data, with paired differences and their errors.

    Args:
        runs: the run folders.
        particles: draws for each datum.
        method: how log p(x) is estimated.
        chains: of annealed importance sampling, for each datum.
        split: which data.
        rows: use the first so many of them only.
        data: a name, file or folder, when the runs' data came from memory or have moved.
        seed: of the draws.
        device: where to compute; CUDA when there is one, unless given.
    """
    evidences: dict[str, Evidence] = {}
    first: torch.Tensor | None = None
    for run in runs:
        vae, _, x, context = in_turn(partial(_opened, run, data, split, rows, device))
        first = x if first is None else first
        if x.shape != first.shape or not torch.allclose(x, first, rtol=0, atol=0, equal_nan=True):
            raise InputError(
                f"{run} has other data than {runs[0]}: compare runs of one data set, prepared alike"
            )
        count = chains if method == "ais" else particles
        evidences[run] = log_evidence(
            vae, x, context, method=method, particles=count, seed=seed, progress=True
        )
        if evidences[run].partial:
            raise KeyboardInterrupt("stopped early: nothing was compared")
    if is_first():
        print(compare(evidences))
        for run, evidence in evidences.items():
            print(f"{run}: {evidence.verdict}")


# -------------------------------------------------------------------- pieces


def _opened(
    run: str, data: str | None, split: Split, rows: int | None, device: str | None
) -> tuple[VAE, datasets.Data, torch.Tensor, torch.Tensor | None]:
    vae, sets = open_run(run, data)
    vae.to(usable_device(device))
    return vae, sets, *split_of(sets, split, rows)


def _extended(curve: BoundCurve, usual: Evidence) -> BoundCurve:
    """The curve up to L_K, whose draws are the same."""
    below = [i for i, k in enumerate(curve.particles) if k < usual.particles]
    counts = (*(curve.particles[i] for i in below), usual.particles)
    bound = np.concatenate([curve.bound[below], usual.log_px[None]])
    return BoundCurve(counts, bound, np.concatenate([curve.mc_stderr[below], usual.mc_stderr[None]]))


def _table(
    found: Mapping[str, Evidence], usual: Evidence, curve: BoundCurve, compared: Mapping[str, float]
) -> str:
    lines = [str(evidence) for evidence in found.values()]
    other = list(found.values())[-1]
    if other is not usual:
        difference = other.log_px - usual.log_px[: len(other)]
        error = float(stderr_of_mean(difference))
        lines.append(
            f"second minus first, on the same {len(other):,} data: "
            f"{difference.mean():.3f} +- {error:.3f} nats"
        )
        if other.annealed:
            lines.append(
                f"quote the second as log p(x); give L_{usual.particles} beside papers that report it"
            )
    lines.append(str(curve))
    if compared:
        lines.append("without a network")
    lines += [f"  {name:<32} {value:.3f} nats per datum" for name, value in compared.items()]
    return "\n".join(lines)


def _written(
    run: Path,
    split: Split,
    found: Mapping[str, Evidence],
    curve: BoundCurve,
    compared: Mapping[str, float],
) -> Iterator[Path]:
    content = {
        "split": split,
        **{name: evidence.to_dict() for name, evidence in found.items()},
        "bounds": dict(zip(map(str, curve.particles), curve.mean.tolist(), strict=True)),
        "baselines": dict(compared),
    }
    text = json.dumps(content, indent=2)
    write_whole(run / "evidence.json", lambda file: file.write(text.encode()))
    yield run / "evidence.json"
    rows = _rows(found)
    write_whole(run / "evidence.csv", lambda file: file.write(rows.encode()))
    yield run / "evidence.csv"
    usual, other = list(found.values())[0], list(found.values())[-1]
    named: dict[str, Any] = {}
    if other is not usual:
        named = {"reference": other.mean, "reference_name": list(found)[-1]}
    few = slice(len(other))  # the same data as the reference, so its Monte Carlo error is what matters
    stderr = np.sqrt((curve.mc_stderr[:, few] ** 2).sum(1)) / len(other)
    ax = plots.bound_curve(curve.particles, curve.bound[:, few].mean(1), np.nan_to_num(stderr), **named)
    yield plots.save(ax, run / "figures" / "bounds.png")
    if not np.isnan(usual.khat).all():
        yield plots.save(plots.weights(usual.khat, usual.ess, usual.particles), run / "figures" / "khat.png")


def _rows(found: Mapping[str, Evidence]) -> str:
    """One row a datum: estimate, error, effective sample size and k-hat of each method; empty if not done."""
    names = ["log_px", "mc_stderr", "ess", "khat"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["datum", *(f"{method}_{name}" for method in found for name in names)])
    for i in range(max(map(len, found.values()))):
        cells = [getattr(e, name)[i] if i < len(e) else "" for e in found.values() for name in names]
        table.writerow([i, *cells])
    return text.getvalue()


def _baselines(vae: VAE, sets: datasets.Data, x: torch.Tensor) -> dict[str, float]:
    if sets.streams or len(sets.train) > 10_000:  # type: ignore[arg-type]
        return {}
    train, part = sets.epoch(0, 0), vae.likelihood
    if isinstance(part, Mixed) and part.columns is not None:
        alone = baselines.independent_columns(train, x, part.columns)
        return {"independent columns": alone.mean().item()}
    if not isinstance(part, Bernoulli):
        return {}
    return {
        "pixel means": baselines.pixel_means(train, x).mean().item(),
        "mixture of 10 Bernoullis (EM)": baselines.bernoulli_mixture(train, x).mean().item(),
    }
