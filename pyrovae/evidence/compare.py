r"""Comparison of models on the same rows: paired differences of log p(x), with their errors.

    d_n = log p_A(x_n) - log p_B(x_n),     error of the mean of d = sd(d) / sqrt(N)

Variation that the models share (a hard digit is hard for every model) cancels in the difference. So
its error is far smaller than that of either mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pyrovae.errors import InputError
from pyrovae.evidence.result import Evidence
from pyrovae.numerics import stderr_of_mean

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models in falling order of mean log p(x), in nats per observation.

    Attributes:
        names: the names of the models.
        mean: the mean log p(x) of each, (M,).
        stderr: the standard error of each mean, including the Monte Carlo error, (M,).
        difference: the difference from the first model, (M,); at most 0.
        difference_stderr: its paired error, (M,).
        quantity: the quantity that is compared, such as "log p(x)" (see `Evidence`).
    """

    names: tuple[str, ...]
    mean: np.ndarray = field(repr=False)
    stderr: np.ndarray = field(repr=False)
    difference: np.ndarray = field(repr=False)
    difference_stderr: np.ndarray = field(repr=False)
    quantity: str = "log p(x)"

    def __str__(self) -> str:
        width = max(5, *map(len, self.names))
        head = f"{'':<{width}}  {self.quantity:>10} {'error':>7}   {'to best':>8} {'paired error':>12}"
        columns = zip(
            self.names, self.mean, self.stderr, self.difference, self.difference_stderr, strict=True
        )
        rows = [f"{n:<{width}}  {m:10.3f} {s:7.3f}   {d:8.3f} {e:12.3f}" for n, m, s, d, e in columns]
        return "\n".join([head, *rows])


def compare(evidences: Mapping[str, Evidence]) -> Comparison:
    """Rank models by the mean log p(x) of the same rows.

    Arguments:
        evidences: name -> result of `log_evidence`, all on the same rows in the same order.

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
    ranked = dict(sorted(evidences.items(), key=lambda item: -item[1].mean))
    best = next(iter(ranked.values()))
    # The spread of the differences already includes the Monte Carlo error.
    differences = np.stack([evidence.log_px - best.log_px for evidence in ranked.values()])
    return Comparison(
        tuple(ranked),
        np.array([evidence.mean for evidence in ranked.values()]),
        np.array([evidence.stderr for evidence in ranked.values()]),
        differences.mean(1),
        stderr_of_mean(differences),
        best.quantity,
    )


def _check(evidences: Mapping[str, Evidence]) -> None:
    if not evidences:
        raise InputError("there is nothing to compare: give at least one evidence")
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
