"""How grey values become the numbers that a likelihood is asked about.

    dynamic     x ~ Bernoulli(grey), the training set drawn anew for each epoch
    static      x ~ Bernoulli(grey), drawn once
    threshold   x = 1 where grey >= 1/2, else 0
    dequantize  x = (v + u) / levels, u ~ U[0, 1), v = 0 .. levels - 1; drawn anew for each epoch

Dynamic binarisation is Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks",
2008; dequantisation turns a density into a bound on a probability (Theis, van den Oord & Bethge, "A note on
the evaluation of generative models", 2016). Each draw comes from a generator of its own, whose seed is
a hash of what the draw is for: no draw moves another, and the global random state is not touched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.errors import InputError

__all__ = ["BINARIZE", "Preparation", "generator_of"]

BINARIZE = ("dynamic", "static", "threshold")


@dataclass(frozen=True)
class Preparation:
    """What is done to grey values: `binarize`, `dequantize` and the integer `levels` behind them."""

    binarize: str | None = None
    dequantize: bool = False
    levels: int | None = None

    def __post_init__(self) -> None:
        """Refuse a preparation that has no meaning."""
        if self.binarize is not None and self.binarize not in BINARIZE:
            known = ", ".join(repr(name) for name in BINARIZE)
            raise InputError(f"binarize={self.binarize!r} is not known: use one of {known} or None")
        if self.binarize is not None and self.dequantize:
            raise InputError(
                "binarize and dequantize were both asked for, and binary values have nothing to "
                "dequantise: choose one of them"
            )
        if self.dequantize and self.levels is None:
            raise InputError(
                "dequantize=True needs values with a known number of integer levels (8-bit images, "
                "digits): leave it out for data that is already continuous"
            )

    @property
    def each_epoch(self) -> bool:
        """Whether the training set is drawn anew for each epoch."""
        return self.binarize == "dynamic" or self.dequantize

    @property
    def in_words(self) -> str:
        """One phrase for the record."""
        if self.dequantize:
            return f"dequantised over {self.levels} levels, training set anew each epoch"
        return {
            None: "no further preparation",
            "dynamic": "binarised at random, training set anew each epoch",
            "static": "binarised at random, once",
            "threshold": "binarised at 1/2",
        }[self.binarize]

    def check(self, grey: Tensor) -> None:
        """Raise InputError when a value to be binarised lies outside [0, 1] and so is no probability."""
        if self.binarize is None:
            return
        low, high = grey.min().item(), grey.max().item()
        if low < 0 or high > 1:
            raise InputError(
                f"binarize needs values in [0, 1] and these run from {low:g} to {high:g}: scale them first "
                "(8-bit images of shape (N, height, width) are scaled here), or leave binarize out"
            )

    def apply(self, grey: Tensor, generator: torch.Generator) -> Tensor:
        """Grey values (N, *event) prepared, drawing from `generator` where there is chance in it.

        Raises:
            InputError: when binarising values outside [0, 1].

        Example:
            >>> Preparation("threshold").apply(torch.tensor([[0.2, 0.5]]), generator_of("any"))
            tensor([[0., 1.]])
        """
        if self.dequantize:
            top = (self.levels or 2) - 1
            u = torch.rand(grey.shape, generator=generator)
            # rounding may carry (v + u) / levels up to 1 for u just below 1
            return (((grey * top).round() + u) / (top + 1)).clamp(max=1 - 2**-24)
        self.check(grey)
        if self.binarize is None:
            return grey
        if self.binarize == "threshold":
            return (grey >= 0.5).to(grey.dtype)
        return torch.bernoulli(grey, generator=generator)


def generator_of(*words: object) -> torch.Generator:
    """A CPU generator whose seed is a pure function of `words`.

    Example:
        >>> a, b = generator_of("epoch", 0, 1), generator_of("epoch", 0, 1)
        >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
        True
    """
    digest = hashlib.sha256(repr(words).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
