"""Callbacks of `fit`: trackers, and what else a run can do while it trains.

TensorBoard, MLflow, WandB    write metrics, images and options where these tools read them
Images                        samples every few epochs
Evidence                      log p(x) of validation rows every few epochs
ExponentialAverage            validates and keeps averages of the weights
Pruning                       ends trials of optuna that are not promising

    pv.fit(vae, data, callbacks=[TensorBoard(), Images(every=10)], out="runs/a")
"""

from typing import TYPE_CHECKING

from pyrovae.lazy import lazy

if TYPE_CHECKING:
    from pyrovae.callbacks.averaging import ExponentialAverage
    from pyrovae.callbacks.evidence import Evidence
    from pyrovae.callbacks.images import Images
    from pyrovae.callbacks.mlflow import MLflow
    from pyrovae.callbacks.naming import trackers
    from pyrovae.callbacks.pruning import Pruning
    from pyrovae.callbacks.tensorboard import TensorBoard
    from pyrovae.callbacks.tracker import Tracker
    from pyrovae.callbacks.wandb import WandB

__all__ = [
    "Evidence",
    "ExponentialAverage",
    "Images",
    "MLflow",
    "Pruning",
    "TensorBoard",
    "Tracker",
    "WandB",
    "trackers",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "averaging": ["ExponentialAverage"],
            "evidence": ["Evidence"],
            "images": ["Images"],
            "mlflow": ["MLflow"],
            "naming": ["trackers"],
            "pruning": ["Pruning"],
            "tensorboard": ["TensorBoard"],
            "tracker": ["Tracker"],
            "wandb": ["WandB"],
        },
    )
