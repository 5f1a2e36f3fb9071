"""The settings of a run that the user leaves open.

A run that is resumed keeps its own. A new run has settings that suit the size of its data, with
B rows in a batch and T epochs:

    batch_size    B = a twentieth of the training rows, from 16 to 100
    epochs        T such that there are about 15,000 steps, from 25 to 200
    lr            0.003 for 10,000 training rows or more, else 0.002
    lr_schedule   cosine; constant for a prior whose components start after some epochs
    kl_warmup     T / 10, where the objective has a KL divergence
    global_warmup T / 10, for a VAE whose rows share some variables
    keep          the weights with the best objective on the validation set
    patience      T / 2, at least 20: the objective wavers while the rate is high; none if the last
                  weights are kept
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pyrovae.checks import whole
from pyrovae.training.config import resumed_config

__all__ = ["OPEN", "Facts", "chosen", "settings_of_run"]

STEPS = 15_000
MANY = 10_000
AUTO = "auto"
# The value of each setting that means: choose it.
OPEN = {
    "batch_size": None,
    "epochs": None,
    "lr": None,
    "lr_schedule": None,
    "kl_warmup": None,
    "global_warmup": None,
    "keep": None,
    "patience": AUTO,
}


class Facts(NamedTuple):
    """What the settings depend on.

    Attributes:
        rows: the number of training rows.
        anneals: whether the objective has a KL divergence to weight.
        late: whether a part of the program starts after some epochs.
        has_globals: whether the program declares variables that all rows share.
    """

    rows: int
    anneals: bool = True
    late: bool = False
    has_globals: bool = False


def chosen(
    settings: Mapping[str, Any], facts: Facts, saved: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Settings with a value in place of each that was left open.

    Arguments:
        settings: as the user gave them.
        facts: what the values depend on.
        saved: the settings of the run that is resumed.

    Example:
        >>> chosen({"batch_size": None, "epochs": None, "lr": 0.1}, Facts(1_257))
        {'batch_size': 62, 'epochs': 200, 'lr': 0.1}
    """
    values = dict(settings)
    for name, choose in _CHOICES.items():
        if name in values and type(values[name]) is type(OPEN[name]) and values[name] == OPEN[name]:
            known = (saved or {}).get(name, OPEN[name])
            values[name] = choose(values, facts) if known == OPEN[name] else known
    return values


def _batch_size(_: Mapping[str, Any], facts: Facts) -> int:
    return max(1, min(facts.rows, max(16, min(100, facts.rows // 20))))


def _epochs(values: Mapping[str, Any], facts: Facts) -> int:
    steps = math.ceil(facts.rows / whole("batch_size", values["batch_size"]))
    return max(25, min(200, math.ceil(STEPS / steps)))


def _warmup(values: Mapping[str, Any], facts: Facts) -> float:
    return whole("epochs", values["epochs"]) / 10 if facts.anneals else 0.0


def _global_warmup(values: Mapping[str, Any], facts: Facts) -> float:
    return whole("epochs", values["epochs"]) / 10 if facts.has_globals else 0.0


def _patience(values: Mapping[str, Any], _: Facts) -> int | None:
    return None if values.get("keep") == "last" else max(20, whole("epochs", values["epochs"]) // 2)


# In this order: a later one may depend on an earlier one.
_CHOICES: dict[str, Callable[[Mapping[str, Any], Facts], Any]] = {
    "batch_size": _batch_size,
    "epochs": _epochs,
    "lr": lambda _, facts: 3e-3 if facts.rows >= MANY else 2e-3,
    "lr_schedule": lambda _, facts: "constant" if facts.late else "cosine",
    "kl_warmup": _warmup,
    "global_warmup": _global_warmup,
    "keep": lambda *_: "objective",
    "patience": _patience,
}


def settings_of_run(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder; empty for a folder without a run.

    A setting that an older version did not store keeps its old default.

    Raises:
        InputError: for a run whose checkpoint or config.yaml is damaged.
    """
    config = resumed_config(folder) or {}
    return {name: config[name] for name in OPEN if name in config}
