"""Subjects: the part under check, with the code that attaches and uses copies of it.

Each kind of part has its own subclass. `part_checks` makes one `Subject` per call. It attaches
copies for the sizes that a check needs, and computes once what several checks need.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.guides import DiagonalNormal, Guide
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import MLP, Headed
from pyrovae.priors import Prior
from pyrovae.testing.attaching import Options, attached, params, perturb
from pyrovae.testing.densities import Measured
from pyrovae.testing.failures import refuse, shown

__all__ = ["GuideSubject", "LatentSubject", "LikelihoodSubject", "PriorSubject", "Subject"]

Shape = tuple[int, ...]
ENOUGH, MOST = 6, 64  # the number of sizes of z that are used, and the largest that is tried
ROWS = 5
INPUT = (3,)  # the encoder's input, for a prior that is a mixture of encodings


class Subject(ABC):
    """A part under check.

    Arguments:
        part: the part as the author declared it; only copies are attached.
        options: the options of `check_part`.
    """

    def __init__(self, part: Any, options: Options) -> None:  # noqa: ANN401
        self.part, self.options = part, options

    @property
    def name(self) -> str:
        """The repr of the part."""
        return shown(self.part)

    @abstractmethod
    def attach(self) -> Any:  # noqa: ANN401
        """An attached copy of the part, of the size that most checks use."""

    @abstractmethod
    def use(self, part: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # noqa: ANN401
        """Use an attached copy in a dtype; returns the inputs with gradients, and the results."""


class LatentSubject(Subject):
    """A prior or a guide."""

    part: Prior | Guide

    @cached_property
    def latent_dims(self) -> dict[int, int]:
        """The possible sizes of z, each with the `latent_dim` that gives it."""
        given, reason = self.options.latent_dim, ""
        found: dict[int, int] = {}
        for latent_dim in [given] if given is not None else range(1, MOST + 1):
            try:
                part = self._attach(latent_dim)
            except InputError as error:
                reason = str(error)
                continue
            found.setdefault(part.size if isinstance(part, Prior) else latent_dim, latent_dim)
            if len(found) == ENOUGH:
                break
        if not found:
            refuse(f"{self.name} cannot be attached ({reason}): give check_part its latent_dim")
        return found

    @property
    def size(self) -> int:
        """The size of z that most checks use."""
        return next((size for size in self.latent_dims if size > 4), max(self.latent_dims))

    @cached_property
    def measured(self) -> list[Measured]:
        """The distributions over z for all sizes that have a quadrature rule."""
        every = [Measured(f"{self.name} of {n} latents", self.distribution(n)) for n in self.latent_dims]
        return [one for one in every if one.rule is not None]

    @abstractmethod
    def _attach(self, latent_dim: int, context_dim: int = 0, seed: int = 0) -> Any:  # noqa: ANN401
        """A perturbed copy for a `latent_dim`."""

    @abstractmethod
    def distribution(self, size: int) -> Any:  # noqa: ANN401
        """The distribution over z of this size, with batch ()."""

    def of(self, size: int, context_dim: int = 0, seed: int = 0) -> Any:  # noqa: ANN401
        """A perturbed copy for z of this size."""
        return self._attach(self.latent_dims[size], context_dim, seed)

    def attach(self) -> Any:  # noqa: ANN401
        return self.of(self.size)


class PriorSubject(LatentSubject):
    """A prior, with an encoder and a guide if it uses them."""

    part: Prior

    @cached_property
    def needs_context(self) -> bool:
        """Whether it cannot be attached without a context."""
        try:
            self._copy(self.options.latent_dim or 2, 0, 0)
        except InputError:
            try:
                self._copy(self.options.latent_dim or 2, 2, 0)
            except InputError:
                return False
            return True
        return False

    @property
    def context(self) -> Tensor | None:
        """The context of a prior that needs one, (2,)."""
        return torch.tensor([0.5, -1.0]) if self.needs_context else None

    def _attach(self, latent_dim: int, context_dim: int = 0, seed: int = 0) -> Prior:
        return self._copy(latent_dim, context_dim or (2 if self.needs_context else 0), seed)

    def _copy(self, latent_dim: int, context_dim: int, seed: int) -> Prior:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            part = self.part.clone()
            part.latent_dim = latent_dim
            part.attach(latent_dim, context_dim)
            guide = attached(self.options.guide or DiagonalNormal(), part.size)
            encoder = attached(MLP(6, activation="tanh"), INPUT, None, context_dim)
            part.connect(Headed(encoder, guide.param_shapes), guide, INPUT)
            part.start_from(torch.rand(20, *INPUT))
            return perturb(part)

    def distribution(self, size: int) -> Any:  # noqa: ANN401
        return self.of(size)(self.context)

    def use(self, part: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # noqa: ANN401
        for module in getattr(part, "_sources", ()):
            module.to(dtype)
        context = None if self.context is None else self.context.to(dtype)
        distribution = part(context).expand((40,))
        z = distribution.sample()
        return {}, {"samples": z, "log_prob": distribution.log_prob(z)}


class GuideSubject(LatentSubject):
    """A guide, with random parameters in place of an encoder's output."""

    part: Guide

    def _attach(self, latent_dim: int, context_dim: int = 0, seed: int = 0) -> Guide:
        return attached(self.part, latent_dim, seed=seed)

    def distribution(self, size: int) -> Any:  # noqa: ANN401
        guide = self.of(size)
        return guide(**params(guide.param_shapes))

    def use(self, part: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # noqa: ANN401
        numbers = params(part.param_shapes, ROWS)
        inputs = {name: value.to(dtype).requires_grad_() for name, value in numbers.items()}
        distribution = part(**inputs)
        z = distribution.sample()
        return inputs, {"samples": z, "log_prob": distribution.log_prob(z)}


class LikelihoodSubject(Subject):
    """A likelihood, with random parameters in place of a decoder's output."""

    part: Likelihood

    @cached_property
    def event_shapes(self) -> list[Shape]:
        """The event shapes that the likelihood accepts, or the one that the author gave."""
        given, found, reason = self.options.event_shape, [], ""
        for shape in [given] if given is not None else [(1,), (2,), (3,), (4,), (2, 3)]:
            try:
                attached(self.part, shape)
            except InputError as error:
                reason = str(error)
            else:
                found.append(shape)
        if not found:
            refuse(f"{self.name} cannot be attached ({reason}): give check_part its event_shape")
        return found

    @property
    def event_shape(self) -> Shape:
        """The event shape that most checks use."""
        return self.event_shapes[-1]

    @cached_property
    def measured(self) -> list[Measured]:
        """The distributions of one element, and of several elements if they are discrete."""
        every = []
        for shape in self.event_shapes:
            seeds = (1, 2, 3) if shape == (1,) else (1,)
            one_dim = len(shape) == 1
            named = f"{self.name} of {math.prod(shape)} elements"
            every += [Measured(named, self.distribution(shape, seed)) for seed in seeds if one_dim]
        return [one for one in every if self._is_quick(one)]

    def _is_quick(self, one: Measured) -> bool:
        """Whether a distribution is checked: one element with a rule, or discrete values."""
        if one.distribution.event_shape.numel() == 1:
            return one.rule is not None
        return bool(getattr(one.distribution.support, "is_discrete", False))

    def distribution(self, shape: Shape, seed: int = 1) -> Any:  # noqa: ANN401
        """The distribution over one event, in evaluation mode."""
        part = attached(self.part, shape).eval()
        return part(**params(part.param_shapes, seed=seed))

    def attach(self) -> Likelihood:
        return attached(self.part, self.event_shape).eval()

    def use(self, part: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # noqa: ANN401
        numbers = params(part.param_shapes, ROWS)
        inputs = {name: value.to(dtype).requires_grad_() for name, value in numbers.items()}
        distribution = part(**inputs)
        x = distribution.sample().to(dtype)
        return inputs, {"log_prob": distribution.log_prob(x)}
