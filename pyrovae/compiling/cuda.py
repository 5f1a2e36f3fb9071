"""A graph's kernels on a GPU, recorded as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrovae.compiling.quiet import compiling, random_state, set_random_state

__all__ = ["recorded"]

Run = Callable[[list[Tensor]], list[Tensor]]


def recorded(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """What replays a graph; inputs that are other tensors than at first are copied into those."""
    from torch._inductor import standalone_compile

    with compiling():
        code: Any = standalone_compile(module, [*inputs], dynamic_shapes="from_example_inputs")
        outputs, replay = _record(code, inputs)

    def run(given: list[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            for mine, theirs in zip(inputs, given, strict=True):
                if mine is not theirs:
                    mine.copy_(theirs)
        replay()
        return outputs

    return run


def _record(code: Any, held: list[Tensor]) -> tuple[list[Tensor], Callable[[], None]]:  # noqa: ANN401
    """Warm up, which changes tensors and draws; put all back; record."""
    device = held[0].device
    before, random = [tensor.clone() for tensor in held], random_state(device)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            code(*held)
    torch.cuda.current_stream(device).wait_stream(stream)
    for tensor, old in zip(held, before, strict=True):
        tensor.copy_(old)
    set_random_state(random, device)
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording):
        outputs = list(code(*held))
    return outputs, recording.replay
