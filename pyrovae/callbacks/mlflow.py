"""Runs in MLflow."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pyrovae.callbacks.tracker import Tracker, flat, quiet
from pyrovae.extras import require

if TYPE_CHECKING:
    import numpy as np

    from pyrovae.training import Running

__all__ = ["MLflow"]

LONGEST = 500  # of a parameter, in characters
MOST = 100  # parameters in one request
STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow(Tracker):
    """Write a run to MLflow: `mlflow ui` shows and compares the runs (it needs the package mlflow).

    It gets the options of the run as parameters, named as on the command line, the metrics of each
    epoch, the samples of `Images`, and at the end config.yaml, metrics.csv and the figures as
    artifacts. The run ends as FINISHED, as KILLED after Ctrl-C, or as FAILED. A resumed run goes on
    with the same run of MLflow.

    Arguments:
        experiment: its name, by default "pyrovae"; it is created if it does not exist.
        uri: the address of a server or a database, as "http://localhost:5000" or
            "sqlite:///runs.db", next to which the artifacts of a new experiment are; by default as
            MLFLOW_TRACKING_URI or MLflow choose.
        run_name: the name of the run, by default that of the run folder.

    Raises:
        InputError: without the extra `mlflow`.

    Example:
        >>> import tempfile
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tracker = pv.callbacks.MLflow(uri=f"sqlite:///{folder}/runs.db")
        ...     run = pv.fit(vae, data, epochs=1, progress=False, callbacks=[tracker])
        ...     tracker.client.get_run(tracker.run_id).data.params["latent_dim"]
        '2'
    """

    word = "mlflow"

    def __init__(
        self, experiment: str | None = None, uri: str | None = None, run_name: str | None = None
    ) -> None:
        super().__init__()
        with quiet():
            require("mlflow", "mlflow", "MLflow")
        self.experiment, self.uri, self.run_name = experiment, uri, run_name
        self.run_id: str | None = None
        self._address: str | None = None

    @property
    def client(self) -> Any:  # noqa: ANN401
        """A client of MLflow for the place of the run."""
        import mlflow

        return mlflow.MlflowClient(tracking_uri=self._address or self.uri)

    def open(self, run: Running) -> None:
        """Create a run, or go on with the one of the checkpoint."""
        import mlflow

        address = self.uri or self._address or mlflow.get_tracking_uri()
        if address != self._address:
            self.run_id = None
        self._address = address
        client = self.client
        if self.run_id is not None:
            client.update_run(self.run_id, status="RUNNING")
            written = client.get_metric_history(self.run_id, "validation")
            self._logged = max((metric.step for metric in written), default=0)
        else:
            self._logged = 0
            name = self.run_name or (None if run.folder is None else run.folder.resolve().name)
            self.run_id = client.create_run(self._experiment_id(client), run_name=name).info.run_id
        self._describe(client, run.config)

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        values = [Metric(_name(name), value, now, epoch) for name, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=values)

    def show(self, name: str, picture: np.ndarray, epoch: int) -> None:
        if not name.startswith("figures/"):  # these are uploaded as files
            self._upload(name, picture, epoch)

    def close(self, run: Running) -> None:
        client = self.client
        try:
            if run.folder is not None:
                for name in ("config.yaml", "metrics.csv"):
                    if (run.folder / name).is_file():
                        client.log_artifact(self.run_id, str(run.folder / name))
                if any((run.folder / "figures").glob("*.*")):
                    client.log_artifacts(self.run_id, str(run.folder / "figures"), "figures")
        finally:
            client.set_terminated(self.run_id, STATUS[run.status])

    def state(self) -> dict[str, Any]:
        """The run of MLflow, and where it is, unless the address contains a password."""
        if self.run_id is None:
            return {}
        address = self._address if self._address and urlsplit(self._address).password is None else None
        return super().state() | {"run_id": self.run_id, "uri": address}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.run_id, self._address = state.get("run_id"), state.get("uri")

    def _experiment_id(self, client: Any) -> str:  # noqa: ANN401
        name = self.experiment or "pyrovae"
        known = client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        return client.create_experiment(name, artifact_location=_files_of(self._address or "", name))

    def _describe(self, client: Any, config: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Write the parameters that the run does not have; they cannot be changed later."""
        from mlflow.entities import Param

        known = client.get_run(self.run_id).data.params
        options = {_name(name): str(value)[:LONGEST] for name, value in flat(config).items()}
        params = [Param(name, value) for name, value in options.items() if name not in known]
        for first in range(0, len(params), MOST):
            self.client.log_batch(self.run_id, params=params[first : first + MOST])

    def _upload(self, name: str, picture: np.ndarray, epoch: int) -> None:
        from tempfile import TemporaryDirectory

        from PIL import Image

        with TemporaryDirectory() as folder:
            path = Path(folder) / f"epoch_{epoch:04d}.png"
            Image.fromarray(picture).save(path)
            self.client.log_artifact(self.run_id, str(path), name)


def _files_of(address: str, experiment: str) -> str | None:
    """The folder for artifacts: next to a database; else MLflow chooses, in the working folder."""
    kind, _, path = address.partition(":///")
    if kind != "sqlite" or not path:
        return None
    return (Path(path).resolve().parent / "mlruns" / _name(experiment).replace("/", "_")).as_uri()


def _name(name: str) -> str:
    """A name with the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)
