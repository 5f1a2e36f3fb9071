"""`export`: encoder, decoder and log p(x) of a run as files that other programs run."""

from __future__ import annotations

from typing import Literal

from pyrovae import exporting
from pyrovae.cli.runs import results_of
from pyrovae.errors import InputError
from pyrovae.sharing import is_shared, print_first

__all__ = ["export"]


def export(
    run: str,
    *,
    to: Literal["onnx", "torch"] = "onnx",
    out: str | None = None,
    trust: str | None = None,
) -> None:
    """Write encoder, decoder and log p(x) to files for other programs.

    The encoder takes x and gives the mean and the parameters of q(z|x). The decoder takes z and
    gives those of p(x|z). The function score takes x and standard normal noise, and gives the
    importance weights and the bound L_K on log p(x). x is in the units of the data, with any number
    of rows. Each file is run and compared with the model. README.md in the folder lists the inputs
    and outputs.

    Arguments:
        run: the run folder, or a model file.
        to: onnx, for onnxruntime and others; torch, for torch.export.load.
        out: the folder to write; by default RUN/onnx or RUN/torch.
        trust: trusted modules outside PyroVAE that the run may name, separated by commas.

    Example:
        pyrovae export runs/digits
        pyrovae export digits.pyrovae --to torch --out digits-torch
    """
    if is_shared():
        raise InputError("export runs in one process: start it without torchrun")
    print_first(exporting.export(run, to, out=results_of(run) / to if out is None else out, trust=trust))
