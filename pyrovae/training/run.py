"""The result of `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae import plots
from pyrovae.display import Displayed, curves, html
from pyrovae.errors import InputError
from pyrovae.plots.style import Axes
from pyrovae.training.settings import Keep

__all__ = ["Run"]

# What a notebook lists of the best epoch: the name in the history, and in words.
LISTED = {
    "train": "bound in training",
    "reconstruction": "reconstruction",
    "kl": "KL divergence",
    "global_kl": "KL of shared variables",
}


@dataclass(frozen=True, eq=False, repr=False)
class Run(Displayed):
    """The result of `fit`; prints the best epoch and its bound, and a notebook shows the curves.

    Attributes:
        program: the trained VAE (or pair), with the kept weights.
        history: name -> array with one entry per epoch; bounds in nats per observation.
        best_epoch: the epoch of the kept weights; 0 if the run was stopped before one was done.
        folder: the run folder, or None.
        keep: what chose them: the "objective" or the "bound" on the validation set, or "last".
        settings: the settings of the run, by name.
        stopped: how to go on, if an interrupt stopped the run; else "".
    """

    program: Any
    history: dict[str, np.ndarray]
    best_epoch: int
    folder: Path | None = None
    keep: Keep = "objective"
    settings: Mapping[str, Any] = field(default_factory=dict)
    stopped: str = ""

    @property
    def epochs(self) -> int:
        """The number of epochs that were done."""
        return len(self.history.get("epoch", ()))

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the bound, the reconstruction and the KL divergence over the epochs.

        Arguments:
            ax: axes to draw on.

        Raises:
            InputError: for a run that was stopped before its first epoch was done.
        """
        if not self.epochs:
            raise InputError("the run was stopped before an epoch was done, and has nothing to draw: go on")
        return plots.training_curves(self.history, best=self.best_epoch or None, ax=ax)

    def __str__(self) -> str:
        return "\n".join([self._answer(), *([self.stopped] if self.stopped else [])])

    def _answer(self) -> str:
        where = f", in {self.folder}" if self.folder else ""
        if not self.best_epoch:
            return f"no epoch was done, and the weights are those of the last step{where}"
        at = self.best_epoch - 1
        which = "the last one kept" if self.keep == "last" else f"best at {self.best_epoch}"
        value = f"bound {self.history['validation'][at]:.3f}"
        if "objective" in self.history:  # another function than the bound
            value = f"objective {self.history['objective'][at]:.3f} ({value})"
        return f"{self.epochs} epochs, {which}: validation {value} nats per observation{where}"

    def _html(self) -> str:
        return html.page(
            self._answer(),
            html.paragraph(self.stopped, is_good=False),
            self._curves(),
            html.facts(self._best()),
            html.section("settings", html.facts(self.settings.items())),
            html.section("program", html.code(self.program)),
        )

    def _curves(self) -> html.Html | None:
        if not self.epochs:
            return None
        names = ["train", "validation", *(["objective"] if "objective" in self.history else [])]
        mark = (float(self.best_epoch), names[-1])
        return curves({name: self.history[name] for name in names}, self.history["epoch"], mark=mark)

    def _best(self) -> list[tuple[str, str]]:
        if not self.best_epoch:
            return []
        at = self.best_epoch - 1
        known = [(word, self.history[name][at]) for name, word in LISTED.items() if name in self.history]
        rows = [(f"{word}, epoch {self.best_epoch}", f"{value:.3f} nats") for word, value in known]
        seconds = self.history.get("seconds")
        return rows + ([] if seconds is None else [("seconds, all epochs", f"{np.nansum(seconds):.1f}")])
