"""Tracing of functions of tensors."""

from __future__ import annotations

import contextlib
import hashlib
import io
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.compiling.fusable import Fusable
from pyrovae.compiling.graph import Graph
from pyrovae.compiling.native import OPTIONS
from pyrovae.compiling.quiet import validation_kept
from pyrovae.compiling.reasons import NoNumbers, python_state, reason
from pyrovae.compiling.triangular import with_known_solves
from pyrovae.errors import Uncapturable

__all__ = ["traced"]


def traced(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    *,
    watched: Sequence[Any] = (),
    changed: Sequence[Tensor] = (),
) -> Graph:
    """Trace a function of tensors; nothing is computed, drawn or changed.

    Arguments:
        function: called once with stand-ins for `inputs`; returns a tuple of tensors.
        inputs: tensors with the shapes, types and devices of the graph's inputs.
        watched: modules and functions whose Python state must not change.
        changed: the inputs that the function changes. Other tensors that it uses, such as
            parameters, may be views of them, and are then the same views of those inputs.

    Raises:
        Uncapturable: with the reason, when the function cannot be traced.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    def without_numbers(*args: Tensor) -> Sequence[Tensor]:
        with NoNumbers(), Fusable():
            return function(*args)

    before, printed, random = python_state(watched), io.StringIO(), torch.get_rng_state()
    capture = make_fx(without_numbers, tracing_mode="fake", _allow_non_fake_inputs=True)
    try:
        with contextlib.redirect_stdout(printed), validation_kept(), _buffers_kept(watched):
            graph = _lifted(capture(*inputs), inputs, changed)
    except Exception as error:
        raise Uncapturable(reason(error)) from error
    finally:
        torch.set_rng_state(random)
    altered = sorted(name for name, value in python_state(watched).items() if before.get(name) != value)
    if altered:
        raise Uncapturable(f"it changes {altered[0]} in Python at every call")
    if printed.getvalue():
        raise Uncapturable(f"it prints at every call ({printed.getvalue().splitlines()[0][:40]!r})")
    return graph


@contextlib.contextmanager
def _buffers_kept(watched: Sequence[Any]) -> Iterator[None]:
    """Restore buffers, which the tracer changes as the function does."""
    modules = [thing for thing in watched if isinstance(thing, torch.nn.Module)]
    buffers = [buffer for module in modules for buffer in module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, old in zip(buffers, before, strict=True):
                buffer.copy_(old)


def _lifted(module: torch.fx.GraphModule, inputs: Sequence[Tensor], changed: Sequence[Tensor]) -> Graph:
    """Turn the other tensors of a traced function into inputs, so that they are not constants.

    Views of inputs that the function changes remain views. Any other tensor that shares memory with
    an input, as rows of the same data may do, is an input of its own: later calls get other inputs.
    """
    graph, own = module.graph, dict[int, int]()
    graph.eliminate_dead_code()
    with_known_solves(graph)
    places = [node for node in graph.nodes if node.op == "placeholder"]
    bound = {id(tensor) for tensor in changed}
    bases = {_memory(t): places[i] for i, t in enumerate(inputs) if id(t) in bound and t.numel()}
    lifted: list[Tensor] = []
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        tensor = getattr(module, str(node.target))
        if _memory(tensor) in bases:
            view = (bases[_memory(tensor)], tensor.shape, tensor.stride(), tensor.storage_offset())
            with graph.inserting_before(places[-1].next):
                replacement = graph.call_function(torch.ops.aten.as_strided.default, view)
            replacement.meta = dict(node.meta)
            node.replace_all_uses_with(replacement)
            graph.erase_node(node)
            continue
        if id(tensor) not in own:
            own[id(tensor)] = len(places)
            lifted.append(tensor)
            with graph.inserting_before(places[-1].next):
                places.append(graph.placeholder(f"lifted_{len(lifted)}"))
                places[-1].meta = dict(node.meta)
        node.replace_all_uses_with(places[own[id(tensor)]])
        graph.erase_node(node)
    # Tensors left on the module would become inputs a second time.
    module = torch.fx.GraphModule(torch.nn.Module(), graph)
    return Graph(module, lifted, _key(module, [*inputs, *lifted]))


def _memory(tensor: Tensor) -> tuple[int, torch.dtype]:
    return tensor.untyped_storage().data_ptr(), tensor.dtype


def _key(module: torch.fx.GraphModule, tensors: Sequence[Tensor]) -> str:
    shapes = [(tuple(t.shape), t.stride(), t.dtype, t.device.type) for t in tensors]
    machine = (platform.machine(), torch.backends.cpu.get_cpu_capability(), _processor())
    # Compiled loops depend on the number of threads.
    settings = (torch.__version__, torch.get_num_threads(), torch.get_default_dtype(), sys.platform, OPTIONS)
    return hashlib.sha256(repr((str(module.graph), shapes, machine, settings)).encode()).hexdigest()[:32]


def _processor() -> str:
    """The features of this processor, which the code may depend on."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        return next((line for line in file if line.startswith(("flags", "Features"))), "")
    return platform.processor()
