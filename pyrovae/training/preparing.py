"""Preparing data and program for a fit, and checking them before anything is changed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrovae import datasets, sharing
from pyrovae.checks import shown
from pyrovae.cures import option
from pyrovae.datasets import Rows
from pyrovae.datasets.fingerprints import fingerprint
from pyrovae.errors import InputError, NumericalError
from pyrovae.memory import is_exhausted
from pyrovae.networks.modes import tried_in_mode
from pyrovae.terms import check_own_weights, check_rows_apart

if TYPE_CHECKING:
    from pyrovae.datasets import Data
    from pyrovae.objectives import Objective
    from pyrovae.terms import Runner

__all__ = ["as_data", "check_data", "check_program", "placed", "two_rows", "usable_device"]


def as_data(source: Any, runner: Runner | None = None) -> Data:  # noqa: ANN401
    """Split data in memory: 9/10 for training, 1/10 for validation; keep `Data` as is.

    Labels of the data are observed if the prior of the program observes labels. Numbers (N,) become
    events of shape () for a program with that event shape or none, and of shape (1,) for a VAE with
    another event shape.
    """
    if isinstance(source, datasets.Data):
        return source
    x = source.x if isinstance(source, Rows) else source
    prior = None if runner is None else getattr(runner.program, "prior", None)
    is_labelled = bool(getattr(prior, "labels", False)) and not isinstance(source, Rows)
    data = datasets.load(x, test=1)
    if is_labelled and data.labels is not None:
        data = datasets.load(x, test=1, labels=True)
    if isinstance(source, Rows):
        data = _conditioned(data, source)
    is_flat = isinstance(x, (Tensor, np.ndarray)) and x.ndim == 1
    is_scalar = is_flat and runner is not None and not runner.program.event_shape
    return _flat(data) if is_scalar else data


def _conditioned(data: Data, rows: Rows) -> Data:
    """Add the context of some rows, and their labels for training, to data split from their x."""

    def part(split: Rows, *, labelled: bool = False) -> Rows:
        own = rows[split.index]
        return dataclasses.replace(split, context=own.context, y=own.y if labelled else None)

    assert isinstance(data.train, Rows)
    train, validation, test = part(data.train, labelled=True), part(data.validation), part(data.test)
    # A run and its continuation are compared by their records.
    record = data.record | {
        name: None if values is None else fingerprint(values.detach().cpu())
        for name, values in (("context", rows.context), ("labels", rows.y))
    }
    return dataclasses.replace(data, train=train, validation=validation, test=test, record=record)


def _flat(data: Data) -> Data:
    """Turn events of shape (1,) into events of shape ()."""
    assert isinstance(data.train, Rows)
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    flat = {name: rows.of_values(rows.x.squeeze(-1)) for name, rows in parts.items()}
    schema = dataclasses.replace(data.schema, event_shape=())
    return dataclasses.replace(data, event_shape=(), schema=schema, **flat)  # type: ignore[arg-type]


def check_program(runner: Runner, data: Data, objective: Objective) -> None:
    """Run `Runner.check` and `Objective.check` on two validation rows.

    If training rows have labels, these two get two of them, so that the same sites are checked.

    Raises:
        InputError: from these checks, for a program in which rows influence each other, and for
            data that the program cannot take.
    """
    rows = two_rows(data)
    try:
        with tried_in_mode(runner.module, training=None):
            runner.check(rows)
            if runner.program.has_custom_parts and len(data.validation) > 1:
                check_rows_apart(runner, _three_rows(data))
            with runner.isolated(), torch.random.fork_rng(devices=[rows.x.device] if rows.x.is_cuda else []):
                if runner.program.has_custom_parts:
                    _check_sizes(runner, rows)
                if objective.weights == "own" and runner.global_sites:
                    check_own_weights(runner, rows)
                objective.check(runner.run(rows, **objective.draw_options(runner.strata)))
    except InputError as error:  # Pyro appends the shapes of a trace to it
        raise InputError(str(error).splitlines()[0]) from None
    except (NumericalError, torch.OutOfMemoryError):
        raise
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        if is_exhausted(error):
            raise InputError(
                f"two rows of shape {data.event_shape} need more memory than this machine has free: use "
                "fewer particles, or smaller networks"
            ) from None
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise InputError(f"the program cannot take events of shape {data.event_shape}: {reason}") from error


@torch.no_grad()
def _check_sizes(runner: Runner, rows: Rows) -> None:
    """Refuse a program that takes batches of one size only.

    Raises:
        InputError: with the most likely reason.
    """
    more = rows[torch.arange(len(rows) + 1, device=rows.x.device) % len(rows)]
    try:
        runner.run(more).terms()
    except (ValueError, RuntimeError, IndexError) as error:
        if is_exhausted(error):
            raise
        raise InputError(
            f"the program takes {len(rows)} rows and not {len(more)}, like an autoguide of local sites: use "
            "an autoguide for shared variables only (poutine.block), and write a guide that reads x for the "
            f"others ({str(error).splitlines()[0].rstrip(':')})"
        ) from error


def two_rows(data: Data) -> Rows:
    """Two validation rows; with labels of two training rows if these have labels."""
    rows, y = data.validation[:2], data.train.y
    return rows if y is None else dataclasses.replace(rows, y=y[: len(rows)].to(rows.x.device))


def _three_rows(data: Data) -> Rows:
    """The rows of `two_rows` and another one."""
    rows = two_rows(data)
    if len(data.validation) < 3:
        return rows[torch.tensor([0, 1, 0], device=rows.x.device)]
    more, y = data.validation[:3], data.train.y
    return more if y is None else dataclasses.replace(more, y=y[:3].to(rows.x.device))


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device to compute on: that of the name, else CUDA if available.

    Each of several processes on a machine uses its own GPU, if there are enough.

    Raises:
        InputError: for an unknown name or an unavailable device.
    """
    if name is not None and not isinstance(name, str | torch.device):
        raise InputError(f"device must be a name, as in 'cuda', not {shown(name)}")
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and device.index is None and sharing.is_shared():
            device = torch.device("cuda", sharing.local_rank() % torch.cuda.device_count())
        torch.zeros(1, device=device).item()
    except (RuntimeError, TypeError, AssertionError, NotImplementedError):
        raise InputError(
            f"device {str(name or device)!r} is not available to torch here: use {option('device', 'cpu')} "
            "or leave it out"
        ) from None
    return device


def check_data(runner: Runner, data: Data, batch_size: int) -> None:
    """Check the batch size, and run `Program.check_data`.

    Raises:
        InputError: for a batch size above the number of rows or below that of processes, and from
            `Program.check_data`.
    """
    rows, processes = len(data.train), sharing.world()
    if batch_size < processes:
        raise InputError(
            f"batch_size {batch_size} is smaller than the number of processes that share a batch, "
            f"{processes}: use {processes} or more, or start fewer processes"
        )
    if batch_size > rows:
        raise InputError(
            f"batch_size {batch_size} is larger than the {rows} training rows: use {rows} or less"
        )
    runner.program.check_data(data)


def placed(runner: Runner, data: Data, device: torch.device) -> Data:
    """Move program and data to a device, and the data to the program's floating point type.

    x stays in float64 if the program makes use of it. Training rows keep their type; batches get
    that of the validation set.
    """
    like = torch.empty(0, device=device)
    if runner.module is not None:
        runner.module.to(device)
        like = next((p for p in runner.module.parameters()), like)
    data, doubles = data.to(device), runner.program.takes_doubles
    return dataclasses.replace(
        data,
        validation=Rows.of(data.validation, like=like, doubles=doubles),
        test=Rows.of(data.test, like=like, doubles=doubles),
    )
