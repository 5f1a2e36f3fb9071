"""Kernels of a graph on a GPU, recorded as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrovae.compiling.quiet import compiling, random_state, set_random_state
from pyrovae.compiling.storage import folder_to_write
from pyrovae.compiling.tools import private_tools

__all__ = ["recorded"]

Run = Callable[[list[Tensor]], list[Tensor]]


def recorded(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """Make a function that replays a graph; new input tensors are copied into the recorded ones."""
    from torch._inductor import standalone_compile

    with compiling(), private_tools(folder_to_write()):
        code: Any = standalone_compile(module, [*inputs], dynamic_shapes="from_example_inputs")
        outputs, replay = _record(code, inputs)

    def run(values: list[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            for recorded_input, value in zip(inputs, values, strict=True):
                if recorded_input is not value:
                    recorded_input.copy_(value)
        replay()
        return outputs

    return run


def _record(code: Any, inputs: list[Tensor]) -> tuple[list[Tensor], Callable[[], None]]:  # noqa: ANN401
    """Warm up, restore the tensors and the random state that this changed, and record."""
    device = inputs[0].device
    before, random = [tensor.clone() for tensor in inputs], random_state(device)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            code(*inputs)
    torch.cuda.current_stream(device).wait_stream(stream)
    for tensor, old in zip(inputs, before, strict=True):
        tensor.copy_(old)
    set_random_state(random, device)
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording):
        outputs = list(code(*inputs))
    return outputs, recording.replay
