"""Runs in TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pyrovae.callbacks.tracker import Tracker, flat, quiet
from pyrovae.checks import path_of
from pyrovae.errors import InputError
from pyrovae.extras import require
from pyrovae.training import Running

__all__ = ["TensorBoard"]


class TensorBoard(Tracker):
    """Write a run for TensorBoard: `tensorboard --logdir runs` shows and compares all runs there.

    It gets the metrics of each epoch as scalars (rounded to single precision, as TensorBoard stores
    them), the options of the run as text and as hyperparameters, the samples of `Images`, and the
    figures at the end. A resumed run replaces the epochs that it repeats.

    Arguments:
        folder: the folder of the event files, one for each run; by default `tensorboard` in the run
            folder.

    Raises:
        InputError: without the extra `tensorboard`; at the start of the run, without any folder.

    Example:
        >>> import tempfile
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = pv.fit(vae, data, epochs=1, progress=False, figures=False,
        ...                  out=f"{folder}/run", callbacks=[pv.callbacks.TensorBoard()])
        ...     [path.name[:19] for path in (run.folder / "tensorboard").iterdir()]
        ['events.out.tfevents']
    """

    word = "tensorboard"

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        with quiet():
            require("torch.utils.tensorboard", "tensorboard", "TensorBoard")
        self.folder = None if folder is None else path_of("folder of TensorBoard", folder)
        self._writer: Any = None
        self._place: str | None = None

    def open(self, run: Running) -> None:
        """Open a file of events, which replaces later epochs of earlier files.

        Raises:
            InputError: without a folder.
        """
        folder = self.folder
        if folder is None:
            if run.folder is None:
                raise InputError("TensorBoard has no folder to write to: give folder=, or fit(out=)")
            folder = run.folder / "tensorboard"
        place = str(Path(folder).resolve())
        self._logged = self._logged if place == self._place else 0
        self._place = place
        self._writer = None
        with self._writing() as writer:
            if not self._logged:
                self._describe(writer, run.config)

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        with self._writing() as writer:
            for name, value in metrics.items():
                writer.add_scalar(name, value, epoch)

    def show(self, name: str, picture: np.ndarray, epoch: int) -> None:
        with self._writing() as writer:
            writer.add_image(name, picture, epoch, dataformats="HWC")

    def close(self, run: Running) -> None:
        if self._writer is not None:
            self._writer.close()

    def state(self) -> dict[str, Any]:
        """The number of epochs in the files, and where these are."""
        state = super().state()
        return state | {"place": self._place} if state else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self._place = state.get("place")

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """A writer, whose events are in the file afterwards; a new one after a failure.

        The thread of a writer ends when it cannot write, as when the disk is full.
        """
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            self._writer = SummaryWriter(self._place, purge_step=self._logged + 1)
        try:
            yield self._writer
            self._writer.flush()
        except BaseException:
            self._writer = None
            raise

    def _describe(self, writer: Any, config: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Write the options, as text and in the table of hyperparameters."""
        from torch.utils.tensorboard.summary import hparams

        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        writer.add_text("config", f"```yaml\n{text}```", 0)
        options = {name: "" if value is None else value for name, value in flat(config).items()}
        for summary in hparams(options, {"validation": 0.0}):
            writer.file_writer.add_summary(summary, 0)
