"""The log of a bandit's pulls: OUT/pulls.csv, written whole before and after each pull."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pyrovae.errors import InputError
from pyrovae.files import write_whole

__all__ = ["Log", "Pull"]


@dataclass(frozen=True)
class Pull:
    """One pull.

    Attributes:
        arm: the name of the arm.
        reward: its reward in nats per observation; nan if it failed.
        epochs: the number of epochs of this arm so far.
        seconds: the time that the pull took.
        failed: the sentence of the error, or "".
    """

    arm: str
    reward: float = math.nan
    epochs: int = 0
    seconds: float = 0.0
    failed: str = ""


NAMES = [field.name for field in fields(Pull)]


class Log:
    """The pulls, in a file or in memory only.

    Arguments:
        path: the file; one that exists is read.

    Attributes:
        pulls: those that are done.
        pending: the arm of a pull that was started and is not done, or None.

    Raises:
        InputError: for a file that is not such a log.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.pulls = path, list[Pull]()
        self.pending: str | None = None
        if path.exists():
            self._read()

    def begin(self, arm: str) -> None:
        """Note that a pull begins: after a kill, the same arm goes on."""
        self.pending = arm
        self._write()

    def end(self, pull: Pull) -> None:
        """Note a pull that is done."""
        self.pulls.append(pull)
        self.pending = None
        self._write()

    def _write(self) -> None:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["pull", *NAMES])
        for number, pull in enumerate(self.pulls, 1):
            rows.writerow([number, *asdict(pull).values()])
        if self.pending is not None:
            rows.writerow([len(self.pulls) + 1, self.pending, "", "", "", ""])
        write_whole(self.path, lambda file: file.write(text.getvalue().encode()))

    def _read(self) -> None:
        try:
            rows = list(csv.DictReader(io.StringIO(self.path.read_text(encoding="utf-8"))))
            for row in rows:
                if row["reward"] == "":
                    self.pending = row["arm"]
                    continue
                numbers = float(row["reward"]), int(row["epochs"]), float(row["seconds"])
                self.pulls.append(Pull(row["arm"], *numbers, row["failed"]))
        except (OSError, KeyError, ValueError, TypeError, csv.Error):
            raise InputError(
                f"{self.path} is not the log of a bandit: restore it, or choose a new name for the folder"
            ) from None
