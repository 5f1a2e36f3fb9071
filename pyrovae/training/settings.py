"""The settings of a run, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pyrovae.checks import number, one_of, whole
from pyrovae.compiling import Compile, check_option
from pyrovae.cures import option
from pyrovae.errors import InputError
from pyrovae.networks import Precision
from pyrovae.training.optimizers import OPTIMIZERS
from pyrovae.training.schedules import KLSchedule, LRSchedule

__all__ = ["Keep", "Settings"]

Keep = Literal["objective", "bound", "last"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run, other than program, data and objective, as plain values.

    Raises:
        InputError: for an invalid setting.
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
    global_warmup: float = 0.0
    keep: Keep = "objective"

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, tuple(OPTIMIZERS))
        one_of("lr_schedule", self.lr_schedule, get_args(LRSchedule))
        one_of("kl_schedule", self.kl_schedule, get_args(KLSchedule))
        one_of("precision", self.precision, get_args(Precision))
        one_of("keep", self.keep, get_args(Keep))
        check_option(self.compile)
        for name, value in self._plain().items():
            object.__setattr__(self, name, value)
        if self.kl_schedule == "cyclic" and not self.kl_warmup:
            raise InputError(
                "kl_schedule 'cyclic' needs kl_warmup, the number of epochs of one rise: give it, or leave "
                "kl_schedule out"
            )
        if self.keep == "last" and self.patience is not None:
            raise InputError(f"{option('keep', 'last')} has no best epoch to wait for: leave patience out")

    def __str__(self) -> str:
        """The settings in one line."""
        warmup = f", the KL divergence grows over {self.kl_warmup:g} epochs" if self.kl_warmup else ""
        if self.global_warmup:
            warmup += f", that of shared variables over {self.global_warmup:g}"
        may_stop = self.patience is not None and self.patience < self.epochs
        stops = f", ends after {self.patience} without a better {self.keep}" if may_stop else ""
        return (
            f"{self.epochs} epochs in batches of {self.batch_size}, {self.optimizer}, "
            f"{self.lr_schedule} learning rate {self.lr:g}{warmup}{stops}"
        )

    def _plain(self) -> dict[str, Any]:
        return {
            "lr": number("lr", self.lr, above=0.0),
            "epochs": whole("epochs", self.epochs),
            "batch_size": whole("batch_size", self.batch_size),
            "seed": whole("seed", self.seed, 0),
            "kl_warmup": number("kl_warmup", self.kl_warmup, least=0.0),
            "global_warmup": number("global_warmup", self.global_warmup, least=0.0),
            "clip": None if self.clip is None else number("clip", self.clip, above=0.0),
            "patience": None if self.patience is None else whole("patience", self.patience),
            "checkpoint_seconds": number("checkpoint_seconds", self.checkpoint_seconds, least=0.0),
        }
