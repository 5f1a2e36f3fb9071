"""Runs in Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from pyrovae.callbacks.tracker import Tracker, quiet
from pyrovae.checks import one_of
from pyrovae.extras import require

if TYPE_CHECKING:
    import numpy as np

    from pyrovae.training import Running

__all__ = ["WandB"]

Mode = Literal["online", "offline", "disabled"]
STATUS = {"finished": 0, "stopped": 0, "interrupted": 130, "failed": 1}


class WandB(Tracker):
    """Write a run to Weights & Biases.

    It gets the options of the run, the metrics of each epoch with the epoch as the step, the
    samples of `Images`, and at the end the figures and a summary with the kept epoch. A resumed run
    has the same id. With `mode="offline"` nothing is sent: `wandb sync` sends the files in the
    folder `wandb` of the run folder later.

    Arguments:
        project: its name, by default "pyrovae".
        mode: online, offline or disabled; by default as WANDB_MODE says.
        entity: the user or team; by default your own.
        name: the name of the run, by default that of the run folder.

    Raises:
        InputError: without the extra `wandb`, or for another mode.

    Example:
        >>> import tempfile
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = pv.fit(vae, data, epochs=1, progress=False, figures=False,
        ...                  out=f"{folder}/run", callbacks=[pv.callbacks.WandB(mode="offline")])
        ...     len(list(run.folder.glob("wandb/offline-run-*/*.wandb")))
        1
    """

    word = "wandb"

    def __init__(
        self,
        project: str | None = None,
        mode: Mode | None = None,
        entity: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        with quiet():
            require("wandb", "wandb", "WandB")
        self.project, self.entity, self.name = project, entity, name
        self.mode: Mode | None = None if mode is None else one_of("mode of WandB", mode, get_args(Mode))
        self.run_id: str | None = None
        self._run: Any = None

    def open(self, run: Running) -> None:
        """Create a run, or go on with the one of the checkpoint."""
        import wandb

        if self.run_id is None:
            self._logged = 0
        folder = None if run.folder is None else run.folder.resolve()
        self._run = wandb.init(
            project=self.project or os.environ.get("WANDB_PROJECT") or "pyrovae",
            entity=self.entity,
            name=self.name or (None if folder is None else folder.name),
            mode=self.mode,
            id=self.run_id,
            resume=None if self.run_id is None else "allow",
            dir=folder,
            config=run.config,
            reinit="create_new",
            settings=wandb.Settings(console="off"),
        )
        self.run_id = self._run.id

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        self._run.log({"epoch": epoch, **metrics}, step=epoch)

    def show(self, name: str, picture: np.ndarray, epoch: int) -> None:
        import wandb

        self._run.log({name: wandb.Image(picture)}, step=epoch)

    def close(self, run: Running) -> None:
        best = run.best_epoch
        if best:
            self._run.summary.update(
                {"best_epoch": best, "best_validation": run.history["validation"][best - 1]}
            )
        self._run.summary["status"] = run.status
        self._run.finish(exit_code=STATUS[run.status])

    def state(self) -> dict[str, Any]:
        """The id of the run."""
        return {} if self.run_id is None else super().state() | {"run_id": self.run_id}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.run_id = state.get("run_id")
