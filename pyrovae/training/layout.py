"""How weights lie in memory while captured steps run on a CPU.

A linear layer computes x W^T with W of shape (out, in). For a small batch the products of the CPU's library
are up to four times as fast when W^T is what lies in rows, forward by more than backward loses. So the
captured steps of a small batch work on turned weights: the same numbers under the same shapes, other strides.
Everybody else (Pyro's store, torch's fused optimisers, checkpoints) sees them straight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["Layout", "turnable"]

# Above this many rows the library's own packing of W costs little beside the product.
SMALL_BATCH = 64


class Layout:
    """The memory of some weights and of what is kept beside each.

    Arguments:
        groups: tensors of one shape (out, in) that are turned together, a weight and its moments.
    """

    def __init__(self, groups: Sequence[Sequence[Tensor]]) -> None:
        self.tensors = [tensor for group in groups for tensor in group]
        self.turned = False

    def turn(self) -> None:
        """Lay each as (in, out)."""
        if not self.turned:
            for tensor in self.tensors:
                tensor.data = tensor.data.t().contiguous().t()
        self.turned = True

    def straighten(self) -> None:
        """Lay each as (out, in) again."""
        if self.turned:
            for tensor in self.tensors:
                tensor.data = tensor.data.contiguous()
        self.turned = False

    @contextmanager
    def turned_for_now(self) -> Iterator[None]:
        """Turned inside, straight afterwards."""
        self.turn()
        try:
            yield
        finally:
            self.straighten()


def turnable(module: nn.Module | None, weights: Sequence[Tensor], rows: int) -> list[int]:
    """The numbers of those weights that are worth turning for batches of so many rows."""
    if module is None or rows > SMALL_BATCH:
        return []
    linear = {id(m.weight) for m in module.modules() if isinstance(m, nn.Linear)}
    return [i for i, w in enumerate(weights) if id(w) in linear and not w.is_cuda and min(w.shape) > 1]
