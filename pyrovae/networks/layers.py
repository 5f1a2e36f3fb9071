"""What the networks share: activations, first weights, the joining of a context, the sides of images."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pyrovae.checks import one_of
from pyrovae.errors import InputError

__all__ = ["Activation", "Init", "activation_of", "check_image", "joined", "sides_of", "started"]

Activation = Literal["relu", "tanh", "silu", "gelu", "elu", "leaky_relu", "softplus", "sigmoid"]
Init = Literal["glorot", "he"]
Shape = tuple[int, ...]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
}


def activation_of(name: str) -> nn.Module:
    """The activation of that name.

    Raises:
        InputError: for an unknown one.
    """
    return _ACTIVATIONS[one_of("activation", name, _ACTIVATIONS)]()


def started(layer: nn.Linear | nn.Conv2d, init: str = "glorot") -> nn.Module:
    r"""A layer with zero biases and its first weights.

    With n inputs and m outputs of a unit: "glorot" is uniform with variance \(2 / (n + m)\), "he" is normal
    with variance \(2 / n\).

    Raises:
        InputError: for another `init`.

    Reference:
        Glorot & Bengio (2010), "Understanding the Difficulty of Training Deep Feedforward Neural Networks";
        He, Zhang, Ren & Sun (2015), "Delving Deep into Rectifiers".
    """
    if one_of("init", init, ("glorot", "he")) == "he":
        nn.init.kaiming_normal_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def joined(value: Tensor, context: Tensor | None) -> Tensor:
    """Value and context in one row, (*, V) and (*, C) to (*, V + C)."""
    if context is None:
        return value
    lead = torch.broadcast_shapes(value.shape[:-1], context.shape[:-1])
    return torch.cat([value.expand(*lead, -1), context.expand(*lead, -1)], dim=-1)


def sides_of(shape: Shape, stages: int) -> list[tuple[int, int]]:
    """The sides of an image before, between and after stages that halve it, n to ceil(n / 2).

    Example:
        >>> sides_of((1, 9, 13), 2)
        [(9, 13), (5, 7), (3, 4)]
    """
    halved = [tuple(math.ceil(n / 2**stage) for n in shape[-2:]) for stage in range(stages + 1)]
    return [(height, width) for height, width in halved]


def check_image(network: Any, shape: Shape) -> None:  # noqa: ANN401
    """Refuse events that are not images (channels, height, width).

    Raises:
        InputError: with what to use instead.
    """
    if len(shape) != 3:
        raise InputError(
            f"{type(network).__name__} needs images of shape (channels, height, width), not events of shape "
            f"{tuple(shape)}: use MLP for those"
        )
