"""Lower precision in the networks, if it does not affect the result noticeably.

The networks' matrix products may run in tf32 (CUDA) or bfloat16; every log-density stays in the
precision of the parameters, since a network's output is cast back before a distribution is built.
"auto" measures whether bfloat16 is good enough. With the same samples, on some of the rows, the
mean must change by less than its Monte Carlo error, and bfloat16 must be faster.

Many processors multiply matrices more slowly in bfloat16 than in float32, and their names do not
tell which. So "auto" times matrix products in both types in turn, casts included, which takes
milliseconds. It stays with float32 unless both the products and the pilot run are clearly faster in
bfloat16. precision="bf16" always uses bfloat16.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from typing import Literal

import torch
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
# Products in bfloat16 must be WORTH times as fast, since the rest of a piece gains nothing.
WORTH, ROUNDS = 1.2, 7
CLEARLY = 0.95  # a pilot in bfloat16 must take less than this share of the time in float32


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
    gain = agreed(speed_of_bf16(pieces.device.type, torch.get_num_threads()))
    is_faster = gain > WORTH and coarse_seconds < CLEARLY * seconds
    best: Fixed = agreed("bf16" if is_faster and bool(change < error) else "float32")
    moves = f"bf16 moves the mean by {change:.1g}, its error is {error:.1g}"
    return best, {"precision": f"{best} ({moves}; products are {gain:.1f} times as fast)"}


@functools.cache
def speed_of_bf16(device: str, threads: int) -> float:
    """How many times as fast matrix products in bfloat16, casts included, are as in float32.

    Arguments:
        device: the type of the device.
        threads: the current number of threads; it only separates the cached results.
    """
    rows, weights = torch.ones(2000, 512, device=device), torch.ones(512, 512, device=device)

    def seconds(dtype: torch.dtype) -> float:
        began = time.perf_counter()
        float((rows.to(dtype) @ weights.to(dtype)).to(torch.float32)[0, 0])  # waits for the GPU
        return time.perf_counter() - began

    rounds = [(seconds(torch.float32), seconds(torch.bfloat16)) for _ in range(ROUNDS + 2)][2:]
    return statistics.median(exact / coarse for exact, coarse in rounds)


def _measured(method: Method, pilot: Pieces, particles: int, precision: Fixed) -> tuple[Tensor, float]:
    with products_in(precision, pilot.device):
        method.summary(pilot.take(slice(1)), particles)  # one-time work is not measured
        began = time.perf_counter()
        return method.summary(pilot, particles).cpu(), time.perf_counter() - began
