r"""The measure and units of log p(x), and which results can be ranked with each other.

    mass       a probability of discrete values: 0 and 1, counts, grey levels, classes
    density    a density of real values, in the units of x
    mixed      a product of probabilities and densities, for the columns of a table

A density changes with the unit of x and a probability does not, so the two cannot be ranked with
each other. There is one exception. Grey levels v = 0 .. n - 1 can be dequantised with uniform noise
u to x = (v + u) / n, and the density of x then gives a lower bound on log P(v). Both results are
compared in bits per dimension of the levels (`numerics.bits_per_dim`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from pyrovae.datasets import Rows
from pyrovae.numerics import as_array
from pyrovae.terms import Runner, trace_once
from pyrovae.terms.sites import sites_of

__all__ = ["Units", "units_of"]

# The standard deviation of uniform noise, in levels, and the largest distance in these units.
NOISE, APART = 12**-0.5, 8.0


@dataclass(frozen=True, eq=False)
class Units:
    """The measure and the units of log p(x) of some rows.

    Attributes:
        measure: "mass", "density", "mixed", or None where it is not known.
        places: which columns of a mixed measure have a probability.
        levels: the number of integer levels behind the values, or None.
        preparation: how the values were scaled and prepared, in words; None where it is not known.
        dequantized: whether x is (v + u) / levels.
        binarized: whether x was drawn from the levels.
        x_key, condition_key: hashes of x in float32, and of contexts and labels.
        mean_level: the mean level of each row, (N,), without the noise; None without levels.
        entries: the number of entries of each row that are not missing (NaN), (N,), or None if
            none are missing.
    """

    measure: str | None = None
    places: tuple[bool, ...] | None = None
    levels: int | None = None
    preparation: str | None = None
    dequantized: bool = False
    binarized: bool = False
    x_key: str | None = None
    condition_key: str | None = None
    mean_level: np.ndarray | None = field(default=None, repr=False)
    entries: np.ndarray | None = field(default=None, repr=False)

    @property
    def has_bits(self) -> bool:
        """Whether log p(x) is that of discrete values, or bounds it."""
        return self.measure in ("mass", None) or (self.measure == "density" and self.dequantized)

    @property
    def noise_levels(self) -> int | None:
        """n for a density of dequantised values, as the argument of `bits_per_dim`."""
        return self.levels if self.measure == "density" and self.dequantized else None

    def dims(self, event_shape: tuple[int, ...]) -> np.ndarray | int:
        """The number of entries of which log p(x) is, of each row (N,) or of all rows alike."""
        return math.prod(event_shape) if self.entries is None else self.entries

    def log_mass(self, log_px: np.ndarray, event_shape: tuple[int, ...]) -> np.ndarray | None:
        """log P(v) of the levels v, or a lower bound, in nats; None if it is not known."""
        if self.levels is None or self.binarized or self.measure not in ("mass", "density"):
            return None
        if self.measure == "mass":
            return log_px
        return log_px - self.dims(event_shape) * math.log(self.levels) if self.dequantized else None

    def is_like(self, other: Units) -> bool:
        """Whether both have the same measure of the same values, so that log p(x) can be ranked."""
        mine, theirs = self._meaning, other._meaning
        return all(a == b or a is None or b is None for a, b in zip(mine, theirs, strict=True))

    @property
    def _meaning(self) -> tuple[Any, ...]:
        return self.measure, self.places, self.preparation, self.x_key, self.condition_key

    def is_of_same_levels(self, other: Units, event_shape: tuple[int, ...]) -> bool:
        """Whether the levels behind both are the same, as far as the mean of each row says."""
        if self.mean_level is None or other.mean_level is None or self.levels != other.levels:
            return False
        dims = np.maximum(self.dims(event_shape), 1)
        apart = np.nan_to_num(np.abs(self.mean_level - other.mean_level))  # rows without entries
        return bool((apart <= APART * NOISE * (2 / dims) ** 0.5 + 0.01).all())

    def __str__(self) -> str:
        words = {
            "mass": "the probability of discrete values",
            "density": "the density of real values",
            "mixed": "the probability of discrete columns times the density of the others",
            None: "an unknown measure",
        }[self.measure]
        if self.noise_levels:
            return f"{words} in [0, 1], dequantised over {self.levels} levels"
        return f"{words}, in the units of x" if self.measure in ("density", "mixed") else words


def units_of(runner: Runner, rows: Rows) -> Units:
    """The units of what a program's weights of some rows estimate."""
    program, schema = runner.program, runner.program.schema
    likelihood = getattr(program, "likelihood", None)
    levels = None if schema is None else schema.levels
    dequantized = schema is not None and schema.dequantize
    binarized = schema is not None and schema.binarize is not None
    conditions = [part for part in (rows.context, rows.y) if part is not None]
    return Units(
        measure=program.measure or _traced_measure(runner, rows),
        places=getattr(likelihood, "discrete_places", None),
        levels=levels,
        preparation=None if schema is None else _preparation(schema),
        dequantized=dequantized,
        binarized=binarized,
        x_key=_hash(rows.x),
        condition_key=_hash(*conditions),
        mean_level=_mean_level(rows.x, levels, dequantized) if levels and not binarized else None,
        entries=_entries(rows.x),
    )


def _preparation(schema: Any) -> str:  # noqa: ANN401
    words = f"binarised ({schema.binarize})" if schema.binarize else ""
    words = "dequantised" if schema.dequantize else words
    return ", ".join(part for part in (schema.scaling, words) if part)


def _traced_measure(runner: Runner, rows: Rows) -> str | None:
    """The measure found from the observed sites of a program, except the label; None if unknown."""
    try:
        model, *_ = trace_once(runner.model, runner.guide, *rows[:2].arguments)
        observed = [site for name, site in sites_of(model) if site["is_observed"] and name != "y"]
        kinds = {bool(site["fn"].support.is_discrete) for site in observed}
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        return None
    return None if not kinds else "mixed" if len(kinds) > 1 else "mass" if kinds.pop() else "density"


def _mean_level(x: Tensor, levels: int, dequantized: bool) -> np.ndarray:  # noqa: FBT001
    mean = as_array(x.double().flatten(1).nanmean(1))
    return mean * levels - 0.5 if dequantized else mean * (levels - 1)


def _entries(x: Tensor) -> np.ndarray | None:
    missing = x.isnan().unsqueeze(-1).flatten(1)
    return as_array((~missing).sum(1)) if bool(missing.any()) else None


def _hash(*parts: Tensor) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(repr(tuple(part.shape)).encode())
        digest.update(as_array(part.detach().float()).tobytes())
    return digest.hexdigest()
