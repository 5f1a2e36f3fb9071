"""Contexts that are computed from x: a part of an image, a noisy or small copy, or any function.

    word                          context c                     what is modelled
    left half, right half,        the image, with zeros where   the other pixels; those that are
    top half, bottom half,        nothing is given              given are NaN in x, so the
    centre, quadrants 1 2                                       likelihood leaves them out
    noisy .3                      x + .3 e, e ~ N(0, 1)         the whole image
    small 2                       means of 2 x 2 pixels         the whole image
    a Python function             f(x), of each row alone       the whole row

A context is computed after binarisation, dequantisation and jitter, so x and its context come from
one draw. The noise of "noisy" is a function of (seed, epoch) in training, and fixed for validation
and test rows. Quadrants are 1 = top left, 2 = top right, 3 = bottom left, 4 = bottom right.

Reference:
    Sohn, Lee & Yan (2015), "Learning Structured Output Representation using Deep Conditional
    Generative Models".
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pyrovae.checks import exact, number, whole
from pyrovae.datasets.preparation import generator_of
from pyrovae.datasets.rows import Rows
from pyrovae.errors import InputError, sizes

__all__ = ["Derived", "Function", "Given", "Noisy", "Small", "derived_of", "is_image_shape"]

ROUNDING = 1e-3  # of a function's context, relative to the largest value of an entry
HALVES = ("left half", "right half", "top half", "bottom half", "centre")
FIRST = ("left", "right", "top", "bottom", "centre", "quadrants", "noisy", "small")
KNOWN = (
    "'left half', 'right half', 'top half', 'bottom half', 'centre', 'quadrants 1 2', 'noisy .3', 'small 2'"
)


class Derived(ABC):
    """A context that is computed from the prepared x of each row.

    Attributes:
        words: how it is written in `load(context=...)` and in a config file.
        each_epoch: whether training rows get another context every epoch.
    """

    words: str
    each_epoch = False

    @abstractmethod
    def check(self, event_shape: tuple[int, ...], name: str) -> None:
        """Refuse events that have no such context.

        Raises:
            InputError: with what the context needs.
        """

    @abstractmethod
    def contexts(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The contexts (N, *context_shape) of prepared rows (N, *event)."""

    def given(self, event_shape: tuple[int, ...]) -> Tensor | None:
        """The entries of x that the context gives, a mask (*event); None if all are modelled."""
        return None

    def rows(self, rows: Rows, generator: torch.Generator) -> Rows:
        """The rows with their context, and x without the entries that it gives.

        Raises:
            InputError: for rows in which an entry that the context needs is missing.
        """
        return replace(rows, context=self.contexts(rows.x, generator))

    def of_new(self, rows: Rows, seed: int) -> Rows:
        """New rows with their context; the noise of a row depends on a seed and its values only."""
        if not self.each_epoch or not len(rows):
            return self.rows(rows, generator_of(seed))
        parts = []
        for row in rows.x:
            key = hashlib.sha256(row.detach().cpu().contiguous().float().numpy().tobytes()).hexdigest()
            parts.append(self.contexts(row[None], generator_of("new context", seed, key)))
        return replace(rows, context=torch.cat(parts))

    def completed(self, x: Tensor, context: Tensor) -> Tensor:
        """Rows x (N, *event), with the entries that the context (N, *context_shape) gives."""
        return x

    def picture(self, context: Tensor, event_shape: tuple[int, ...]) -> Tensor | None:
        """Contexts as images (N, *event) to look at, or None if they are not images."""
        return None


@dataclass(frozen=True)
class Given(Derived):
    """A part of an image, by its words."""

    words: str

    def check(self, event_shape: tuple[int, ...], name: str) -> None:
        _refuse_other_than_images(self.words, event_shape, name)
        mask = self.given(event_shape)
        if not mask.any() or mask.all():
            raise InputError(
                f"context={self.words!r} leaves {'no' if mask.all() else 'every'} pixel of images of "
                f"{sizes(event_shape[-2:])} to model: give another part of the image"
            )

    def given(self, event_shape: tuple[int, ...]) -> Tensor:
        """The given pixels, a mask (*event).

        Example:
            >>> Given("left half").given((2, 4)).int().tolist()
            [[1, 1, 0, 0], [1, 1, 0, 0]]
        """
        H, W = event_shape[-2:]
        down, right = torch.arange(H)[:, None] >= H // 2, torch.arange(W) >= W // 2
        mask = torch.zeros(H, W, dtype=torch.bool)
        if self.words == "centre":
            mask[H // 4 : H - H // 4, W // 4 : W - W // 4] = True
        elif self.words.startswith("quadrants"):
            for quadrant in map(int, self.words.split()[1:]):
                mask |= (down == (quadrant > 2)) & (right == (quadrant % 2 == 0))
        else:
            halves = {"left half": ~right, "right half": right, "top half": ~down, "bottom half": down}
            mask |= halves[self.words]
        return mask.expand(event_shape)

    def contexts(self, x: Tensor, generator: torch.Generator) -> Tensor:
        mask = self.given(tuple(x.shape[1:])).to(x.device)
        known = mask & ~x.isnan()
        empty = ~known.flatten(1).any(1)
        if bool(empty.any()):
            raise InputError(
                f"row {int(empty.nonzero()[0])} has no pixel in its context, the {self.words}: give whole "
                "images, or Rows with a context, as data.test"
            )
        return torch.where(known, x, x.new_zeros(()))

    def rows(self, rows: Rows, generator: torch.Generator) -> Rows:
        context = self.contexts(rows.x, generator)
        mask = self.given(tuple(rows.x.shape[1:])).to(rows.x.device)
        return replace(rows, x=torch.where(mask, torch.nan, rows.x), context=context)

    def completed(self, x: Tensor, context: Tensor) -> Tensor:
        return torch.where(self.given(tuple(x.shape[1:])).to(x.device), context.to(x), x)

    def picture(self, context: Tensor, event_shape: tuple[int, ...]) -> Tensor:
        return self.completed(context.new_full((len(context), *event_shape), 0.5), context)


@dataclass(frozen=True)
class Noisy(Derived):
    r"""The image with Gaussian noise, \(c = x + \sigma \epsilon\)."""

    sd: float
    each_epoch = True

    @property
    def words(self) -> str:  # type: ignore[override]
        """As in "noisy 0.3"."""
        return f"noisy {exact(self.sd)}"

    def check(self, event_shape: tuple[int, ...], name: str) -> None:
        _refuse_other_than_images(self.words, event_shape, name)

    def contexts(self, x: Tensor, generator: torch.Generator) -> Tensor:
        _refuse_missing(self.words, x)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return x + self.sd * noise.to(x.device)

    def picture(self, context: Tensor, event_shape: tuple[int, ...]) -> Tensor:
        return context


@dataclass(frozen=True)
class Small(Derived):
    """The image, with each square of `factor` x `factor` pixels replaced by its mean."""

    factor: int

    @property
    def words(self) -> str:  # type: ignore[override]
        """As in "small 2"."""
        return f"small {self.factor}"

    def check(self, event_shape: tuple[int, ...], name: str) -> None:
        _refuse_other_than_images(self.words, event_shape, name)
        if any(side % self.factor for side in event_shape[-2:]):
            usable = math.gcd(*event_shape[-2:])
            raise InputError(
                f"context={self.words!r} needs a height and width that {self.factor} divides, and images of "
                f"{name} have {sizes(event_shape[-2:])}: use a divisor of {usable}, as in 'small {usable}'"
            )

    def contexts(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Mean-pooled rows.

        Example:
            >>> Small(2).contexts(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]), generator_of("any"))
            tensor([[[0.7500]]])
        """
        _refuse_missing(self.words, x)
        *lead, H, W = x.shape
        pooled = functional.avg_pool2d(x.reshape(-1, 1, H, W), self.factor)
        return pooled.reshape(*lead, H // self.factor, W // self.factor)

    def picture(self, context: Tensor, event_shape: tuple[int, ...]) -> Tensor:
        return context.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)


@dataclass(frozen=True)
class Function(Derived):
    """A user's function: prepared rows x, a tensor (N, *event), to contexts (N, *context_shape)."""

    function: Callable[[Tensor], Any]

    @property
    def words(self) -> str:  # type: ignore[override]
        """The name of the function, for people; it is not stored."""
        return f"function {getattr(self.function, '__name__', type(self.function).__name__)}"

    def check(self, event_shape: tuple[int, ...], name: str) -> None:
        pass

    def contexts(self, x: Tensor, generator: torch.Generator) -> Tensor:
        context = self._of(x)
        if len(x) > 1:  # the second row by itself has the same context
            alone = self._of(x[1:2])
            if alone.shape[1:] != context.shape[1:] or not _are_close(alone[0], context[1], context):
                raise InputError(
                    f"the {self.words} given as context= gives a row another context when other rows are "
                    "computed with it: let it use each row alone, without random numbers"
                )
        return context

    def _of(self, x: Tensor) -> Tensor:
        try:
            with torch.no_grad():
                context = torch.as_tensor(self.function(x.detach().cpu().clone()))
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise InputError(
                f"the {self.words} given as context= cannot take x of shape {tuple(x.shape)} ({reason}): it "
                "gets a tensor (N, *event) and returns one (N, *context)"
            ) from error
        if not context.dim() or len(context) != len(x) or context.is_complex():
            raise InputError(
                f"the {self.words} given as context= returned shape {tuple(context.shape)} for {len(x)} "
                "rows: return one context of real numbers for each row"
            )
        context = context[:, None] if context.dim() == 1 else context
        context = context.to(device=x.device, dtype=torch.float32)
        if not bool(context.isfinite().all()):
            raise InputError(f"the {self.words} given as context= returned NaN or infinity: fill it in")
        return context


def _are_close(one: Tensor, other: Tensor, rows: Tensor) -> bool:
    """Whether two contexts are equal up to rounding, in the units of each entry over the rows."""
    size = torch.cat([rows, one[None]]).abs().amax(0)
    return bool(((one - other).abs() <= ROUNDING * size).all())


# ------------------------------------------------------------------ words


def derived_of(context: Any) -> Derived | None:  # noqa: ANN401
    """The context that words or a function stand for; None for labels, columns and values.

    Raises:
        InputError: for words that begin like such a context and are not one.

    Example:
        >>> derived_of("quadrants 1 2"), derived_of(["small", "2"]), derived_of("labels")
        (Given(words='quadrants 1 2'), Small(factor=2), None)
    """
    if isinstance(context, Derived):
        return context
    if callable(context) and not hasattr(context, "__array__"):
        return Function(context)
    words = _words(context)
    if not words or words[0] not in FIRST:
        return None
    first, rest = words[0], words[1:]
    if first == "quadrants":
        return Given(f"quadrants {' '.join(map(str, _quadrants(rest)))}")
    if first in ("noisy", "small"):
        return _with_number(first, rest)
    for known in HALVES:
        if " ".join(words) in (known, known.split()[0]):
            return Given(known)
    raise _unknown(words)


def _words(context: Any) -> list[str]:  # noqa: ANN401
    parts = [context] if isinstance(context, str) else context
    if not isinstance(parts, Sequence) or not all(isinstance(part, (str, int, float)) for part in parts):
        return []
    words = " ".join(map(str, parts)).lower().replace(",", " ").split()
    return [{"center": "centre", "quadrant": "quadrants"}.get(word, word) for word in words]


def _quadrants(words: Sequence[str]) -> list[int]:
    if not words or not set(words) < set("1234"):
        raise InputError(
            f"context='quadrants {' '.join(words)}' must name one to three of the quadrants 1 (top left), "
            "2 (top right), 3 (bottom left) and 4 (bottom right), as in 'quadrants 1 2'"
        )
    return sorted(set(map(int, words)))


def _with_number(word: str, rest: Sequence[str]) -> Derived:
    try:
        (text,) = rest
        if word == "noisy":
            return Noisy(number("the noise", float(text), above=0.0))
        return Small(whole("the factor", int(text), 2))
    except ValueError:  # also an InputError
        wrong = " ".join([word, *rest])
        takes = (
            "a standard deviation above 0, as in 'noisy .3'"
            if word == "noisy"
            else ("a whole factor of 2 or more, as in 'small 2'")
        )
        raise InputError(f"context={wrong!r} needs {takes}") from None


def _unknown(words: Sequence[str]) -> InputError:
    return InputError(f"context={' '.join(words)!r} is not known: use one of {KNOWN}")


def is_image_shape(event_shape: tuple[int, ...]) -> bool:
    """Whether events are images, (height, width) or (channels, height, width)."""
    return len(event_shape) in (2, 3) and min(event_shape[-2:]) > 1


def _refuse_other_than_images(words: str, event_shape: tuple[int, ...], name: str) -> None:
    if not is_image_shape(event_shape):
        raise InputError(
            f"context={words!r} is computed from images, and rows of {name} have the shape {event_shape}: "
            "name columns, or give a function of x"
        )


def _refuse_missing(words: str, x: Tensor) -> None:
    missing = x.isnan().flatten(1).any(1)
    if bool(missing.any()):
        raise InputError(
            f"context={words!r} needs every pixel, and row {int(missing.nonzero()[0])} has missing entries: "
            f"fill them in, or remove the row"
        )
