"""What a fit refuses before anything is touched: one sentence each, and no folder left behind."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrovae import datasets, sharing
from pyrovae.errors import InputError, NumericalError
from pyrovae.objectives import Objective
from pyrovae.terms import Program, TracePair
from pyrovae.vae import VAE

if TYPE_CHECKING:
    from pyrovae.datasets import Data

__all__ = ["as_data", "check_data", "check_program", "drawn_for", "moved", "usable_device"]


def as_data(given: Any, program: Program) -> Data:  # noqa: ANN401
    """Data as they are; a tensor or array split into nine tenths for training and one for validation.

    A hand-written program is given numbers (N,) as such; a VAE sees them as events of shape (1,).
    """
    if isinstance(given, datasets.Data):
        return given
    data = datasets.load(given, test=1)
    if isinstance(program.target, VAE) or not isinstance(given, (Tensor, np.ndarray)) or given.ndim != 1:
        return data
    return dataclasses.replace(
        data,
        event_shape=(),
        train=data.train.squeeze(-1),  # type: ignore[union-attr]
        validation=data.validation.squeeze(-1),
        test=data.test.squeeze(-1),
    )


def check_program(program: Program, data: Data, objective: Objective) -> None:
    """`Program.check` on the validation data, and whether the objective can train it.

    Raises:
        InputError: as `Program.check` and `Objective.check`, and for data that the program cannot take.
    """
    x, context = data.validation, data.context.validation if data.context else None
    try:
        program.check(x, context)
        _check_objective(program, x[:2], None if context is None else context[:2], objective)
    except (InputError, NumericalError, torch.OutOfMemoryError):
        raise
    except (ValueError, RuntimeError, IndexError) as error:
        # Pyro appends the shapes of a whole trace to the reason.
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise InputError(f"the program cannot take events of shape {data.event_shape}: {reason}") from error


def _check_objective(program: Program, x: Tensor, context: Tensor | None, objective: Objective) -> None:
    with program.isolated(), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        try:
            pair = drawn_for(objective, program, x, context)
            objective.check(pair)
        except InputError as error:  # Pyro appends the shapes of a trace to it
            raise InputError(str(error).splitlines()[0]) from None


def drawn_for(objective: Objective, program: Program, x: Tensor, context: Tensor | None) -> TracePair:
    """Guide and model on a batch, drawn as the objective wants; particles count for each stratum."""
    stratified = objective.stratified and objective.draws == "reparameterised"
    particles = objective.particles * (program.strata if stratified else 1)
    return program.run(x, context, particles=particles, draws=objective.draws, stratified=stratified)


def usable_device(given: str | torch.device | None) -> torch.device:
    """The device to compute on: what was asked for, else CUDA when there is one.

    Of several processes on a machine each has a GPU of its own, by its number there.

    Raises:
        InputError: for a name that torch does not know, or a device that is not there.
    """
    try:
        device = torch.device(given or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and device.index is None and sharing.is_shared():
            device = torch.device("cuda", sharing.local_rank())
        torch.zeros(1, device=device).item()
    except (RuntimeError, TypeError, AssertionError, NotImplementedError):
        raise InputError(
            f"device {str(given or device)!r} was asked for but torch finds none here: use device='cpu' or "
            "leave it out"
        ) from None
    return device


def check_data(program: Program, data: Data, batch_size: int) -> None:
    """Refuse data that are fewer than a batch, or whose shape or values a VAE cannot weigh.

    Raises:
        InputError: for a batch larger than the data or smaller than the processes that share it, another
            event shape, a missing context, or values outside the likelihood's support.
    """
    rows, count = len(data.train), sharing.world()  # type: ignore[arg-type]
    if batch_size < count:
        raise InputError(
            f"batch_size {batch_size} is smaller than the number of processes that share a batch, {count}: "
            f"use {count} or more, or start fewer processes"
        )
    if batch_size > rows:
        raise InputError(
            f"batch_size {batch_size} is larger than the {rows} training data: use {rows} or less"
        )
    if isinstance(program.target, VAE):
        _check_support(program.target, data)


def _check_support(vae: VAE, data: Data) -> None:
    if tuple(data.event_shape) != vae.event_shape:
        raise InputError(
            f"the VAE was declared for events {vae.event_shape}, the data have {data.event_shape}: declare "
            f"it with event_shape={data.event_shape}"
        )
    if vae.prior.labels and data.context is None:
        raise InputError(
            "the prior reads labels, the data have none: load them with context='labels' and known=, or "
            "declare it with labels=False"
        )
    if vae.context_shape is not None and data.context is None:
        raise InputError(
            "the VAE was declared with a context, the data have none: load them with context='labels'"
        )
    if bool(data.record.get("known")) and not vae.prior.labels:
        raise InputError(
            f"{data.record['known']} labels are known, and the prior {vae.prior!r} reads none: give it "
            "labels=True, or leave known out"
        )
    if vae.prior.labels and data.context is not None and not _are_labels(data.context.train):
        raise InputError(
            "the prior reads the context as labels, and these are no one-hot rows or zeros: load the data "
            "with context='labels'"
        )
    vae.likelihood.check_columns(data.columns)
    if not data.streams:  # a stream is looked at batch by batch
        vae.likelihood.check(data.epoch(0, 0), "the training data")
    vae.likelihood.check(data.validation, "the validation data")
    vae.likelihood.check(data.test, "the test data")


def _are_labels(context: Tensor) -> bool:
    return bool((((context == 0) | (context == 1)).all(-1) & (context.sum(-1) <= 1)).all())


def moved(program: Program, data: Data, device: torch.device) -> Data:
    """Program and data on one device, and the data in the program's floating point type.

    Training rows keep their type, from which an epoch is drawn; batches take that of the validation set.
    """
    if program.module is None:
        dtype = torch.get_default_dtype()
    else:
        program.module.to(device)
        dtype = next((p.dtype for p in program.module.parameters()), torch.get_default_dtype())
    data = data.to(device)
    context = data.context and data.context.map(lambda part: part.to(dtype))
    return dataclasses.replace(
        data, validation=data.validation.to(dtype), test=data.test.to(dtype), context=context
    )
