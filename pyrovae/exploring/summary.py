"""What is said of an exploration at a glance, and of one datum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Datum", "summary"]

Array = NDArray[np.float64]
SURE = 0.9
FEW = 0.1  # of an equal share of the data: a component below it is hardly used


@dataclass(frozen=True, eq=False)
class Datum:
    """One datum, and what is known of it.

    Attributes:
        index: its number in the exploration.
        x: (*event).
        label: or None.
        mean: of q(z|x), (D,).
        sd: of q(z|x), (D,).
        responsibilities: p(c|x), (K,).
        responsibility_sd: over q(z|x), (K,).
        reconstruction: E[x|z] at the mean, (*event).
        log_px: log p(x) in nats.
        log_px_se: its Monte Carlo standard error.
    """

    index: int
    x: NDArray = field(repr=False)
    label: int | None
    mean: Array = field(repr=False)
    sd: Array = field(repr=False)
    responsibilities: Array = field(repr=False)
    responsibility_sd: Array = field(repr=False)
    reconstruction: NDArray = field(repr=False)
    log_px: float
    log_px_se: float

    def __str__(self) -> str:
        likely = np.argsort(-self.responsibilities, kind="stable")[:3]
        shown = ", ".join(
            f"{k} ({self.responsibilities[k]:.2f} +- {self.responsibility_sd[k]:.2f})"
            for k in likely
            if self.responsibilities[k] > 0.005
        )
        named = "" if self.label is None else f", label {self.label}"
        found = f"log p(x) {self.log_px:.2f} +- {self.log_px_se:.2f}"
        return f"datum {self.index}{named}: component {shown}; {found}"


def summary(ex: Any) -> str:  # noqa: ANN401
    """What one sees first, a line a fact."""
    parts, count = ex.components, len(ex.components)
    share = parts.soft / len(ex)
    large, small = int(share.argmax()), int(share.argmin())
    unused = np.flatnonzero(share < FEW / count)
    sure = ex.responsibilities.max(1)
    paid = np.nansum(parts.soft * parts.kl) / len(ex)
    lowest, highest = np.nanmin(parts.kl), np.nanmax(parts.kl)
    rows = [
        ("in use", f"{parts.in_use:.1f} components by the data, {parts.effective:.1f} by the weights"),
        (
            "sizes",
            f"from component {large} with {share[large]:.1%} of the data to {small} with {share[small]:.1%}",
        ),
        ("hardly used", ", ".join(map(str, unused)) or "none"),
        ("closest", _closest(ex)),
        (
            "doubt",
            f"{ex.doubt.mean():.2f} nats; {(sure < SURE).mean():.1%} of the data are below {SURE:.0%} sure",
        ),
        ("most doubtful", ", ".join(map(str, ex.doubtful(min(5, len(ex)))))),
        (
            "KL",
            f"{paid:.2f} nats to a datum's own component, from {lowest:.2f} to {highest:.2f}",
        ),
    ]
    if ex.agreement is not None:
        rows.append(("labels", str(ex.agreement)))
    if "evidence" in vars(ex):  # estimated when first asked for
        rows.append(("log p(x)", f"{ex.evidence.mean:.3f} +- {ex.evidence.stderr:.3f} nats"))
    head = f"a mixture of {count} components over {ex.z.shape[1]} latents, seen through {len(ex):,} data"
    return "\n".join([head, *(f"  {name:<14} {text}" for name, text in rows)])


def _closest(ex: Any) -> str:  # noqa: ANN401
    parts = ex.components
    if len(parts) < 2:
        return "there is only one"
    if ex.reader.mixture.classed:
        return "the classes share one p(z)"
    apart = np.triu(parts.overlap, 1)
    a, b = np.unravel_index(apart.argmax(), apart.shape)
    return f"components {a} and {b}, which overlap by {apart[a, b]:.2f}"
