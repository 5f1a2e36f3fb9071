"""The result of `disentanglement`: scores with errors, and information about factors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.display import Displayed
from pyrovae.numerics import Array
from pyrovae.plots.factors import factor_information
from pyrovae.plots.style import Axes

if TYPE_CHECKING:
    import pandas

__all__ = ["Disentanglement", "Score"]


@dataclass(frozen=True)
class Score:
    """One number about codes and factors.

    Attributes:
        name: its name.
        value: the estimate.
        error: its standard error.
        chance: the score of codes without information about the factors; nan if it has no meaning.
        unit: "" for a score from 0 to 1, or "nats".
        source: authors and year.
        choices: how it was estimated.
    """

    name: str
    value: float
    error: float
    chance: float = math.nan
    unit: str = ""
    source: str = ""
    choices: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Disentanglement(Displayed):
    """How well D latents stand for F known factors; prints a table.

    Attributes:
        scores: the scores of all metrics, each a `Score`.
        mutual_information: I(z_j; v_k) of samples of q(z|x) in nats, (D, F).
        shuffled_information: the same for shuffled rows, (D, F): the bias of the estimate for a
            latent and a factor that are independent.
        entropy: the entropy of each factor in nats, (F,).
        factors: the names of the factors.
        rows: the number of observations.
        left_out: the names of the factors that have a single value in these rows.
    """

    scores: tuple[Score, ...]
    mutual_information: Array
    shuffled_information: Array
    entropy: Array
    factors: tuple[str, ...]
    rows: int
    left_out: tuple[str, ...] = ()

    @property
    def table(self) -> dict[str, tuple[float, float]]:
        """The value and the standard error of each score, by name."""
        return {score.name: (score.value, score.error) for score in self.scores}

    def __getitem__(self, name: str) -> float:
        """The value of one score."""
        return self.table[name][0]

    @property
    def share(self) -> Array:
        """The information as a share of the entropy H of the factor, adjusted for chance, (D, F).

        (I - E) / (H - E) with the information E of shuffled rows: 0 for independent columns and 1
        if the latent determines the factor (Vinh, Epps & Bailey, 2010, "Information Theoretic
        Measures for Clusterings Comparison"). It is 0 if E = H, where the rows are too few to tell.
        """
        chance = self.shuffled_information
        left, above = self.entropy - chance, self.mutual_information - chance
        can_tell = left > 1e-9 * self.entropy
        return np.where(can_tell, np.clip(above / np.where(can_tell, left, 1.0), 0.0, 1.0), 0.0)

    def to_frame(self) -> pandas.DataFrame:
        """The scores as a table, a row for each."""
        import pandas

        return pandas.DataFrame([asdict(score) for score in self.scores]).set_index("name")

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, for a file."""
        scores = {score.name: _plain(asdict(score)) for score in self.scores}
        return {
            "rows": self.rows,
            "factors": list(self.factors),
            "left_out": list(self.left_out),
            "scores": scores,
            "mutual_information": self.mutual_information.tolist(),
            "shuffled_information": self.shuffled_information.tolist(),
            "entropy": self.entropy.tolist(),
        }

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the information of each latent about each factor.

        Arguments:
            ax: axes to draw on.
        """
        return factor_information(self.share, self.factors, ax=ax)

    def __str__(self) -> str:
        latents = len(self.mutual_information)
        head = f"{latents} latents and {len(self.factors)} factors of {self.rows:,} observations"
        lines = [head, f"  {'':<32} {'value':>7}    error   chance   source"]
        lines += [f"  {_line(score)}".rstrip() for score in self.scores]
        lines += ["the latents with most information about each factor, adjusted for chance", *self._best()]
        if self.left_out:
            lines.append(f"left out, since they have a single value here: {', '.join(self.left_out)}")
        return "\n".join(lines)

    def _best(self) -> Iterator[str]:
        wide = max(map(len, self.factors))
        for name, share in zip(self.factors, self.share.T, strict=True):
            first, second = np.argsort(-share, kind="stable")[:2]
            yield (
                f"  {name:<{wide}}   z{first} {100 * share[first]:3.0f} % of its entropy, then z{second} "
                f"{100 * share[second]:3.0f} %"
            )


def _line(score: Score) -> str:
    name = f"{score.name}, {score.unit}" if score.unit else score.name
    chance = "" if math.isnan(score.chance) else f"{score.chance:.2f}"
    return f"{name:<32} {score.value:7.3f} +- {score.error:.3f}   {chance:>6}   {score.source}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values for JSON, which has no nan."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
