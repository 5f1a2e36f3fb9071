"""The scores of training rows, by which new rows get percentiles.

They are computed once for each method and background, and kept in the run folder in
`reference.npz`.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pyrovae.datasets import Rows, Schema
from pyrovae.errors import InputError
from pyrovae.files import write_whole
from pyrovae.sharing import agreed, in_turn, is_first, together
from pyrovae.tasks.kinds import Kind
from pyrovae.tasks.runs import data_of, training_rows
from pyrovae.tasks.scoring import Scorer
from pyrovae.training.loading import model_file

__all__ = ["REFERENCE_ROWS", "Reference", "reference_of_rows", "reference_of_run", "run_key"]

REFERENCE_ROWS = 2000


@dataclass(frozen=True, eq=False)
class Reference:
    """The scores of R training rows.

    Attributes:
        anomaly: how anomalous they are, ascending, (R,).
        mean: the mean of log p(x), in nats.
    """

    anomaly: np.ndarray
    mean: float

    @classmethod
    def of(cls, kind: Kind, log_px: np.ndarray, background: np.ndarray | None = None) -> Self:
        """The reference from log p(x) of training rows, (R,), and log p_0(x) if the kind has one.

        Raises:
            InputError: if the kind needs their mean and a row has no probability.
        """
        without = int((log_px == -np.inf).sum())
        if kind.needs_training_rows and without:
            raise InputError(
                f"kind={kind.name!r} needs the mean of log p(x) over training rows, and {without} of "
                f"{len(log_px)} have no probability: give more particles, or another method or kind"
            )
        mean = float(log_px.mean())
        return cls(np.sort(kind.anomaly(log_px, background, mean)), mean)

    def percentiles(self, anomaly: np.ndarray) -> np.ndarray:
        """The percentage of these rows that are more anomalous, for each of N rows.

        Example:
            >>> reference = Reference.of(Kind(), np.array([-4.0, -3.0, -2.0, -1.0]))
            >>> reference.percentiles(-np.array([-9.0, -3.0, -2.5]))
            array([ 0., 25., 50.])
        """
        count = len(self.anomaly)
        return 100 * (count - np.searchsorted(self.anomaly, anomaly, side="right")) / count

    def __len__(self) -> int:
        return len(self.anomaly)


def run_key(run: str | os.PathLike[str]) -> str:
    """A hash of the weights of a run folder or a model file."""
    path = model_file(run) or Path(run) / "best.ckpt"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        raise InputError(f"there is no checkpoint {path}: is this the folder of a run?") from None


def reference_of_run(
    run: str | os.PathLike[str],
    scorer: Scorer,
    kind: Kind,
    schema: Schema | None,
    *,
    labelled: bool = False,
) -> Reference:
    """The reference of a run, stored or computed from its data.

    Raises:
        InputError: if the data of the run cannot be read, or have changed.
    """
    if model_file(run) is not None:
        raise InputError(f"{run} has the model without its training rows: give the run folder")
    path = Path(run) / "reference.npz"
    identity = [run_key(run), scorer.identity, REFERENCE_ROWS, labelled]
    identity += [kind.identity] if kind.has_background else []
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    stored = agreed(_stored(path, key) if is_first() and kind.is_known else None)
    if stored is not None:
        values, methods = stored
        kind.prepare(scorer, json.loads(methods))
        return Reference.of(kind, *np.atleast_2d(values))
    data = in_turn(lambda: data_of(run, schema))
    rows = training_rows(data, REFERENCE_ROWS)
    values = _values(rows if labelled else rows.unlabelled(), scorer, kind)
    methods = json.dumps(kind.used(scorer))
    if kind.is_known:
        together(_first_only(lambda: _store(path, key, values, methods)))
    return Reference.of(kind, *values)


def reference_of_rows(rows: Rows, scorer: Scorer, kind: Kind) -> Reference:
    """The reference of training rows."""
    return Reference.of(kind, *_values(rows, scorer, kind))


def _values(rows: Rows, scorer: Scorer, kind: Kind) -> np.ndarray:
    """log p(x) of rows, and log p_0(x) if the kind has a background: (1, R) or (2, R)."""
    size = scorer.piece_rows(rows.x[0].numel())
    parts = []
    for i, piece in enumerate(rows.batches(size)):
        log_px, background = scorer(piece, first=i * size)[:1], kind.background(piece, i * size)
        parts.append(log_px if background is None else np.concatenate([log_px, background[:1]]))
    return np.concatenate(parts, 1)


def _stored(path: Path, key: str) -> tuple[np.ndarray, str] | None:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return archive[key], str(archive[f"{key}.method"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _store(path: Path, key: str, values: np.ndarray, methods: str) -> None:
    """Add a reference to the file; without permission to write, it is computed again next time."""
    arrays: dict[str, Any] = {}
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        pass
    arrays |= {key: values, f"{key}.method": np.array(methods)}
    try:
        write_whole(path, lambda file: np.savez(file, **arrays))
    except InputError:
        return


def _first_only(work: Callable[[], None]) -> Callable[[], None]:
    return work if is_first() else lambda: None
