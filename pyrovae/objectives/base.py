"""What every objective is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer import ELBO as PyroELBO  # noqa: N811
from torch import Tensor, nn

from pyrovae.checks import whole
from pyrovae.errors import InputError
from pyrovae.part import Declared
from pyrovae.terms import Draws, Terms, TracePair, check_gradients, run, trace_once

if TYPE_CHECKING:
    from pyrovae.terms import Program

__all__ = ["LearningObjective", "Objective", "in_place_of", "weighted"]


class Objective(Declared, PyroELBO):
    """Base class of objectives: a subclass writes `bound` unless it is the ELBO, and what is ascended.

    An objective of terms alone writes `maximised`; one that needs more of the program (the distributions of
    z, the score) writes `ascended`.

    Arguments:
        particles: K, the number of particles for each row.

    Raises:
        InputError: when `particles` is below 1.

    Attributes:
        draws: which way the gradients of the samples go (see `pyrovae.terms`).
        stratified: whether a distribution with strata (a mixture) may be sampled from each of them in turn.
        anneals: whether a weight on its KL divergence has a meaning.
        of_batch: whether what is ascended couples the rows of a batch.
        is_exact_when_summed_out: whether it no longer depends on a guide whose states are all summed over.
        rows: the number of training rows, once `begin` was called.
    """

    particles: int = 1
    draws: Draws = "reparameterised"
    stratified: bool = True
    anneals: bool = True
    of_batch: bool = False
    is_exact_when_summed_out: bool = False
    rows: int | None = None
    _checked: tuple[Any, Any, dict[str, Any]] = (None, None, {})  # model, guide, and how they are run

    def __init__(self, particles: int = 1) -> None:
        self.particles = whole("particles", particles)

    def bound(self, terms: Terms) -> Tensor:
        """A lower bound on log p(x) in nats for each row: terms (K, B) -> (B,)."""
        return terms.mean(terms.log_w)

    def maximised(self, terms: Terms) -> Tensor:
        """What training ascends, for each row: terms (K, B) -> (B,)."""
        return self.bound(terms)

    def annealed(self, terms: Terms, kl_weight: Tensor | float = 1.0) -> Tensor:
        """What training ascends while the KL divergence has weight `kl_weight`, (B,)."""
        return weighted(self.maximised(terms), terms, kl_weight)

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        """What training ascends on traces of a guide and model, (B,); None is a weight of 1."""
        terms = pair.terms()
        return self.maximised(terms) if kl_weight is None else self.annealed(terms, kl_weight)

    def draw_options(self, strata: int = 1) -> dict[str, Any]:
        """How guide and model are to be run for this objective: the options of `terms.run` and `Runner.run`.

        Arguments:
            strata: of the guide; each of them gets `particles` where they are sampled in turn.
        """
        stratified = self.stratified and self.draws == "reparameterised"
        particles = self.particles * (strata if stratified else 1)
        return {"particles": particles, "draws": self.draws, "stratified": stratified}

    def check(self, pair: TracePair) -> None:
        """Refuse a program for which the objective has no meaning; called by `fit` on a few rows.

        What is ascended is computed once, so that `ascended` may refuse a program too.

        Raises:
            InputError: with the reason.
        """
        if self.draws != "detached":
            check_gradients(pair.guide)
        summed_out = [n for n, s in pair.guide.nodes.items() if _is_summed_out(s)]
        if self.is_exact_when_summed_out and summed_out:
            raise InputError(
                f"{type(self).__name__} sums the discrete site {summed_out[0]!r} out exactly and would leave "
                "the guide untrained: use ELBO, ScoreFunction or ReweightedWakeSleep"
            )
        with torch.no_grad():
            self.ascended(pair)

    def begin(self, rows: int, program: Program) -> None:
        """Learn the number of training rows and which program is trained, before the first step."""
        self.rows = rows

    def begin_epoch(self, epoch: int) -> None:
        """Learn the number of epochs done, at the start of the next one and when a run is resumed."""

    # ---------------------------------------------------------------- Pyro's protocol

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Minus what is maximised, mean over the batch, in nats per row; a tensor that can be captured.

        The first call for a model and guide runs them once more, for their plates and strata: call it once
        before it is captured.
        """
        return -self.ascended(self._pair(model, guide, args, kwargs)).mean()

    def _pair(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> TracePair:
        """Guide and model as they run; a pair that is new is checked."""
        if self._checked[:2] == (model, guide):
            return run(model, guide, *args, **self._checked[2], **kwargs)
        *_, nesting, strata = trace_once(model, guide, *args, **kwargs)
        options = self.draw_options(strata) | {"max_plate_nesting": nesting}
        pair = run(model, guide, *args, **options, **kwargs)
        self.check(replace(pair))  # a copy: terms are stored with a pair, and the check needs no gradient
        self._checked = (model, guide, options)
        return pair

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple:
        pair = self._pair(model, guide, args, kwargs)
        return pair.model, pair.guide

    def loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:  # noqa: ANN401
        """The loss as a number, without a gradient; what `SVI.evaluate_loss` calls."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:  # noqa: ANN401
        """The loss as a number, its gradient left in the parameters; what `SVI.step` calls."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


class LearningObjective(Objective, nn.Module):
    """An objective with tensors of its own, which are trained or stored with the run.

    Its base classes are in this order so that, called, it is Pyro's ELBO and not a network.
    """

    def __init__(self, particles: int = 1) -> None:
        nn.Module.__init__(self)
        super().__init__(particles)

    @abstractmethod
    def begin(self, rows: int, program: Program) -> None:
        """Create the tensors for training on this number of rows."""
        super().begin(rows, program)


def _is_summed_out(site: Any) -> bool:  # noqa: ANN401
    return "log_v" in site.get("infer", {}) and not site["fn"].has_rsample


def weighted(ascended: Tensor, terms: Terms, kl_weight: Tensor | float | None) -> Tensor:
    """What is ascended while the divergence has a weight: outside the logarithm, never inside a weight."""
    if kl_weight is None:
        return ascended
    return kl_weight * ascended + (1 - kl_weight) * terms.mean(terms.log_px_z)


def in_place_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value of one tensor with the gradient of another."""
    return value.detach() + surrogate - surrogate.detach()
