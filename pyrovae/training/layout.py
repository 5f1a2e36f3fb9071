"""The memory of weights and moments during compiled steps.

Small weights, such as biases, are parts of one vector, so that one loop updates all of them. Each
large weight has a vector of its own. Moments are stored in the same way. The tensors keep their
shapes and become views of the vectors, so modules, Pyro's store and torch's optimiser see the usual
values.

On a CPU, some weights are stored transposed. A linear layer computes x W^T with W of shape (out,
in). For a small batch the forward product is up to four times as fast if W^T is contiguous, which
is more than the backward product loses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Layout", "turnable"]

# Above this number of rows the cost of packing W is small compared with the product.
SMALL_BATCH = 64
# Below this number of entries, copying a gradient into a vector costs less than a separate loop.
FEW = 2048


class Layout:
    """The memory of some weights and their moments.

    Arguments:
        groups: for each weight, the weight and its moments.
        turned: the positions of the weights (out, in) that are stored as (in, out).

    Attributes:
        vectors: lists, each with a vector of weights and one vector for each of their moments.
    """

    def __init__(self, groups: Sequence[Sequence[Tensor]], turned: Collection[int] = ()) -> None:
        self.groups, self.turned = groups, set(turned)
        self.members = _members([group[0] for group in groups])
        self.vectors = [self._vectors(members) for members in self.members]
        self.is_entered = False

    def enter(self) -> None:
        """Copy the tensors into the vectors and make them views of these."""
        if not self.is_entered:
            for members, vectors in zip(self.members, self.vectors, strict=True):
                for kind, vector in enumerate(vectors):
                    self._bind(members, kind, vector)
        self.is_entered = True

    def leave(self) -> None:
        """Give each tensor its own contiguous memory again."""
        if self.is_entered:
            for group in self.groups:
                for tensor in group:
                    tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
        self.is_entered = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Use the vectors inside the context."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def packed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Pack one tensor for each weight, of its shape, into vectors like those of the weights."""
        flat = [self._stored(number, tensor).reshape(-1) for number, tensor in enumerate(tensors)]
        parts = [[flat[number] for number in members] for members in self.members]
        return [torch.cat(some) if len(some) > 1 else some[0] for some in parts]

    def _vectors(self, members: Sequence[int]) -> list[Tensor]:
        size = sum(self.groups[number][0].numel() for number in members)
        return [tensor.new_zeros(size) for tensor in self.groups[members[0]]]

    def _bind(self, members: Sequence[int], kind: int, vector: Tensor) -> None:
        tensors = [self.groups[number][kind] for number in members]
        parts = vector.split([tensor.numel() for tensor in tensors])
        for number, tensor, part in zip(members, tensors, parts, strict=True):
            stored = self._stored(number, tensor.data)
            tensor.data = self._stored(number, part.view(stored.shape).copy_(stored))

    def _stored(self, number: int, tensor: Tensor) -> Tensor:
        """A tensor in the form in which it is stored, or back from it."""
        return tensor.t() if number in self.turned else tensor


def _members(weights: Sequence[Tensor]) -> list[list[int]]:
    """The weights of each vector: the small ones of one dtype together, each large one alone."""
    together: dict[object, list[int]] = {}
    for number, weight in enumerate(weights):
        together.setdefault(weight.dtype if weight.numel() < FEW else number, []).append(number)
    return list(together.values())


def turnable(module: nn.Module | None, weights: Sequence[Tensor], rows: int) -> list[int]:
    """The indices of the weights to transpose for batches of this number of rows."""
    if module is None or rows > SMALL_BATCH:
        return []
    linear = {id(m.weight) for m in module.modules() if isinstance(m, nn.Linear)}
    return [i for i, w in enumerate(weights) if id(w) in linear and not w.is_cuda and min(w.shape) > 1]
