"""log p(x) of validation rows while a run trains."""

from __future__ import annotations

from collections.abc import Mapping

from pyrovae.checks import whole
from pyrovae.evidence import log_evidence
from pyrovae.part import Declared
from pyrovae.training import Callback, Running

__all__ = ["Evidence"]


class Evidence(Declared, Callback):
    r"""Estimate log p(x) of validation rows every few epochs, and after the last one.

    It adds two metrics, in nats per observation: `log_px`, the mean of the importance-weighted
    bound \(\mathcal L_K\), and `log_px_error`, its standard error over the rows. They are nan in
    `Run.history` for other epochs. The noise is the same every time.

    Arguments:
        every: the number of epochs between two estimates.
        particles: K, samples of z for each row.
        rows: only this many rows, from the first on; None takes all.

    Raises:
        InputError: for a number below 1.

    Example:
        >>> import pyrovae as pv
        >>> data = pv.datasets.load("digits", binarize="threshold", count=200)
        >>> vae = pv.VAE(data.event_shape, latent_dim=2)
        >>> evidence = pv.callbacks.Evidence(every=2, particles=20, rows=50)
        >>> run = pv.fit(vae, data, epochs=2, progress=False, callbacks=[evidence])
        >>> [bool(value < 0) for value in run.history["log_px"]]  # not estimated, and below 0
        [False, True]
    """

    def __init__(self, every: int = 10, particles: int = 100, rows: int | None = None) -> None:
        self.every = whole("every of Evidence", every)
        self.particles = whole("particles of Evidence", particles)
        self.rows = None if rows is None else whole("rows of Evidence", rows)

    def on_epoch(self, run: Running) -> Mapping[str, float]:
        """Estimate log p(x), if it is time to."""
        if run.epoch % self.every and run.epoch < run.epochs:
            return {}
        rows = run.data.validation[: self.rows].unlabelled()
        evidence = log_evidence(run.program, rows, particles=self.particles, compile=False)
        if evidence.partial:  # Ctrl-C, which also ends the run
            return {}
        return {"log_px": evidence.mean, "log_px_error": evidence.stderr}
