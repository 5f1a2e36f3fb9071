r"""The diagonal of the Fisher information of the weights of linear layers.

    F_ij = E[ (d log p(x|z, W) / dW_ij)^2 ],   x ~ p(x|z, W),   a = W h + b
         = E[ g_i^2 h_j^2 ],                   g = d log p / da

The gradients of single rows are products, so the mean of their squares needs no loop over rows.
Where a layer acts on several steps of a row, the gradient of the row is the sum over its steps.

Reference:
    Kunstner, Balles & Hennig (2019), "Limitations of the Empirical Fisher Approximation for Natural
    Gradient Descent" (why x is drawn from the model).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pyrovae.networks.random_weights import PointVariable, RandomLinear

__all__ = ["diagonal_fisher"]

FEW = 50  # rows whose gradients are in memory at once
Pieces = Iterable[tuple[Tensor, Tensor | None, Callable[[dict[str, Tensor]], Tensor]]]


@torch.enable_grad()
def diagonal_fisher(headed: nn.Module, pieces: Pieces) -> dict[PointVariable, Tensor]:
    """The sum over rows of the squared gradients, for each weight.

    Arguments:
        headed: a network with heads.
        pieces: for some rows each, the network's input (B, D), its context, and the log-density
            (B,) of data drawn from the distribution with given parameters.
    """
    layers = [layer for layer in headed.modules() if isinstance(layer, RandomLinear)]
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    hooks = [layer.register_forward_hook(_recorder(seen)) for layer in layers]
    total: dict[PointVariable, Tensor] = {}
    try:
        for z, context, log_px in pieces:
            log_p = log_px(headed(z, context)).sum()
            gradients = torch.autograd.grad(log_p, [seen[id(layer)][1] for layer in layers])
            for layer, g in zip(layers, gradients, strict=True):
                _add(total, layer, seen[id(layer)][0].detach(), g)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _recorder(seen: dict[int, tuple[Tensor, Tensor]]) -> Callable:
    def record(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen[id(layer)] = (inputs[0], output)

    return record


def _add(total: dict[PointVariable, Tensor], layer: RandomLinear, h: Tensor, g: Tensor) -> None:
    if g.dim() > 2:
        steps = [t.flatten(1, -2) for t in (g, h)]
        pairs = zip(*(t.split(FEW) for t in steps), strict=True)
        squares = steps[0].sum(1).square()
        of_weight = sum((some.mT @ inputs).square().sum(0) for some, inputs in pairs)
    else:
        squares = g.square()
        of_weight = squares.mT @ h.square()
    parts = {layer.weight: of_weight, layer.bias: squares.sum(0)}
    for variable, part in parts.items():
        if isinstance(variable, PointVariable):
            total[variable] = total.get(variable, 0.0) + part
