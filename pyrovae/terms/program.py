"""A program: a model and a guide that belong together, and what else training and evaluation ask of them.

`Program` is the interface. A hand-written pair (model, guide) inherits its defaults (`as_program`
wraps it); a `VAE` overrides them, and so may any class of your own:

    class MyProgram(Program, nn.Module):
        def model(self, x=None, context=None, y=None): ...
        def guide(self, x, context=None, y=None): ...
        def check_rows(self, rows, what): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.errors import InputError

if TYPE_CHECKING:
    from pyrovae.datasets import Data, Rows, Schema

__all__ = ["Pair", "Program", "as_program"]


class Program:
    """A Pyro model and guide over rows, with defaults for everything else.

    The local sites of both are inside one plate named "data". `context` conditions, `y` is
    observed; a program that is given neither is called with x alone.

    Attributes:
        event_shape: the shape of one observation, where the program declares it.
        latent_size: the number of entries of z, 0 where there are several latent sites.
        waits_for: the epochs before `begin_epoch` changes the program for the first time; bounds of these are
            not compared with later ones.
        components_wait: the epochs before a mixture has its components.
        checks_support: whether `check_rows` refuses values outside the support, so that no run has to.
        schema: what the numbers of the rows stand for, once the program was trained or loaded.
    """

    event_shape: tuple[int, ...] | None = None
    latent_size: int = 0
    waits_for: int = 0
    components_wait: int = 0
    checks_support: bool = False
    schema: Schema | None = None

    def model(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The Pyro model of rows (x, context=None, y=None)."""
        raise NotImplementedError(f"{type(self).__name__} has no model")

    def guide(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The Pyro guide of the same rows."""
        raise NotImplementedError(f"{type(self).__name__} has no guide")

    @property
    def module(self) -> torch.nn.Module | None:
        """The module that owns all parameters, or None when they are in Pyro's parameter store."""
        return self if isinstance(self, torch.nn.Module) else None

    def declaration(self) -> dict[str, Any] | None:
        """The program as plain values from which it can be built again; None when it has no such form."""
        return None

    def check_rows(self, rows: Rows, what: str) -> None:
        """Refuse rows that the program cannot score; `what` names them in the message.

        Raises:
            InputError: with the reason.
        """

    def check_data(self, data: Data) -> None:
        """Refuse a data set that the program cannot be trained on: by default, one with rows that it refuses.

        Raises:
            InputError: with the reason.
        """
        if not data.streams:  # a stream is checked batch by batch
            self.check_rows(data.epoch(0, 0), "the training data")
        self.check_rows(data.validation, "the validation data")
        self.check_rows(data.test, "the test data")

    def check_run(self, epochs: int, processes: int) -> None:
        """Refuse a run of this length, or one shared by this number of processes.

        Raises:
            InputError: with the reason.
        """

    def start_from(self, x: Tensor) -> None:
        """Initialise what starts from training data (N, *event); called once, before a run's first step."""

    def begin_epoch(self, epoch: int, some: Callable[[], Rows]) -> str | None:
        """Change the program before an epoch.

        Arguments:
            epoch: the number of epochs done.
            some: gives training rows, if they are wanted.

        Returns:
            What was changed, for the user, when bounds of earlier epochs no longer compare; else None.
        """
        return None

    def simulate(self, count: int, context: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Observations (count, *event) drawn from the model, and the latents (1, count, *shape) behind them.

        Raises:
            InputError: for a model that needs data to run, or has no site "x".
        """
        if context is not None:
            raise InputError("only a program that declares its context can be simulated with one")
        try:
            traces: list[Any] = [poutine.trace(self.model).get_trace() for _ in range(count)]
        except TypeError as error:
            raise InputError(
                f"the model cannot be simulated: let it draw one observation when it is called without data "
                f"({error})"
            ) from None
        sites = [
            n for n, s in traces[0].nodes.items() if s["type"] == "sample" and hasattr(s["value"], "dim")
        ]
        drawn = {n: torch.cat([t.nodes[n]["value"] for t in traces]) for n in sites if n != "data"}
        x = drawn.pop("x", None)
        if x is None:
            raise InputError("the model cannot be simulated: it has no sample site named 'x'")
        return x, {name: value.unsqueeze(0) for name, value in drawn.items()}


class Pair(Program):
    """A hand-written model and guide.

    Arguments:
        model, guide: Pyro callables whose local sites are inside one plate named "data".
        module: owns their parameters; None when these are in Pyro's parameter store.
    """

    def __init__(self, model: Callable, guide: Callable, module: torch.nn.Module | None = None) -> None:
        self.model, self.guide, self._module = model, guide, module  # type: ignore[method-assign]

    @property
    def module(self) -> torch.nn.Module | None:
        return self._module


def as_program(target: Any) -> Program:  # noqa: ANN401
    """A program as it is; a pair (model, guide), or an object with both, as a `Pair`.

    Raises:
        InputError: for anything else.
    """
    if isinstance(target, Program):
        return target
    if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
        return Pair(*target)
    if callable(getattr(target, "model", None)) and callable(getattr(target, "guide", None)):
        return Pair(target.model, target.guide, target if isinstance(target, torch.nn.Module) else None)
    raise InputError(
        f"{type(target).__name__} is not a probabilistic program: give a VAE, or a pair (model, guide) of "
        "Pyro functions with their local sites in a plate named 'data'"
    )
