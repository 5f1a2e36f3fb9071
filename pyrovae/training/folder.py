"""The run folder, whose files are written completely or not at all (`files.write_whole`).

    config.yaml   the declaration of data, program and training: enough to repeat the run
    metrics.csv   one row per epoch
    last.ckpt     the state of the run
    best.ckpt     the weights that are kept (`keep`)
    figures/      figures

A lock prevents two runs from using one folder; the system releases it when a process dies.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pyrovae.cures import resuming
from pyrovae.errors import InputError
from pyrovae.files import locked, reason_of, write_whole

__all__ = ["RunFolder"]


class RunFolder:
    """A run folder, opened for writing by one process at a time.

    Arguments:
        path: the folder; created when missing.
        resume: whether to resume the run in it.

    Raises:
        InputError: when the folder cannot be written, or holds another run and `resume` is False.
    """

    def __init__(self, path: str | os.PathLike, *, resume: bool = False) -> None:
        self.path = Path(path)
        try:
            (self.path / "figures").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot create the folder {self.path}: {reason_of(error)}; choose another"
            ) from error
        if not os.access(self.path, os.W_OK):
            raise InputError(
                f"cannot write to the folder {self.path}; choose another or change its permissions"
            )
        self.resume = resume
        self.refuse_another_run()

    def refuse_another_run(self) -> None:
        """Raise an error if the folder holds a run that is not to be resumed.

        Raises:
            InputError: with the two ways out.
        """
        if not self.resume and (self.last.exists() or (self.path / "config.yaml").exists()):
            raise InputError(
                f"{self.path} holds another run: choose a new name, or resume it with {resuming(self.path)}"
            )
        if self.best.exists() and not self.last.exists():
            raise InputError(
                f"{self.path} has best.ckpt but not last.ckpt, from which its run would resume: restore that "
                "file, or choose a new name"
            )

    def forget(self) -> None:
        """Remove the files of a run that could not start."""
        for name in ("config.yaml", "last.ckpt", "metrics.csv"):
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder.

        Raises:
            InputError: when another process has the lock.
        """
        refusal = f"another process is training in {self.path}; wait for it or choose a new name"
        with locked(self.path, refusal):
            for leftover in (*self.path.glob(".*.tmp"), *self.figures.glob(".*.tmp")):
                leftover.unlink(missing_ok=True)
            yield

    @property
    def last(self) -> Path:
        """The checkpoint from which a run resumes."""
        return self.path / "last.ckpt"

    @property
    def best(self) -> Path:
        """The weights that are kept, by default the best on the validation set."""
        return self.path / "best.ckpt"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    def write_config(self, config: dict[str, Any]) -> None:
        """Write config.yaml."""
        text = yaml.safe_dump(config, sort_keys=False, default_flow_style=None, allow_unicode=True)
        write_whole(self.path / "config.yaml", lambda file: file.write(text.encode()))

    def write_metrics(self, history: dict[str, list[float]]) -> None:
        """Write metrics.csv: one column per quantity, one row per epoch."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(history)
        rows.writerows(zip(*history.values(), strict=True))
        write_whole(self.path / "metrics.csv", lambda file: file.write(text.getvalue().encode()))
