"""What `evaluate` prints and writes: estimates of log p(x), a line to quote, tables, figures."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyrovae import plots
from pyrovae.cli.quoting import quotable, referee
from pyrovae.cli.runs import save_text
from pyrovae.evidence import BoundCurve, DataEvidence, Evidence
from pyrovae.numerics import stderr_of_mean

__all__ = ["Part", "Results"]

Part = Literal["train", "validation", "test", "all"]


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
