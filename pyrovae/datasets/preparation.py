"""Binarisation and dequantisation of grey values.

    dynamic     x ~ Bernoulli(grey), the training set drawn again every epoch
    static      x ~ Bernoulli(grey), drawn once
    threshold   x = 1 where grey >= 1/2, else 0
    dequantize  x = (v + u) / levels, u ~ U[0, 1), v = 0 .. levels - 1; drawn again every epoch

Dequantisation turns a density into a bound on a probability. Each use has its own generator, whose
seed is a hash of its purpose; the global random state does not change.

References:
    Salakhutdinov & Murray (2008), "On the Quantitative Analysis of Deep Belief Networks" (dynamic
    binarisation); Theis, van den Oord & Bethge (2016), "A Note on the Evaluation of Generative
    Models" (dequantisation).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.checks import shown
from pyrovae.errors import InputError

__all__ = ["BINARIZE", "Preparation", "generator_of"]

BINARIZE = ("dynamic", "static", "threshold")


@dataclass(frozen=True)
class Preparation:
    """The preparation of grey values, which have `levels` integer levels behind them."""

    binarize: str | None = None
    dequantize: bool = False
    levels: int | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        if self.binarize is not None and (
            not isinstance(self.binarize, str) or self.binarize not in BINARIZE
        ):
            known = ", ".join(repr(name) for name in BINARIZE)
            raise InputError(f"binarize={shown(self.binarize)} is not known: use one of {known} or None")
        if self.binarize is not None and self.dequantize:
            raise InputError(
                "binarize and dequantize cannot be combined, as binary values cannot be dequantised: "
                "choose one of the two"
            )
        if self.dequantize and self.levels is None:
            raise InputError(
                "dequantize=True needs values with a known number of integer levels (8-bit images, "
                "digits): leave it out for data that is already continuous"
            )

    @property
    def each_epoch(self) -> bool:
        """Whether the training set is drawn again every epoch."""
        return self.binarize == "dynamic" or self.dequantize

    @property
    def in_words(self) -> str:
        """The preparation in words, for the record (compared when a run is resumed)."""
        if self.dequantize:
            return f"dequantised over {self.levels} levels, training set again every epoch"
        return {
            None: "no further preparation",
            "dynamic": "binarised at random, training set again every epoch",
            "static": "binarised at random, once",
            "threshold": "binarised at 1/2",
        }[self.binarize]

    def check(self, grey: Tensor) -> None:
        """Raise InputError if a value to be binarised is not a probability, in [0, 1]."""
        if self.binarize is None:
            return
        known = grey[~grey.isnan()]
        if not len(known):
            return
        low, high = known.min().item(), known.max().item()
        if low < 0 or high > 1:
            raise InputError(
                f"binarize needs values in [0, 1], and these are from {low:g} to {high:g}: scale them first "
                "(uint8 images of shape (N, height, width) are scaled by load), or leave binarize out"
            )

    def apply(self, grey: Tensor, generator: torch.Generator) -> Tensor:
        """Prepare grey values (N, *event), with random numbers from `generator`; NaN stays missing.

        Raises:
            InputError: when binarising values outside [0, 1].

        Example:
            >>> Preparation("threshold").apply(torch.tensor([[0.2, 0.5]]), generator_of("any"))
            tensor([[0., 1.]])
        """
        if self.dequantize:
            grey, top = grey.float(), (self.levels or 2) - 1
            u = torch.rand(grey.shape, generator=generator)
            # for u just below 1, (v + u) / levels may be rounded up to 1
            return (((grey * top).round() + u) / (top + 1)).clamp(max=1 - 2**-24)
        self.check(grey)
        if self.binarize is None:
            return grey
        if self.binarize == "threshold":
            binary = (grey >= 0.5).float()
        else:
            binary = torch.bernoulli(grey.float().nan_to_num(0.0), generator=generator)
        return binary.masked_fill(grey.isnan(), torch.nan)


def generator_of(*words: object) -> torch.Generator:
    """Make a CPU generator whose seed is a hash of `words`.

    Example:
        >>> a, b = generator_of("epoch", 0, 1), generator_of("epoch", 0, 1)
        >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
        True
    """
    digest = hashlib.sha256(repr(words).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
