"""Checkpoints: their content, how they are read and written, and upgrades of older formats.

    best.ckpt   weights of the best epoch
    last.ckpt   the whole state of a run: weights, optimiser, random state, position, best weights

They contain only tensors and plain values, and no code in them is run. A file ends with a digest
of its content, which is checked whenever it is read, so a damaged or shortened file is refused.
Every format can be read: each has an upgrade to the next one, and the tests load runs of all
formats.

    format 1    labels were given as a context of one-hot rows; no schema
    format 2    labels are y, and a context is a conditioning input only
    format 3    the digest, a copy of config.yaml, and the mark of the user (`marks`)
    format 4    what chooses the weights (`keep`); before, it was the bound
    format 5    the warm-up of variables that all rows share; before, there were none

Files of formats 1 and 2 have no digest; their ZIP checksums are checked instead.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from pyrovae.cures import resuming
from pyrovae.errors import InputError
from pyrovae.files import reason_of, write_whole

__all__ = ["FORMAT", "Checkpoint", "upgraded_config"]

FORMAT = 5
SEALED = 3  # the first format with a digest
SEAL = b"\nPyroVAE SHA-256 "
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
        config: the options in config.yaml, or None for a run of an older version.
        mark: makes the user's own code trusted (`marks`); or None.
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
    config: dict[str, Any] | None = None
    mark: str | None = None

    def write(self, path: Path) -> None:
        """Write the checkpoint completely or not at all.

        Raises:
            InputError: when it cannot be written.
        """
        write_whole(path, self._write)

    def _write(self, file: BinaryIO) -> None:
        sealed = _Sealed(file)
        torch.save({"format": FORMAT} | vars(self), sealed)  # type: ignore[arg-type]
        file.write(SEAL + sealed.digest.digest())

    @classmethod
    def read(cls, path: Path, *, to_resume: bool = False) -> Self:
        """Read a checkpoint of this format or an older one.

        Raises:
            InputError: when the file is missing, damaged, not a checkpoint, or has weights that are
                not finite; with `to_resume` also when something needed to resume is missing.
        """
        try:
            content = _checked(_content(path), path, to_resume=to_resume)
        except (_Damaged, RecursionError) as damage:
            what = damage if isinstance(damage, _Damaged) else "is not a PyroVAE checkpoint"
            raise InputError(f"{path} {what}; {_still_whole(path)}") from None
        values: dict[str, Any] = {field.name: content.get(field.name) for field in fields(cls)}
        return cls(**values)

    def declarations(self) -> dict[str, Any]:
        """The declarations of program and objective, which name the classes of the run."""
        return {"program": self.declaration, "objective": self.identity.get("objective")}


# ------------------------------------------------------------------ the content of a file


class _Damaged(Exception):
    """Raised for an existing file that cannot be used, with the reason."""


class _Sealed:
    """A file to write to, with a digest of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, some: bytes) -> int:
        self.digest.update(some)
        return self.file.write(some)

    def flush(self) -> None:
        self.file.flush()


def _content(path: Path) -> Any:  # noqa: ANN401
    """The content of a file, after a check of its digest."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}: is this the folder of a run?") from None
    except OSError as error:
        cure = "change its permissions" if isinstance(error, PermissionError) else "name the folder of a run"
        raise InputError(f"{path} cannot be read: {reason_of(error)}; {cure}") from None
    body, seal, digest = data.rpartition(SEAL)
    is_sealed = bool(seal) and len(digest) == hashlib.sha256().digest_size
    if is_sealed and hashlib.sha256(body).digest() != digest:
        raise _Damaged("is damaged: its content does not match its digest")
    if not is_sealed:
        body = data
        _check_zip(body)
    try:
        content = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception:
        raise _Damaged("cannot be read: it is cut off, damaged or not a PyroVAE checkpoint") from None
    version = content.get("format") if isinstance(content, dict) else None
    if not is_sealed and isinstance(version, int) and SEALED <= version <= FORMAT:
        raise _Damaged("cannot be read: it is cut off, and the digest at its end is missing")
    return content


def _check_zip(body: bytes) -> None:
    """Check the ZIP checksums of a file of an older version."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            is_whole = archive.testzip() is None
    except Exception:
        is_whole = False
    if not is_whole:
        raise _Damaged("cannot be read: it is cut off, damaged or not a PyroVAE checkpoint")


def _checked(content: Any, path: Path, *, to_resume: bool) -> dict[str, Any]:  # noqa: ANN401
    """The content in the current format, with values of the right types and finite weights."""
    content = _upgraded(content, path)
    needed = {"weights", "declaration", "identity"}
    needed |= {"optimizer", "state", "random"} if to_resume else set()
    if any(name not in content for name in needed) or to_resume and content["state"] is None:
        kind = "from which a run can resume" if to_resume else "of a run"
        raise InputError(f"{path} is not a PyroVAE checkpoint {kind}: resume from a copy or fit again")
    if any(_size(content.get(name)) > LARGEST for name in _PLAIN):
        raise _Damaged("is not a PyroVAE checkpoint: its declaration is too large")
    wrong = [name for name, kinds in _KINDS.items() if not isinstance(content.get(name), kinds)]
    wrong += [name for name in _TENSORS if not _are_tensors(content.get(name))]
    if wrong:
        raise _Damaged(f"is not a PyroVAE checkpoint: its {wrong[0]} has the wrong type")
    for name in _TENSORS:
        for key, value in (content.get(name) or {}).items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise _Damaged(f"has {name} that are not finite ({key})")
    return content


def _size(value: Any, sizes: dict[int, float] | None = None) -> float:  # noqa: ANN401
    """The number of values in nested dicts and lists when written out; inf for circular ones."""
    if not isinstance(value, (dict, list, tuple)):
        return 1
    sizes = {} if sizes is None else sizes
    if id(value) not in sizes:
        sizes[id(value)] = math.inf  # until its items are counted
        items = value.values() if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_size(item, sizes) for item in items)
    return sizes[id(value)]


LARGEST = 10**7
_PLAIN = ("declaration", "identity", "schema", "source", "config")
_TENSORS = ("weights", "of_objective", "best")
_KINDS: dict[str, Any] = {
    "declaration": (dict, type(None)),
    "identity": dict,
    "schema": (dict, type(None)),
    "weights": dict,
    "epoch": (int, type(None)),
    "of_objective": (dict, type(None)),
    "optimizer": (dict, type(None)),
    "state": (dict, type(None)),
    "random": (dict, type(None)),
    "best": (dict, type(None)),
    "source": (dict, type(None)),
    "config": (dict, type(None)),
    "mark": (str, type(None)),
}


def _are_tensors(values: Any) -> bool:  # noqa: ANN401
    return values is None or (
        isinstance(values, dict)
        and all(isinstance(key, str) and _is_plain(value) for key, value in values.items())
    )


def _is_plain(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is a tensor in memory of real numbers, each of which was stored."""
    return (
        isinstance(value, Tensor)
        and (value.layout, value.device.type) == (torch.strided, "cpu")
        and not (value.is_complex() or value.is_quantized)
        and not (value.is_floating_point() and value.element_size() < 2)
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )


def _still_whole(path: Path) -> str:
    """What the user can do about a damaged file, in words."""
    other = path.with_name("last.ckpt" if path.name == "best.ckpt" else "best.ckpt")
    try:
        content = _checked(_content(other), other, to_resume=other.name == "last.ckpt")
    except (InputError, _Damaged):
        return "restore it from a copy or fit again"
    if other.name == "best.ckpt":
        return f"{other} is intact: load it, and fit again in another folder to train further"
    if content.get("best") is None:
        return f"{other} is intact: resume the run with {resuming(other.parent)}"
    return f"{other} is intact: resume with {resuming(other.parent)}, which writes {path.name} again"


# ------------------------------------------------------------------ older formats


def _upgraded(content: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401
    version = content.get("format") if isinstance(content, dict) else None
    if not isinstance(version, int) or not (version == FORMAT or version in UPGRADES):
        newer = isinstance(version, int) and version > FORMAT
        cure = "update pyrovae" if newer else "resume from a copy or fit again"
        raise InputError(f"{path} is not a PyroVAE checkpoint of format {FORMAT} or older: {cure}")
    try:
        while version < FORMAT:
            content, version = UPGRADES[version](content), version + 1
    except (TypeError, KeyError, AttributeError):
        raise _Damaged("is not a PyroVAE checkpoint: its identity has the wrong type") from None
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


def _from_2(content: dict[str, Any]) -> dict[str, Any]:
    """Format 2 had no copy of config.yaml and no mark."""
    return dict(content) | {"config": None, "mark": None}


def _from_3(content: dict[str, Any]) -> dict[str, Any]:
    """Format 3 kept the weights with the best bound."""
    return dict(content) | {"identity": {"keep": "bound"} | content["identity"]}


def _from_4(content: dict[str, Any]) -> dict[str, Any]:
    """Format 4 had no variables that all rows share."""
    return dict(content) | {"identity": {"global_warmup": 0.0} | content["identity"]}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: _from_4,
}
