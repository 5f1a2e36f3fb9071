r"""Comparison of models on the same rows: paired differences of log p(x), with their errors.

    d_n = log p_A(x_n) - log p_B(x_n),     error of the mean of d = sd(d) / sqrt(N)

Variation that the models share (a hard digit is hard for every model) cancels in the difference, so
the error of the difference is far smaller than the error of either mean.

A probability and a density are not ranked against each other, nor are densities in different units
(`units`). They get separate tables, and a common one in bits per dimension if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pyrovae.display import Displayed, Html, html
from pyrovae.errors import InputError
from pyrovae.evidence.result import Evidence
from pyrovae.numerics import bits_per_dim, stderr_of_mean
from pyrovae.plots.comparisons import ranking
from pyrovae.plots.style import Axes

__all__ = ["Comparison", "Comparisons", "compare"]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Displayed):
    """Models in falling order of mean log p(x), in nats per observation.

    Attributes:
        names: the names of the models.
        mean: the mean log p(x) of each, (M,).
        stderr: the standard error of each mean, including the Monte Carlo error, (M,).
        difference: the difference from the first model, (M,); at most 0.
        difference_stderr: the paired standard error of the difference, (M,).
        quantity: the quantity that is compared, such as "log p(x)" (see `Evidence`).
        bits: the mean in bits per dimension, (M,), or None if there is no such scale.
        units: whether log p(x) is that of a probability or of a density, and in which units.
        given: for each model whose rows share variables, "posterior" if log p(x) is the posterior
            predictive and "mean" if it is at their mean; None for other models.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    stderr: np.ndarray
    difference: np.ndarray
    difference_stderr: np.ndarray
    quantity: str = "log p(x)"
    bits: np.ndarray | None = None
    units: str = ""
    given: tuple[str | None, ...] = ()

    def __str__(self) -> str:
        width = max(5, *map(len, self.names))
        head = f"{'':<{width}}  {self.quantity:>10} {'error':>7}   {'to best':>8} {'paired error':>12}"
        columns = zip(
            self.names, self.mean, self.stderr, self.difference, self.difference_stderr, strict=True
        )
        rows = [f"{n:<{width}}  {m:10.3f} {s:7.3f}   {d:8.3f} {e:12.3f}" for n, m, s, d, e in columns]
        if self.bits is not None:
            head += f"   {'bits/dim':>8}"
            rows = [f"{row}   {bits:8.4f}" for row, bits in zip(rows, self.bits, strict=True)]
        return "\n".join([head, *rows, *self._given()])

    def _html(self) -> str:
        return html.page(f"{self.names[0]} has the highest {self.quantity}", self.as_table())

    def as_table(self) -> Html:
        """The models as a table in HTML."""
        names = ["model", self.quantity, "error", "to best", "paired error"]
        columns = [self.mean, self.stderr, self.difference, self.difference_stderr]
        cells = [list(self.names), *([f"{value:.3f}" for value in column] for column in columns)]
        if self.bits is not None:
            names.append("bits/dim")
            cells.append([f"{value:.4f}" for value in self.bits])
        units = html.paragraph(
            f"nats per observation; {self.units}" if self.units else "nats per observation"
        )
        notes = (html.paragraph(line) for line in self._given())
        return html.joined(html.table(names, zip(*cells, strict=True)), units, *notes)

    def plot(self, *, ax: Axes | None = None) -> Axes:
        """Draw the differences from the best model, with two paired standard errors."""
        gaps = self.difference, self.difference_stderr
        return ranking(self.names, *gaps, quantity=self.quantity, ax=ax)

    def _given(self) -> Iterator[str]:
        """Lines that say what log p(x) is in models whose rows share variables."""
        words = {"posterior": "the posterior predictive log p(x | D)", "mean": "log p(x) at their mean"}
        for given, meaning in words.items():
            names = [name for name, own in zip(self.names, self.given, strict=False) if own == given]
            if names:
                yield f"{', '.join(names)}: rows share variables, and this is {meaning}"


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons(Displayed):
    """Tables of models that cannot all be ranked with each other.

    Attributes:
        tables: one for each measure and unit.
        common: the models with log p(v), or a lower bound, of the same integer levels v, or None.
    """

    tables: tuple[Comparison, ...]
    common: Comparison | None = None

    def __str__(self) -> str:
        lines = [
            "These models have log p(x) of different kinds, which cannot be ranked with each other: a table "
            "for each."
        ]
        for table in self.tables:
            lines += ["", f"{table.quantity}: {table.units}", str(table)]
        if self.common is not None:
            lines += ["", f"{self.common.quantity}: {self.common.units}", str(self.common)]
        return "\n".join(lines)

    def _html(self) -> str:
        every = [*self.tables, *([] if self.common is None else [self.common])]
        return html.page(
            "These models have log p(x) of different kinds, which cannot be ranked with each other",
            *(table.as_table() for table in every),
        )


def compare(evidences: Mapping[str, Evidence]) -> Comparison | Comparisons:
    """Rank models by the mean log p(x) of the same rows.

    Arguments:
        evidences: name -> result of `log_evidence`, all on the same rows in the same order.

    Returns:
        A `Comparison`, or `Comparisons` if there are both probabilities and densities, or densities
        in different units.

    Raises:
        InputError: if there are none, or rows or quantities differ.

    Example:
        >>> from pyrovae.evidence import log_evidence
        >>> from pyrovae.oracles import LinearGaussian
        >>> a, b = (LinearGaussian.random(event_dim=4, latent_dim=2, seed=s) for s in (0, 1))
        >>> x = a.sample(500)
        >>> evidences = {"a": log_evidence(a, x, particles=5), "b": log_evidence(b, x, particles=5)}
        >>> table = compare(evidences)
        >>> table.names
        ('a', 'b')
    """
    _check(evidences)
    groups: list[dict[str, Evidence]] = []
    for name, evidence in evidences.items():
        group = next((g for g in groups if all(e.units.is_like(evidence.units) for e in g.values())), None)
        if group is None:
            groups.append(group := {})
        group[name] = evidence
    tables = tuple(_ranked(group) for group in groups)
    return tables[0] if len(tables) == 1 else Comparisons(tables, _common(evidences))


def _ranked(evidences: Mapping[str, Evidence]) -> Comparison:
    """A table of models in falling order."""
    ranked = dict(sorted(evidences.items(), key=lambda item: -item[1].mean))
    best = next(iter(ranked.values()))
    # The spread of the differences includes the Monte Carlo error, except for the part that all
    # rows of a model have in common.
    common = np.array([np.hypot(e.common_error, best.common_error) for e in ranked.values()])
    common[0] = 0.0
    differences = np.stack([evidence.log_px - best.log_px for evidence in ranked.values()])
    bits = np.array([evidence.bits_per_dim for evidence in ranked.values()])
    preparation = f" ({best.units.preparation})" if best.units.preparation else ""
    return Comparison(
        tuple(ranked),
        np.array([evidence.mean for evidence in ranked.values()]),
        np.array([evidence.stderr for evidence in ranked.values()]),
        differences.mean(1),
        np.hypot(stderr_of_mean(differences), common),
        best.quantity,
        bits if len(best.event_shape) == 3 and not np.isnan(bits).any() else None,
        f"{best.units}{preparation}",
        tuple(evidence.given for evidence in ranked.values()),
    )


def _common(evidences: Mapping[str, Evidence]) -> Comparison | None:
    """The models that have, or bound, a probability of the same levels, ranked by it."""
    masses = {}
    for name, evidence in evidences.items():
        log_mass = evidence.units.log_mass(evidence.log_px, evidence.event_shape)
        if log_mass is not None:
            masses[name] = replace(evidence, log_px=log_mass)
    first = next(iter(masses.values()), None)
    if first is None or len(masses) < 2:
        return None
    if not all(_is_alike(first, other) for other in masses.values()):
        return None
    table = _ranked(masses)
    dims = float(np.mean(first.units.dims(first.event_shape)))
    return replace(
        table,
        bits=np.array([bits_per_dim(mean, dims) for mean in table.mean]),
        units=(
            f"on one scale, the probability of the {first.units.levels} levels, to which a density of "
            "dequantised values is a lower bound"
        ),
    )


def _is_alike(one: Evidence, other: Evidence) -> bool:
    same_levels = one.units.is_of_same_levels(other.units, one.event_shape)
    return same_levels and one.units.condition_key == other.units.condition_key


def _check(evidences: Mapping[str, Evidence]) -> None:
    if not evidences:
        raise InputError("there is nothing to compare: give at least one evidence")
    for name, evidence in evidences.items():
        if evidence.weightless.any():
            raise InputError(
                f"{name} gives no probability to some rows (the first is row "
                f"{evidence.numbers(evidence.weightless)[0]}), so its mean is minus infinity: leave these "
                "rows out for all models"
            )
    counts = {name: len(evidence) for name, evidence in evidences.items()}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"the models were evaluated on different numbers of rows, {counts}: use the same rows"
        )
    quantities = {name: evidence.quantity for name, evidence in evidences.items()}
    if len(set(quantities.values())) > 1:
        raise InputError(f"these quantities cannot be ranked against each other: {quantities}")
    known = [evidence.index for evidence in evidences.values() if evidence.index is not None]
    if any((index != known[0]).any() for index in known):
        raise InputError("the models were evaluated on different rows of the data: use the same rows")
    first = next(iter(evidences.values()))
    if not all(_has_same_rows(first, other) for other in evidences.values()):
        raise InputError("the models were evaluated on different values of x: use the same rows")


def _has_same_rows(one: Evidence, other: Evidence) -> bool:
    """Whether both evaluated the same x, or the same rows after different preparation."""
    a, b = one.units, other.units
    if a.x_key is None or b.x_key is None or a.x_key == b.x_key:
        return True
    is_prepared = None not in (a.preparation, b.preparation) and a.preparation != b.preparation
    if not is_prepared or one.index is None or other.index is None:
        return False
    if a.mean_level is None or b.mean_level is None:
        return True
    return a.is_of_same_levels(b, one.event_shape)
