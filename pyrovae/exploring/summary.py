"""The summary of an exploration, and of one observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrovae.display import Displayed, Summary
from pyrovae.errors import sizes
from pyrovae.evidence.diagnose import ACTIVE
from pyrovae.numerics import Array

__all__ = ["Observation", "plain_summary", "summary"]

SURE = 0.9
FEW = 0.1  # as a fraction of an equal share of the rows: a component below it is hardly used


@dataclass(frozen=True, eq=False, repr=False)
class Observation(Displayed):
    """One row of an exploration, with the model's results for it.

    Attributes:
        number: its index in the exploration.
        index: its row number in the source.
        x: (*event).
        label: its label, or None.
        mean: the mean of q(z|x), (D,).
        sd: the standard deviations of q(z|x), (D,).
        reconstruction: E[x|z] at the mean, (*event).
        log_px: log p(x) in nats.
        log_px_se: its Monte Carlo standard error.
        responsibilities: p(c|x) of a mixture, (K,), else None.
        responsibility_sd: their standard deviations over q(z|x), (K,), else None.
    """

    number: int
    index: int
    x: NDArray
    label: int | None
    mean: Array
    sd: Array
    reconstruction: NDArray
    log_px: float
    log_px_se: float
    responsibilities: Array | None = None
    responsibility_sd: Array | None = None

    def __str__(self) -> str:
        row = "" if self.index == self.number else f", row {self.index}"
        label = "" if self.label is None else f", label {self.label}"
        evidence = f"log p(x) {self.log_px:.2f} +- {self.log_px_se:.2f} nats"
        return f"observation {self.number}{row}{label}: {self._components()}{evidence}"

    def _components(self) -> str:
        if self.responsibilities is None or self.responsibility_sd is None:
            return ""
        likely = np.argsort(-self.responsibilities, kind="stable")[:3]
        components = ", ".join(
            f"{k} ({self.responsibilities[k]:.2f} +- {self.responsibility_sd[k]:.2f})"
            for k in likely
            if self.responsibilities[k] > 0.005
        )
        return f"component {components}; "


def plain_summary(ex: Any) -> Summary:  # noqa: ANN401
    """The main facts of a VAE without components, one per line."""
    total, each = ex.divergence
    size = ex.z.shape[1]
    rows = {
        "in use": _in_use(ex, each[:, :size]),
        "KL": f"{total.mean():.2f} nats from q(z|x) to p(z), from {total.min():.2f} to {total.max():.2f}",
    }
    if "evidence" in vars(ex):  # estimated at the first use
        rows["log p(x)"] = f"{ex.evidence.mean:.3f} +- {ex.evidence.stderr:.3f} nats"
        rows["lowest"] = "rows " + ", ".join(str(ex.index[i]) for i in ex.far(min(5, len(ex))))
    else:
        rows["log p(x)"] = "estimated at the first use of ex.log_px, ex.evidence or ex.far(5)"
    if ex.vae.context_shape is not None:
        rows["context"] = f"({sizes(ex.vae.context_shape)}), one for each row"
    if ex.vae.prior.waits_for:
        rows["components"] = f"none before epoch {ex.vae.prior.waits_for}: train it for longer"
    head = f"{ex.vae.prior!r} over {_many(size, 'latent')}, explored with {_many(len(ex), 'row')}"
    return Summary(head, list(rows.items()), width=14)


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _in_use(ex: Any, each: Array) -> str:  # noqa: ANN401
    """The number of latents with a KL above ACTIVE nats, or whose mean varies if it is unknown."""
    size = each.shape[1]
    mean = each.mean(0)
    if np.isnan(mean).any():
        used = int((ex.z.var(0) > ACTIVE).sum())
        return f"{used} of {size} latents, whose E[z|x] has a variance above {ACTIVE}"
    order = np.argsort(-mean, kind="stable")[:5]
    most = ", ".join(f"z{i} ({mean[i]:.2f})" for i in order)
    return f"{int((mean > ACTIVE).sum())} of {size} latents, with a KL above {ACTIVE} nats; most: {most}"


def summary(ex: Any) -> Summary:  # noqa: ANN401
    """The main facts, one per line."""
    parts, count = ex.components, len(ex.components)
    share = parts.soft / len(ex)
    large, small = int(share.argmax()), int(share.argmin())
    unused = np.flatnonzero(share < FEW / count)
    unsure = (ex.responsibilities.max(1) < SURE).mean()
    cost = np.nansum(parts.soft * parts.kl) / len(ex)
    lowest, highest = np.nanmin(parts.kl), np.nanmax(parts.kl)
    rows = {
        "in use": f"{parts.in_use:.1f} components by the data, {parts.effective:.1f} by the weights",
        "sizes": f"from {share[large]:.1%} of the data in component {large} to {share[small]:.1%} in {small}",
        "hardly used": ", ".join(map(str, unused)) or "none",
        "closest": _closest(ex),
        "doubt": f"{ex.doubt.mean():.2f} nats; {unsure:.1%} of the data are below {SURE:.0%} sure",
        "most doubtful": ", ".join(map(str, ex.doubtful(min(5, len(ex))))),
        "KL": f"{cost:.2f} nats to an observation's component, from {lowest:.2f} to {highest:.2f}",
    }
    if ex.agreement is not None:
        rows["labels"] = str(ex.agreement)
    if "evidence" in vars(ex):  # estimated at the first use
        rows["log p(x)"] = f"{ex.evidence.mean:.3f} +- {ex.evidence.stderr:.3f} nats"
    head = f"a mixture of {_many(count, 'component')} over {_many(ex.z.shape[1], 'latent')}, explored with "
    head += _many(len(ex), "row")
    return Summary(head, list(rows.items()), width=14)


def _closest(ex: Any) -> str:  # noqa: ANN401
    parts = ex.components
    if len(parts) < 2:
        return "there is only one"
    if ex.reader.mixture.classed:
        return "the classes share one p(z)"
    apart = np.triu(parts.overlap, 1)
    a, b = np.unravel_index(apart.argmax(), apart.shape)
    return f"components {a} and {b}, which overlap by {apart[a, b]:.2f}"
