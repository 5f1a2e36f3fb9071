"""`demo`: a whole run on handwritten digits."""

from __future__ import annotations

import torch

from pyrovae import training
from pyrovae.cli.commands.evaluate import evaluate
from pyrovae.datasets import load
from pyrovae.networks import MLP
from pyrovae.sharing import print_first
from pyrovae.vae import VAE

__all__ = ["demo"]


def demo(*, out: str = "runs/demo", epochs: int = 150, resume: bool = False) -> None:
    """Train, evaluate and plot a small VAE of digits, in a minute.

    Arguments:
        out: the run folder.
        epochs: passes over the training data.
        resume: resume the run in `out`; start a new one if `out` does not exist.

    Example:
        pyrovae demo
        pyrovae demo --out runs/first --epochs 20
    """
    data = load("digits", binarize="threshold")
    torch.manual_seed(0)
    vae = VAE(data.event_shape, latent_dim=8, encoder=MLP(200, 200), decoder=MLP(200, 200))
    print_first(vae, data)
    print_first(training.fit(vae, data, epochs=epochs, batch_size=64, out=out, resume=resume))
    evaluate(out, particles=1000)
    print_first(f"everything is in {out}: config.yaml, metrics.csv, the checkpoints, evidence.json, figures/")
