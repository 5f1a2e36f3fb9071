"""The outcome of a trial in its run folder: trial.json, and log_px.npz with log p(x) of each row.

{"score": ..., "trained": {...}, "scored": {...}}    a trial that was trained and scored
{"score": ..., "failed": sentence, "kind": kind}     one that failed
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pyrovae.evidence.units import Units
from pyrovae.files import write_whole
from pyrovae.searching.trial import Score, Scored, Trained
from pyrovae.searching.workers import Done, Failed

__all__ = ["read_outcome", "write_outcome"]


def write_outcome(folder: Path, outcome: Done | Failed, score: Score | None) -> None:
    """Write the outcome of a trial, whole or not at all.

    Arguments:
        folder: the run folder; created when missing.
        outcome: of `trial.trained`.
        score: how it was scored.

    Raises:
        InputError: if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"score": _of_score(score)}
    if isinstance(outcome, Failed):
        content |= {"failed": outcome.sentence, "kind": outcome.kind}
    else:
        trial: Trained = outcome.value
        content["trained"] = {name: value for name, value in trial._asdict().items() if name != "scored"}
        if trial.scored is not None:
            arrays = {"log_px": trial.scored.log_px}
            arrays |= {} if trial.scored.index is None else {"index": trial.scored.index}
            write_whole(folder / "log_px.npz", lambda file: np.savez(file, **arrays))
            content["scored"] = {"quantity": trial.scored.quantity, "verdict": trial.scored.verdict}
            content["scored"]["units"] = _of_units(trial.scored.units)
    text = json.dumps(content, indent=2)
    write_whole(folder / "trial.json", lambda file: file.write(text.encode()))


def read_outcome(folder: Path, key: Any, score: Score | None) -> Done | Failed | None:  # noqa: ANN401
    """The outcome in a run folder; None if it is missing, damaged, or was scored otherwise."""
    try:
        content = json.loads((folder / "trial.json").read_text())
        if content["score"] != json.loads(json.dumps(_of_score(score))):
            return None
        if "failed" in content:
            return Failed(key, str(content["failed"]), str(content["kind"]))
        trial = Trained(**content["trained"])
        if score is None:
            return Done(key, trial)
        about = content["scored"]
        units = Units(**_tuples(about.pop("units")))
        with (folder / "log_px.npz").open("rb") as file, np.load(file) as arrays:
            index = arrays["index"] if "index" in arrays.files else None
            scored = Scored(arrays["log_px"], index, units, about["quantity"], about["verdict"])
        return Done(key, trial._replace(scored=scored))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, BadZipFile):
        return None


def _of_score(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return score._asdict() | {"method": None if score.method is None else score.method.to_dict()}


def _of_units(units: Units) -> dict[str, Any]:
    """What decides whether two results can be ranked; not the arrays for bits per dimension."""
    arrays = ("mean_level", "entries")
    return {field.name: getattr(units, field.name) for field in fields(units) if field.name not in arrays}


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
