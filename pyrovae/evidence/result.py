"""Results: arrays with one value for each observation, and a table for printing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pyrovae import plots
from pyrovae.checks import one_of
from pyrovae.datasets import Rows
from pyrovae.display import Displayed, Html, Summary, html
from pyrovae.errors import InputError
from pyrovae.evidence import verdict
from pyrovae.evidence.units import Units
from pyrovae.numerics import as_array, bits_per_dim, khat_threshold, stderr_of_mean
from pyrovae.plots.style import Axes

__all__ = ["Evidence", "PerRow", "about", "mc_error_of", "meaning_of", "with_error"]

SHOWN = 10  # rows that a notebook lists


@dataclass(frozen=True, eq=False, repr=False)
class PerRow(Displayed):
    """A result about N observations.

    Attributes:
        index: their row numbers in the source, (N,); None if unknown.
        quantity: what was estimated or bounded: "log p(x)", "log p(x | c)", "log p(x, y)" or
            "log p(x, y | c)".
    """

    index: np.ndarray | None = field(default=None, kw_only=True)
    quantity: str = field(default="log p(x)", kw_only=True)


@dataclass(frozen=True, eq=False, repr=False)
class Evidence(PerRow):
    """log p(x) of N observations, in nats.

    Attributes:
        log_px: the estimate for each observation, (N,).
        mc_stderr: its Monte Carlo standard error, (N,); nan for one particle.
        ess: the effective sample size, at most `particles`, (N,).
        khat: the Pareto index of the weights, (N,); nan below 25 particles, 0 for equal weights.
        particles: samples per observation.
        event_shape: the shape of one observation.
        method: the method's name.
        settings: the options of the method, as given or as chosen.
        is_bound: whether `log_px` is the lower bound L_K rather than an estimate of log p(x).
        annealed: whether the particles are chains that were annealed to the posterior.
        smoothed: whether the largest weights were smoothed.
        finds_modes: whether the method looks for modes of the posterior, and does not rely on the
            guide.
        log_bias: the bias of `log_px`, (N,); nan where it is unknown.
        partial: whether the evaluation was stopped before all observations were done.
        seconds: the time that the evaluation took.
        units: whether log p(x) is that of a probability or of a density, and in which units.
        given: for variables w that all rows share, "posterior" if this is the logarithm of the mean
            of p(x|w) over samples of w, "mean" if it is log p(x|w) at the mean of q(w); None if
            there are no such variables.
        weights: the number of samples of w.
        weights_ess: the effective sample size of these samples, (N,); None without them.
        common_error: the part of the mean's Monte Carlo error that does not shrink with N, since
            all observations share the samples of w; 0 without them.
    """

    log_px: np.ndarray
    mc_stderr: np.ndarray
    ess: np.ndarray
    khat: np.ndarray
    particles: int
    event_shape: tuple[int, ...]
    method: str = "importance sampling"
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_bound: bool = False
    annealed: bool = False
    smoothed: bool = False
    finds_modes: bool = False
    log_bias: np.ndarray | None = None
    partial: bool = False
    seconds: float = math.nan
    units: Units = Units()
    given: str | None = None
    weights: int = 1
    weights_ess: np.ndarray | None = None
    common_error: float = 0.0

    def __len__(self) -> int:
        return len(self.log_px)

    @property
    def mean(self) -> float:
        """The mean of log p(x), in nats per observation."""
        return float(self.log_px.mean())

    @property
    def weightless(self) -> np.ndarray:
        """Whether log p(x) of each observation is -inf, since no sample has any weight, (N,)."""
        return self.log_px == -np.inf

    def numbers(self, mask: np.ndarray) -> np.ndarray:
        """The row numbers in the source, where known, of the observations in a mask (N,)."""
        places = mask.nonzero()[0]
        return places if self.index is None else self.index[places]

    @property
    def stderr(self) -> float:
        """The standard error of the mean over observations; nan if the mean is minus infinity."""
        if self.weightless.any():
            return math.nan
        return float(np.hypot(stderr_of_mean(self.log_px), self.common_error))

    @property
    def mc_error(self) -> float:
        """The part of the mean's standard error due to the Monte Carlo samples."""
        return float(np.hypot(mc_error_of(self.mc_stderr), self.common_error))

    @property
    def meaning(self) -> str:
        """What was estimated, in words, as in "posterior predictive log p(x | D)"."""
        return meaning_of(self.quantity, self.given)

    @property
    def threshold(self) -> float:
        """The k-hat above which weights are not reliable, min(1 - 1/log10 K, 0.7)."""
        return khat_threshold(self.particles)

    @property
    def doubtful(self) -> float:
        """The share of observations with a k-hat above the threshold; nan without k-hat."""
        known = self.khat[~np.isnan(self.khat)]
        return float((known > self.threshold).mean()) if len(known) else math.nan

    @property
    def bits_per_dim(self) -> float:
        """Bits per dimension of discrete values; smaller is better.

        A density of dequantised levels is an upper bound on them (`numerics.bits_per_dim`). Any
        other density has no bits, and this is nan. Missing entries do not count.
        """
        dims = float(np.mean(self.units.dims(self.event_shape)))  # log p(x) is that of these entries
        if not self.units.has_bits or not dims:
            return math.nan
        return bits_per_dim(self.mean, dims, self.units.noise_levels)

    @property
    def trusted(self) -> np.ndarray:
        """For which observations the stated error holds, (N,), by calibrated limits."""
        return verdict.trusted(self)

    @property
    def bias(self) -> float:
        r"""By how much the mean is too low on average, in nats.

        \(\mathrm E \log \hat p \approx \log p - \tfrac12 \mathrm{Var}(\hat p) / p^2\) for each
        observation, so this does not shrink with the number of observations, as the error does.
        For smoothed weights it is the difference from the plain ones. Unknown biases count as 0.
        """
        return 0.0 - float(np.nan_to_num(self._biases).mean())

    @property
    def corrected(self) -> float:
        """The mean without this bias: an estimate of the mean of log p(x), in nats."""
        return self.mean + self.bias

    @property
    def corrected_error(self) -> float:
        """The Monte Carlo error of `corrected`, including the size of unknown biases."""
        unknown = np.where(np.isnan(self._biases), self.mc_stderr**2 / 2, 0.0).mean()
        return float(np.hypot(self.mc_error, unknown))

    @property
    def _biases(self) -> np.ndarray:
        return -(self.mc_stderr**2) / 2 if self.log_bias is None else self.log_bias

    @property
    def verdict(self) -> str:
        """Whether the numbers can be trusted, and what to do if not, in a sentence."""
        return verdict.sentence(self)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, for a file."""
        plain = {
            "quantity": self.quantity,
            "method": self.method,
            "settings": dict(self.settings),
            "particles": self.particles,
            "rows": len(self),
            "weightless": int(self.weightless.sum()),
            "partial": self.partial,
            "measure": self.units.measure,
            "units": str(self.units),
            "log_px": self.mean,
            "stderr": self.stderr,
            "mc_error": self.mc_error,
            "corrected": self.corrected,
            "corrected_error": self.corrected_error,
            "trusted": float(self.trusted.mean()),
            "doubtful": self.doubtful,
            "khat_threshold": self.threshold,
            "median_ess": float(np.nanmedian(self.ess)),
            "bits_per_dim": self.bits_per_dim,
            "seconds": self.seconds,
            "verdict": self.verdict,
        }
        if self.given is not None:
            plain |= {"given": self.given}
        if self.weights_ess is not None:
            plain |= {"weights": self.weights, "median_weights_ess": float(np.nanmedian(self.weights_ess))}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in plain.items()
        }

    def _summary(self) -> Summary:
        lines = [
            ("mean", f"{self.mean:.3f} nats per observation"),
            ("standard error", f"{self.stderr:.3f}"),
            ("Monte Carlo error", f"{self.mc_error:.4f}"),
            ("log p(x)", f"{self.corrected:.3f} +- {self.corrected_error:.4f}, corrected for the logarithm"),
            (
                "effective sample size",
                f"median {np.nanmedian(self.ess):.0f}, smallest {np.nanmin(self.ess):.0f}",
            ),
        ]
        if self.weights_ess is not None:
            few = f"median {np.nanmedian(self.weights_ess):.1f}, smallest {np.nanmin(self.weights_ess):.1f}"
            lines.append(("shared variables", f"{self.weights} samples, effective sample size {few}"))
        if not math.isnan(self.doubtful) and not self.annealed:
            lines.append((f"k-hat above {self.threshold:.2f}", f"{self.doubtful:.1%} of the observations"))
        if self.units.measure in ("density", "mixed"):
            lines.insert(1, ("of", str(self.units)))
        if len(self.event_shape) == 3 and self.units.has_bits:
            lines.append(("bits per dimension", f"{self.bits_per_dim:.4f}"))
        lines.append(("seconds", f"{self.seconds:.1f}"))
        word = "chains" if self.annealed else "particles"
        what = self.quantity if self.given == "mean" else self.meaning
        head = f"{what} of {len(self):,} observations by {self.method}, {self.particles:,} {word}"
        head += ", at the mean of the shared variables" if self.given == "mean" else ""
        head += "" if self.weights_ess is None else f", {self.weights} samples of the shared variables"
        head += "".join(f", {name} {value}" for name, value in self.settings.items() if value is not None)
        head += " (stopped early: partial)" if self.partial else ""
        is_good = bool(self.trusted.mean() >= verdict.MOST)
        return Summary(head, lines, self.verdict, is_good=is_good)

    def plot(self, kind: Literal["weights", "log_px"] = "weights", *, ax: Axes | None = None) -> Axes:
        """Draw how far each observation can be trusted, or their log p(x).

        Arguments:
            kind: "weights" for the k-hat and the effective sample size of each observation (of
                chains, the latter only tells whether they agree), or "log_px" for a histogram.
            ax: axes to draw on.

        Raises:
            InputError: for another kind, or if some observations have no weight at all.
        """
        if one_of("kind", kind, ("weights", "log_px")) == "log_px":
            finite = self.log_px[~self.weightless]
            return plots.log_px_histogram(finite, float(stderr_of_mean(finite)), name=self.meaning, ax=ax)
        if self.weightless.any():
            rows = self.numbers(self.weightless)
            raise InputError(
                f"{len(rows)} observations have no weights to draw (the first is row {rows[0]}): leave them "
                "out, or use kind='log_px'"
            )
        return plots.weights(self.khat, self.ess, self.particles, ax=ax)

    def _sections(self) -> Sequence[Html]:
        poor = np.flatnonzero(~self.trusted)
        if not len(poor) or self.particles < 2:
            return ()
        order = poor[np.argsort(-np.nan_to_num(self.mc_stderr[poor], nan=np.inf), kind="stable")][:SHOWN]
        columns = (self.log_px, self.mc_stderr, self.ess, self.khat)
        numbers = order if self.index is None else self.index[order]
        rows = [
            [f"{number}", *(f"{column[i]:.{d}f}" for column, d in zip(columns, (2, 3, 0, 2), strict=True))]
            for i, number in zip(order, numbers, strict=True)
        ]
        names = ["row", self.quantity, "Monte Carlo error", "effective sample size", "k-hat"]
        title = f"{len(poor):,} rows whose error is not to be trusted, the largest errors first"
        return [html.section(title, html.table(names, rows))]


def meaning_of(quantity: str, given: str | None) -> str:
    """A quantity in words, which say whether variables that all rows share were averaged over.

    Example:
        >>> meaning_of("log p(x, y | c)", "posterior")
        'posterior predictive log p(x, y | c, D)'
    """
    if given != "posterior":
        return quantity + (" at the mean of the shared variables" if given else "")
    inner = quantity.removeprefix("log p(").removesuffix(")")
    return f"posterior predictive log p({inner}{', ' if ' | ' in inner else ' | '}D)"


def with_error(values: np.ndarray) -> str:
    """The mean of one value for each observation, with its standard error if there are several."""
    error = f" +- {float(stderr_of_mean(values)):<7.3f}" if len(values) > 1 else ""
    return f"{values.mean():10.3f}{error}"


def mc_error_of(stderr: np.ndarray) -> float:
    """The Monte Carlo error of a mean over observations whose errors are independent."""
    return float(np.sqrt((stderr**2).sum()) / len(stderr))


def about(rows: Rows) -> dict[str, Any]:
    """The arguments of `PerRow`: the row numbers, and the quantity that is estimated.

    Example:
        >>> import torch
        >>> about(Rows(torch.zeros(2, 4), y=torch.tensor([3, -1])))
        {'index': None, 'quantity': 'log p(x, y)'}
    """
    what = "x, y" if rows.y is not None and bool((rows.y >= 0).any()) else "x"
    quantity = f"log p({what})" if rows.context is None else f"log p({what} | c)"
    return {"index": None if rows.index is None else as_array(rows.index), "quantity": quantity}
