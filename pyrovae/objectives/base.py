"""The base class of objectives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from pyro.infer import ELBO as PyroELBO  # noqa: N811
from torch import Tensor, nn

from pyrovae.checks import count_of
from pyrovae.distributions.onehot import refuse_many_states
from pyrovae.errors import InputError
from pyrovae.part import Declared
from pyrovae.terms import (
    Draws,
    Terms,
    TracePair,
    Weights,
    check_gradients,
    check_sites,
    run,
    trace_once,
)
from pyrovae.terms.sites import sites_of

if TYPE_CHECKING:
    from pyrovae.terms import Program

__all__ = ["LearningObjective", "Objective", "in_place_of", "weighted"]


class Objective(Declared, PyroELBO):
    """Base class of objectives: a subclass defines its bound and what training maximises.

    `bound` is the ELBO by default. An objective that is a function of the terms overrides
    `maximised`. One that needs more of the program (the distributions of z, the score) overrides
    `ascended`.

    Arguments:
        particles: K, the number of particles for each row.

    Raises:
        InputError: if `particles` is below 1.

    Attributes:
        draws: how gradients pass through samples (see `pyrovae.terms.draws`).
        stratified: whether a distribution with strata (a mixture) may be sampled from each stratum
            in turn.
        anneals: whether its KL divergence can have a weight.
        of_batch: whether it couples the rows of a batch.
        is_exact_when_summed_out: whether it does not depend on the guide if all states are summed
            over.
        takes_globals: whether a program may have variables that all rows share. Their
            log p(w) - log q(w) is added outside the bounds of the rows.
        weights: how particles sample these variables: "shared" uses one sample for all particles,
            "own" one for each, and "auto" samples activations where the program can do this, and
            is "shared" elsewhere.
        rows: the number of training rows, after `begin` was called.
    """

    particles: int = 1
    draws: Draws = "reparameterised"
    stratified: bool = True
    anneals: bool = True
    of_batch: bool = False
    is_exact_when_summed_out: bool = False
    takes_globals: bool = False
    weights: Weights = "shared"
    rows: int | None = None
    _checked: tuple[Any, Any, dict[str, Any]] = (None, None, {})  # model, guide, and how they are run

    def __init__(self, particles: int = 1) -> None:
        self.particles = count_of("particles", particles)

    def bound(self, terms: Terms) -> Tensor:
        """A lower bound on log p(x) in nats for each row: terms (K, B) -> (B,)."""
        return terms.mean(terms.log_w)

    def maximised(self, terms: Terms) -> Tensor:
        """What training maximises, for each row: terms (K, B) -> (B,)."""
        return self.bound(terms)

    @property
    def chosen_by_bound(self) -> bool:
        """Whether the bound on the validation set chooses the best weights, and not `ascended`.

        So it is if the bound itself is maximised. An objective overrides this if only its gradient
        is another one, or if it adds what the validation set lacks.
        """
        own = type(self)
        return all(getattr(own, name) is getattr(Objective, name) for name in ("maximised", "ascended"))

    def annealed(self, terms: Terms, kl_weight: Tensor | float = 1.0) -> Tensor:
        """What training maximises if the KL divergence has the weight `kl_weight`, (B,)."""
        return weighted(self.maximised(terms), terms, kl_weight)

    def ascended(self, pair: TracePair, kl_weight: Tensor | float | None = None) -> Tensor:
        """What training maximises, from traces of guide and model, (B,); None is a weight of 1."""
        terms = pair.terms()
        return self.maximised(terms) if kl_weight is None else self.annealed(terms, kl_weight)

    def draw_options(self, strata: int = 1) -> dict[str, Any]:
        """How to run guide and model for this objective: options of `terms.run` and `Runner.run`.

        Arguments:
            strata: the number of strata of the guide; each gets `particles` samples if they are
                sampled in turn.

        Raises:
            InputError: for strata that are too many.
        """
        stratified = self.stratified and self.draws == "reparameterised"
        if stratified:
            refuse_many_states(strata, "the discrete latents")
        particles = self.particles * (strata if stratified else 1)
        return {
            "particles": particles,
            "draws": self.draws,
            "stratified": stratified,
            "weights": self.weights,
        }

    def note(self, strata: int) -> str:
        """What the reported bound is, if the guide's strata change it; empty otherwise."""
        return ""

    def check(self, pair: TracePair) -> None:
        """Refuse a program that the objective cannot train; called by `fit` on a few rows.

        `ascended` is called once, so that it can refuse a program too.

        Raises:
            InputError: with the reason.
        """
        self._check_globals(pair)
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

    def _check_globals(self, pair: TracePair) -> None:
        name = next((name for trace in pair.globals for name, _ in sites_of(trace)), None)
        if name is None and self.weights == "own":
            raise InputError("the program has no variables that all rows share: leave weights='own' out")
        if name is not None and not self.takes_globals:
            raise InputError(
                f"{type(self).__name__} takes local sites only, and all rows share the site {name!r}: use "
                "ELBO, IWAE, MIWAE, CIWAE or Renyi"
            )
        if pair.global_guide is not None:
            check_gradients(pair.global_guide)

    def global_share(
        self, pair: TracePair, rows: int | None, divergence: Tensor | None = None
    ) -> Tensor | None:
        """(log p(w) - log q(w)) / N, the share of one row in the term of the global sites, ().

        Arguments:
            pair: the traces.
            rows: N, the number of rows of the data set.
            divergence: KL(q(w) || p(w)), in place of samples of log q(w) - log p(w).

        Raises:
            InputError: if there are global sites and N is not known.
        """
        if not pair.globals:
            return None
        if rows is None:
            raise InputError(
                f"{type(self).__name__} needs the number of rows of the data set, since all rows share some "
                "sites: train with pv.fit, or call begin(rows, program) of the objective"
            )
        if divergence is not None:
            return -divergence / rows
        assert pair.log_global is not None
        return pair.log_global.mean() / rows

    def begin(self, rows: int, program: Program) -> None:
        """Receive the number of training rows and the program, before the first step."""
        self.rows = rows

    def prepare(self, program: Program) -> None:
        """Initialise a program for this objective, once, before the first step of a new run."""

    def begin_epoch(self, epoch: int) -> None:
        """Receive the number of epochs done, at the start of an epoch and when a run is resumed."""

    # ---------------------------------------------------------------- Pyro's protocol

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Minus the mean over the batch of what is maximised, in nats per row, as a tensor.

        The first call for a model and guide runs them once more, for their plates and strata, so
        call it once before tracing it.
        """
        pair = self._pair(model, guide, args, kwargs)
        loss, share = -self.ascended(pair).mean(), self.global_share(pair, self.rows)
        return loss if share is None else loss - share

    def _pair(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> TracePair:
        """Run guide and model; a new pair is checked."""
        if self._checked[:2] == (model, guide):
            return run(model, guide, *args, **self._checked[2], **kwargs)
        replayed, drawn, nesting, strata = trace_once(model, guide, *args, **kwargs)
        check_sites(replayed, drawn)
        options = self.draw_options(strata) | {"max_plate_nesting": nesting}
        pair = run(model, guide, *args, **options, **kwargs)
        self.check(replace(pair))  # a copy, since a pair stores its terms and the check needs no gradient
        self._checked = (model, guide, options)
        return pair

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple:
        pair = self._pair(model, guide, args, kwargs)
        return pair.model, pair.guide

    def loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:  # noqa: ANN401
        """The loss as a number, without a gradient; called by `SVI.evaluate_loss`."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:  # noqa: ANN401
        """Add the gradient to the parameters' and return the loss; called by `SVI.step`."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


class LearningObjective(Objective, nn.Module):
    """An objective with its own tensors, which are trained or stored with the run.

    The order of the base classes matters: calling the object calls Pyro's ELBO, not the module.
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
    """Apply a weight of the KL divergence, outside the logarithm of the mean weight."""
    if kl_weight is None:
        return ascended
    return kl_weight * ascended + (1 - kl_weight) * terms.mean(terms.log_px_z)


def in_place_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value of one tensor with the gradient of another."""
    return value.detach() + surrogate - surrogate.detach()
