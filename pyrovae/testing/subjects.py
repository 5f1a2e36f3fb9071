"""The parts under check: each kind says how a copy is attached and used.

A `Subject` is made for every call of `part_checks`. Its copies of the part are attached on the
sizes that a check needs, and what several checks need is computed once.
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
ENOUGH, MOST = 6, 64  # sizes of z that are used, and that are tried
ROWS = 5
INPUT = (3,)  # of the encoder of a prior that is made of encodings


class Subject(ABC):
    """A part under check.

    Arguments:
        part: as the author declared it; it is not attached, only its copies are.
        options: what the author says about it.
    """

    def __init__(self, part: Any, options: Options) -> None:  # noqa: ANN401
        self.part, self.options = part, options

    @property
    def name(self) -> str:
        """The part as it is written."""
        return shown(self.part)

    @abstractmethod
    def attach(self) -> Any:  # noqa: ANN401
        """A copy of the part that is attached as most checks need it."""

    @abstractmethod
    def use(self, part: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:  # noqa: ANN401
        """Use an attached copy on inputs of a type; the inputs that have a gradient, and the results."""


class LatentSubject(Subject):
    """A prior or a guide."""

    part: Prior | Guide

    @cached_property
    def latent_dims(self) -> dict[int, int]:
        """The numbers of entries of z that the part can have, each with its `latent_dim`."""
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
        """The number of entries of z that most checks use."""
        return next((size for size in self.latent_dims if size > 4), max(self.latent_dims))

    @cached_property
    def measured(self) -> list[Measured]:
        """The distributions of one or two entries, or of as many as there is a rule for."""
        every = [Measured(f"{self.name} of {n} latents", self.distribution(n)) for n in self.latent_dims]
        return [one for one in every if one.rule is not None]

    @abstractmethod
    def _attach(self, latent_dim: int, context_dim: int = 0, seed: int = 0) -> Any:  # noqa: ANN401
        """A perturbed copy for a `latent_dim`."""

    @abstractmethod
    def distribution(self, size: int) -> Any:  # noqa: ANN401
        """The distribution over z of this number of entries, with batch ()."""

    def of(self, size: int, context_dim: int = 0, seed: int = 0) -> Any:  # noqa: ANN401
        """A perturbed copy for z of this number of entries."""
        return self._attach(self.latent_dims[size], context_dim, seed)

    def attach(self) -> Any:  # noqa: ANN401
        return self.of(self.size)


class PriorSubject(LatentSubject):
    """A prior, with an encoder and a guide where it is made of them."""

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
    """A guide, with numbers in place of an encoder's."""

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
    """A likelihood, with numbers in place of a decoder's."""

    part: Likelihood

    @cached_property
    def event_shapes(self) -> list[Shape]:
        """The shapes of events that it takes; the author's alone where one is given."""
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
        """The shape of event that most checks use."""
        return self.event_shapes[-1]

    @cached_property
    def measured(self) -> list[Measured]:
        """The distributions of one element, for three values of the parameters, and of few discrete ones."""
        every = []
        for shape in self.event_shapes:
            seeds = (1, 2, 3) if shape == (1,) else (1,)
            one_dim = len(shape) == 1
            named = f"{self.name} of {math.prod(shape)} elements"
            every += [Measured(named, self.distribution(shape, seed)) for seed in seeds if one_dim]
        return [one for one in every if self._is_quick(one)]

    def _is_quick(self, one: Measured) -> bool:
        """Elements are independent mostly, so that one is enough where they are not finitely many."""
        if one.distribution.event_shape.numel() == 1:
            return one.rule is not None
        return bool(getattr(one.distribution.support, "is_discrete", False))

    def distribution(self, shape: Shape, seed: int = 1) -> Any:  # noqa: ANN401
        """Its distribution over one event, in evaluation mode."""
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
