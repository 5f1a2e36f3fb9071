"""Kernels of a graph on a GPU, recorded as a CUDA graph.

A CUDA graph reads and writes fixed addresses, those of the inputs with which it was recorded. Later
inputs with other memory are copied to these addresses, which overwrites the first inputs. They are
copied only if they have changed since the last copy, so the data of an epoch are copied once and
not at every step. If the graph changes an input, the new values are copied back to the caller's
tensor, and the first input keeps its values.

Random numbers come from torch's own kernels (`fallback_random`), whose generator is registered with
the graph. Compiling, warming up and recording change neither the inputs nor the random state.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.compiling.quiet import compiling, random_state, set_random_state
from pyrovae.compiling.storage import folder_to_write
from pyrovae.compiling.tools import private_tools

__all__ = ["Recording", "recorded", "written"]

Run = Callable[[list[Tensor]], list[Tensor]]

OPTIONS = {
    "fallback_random": True,  # torch's own generator and order
    "triton.cudagraphs": False,  # the graph is recorded here
}
WARMUPS = 3


def recorded(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Run:
    """Make a function that replays a graph; its inputs have the shapes of the recorded ones."""
    return Recording(module, inputs)


class Recording:
    """The kernels of a graph, called with its inputs; returns its outputs.

    An output is valid until the next call.

    Arguments:
        module: a traced function.
        inputs: its inputs; the first one gives the device.
    """

    def __init__(self, module: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> None:
        self.device = inputs[0].device
        # Aliases keep the memory alive if a parameter gets other memory (`.data =`).
        self.places = [t.detach().to(self.device) for t in inputs]
        self.pointers = [place.data_ptr() for place in self.places]
        self.written = written(module)
        self.copied: list[tuple[Tensor, float] | None] = [None for _ in inputs]
        before = {i: self.places[i].clone() for i in self.written}
        random = random_state(self.device)

        def restore() -> None:
            for i, old in before.items():
                self.places[i].copy_(old)
            set_random_state(random, self.device)

        with compiling(), private_tools(folder_to_write()):
            code = _compiled(module, self.places)
            set_random_state(random, self.device)  # the compiler times kernels on random numbers
            self.outputs, self.replay = _captured(lambda: list(code(*self.places)), restore, self.device)

    @torch.no_grad()
    def __call__(self, values: Sequence[Tensor]) -> list[Tensor]:
        lent: dict[int, Tensor] = {}
        for i, value in enumerate(values):
            if value.data_ptr() != self.pointers[i]:
                if i in self.written:
                    lent[i] = self.places[i].clone()
                self._copy(i, value)
            elif self.copied[i] is not None:
                raise RuntimeError(f"the memory of input {i} was used for other values between calls")
        self.replay()
        for i, own in lent.items():
            values[i].copy_(self.places[i])
            self.places[i].copy_(own)
        # New tensors, since a replay changes values without counting up a tensor's version.
        return [output.detach() for output in self.outputs]

    def _copy(self, i: int, value: Tensor) -> None:
        """Copy an input to its recorded address, unless the values there are up to date.

        Raises:
            RuntimeError: for another shape, since `copy_` might broadcast it.
        """
        if value.shape != self.places[i].shape:
            was, now = tuple(self.places[i].shape), tuple(value.shape)
            raise RuntimeError(f"the graph was recorded with input {i} of shape {was}, not {now}")
        last, version = self.copied[i], _version(value)
        if i in self.written:
            self.places[i].copy_(value)
        elif last is None or last[0] is not value or last[1] != version:
            self.places[i].copy_(value)
            self.copied[i] = value, version


def _version(value: Tensor) -> float:
    """A number that changes with the values; NaN if torch does not count the changes."""
    return math.nan if value.is_inference() else value._version


def _compiled(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:  # noqa: ANN401
    from torch._inductor import standalone_compile

    options = {"config_patches": dict(OPTIONS)}
    return standalone_compile(module, [*inputs], dynamic_shapes="from_example_inputs", options=options)


def _captured(
    call: Callable[[], list[Tensor]], restore: Callable[[], None], device: torch.device
) -> tuple[list[Tensor], Callable[[], None]]:
    """Warm up and record a call; `restore` undoes the changes of a call."""
    with _aside(device) as stream:
        for _ in range(WARMUPS):
            call()
            restore()  # after each, since a step counts itself, and the next batch may not exist
        return _replayable(call, stream)


@contextlib.contextmanager
def _aside(device: torch.device) -> Iterator[torch.cuda.Stream]:
    """Work on a separate stream, for which the current one waits."""
    usual, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(usual)
    try:
        with torch.cuda.stream(side):  # left after a failure, unlike torch's own
            yield side
    finally:
        usual.wait_stream(side)


def _replayable(
    call: Callable[[], list[Tensor]], stream: torch.cuda.Stream
) -> tuple[list[Tensor], Callable[[], None]]:
    """Record a call without running it; returns its outputs and a function that replays it."""
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads may allocate memory during the recording.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = call()
    except BaseException:
        _leave_capture(stream)
        raise
    return outputs, graph.replay


def _leave_capture(stream: torch.cuda.Stream) -> None:
    """End the capture mode of the random generator after a failure.

    Otherwise torch refuses to draw random numbers ever after ("offset increment outside graph
    capture", issue 171263 of torch). A successful capture ends the mode.
    """
    with contextlib.suppress(RuntimeError):
        some = torch.zeros(1, device=stream.device)
        with torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream, capture_error_mode="thread_local"):
            some.add_(1.0)


def written(module: torch.fx.GraphModule) -> set[int]:
    """The positions of the inputs that a graph changes, directly or through views."""
    nodes = list(module.graph.nodes)
    places = [node for node in nodes if node.op == "placeholder"]
    roots, changed = {node: i for i, node in enumerate(places)}, set[int]()
    for node in nodes:
        for part, is_written in _aliased(node):
            if part in roots:
                roots[node] = roots[part]
                changed |= {roots[part]} if is_written else set()
    return changed


def _aliased(node: torch.fx.Node) -> Iterator[tuple[torch.fx.Node, bool]]:
    """The arguments that an operation changes or returns views of, and whether it changes them."""
    if node.target is operator.getitem:
        yield node.args[0], False  # type: ignore[misc]
    schema = getattr(node.target, "_schema", None)
    for place, argument in enumerate(() if schema is None else schema.arguments):
        value: Any = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
        if argument.alias_info is not None:
            for part in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(part, torch.fx.Node):
                    yield part, argument.alias_info.is_write
