"""What is known about a trained model, in plain values: data, training, evidence and versions.

Nothing about the machine is included: of a path only the last part is kept.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import platform
from pathlib import Path, PureWindowsPath
from typing import Any

from pyrovae import datasets
from pyrovae.errors import InputError
from pyrovae.tasks.reference import run_key
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.config import config_of_run

__all__ = ["facts_of_run", "notes_on", "private_words"]

VERSIONS = ("torch", "pyro-ppl")


def facts_of_run(run: str | os.PathLike[str], saved: Checkpoint) -> dict[str, Any]:
    """The facts of a run folder.

    Arguments:
        run: the run folder.
        saved: its checkpoint.
    """
    options = {"data", *inspect.signature(datasets.load).parameters} - {"root"}
    config = {name: value for name, value in config_of_run(run, saved).items() if name in options}
    facts = {
        "identity": saved.identity,
        "epoch": saved.epoch,
        "source": saved.source,
        "config": config,
        "evidence": _evidence(Path(run)),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in VERSIONS},
    }
    return _without_folders(facts)


def _evidence(run: Path) -> dict[str, Any] | None:
    """The content of evidence.json, if there is one of these weights.

    Raises:
        InputError: for a file that is not JSON.
    """
    path = run / "evidence.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        weights = content.get("weights")
    except (OSError, ValueError, AttributeError):
        raise InputError(f"{path} cannot be read: delete it, or run `pyrovae evaluate {run}` again") from None
    return content if weights == run_key(run) else None


def _without_folders(value: Any) -> Any:  # noqa: ANN401
    """Plain values in which each absolute path is replaced by its last part."""
    if isinstance(value, dict):
        return {name: _without_folders(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(item) for item in value]
    return _last_part(value) if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    return len(text) > 1 and (
        os.path.isabs(text) or text.startswith("~") or PureWindowsPath(text).is_absolute()
    )


def _last_part(path: str) -> str:
    return PureWindowsPath(path).name if "\\" in path else Path(path).name


def private_words(declaration: Any) -> list[str]:  # noqa: ANN401
    """The absolute paths in a declaration, which cannot be left out."""
    if isinstance(declaration, dict):
        declaration = list(declaration.values())
    if isinstance(declaration, (list, tuple)):
        return [word for item in declaration for word in private_words(item)]
    return [declaration] if isinstance(declaration, str) and _is_path(declaration) else []


def notes_on(run: str | os.PathLike[str], saved: Checkpoint, facts: dict[str, Any]) -> list[str]:
    """What a user should know before a model is given away."""
    notes = [
        f"the declaration contains the path {word}, which the file shows to everybody"
        for word in private_words(saved.declaration)
    ]
    prior = (saved.declaration or {}).get("prior") or {}
    if (prior.get("init_args") or {}).get("pseudo_inputs") == "data":
        notes.append("the pseudo-inputs of the prior started as training rows, and the file contains them")
    if (saved.schema or {}).get("columns"):
        notes.append("the file contains the names of the columns and the words in them")
    if facts["evidence"] is None:
        stale = "is of other weights" if (Path(run) / "evidence.json").is_file() else "is missing"
        notes.append(f"evidence.json {stale}: `pyrovae evaluate {run}` adds log p(x) to the card")
    return notes
