r"""Models compared on the same data: paired differences of log p(x), with their errors.

    d_n = log p_A(x_n) - log p_B(x_n),     error of the mean of d = sd(d) / sqrt(N)

The data are the same, so what they have in common (a hard digit is hard for every model) drops out of the
difference, and its error is far smaller than that of either mean.
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
    """Models in falling order of mean log p(x), in nats per datum.

    Attributes:
        names: of the models.
        mean: of log p(x), (M,).
        stderr: the error of each mean between data, which holds what Monte Carlo adds, (M,).
        difference: to the first model, (M,); at most 0.
        difference_stderr: its paired error, (M,).
    """

    names: tuple[str, ...]
    mean: np.ndarray = field(repr=False)
    stderr: np.ndarray = field(repr=False)
    difference: np.ndarray = field(repr=False)
    difference_stderr: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        width = max(5, *map(len, self.names))
        head = f"{'':<{width}}  {'log p(x)':>10} {'error':>7}   {'to best':>8} {'paired error':>12}"
        columns = zip(
            self.names, self.mean, self.stderr, self.difference, self.difference_stderr, strict=True
        )
        rows = [f"{n:<{width}}  {m:10.3f} {s:7.3f}   {d:8.3f} {e:12.3f}" for n, m, s, d, e in columns]
        return "\n".join([head, *rows])


def compare(evidences: Mapping[str, Evidence]) -> Comparison:
    """Rank models by the mean log p(x) of the same data.

    Arguments:
        evidences: name -> what `log_evidence` gave, all on the same data in the same order.

    Raises:
        InputError: when there are none, or the numbers of data differ.

    Example:
        >>> from pyrovae.evidence import log_evidence
        >>> from pyrovae.oracles import LinearGaussian
        >>> a, b = (LinearGaussian.random(event_dim=4, latent_dim=2, seed=s) for s in (0, 1))
        >>> x = a.sample(500)
        >>> table = compare({"a": log_evidence(a, x, particles=5), "b": log_evidence(b, x, particles=5)})
        >>> table.names
        ('a', 'b')
    """
    if not evidences:
        raise InputError("there is nothing to compare: give at least one evidence")
    sizes = {name: len(evidence) for name, evidence in evidences.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"the models were evaluated on different numbers of data, {sizes}: use the same data"
        )
    ranked = sorted(evidences.items(), key=lambda item: -item[1].mean)
    best = ranked[0][1]
    pairs = [_paired(evidence, best) for _, evidence in ranked]
    return Comparison(
        tuple(name for name, _ in ranked),
        np.array([evidence.mean for _, evidence in ranked]),
        np.array([evidence.stderr for _, evidence in ranked]),
        np.array([mean for mean, _ in pairs]),
        np.array([error for _, error in pairs]),
    )


def _paired(one: Evidence, best: Evidence) -> tuple[float, float]:
    """The mean of the differences and its error; what Monte Carlo adds is in their spread already."""
    difference = one.log_px - best.log_px
    return float(difference.mean()), float(stderr_of_mean(difference))
