"""Traced and compiled functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import getitem

import torch
from torch import Tensor

from pyrovae.compiling import background, cuda, native
from pyrovae.compiling.background import Build
from pyrovae.compiling.quiet import first_line
from pyrovae.errors import Uncapturable
from pyrovae.sharing import is_shared

__all__ = ["Compiled", "Graph", "Making"]


@dataclass(frozen=True)
class Graph:
    """A traced function.

    Attributes:
        module: the operations; its inputs are those of the function, then the lifted ones.
        lifted: the other tensors that the function uses.
        key: a hash of everything that the machine code depends on.
    """

    module: torch.fx.GraphModule
    lifted: list[Tensor]
    key: str

    @property
    def changed(self) -> list[Tensor]:
        """The lifted tensors that the graph changes."""
        nodes = list(self.module.graph.nodes)
        roots = {_root(node.args[0]) for node in nodes if node.args and _changes(node.target)}
        places = [node for node in nodes if node.op == "placeholder"]
        pairs = zip(places[len(places) - len(self.lifted) :], self.lifted, strict=True)
        return [tensor for place, tensor in pairs if place in roots]

    @property
    def is_stored(self) -> bool:
        """Whether it was compiled before, on this machine or a similar one."""
        return native.is_stored(self.key)

    def start(self, inputs: Sequence[Tensor]) -> Build | None:
        """Start to compile the graph in another process; None on a GPU or without such processes.

        Raises:
            Uncapturable: when the compilation cannot be started.
        """
        every = [*inputs, *self.lifted]
        if every[0].is_cuda or not background.can_start():
            return None
        native.refuse(self.module)
        return Build(self.module, self.key, every)

    def compiled(self, inputs: Sequence[Tensor]) -> Compiled:
        """Compile the graph, or load it from disk; on a GPU this gives a CUDA graph.

        Raises:
            Uncapturable: when there is no compiler, or the cache cannot be written.
        """
        start, every = time.perf_counter(), [*inputs, *self.lifted]
        try:
            on_gpu = every[0].is_cuda
            run = cuda.recorded(self.module, every) if on_gpu else native.loaded(self.module, self.key, every)
        except Uncapturable:
            raise
        except Exception as error:
            raise Uncapturable(f"it could not be compiled: {first_line(error)}") from error
        return Compiled(run, self.lifted, time.perf_counter() - start)


def _changes(target: object) -> bool:
    """Whether an operation changes its first argument."""
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _is_view(target: object) -> bool:
    return target is getitem or (isinstance(target, torch._ops.OpOverload) and target.is_view)


def _root(node: object) -> object:
    """The node of which an argument is a view, or the argument itself."""
    while isinstance(node, torch.fx.Node) and _is_view(node.target):
        node = node.args[0]
    return node if isinstance(node, torch.fx.Node) else None


@dataclass(frozen=True)
class Compiled:
    """A compiled graph, called with the inputs of the function; returns its outputs as a list.

    Attributes:
        seconds: the time that compiling or loading took.
    """

    run: Callable[[list[Tensor]], list[Tensor]]
    lifted: list[Tensor]
    seconds: float

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return self.run([*inputs, *self.lifted])


class Making:
    """The code of a graph, which another process compiles meanwhile if it can.

    Several processes that share one evaluation compile at once, each for itself.

    Arguments:
        graph: the graph.
        inputs: the inputs of its function.
    """

    def __init__(self, graph: Graph, inputs: Sequence[Tensor]) -> None:
        self.graph, self.inputs = graph, inputs
        self.build: Build | None = None

    def code(self, *, wait: bool) -> Compiled | None:
        """The code, or None as long as another process compiles it.

        Arguments:
            wait: compile in this process, without another one.

        Raises:
            Uncapturable: when it cannot be compiled.
        """
        if self.build is None and not (wait or self.graph.is_stored or is_shared()):
            self.build = self.graph.start(self.inputs)
        if self.build is not None:
            if not self.build.is_done:
                return None
            build, self.build = self.build, None
            build.finish()
        return self.graph.compiled(self.inputs)

    def close(self) -> None:
        """End a compilation that nothing waits for any more."""
        if self.build is not None:
            self.build.cancel()
            self.build = None
