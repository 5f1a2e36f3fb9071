"""The result of `condition`: samples of what was not measured, and how far to trust them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from pyrovae.checks import number, whole
from pyrovae.datasets import Schema
from pyrovae.display import Displayed, Html, Summary, html, thumbnails
from pyrovae.errors import InputError
from pyrovae.numerics import as_array
from pyrovae.report import is_image
from pyrovae.tasks.figures import as_images, completions

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["Completion"]

SHOWN, COLUMNS = 8, 12  # of the rows that a notebook shows


@dataclass(frozen=True, eq=False, repr=False)
class Completion(Displayed):
    """Samples of p(x|y) for N measurements y.

    Attributes:
        x: S samples of each row, (S, N, *event), in the units of the data. Where y gives x itself
            (`Missing`), the known entries are those of y. NaN for a row with log p(y) = -inf.
        values: the samples of each latent site, (S, N, *shape).
        mean: E[x|y], (N, *event); NaN for the codes of classes.
        sd: the standard deviation of x given y, (N, *event).
        mode: the most probable value of classes and binary entries, the rounded mean of counts, and
            the mean of other numbers, (N, *event).
        y: the measurements, (N, *shape).
        log_py: log p(y) of each row in nats, (N,).
        mc_stderr: its Monte Carlo standard error, (N,).
        ess: the effective sample size, (N,).
        khat: the Pareto index of the weights, (N,).
        trusted: whether the samples of a row are enough and its weights not too uneven, (N,).
        method: the name of the method that was used for each row, (N,).
        particles: the number of weighted samples of each row, or of chains, (N,).
        through: the measurement in words.
        index: row numbers in the source, or None.
        schema: the meaning of the columns, or None.
        given: for variables w that all rows share, "posterior" if w was sampled, "mean" if it is at
            its mean; None without such variables.
        weights: the number of samples of w.
        weights_ess: the effective sample size of these samples, which count in proportion to
            p(y|w), (N,); None without them.
    """

    x: Tensor
    values: Mapping[str, Tensor]
    mean: Tensor
    sd: Tensor
    mode: Tensor
    y: Tensor
    log_py: np.ndarray
    mc_stderr: np.ndarray
    ess: np.ndarray
    khat: np.ndarray
    trusted: np.ndarray
    method: np.ndarray
    particles: np.ndarray
    through: str
    index: np.ndarray | None = None
    schema: Schema | None = None
    given: str | None = None
    weights: int = 1
    weights_ess: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.log_py)

    @property
    def z(self) -> Tensor:
        """The samples of z, (S, N, D).

        Raises:
            InputError: for a program with several latent sites, which are in `values`.
        """
        if "z" not in self.values:
            raise InputError(
                f"the program has the latent sites {sorted(self.values)}: take them from .values"
            )
        return self.values["z"]

    def quantile(self, share: float) -> Tensor:
        """The quantile of the samples of each element, (N, *event); the median for 0.5.

        Raises:
            InputError: for a share outside 0 to 1.
        """
        share = number("share", share, least=0, most=1)
        return torch.quantile(self.x.double(), share, dim=0)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """The ends of a central interval that has a share of the samples, each (N, *event)."""
        level = number("level", level, above=0, below=1)
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def to_frame(self, draw: int | Literal["all"] | None = None) -> pandas.DataFrame:
        """The completed rows as a table in the columns, words and units of the training data.

        Arguments:
            draw: the number of a sample; "all" stacks all samples, with a column `draw` in front;
                None gives the mode: the most probable words, and the mean of numbers.

        Raises:
            InputError: for a model that was not trained on a table, or an unknown sample.
        """
        if self.schema is None or self.schema.columns is None:
            raise InputError("the model was not trained on a table, so its columns have no names: use .x")
        if draw is None:
            return self.schema.frame(self.mode)
        if draw == "all":
            import pandas

            frames = [self.schema.frame(x).assign(draw=s) for s, x in enumerate(self.x)]
            every = pandas.concat(frames, ignore_index=True)
            return every[["draw", *(name for name in every.columns if name != "draw")]]
        count = len(self.x)
        if whole("draw", draw, 0) >= count:
            raise InputError(f"draw is {draw}, and there are {count} samples: give a number below {count}")
        return self.schema.frame(self.x[draw])

    def plot(
        self,
        truth: Any = None,  # noqa: ANN401
        rows: int = 8,
        draws: int = 5,
        *,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw images: the measurement, samples, the mean, and the truth if it is given.

        Arguments:
            truth: the true x (N, *event).
            rows: the number of images.
            draws: the number of samples of each.
            ax: axes to draw on.

        Raises:
            InputError: for observations that are not images.
        """
        return completions(self, truth, rows, draws, ax=ax)

    @property
    def verdict(self) -> str:
        """For how many rows the samples can be trusted, and what to do about the others."""
        share = self.trusted.mean()
        if share == 1:
            return "use the samples: their weights are even enough in every row"
        nothing = int((self.log_py == -np.inf).sum())
        if nothing:
            return (
                f"{nothing:,} of {len(self):,} rows have no probability under the samples, and their x is "
                "NaN: check that y can be a measurement of the training data, or give more particles"
            )
        bad = (~self.trusted).nonzero()[0]
        numbers = bad if self.index is None else self.index[bad]
        some = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
        return (
            f"the samples of {len(bad):,} of {len(self):,} rows (row {some}) come from few weights or "
            "disagreeing chains, and may miss a part of the posterior: give more particles, or method='ais'"
        )

    def _summary(self) -> Summary:
        names, counts = np.unique(self.method, return_counts=True)
        used = ", ".join(f"{name} for {count:,}" for name, count in zip(names, counts, strict=True))
        finite = self.log_py[np.isfinite(self.log_py)]
        lines = [
            ("method", used),
            ("log p(y)", f"{finite.mean():.3f} nats per row" if len(finite) else "-inf"),
            ("Monte Carlo error", f"{np.sqrt((self.mc_stderr**2).sum()) / max(1, len(self)):.4f}"),
            (
                "effective sample size",
                f"median {np.nanmedian(self.ess):.0f}, smallest {np.nanmin(self.ess):.0f}",
            ),
        ]
        if self.given == "mean":
            lines.append(("shared variables", "at their mean"))
        if self.weights_ess is not None:
            few = f"median {np.nanmedian(self.weights_ess):.1f}, smallest {np.nanmin(self.weights_ess):.1f}"
            lines.append(("shared variables", f"{self.weights} samples, effective sample size {few}"))
        head = f"{len(self.x):,} samples of p(x | y) for {len(self):,} rows through {self.through}"
        return Summary(head, lines, self.verdict, is_good=bool(self.trusted.all()))

    def _sections(self) -> Sequence[Html]:
        event, some = tuple(self.mean.shape[1:]), slice(SHOWN)
        if is_image(event):
            y = as_images(as_array(self.y[some], float), event)
            both = (("what was measured", y), ("the mean of x given y", self.mean[some]))
            return [html.joined(html.paragraph(name), thumbnails(images)) for name, images in both]
        if self.schema is None or self.schema.columns is None:
            return ()
        frame = self.schema.frame(self.mode[some]).iloc[:, :COLUMNS]
        rows = [[str(cell) for cell in row] for row in frame.itertuples(index=False)]
        total = len(self.schema.columns)
        part = f", {COLUMNS} of {total:,} columns" if total > COLUMNS else ""
        title = f"the first {len(rows)} rows, completed{part}"
        return [html.section(title, html.table(list(frame.columns), rows), is_open=True)]
