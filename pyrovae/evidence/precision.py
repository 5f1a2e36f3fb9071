"""Fewer bits in the networks, where that changes nothing that can be seen.

The networks' matrix products may run in tf32 (CUDA) or bfloat16; every log-density stays in the precision
of the parameters, since a network's output is cast back before a distribution is built. Whether bfloat16 is
good enough is measured, not believed: with the same draws, on some of the data, the mean must move by less
than its Monte Carlo error, and it must be faster.
"""

from __future__ import annotations

import math
import time
from typing import Literal, get_args

from torch import Tensor

from pyrovae.errors import InputError
from pyrovae.evidence.methods import Method
from pyrovae.evidence.run import Pieces
from pyrovae.networks import Precision as Fixed
from pyrovae.networks import products_in
from pyrovae.sharing import agreed
from pyrovae.vae import VAE

__all__ = ["Precision", "chosen"]

Precision = Fixed | Literal["auto"]
PILOT_ROWS = 32


def chosen(wanted: Precision, method: Method, pieces: Pieces, particles: int) -> tuple[Fixed, dict[str, str]]:
    """The precision to use, and what is said of it: for "auto" what a pilot on some of the data allows.

    Raises:
        InputError: for fewer bits in a program that is no VAE, whose own products would be cast too.
    """
    if wanted in ("bf16", "auto") and not isinstance(pieces.program.target, VAE):
        raise InputError(f"precision {wanted!r} needs a VAE, whose networks are known; use float32")
    if wanted != "auto":
        if wanted not in get_args(Fixed):
            raise InputError(f"unknown precision {wanted!r}: choose float32, tf32, bf16 or auto")
        with products_in(wanted, pieces.x.device):
            return wanted, {} if wanted == "float32" else {"precision": wanted}
    few = pieces.few(PILOT_ROWS)
    exact, seconds = _measured(method, few, particles, "float32")
    coarse, faster = _measured(method, few, particles, "bf16")
    change = (coarse[0] - exact[0]).mean().abs()
    error = exact[1].square().mean().sqrt() / math.sqrt(len(pieces.x))  # of the mean over all data
    good = bool(change < error) and faster < seconds
    found: Fixed = agreed("bf16" if good else "float32")
    return found, {"precision": f"{found} (bf16 moves the mean by {change:.1g}, its error is {error:.1g})"}


def _measured(method: Method, few: Pieces, particles: int, precision: Fixed) -> tuple[Tensor, float]:
    rows = slice(0, len(few.x))
    with products_in(precision, few.x.device):
        method.summary(few, slice(0, 1), particles)  # what is done once is not measured
        began = time.perf_counter()
        return method.summary(few, rows, particles).cpu(), time.perf_counter() - began
