"""The memory layout of weights during compiled steps on a CPU.

A linear layer computes x W^T with W of shape (out, in). For a small batch the forward product is up
to four times as fast if W^T is contiguous, which is more than the backward product loses. So
compiled steps of small batches use transposed memory, with the same values and shapes but other
strides. Pyro's store, torch's fused optimisers and checkpoints see the usual layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["Layout", "turnable"]

# Above this number of rows the cost of packing W is small compared with the product.
SMALL_BATCH = 64


class Layout:
    """The memory of some weights and their moments.

    Arguments:
        groups: a weight (out, in) and its moments, for each weight.
    """

    def __init__(self, groups: Sequence[Sequence[Tensor]]) -> None:
        self.tensors = [tensor for group in groups for tensor in group]
        self.turned = False

    def turn(self) -> None:
        """Store each tensor as (in, out)."""
        if not self.turned:
            for tensor in self.tensors:
                tensor.data = tensor.data.t().contiguous().t()
        self.turned = True

    def straighten(self) -> None:
        """Store each tensor as (out, in) again."""
        if self.turned:
            for tensor in self.tensors:
                tensor.data = tensor.data.contiguous()
        self.turned = False

    @contextmanager
    def turned_for_now(self) -> Iterator[None]:
        """Use the (in, out) layout inside the context."""
        self.turn()
        try:
            yield
        finally:
            self.straighten()


def turnable(module: nn.Module | None, weights: Sequence[Tensor], rows: int) -> list[int]:
    """The indices of the weights to transpose for batches of this number of rows."""
    if module is None or rows > SMALL_BATCH:
        return []
    linear = {id(m.weight) for m in module.modules() if isinstance(m, nn.Linear)}
    return [i for i, w in enumerate(weights) if id(w) in linear and not w.is_cuda and min(w.shape) > 1]
