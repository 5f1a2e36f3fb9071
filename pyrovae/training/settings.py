"""The settings of a run, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

from pyrovae.errors import InputError
from pyrovae.networks import Precision
from pyrovae.training.schedules import KLSchedule, LRSchedule

__all__ = ["Compile", "Settings"]

Compile = bool | Literal["auto"]


@dataclass(frozen=True)
class Settings:
    """What decides a run beside the program, the data and the objective; numpy numbers become plain ones.

    Raises:
        InputError: for a setting that makes no sense.
    """

    optimizer: str
    lr: float
    epochs: int
    batch_size: int
    seed: int
    lr_schedule: LRSchedule
    kl_warmup: float
    clip: float | None
    patience: int | None
    checkpoint_seconds: float
    compile: Compile = "auto"
    precision: Precision = "float32"
    kl_schedule: KLSchedule = "linear"

    def __post_init__(self) -> None:
        plain = {
            "lr": _number("lr", self.lr, above=0.0),
            "epochs": _whole("epochs", self.epochs, 1),
            "batch_size": _whole("batch_size", self.batch_size, 1),
            "seed": _whole("seed", self.seed, 0),
            "kl_warmup": _number("kl_warmup", self.kl_warmup),
            "clip": None if self.clip is None else _number("clip", self.clip, above=0.0),
            "patience": None if self.patience is None else _whole("patience", self.patience, 1),
            "checkpoint_seconds": _number("checkpoint_seconds", self.checkpoint_seconds),
        }
        if self.lr_schedule not in get_args(LRSchedule):
            known = ", ".join(get_args(LRSchedule))
            raise InputError(f"unknown lr_schedule {self.lr_schedule!r}: choose one of {known}")
        if self.kl_schedule not in get_args(KLSchedule):
            known = ", ".join(get_args(KLSchedule))
            raise InputError(f"unknown kl_schedule {self.kl_schedule!r}: choose one of {known}")
        if self.kl_schedule == "cyclic" and not self.kl_warmup:
            raise InputError(
                "kl_schedule 'cyclic' needs kl_warmup, the epochs of one rise: give it, or leave kl_schedule "
                "out"
            )
        if self.compile not in (True, False, "auto"):
            raise InputError(f"compile must be True, False or 'auto', not {self.compile!r}")
        if self.precision not in get_args(Precision):
            known = ", ".join(get_args(Precision))
            raise InputError(f"unknown precision {self.precision!r}: choose one of {known}")
        for name, value in plain.items():
            object.__setattr__(self, name, value)


def _whole(name: str, value: Any, least: int) -> int:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) < 2**63:
        raise InputError(f"{name} must be a whole number of {least} or more, not {value!r}")
    return int(value)


def _number(name: str, value: Any, *, above: float | None = None) -> float:  # noqa: ANN401
    good = isinstance(value, Real) and not isinstance(value, bool) and value < float("inf")
    if not good or not (value >= 0 if above is None else value > above):
        least = "0 or more" if above is None else f"above {above:g}"
        raise InputError(f"{name} must be a finite number, {least}, not {value!r}")
    return float(value)
