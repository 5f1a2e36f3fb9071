"""The scores of training rows, by which new rows get percentiles.

They are computed once for each method, and kept in the run folder in `reference.npz`.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.datasets import Rows, Schema
from pyrovae.errors import InputError
from pyrovae.evidence.methods import Method
from pyrovae.files import write_whole
from pyrovae.sharing import agreed, in_turn, is_first, together
from pyrovae.tasks.runs import data_of, training_rows
from pyrovae.tasks.scoring import Scorer

__all__ = ["REFERENCE_ROWS", "Reference", "reference_of_rows", "reference_of_run", "run_key"]

REFERENCE_ROWS = 2000


@dataclass(frozen=True, eq=False)
class Reference:
    """log p(x) of training rows, ascending, (R,)."""

    log_px: np.ndarray

    def percentiles(self, log_px: np.ndarray) -> np.ndarray:
        """The percentage of these rows with a lower log p(x), for each of N rows.

        Example:
            >>> reference = Reference(np.array([-4.0, -3.0, -2.0, -1.0]))
            >>> reference.percentiles(np.array([-9.0, -3.0, -2.5]))
            array([ 0., 25., 50.])
        """
        return 100 * np.searchsorted(self.log_px, log_px, side="left") / len(self.log_px)


def run_key(run: str | os.PathLike[str]) -> str:
    """A hash of the weights of a run."""
    path = Path(run) / "best.ckpt"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        raise InputError(f"there is no checkpoint {path}: is this the folder of a run?") from None


def reference_of_run(
    run: str | os.PathLike[str], scorer: Scorer, schema: Schema | None, *, labelled: bool = False
) -> Reference:
    """The reference of a run, stored or computed from its data.

    Raises:
        InputError: if the data of the run cannot be read, or have changed.
    """
    path = Path(run) / "reference.npz"
    words = json.dumps([run_key(run), scorer.identity, REFERENCE_ROWS, labelled], sort_keys=True)
    key = hashlib.sha256(words.encode()).hexdigest()[:16]
    stored = agreed(_stored(path, key) if is_first() else None)
    if stored is not None:
        log_px, method = stored
        scorer.prepare(Method.from_dict(json.loads(method)))
        return Reference(log_px)
    data = in_turn(lambda: data_of(run, schema))
    rows = training_rows(data, REFERENCE_ROWS)
    reference = reference_of_rows(rows if labelled else rows.unlabelled(), scorer)
    method = json.dumps(scorer.method.to_dict())
    together(_first_only(lambda: _store(path, key, reference.log_px, method)))
    return reference


def reference_of_rows(rows: Rows, scorer: Scorer) -> Reference:
    """The reference of training rows."""
    size = scorer.piece_rows(rows.x[0].numel())
    pieces = [scorer(piece, first=i * size)[0] for i, piece in enumerate(rows.batches(size))]
    return Reference(np.sort(np.concatenate(pieces)))


def _stored(path: Path, key: str) -> tuple[np.ndarray, str] | None:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return archive[key], str(archive[f"{key}.method"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _store(path: Path, key: str, log_px: np.ndarray, method: str) -> None:
    """Add a reference to the file; without permission to write, it is computed again next time."""
    arrays: dict[str, Any] = {}
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        pass
    arrays |= {key: log_px, f"{key}.method": np.array(method)}
    try:
        write_whole(path, lambda file: np.savez(file, **arrays))
    except InputError:
        return


def _first_only(work: Callable[[], None]) -> Callable[[], None]:
    return work if is_first() else lambda: None
