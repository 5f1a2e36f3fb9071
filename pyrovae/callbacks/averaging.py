r"""Exponential averages of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyrovae.checks import number
from pyrovae.errors import InputError
from pyrovae.part import Declared
from pyrovae.training import Callback, Running

__all__ = ["ExponentialAverage"]


class ExponentialAverage(Declared, Callback):
    r"""Validate and keep an exponential average of the weights in place of the last ones.

    After step t the average of the weights \(w_1, \dots, w_t\) is
    \[\bar w_t = \frac{1-\beta}{1-\beta^t} \sum_{s=1}^{t} \beta^{t-s}\, w_s,\]
    with the correction of Adam, so that the first weights, which are random, do not count. The
    training goes on from \(w_t\). Validation, other callbacks, best.ckpt and the trained program
    have \(\bar w_t\), so the weights that are kept are those that were validated. Buffers are not
    averaged. The average starts again when a prior starts or loses components.

    Arguments:
        decay: \(\beta\); about 1 / (1 - decay) steps count.

    Raises:
        InputError: unless 0 <= decay < 1.

    Reference:
        Polyak & Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging"; Kingma &
        Ba (2015), "Adam", section 7.2.

    Example:
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> average = pv.callbacks.ExponentialAverage(decay=0.99)
        >>> run = pv.fit(vae, data, epochs=2, progress=False, callbacks=[average])
        >>> average.count  # steps
        18
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = number("decay of ExponentialAverage", decay, least=0.0, below=1.0)
        self.count = 0
        self.average: dict[str, Tensor] = {}

    def on_start(self, run: Running) -> None:
        """Take the average of the checkpoint, or start with the weights.

        Raises:
            InputError: if the checkpoint has the average of other tensors.
        """
        if not self.average:
            self.on_change(run)
        shapes = {name: weight.shape for name, weight in run.weights.items()}
        if {name: weight.shape for name, weight in self.average.items()} != shapes:
            raise InputError(
                "the checkpoint has an average of other weights: declare the model as it was saved"
            )
        self.average = {name: self.average[name].to(weight) for name, weight in run.weights.items()}

    def on_step(self, run: Running) -> None:
        """Add the weights of this step."""
        self._lay_out(run.weights)
        self.count += 1
        share = (1 - self.decay) / (1 - self.decay**self.count)
        torch._foreach_lerp_(list(self.average.values()), list(run.weights.values()), share)

    def _lay_out(self, weights: Mapping[str, Tensor]) -> None:
        """Give the average the strides of the weights, as different ones take ten times as long."""
        for name, weight in weights.items():
            if self.average[name].stride() != weight.stride():
                self.average[name] = torch.empty_like(weight).copy_(self.average[name])

    def on_change(self, run: Running) -> None:
        """Start again."""
        self.count = 0
        self.average = {name: weight.detach().clone() for name, weight in run.weights.items()}

    def kept_weights(self, run: Running) -> Mapping[str, Tensor]:
        """The average."""
        return self.average

    def state(self) -> dict[str, Any]:
        """The average, and the number of steps in it."""
        return {"count": self.count, "average": self.average} if self.average else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue with the average of a checkpoint."""
        self.count, self.average = (state["count"], dict(state["average"])) if state else (0, {})
