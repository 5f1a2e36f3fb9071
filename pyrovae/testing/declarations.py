"""Checks for every kind of part: declaration, parameters, precision, no global side effects."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import torch
import yaml
from torch import nn

from pyrovae.errors import InputError
from pyrovae.part import Declared
from pyrovae.testing.attaching import drawn_variables
from pyrovae.testing.failures import refuse, require, same, settings
from pyrovae.testing.subjects import Subject

__all__ = ["CHECKS", "MODULE_CHECKS"]


def the_declaration_can_be_written_and_read(subject: Subject) -> None:
    """A part read back from YAML, a clone and a copy are equal to the part and print the same."""
    part = subject.part
    try:
        declaration = part.to_dict()
    except InputError as error:
        _copies(subject, [part.clone(), copy.deepcopy(part)], f"copied ({error})")
        return
    try:
        again = Declared.from_dict(yaml.safe_load(yaml.safe_dump(declaration)))
    except InputError as error:
        refuse(f"{subject.name} cannot be read from its declaration: {error}")
    _copies(subject, [again, part.clone(), copy.deepcopy(part)], "written, read and copied")


def _copies(subject: Subject, copies: list[Any], how: str) -> None:
    _check_repr(subject.part)
    for other in copies:
        require(
            other == subject.part and repr(other) == repr(subject.part),
            f"{subject.name} is {other!r} once it is {how}: __init__ must store each hyperparameter as it "
            "is, under its own name",
        )
    require(
        len({*copies, subject.part}) == len(copies) + 1,
        f"copies of {subject.name} are one object in a set: leave __hash__ as it is",
    )


def _check_repr(part: Any) -> None:  # noqa: ANN401
    """The printed form has each hyperparameter that differs from its default."""
    defaults = {name: p.default for name, p in inspect.signature(type(part)).parameters.items()}
    for name, value in part.hyperparameters().items():
        if not isinstance(value, nn.Module) and value != defaults.get(name):
            require(
                str(value).strip("(,)") in repr(part),
                f"{part!r} does not print its {name} = {value!r}: leave __repr__ to the base class",
            )


def each_hyperparameter_is_stored(subject: Subject) -> None:
    """The constructor stores a changed value, and the part then differs from the original."""
    for name, value in subject.part.hyperparameters().items():
        for other in _others(value):
            try:
                part = type(subject.part)(**subject.part.hyperparameters() | {name: other})
            except Exception:  # the other value need not be valid
                continue
            stored = part.hyperparameters()[name]
            require(
                stored == other and part != subject.part,
                f"{type(part).__name__}({name}={other!r}) has {name} = {stored!r}: write "
                f"`self.{name} = {name}` in __init__ and change it nowhere else",
            )


def _others(value: Any) -> list[Any]:  # noqa: ANN401
    """Other values of the same type as a hyperparameter's value."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [type(value)(2 * value + 1)]
    return []


def attaching_declares_nothing(subject: Subject) -> None:
    """attach changes no hyperparameter, and copies share no parameters.

    Two copies attached from the same random state are equal.
    """
    part = subject.attach()
    require(
        part == subject.part,
        f"attach turns {subject.name} into {part!r}: it must not change a hyperparameter",
    )
    require(
        not list(subject.part.parameters()),
        f"{subject.name} has parameters before it is attached: create them in attach, not in __init__",
    )
    other = subject.attach()
    shared = {id(p) for p in part.parameters()} & {id(p) for p in other.parameters()}
    require(not shared, f"two copies of {subject.name} share parameters: create them in attach")
    for (name, one), two in zip(part.state_dict().items(), other.state_dict().values(), strict=True):
        require(
            torch.equal(one, two),
            f"{name} of {subject.name} differs when it is attached twice from one random state: draw it "
            "with torch alone",
        )


def gradients_reach_every_parameter(subject: Subject) -> None:
    """The results have a finite gradient for each parameter and each input."""
    part = subject.attach()
    with drawn_variables(part.to(torch.float64)) as divergence:
        inputs, results = subject.use(part, torch.float64)
    total = torch.stack([value.sin().sum() for name, value in results.items() if name != "samples"]).sum()
    total = total + divergence
    wanted = dict(part.named_parameters()) | inputs
    require(
        not wanted or total.requires_grad,
        f"{subject.name} gives no gradient at all: compute with tensors, without detach, data or no_grad",
    )
    if not wanted:
        return
    gradients = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    for (name, value), gradient in zip(wanted.items(), gradients, strict=True):
        if gradient is not None:
            require(gradient.isfinite().all(), f"the gradient of {subject.name} in {name} is not finite")
        reached = gradient is not None and bool((gradient != 0).any())
        one = gradient is not None and name in inputs and value[0].numel() == 1  # the weight of one component
        require(
            reached or one,
            f"no gradient reaches {name} of {subject.name}: use it in forward, without detach, or do not "
            "create it",
        )


def single_and_double_precision_agree(subject: Subject) -> None:
    """Results have the type of the parameters and inputs, and are finite in both types."""
    with settings(torch.float32):
        part = subject.attach()
        found = {}
        for dtype in (torch.float32, torch.float64):
            part.to(dtype)
            torch.manual_seed(1)
            found[dtype] = subject.use(part, dtype)[1]
            for name, value in found[dtype].items():
                require(
                    value.dtype == dtype,
                    f"{name} of {subject.name} is {value.dtype} where its parameters and inputs are {dtype}: "
                    "register tensors as buffers in attach, and create others with dtype=",
                )
                require(
                    value.isfinite().all(),
                    f"{name} of {subject.name} is not finite in {dtype} at its own samples: compute in "
                    "logarithms and add a floor to scales",
                )


def nothing_global_changes(subject: Subject) -> None:
    """A part changes no global state except torch's generator; its results are reproducible."""
    before = process_state()
    results = []
    for _ in range(2):
        part = subject.attach()
        torch.manual_seed(3)
        results.append(subject.use(part, torch.float64)[1])
    changed = [name for name, value in process_state().items() if value != before[name]]
    require(
        not changed,
        f"{subject.name} changes {' and '.join(changed)}: draw with torch, and leave the settings of the "
        "process as they are",
    )
    for name, one in results[0].items():
        same(one, results[1][name], f"{name} of {subject.name} differs from the same seed", _DRAW, rtol=0)


_DRAW = "draw all random numbers with torch's own generator"


def process_state() -> dict[str, Any]:
    """The global state that a part must not change, by name."""
    return {
        "numpy's random state": str(np.random.get_state()),
        "Python's random state": random.getstate(),
        "the default dtype": torch.get_default_dtype(),
        "the gradient mode": torch.is_grad_enabled(),
        "Pyro's settings": pyro.settings.get(),
        "Pyro's parameter store": sorted(pyro.get_param_store().keys()),
        "the validation of distributions": torch.distributions.Distribution._validate_args,
    }


Check = Callable[[Any], None]
# For everything that is declared.
CHECKS: tuple[Check, ...] = (
    the_declaration_can_be_written_and_read,
    each_hyperparameter_is_stored,
    nothing_global_changes,
)
# For parts that are attached.
MODULE_CHECKS: tuple[Check, ...] = (
    *CHECKS,
    attaching_declares_nothing,
    gradients_reach_every_parameter,
    single_and_double_precision_agree,
)
