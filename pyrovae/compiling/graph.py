"""A traced function, and the compiled one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrovae.compiling import cuda, native
from pyrovae.compiling.quiet import first_line
from pyrovae.errors import Uncapturable

__all__ = ["Compiled", "Graph"]


@dataclass(frozen=True)
class Graph:
    """A traced function.

    Attributes:
        module: the operations; its inputs are those of the function and then the lifted ones.
        lifted: the tensors that the function touched beside its inputs.
        key: a hash of all that decides the machine code.
    """

    module: torch.fx.GraphModule
    lifted: list[Tensor]
    key: str

    @property
    def is_stored(self) -> bool:
        """Whether it was compiled before, on this machine or one like it."""
        return native.is_stored(self.key)

    def compiled(self, inputs: Sequence[Tensor]) -> Compiled:
        """Machine code for this graph, from the disk when it is there; on a GPU a CUDA graph.

        Raises:
            Uncapturable: when there is no compiler, or the cache cannot be written.
        """
        began, held = time.perf_counter(), [*inputs, *self.lifted]
        try:
            on_gpu = held[0].is_cuda
            run = cuda.recorded(self.module, held) if on_gpu else native.loaded(self.module, self.key, held)
        except Uncapturable:
            raise
        except Exception as error:
            raise Uncapturable(f"it could not be compiled: {first_line(error)}") from error
        return Compiled(run, self.lifted, time.perf_counter() - began)


@dataclass(frozen=True)
class Compiled:
    """A compiled graph: called with the inputs of the function, gives its outputs as a list.

    Attributes:
        seconds: what it took to compile or to load.
    """

    run: Callable[[list[Tensor]], list[Tensor]]
    lifted: list[Tensor]
    seconds: float

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return self.run([*inputs, *self.lifted])
