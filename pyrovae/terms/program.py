"""A program: a model and its guide, with the hooks that training and evaluation call.

`Program` is the interface. A hand-written pair (model, guide) gets its defaults (`as_program` wraps
it); a `VAE` overrides them, and so may a custom class:

    class MyProgram(Program, nn.Module):
        def model(self, x=None, context=None, y=None): ...
        def guide(self, x, context=None, y=None): ...
        def check_rows(self, rows, what): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.datasets.readers.memory import as_table, is_table
from pyrovae.errors import InputError
from pyrovae.terms.sites import is_global, sites_of
from pyrovae.threads import alone

if TYPE_CHECKING:
    from pyrovae.datasets import Data, Rows, Schema

__all__ = ["Pair", "Program", "as_program"]


class Program:
    """A Pyro model and guide over rows, with defaults for everything else.

    The local sites of both are inside one plate named "data"; sites outside it are variables that
    all rows share (`terms.global_sites`). The program is conditioned on `context` and observes `y`;
    without either it is called with x alone.

    Attributes:
        event_shape: the shape of one observation, where the program declares it.
        latent_size: the number of entries of z, 0 where there are several latent sites.
        waits_for: the number of epochs before `begin_epoch` first changes the program; their bounds
            are not compared with later ones.
        components_wait: the number of epochs before a mixture has its components.
        checks_support: whether `check_rows` refuses values outside the support.
        takes_doubles: whether x may be in float64 when the parameters have fewer digits; otherwise
            x is cast to their type before the program is run.
        measure: "mass", "density" or "mixed", what log p(x) is the logarithm of; None if the
            program does not say.
        reads_missing: whether the guide was trained on rows with missing entries, and sees them.
        has_custom_parts: whether it has parts that are not of this package; `fit` then checks that
            rows do not influence each other.
        has_globals: whether the program declares variables that all rows share; those of a
            hand-written program are found when it runs.
        schema: the meaning of the rows' values, once the program was trained or loaded.
    """

    event_shape: tuple[int, ...] | None = None
    latent_size: int = 0
    waits_for: int = 0
    components_wait: int = 0
    checks_support: bool = False
    takes_doubles: bool = False
    measure: str | None = None
    reads_missing: bool = False
    has_custom_parts: bool = True
    has_globals: bool = False
    schema: Schema | None = None

    def model(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The Pyro model of rows (x, context=None, y=None)."""
        raise NotImplementedError(f"{type(self).__name__} has no model")

    def guide(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The Pyro guide of the same rows."""
        raise NotImplementedError(f"{type(self).__name__} has no guide")

    def by_layer(self) -> tuple[Callable, Callable] | None:
        """Model and guide whose layers sample activations instead of random weights, or None.

        Each row and particle then samples activations as if it had weights of its own (local
        reparameterisation). Only quantities that are linear in log p(x|z) have the right
        expectation.
        """
        return None

    def central_globals(self) -> dict[str, Tensor] | None:
        """The centres of q(w) of the global sites, if they are known without running; else None."""
        return None

    def global_divergence(self) -> Tensor | None:
        """KL(q(w) || p(w)) of the global sites, if it has a formula; else None."""
        return None

    def holding(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """In the context, methods such as `decode` use these values of the global sites."""
        return nullcontext()

    @property
    def module(self) -> torch.nn.Module | None:
        """The module that owns all parameters, or None when they are in Pyro's parameter store."""
        return self if isinstance(self, torch.nn.Module) else None

    def declaration(self) -> dict[str, Any] | None:
        """The program as plain values from which it can be built again, or None."""
        return None

    def read(self, x: Any) -> Any:  # noqa: ANN401
        """The rows of a table (a DataFrame, a dict of columns), read with the schema; x otherwise.

        Raises:
            InputError: for a column that is missing, or a word that the schema does not know.
        """
        if is_table(x) and self.schema is not None and self.schema.columns is not None:
            return self.schema.rows(as_table(x), "x")
        return x

    def readable(self, x: Tensor) -> Tensor:
        """Rough observations (N, *event) as model and guide can read them; NaN is not known."""
        return x.nan_to_num(nan=0.0)

    def check_rows(self, rows: Rows, what: str) -> None:
        """Refuse rows that the program cannot score; `what` names them in the message.

        Raises:
            InputError: with the reason.
        """

    def check_range(self, rows: Rows, what: str) -> None:
        """Refuse rows with values too large for the type of the program, before they are scored.

        Raises:
            InputError: with the largest value.
        """

    def check_data(self, data: Data) -> None:
        """Refuse a data set that the program cannot be trained on: by default, by `check_rows`.

        Raises:
            InputError: with the reason.
        """
        if not data.streams:  # a stream is checked batch by batch
            self.check_rows(data.epoch(0, 0), "the training data")
        self.check_rows(data.validation, "the validation data")
        self.check_rows(data.test, "the test data")

    def check_run(self, epochs: int, processes: int) -> None:
        """Refuse a run of this number of epochs or processes.

        Raises:
            InputError: with the reason.
        """

    def start_from(self, x: Tensor) -> None:
        """Initialise from training data (N, *event), once, before the first step of a run."""

    def begin_epoch(self, epoch: int, some: Callable[[], Rows]) -> str | None:
        """Change the program before an epoch.

        Arguments:
            epoch: the number of epochs done.
            some: returns some training rows.

        Returns:
            A description of the change, if bounds of earlier epochs are no longer comparable; else
            None.
        """
        return None

    def finish(self, some: Callable[[int], Rows], count: int) -> bool:
        """Complete the posterior of shared variables after training.

        Arguments:
            some: returns this number of training rows, or all if there are fewer.
            count: the number of distinct training rows.

        Returns:
            Whether anything changed.
        """
        return False

    def simulate(self, count: int, context: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw observations (count, *event) from the model, with their latents (1, count, *shape).

        Variables that all rows share are sampled for each observation, unless they are held.

        Raises:
            InputError: for a model that needs data to run, or has no site "x".
        """
        if context is not None:
            raise InputError("only a program that declares its context can be simulated with one")
        try:
            with alone:
                traces: list[Any] = [poutine.trace(self.model).get_trace() for _ in range(count)]
        except TypeError as error:
            raise InputError(
                f"the model cannot be simulated: let it draw one observation when it is called without data "
                f"({error})"
            ) from None
        names = [name for name, site in sites_of(traces[0]) if not is_global(site)]
        drawn = {name: torch.cat([trace.nodes[name]["value"] for trace in traces]) for name in names}
        x = drawn.pop("x", None)
        if x is None:
            raise InputError("the model cannot be simulated: it has no sample site named 'x'")
        return x, {name: value.unsqueeze(0) for name, value in drawn.items()}


class Pair(Program):
    """A hand-written model and guide.

    Arguments:
        model, guide: Pyro callables whose local sites are inside one plate named "data".
        module: the owner of their parameters; None when these are in Pyro's parameter store.
    """

    def __init__(self, model: Callable, guide: Callable, module: torch.nn.Module | None = None) -> None:
        self.model, self.guide, self._module = model, guide, module  # type: ignore[method-assign]

    @property
    def module(self) -> torch.nn.Module | None:
        return self._module


def as_program(target: Any) -> Program:  # noqa: ANN401
    """Wrap a pair (model, guide), or an object with both, as a `Pair`; return a `Program` as it is.

    Raises:
        InputError: for anything else.
    """
    if isinstance(target, Program):
        return target
    if isinstance(target, tuple) and len(target) == 2 and all(map(callable, target)):
        return Pair(*target)
    is_class = isinstance(target, type)
    if not is_class and callable(getattr(target, "model", None)) and callable(getattr(target, "guide", None)):
        pair = Pair(target.model, target.guide, target if isinstance(target, torch.nn.Module) else None)
        pair.event_shape = getattr(target, "event_shape", None)
        return pair
    name = f"the class {target.__name__}" if is_class else type(target).__name__
    raise InputError(
        f"{name} is not a probabilistic program: give a VAE, or a pair (model, guide) of "
        "Pyro functions with their local sites in a plate named 'data'"
    )
