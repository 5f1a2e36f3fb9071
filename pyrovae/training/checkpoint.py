"""Checkpoints: their content, how they are read and written, and upgrades of older formats.

    best.ckpt   weights of the best epoch
    last.ckpt   the whole state of a run: weights, optimiser, random state, position, best weights

They contain tensors and plain values only, and no code in them is run. Every format can be read:
each has an upgrade to the next one, and the tests load runs of all formats.

    format 1    labels were given as a context of one-hot rows; no schema
    format 2    labels are y, and a context is a conditioning input only
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.files import write_whole

__all__ = ["FORMAT", "Checkpoint", "upgraded_config"]

FORMAT = 2
PREPARATION = ("anew each epoch", "again every epoch")  # in the record of the data, since format 2


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        declaration: that of the program, or None for a hand-written pair.
        identity: objective, data and settings, which must be the same when a run is resumed.
        schema: the meaning of the data's values, or None.
        weights: parameters and persistent buffers by name.
        epoch: the epoch of the weights in best.ckpt.
        of_objective: the objective's own parameters.
        optimizer, state, random: state of the optimiser, the run and the generators; in last.ckpt
            only.
        best: the best weights, or None before the end of the first epoch.
        source: hashes of the data (`sources`), or None for a run of an older version.
    """

    declaration: dict[str, Any] | None
    identity: dict[str, Any]
    schema: dict[str, Any] | None
    weights: dict[str, Tensor]
    epoch: int | None = None
    of_objective: dict[str, Tensor] | None = None
    optimizer: dict[str, Any] | None = None
    state: dict[str, Any] | None = None
    random: dict[str, Any] | None = None
    best: dict[str, Tensor] | None = None
    source: dict[str, Any] | None = None

    def write(self, path: Path) -> None:
        """Write the checkpoint completely or not at all.

        Raises:
            InputError: when it cannot be written.
        """
        write_whole(path, lambda file: torch.save({"format": FORMAT} | vars(self), file))

    @classmethod
    def read(cls, path: Path, *, to_resume: bool = False) -> Self:
        """Read a checkpoint of this format or an older one.

        Raises:
            InputError: when the file is missing, cut off, or not a checkpoint; with `to_resume`
                also when something needed to resume is missing.
        """
        if not path.is_file():
            raise InputError(f"there is no checkpoint {path}: is this the folder of a run?")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(
                f"{path} cannot be read: it is cut off or not a PyroVAE checkpoint; resume from a copy or "
                "fit again"
            ) from error
        content = _upgraded(content, path)
        needed = {"weights", "declaration", "identity"}
        needed |= {"optimizer", "state", "random"} if to_resume else set()
        if any(name not in content for name in needed) or to_resume and content["state"] is None:
            kind = "from which a run can resume" if to_resume else "of a run"
            raise InputError(f"{path} is not a PyroVAE checkpoint {kind}: resume from a copy or fit again")
        values: dict[str, Any] = {field.name: content.get(field.name) for field in fields(cls)}
        return cls(**values)


def _upgraded(content: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401
    version = content.get("format") if isinstance(content, dict) else None
    if not isinstance(version, int) or not (version == FORMAT or version in UPGRADES):
        newer = isinstance(version, int) and version > FORMAT
        cure = "update pyrovae" if newer else "resume from a copy or fit again"
        raise InputError(f"{path} is not a PyroVAE checkpoint of format {FORMAT} or older: {cure}")
    while version < FORMAT:
        content, version = UPGRADES[version](content), version + 1
    return content


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """Turn labels from a context of one-hot rows into y."""
    declaration, identity = content.get("declaration"), content.get("identity")
    upgraded = dict(content) | {"schema": None}
    if identity is not None:
        # Later options, with the values that earlier runs used.
        before = {"precision": "float32", "kl_schedule": "linear"}
        record = {"columns": None, "known": None} | identity["data"]
        if "preparation" in record:
            record["preparation"] = record["preparation"].replace(*PREPARATION)
        upgraded["identity"] = before | identity | {"data": record}
    if declaration is not None and _observes_labels(declaration):
        upgraded["declaration"] = declaration | {"context_shape": None}
    return upgraded


def upgraded_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Upgrade the options of a config.yaml of any version."""
    upgraded = dict(config)
    if upgraded.get("context") == "labels" and (_observes_labels(config) or config.get("known")):
        upgraded |= {"context": None, "labels": True}
    return upgraded


def _observes_labels(declaration: Mapping[str, Any]) -> bool:
    prior = declaration.get("prior")
    options = (
        prior.get("init_args") if isinstance(prior, Mapping) else None
    )  # a config may have its name only
    return bool(isinstance(options, Mapping) and options.get("labels"))


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
