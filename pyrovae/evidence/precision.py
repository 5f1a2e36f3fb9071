"""Lower precision in the networks, if it does not affect the result noticeably.

The networks' matrix products may run in tf32 (CUDA) or bfloat16; every log-density stays in the
precision of the parameters, since a network's output is cast back before a distribution is built.
"auto" measures whether bfloat16 is good enough. With the same samples, on some of the rows, the
mean must change by less than its Monte Carlo error, and bfloat16 must be faster.
"""

from __future__ import annotations

import math
import time
from typing import Literal

from torch import Tensor

from pyrovae.checks import one_of
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


def chosen(
    precision: Precision, method: Method, pieces: Pieces, particles: int
) -> tuple[Fixed, dict[str, str]]:
    """The precision to use, and a remark on it; for "auto" it depends on a pilot with some rows.

    Raises:
        InputError: for a lower precision of a program that is not a VAE, since all its products
            would be cast.
    """
    one_of("precision", precision, ("float32", "tf32", "bf16", "auto"))
    if precision in ("bf16", "auto") and not isinstance(pieces.runner.target, VAE):
        raise InputError(f"precision {precision!r} needs a VAE, whose networks are known; use float32")
    if precision != "auto":
        with products_in(precision, pieces.device):  # refuses what this device cannot do
            return precision, {} if precision == "float32" else {"precision": precision}
    pilot = pieces.pilot(PILOT_ROWS)
    exact, seconds = _measured(method, pilot, particles, "float32")
    coarse, coarse_seconds = _measured(method, pilot, particles, "bf16")
    change = (coarse[0] - exact[0]).mean().abs()
    error = exact[1].square().mean().sqrt() / math.sqrt(len(pieces))  # of the mean over all rows
    is_good = bool(change < error) and coarse_seconds < seconds
    best: Fixed = agreed("bf16" if is_good else "float32")
    return best, {"precision": f"{best} (bf16 moves the mean by {change:.1g}, its error is {error:.1g})"}


def _measured(method: Method, pilot: Pieces, particles: int, precision: Fixed) -> tuple[Tensor, float]:
    with products_in(precision, pilot.device):
        method.summary(pilot.take(slice(1)), particles)  # one-time work is not measured
        began = time.perf_counter()
        return method.summary(pilot, particles).cpu(), time.perf_counter() - began
