"""A VAE in one file: its declaration, the schema of its data, and its weights.

The file is in the safetensors format, so no code is run when it is read, and other programs can
read its tensors by name. Its metadata contains

    pyrovae    JSON: format, version of PyroVAE, declaration, schema, and facts about the training
    sha256     a digest of this JSON and all tensors, which is checked whenever the file is read

Reference:
    https://huggingface.co/docs/safetensors (the format).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from pyrovae.checks import path_of, shown
from pyrovae.errors import InputError
from pyrovae.files import reason_of, write_whole

__all__ = ["FORMAT", "Model", "Saves", "version"]

FORMAT = 1
# Facts that PyroVAE itself reads; others may be anything.
KINDS: dict[str, type] = {
    **dict.fromkeys(("identity", "source", "config", "evidence", "versions"), dict),
    **dict.fromkeys(("license", "author"), str),
}


def version() -> str:
    """The version of PyroVAE."""
    return sys.modules["pyrovae"].__version__


@dataclass(frozen=True, eq=False)
class Model:
    """The content of a model file.

    Attributes:
        declaration: that of the VAE, in plain values.
        schema: the meaning of the data's values, in plain values, or None.
        weights: parameters and persistent buffers by name.
        facts: what is known about data, training and evidence, in plain values; may be empty.
        version: the version of PyroVAE that wrote it.
    """

    declaration: dict[str, Any]
    schema: dict[str, Any] | None
    weights: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    version: str = field(default_factory=version)

    @classmethod
    def of(cls, vae: Any, facts: Mapping[str, Any] | None = None) -> Self:  # noqa: ANN401
        """The content for a VAE."""
        schema = None if vae.schema is None else vae.schema.to_dict()
        return cls(vae.to_dict(), schema, _copies(vae.state_dict()), dict(facts or {}))

    def write(self, path: Path) -> None:
        """Write the file completely or not at all.

        Raises:
            InputError: as from `to_bytes`, or if the file cannot be written.
        """
        if os.path.isdir(path):  # False also for a name that is too long
            raise InputError(f"{path} is a folder: give the name of a file, as in {path / 'model.pyrovae'}")
        data = self.to_bytes()
        write_whole(path, lambda file: file.write(data))

    def to_bytes(self) -> bytes:
        """The file as bytes.

        Raises:
            InputError: if weights are not finite, and for values that JSON lacks.
        """
        from safetensors.torch import save

        wrong = _not_finite(self.weights)
        if wrong is not None:
            raise InputError(
                f"the VAE has weights that are not finite ({wrong}): train it again, with a smaller lr"
            )
        content = self._content()
        metadata = {"format": "pt", "pyrovae": content, "sha256": _digest(content, self.weights)}
        return save(self.weights, metadata)

    def _content(self) -> str:
        wrong = _misread(self.facts)
        if wrong is not None:
            raise InputError(
                f"the fact {wrong!r} must be a {KINDS[wrong].__name__}, not {self.facts[wrong]!r}: give "
                "it another name"
            )
        parts = {"declaration": self.declaration, "schema": self.schema, "facts": self.facts}
        try:
            return json.dumps({"format": FORMAT, "version": self.version, **parts})
        except (TypeError, ValueError) as error:
            raise InputError(
                f"the VAE cannot be written as JSON ({error}): use numbers, words, lists and mappings"
            ) from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of this format or an older one.

        Raises:
            InputError: if the file is missing, damaged, no model or of a newer format, or has
                weights that are not finite.
        """
        metadata, weights = _opened(path)
        content = _parsed(metadata, path)
        if _digest(metadata["pyrovae"], weights) != metadata.get("sha256"):
            raise InputError(f"{path} is damaged: its content does not match its digest; get the file again")
        wrong = _not_finite(weights)
        if wrong is not None:
            raise InputError(f"{path} has weights that are not finite ({wrong}): get another file")
        names = ("declaration", "schema", "facts", "version")
        return cls(weights=weights, **{name: content[name] for name in names})


class Saves:
    """The method of a `VAE` that writes it to a file."""

    def save(self: Any, path: str | os.PathLike[str], *, facts: Mapping[str, Any] | None = None) -> Path:  # noqa: ANN401
        """Write the VAE to one file, which `pyrovae.load` reads.

        It contains the declaration, the weights and the schema of the data (names, words and units
        of columns), and no rows. An older file of this name is replaced once the new one is
        complete. `pyrovae share RUN` also stores what is known about data and training.

        Arguments:
            path: the name of the file, as in "model.pyrovae".
            facts: more to store, such as {"license": "mit"}, in plain values.

        Returns:
            The path.

        Raises:
            InputError: if weights are not finite, for a folder, or if the file cannot be written.

        Example:
            >>> import tempfile
            >>> import pyrovae as pv
            >>> vae = pv.VAE((4,), 2)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     pv.load(vae.save(f"{folder}/model.pyrovae")) == vae
            True
        """
        path = path_of("path", path)
        if facts is not None and not isinstance(facts, Mapping):
            raise InputError(f"facts must be a mapping, as in {{'license': 'mit'}}, not {shown(facts)}")
        Model.of(self, facts).write(path)
        return path


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each with memory of its own."""
    plain = torch.contiguous_format
    return {name: tensor.detach().cpu().clone(memory_format=plain) for name, tensor in tensors.items()}


def _opened(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as file:  # its errors are clearer
            file.read(1)
        with safe_open(path, framework="pt") as file:
            metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise InputError(f"there is no {path}: name a run folder or a file of `vae.save`") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}; name another file") from None
    except SafetensorError:
        raise InputError(
            f"{path} is not a model of PyroVAE, or is cut off: give a run folder, or a file that `vae.save` "
            "or `pyrovae share` wrote"
        ) from None
    return metadata or {}, weights


def _parsed(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The JSON of a file, after a check of its format."""
    if "pyrovae" not in metadata:
        raise InputError(
            f"{path} has tensors, but is not a model of PyroVAE: give a file of `vae.save` or `pyrovae share`"
        )
    try:
        content = json.loads(metadata["pyrovae"])
        number = content["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path} is damaged: its metadata are not JSON; get the file again") from None
    if isinstance(number, int) and number > FORMAT:
        raise InputError(
            f"{path} was written by PyroVAE {content.get('version')} in format {number}, and PyroVAE "
            f"{version()} reads formats up to {FORMAT}: update pyrovae"
        )
    kinds: dict[str, Any] = {"declaration": dict, "schema": (dict, type(None)), "facts": dict, "version": str}
    wrong = [name for name, kind in kinds.items() if not isinstance(content.get(name, 0), kind)]
    wrong = wrong or ["facts"] * (_misread(content["facts"]) is not None)
    if number != FORMAT or wrong:
        what = wrong[0] if wrong else "format"
        raise InputError(f"{path} is damaged: its {what} cannot be read; get the file again")
    return content


def _misread(facts: Mapping[str, Any]) -> str | None:
    """The name of the first fact that is not of the type with which it is read."""
    known = ((name, facts[name]) for name in KINDS if facts.get(name) is not None)
    return next((name for name, value in known if not isinstance(value, KINDS[name])), None)


def _digest(content: str, weights: Mapping[str, Tensor]) -> str:
    """A hash of the JSON and the tensors, in the order of their names."""
    digest = hashlib.sha256(content.encode())
    for name, tensor in sorted(weights.items()):
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with values that are not finite."""
    floats = ((name, tensor) for name, tensor in weights.items() if tensor.is_floating_point())
    return next((name for name, tensor in floats if not torch.isfinite(tensor).all()), None)
